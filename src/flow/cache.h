/* Answers that were given before: a request that says the same in every byte (feeds, types, shapes, offsets, what is asked
 * for; not its log id) gets the same answer without being computed.
 *
 * Bounded in bytes, the least recently used goes first. The hash only finds the place: the whole key is compared. A cache
 * belongs to one flow and goes with it, so that a reload leaves nothing old behind. Any thread. */
#pragma once

#include "base/arena.h"
#include "tensor/call.h"

#include <stdatomic.h>

struct cache_counters {
    atomic_uint_fast64_t hits, misses, evictions;
    atomic_int_fast64_t bytes, entries;
};

struct cache;

struct cache *cache_new(size_t max_bytes, struct cache_counters *counters);
void cache_free(struct cache *c);
/* The request as one string in the arena; n == 0: it is too large to be kept, or memory is out. */
struct str cache_key(const struct cache *c, const struct infer_request *r, struct arena *a);
/* Fills the reply's outputs with views that live as long as the arena; false: it is not there. */
bool cache_get(struct cache *c, struct str key, struct arena *a, struct infer_reply *out);
/* Keeps copies. What is larger than a quarter of the cache is not kept. */
void cache_put(struct cache *c, struct str key, const struct infer_reply *reply);
