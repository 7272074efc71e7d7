// MicroPython as on a Pico W, as far as it matters for a broker: the same feature level, the same kind of integers,
// floats and exceptions, one heap, lwIP beneath the sockets. Not there: TLS, pins, timers, threads.

#include <stdint.h>
#include <alloca.h>

#define MICROPY_CONFIG_ROM_LEVEL (MICROPY_CONFIG_ROM_LEVEL_EXTRA_FEATURES)

#define MICROPY_HW_BOARD_NAME "QEMU mps2-an385"
#define MICROPY_HW_MCU_NAME "Cortex-M3"
#define MICROPY_PY_SYS_PLATFORM "mps2"

// Memory.
#define MICROPY_ENABLE_GC (1)
#define MICROPY_GC_STACK_ENTRY_TYPE uint16_t
#define MICROPY_STACK_CHECK_MARGIN (1024) // for interrupts, which run on the same stack
#define MICROPY_ALLOC_PATH_MAX (128)
#define MICROPY_QSTR_BYTES_IN_HASH (1)

// The language.
#define MICROPY_OPT_COMPUTED_GOTO (1)
#define MICROPY_PERSISTENT_CODE_LOAD (1)
#define MICROPY_EMIT_THUMB (1)
#define MICROPY_EMIT_INLINE_THUMB (1)
#define MICROPY_MAKE_POINTER_CALLABLE(p) ((void *)((mp_uint_t)(p) | 1))
#define MICROPY_ENABLE_EMERGENCY_EXCEPTION_BUF (1)
#define MICROPY_LONGINT_IMPL (MICROPY_LONGINT_IMPL_MPZ)
#define MICROPY_FLOAT_IMPL (MICROPY_FLOAT_IMPL_FLOAT)
#define MICROPY_SCHEDULER_DEPTH (8)
#define MICROPY_USE_INTERNAL_ERRNO (1)

// Modules.
#define MICROPY_EPOCH_IS_1970 (1)
#define MICROPY_PY_TIME_GMTIME_LOCALTIME_MKTIME (1)
#define MICROPY_PY_TIME_TIME_TIME_NS (1)
#define MICROPY_PY_TIME_INCLUDEFILE "board_time.c"
#define MICROPY_PY_OS_INCLUDEFILE "board_os.c"
#define MICROPY_PY_OS_SYNC (1)
#define MICROPY_PY_OS_UNAME (1)
#define MICROPY_PY_OS_URANDOM (1)
#define MICROPY_PY_RANDOM_SEED_INIT_FUNC (board_random())
#define MICROPY_PY_MACHINE (1)
#define MICROPY_PY_MACHINE_INCLUDEFILE "board_machine.c"
#define MICROPY_PY_MACHINE_RESET (1)
#define MICROPY_PY_MACHINE_BARE_METAL_FUNCS (1)
#define MICROPY_PY_HASHLIB_SHA1 (1)
#define MICROPY_SSL_AXTLS (1) // for SHA-1 only, from lib/axtls/crypto/crypto.h in this folder

// The file system.
#define MICROPY_VFS (1)
#define MICROPY_READER_VFS (1)

// The network.
#define MICROPY_PY_NETWORK (1)
#define MICROPY_PY_NETWORK_HOSTNAME_DEFAULT "mpy-mps2"
#define MICROPY_PY_SOCKET (1)
#define MICROPY_PY_LWIP_SOCK_RAW (1)
extern const struct _mp_obj_type_t lan_type;
#define MICROPY_PORT_NETWORK_INTERFACES { MP_ROM_QSTR(MP_QSTR_LAN), MP_ROM_PTR(&lan_type) },

#define MP_NEED_LOG2 (1)
#define MP_SSIZE_MAX (0x7fffffff)
typedef intptr_t mp_int_t;
typedef uintptr_t mp_uint_t;
typedef intptr_t mp_off_t;

#define MP_STATE_PORT MP_STATE_VM

extern uint32_t board_random(void);
