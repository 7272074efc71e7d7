"""Firmware with the broker in it: for boards, for an emulated RP2040, and MicroPython's unix port."""
