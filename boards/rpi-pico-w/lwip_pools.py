"""lwIP's pools in this firmware, for port/micropython/net/lwip.py: the numbers of lwip/lwipopts.h."""

SEGMENTS = 96  # MEMP_NUM_TCP_SEG
BYTES = 16000  # MEM_SIZE
