/* The operator graph of a service: what happens to a request between protocol and engine.
 *
 * An operator is a row (type, how it is opened, what it does to one request); a node is one of them in a graph, under a
 * name. Values between nodes are lists of named tensors. A graph without branches runs inline on the calling thread, and
 * the chain that `--model` means (reader, infer, response) costs nothing more; branches run side by side on the workers.
 * A node may finish later, on another thread (batching, another server): the call is then continued there. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/workers.h"
#include "exec/exec.h"
#include "exec/model.h"
#include "flow/batch.h"
#include "flow/cache.h"
#include "flow/trace.h"
#include "tensor/call.h"

#include <stdatomic.h>
#include <stdint.h>

struct flow; /* immutable once built; refcounted; any thread */

/* What a server gives its flows to work with; outlives them. Without workers, branches run one after another. */
struct flow_env {
    struct workers *workers;
    struct exec *const *worker_exec; /* one for each worker */
    struct trace *trace;             /* NULL: nobody ever looks */
};

/* One request on its way. The caller fills the first two groups; what operators make lives in the arena, in arenas that it
 * adopts, and in the exec, until the exec's next run. */
struct flow_call {
    const struct infer_request *request;
    struct infer_reply *reply;
    struct arena *arena;
    struct exec *exec; /* of the thread that starts it */
    struct err *err;   /* words of a fault */

    uint64_t source;      /* who asks: connections take turns */
    uint64_t deadline_ns; /* 0: none */
    uint64_t
        now_ns; /* in: when it starts, or 0 where nobody looked (each look costs some 30 ns); out: when it ended */
    int64_t begin_us;           /* when it starts, as the reply says it; 0: nobody looked */
    const atomic_bool *gone[2]; /* either says: nobody waits for the answer any more; may be NULL */
    bool keep;                  /* the reply must outlive `finished` */
    /* Where flow_start said LATER: called once, on any thread; what the reply holds lives until it returns. */
    void (*finished)(struct flow_call *c, status s);

    uint64_t waited_ns; /* out: for others to be computed with */

    struct flow_run *run; /* the flow's own */
};

struct flow_options {
    const char *name; /* what it is served as; copied */
    int64_t version;
    const struct flow_env *env;        /* NULL: no workers */
    const struct batch_options *batch; /* of its infer nodes; NULL: no batching */
    size_t max_arena_bytes;            /* of a service's models, as in model_options */
    precision precision;               /* the same */
    const char *engine;                /* the same, of those that say nothing else */
    size_t cache_bytes;                /* answers kept for requests that come again; 0: none */
    /* Takes a flow that nobody holds any more, on whatever thread let it go last, to flow_destroy it where that is no
     * hindrance: giving a large model's memory back takes milliseconds. NULL: it is destroyed at once. */
    void (*dispose)(struct flow *f, void *arg);
    void *dispose_arg;
};

/* The chain that one model means, warmed up where the model can be tried on zeros; takes its own reference to m. INVALID
 * apart (zeros may be no good input), what fails in warming up fails here. */
status flow_for_model(struct model *m, const struct flow_options *opt, struct flow **out,
                      struct err *e);
struct flow *flow_ref(struct flow *f);
void flow_unref(struct flow *f);
void flow_destroy(struct flow *f); /* for dispose alone */

const char *flow_name(const struct flow *f);
int64_t flow_version(const struct flow *f);
struct model *
flow_model(const struct flow *f); /* its first infer node's, borrowed; NULL: it has none */
/* What requests give and get, as the graph as a whole has it. */
const struct port *flow_inputs(const struct flow *f, int *count);
const struct port *flow_outputs(const struct flow *f, int *count);
/* Graphviz text, for `oar inspect --graph`. */
struct buf;
void flow_to_dot(const struct flow *f, struct buf *out);
bool flow_is_batched(const struct flow *f); /* some infer node computes in batches */
/* Of all its infer nodes together. */
const struct batch_counters *flow_batch_counters(const struct flow *f);
const struct cache_counters *flow_cache_counters(const struct flow *f); /* NULL: it has no cache */

/* Whether a call would only be refused now, its queue being full: said without a look at the request, so that an overloaded
 * server spends next to nothing on what it cannot do. BUSY with words; OK where a call has to be started to find out. */
status flow_refuses(const struct flow *f, struct err *e);
/* Starts a call. Any status: it has ended on this thread. FLOW_LATER: `finished` is or was called on another one, and the
 * call is not to be touched here any more. Learns how long calls take. */
#define FLOW_LATER ((status)1)
status flow_start(struct flow *f, struct flow_call *c);
/* The same, and waits; source, keep, finished and now_ns are its own. */
status flow_run(struct flow *f, struct flow_call *c);
/* Whether flow_start may say LATER: what a call looks at must then outlive the calling function. */
bool flow_may_wait(const struct flow *f);
/* Whether a call's end is the flow's own fault, and not the caller's, or nobody's (too many, too late). */
bool flow_is_at_fault(status s);
/* How many calls were answered, and how many failed by the flow's own fault. */
void flow_ends(const struct flow *f, uint64_t *good, uint64_t *bad);
/* The time in nanoseconds that a call whose body has so many bytes is expected to take its threads, waiting left out, from
 * what calls took so far (moving averages); 0 where it is not known yet. Any thread. */
uint64_t flow_expect_ns(const struct flow *f, size_t body_bytes);
/* Calls of it that wait for a worker: counted by whoever queues them. */
atomic_int *flow_waiting(struct flow *f);
