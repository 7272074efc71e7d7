// lwIP as the rp2 port configures it for a Pico W, see README.md for the numbers.
//
// MEMP_NUM_TCP_PCB comes from the Makefile; a stock Pico W does not set it, which makes 5 of it.

#define LWIP_NETIF_EXT_STATUS_CALLBACK 1
#define LWIP_NETIF_STATUS_CALLBACK 1

#define LWIP_IPV4 1
#define LWIP_IPV6 1
#define LWIP_ND6_NUM_DESTINATIONS 4
#define LWIP_ND6_QUEUEING 0

#define LWIP_RAND() board_random()

#include "extmod/lwip-include/lwipopts_common.h"
