// SHA-1 (FIPS 180-4). The handshake of a WebSocket needs it.

#include <string.h>

#include "lib/axtls/crypto/crypto.h"

static uint32_t rotate(uint32_t value, int bits) {
    return value << bits | value >> (32 - bits);
}

static void compress(SHA1_CTX *context) {
    uint32_t w[80];
    for (int i = 0; i < 16; i++) {
        const uint8_t *p = context->block + 4 * i;
        w[i] = (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
    }
    for (int i = 16; i < 80; i++) {
        w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    uint32_t a = context->state[0], b = context->state[1], c = context->state[2];
    uint32_t d = context->state[3], e = context->state[4];
    for (int i = 0; i < 80; i++) {
        uint32_t f;
        if (i < 20) {
            f = ((b & c) | (~b & d)) + 0x5a827999;
        } else if (i < 40) {
            f = (b ^ c ^ d) + 0x6ed9eba1;
        } else if (i < 60) {
            f = ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
        } else {
            f = (b ^ c ^ d) + 0xca62c1d6;
        }
        uint32_t next = rotate(a, 5) + f + e + w[i];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    context->state[0] += a;
    context->state[1] += b;
    context->state[2] += c;
    context->state[3] += d;
    context->state[4] += e;
}

void SHA1_Init(SHA1_CTX *context) {
    static const uint32_t start[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
    memcpy(context->state, start, sizeof(start));
    context->length = 0;
}

void SHA1_Update(SHA1_CTX *context, const uint8_t *data, int length) {
    for (int i = 0; i < length; i++) {
        context->block[context->length++ % 64] = data[i];
        if (context->length % 64 == 0) {
            compress(context);
        }
    }
}

void SHA1_Final(uint8_t *digest, SHA1_CTX *context) {
    uint64_t bits = context->length * 8;
    SHA1_Update(context, (const uint8_t *)"\x80", 1);
    while (context->length % 64 != 56) {
        SHA1_Update(context, (const uint8_t *)"", 1);
    }
    for (int i = 56; i >= 0; i -= 8) {
        uint8_t byte = bits >> i;
        SHA1_Update(context, &byte, 1);
    }
    for (int i = 0; i < SHA1_SIZE; i++) {
        digest[i] = context->state[i / 4] >> (24 - i % 4 * 8);
    }
}
