"""What the broker shows of itself, and what takes load off it."""
