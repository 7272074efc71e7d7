"""lwIP's pools on this board, for port/micropython/net/lwip.py: the numbers of lwipopts.h less those taken at the start."""

from machine import mem32

_UNUSED = 0x21FFFF18  # mphalport.h, settings_t

SEGMENTS = 96 - mem32[_UNUSED]
BYTES = 16000 - mem32[_UNUSED + 4]
