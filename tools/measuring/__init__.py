"""Programs for MicroPython that tell about their heap, and the clients that use them."""
