"""Application messages and retained messages."""
