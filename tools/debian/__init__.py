"""Packages of Debian: its archive, its newer Pythons, Python on 32-bit ARM."""
