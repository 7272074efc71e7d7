// Clock, serial console, PendSV and random numbers of QEMU's mps2-an385.

#include "py/mphal.h"
#include "py/ringbuf.h"
#include "py/runtime.h"
#include "py/stream.h"

#define SYSTICK_CONTROL REGISTER(0xe000e010)
#define SYSTICK_RELOAD REGISTER(0xe000e014)
#define SYSTICK_VALUE REGISTER(0xe000e018)
#define PRIORITY_PENDSV_SYSTICK REGISTER(0xe000ed20)

#define COUNTER REGISTER(0x40028018) // of the board's FPGA
#define COUNTER_PRESCALE REGISTER(0x4002801c)

#define UART_DATA REGISTER(0x40004000)
#define UART_STATE REGISTER(0x40004004) // 1: transmitter full, 2: receiver full
#define UART_CONTROL REGISTER(0x40004008) // 1: transmit, 2: receive, 8: interrupt when received
#define UART_INTERRUPT REGISTER(0x4000400c)
#define UART_BAUD_DIVIDER REGISTER(0x40004010)

#define RESETS REGISTER(0x21fffef0) // kept over a reset, as all of that RAM

#define PATIENCE_US (500000) // for a console that is not read
#define LWIP_TICK_US (64000) // as on rp2

static volatile bool something_new;

/* Time */

// Counts microseconds; SysTick reads it often enough not to miss that it wraps.
uint64_t board_us(void) {
    static uint32_t last;
    static uint64_t total;
    uint32_t state = disable_interrupts();
    uint32_t now = COUNTER;
    total += now - last;
    last = now;
    uint64_t result = total;
    restore_interrupts(state);
    return result;
}

mp_uint_t mp_hal_ticks_us(void) {
    return board_us();
}

mp_uint_t mp_hal_ticks_ms(void) {
    return board_us() / 1000;
}

void mp_hal_delay_us(mp_uint_t us) {
    uint64_t start = board_us();
    while (board_us() - start < us) {
    }
}

void mp_hal_delay_ms(mp_uint_t ms) {
    uint64_t end = board_us() + (uint64_t)ms * 1000;
    for (;;) {
        mp_handle_pending(true);
        uint64_t now = board_us();
        if (now >= end) {
            return;
        }
        board_wait((end - now + 999) / 1000);
    }
}

uint64_t mp_hal_time_ns(void) {
    return 1609459200000000000ull + board_us() * 1000; // begins in 2021, as on a Pico
}

// Have SysTick interrupt when lwIP has something to do, or in that many microseconds if that is earlier.
static uint64_t lwip_due;
static void alarm(uint64_t now, uint64_t us) {
    uint64_t left = lwip_due > now ? lwip_due - now : 1;
    SYSTICK_RELOAD = (us < left ? us : left) * (CPU_HZ / 1000000) - 1;
    SYSTICK_VALUE = 0;
}

void board_wait(int32_t timeout_ms) {
    uint64_t start = board_us();
    uint64_t timeout = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000;
    for (;;) {
        // Interrupts are off so that none comes between looking and sleeping; a pending one ends the sleep.
        uint32_t state = disable_interrupts();
        uint64_t now = board_us();
        bool awake = something_new || now - start >= timeout;
        if (awake) {
            something_new = false;
        } else {
            alarm(now, timeout - (now - start));
            __asm volatile ("wfi");
        }
        restore_interrupts(state);
        if (awake) {
            return;
        }
    }
}

void SysTick_Handler(void) {
    uint64_t now = board_us();
    if (now >= lwip_due) {
        lwip_due = now + LWIP_TICK_US;
        lan_request();
    }
    alarm(now, LWIP_TICK_US);
}

/* PendSV */

static volatile bool requested;
static volatile int locked = 1; // until lan_init

void lan_request(void) {
    requested = true;
    if (!locked) {
        INTERRUPT_CONTROL = PENDSV_SET;
    }
}

void lwip_lock(void) {
    locked++;
}

void lwip_unlock(void) {
    if (--locked == 0 && requested) {
        INTERRUPT_CONTROL = PENDSV_SET;
    }
}

void PendSV_Handler(void) {
    if (!locked && requested) {
        // What is left is done when the main program has freed something in lwIP.
        requested = false;
        if (!lan_work()) {
            requested = true;
        }
        something_new = true;
    }
}

/* Serial console */

static uint8_t received[512];
static ringbuf_t input = { received, sizeof(received), 0, 0 };

void UART_Handler(void) {
    UART_INTERRUPT = 2;
    while (UART_STATE & 2) {
        if (ringbuf_free(&input) == 0) {
            irq_disable(UART_RX_IRQ); // the rest waits in QEMU
            break;
        }
        int c = UART_DATA & 0xff;
        if (c == mp_interrupt_char) {
            mp_sched_keyboard_interrupt();
        } else {
            ringbuf_put(&input, c);
        }
    }
    something_new = true;
}

int mp_hal_stdin_rx_chr(void) {
    for (;;) {
        int c = ringbuf_get(&input);
        if (c >= 0) {
            irq_enable(UART_RX_IRQ);
            return c;
        }
        mp_event_wait_indefinite();
    }
}

uintptr_t mp_hal_stdio_poll(uintptr_t poll_flags) {
    uintptr_t ready = poll_flags & MP_STREAM_POLL_WR;
    if (ringbuf_avail(&input)) {
        ready |= poll_flags & MP_STREAM_POLL_RD;
    }
    return ready;
}

// Waits for a console that is not read, but only once: a board must go on when its terminal hangs.
mp_uint_t mp_hal_stdout_tx_strn(const char *text, size_t length) {
    static bool stuck;
    for (size_t i = 0; i < length; i++) {
        uint64_t start = board_us();
        while (UART_STATE & 1) {
            if (stuck || board_us() - start > PATIENCE_US) {
                stuck = true;
                return i;
            }
        }
        stuck = false;
        UART_DATA = text[i];
    }
    return length;
}

/* Random numbers: xorshift128. Not for secrets. */

static uint32_t random_state[4];

uint32_t board_random(void) {
    uint32_t *s = random_state;
    uint32_t t = s[3];
    t ^= t << 11;
    t ^= t >> 8;
    s[3] = s[2];
    s[2] = s[1];
    s[1] = s[0];
    s[0] ^= t ^ s[0] >> 19;
    return s[0];
}

void board_init(void) {
    RESETS++;
    for (int i = 0; i < 4; i++) {
        random_state[i] = settings->seed[i] + RESETS + (i == 0); // not all zero
    }
    for (int i = 0; i < 32; i++) {
        board_random();
    }
    COUNTER_PRESCALE = CPU_HZ / 1000000 - 1;
    PRIORITY_PENDSV_SYSTICK = 0xc0ff0000; // PendSV gives way to all others
    alarm(0, LWIP_TICK_US);
    SYSTICK_CONTROL = 7;
    UART_BAUD_DIVIDER = 217; // 115,200 baud
    UART_CONTROL = 1 | 2 | 8;
    irq_enable(UART_RX_IRQ);
}
