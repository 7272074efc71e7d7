"""Application messages, and those that are retained."""
