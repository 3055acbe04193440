/* A loaded model: the graph after its passes, its ports, and the plans made for it so far.
 *
 * Immutable to its users and shared by all threads; refcounted. Plans are cached inside (bounded by
 * LIMIT_PLANS and bytes, least recently used goes first) behind a lock that is held for a look-up
 * only. */
#pragma once

#include "base/err.h"
#include "exec/precision.h"
#include "graph/graph.h"
#include "import/import.h"

#include <stdint.h>

struct model;

struct model_options {
    int threads;  /* intra-op threads of each run; 0 means 1 */
    bool no_fuse; /* leave the graph as imported: for finding a pass's fault */
    bool detach;  /* parameters are copied: their files may be overwritten while it serves */
    precision precision;
    bool ref_only; /* use the ref kernels alone: the truth that fast kernels are compared with */
    size_t max_arena_bytes; /* working memory of one run; 0: LIMIT_ARENA_OF_RUN */
    /* who computes it, as engines.h has it; NULL: who knows such files. Read by model_open alone */
    const char *engine;
    /* names of values in between, which become outputs behind the model's own */
    const char *const *fetch;
    int fetch_count;
};

/* opt may be NULL. Checks everything that can be checked without a request: operators known, shapes
 * that can agree, and, where all input dimensions but the first are known, a plan for batch 1 (so
 * that a model that cannot run fails here). */
status model_open(const char *path, const struct model_options *opt, struct model **out,
                  struct err *e);
struct model *model_ref(struct model *m);
void model_unref(struct model *m); /* the last one frees it */

const struct port *model_inputs(const struct model *m, int *count);
const struct port *model_outputs(const struct model *m, int *count);
const struct graph *model_graph(const struct model *m);
const struct imported *model_imported(const struct model *m);
/* Feeds of zeros for a batch of one, one for each input, in the arena; false where the model leaves more than the batch
 * dimension open. For trying a model out. */
bool model_sample(const struct model *m, struct arena *a, struct tensor **in);
/* One line about the precision that was asked for: what this processor or this model lacks for it. NULL: nothing. */
const char *model_remark(const struct model *m);
uint64_t model_load_ns(const struct model *m); /* how long model_open took */
size_t model_pack_bytes(const struct model *m);
