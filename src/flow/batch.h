/* Batching: requests for one model that are there at the same time are computed as one.
 *
 * One queue and some threads of its own for each model that wants it. A thread takes what is queued, up to max_rows rows;
 * where delay_us is given, the oldest request may wait so long for others. Within a priority the connections take turns,
 * so that one that sends a thousand requests at once costs another that sends one no more than one turn. Ragged requests
 * are joined without padding, dense ones where all but their first dimension agree or where a rule says how to pad.
 * A request with more rows than max_rows is computed in pieces. Of those that wait the ones of like lengths are padded
 * together first. Where nothing says that requests are to wait, they are joined only as long as that pays (flow/worth.h).
 *
 * What one request does wrong touches no other: when a batch fails, each of it is computed by itself. */
#pragma once

#include "base/list.h"
#include "exec/exec.h"
#include "exec/model.h"
#include "flow/trace.h"
#include "tensor/tensor.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define BATCH_PREFERRED_MAX 16
#define BATCH_PADS_MAX      16
#define BATCH_LEVELS_MAX    16

struct batch_pad {
    int input, axis; /* which dimension of which input may differ, 1 or more */
    double value;    /* what fills it up */
};

struct batch_trim {
    int output, axis; /* which dimension of which output is cut back */
    int input;        /* to what the request's own input had there ... */
    int input_axis;
};

/* How a queue is kept. */
struct batch_policy {
    bool given;    /* of one priority: otherwise it is as that of all */
    int queue_max; /* requests that wait; 0: of all 4096, of one priority no bound of its own */
    int64_t timeout_us;    /* in the queue; 0: none */
    bool timeout_override; /* a request may ask for a shorter or longer one */
    bool delay_overdue; /* overdue requests are computed when there is nothing else, not refused */
};

struct batch_options {
    int threads;      /* 0: no batching */
    int64_t max_rows; /* 0: 32, the original's */
    int64_t delay_us;
    int64_t preferred[BATCH_PREFERRED_MAX]; /* rising; such a batch does not wait for more */
    int preferred_count;
    int levels;        /* priorities, 1 the most urgent; 0: one for all */
    int default_level; /* of a request that names none; 0: the middle one */
    struct batch_policy all, own[BATCH_LEVELS_MAX]; /* own: of priorities 1 and on */
    struct batch_pad pad[BATCH_PADS_MAX];
    int pad_count;
    struct batch_trim trim[BATCH_PADS_MAX];
    int trim_count;
    struct trace *trace; /* NULL: nobody ever looks */
    const char *name;    /* of its spans; outlives the batcher */
};

/* One more size that is preferred, at its place; false: there are as many as may be. */
bool batch_prefer(struct batch_options *o, int64_t rows);

struct batch_counters {
    atomic_uint_fast64_t requests, batches, rows; /* computed */
    atomic_uint_fast64_t alone; /* requests computed again because their batch failed */
    atomic_uint_fast64_t refused, overdue;
    atomic_uint_fast64_t direct; /* that were let pass */
    atomic_uint_fast64_t elements,
        padding; /* of padded inputs: all of them, and those that were added */
    atomic_int_fast64_t queued;
};

struct batcher;

/* One request on its way; embedded in what asks, which fills the first group. */
struct batch_item {
    const struct tensor *in;    /* the model's inputs, in its order; they live until done */
    uint64_t source;            /* who asks: they take turns */
    int level;                  /* 0: the default */
    uint64_t deadline_ns;       /* 0: none */
    int64_t timeout_us;         /* of its own; 0: the queue's */
    const atomic_bool *gone[2]; /* either says: nobody waits for it any more; may be NULL */
    /* Once, on the batcher's thread: out, the model's outputs, lives until it returns; x is the thread's, whose workspace
     * they may lie in. err has the words of a fault. */
    void (*done)(struct batch_item *i, status s, const struct tensor *out, struct exec *x);
    struct err err;

    int queue;        /* of which priority it is, from 0 */
    struct list node; /* the rest is the batcher's; guarded by its lock */
    int64_t rows, taken, finished;
    uint64_t since_ns, begun_ns; /* when it was queued, and when its first rows were taken */
    bool overdue;
    struct list pieces;
    status failed;
};

/* Takes its own reference to m. */
struct batcher *batcher_new(struct model *m, const struct batch_options *o,
                            struct batch_counters *counters);
/* Computes what is queued first; nobody may submit any more. Not from one of its threads. */
void batcher_free(struct batcher *b);
/* Whether it would refuse anything now, its queue being full; counts a refusal if so. Any thread, no lock. */
bool batcher_refuses(struct batcher *b);
/* Whether a request is better computed by whoever has it, now, since joining it with others was measured not to pay. Only
 * where options say nothing of waiting: no delay, preferred sizes, priorities or timeouts. Any thread, no lock. */
bool batcher_lets_pass(const struct batcher *b);
/* Around the computing of one that passed, whose inputs are in. */
uint64_t batcher_begin_direct(struct batcher *b);
void batcher_end_direct(struct batcher *b, uint64_t begun, const struct tensor *in);
/* BUSY when the queue is full: done is not called then. INVALID for feeds that the model does not take. Any thread. */
status batcher_submit(struct batcher *b, struct batch_item *i, struct err *e);
