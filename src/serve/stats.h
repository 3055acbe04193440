/* What the server counts of its calls: for each model, version, protocol and form of message one entry a lane, written by
 * that lane's loop alone and without a lock; readers on other threads add the lanes up. A sum may so be a call older in
 * one place than in another. */
#pragma once

#include "base/arena.h"
#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum stage {
    STAGE_PARSE, /* decompressed and decoded */
    STAGE_QUEUE, /* waiting for a worker */
    STAGE_BATCH, /* waiting for others to be computed with */
    STAGE_COMPUTE,
    STAGE_ENCODE,
    STAGE_COUNT,
};

const char *stage_name(enum stage s); /* "parse" */

#define STATS_BUCKETS  24 /* the last one has no bound */
#define STATS_STATUSES 24
#define STATS_ENTRIES  1024 /* a lane; calls beyond them are not counted */
#define STATS_BATCHES  16   /* sizes told apart, an entry */

typedef atomic_uint_fast64_t counter; /* one writer */

struct stats_time {
    counter sum_ns;
    counter bucket[STATS_BUCKETS];
};

struct stats_batch {
    counter rows; /* 0: unused */
    counter calls, compute_ns;
};

struct stats_key {
    const char *model;
    int64_t version;
    const char *protocol; /* "HTTP/1.1"; static */
    const char *form;     /* "oip"; static */
};

struct stats_entry {
    struct stats_key key;              /* model: its own copy */
    counter by_status[STATS_STATUSES]; /* [-status] */
    counter rows, bytes_in, bytes_out;
    counter last_ns; /* clock_ns of the last good call */
    struct stats_time total, fail_total, stage[STAGE_COUNT];
    struct stats_batch batch[STATS_BATCHES];
};

struct stats {
    struct stats_entry *entry[STATS_ENTRIES];
    atomic_int count;
    struct stats_entry *last; /* of the lane alone: calls come in runs of one kind */
};

/* One call that has ended. */
struct stats_call {
    struct stats_key key;
    status result;
    int64_t rows;
    uint64_t end_ns; /* clock_ns */
    uint64_t total_ns, stage_ns[STAGE_COUNT];
    size_t bytes_in, bytes_out;
};

void stats_init(struct stats *s);
void stats_deinit(struct stats *s);
void stats_add(struct stats *s, const struct stats_call *c); /* on the lane's loop */

/* Upper bound of a bucket in nanoseconds; UINT64_MAX for the last. */
uint64_t stats_bound_ns(int bucket);
/* Adds the numbers of `from` to those of `to`, which nobody else writes. The key stays. */
void stats_sum(struct stats_entry *to, const struct stats_entry *from);
uint64_t stats_calls(const struct stats_time *t); /* all of its buckets */

static inline uint64_t counter_get(const counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}
