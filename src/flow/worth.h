/* Whether computing requests together pays, measured while it goes on.
 *
 * Joining saves what a model reads again and again and what it prepares for each run, and costs what padding adds and, for a
 * quick model, the way to another thread and back. Which of them is more, no rule of thumb tells: a recurrent layer gains half,
 * a small transformer that already keeps the core busy nothing. So all ways are timed by what they are asked for, element by
 * element: now and then a request that could have been joined is computed by itself, and where that turns out to be quick,
 * requests pass the queue for a moment, since a thread that does nothing else finds more of the model in its core's cache.
 * Where joining does not pay requests stay apart for a while, and then it is tried again.
 *
 * No lock, no clock: the caller has both. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* What some requests cost: processor time, elements of their inputs without padding, how many they are. */
struct worth_cost {
    double ns, elements, requests;
};

struct worth_sum {
    struct worth_cost of;
    int runs;
};

struct worth {
    struct worth_sum joined, alone, direct; /* zeros at first, as all of it */
    /* a request may be computed by whoever has it: direct is what joining is held against */
    bool quick;
    int seen, queued; /* batches: all; since requests passed the queue last */
    int tried;        /* requests that passed it then */
    uint64_t trial_until_ns, apart_until_ns, apart_ns;
    unsigned turn;
};

/* What a batch of the queue cost, of one request too. */
void worth_note_queued(struct worth *w, struct worth_cost cost, uint64_t now);
/* A batch of one that worth_compares asked for. */
void worth_note_alone(struct worth *w, struct worth_cost cost);
/* A request that passed the queue. */
void worth_note_direct(struct worth *w, struct worth_cost cost, uint64_t now);
/* Whether the next batch is to be one request, for comparison. */
bool worth_compares(struct worth *w);
/* Whether batches are of one request now. */
bool worth_is_apart(const struct worth *w, uint64_t now);
/* Until when requests pass the queue; 0: they do not. */
uint64_t worth_passes_until(const struct worth *w);
