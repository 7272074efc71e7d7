"""Monitoring of the process: load averages, metrics, the log."""
