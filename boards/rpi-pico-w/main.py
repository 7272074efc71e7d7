"""The broker on a Raspberry Pi Pico W, with the settings of config.json."""

from port.micropython import run

run(led="LED")
