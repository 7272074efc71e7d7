// MicroPython's configuration of lwIP with room for more clients. README.md tells what each number costs.

#ifndef UCOMQTT_LWIPOPTS_H
#define UCOMQTT_LWIPOPTS_H

#include_next "lwipopts.h"

// TCP connections, of all ports together. Not set there, lwIP's default is 5.
#undef MEMP_NUM_TCP_PCB
#define MEMP_NUM_TCP_PCB 24

// Segments on their way, of which port/micropython/net/lwip.py keeps one for each connection.
// lwip_pools.py in the folder above tells the broker of this number and the next.
#undef MEMP_NUM_TCP_SEG
#define MEMP_NUM_TCP_SEG 96

// The bytes of those segments, with some 100 for the headers of each.
#undef MEM_SIZE
#define MEM_SIZE 16000

// Frames received and not read yet: one for each connection, so that acknowledgements still come in when all have sent something.
#undef PBUF_POOL_SIZE
#define PBUF_POOL_SIZE 24

#endif
