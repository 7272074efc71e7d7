"""The broker on a Raspberry Pi Pico W; settings stand in config.json."""

from port.micropython import run

run(led="LED")
