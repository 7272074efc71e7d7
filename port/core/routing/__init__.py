"""Resolves topic names to their receivers."""
