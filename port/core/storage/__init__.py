"""Persistence: records, journal, recovery."""
