"""Monitoring: hooks, watchers, $SYS, metrics, refusals in the log, load shedding."""
