// SHA-1 for hashlib, under the names by which extmod/modhashlib.c knows it.

#include <stddef.h>
#include <stdint.h>

#define SHA1_SIZE 20

typedef struct {
    uint32_t state[5];
    uint64_t length;
    uint8_t block[64];
} SHA1_CTX;

void SHA1_Init(SHA1_CTX *context);
void SHA1_Update(SHA1_CTX *context, const uint8_t *data, int length);
void SHA1_Final(uint8_t *digest, SHA1_CTX *context);
