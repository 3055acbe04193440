#include "kernels/xxhash.h"

#include <string.h>

#define P1 0x9E3779B185EBCA87u
#define P2 0xC2B2AE3D27D4EB4Fu
#define P3 0x165667B19E3779F9u
#define P4 0x85EBCA77C2B2AE63u
#define P5 0x27D4EB2F165667C5u

static uint64_t turn(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static uint64_t read64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t read32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static uint64_t round_of(uint64_t sum, uint64_t v)
{
    return turn(sum + v * P2, 31) * P1;
}

static uint64_t merge(uint64_t h, uint64_t lane)
{
    return (h ^ round_of(0, lane)) * P1 + P4;
}

/* The blocks of 32 bytes, in four lanes. */
static uint64_t lanes(const uint8_t **p, const uint8_t *end, uint64_t seed)
{
    uint64_t v[4] = { seed + P1 + P2, seed + P2, seed, seed - P1 };
    for (; end - *p >= 32; *p += 32)
        for (int i = 0; i < 4; i++)
            v[i] = round_of(v[i], read64(*p + 8 * i));
    uint64_t h = turn(v[0], 1) + turn(v[1], 7) + turn(v[2], 12) + turn(v[3], 18);
    for (int i = 0; i < 4; i++)
        h = merge(h, v[i]);
    return h;
}

uint64_t xxhash64(const void *data, size_t bytes, uint64_t seed)
{
    const uint8_t *p = data, *end = p + bytes;
    uint64_t h = bytes >= 32 ? lanes(&p, end, seed) : seed + P5;
    h += bytes;
    for (; end - p >= 8; p += 8)
        h = turn(h ^ round_of(0, read64(p)), 27) * P1 + P4;
    if (end - p >= 4) {
        h = turn(h ^ read32(p) * P1, 23) * P2 + P3;
        p += 4;
    }
    for (; p < end; p++)
        h = turn(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}
