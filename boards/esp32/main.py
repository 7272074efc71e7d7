"""The broker on an ESP32; settings stand in /config.json."""

from port.micropython.board import run

# CONFIG_LWIP_MAX_SOCKETS of the stock firmware is 10; one is left for UDP (mDNS, NTP).
run(sockets=9, listening_counts=True)
