"""What is frozen into the firmware of an ESP32: all that MicroPython's own has, and the broker."""

include("$(PORT_DIR)/boards/manifest.py")
include("../../manifest.py")
