"""From a configuration to a broker, the same on both runtimes."""
