"""What lwIP can hold in this firmware, for port/micropython/net/lwip.py: numbers of lwip/lwipopts.h."""

SEGMENTS = 96  # MEMP_NUM_TCP_SEG
BYTES = 16000  # MEM_SIZE
