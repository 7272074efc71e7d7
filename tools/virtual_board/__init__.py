"""A board that QEMU emulates, and what is measured on it."""
