"""The broker on an ESP32; settings stand in config.json."""

from port.micropython import run

run()
