"""The frozen modules of a Pico W's firmware: those of MicroPython's own, and the broker."""

include("$(PORT_DIR)/boards/RPI_PICO_W/manifest.py")
include("../../manifest.py")
module("lwip_pools.py", opt=3)
