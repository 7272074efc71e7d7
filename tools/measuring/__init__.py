"""Programs for MicroPython that tell about their heap, and those who visit them."""
