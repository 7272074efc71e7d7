"""The wire format: packet codec, properties, reason codes, topic names and filters."""
