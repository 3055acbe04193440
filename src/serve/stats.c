#include "serve/stats.h"

#include "base/mem.h"

#include <string.h>

static const char *const stage_names[] = {
    [STAGE_PARSE] = "parse",     [STAGE_QUEUE] = "queue",   [STAGE_BATCH] = "batch",
    [STAGE_COMPUTE] = "compute", [STAGE_ENCODE] = "encode",
};

const char *stage_name(enum stage s)
{
    return stage_names[s];
}

// clang-format off
#define US(n) ((uint64_t)(n) * 1000)
static const uint64_t bound_ns[STATS_BUCKETS] = {
    US(1), US(2), US(5), US(10), US(20), US(50), US(100), US(200), US(500),
    US(1000), US(2000), US(5000), US(10000), US(20000), US(50000), US(100000), US(200000), US(500000),
    US(1000000), US(2000000), US(5000000), US(10000000), US(60000000), UINT64_MAX,
};
// clang-format on

uint64_t stats_bound_ns(int bucket)
{
    return bound_ns[bucket];
}

/* By the number of bits of a time: the first bucket that may hold it. */
// clang-format off
static const uint8_t first_bucket[] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20,
};
// clang-format on

static int bucket_of(uint64_t ns)
{
    size_t bits = 64 - (size_t)__builtin_clzll(ns | 1);
    int i = first_bucket[bits < ARRAY_LEN(first_bucket) ? bits : ARRAY_LEN(first_bucket) - 1];
    while (ns > bound_ns[i])
        i++;
    return i;
}

/* There is one writer, so that this needs no atomic addition. */
static inline void add(counter *c, uint64_t n)
{
    atomic_store_explicit(c, counter_get(c) + n, memory_order_relaxed);
}

static void add_time(struct stats_time *t, uint64_t ns)
{
    add(&t->sum_ns, ns);
    add(&t->bucket[bucket_of(ns)], 1);
}

void stats_init(struct stats *s)
{
    atomic_init(&s->count, 0);
    s->last = NULL;
}

void stats_deinit(struct stats *s)
{
    for (int i = 0; i < atomic_load(&s->count); i++) {
        mem_free((void *)(uintptr_t)s->entry[i]->key.model);
        mem_free(s->entry[i]);
    }
    atomic_store(&s->count, 0);
    s->last = NULL;
}

static bool same(const struct stats_key *a, const struct stats_key *b)
{
    return a->form == b->form && a->protocol == b->protocol && a->version == b->version &&
           strcmp(a->model, b->model) == 0;
}

static struct stats_entry *find(struct stats *s, const struct stats_key *key)
{
    if (s->last != NULL && same(&s->last->key, key))
        return s->last;
    int count = atomic_load_explicit(&s->count, memory_order_relaxed);
    for (int i = 0; i < count; i++)
        if (same(&s->entry[i]->key, key))
            return s->last = s->entry[i];
    if (count == STATS_ENTRIES)
        return NULL;
    struct stats_entry *made = mem_zalloc(sizeof(*made));
    made->key = *key;
    made->key.model = mem_strdup(key->model);
    s->entry[count] = made;
    atomic_store_explicit(&s->count, count + 1, memory_order_release);
    return s->last = made;
}

/* Sizes beyond those that fit are counted with the last one. */
static void add_batch(struct stats_entry *e, uint64_t rows, uint64_t compute_ns)
{
    int i = 0;
    while (i < STATS_BATCHES - 1 && counter_get(&e->batch[i].rows) != 0 &&
           counter_get(&e->batch[i].rows) != rows)
        i++;
    if (counter_get(&e->batch[i].rows) == 0)
        add(&e->batch[i].rows, rows);
    add(&e->batch[i].calls, 1);
    add(&e->batch[i].compute_ns, compute_ns);
}

void stats_add(struct stats *s, const struct stats_call *c)
{
    struct stats_entry *e = find(s, &c->key);
    int kind = -(int)c->result;
    if (e == NULL)
        return;
    add(&e->by_status[kind >= 0 && kind < STATS_STATUSES ? kind : -(int)INTERNAL], 1);
    add(&e->bytes_in, c->bytes_in);
    add(&e->bytes_out, c->bytes_out);
    if (c->result != OK) {
        add_time(&e->fail_total, c->total_ns);
        return;
    }
    atomic_store_explicit(&e->last_ns, c->end_ns, memory_order_relaxed);
    add(&e->rows, (uint64_t)c->rows);
    add_time(&e->total, c->total_ns);
    for (int i = 0; i < STAGE_COUNT; i++)
        add_time(&e->stage[i], c->stage_ns[i]);
    if (c->rows > 0)
        add_batch(e, (uint64_t)c->rows, c->stage_ns[STAGE_COMPUTE]);
}

uint64_t stats_calls(const struct stats_time *t)
{
    uint64_t n = 0;
    for (int i = 0; i < STATS_BUCKETS; i++)
        n += counter_get(&t->bucket[i]);
    return n;
}

static void sum_time(struct stats_time *to, const struct stats_time *from)
{
    add(&to->sum_ns, counter_get(&from->sum_ns));
    for (int i = 0; i < STATS_BUCKETS; i++)
        add(&to->bucket[i], counter_get(&from->bucket[i]));
}

static void sum_batches(struct stats_entry *to, const struct stats_entry *from)
{
    for (int i = 0; i < STATS_BATCHES; i++) {
        uint64_t rows = counter_get(&from->batch[i].rows);
        int k = 0;
        if (rows == 0)
            continue;
        while (k < STATS_BATCHES - 1 && counter_get(&to->batch[k].rows) != 0 &&
               counter_get(&to->batch[k].rows) != rows)
            k++;
        if (counter_get(&to->batch[k].rows) == 0)
            add(&to->batch[k].rows, rows);
        add(&to->batch[k].calls, counter_get(&from->batch[i].calls));
        add(&to->batch[k].compute_ns, counter_get(&from->batch[i].compute_ns));
    }
}

void stats_sum(struct stats_entry *to, const struct stats_entry *from)
{
    for (int i = 0; i < STATS_STATUSES; i++)
        add(&to->by_status[i], counter_get(&from->by_status[i]));
    add(&to->rows, counter_get(&from->rows));
    add(&to->bytes_in, counter_get(&from->bytes_in));
    add(&to->bytes_out, counter_get(&from->bytes_out));
    if (counter_get(&from->last_ns) > counter_get(&to->last_ns))
        atomic_store_explicit(&to->last_ns, counter_get(&from->last_ns), memory_order_relaxed);
    sum_time(&to->total, &from->total);
    sum_time(&to->fail_total, &from->fail_total);
    for (int i = 0; i < STAGE_COUNT; i++)
        sum_time(&to->stage[i], &from->stage[i]);
    sum_batches(to, from);
}
