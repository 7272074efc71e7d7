"""Configuration, the same on both runtimes: checked, and applied to a broker."""
