/* Private to the room: what steps that run graphs need of the executor. */
#pragma once

#include "exec/exec.h"
#include "exec/plan.h"

bool plan_key_eq(const struct plan_key *a, const struct plan_key *b);

/* Runs g on `in`, one cell for each of its inputs. *out: one for each of its outputs; they and their bytes live until the
 * marks before this call are released, or the run ends. */
status exec_graph(struct exec *x, struct model *m, const struct graph *g, const struct cell *in,
                  int in_count, const struct cell **out, struct err *e);

/* A block of working memory for the rest of this run, by its number: blocks of later calls may move the list, never
 * the bytes. exec_resize loses what is in it. */
status exec_take(struct exec *x, size_t bytes, int *index, struct err *e);
status exec_resize(struct exec *x, int index, size_t bytes, struct err *e);
void *exec_block(struct exec *x, int index);

/* Whatever was taken, planned and run since the mark is given up by the release. */
struct exec_mark {
    int used, held;
};
struct exec_mark exec_mark(const struct exec *x);
void exec_release(struct exec *x, struct exec_mark mark);
