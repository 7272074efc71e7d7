"""What bounds clients: options, places, rates, attempts to log in, lines of the log."""
