/* A hash map from names to pointers, in an arena: built once (model load, configuration), then only read.
 *
 * Keys are borrowed and must outlive the map. Not thread safe while it is built; free for any reader after. The hash is
 * seeded per process, so that names chosen by a stranger cannot make one long chain. */
#pragma once

#include "base/arena.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

struct map_entry;

struct map {
    struct arena *arena;
    struct map_entry **slots;
    size_t slot_count, count;
};

void map_init(struct map *m, struct arena *a);
void *map_get(const struct map *m, struct str key); /* NULL: not there */
/* Puts key -> value; returns false, and changes nothing, when the key is there already. value is not NULL. */
bool map_put(struct map *m, struct str key, void *value);

uint64_t map_hash(struct str key);
