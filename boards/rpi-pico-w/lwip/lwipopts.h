// MicroPython's configuration of lwIP with room for more clients. README.md tells what each number costs.

#ifndef UCOMQTT_LWIPOPTS_H
#define UCOMQTT_LWIPOPTS_H

#include_next "lwipopts.h"

// TCP connections, of all ports together. Not set there, lwIP's default is 5.
#undef MEMP_NUM_TCP_PCB
#define MEMP_NUM_TCP_PCB 24

// Segments on their way: what port/micropython/sockets.py allows 24 sockets that all wait, and one each to close with.
#undef MEMP_NUM_TCP_SEG
#define MEMP_NUM_TCP_SEG 96

// The bytes of those segments, with some 100 for the headers of each.
#undef MEM_SIZE
#define MEM_SIZE 16000

#endif
