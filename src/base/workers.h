/* A fixed pool of worker threads with one bounded queue: how slow work leaves an event loop.
 *
 * A job is embedded in what it works on and is run once, on any worker. It returns to its loop by its own `run` (which
 * ends with that loop's wake-up); the pool never touches a job after calling run, so run may free it. */
#pragma once

#include "base/list.h"

#include <stdbool.h>

struct workers;

struct job {
    struct list node;                       /* guarded by the pool's lock while queued */
    void (*run)(struct job *j, int worker); /* worker: 0 .. count-1, for per-worker state */
};

struct workers *workers_start(int count, int queue_max);
/* false: the queue is full, or the pool has stopped; the job was not taken. Any thread. */
bool workers_submit(struct workers *w, struct job *j);
int workers_count(const struct workers *w);
/* Runs what is queued, then ends the threads. From then on nothing is taken any more. Not from a worker. */
void workers_stop(struct workers *w);
/* The same, and frees the pool: nobody may submit any more. */
void workers_free(struct workers *w);
