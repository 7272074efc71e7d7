// What this port provides beneath MicroPython, see mphalport.c and lan.c.

#include <stdbool.h>
#include <stdint.h>
#include "shared/runtime/interrupt_char.h"

// The machine's registers.
#define REGISTER(address) (*(volatile uint32_t *)(address))
#define INTERRUPT_CONTROL REGISTER(0xe000ed04) // ICSR
#define PENDSV_SET (1 << 28)
#define RESET_CONTROL REGISTER(0xe000ed0c) // AIRCR
#define CPU_HZ (25000000)

// What tools/virtual_board/board.py puts into RAM before the start.
typedef struct {
    uint32_t seed[4];
    uint32_t pcbs_unused; // TCP connections less than there is room for
    uint32_t heap_size; // 0: all there is
    uint32_t segments_unused; // of lwIP, as are these
    uint32_t bytes_unused;
    uint32_t frames_unused;
} settings_t;
#define settings ((volatile settings_t *)0x21ffff00)

// What it finds there: how much of a pool is in use, the most that was, and how often there was nothing left of it.
typedef struct {
    uint32_t used, most, failed;
} pool_t;
#define pools ((volatile pool_t *)0x21fffe00) // segments, bytes, frames, connections

#define LAN_IRQ (13)
#define UART_RX_IRQ (0)

static inline void irq_enable(int number) {
    REGISTER(0xe000e100) = 1u << number;
}
static inline void irq_disable(int number) {
    REGISTER(0xe000e180) = 1u << number;
}

static inline uint32_t disable_interrupts(void) {
    uint32_t state;
    __asm volatile ("mrs %0, primask\n cpsid i" : "=r" (state) : : "memory");
    return state;
}
static inline void restore_interrupts(uint32_t state) {
    __asm volatile ("msr primask, %0" : : "r" (state) : "memory");
}
#define MICROPY_BEGIN_ATOMIC_SECTION() disable_interrupts()
#define MICROPY_END_ATOMIC_SECTION(state) restore_interrupts(state)

// Sleep until an interrupt has brought something new, at most this long (-1: for ever).
void board_wait(int32_t timeout_ms);
#define MICROPY_INTERNAL_WFE(timeout_ms) board_wait(timeout_ms)

// lwIP runs in PendSV, and the main program keeps it out while it is in lwIP itself.
void lwip_lock(void);
void lwip_unlock(void);
#define MICROPY_PY_LWIP_ENTER lwip_lock();
#define MICROPY_PY_LWIP_REENTER lwip_lock();
#define MICROPY_PY_LWIP_EXIT lwip_unlock();

void board_init(void);
uint64_t board_us(void); // since the start
void lan_init(void);
bool lan_work(void); // what lwIP has to do, false if something is left; only in PendSV
void lan_request(void); // have PendSV do it

static inline mp_uint_t mp_hal_ticks_cpu(void) {
    return board_us();
}
