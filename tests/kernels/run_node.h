/* For tests of kernels: every row of an operator's table is run on the same node and compared with ref, the last one. */
#pragma once

#include "kernels/kernel.h"
#include "spec_node.h"

struct run_node {
    struct spec_node spec;
    struct packs *packs;
    struct tensor out[SPEC_MAX];
};

static inline struct kernel_ctx run_ctx(struct run_node *r)
{
    return (struct kernel_ctx){ .node = &r->spec.node,
                                .in = r->spec.type,
                                .out = r->spec.out,
                                .arena = &r->spec.arena,
                                .packs = r->packs,
                                .threads = 1 };
}

/* Outputs end where their memory ends and start as noise: a kernel writes all of them. */
static inline void run_place(struct run_node *r)
{
    for (int i = 0; i < r->spec.node.out_count; i++) {
        r->out[i] = (struct tensor){ .dtype = r->spec.out[i].dtype, .shape = r->spec.out[i].shape };
        spec_place(&r->out[i], &r->spec.arena);
        memset((void *)r->out[i].data, 0xa5, (size_t)tensor_bytes(&r->out[i]));
    }
}

static inline status run_kernel(struct run_node *r, const struct kernel *k, struct err *e)
{
    struct kernel_ctx ctx = run_ctx(r);
    const void *in[SPEC_MAX] = { NULL };
    void *out[SPEC_MAX], *state = NULL;
    size_t bytes = 0;
    if (k->prepare != NULL)
        TRY(k->prepare(&ctx, &state, &bytes, e));
    for (int i = 0; i < r->spec.node.in_count; i++)
        in[i] = r->spec.in[i].shape.rank >= 0 ? r->spec.in[i].data : NULL;
    for (int i = 0; i < r->spec.node.out_count; i++)
        out[i] = (void *)r->out[i].data;
    void *scratch = mem_alloc(bytes + 64 + 64);
    void *aligned = (void *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
    struct shape shape[SPEC_MAX];
    struct kernel_io io = { .in = in, .out = out, .scratch = aligned, .err = e };
    for (int i = 0; i < r->spec.node.out_count; i++)
        shape[i] = r->out[i].shape;
    if (r->spec.node.op->flags & OP_DYNAMIC)
        io.shape = shape;
    status s = k->run(state, &io);
    for (int i = 0; i < r->spec.node.out_count; i++)
        r->out[i].shape = shape[i];
    mem_free(scratch);
    if (k->release != NULL)
        k->release(state);
    return s;
}

/* The node of this text, inferred and ready to run; inputs from index `constants` on are constants to the kernels. */
static inline status run_node_init(struct run_node *r, const char *op, const char *attrs,
                                   const char *in, int constants, struct err *e)
{
    spec_node_init(&r->spec, op, attrs, in);
    r->packs = packs_new();
    for (int i = constants; i < r->spec.node.in_count; i++)
        r->spec.type[i].constant = r->spec.in[i].shape.rank >= 0 ? &r->spec.in[i] : NULL;
    return r->spec.node.op->infer(&r->spec.node, r->spec.type, r->spec.out, e);
}

static inline void run_node_deinit(struct run_node *r)
{
    packs_free(r->packs);
    spec_node_deinit(&r->spec);
}

static inline bool run_takes(struct run_node *r, const struct kernel *k)
{
    struct kernel_ctx ctx = run_ctx(r);
    return (k->dtypes & DTYPE_BIT(r->spec.type[0].dtype)) &&
           (k->refuse == NULL || k->refuse(&ctx) == NULL);
}

/* The outputs of the last row that takes the node: ref. */
static inline void run_ref(struct run_node *r, struct tensor want[SPEC_MAX])
{
    const struct kernel *k, *ref = NULL;
    struct err e = { "" };
    for (size_t i = 0; (k = kernel_at(r->spec.node.op->name, i)) != NULL; i++)
        if (run_takes(r, k))
            ref = k;
    run_place(r);
    if (ref == NULL || run_kernel(r, ref, &e) != OK) {
        fprintf(stderr, "%s: ref: %s\n", r->spec.node.op->name, e.text);
        abort();
    }
    memcpy(want, r->out, sizeof(r->out));
}

/* Every other row against ref; the number of rows that ran, ref included. Aborts with words at a difference. */
static inline int run_compare(const char *op, const char *attrs, const char *in, int constants,
                              double tolerance)
{
    struct run_node r;
    struct tensor want[SPEC_MAX];
    struct err e = { "" };
    const struct kernel *k;
    int ran = 0;
    if (run_node_init(&r, op, attrs, in, constants, &e) != OK) {
        fprintf(stderr, "%s %s of %s: %s\n", op, attrs, in, e.text);
        abort();
    }
    run_ref(&r, want);
    for (size_t i = 0; (k = kernel_at(op, i)) != NULL; i++) {
        if (!run_takes(&r, k))
            continue;
        run_place(&r);
        status s = run_kernel(&r, k, &e);
        ran++;
        for (int o = 0; o < r.spec.node.out_count; o++)
            if (s != OK || !(spec_error(&r.out[o], &want[o]) <= tolerance)) {
                fprintf(stderr, "%s %s of %s: %s differs by %g %s\n", op, attrs, in, k->name,
                        spec_error(&r.out[o], &want[o]), e.text);
                abort();
            }
    }
    run_node_deinit(&r);
    return ran;
}
