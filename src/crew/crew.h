/* Supervised worker processes, and the graph of operators that requests go through in them: how user code in another
 * language serves requests without a part in receiving them, queueing them, making batches of them or answering them.
 *
 * A *zygote* (a process of the user's program) forks a *worker process* when it is told to. A worker process has *slots*,
 * each a socket on which one thread of it waits for work of one *operator*; a slot works on one batch at a time. A worker
 * that ends, by whatever happened to it, fails what its slots were working on, and another one takes its place.
 *
 * A request goes through the operators in the order of the graph: what an operator makes of it is bytes that are handed on
 * and never looked into here, the last one's are the answer. docs/python.md tells what goes over the sockets (wire.h).
 *
 * Threads: the crew has none. Somebody's event loop takes its turns (crew_turn), in which workers are heard and requests end;
 * requests come from any thread. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/str.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct crew;
struct crew_task;

/* How a request came and an answer goes; workers are told. */
enum crew_form {
    CREW_HTTP = 1,
    CREW_GRPC = 2,
};

/* One request. The caller fills the first group and keeps it, and what it points to, until `done`. */
struct crew_task {
    enum crew_form form;
    struct str head, body;             /* head: the path that was asked; at most CREW_HEAD_BYTES */
    uint64_t deadline_ns;              /* 0: the crew's own limit counts */
    const atomic_bool *gone[2];        /* NULL, or set when nobody waits for the answer any more */
    struct buf *reply;                 /* the answer is appended to it */
    void (*done)(struct crew_task *t); /* once, in a turn */

    /* What done finds. */
    status result;
    int code; /* OK: the answer's, as HTTP has it */
    struct err err;
};

#define CREW_HEAD_BYTES 4096

/* Takes the socket to a zygote, whose first message says what there is to run (conf.h), starts the workers, and returns
 * when all are ready. A worker that cannot begin is a fault, in its own words. */
status crew_open(int zygote_fd, struct crew **out, struct err *e);
/* BUSY: as many requests as the configuration allows are on their way; STOPPING: the zygote has gone. Then done is not
 * called. */
status crew_submit(struct crew *c, struct crew_task *t);
/* When this is readable, or the time (clock_ns; UINT64_MAX: none) that the last turn returned has come, it is time for a turn. One thread
 * takes them all. */
int crew_poll_fd(const struct crew *c);
uint64_t crew_turn(struct crew *c);
/* Nobody takes turns any more. Ends the workers; what is on its way is dropped, so nothing may be. */
void crew_close(struct crew *c);

/* The name of the service that the configuration gives; "" for any. */
const char *crew_name(const struct crew *c);
/* Whether its requests and answers are those of a pipeline, which answers faults as messages. */
bool crew_is_pipeline(const struct crew *c);

/* ---- what it has done; any thread ---- */

#define CREW_OPS_MAX 128
#define CREW_LATEST  4096 /* durations that are kept between two looks */
#define CREW_BAD_IDS 64

struct crew_op_view {
    const char *name;
    int slots, busy, queued, queued_most, channel_size;
    uint64_t requests, failures, batches;
    /* Sums over batches; in: of requests in the queue. */
    uint64_t in_us, prep_us, midp_us, postp_us;
};

struct crew_view {
    const char *name;
    int op_count, processes, ready, in_flight;
    uint64_t restarts, answered, failed, refused, sum_us;
    struct crew_op_view op[CREW_OPS_MAX];
    /* Since the last look that took. */
    int latest_count, bad_count;
    uint32_t latest_us[CREW_LATEST];
    uint64_t taken_count, taken_failed, taken_us;
    uint64_t bad[CREW_BAD_IDS];
};

/* take: begins a new interval. */
void crew_look(struct crew *c, bool take, struct crew_view *out);
