"""What comes with an installed broker: manual pages, completion of shells."""
