/* Kernels: how an operator is really computed, as const tables of rows, best first, the plain truth (ref) last.
 *
 * Life: while planning, `refuse` says whether this row can do the job (NULL) or why not; `prepare` builds immutable state
 * in the plan's arena for these exact types and says how much scratch a run needs. `run` then may be called by several
 * threads at once, each with its own io and scratch; it allocates nothing. A kernel writes every element of its outputs.
 *
 * Adding one: a row in kernels/<backend>/<family>.c, see docs/adding-a-kernel.md. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "graph/op.h"
#include "kernels/layout.h"

#include <stddef.h>
#include <stdint.h>

typedef enum device {
    DEVICE_CPU,
} device;

struct packs;

/* What planning knows of the node. */
struct kernel_ctx {
    const struct node *node;
    const struct type *in; /* absent optional inputs: rank -1 */
    const struct type *out;
    struct arena *arena; /* the plan's: state lives here */
    struct packs
        *packs;  /* weights in kernels' own layouts, shared by all plans of the model; never NULL */
    int threads; /* intra-op threads that the caller wants */
    bool bf16;   /* operands of products and convolutions may be rounded to bfloat16 */
    bool narrow; /* whoever reads output 0 wants it as bfloat16: give may say so */
    /* Where the caller knows layouts (else NULL, and everything is LAYOUT_PLAIN): how the inputs lie now; how prepare wants
     * them, and how it will leave its outputs. The last two are LAYOUT_PLAIN where it says nothing; the caller brings the
     * inputs to what it wants. in and out say the shapes of NCHW whatever the layout is. */
    const enum layout *have;
    enum layout *want, *give;
    /* prepare may set: output 0 would like to be written over this input (of the same layout and size), as far as that can
     * be; else it stays -1. NULL: it cannot. */
    int *over;
};

struct kernel_io {
    const void *const *in; /* NULL for an absent optional input */
    void *const *out;
    void *scratch; /* 64-aligned, as many bytes as prepare asked for */
    /* Of an OP_DYNAMIC operator: one for each output, the planned upper bounds. run puts in what it made, whose elements
     * lie dense from the output's beginning; of another rank if need be. NULL for all others. */
    struct shape *shape;
    struct err *err;
};

/* In kernel.dtypes: prepare and run read the constant input i (below 4) at any alignment, or not at all. Without it the
 * caller sees to an aligned copy, which costs its size in memory. SLOW_UNALIGNED: they do, but are faster on a copy, which a
 * model that runs again and again should have. */
#define KERNEL_ANY_ALIGNMENT(i)  (1u << (24 + (i)))
#define KERNEL_SLOW_UNALIGNED(i) (1u << (24 + (i)) | 1u << (28 + (i)))

struct kernel {
    const char *op;
    const char *name; /* for --explain and profiles: "dnnl conv2d" */
    uint32_t dtypes;  /* DTYPE_BIT set: of input 0; and KERNEL_ANY_ALIGNMENT */
    device device;
    const char *(*refuse)(
        const struct kernel_ctx *ctx); /* NULL: takes all that op's inference let through */
    /* *state may stay NULL. Outputs in *state and *scratch_bytes. */
    status (*prepare)(const struct kernel_ctx *ctx, void **state, size_t *scratch_bytes,
                      struct err *e);
    status (*run)(const void *state, const struct kernel_io *io);
    void (*release)(void *state); /* what the arena cannot free; may be NULL */
};

static inline bool kernel_takes_any_alignment(const struct kernel *k, int input)
{
    return k != NULL && input < 4 && (k->dtypes & KERNEL_ANY_ALIGNMENT(input));
}

static inline bool kernel_is_slow_unaligned(const struct kernel *k, int input)
{
    return k != NULL && input < 4 && (k->dtypes & 1u << (28 + input));
}

/* The first row that takes the node; refusals of better rows are told to `explain` (may be NULL) as lines of text.
 * UNSUPPORTED with words when none does. */
struct buf;
status kernel_choose(const struct kernel_ctx *ctx, const struct kernel **out, struct buf *explain,
                     struct err *e);
/* Every row for the operator, in order, for tests that compare them all with ref; NULL behind the last. */
const struct kernel *kernel_at(const char *op, size_t index);

/* Weights in another layout: made once per model, shared by its plans. Thread safe; entries live until packs_free. */
struct packs *packs_new(void);
void packs_free(struct packs *p);
/* The pack of `source` (a constant's data pointer) under `key` (the kernel's word for the layout, hashed from whatever
 * decides it), made by fill(arg, memory) the first time. bytes: its size, 64-aligned memory. */
status packs_get(struct packs *p, const void *source, uint64_t key, size_t bytes,
                 status (*fill)(void *arg, void *memory), void *arg, const void **out);
size_t packs_bytes(const struct packs *p);
/* t's elements where they are aligned, else a copy that is. NO_MEMORY. */
status packs_aligned(struct packs *p, const struct tensor *t, const void **out);

/* Single-precision operations a second that a matrix product which stays in the cache reaches on this many threads: the
 * best of many tries, which take some hundredths of a second. What profiles compare with. */
double kernel_peak_flops(int threads);

/* Whether a plan that rounds to bfloat16 can expect that node n wants input i, of type t, as bfloat16. */
bool kernel_likes_narrow(const struct node *n, int i, const struct type *t);

/* Whether this processor multiplies bfloat16, and products of int8 into int32, faster than float. */
bool kernel_has_bf16(void);
bool kernel_has_int8(void);
