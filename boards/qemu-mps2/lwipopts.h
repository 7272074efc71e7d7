// lwIP as the rp2 port configures it for a Pico W, see README.md for the numbers.
//
// The sizes are those of boards/rpi-pico-w; tools/virtual_board/board.py takes away what a stock Pico W does not have.
// MEMP_NUM_TCP_PCB comes from the Makefile.

#define MEMP_NUM_TCP_SEG 96
#define MEM_SIZE 16000
#define PBUF_POOL_SIZE 24

#define TCP_MSS 800
#define TCP_WND (8 * TCP_MSS)
#define TCP_SND_BUF (8 * TCP_MSS)

#define LWIP_NETIF_EXT_STATUS_CALLBACK 1
#define LWIP_NETIF_STATUS_CALLBACK 1

#define LWIP_IPV4 1
#define LWIP_IPV6 1
#define LWIP_ND6_NUM_DESTINATIONS 4
#define LWIP_ND6_QUEUEING 0

#define LWIP_RAND() board_random()

#include "extmod/lwip-include/lwipopts_common.h"

// How much is in use, for tools/virtual_board/board.py.
#undef LWIP_STATS
#define LWIP_STATS 1
#define LINK_STATS 0
#define ETHARP_STATS 0
#define IP_STATS 0
#define IPFRAG_STATS 0
#define ICMP_STATS 0
#define IGMP_STATS 0
#define UDP_STATS 0
#define TCP_STATS 0
#define IP6_STATS 0
#define ICMP6_STATS 0
#define IP6_FRAG_STATS 0
#define MLD6_STATS 0
#define ND6_STATS 0
