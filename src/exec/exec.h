/* Running a model. An exec holds one thread's working memory and is used by one thread at a time;
 * it serves any number of models, one after another. */
#pragma once

#include "base/err.h"
#include "exec/model.h"
#include "tensor/tensor.h"

struct exec;

struct exec *exec_new(void);
void exec_free(struct exec *x);

/* in: one tensor per model input, in model_inputs order; dtype, rank, known dimensions and LoD are
 * checked against the port (INVALID, words name the port by its alias). out: room for one tensor
 * per model output, in model_outputs order; their bytes and offsets live in the exec until its next
 * run. LoD offsets of outputs are given for ragged ports. INVALID for what the request did wrong
 * (an id outside a table), other codes for what it did not. */
status exec_run(struct exec *x, struct model *m, const struct tensor *in, struct tensor *out,
                struct err *e);

/* Whether m takes these feeds, as exec_run checks it: their types, not their elements. */
status exec_check(const struct model *m, const struct tensor *in, struct err *e);
/* What exec_run does before it computes: checks the feeds' types (not their elements), plans for their shapes and gets the
 * working memory. */
status exec_prepare(struct exec *x, struct model *m, const struct tensor *in, struct err *e);

/* Gives working memory above keep_bytes back to the system. */
void exec_trim(struct exec *x, size_t keep_bytes);
/* Bytes of working memory held now. */
size_t exec_bytes(const struct exec *x);

/* Peak working memory of a plan for these input shapes, and the kernels it chose, as lines of text;
 * for inspect. */
struct buf;
status exec_explain(struct model *m, const struct tensor *in, struct buf *out, struct err *e);

/* For profiles: called behind every step of every run, on the thread that runs. flops: multiplications and additions, 0
 * where they are not counted. kernel: NULL for a step that runs graphs. */
struct exec_step {
    const struct node *node;
    const char *op; /* what the step does: the node's operator, or "reorder" */
    const char *kernel;
    uint64_t begin_ns, end_ns; /* clock_ns */
    double flops;
};
typedef void (*exec_watch_fn)(void *arg, const struct exec_step *s);
void exec_watch(struct exec *x, exec_watch_fn fn, void *arg); /* NULL: nobody watches any more */
