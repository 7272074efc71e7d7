"""The frozen modules of an ESP32's firmware: those of MicroPython's own, and the broker."""

include("$(PORT_DIR)/boards/manifest.py")
include("../../manifest.py")
