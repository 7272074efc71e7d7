"""What outlives the broker: records, journal, recovery."""
