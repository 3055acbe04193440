/* A plan: one graph, from one of its nodes on, compiled for concrete types of what it is given. Kernels are chosen, every
 * intermediate has its place in one workspace, and running is a walk over steps. Immutable once built, refcounted,
 * shared by all threads.
 *
 * A plan goes as far as shapes are known: to the graph's end, where all of them follow from the inputs' shapes. In front
 * of a node that needs a shape, or elements, that only running tells, it ends early; what the rest of the graph looks at
 * is then given to the next plan, as inputs are to the first. Which node that is follows from the types alone, so
 * the next plan is found by their key like any other, and a straight-line graph never meets any of this. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"
#include "exec/model.h"
#include "exec/recall.h"
#include "kernels/kernel.h"
#include "tensor/tensor.h"

#include <stdatomic.h>
#include <stdint.h>

/* A value between plans: what it is and where its bytes are. */
struct cell {
    const struct value *value;
    dtype dtype;
    bool known; /* planning may look at the elements: they are part of the key */
    struct shape shape;
    const void *data;
};

enum place_kind {
    PLACE_NONE,      /* an absent optional input */
    PLACE_CONSTANT,  /* bytes of the model, or computed while planning */
    PLACE_GIVEN,     /* data of the given cell `index` */
    PLACE_WORKSPACE, /* `offset` bytes into the workspace */
    PLACE_LATE,      /* where a step with graphs says, in late slot `index` */
};

struct place {
    enum place_kind kind;
    int32_t index;
    size_t offset;
    const void *data;
};

struct control; /* control.c */

struct plan_step {
    const struct kernel *kernel;   /* NULL: control runs it */
    const struct control *control; /* of an OP_CONTROL operator */
    const struct node *node;
    void *state;
    struct place *in, *out;
    struct cell *cell; /* control's: the types of its inputs */
    int in_count, out_count;
    int late;     /* first late slot of its outputs; -1: their shapes are planned */
    bool shared;  /* its state is the base's, which releases it */
    double flops; /* for profiles; 0: not counted */
};

/* What the rest of the graph looks at, or, at its end, the graph's outputs, each followed by its LoD levels. */
struct plan_live {
    struct cell cell; /* without data; shape: the upper bound where it is late */
    struct place place;
    int late; /* the slot that says its shape; -1: it is as planned */
};

/* Types of what is given, flattened, so that two requests compare with one memcmp. */
struct plan_key {
    const int64_t *word;
    int count;
    uint64_t hash;
};

struct recipe; /* rebind.h */

struct plan {
    struct kept kept;      /* first: executors remember plans */
    struct list node;      /* in the model's cache; guarded by its lock, and so are the next two */
    struct list same_hash; /* in one of the cache's buckets */
    struct list base_node; /* among those that others may be made out of; alone where it is none */
    atomic_int refs;
    struct arena arena;
    struct plan_key key;
    const struct graph *graph;
    bool is_raw;                 /* it reads constants where copies would be faster (settle.c) */
    atomic_int recalls;          /* of a raw one: how often it was used again */
    struct plan *base;           /* whose steps it shares; NULL: none */
    const struct recipe *recipe; /* NULL: no other plan can be made out of it */
    const struct cell *given;    /* with a recipe: what it was made for, without data */
    int given_count;
    struct plan_step *steps;
    int step_count;
    struct plan_live *live;
    int live_count;
    uint32_t next;          /* the node to go on with; graph->node_count: this was all */
    int late_count;         /* outputs whose shapes only running tells */
    int max_in, max_out;    /* longest argument lists of a step */
    size_t workspace_bytes; /* intermediates, then scratch from scratch_offset on */
    size_t scratch_offset;
};

/* What a plan is built from. Of the cells, types are looked at, and the elements of those that are known, which are
 * copied. Every value that nodes from `first` on look at is among them, or a constant. */
struct plan_request {
    const struct graph *graph;
    uint32_t first;
    const struct cell *given;
    int given_count;
    struct packs *packs;
    const struct model_options *options;
    uint64_t model_id;
    struct plan_key key;   /* copied */
    struct arena *scratch; /* for while it is made, reset before; NULL: its own */
    bool is_no_pattern;    /* nothing will be made out of it */
    bool is_settled;       /* constants are read from aligned copies (settle.c) */
    struct buf *explain;   /* NULL, or receives the choice of kernels as text */
};

status plan_build(const struct plan_request *r, struct plan **out, struct err *e);
/* Private to those who make plans: an empty one. steps: about how many it will have, so that a small one stays small. */
struct plan *plan_new(const struct plan_request *r, int steps);
struct plan *plan_ref(struct plan *p);
void plan_unref(struct plan *p);
size_t plan_bytes(const struct plan *p); /* memory that it holds, without a workspace */

/* Words "node 'conv2d_0' (conv2d (operator 3)): " in front. */
status node_fault(const struct node *n, status s, struct err *e);

/* One intermediate to place: its size and the steps that it must live through. */
struct extent {
    size_t bytes;
    int first, last;
    size_t offset; /* out */
};
/* Gives each extent an offset so that no two that live at the same time overlap; returns the total,
 * SIZE_MAX when it does not fit size_t. Largest first, each at the lowest gap that holds it. */
size_t layout_extents(struct extent *e, int count, struct arena *scratch);

/* The model's cache of plans (model.c). r->key is its key. Gives a reference. */
status model_plan(struct model *m, struct plan_request *r, struct plan **out, struct err *e);
struct packs *model_packs(const struct model *m);
const struct model_options *model_opts(const struct model *m);
