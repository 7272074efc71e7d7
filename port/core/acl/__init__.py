"""Access control: rules for publishing, subscribing and receiving."""
