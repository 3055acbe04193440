/* XXH64 (Yann Collet, https://xxhash.com): the hash that Paddle's `hash` operator makes ids with. Little-endian. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t xxhash64(const void *data, size_t bytes, uint64_t seed);
