"""One client's session, in flight and in its queue."""
