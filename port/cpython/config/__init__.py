"""Configuration files, and mosquitto's."""
