"""What tools/deploy asks, and the board it copies to."""
