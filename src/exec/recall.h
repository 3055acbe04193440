/* What an executor remembers of the models that it ran, between its runs: plans, and sessions of other engines.
 *
 * A run takes out what it wants and puts it back when it ends. So a model that is freed meanwhile, by any thread, can
 * throw away what is its own, wherever it is remembered: nothing of a model outlives it. Slots are exchanged atomically;
 * nobody waits for anybody. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RECALL_SLOTS 32

/* The first member of what is remembered. */
struct kept {
    uint64_t model_id;
    void (*unref)(struct kept *k);
};

struct recall; /* refcounted: its executor has a reference, and each model that it ran */

struct recall *recall_new(void);
struct recall *recall_ref(struct recall *r);
void recall_unref(struct recall *r);
bool recall_is_shared(const struct recall *r); /* whether somebody else has a reference */

/* What is in the slot, with its reference; NULL: nothing. Its executor's thread alone. */
struct kept *recall_take(struct recall *r, size_t slot);
/* Gives k's reference to the slot; false where something is in it. Its executor's thread alone. */
bool recall_put(struct recall *r, size_t slot, struct kept *k);
/* Drops what is of this model, which nobody runs any more. Any thread. */
void recall_forget(struct recall *r, uint64_t model_id);
/* Drops everything. Its executor's thread alone. */
void recall_clear(struct recall *r);
