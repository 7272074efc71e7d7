"""Authentication: authenticators, passwords, certificates."""
