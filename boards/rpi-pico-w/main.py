"""The broker on a Raspberry Pi Pico W; settings stand in /config.json."""

from port.micropython.board import run

# lwIP of the stock firmware: MEMP_NUM_TCP_PCB is its default, 5. Listening does not count.
run(sockets=5, led="LED")
