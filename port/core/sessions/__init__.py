"""Sessions: messages in flight and queued for one client, and mount points."""
