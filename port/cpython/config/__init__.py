"""Configuration files, ours and mosquitto's."""
