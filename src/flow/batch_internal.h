/* Private to the two files of batching: batch_queue.c keeps the requests that wait and says which of them are the next batch;
 * batch.c computes it, hands the answers out, and learns whether that pays. */
#pragma once

#include "base/arena.h"
#include "flow/batch.h"
#include "flow/worth.h"

#include <pthread.h>

/* Requests of one connection. */
struct source {
    struct list node;   /* in its level's ring, or in the spare list */
    struct list bucket; /* in the level's hash */
    struct list items;
    uint64_t id;
};

#define BUCKETS 64

struct level {
    struct list ring;
    struct list hash[BUCKETS];
    int sources;
    int64_t queued; /* of its priority, the overdue ones too */
};

struct batch_thread {
    pthread_t thread;
    struct batcher *batcher;
    bool started;
};

struct batcher {
    struct model *model;
    struct batch_options options;
    struct batch_counters *counters;
    int inputs, outputs;
    int levels;              /* the last one is for those that are overdue */
    atomic_bool inseparable; /* its outputs have no rows to be given back: each request by itself */
    bool measures;           /* whether joining pays, and acts on it */
    atomic_uint_fast64_t pass_until_ns; /* requests need no queue */
    atomic_bool is_trial;               /* each of them is measured */

    pthread_mutex_t lock;
    pthread_cond_t there; /* monotonic clock */
    struct level *level;  /* guarded by lock, like all below */
    struct list spare;    /* struct source */
    int64_t queued, queued_rows;
    bool stopping;
    struct worth worth;
    struct batch_thread *thread;
};

/* Some rows of one request, in one batch. */
struct unit {
    struct batch_item *item;
    int64_t begin, end;
};

struct batch {
    struct arena arena;
    struct unit *unit;
    int count, room;
    int64_t rows;
    bool single, compared; /* one request alone: for now, or to be compared with joined ones */
    uint64_t spent_ns;     /* processor time of joining and computing */
};

/* ---- batch_queue.c ---- */

void batch_queue_init(struct batcher *b);
void batch_queue_deinit(struct batcher *b);
/* Waits for the next batch; of none where requests had to be refused instead. false: the batcher ends. swept is the thread's
 * own, 0 at first. */
bool batch_take(struct batcher *b, struct batch *t, uint64_t *swept);
