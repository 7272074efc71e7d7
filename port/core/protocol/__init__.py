"""One connection: what each packet of a client does."""
