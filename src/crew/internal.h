/* Private to the room. Everything in these structs is guarded by the crew's lock but what is said to be set before start,
 * and a busy slot's sockets and areas, which are read in turns alone. */
#pragma once

#include "base/arena.h"
#include "crew/area.h"
#include "crew/conf.h"
#include "crew/crew.h"
#include "crew/wire.h"

#include <pthread.h>
#include <sys/types.h>

/* What an operator made of a request; shared by the operators behind it. */
struct blob {
    int refs;
    size_t n;
    uint8_t p[];
};

struct made {
    struct blob *blob; /* NULL: not yet */
    bool started;
};

/* A request on its way. It is freed when its task is done and no turn of it is left. */
struct request {
    struct list node; /* active; then over */
    struct crew *crew;
    struct crew_task *task;
    uint64_t id, begin_ns, deadline_ns;
    int refs;
    int attempt, attempts_left;
    bool finished, at_fault; /* at_fault: its answer tells an error */
    struct made of[];        /* by operator */
};

#define ALL_INPUTS (-2)

/* A request in front of an operator, or in its hands. */
struct turn {
    struct list node;
    struct request *request;
    struct op *op;
    int attempt;
    int only; /* the operator that jumped here, or ALL_INPUTS */
    uint64_t since_ns;
};

struct op {
    const struct crew_op_conf *conf;
    struct crew *crew;
    int index;
    struct list queue, idle; /* struct turn; struct slot */
    int queued, queued_most, slots, busy;
    uint64_t requests, failures, batches, in_us, prep_us, midp_us, postp_us;
};

struct slot {
    struct list node; /* in its operator's idle list */
    struct process *process;
    struct op *op;
    int fd;
    struct area down, up;
    bool ready, busy;
    uint64_t number; /* of the latest batch */
    uint64_t deadline_ns;
    struct turn *work[CREW_BATCH_MAX];
    int count;
};

struct process {
    struct crew *crew;
    int index;
    pid_t pid; /* 0: the zygote has not told yet */
    bool alive;
    int ready;                   /* slots that are */
    int faults;                  /* starts in a row that came to nothing */
    uint64_t since_ns, start_ns; /* dead: when the next one is started */
    struct slot *slot;
    int slot_count, busy;
};

struct crew {
    struct arena arena;
    struct crew_conf conf; /* set before start */
    int zygote, poll, wake;
    pthread_mutex_t lock;
    struct arena scratch;
    struct op *op;
    struct process *process;
    struct list active, over;
    int in_flight;
    bool stopping, orphan, starting;
    status fault; /* of the start */
    struct err words;
    uint64_t next_id, check_ns, wake_ns;
    uint64_t restarts, answered, failed, refused, sum_us;
    uint64_t taken_count, taken_failed, taken_us, bad[CREW_BAD_IDS];
    uint32_t latest_us[CREW_LATEST];
    int latest_count, bad_count;
};

/* ---- processes (process.c); under the lock but what is said ---- */

void process_start(struct process *p);
/* Its turns fail, its sockets are closed, its successor is due. */
void process_dead(struct process *p, const char *why);
/* Gives a batch of an idle slot's operator to it. false: the process has gone and the turns are untouched. */
bool slot_give(struct slot *s, struct turn *const *turn, int count, struct err *e, status *fault);
/* There is something to hear. Takes the lock itself; in a turn. */
void slot_hear(struct slot *s);
void zygote_hear(struct crew *c); /* the same */
/* Starts what is due, ends what is stuck; the next time that something is. */
uint64_t processes_tick(struct crew *c, uint64_t now);
/* Ends the process itself, whatever it does. */
void process_kill(struct process *p);
void process_close(struct process *p);

/* ---- requests (graph.c); under the lock ---- */

void request_begin(struct request *r);
void request_finish(struct request *r, status s, const char *words);
void request_unref(struct request *r);
void turn_free(struct turn *t);
/* What a worker made of it; frees the turn. */
void turn_deliver(struct turn *t, const struct crew_outcome *o);
void turn_fail(struct turn *t, status s, const char *words);
/* Gives waiting requests to idle slots; 0, or when a batch that is not full is due. */
uint64_t op_dispatch(struct op *op, uint64_t now);
/* When a turn has to come, at the latest. */
void crew_wake_by(struct crew *c, uint64_t ns);
/* A turn hears of it when there is something to read: the crew is the zygote, &wake the wake-ups, all else a slot. */
status crew_watch(struct crew *c, int fd, void *what);
