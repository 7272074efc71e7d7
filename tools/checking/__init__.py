"""The rules of tools/subset: MicroPython's dialect, and the order of the core's rooms."""
