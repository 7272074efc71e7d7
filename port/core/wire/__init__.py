"""Bytes and what they mean: the packet codec, properties, reason codes, names of topics."""
