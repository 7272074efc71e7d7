// Start, vectors, and the life of the interpreter.

#include <stdio.h>
#include <string.h>

#include "py/builtin.h"
#include "py/cstack.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/runtime.h"
#include "extmod/modnetwork.h"
#include "shared/readline/readline.h"
#include "shared/runtime/gchelper.h"
#include "shared/runtime/pyexec.h"

extern uint32_t stack_limit, stack_top, data_load, data_start, data_end, bss_start, bss_end;
extern void SysTick_Handler(void), PendSV_Handler(void), UART_Handler(void), LAN_Handler(void);

static uint32_t heap[MICROPY_HEAP_SIZE / sizeof(uint32_t)];

int main(void);

void Reset_Handler(void) {
    memcpy(&data_start, &data_load, (char *)&data_end - (char *)&data_start);
    memset(&bss_start, 0, (char *)&bss_end - (char *)&bss_start);
    main();
}

// A bug in the firmware, or a stack that is full.
__attribute__((used)) static void fault(uint32_t *frame) {
    printf("FATAL: fault at %08x, called from %08x\n", (unsigned)frame[6], (unsigned)frame[5]);
    for (;;) {
    }
}

// The stack may be what is broken: begin a new one.
__attribute__((naked)) static void Fault_Handler(void) {
    __asm volatile ("mov r0, sp\n ldr r1, =stack_top\n mov sp, r1\n b fault\n");
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16 + LAN_IRQ + 1])(void) = {
    [0] = (void (*)(void))&stack_top,
    [1] = Reset_Handler,
    [2 ... 6] = Fault_Handler,
    [11 ... 12] = Fault_Handler,
    [14] = PendSV_Handler,
    [15] = SysTick_Handler,
    [16 ... 16 + LAN_IRQ] = Fault_Handler,
    [16 + UART_RX_IRQ] = UART_Handler,
    [16 + LAN_IRQ] = LAN_Handler,
};

// A program of the user's comes before the frozen one, which starts the broker.
static int run_main(void) {
    if (mp_import_stat("/main.py") == MP_IMPORT_STAT_FILE) {
        return pyexec_file("/main.py");
    }
    return pyexec_frozen_module("main.py", true);
}

int main(void) {
    board_init();
    mp_cstack_init_with_top(&stack_top, (char *)&stack_top - (char *)&stack_limit);
    size_t size = settings->heap_size && settings->heap_size < sizeof(heap) ? settings->heap_size : sizeof(heap);
    gc_init(heap, (char *)heap + size);
    lan_init();
    for (;;) {
        mp_init();
        mp_obj_list_append(mp_sys_path, MP_OBJ_NEW_QSTR(MP_QSTR__slash_lib));
        readline_init0();
        mod_network_init();
        pyexec_frozen_module("_boot.py", false);
        int result = pyexec_file_if_exists("/boot.py");
        if (!(result & PYEXEC_FORCED_EXIT) && result != 0 && pyexec_mode_kind == PYEXEC_MODE_FRIENDLY_REPL) {
            result = run_main();
        }
        while (!(result & PYEXEC_FORCED_EXIT)) {
            result = pyexec_mode_kind == PYEXEC_MODE_RAW_REPL ? pyexec_raw_repl() : pyexec_friendly_repl();
        }
        mp_printf(&mp_plat_print, "MPY: soft reboot\n");
        mod_network_deinit();
        gc_sweep_all();
        mp_deinit();
    }
}

void gc_collect(void) {
    gc_collect_start();
    gc_helper_collect_regs_and_stack();
    gc_collect_end();
}

void nlr_jump_fail(void *val) {
    printf("FATAL: uncaught exception %p\n", val);
    mp_obj_print_exception(&mp_plat_print, MP_OBJ_FROM_PTR(val));
    for (;;) {
    }
}

void abort(void) {
    printf("FATAL: abort\n");
    for (;;) {
    }
}

// For lwIP; there is no C library.
int atoi(const char *digits) {
    int number = 0;
    while (*digits >= '0' && *digits <= '9') {
        number = number * 10 + *digits++ - '0';
    }
    return number;
}
