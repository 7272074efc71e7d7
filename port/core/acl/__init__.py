"""Who may publish, subscribe and receive what."""
