#include "base/map.h"

#include <pthread.h>
#include <sys/random.h>

struct map_entry {
    struct map_entry *next;
    uint64_t hash;
    struct str key;
    void *value;
};

#define FIRST_SLOTS 16

static uint64_t seed = 0x9e3779b97f4a7c15u;
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
    uint64_t random;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) == (ssize_t)sizeof(random))
        seed ^= random;
}

/* FNV-1a over the bytes, started from the seed and finished with a mix (the 64-bit finaliser of MurmurHash3). */
uint64_t map_hash(struct str key)
{
    pthread_once(&seed_once, make_seed);
    uint64_t h = seed;
    for (size_t i = 0; i < key.n; i++)
        h = (h ^ (uint8_t)key.p[i]) * 0x100000001b3u;
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    return h;
}

void map_init(struct map *m, struct arena *a)
{
    *m = (struct map){ .arena = a, .slot_count = FIRST_SLOTS };
    m->slots = arena_zalloc(a, FIRST_SLOTS * sizeof(struct map_entry *));
}

static struct map_entry *find(const struct map *m, struct str key, uint64_t hash)
{
    struct map_entry *e = m->slots[hash & (m->slot_count - 1)];
    while (e != NULL && !(e->hash == hash && str_eq(e->key, key)))
        e = e->next;
    return e;
}

void *map_get(const struct map *m, struct str key)
{
    struct map_entry *e = find(m, key, map_hash(key));
    return e != NULL ? e->value : NULL;
}

static void grow(struct map *m)
{
    size_t count = m->slot_count * 2;
    struct map_entry **slots = arena_zalloc(m->arena, count * sizeof(struct map_entry *));
    for (size_t i = 0; i < m->slot_count; i++) {
        for (struct map_entry *e = m->slots[i], *next; e != NULL; e = next) {
            next = e->next;
            e->next = slots[e->hash & (count - 1)];
            slots[e->hash & (count - 1)] = e;
        }
    }
    m->slots = slots;
    m->slot_count = count;
}

bool map_put(struct map *m, struct str key, void *value)
{
    uint64_t hash = map_hash(key);
    if (find(m, key, hash) != NULL)
        return false;
    if (m->count == m->slot_count)
        grow(m);
    struct map_entry *e = arena_alloc(m->arena, sizeof(*e));
    *e = (struct map_entry){
        .next = m->slots[hash & (m->slot_count - 1)], .hash = hash, .key = key, .value = value
    };
    m->slots[hash & (m->slot_count - 1)] = e;
    m->count++;
    return true;
}
