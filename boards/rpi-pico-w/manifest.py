"""What is frozen into the firmware of a Pico W: all that MicroPython's own has, and the broker."""

include("$(PORT_DIR)/boards/RPI_PICO_W/manifest.py")
include("../../manifest.py")
module("lwip_pools.py", opt=3)
