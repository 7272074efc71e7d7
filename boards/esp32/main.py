"""The broker on an ESP32, with the settings of config.json."""

from port.micropython import run

run()
