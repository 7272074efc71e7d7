// The compiler, for lwIP.

#include <assert.h>
#include <stdint.h>

typedef uint32_t sys_prot_t;

#define BYTE_ORDER LITTLE_ENDIAN
#define LWIP_NO_CTYPE_H 1 // there is no C library
#define LWIP_PLATFORM_DIAG(message)
#define LWIP_PLATFORM_ASSERT(message) assert(0)
#define PACK_STRUCT_STRUCT __attribute__((packed))
