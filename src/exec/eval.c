#include "exec/eval.h"

#include "exec/plan.h"

#include <string.h>

int padded_in_count(const struct node *n)
{
    return n->op->in_max <= 8 ? n->op->in_max : n->in_count;
}

void types_for_kernel(const struct node *n, struct type *in)
{
    int count = padded_in_count(n);
    for (int i = 0; i < count && i < n->in_count; i++)
        if (n->in[i] != NULL && n->in[i]->constant == NULL && !op_needs(n->op, i))
            in[i].constant = NULL;
}

status types_align(struct packs *packs, struct arena *a, const struct kernel *k, struct type *in,
                   int count)
{
    for (int i = 0; i < count; i++) {
        if (in[i].shape.rank < 0 || in[i].constant == NULL || kernel_takes_any_alignment(k, i) ||
            tensor_is_aligned(in[i].constant))
            continue;
        struct tensor *t = arena_alloc(a, sizeof(*t));
        *t = *in[i].constant;
        TRY(packs_aligned(packs, t, &t->data));
        in[i].constant = t;
    }
    return OK;
}

static status choose_ref(const struct kernel_ctx *ctx, const struct kernel **out, struct err *e)
{
    const struct kernel *k, *last = NULL;
    for (size_t i = 0; (k = kernel_at(ctx->node->op->name, i)) != NULL; i++)
        if ((k->dtypes & DTYPE_BIT(ctx->in[0].dtype)) &&
            (k->refuse == NULL || k->refuse(ctx) == NULL))
            last = k;
    *out = last;
    return last != NULL ? OK : err_set(e, UNSUPPORTED, "no reference kernel takes it");
}

/* ---- where no output has an element ---- */

static status run_nothing(const void *state, const struct kernel_io *io)
{
    return OK;
}

static const struct kernel idle = { .name = "nothing to compute", .run = run_nothing };

/* Kernels loop over dimensions, and behind one that is 0 the others may be of any size. */
static bool makes_nothing(const struct kernel_ctx *ctx)
{
    if (ctx->node->op->flags & OP_DYNAMIC)
        return false;
    for (int i = 0; i < ctx->node->out_count; i++)
        if (shape_numel(&ctx->out[i].shape) != 0)
            return false;
    return ctx->node->out_count > 0;
}

status choose_kernel(const struct model_options *options, const struct kernel_ctx *ctx,
                     const struct kernel **out, struct buf *explain, struct err *e)
{
    *out = &idle;
    if (makes_nothing(ctx))
        return OK;
    return options->ref_only ? choose_ref(ctx, out, e) : kernel_choose(ctx, out, explain, e);
}

bool eval_can(const struct node *n, const struct type *in)
{
    if (n->op->flags & (OP_IMPURE | OP_CONTROL))
        return false;
    for (int i = 0; i < n->in_count && !(n->op->flags & OP_SHAPE_ONLY); i++)
        if (n->in[i] != NULL && in[i].constant == NULL)
            return false;
    return true;
}

/* One run's arguments. */
struct call {
    const void **in;
    void **out;
    struct shape *shape;
};

static status make_call(struct arena *a, const struct node *n, const struct type *in,
                        const struct type *out, struct arena *keep, struct call *c, struct err *e)
{
    static const uint64_t nothing[8]; /* for inputs whose shapes alone count */
    int in_count = padded_in_count(n);
    c->in = arena_zalloc(a, (size_t)(in_count + 1) * sizeof(*c->in));
    c->out = arena_zalloc(a, (size_t)(n->out_count + 1) * sizeof(*c->out));
    c->shape = arena_zalloc(a, (size_t)(n->out_count + 1) * sizeof(*c->shape));
    for (int i = 0; i < in_count && i < n->in_count; i++)
        if (n->in[i] != NULL)
            c->in[i] = in[i].constant != NULL ? in[i].constant->data : nothing;
    for (int i = 0; i < n->out_count; i++) {
        struct tensor t = { .dtype = out[i].dtype, .shape = out[i].shape };
        int64_t bytes = tensor_bytes(&t);
        c->shape[i] = out[i].shape;
        c->out[i] = bytes < 0 ? NULL : arena_try(keep, (size_t)bytes + 1, 64);
        if (c->out[i] == NULL)
            return err_set(e, NO_MEMORY, "no memory for its output '%s'", n->out[i]->name);
    }
    return OK;
}

static void take_results(struct arena *keep, const struct node *n, const struct call *c,
                         struct type *out)
{
    for (int i = 0; i < n->out_count; i++) {
        struct tensor *t = arena_zalloc(keep, sizeof(*t));
        *t = (struct tensor){ .dtype = out[i].dtype, .shape = c->shape[i], .data = c->out[i] };
        out[i].shape = c->shape[i];
        out[i].constant = t;
    }
}

static status run_once(const struct eval *v, const struct kernel_ctx *ctx, struct type *out,
                       struct err *e)
{
    const struct kernel *k;
    struct call c;
    void *state = NULL;
    size_t scratch_bytes = 0;
    TRY(choose_kernel(v->options, ctx, &k, NULL, e));
    TRY(make_call(ctx->arena, ctx->node, ctx->in, out, v->keep, &c, e));
    if (k->prepare != NULL)
        TRY(k->prepare(ctx, &state, &scratch_bytes, e));
    void *scratch = arena_try(ctx->arena, scratch_bytes + 1, 64);
    struct kernel_io io = { .in = c.in, .out = c.out, .scratch = scratch, .err = e };
    if (ctx->node->op->flags & OP_DYNAMIC)
        io.shape = c.shape;
    status s = scratch != NULL ? k->run(state, &io) : err_set(e, NO_MEMORY, "no scratch memory");
    if (k->release != NULL)
        k->release(state);
    if (s == OK)
        take_results(v->keep, ctx->node, &c, out);
    return s;
}

/* Parameters may lie in their file at any alignment; kernels read none but aligned ones. */
static status align_inputs(struct arena *a, const struct type *in, int count, struct type **out,
                           struct err *e)
{
    *out = arena_zalloc(a, ((size_t)count + 1) * sizeof(**out));
    for (int i = 0; i < count; i++) {
        (*out)[i] = in[i];
        if (in[i].shape.rank < 0 || in[i].constant == NULL || tensor_is_aligned(in[i].constant))
            continue;
        size_t bytes = (size_t)tensor_bytes(in[i].constant);
        struct tensor *t = arena_zalloc(a, sizeof(*t));
        void *copy = arena_try(a, bytes, 64);
        if (copy == NULL)
            return err_set(e, NO_MEMORY, "no memory for a copy of %zu bytes", bytes);
        *t = *in[i].constant;
        t->data = memcpy(copy, t->data, bytes);
        (*out)[i].constant = t;
    }
    return OK;
}

/* More than this is not worth keeping in every plan. Shapes alone decide the boxes or positions of a whole image: those
 * take longer to make than others. */
#define EVAL_BYTES       ((size_t)1 << 20)
#define EVAL_SHAPE_BYTES ((size_t)16 << 20)

bool eval_is_small(const struct node *n, const struct type *out)
{
    size_t total = 0, most = n->op->flags & OP_SHAPE_ONLY ? EVAL_SHAPE_BYTES : EVAL_BYTES;
    for (int i = 0; i < n->out_count; i++) {
        struct tensor t = { .dtype = out[i].dtype, .shape = out[i].shape };
        if (__builtin_add_overflow(total, (size_t)tensor_bytes(&t), &total))
            return false;
    }
    return total <= most;
}

status eval_node(const struct eval *v, const struct node *n, const struct type *in,
                 struct type *out, struct err *e)
{
    struct arena a;
    arena_init(&a, 0);
    /* Packs are kept by the address of their source, which is not for ever here. */
    struct packs *packs = packs_new();
    struct type *aligned;
    status s = align_inputs(&a, in, padded_in_count(n), &aligned, e);
    struct kernel_ctx ctx = {
        .node = n, .in = aligned, .out = out, .arena = &a, .packs = packs, .threads = 1
    };
    if (s == OK)
        s = run_once(v, &ctx, out, e);
    packs_free(packs);
    arena_deinit(&a);
    return s;
}

/* ---- at loading ---- */

static struct type type_of(const struct value *v)
{
    static const struct type absent = { .shape = { .rank = -1 } };
    if (v == NULL || v->constant == NULL)
        return absent;
    return (struct type){ v->constant->dtype, v->constant->shape, v->constant };
}

#define FOLD_GROWTH 4
#define FOLD_ALWAYS ((int64_t)1 << 20)

static int64_t bytes_of(const struct type *t)
{
    struct tensor x = { .dtype = t->dtype, .shape = t->shape };
    return t->shape.rank < 0 ? 0 : tensor_bytes(&x);
}

/* A filled or repeated tensor is better made where it is needed than kept. */
static bool is_worth_it(const struct node *n, const struct type *in, const struct type *out)
{
    int64_t before = 0, after = 0;
    for (int i = 0; i < n->in_count; i++)
        before += bytes_of(&in[i]);
    for (int i = 0; i < n->out_count; i++) {
        int64_t bytes = bytes_of(&out[i]);
        if (bytes < 0 || __builtin_add_overflow(after, bytes, &after))
            return false;
    }
    return after <= FOLD_ALWAYS || after / FOLD_GROWTH <= before;
}

static void view_constant(struct arena *a, const struct type *in, struct type *out)
{
    struct tensor *t = arena_zalloc(a, sizeof(*t));
    *t = (struct tensor){ .dtype = out->dtype, .shape = out->shape, .data = in->constant->data };
    out->constant = t;
}

static status fold_node(const struct eval *v, struct node *n, const struct type *in,
                        struct type *out, struct err *e)
{
    if (!eval_can(n, in))
        return OK;
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] != NULL && in[i].constant == NULL) /* OP_SHAPE_ONLY: a plan's business */
            return OK;
    TRY(n->op->infer(n, in, out, e));
    if (!is_worth_it(n, in, out))
        return OK;
    if (n->op->flags & OP_VIEW)
        view_constant(v->keep, &in[0], &out[0]);
    else
        TRY(eval_node(v, n, in, out, e));
    for (int i = 0; i < n->out_count; i++) {
        n->out[i]->constant = out[i].constant;
        n->out[i]->dtype = out[i].dtype;
        n->out[i]->shape = out[i].shape;
        n->out[i]->producer = NULL;
    }
    n->out_count = 0; /* the next sweep takes it away */
    return OK;
}

static status fold_inner(const struct eval *v, struct node *n, struct err *e)
{
    struct graph *g;
    for (int i = 0; (g = node_graph(n, i)) != NULL; i++)
        TRY(fold_constants(g, v->packs, v->options, e));
    return OK;
}

static status fold_all(const struct eval *v, struct graph *g, struct arena *scratch, struct err *e)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        struct node *n = g->nodes[i];
        int count = padded_in_count(n);
        struct type *in = arena_zalloc(scratch, (size_t)(count + 1) * sizeof(*in));
        struct type *out = arena_zalloc(scratch, (size_t)(n->out_count + 1) * sizeof(*out));
        for (int k = 0; k < count; k++)
            in[k] = type_of(k < n->in_count ? n->in[k] : NULL);
        status s = fold_inner(v, n, e);
        if (s == OK)
            s = fold_node(v, n, in, out, e);
        if (s != OK)
            return node_fault(n, s, e);
        arena_reset(scratch);
    }
    return OK;
}

status fold_constants(struct graph *g, struct packs *packs, const struct model_options *options,
                      struct err *e)
{
    struct eval v = { packs, options, &g->arena };
    struct arena scratch;
    arena_init(&scratch, 0);
    status s = fold_all(&v, g, &scratch, e);
    arena_deinit(&scratch);
    graph_sweep(g);
    return s;
}
