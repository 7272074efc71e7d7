"""Bounds of clients: options, places, rates, login attempts, log lines."""
