/* A plan: one graph compiled for concrete input shapes. Kernels are chosen, every intermediate has
 * its place in one workspace, and running is a walk over steps. Immutable once built, refcounted,
 * shared by all threads. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "exec/model.h"
#include "kernels/kernel.h"
#include "tensor/tensor.h"

#include <stdatomic.h>
#include <stdint.h>

enum place_kind {
    PLACE_NONE,      /* an absent optional input */
    PLACE_CONSTANT,  /* bytes of the model */
    PLACE_INPUT,     /* data of the request's input `index` */
    PLACE_LOD,       /* offsets of level `level` of input `index` */
    PLACE_WORKSPACE, /* `offset` bytes into the workspace */
};

struct place {
    enum place_kind kind;
    int32_t index, level;
    size_t offset;
    const void *data;
};

struct plan_step {
    const struct kernel *kernel;
    const struct node *node;
    void *state;
    struct place *in, *out;
    int in_count, out_count;
};

struct plan_output {
    dtype dtype;
    struct shape shape;
    struct place data;
    int lod_levels;
    struct place lod[LOD_MAX];
    int64_t lod_count[LOD_MAX];
};

/* Shapes and LoD lengths of the inputs, flattened, so that two requests compare with one memcmp. */
struct plan_key {
    const int64_t *word;
    int count;
};

struct plan {
    struct list node; /* in the model's cache; guarded by its lock */
    atomic_int refs;
    struct arena arena;
    struct plan_key key;
    struct plan_step *steps;
    int step_count;
    struct plan_output *outputs; /* one per model output port */
    int max_in, max_out;         /* longest argument lists of a step */
    size_t workspace_bytes;      /* intermediates, then scratch from scratch_offset on */
    size_t scratch_offset;
};

/* What a plan is built from. in: one tensor per input port; only shapes and LoD lengths are looked
 * at. */
struct plan_request {
    const struct graph *graph;
    const struct imported *ports;
    struct packs *packs;
    const struct model_options *options;
    const struct tensor *in;
    struct plan_key key; /* copied */
    struct buf *explain; /* NULL, or receives the choice of kernels as text */
};

status plan_build(const struct plan_request *r, struct plan **out, struct err *e);
struct plan *plan_ref(struct plan *p);
void plan_unref(struct plan *p);

/* One intermediate to place: its size and the steps that it must live through. */
struct extent {
    size_t bytes;
    int first, last;
    size_t offset; /* out */
};
/* Gives each extent an offset so that no two that live at the same time overlap; returns the total,
 * SIZE_MAX when it does not fit size_t. Largest first, each at the lowest gap that holds it. */
size_t layout_extents(struct extent *e, int count, struct arena *scratch);

/* The model's cache of plans (model.c). Gives a reference. */
status model_plan(struct model *m, const struct tensor *in, struct plan_key key, struct plan **out,
                  struct err *e);
uint64_t model_id(const struct model *m); /* unique in the process, never used again */
struct packs *model_packs(const struct model *m);
const struct model_options *model_opts(const struct model *m);
