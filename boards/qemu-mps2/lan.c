// The LAN9118 network controller as an interface of lwIP, and network.LAN.
//
// Frames are taken from the controller in PendSV, as the drivers of the rp2 and stm32 ports do.

#include <string.h>

#include "py/mphal.h"
#include "py/runtime.h"
#include "extmod/modnetwork.h"
#include "lwip/apps/mdns.h"
#include "lwip/dns.h"
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/init.h"
#include "lwip/mem.h"
#include "lwip/memp.h"
#include "lwip/stats.h"
#include "lwip/timeouts.h"
#include "netif/ethernet.h"

#define LAN(offset) REGISTER(0x40200000 + (offset))
#define RX_DATA LAN(0x00)
#define TX_DATA LAN(0x20)
#define RX_STATUS LAN(0x40)
#define RX_STATUS_PEEK LAN(0x44)
#define TX_STATUS LAN(0x48)
#define IRQ_CONFIG LAN(0x54)
#define IRQ_STATUS LAN(0x58)
#define IRQ_ENABLE LAN(0x5c)
#define FIFO_LEVELS LAN(0x68)
#define TX_CONFIG LAN(0x70)
#define RX_FIFO LAN(0x7c)
#define MAC_COMMAND LAN(0xa4)
#define MAC_DATA LAN(0xa8)

#define IRQ_RX (1 << 3) // a frame has come

// Registers of the MAC, behind MAC_COMMAND.
#define MAC_CONTROL (1)
#define MAC_ADDRESS_HIGH (2)
#define MAC_ADDRESS_LOW (3)
#define MII_ACCESS (6)
#define MII_DATA (7)

#define PHY_STATUS (1)
#define PHY_LINK (1 << 2)

#define FRAME (1536)

static struct netif lan;
static uint32_t frame[FRAME / 4];

static uint32_t mac_read(int number) {
    MAC_COMMAND = 0xc0000000 | number;
    return MAC_DATA;
}

static void mac_write(int number, uint32_t value) {
    MAC_DATA = value;
    MAC_COMMAND = 0x80000000 | number;
}

static bool link_is_up(void) {
    mac_write(MII_ACCESS, 1 << 11 | PHY_STATUS << 6 | 1);
    return mac_read(MII_DATA) & PHY_LINK;
}

void LAN_Handler(void) {
    irq_disable(LAN_IRQ); // until PendSV has taken all frames
    lan_request();
}

// False when frames had to stay in the controller, since lwIP has no memory for them.
static bool receive(void) {
    while (RX_FIFO >> 16 & 0xff) {
        uint32_t size = RX_STATUS_PEEK >> 16 & 0x3fff; // with checksum
        struct pbuf *p = NULL;
        if (size > 4 && size <= FRAME) {
            p = pbuf_alloc(PBUF_RAW, size - 4, PBUF_POOL);
            if (p == NULL) {
                return false;
            }
        }
        (void)RX_STATUS;
        for (uint32_t i = 0; i < (size + 3) / 4; i++) {
            uint32_t word = RX_DATA;
            if (i < FRAME / 4) {
                frame[i] = word;
            }
        }
        if (p != NULL) {
            pbuf_take(p, frame, size - 4);
            if (lan.input(p, &lan) != ERR_OK) {
                pbuf_free(p);
            }
        }
    }
    return true;
}

static void tell(int number, const struct stats_mem *stats) {
    pools[number] = (pool_t) { stats->used, stats->max, stats->err };
}

bool lan_work(void) {
    bool up = link_is_up();
    if (up != netif_is_link_up(&lan)) {
        (up ? netif_set_link_up : netif_set_link_down)(&lan);
    }
    IRQ_STATUS = IRQ_RX; // before looking: what comes meanwhile must count
    bool done = receive();
    sys_check_timeouts();
    tell(0, lwip_stats.memp[MEMP_TCP_SEG]);
    tell(1, &lwip_stats.mem);
    tell(2, lwip_stats.memp[MEMP_PBUF_POOL]);
    tell(3, lwip_stats.memp[MEMP_TCP_PCB]);
    if (done) {
        irq_enable(LAN_IRQ);
    }
    return done;
}

u32_t sys_now(void) {
    return mp_hal_ticks_ms();
}

static err_t transmit(struct netif *netif, struct pbuf *p) {
    static uint32_t out[FRAME / 4];
    uint32_t size = p->tot_len;
    if (size > FRAME) {
        return ERR_BUF;
    }
    pbuf_copy_partial(p, out, size, 0);
    TX_DATA = 1 << 13 | 1 << 12 | size; // first and last segment
    TX_DATA = size;
    for (uint32_t i = 0; i < (size + 3) / 4; i++) {
        TX_DATA = out[i];
    }
    (void)TX_STATUS;
    return ERR_OK;
}

static err_t configure(struct netif *netif) {
    static const uint8_t address[6] = { 0x52, 0x54, 0x00, 0x12, 0x34, 0x56 };
    netif->linkoutput = transmit;
    netif->output = etharp_output;
    netif->output_ip6 = ethip6_output;
    netif->mtu = 1500;
    netif->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET | NETIF_FLAG_IGMP | NETIF_FLAG_MLD6;
    netif->name[0] = 'e';
    netif->name[1] = 'n';
    netif->hostname = mod_network_hostname_data;
    netif->hwaddr_len = sizeof(address);
    memcpy(netif->hwaddr, address, sizeof(address));
    mac_write(MAC_ADDRESS_LOW, address[0] | address[1] << 8 | address[2] << 16 | address[3] << 24);
    mac_write(MAC_ADDRESS_HIGH, address[4] | address[5] << 8);
    mac_write(MAC_CONTROL, 1 << 2 | 1 << 3 | 1 << 20); // receive, transmit, full duplex
    TX_CONFIG = 1 << 1;
    FIFO_LEVELS = 0;
    IRQ_CONFIG = 1 << 8 | 1 << 4 | 1; // on, active high
    IRQ_ENABLE = IRQ_RX;
    return ERR_OK;
}

static void take(memp_t pool, uint32_t count) {
    while (count--) {
        memp_malloc(pool);
    }
}

// QEMU's network: the board is 10.0.2.15, the host is behind 10.0.2.2.
void lan_init(void) {
    ip4_addr_t address, mask, gateway;
    IP4_ADDR(&address, 10, 0, 2, 15);
    IP4_ADDR(&mask, 255, 255, 255, 0);
    IP4_ADDR(&gateway, 10, 0, 2, 2);
    lwip_init();
    mdns_resp_init();
    // What is taken here is taken for ever.
    take(MEMP_TCP_PCB, settings->pcbs_unused);
    take(MEMP_TCP_SEG, settings->segments_unused);
    take(MEMP_PBUF_POOL, settings->frames_unused);
    if (settings->bytes_unused) {
        mem_malloc(settings->bytes_unused - 8); // and its head
    }
    netif_add(&lan, &address, &mask, &gateway, NULL, configure, ethernet_input);
    netif_set_default(&lan);
    netif_set_up(&lan);
    lwip_unlock();
    lan_request();
    irq_enable(LAN_IRQ);
}

/* network.LAN */

static const mp_obj_base_t lan_object = { &lan_type };

static mp_obj_t lan_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 0, 0, false);
    return MP_OBJ_FROM_PTR(&lan_object);
}

static mp_obj_t lan_active(size_t n_args, const mp_obj_t *args) {
    if (n_args > 1) {
        lwip_lock();
        (mp_obj_is_true(args[1]) ? netif_set_up : netif_set_down)(&lan);
        lwip_unlock();
    }
    return mp_obj_new_bool(netif_is_up(&lan));
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_active_obj, 1, 2, lan_active);

static mp_obj_t lan_isconnected(mp_obj_t self) {
    return mp_obj_new_bool(netif_is_up(&lan) && netif_is_link_up(&lan));
}
static MP_DEFINE_CONST_FUN_OBJ_1(lan_isconnected_obj, lan_isconnected);

static mp_obj_t lan_ifconfig(size_t n_args, const mp_obj_t *args) {
    return mod_network_nic_ifconfig(&lan, n_args - 1, args + 1);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lan_ifconfig_obj, 1, 2, lan_ifconfig);

static mp_obj_t lan_ipconfig(size_t n_args, const mp_obj_t *args, mp_map_t *kwargs) {
    return mod_network_nic_ipconfig(&lan, n_args - 1, args + 1, kwargs);
}
static MP_DEFINE_CONST_FUN_OBJ_KW(lan_ipconfig_obj, 1, lan_ipconfig);

static const mp_rom_map_elem_t lan_locals_table[] = {
    { MP_ROM_QSTR(MP_QSTR_active), MP_ROM_PTR(&lan_active_obj) },
    { MP_ROM_QSTR(MP_QSTR_isconnected), MP_ROM_PTR(&lan_isconnected_obj) },
    { MP_ROM_QSTR(MP_QSTR_ifconfig), MP_ROM_PTR(&lan_ifconfig_obj) },
    { MP_ROM_QSTR(MP_QSTR_ipconfig), MP_ROM_PTR(&lan_ipconfig_obj) },
};
static MP_DEFINE_CONST_DICT(lan_locals, lan_locals_table);

MP_DEFINE_CONST_OBJ_TYPE(lan_type, MP_QSTR_LAN, MP_TYPE_FLAG_NONE, make_new, lan_make_new, locals_dict, &lan_locals);
