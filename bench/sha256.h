/* SHA-256 (FIPS 180-4), plain C: work for a CPU, not a library. The constants are computed from their definition:
 * the first 32 bits of the fractional parts of the roots of the first primes (4.2.2, 5.3.3). */
#ifndef BENCH_SHA256_H
#define BENCH_SHA256_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static uint32_t sha_k[64], sha_h[8];

static uint32_t root_fraction(unsigned prime, int degree) {
    /* the largest x with x^degree <= prime * 2^(32 degree): its low 32 bits are the fraction */
    unsigned __int128 target = (unsigned __int128)prime << (32 * degree);
    uint64_t x = 0;
    for (int bit = 37; bit >= 0; bit--) {
        uint64_t y = x | 1ull << bit;
        unsigned __int128 power = (unsigned __int128)y * y;
        if (degree == 3) power *= y;
        if (power <= target) x = y;
    }
    return (uint32_t)x;
}

static void sha_constants(void) {
    unsigned found = 0;
    for (unsigned n = 2; found < 64; n++) {
        unsigned d = 2;
        while (d * d <= n && n % d) d++;
        if (d * d <= n) continue;
        sha_k[found] = root_fraction(n, 3);
        if (found < 8) sha_h[found] = root_fraction(n, 2);
        found++;
    }
}

static inline uint32_t ror(uint32_t x, int n) { return x >> n | x << (32 - n); }

static void sha_block(uint32_t h[8], const uint8_t *p) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++) {
        uint32_t word;
        memcpy(&word, p + 4 * i, 4);
        w[i] = __builtin_bswap32(word);
    }
    for (int i = 16; i < 64; i++)
        w[i] = w[i - 16] + (ror(w[i - 15], 7) ^ ror(w[i - 15], 18) ^ w[i - 15] >> 3) + w[i - 7] +
               (ror(w[i - 2], 17) ^ ror(w[i - 2], 19) ^ w[i - 2] >> 10);
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) + sha_k[i] + w[i];
        uint32_t t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) + ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
}

static void sha256_of(uint8_t digest[32], const uint8_t *data, size_t size) {
    uint32_t h[8];
    uint8_t tail[128] = {0};
    size_t full = size & ~(size_t)63, rest = size - full, end = rest < 56 ? 64 : 128;
    sha_constants();
    memcpy(h, sha_h, sizeof h);
    for (size_t i = 0; i < full; i += 64) sha_block(h, data + i);
    memcpy(tail, data + full, rest);
    tail[rest] = 0x80;
    for (int i = 0; i < 8; i++) tail[end - 1 - i] = (uint8_t)((uint64_t)size * 8 >> (8 * i));
    for (size_t i = 0; i < end; i += 64) sha_block(h, tail + i);
    for (int i = 0; i < 8; i++) h[i] = __builtin_bswap32(h[i]);
    memcpy(digest, h, 32);
}
#endif
