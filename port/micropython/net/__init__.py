"""Sockets and TLS on MicroPython."""
