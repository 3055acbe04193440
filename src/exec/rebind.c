#include "exec/rebind.h"

#include "base/mem.h"
#include "exec/eval.h"
#include "exec/flops.h"

#include <string.h>

#define BASE_MOST 4 /* times as many elements as are fed: the workspace is the base's */

/* ---- which base ---- */

static int64_t fed_elements(const struct cell *c, int count)
{
    int64_t n = 0;
    for (int i = 0; i < count; i++)
        n += shape_numel(&c[i].shape);
    return n;
}

bool rebind_suits(const struct plan *base, const struct plan_request *r)
{
    if (base->recipe == NULL || base->graph != r->graph || base->given_count != r->given_count ||
        r->first != 0)
        return false;
    for (int i = 0; i < r->given_count; i++) {
        const struct cell *a = &base->given[i], *b = &r->given[i];
        if (a->value != b->value || a->dtype != b->dtype || a->shape.rank != b->shape.rank ||
            b->known)
            return false;
    }
    int64_t was = fed_elements(base->given, base->given_count);
    int64_t is = fed_elements(r->given, r->given_count);
    return is > 0 && is <= was + was / 4 && was / BASE_MOST <= is;
}

/* ---- making ---- */

struct rebinding {
    const struct plan_request *r;
    struct plan *base, *plan;
    struct arena *scratch;
    const struct type **now; /* by value id: what changed; NULL: as in the base */
};

static const struct type *type_now(const struct rebinding *b, const struct value *v)
{
    return b->now[v->id] != NULL ? b->now[v->id] : &b->base->recipe->type[v->id];
}

/* Of two tensors of one type that planning has computed; or there is none. */
static bool same_elements(const struct tensor *a, const struct tensor *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    return a->data == b->data || memcmp(a->data, b->data, (size_t)tensor_bytes(a)) == 0;
}

static void change(struct rebinding *b, const struct value *v, const struct type *t)
{
    const struct type *was = &b->base->recipe->type[v->id];
    if (was->dtype == t->dtype && shape_eq(&was->shape, &t->shape) &&
        same_elements(was->constant, t->constant))
        return;
    struct type *now = arena_alloc(b->scratch, sizeof(*now));
    *now = *t;
    b->now[v->id] = now;
}

static bool has_changed(const struct rebinding *b, const struct node *n)
{
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] != NULL && b->now[n->in[i]->id] != NULL)
            return true;
    return false;
}

static bool fits(const struct rebinding *b, const struct value *v, const struct type *t)
{
    struct tensor x = { .dtype = t->dtype, .shape = t->shape };
    int64_t bytes = tensor_bytes(&x);
    return bytes >= 0 && (size_t)bytes <= b->base->recipe->room[v->id];
}

/* Where output 0 lies over an input, they are of one size still, or else a kernel would write over what it is yet to read. */
static bool lies_well(const struct rebinding *b, const struct node *n, const struct plan_step *s)
{
    for (int i = 0; i < n->in_count; i++) {
        if (n->in[i] == NULL || n->out_count == 0 || s->in[i].kind != PLACE_WORKSPACE ||
            s->in[i].offset != s->out[0].offset)
            continue;
        const struct type *x = type_now(b, n->in[i]), *y = type_now(b, n->out[0]);
        if (shape_numel(&x->shape) != shape_numel(&y->shape))
            return false;
    }
    return true;
}

static const struct kernel *choose(const struct rebinding *b, const struct kernel_ctx *ctx,
                                   const struct plan_step *was)
{
    const struct kernel *k = was->kernel;
    if (shape_numel(&ctx->out[0].shape) > 0 && k->op != NULL &&
        (k->refuse == NULL || k->refuse(ctx) == NULL))
        return k;
    return choose_kernel(b->r->options, ctx, &k, NULL, NULL) == OK ? k : NULL;
}

static bool is_plain(const enum layout *l, int count)
{
    for (int i = 0; i < count; i++)
        if (l[i] != LAYOUT_PLAIN)
            return false;
    return true;
}

static status prepare(struct rebinding *b, const struct node *n, struct type *in, struct type *out,
                      struct plan_step *s)
{
    int count = padded_in_count(n), over = -1;
    enum layout *l = arena_zalloc(b->scratch, (size_t)(3 * count + n->out_count) * sizeof(*l));
    struct kernel_ctx ctx = { .node = n,
                              .in = in,
                              .out = out,
                              .arena = &b->plan->arena,
                              .packs = b->r->packs,
                              .threads = b->r->options->threads,
                              .bf16 = b->r->options->precision == PRECISION_BF16,
                              .have = l,
                              .want = l + count,
                              .give = l + 2 * count,
                              .over = &over };
    size_t scratch_bytes = 0;
    const struct kernel *k = choose(b, &ctx, s);
    if (k == NULL || types_align(b->r->packs, b->scratch, k, in, count) != OK)
        return TOO_LARGE;
    s->kernel = k;
    s->state = NULL;
    if (k->prepare != NULL && k->prepare(&ctx, &s->state, &scratch_bytes, NULL) != OK)
        return TOO_LARGE;
    s->shared = false; /* from here on plan_unref releases its state */
    if (!is_plain(l, 3 * count + n->out_count))
        return UNSUPPORTED;
    return scratch_bytes <= b->base->recipe->scratch_room ? OK : TOO_LARGE;
}

/* What is computed while planning is computed anew. */
static status evaluate(struct rebinding *b, const struct node *n, struct type *in, struct type *out)
{
    struct eval v = { b->r->packs, b->r->options, &b->plan->arena };
    if (!eval_can(n, in) || !eval_is_small(n, out))
        return UNSUPPORTED;
    return eval_node(&v, n, in, out, NULL) == OK ? OK : TOO_LARGE;
}

/* A view of what is known is known. */
static void view_known(struct rebinding *b, const struct type *in, struct type *out)
{
    struct tensor *t = arena_zalloc(&b->plan->arena, sizeof(*t));
    *t = (struct tensor){ .dtype = out->dtype, .shape = out->shape, .data = in->constant->data };
    out->constant = t;
}

static status infer(struct rebinding *b, const struct node *n, int step, struct type *in,
                    struct type *out)
{
    if (n->op->flags & (OP_CONTROL | OP_DYNAMIC))
        return UNSUPPORTED;
    for (int i = 0; i < n->in_count; i++) /* it was computed for the base, and now is not */
        if (n->in[i] != NULL && op_needs(n->op, i) && in[i].constant == NULL)
            return UNSUPPORTED;
    if (n->op->infer(n, in, out, NULL) != OK) /* it is said from the beginning, with words */
        return TOO_LARGE;
    if (step == STEP_DONE)
        TRY(evaluate(b, n, in, out));
    else if (step == STEP_VIEW && in[0].constant != NULL)
        view_known(b, &in[0], &out[0]);
    for (int i = 0; i < n->out_count; i++) {
        if (out[i].constant == NULL && !fits(b, n->out[i], &out[i]))
            return TOO_LARGE;
        change(b, n->out[i], &out[i]);
    }
    return OK;
}

/* The step reads what was computed anew; its places are the base's until here. */
static void repoint(struct rebinding *b, const struct node *n, struct plan_step *s)
{
    const struct place *was = s->in;
    for (int i = 0; i < n->in_count; i++) {
        const struct type *now = n->in[i] != NULL ? b->now[n->in[i]->id] : NULL;
        if (now == NULL || now->constant == NULL)
            continue;
        if (s->in == was)
            s->in = memcpy(arena_alloc(&b->plan->arena, (size_t)s->in_count * sizeof(*was)), was,
                           (size_t)s->in_count * sizeof(*was));
        s->in[i] = (struct place){ .kind = PLACE_CONSTANT, .data = now->constant->data };
    }
}

static status redo(struct rebinding *b, const struct node *n, int step)
{
    int count = padded_in_count(n);
    struct type *in = arena_zalloc(b->scratch, (size_t)(count + 1) * sizeof(*in));
    struct type *out = arena_zalloc(b->scratch, (size_t)(n->out_count + 1) * sizeof(*out));
    for (int i = 0; i < count; i++)
        in[i] = i < n->in_count && n->in[i] != NULL ? *type_now(b, n->in[i])
                                                    : (struct type){ .shape = { .rank = -1 } };
    TRY(infer(b, n, step, in, out));
    if (step == STEP_VIEW || step == STEP_DONE)
        return OK;
    struct plan_step *s = &b->plan->steps[step];
    if (!lies_well(b, n, s))
        return TOO_LARGE;
    repoint(b, n, s);
    types_for_kernel(n, in);
    s->flops = node_flops(n, in, out);
    return prepare(b, n, in, out, s);
}

static status redo_all(struct rebinding *b)
{
    const struct graph *g = b->r->graph;
    for (int i = 0; i < b->r->given_count; i++) {
        const struct cell *c = &b->r->given[i];
        change(b, c->value, &(struct type){ c->dtype, c->shape, NULL });
    }
    for (uint32_t i = 0; i < g->node_count; i++)
        if (has_changed(b, g->nodes[i]))
            TRY(redo(b, g->nodes[i], b->base->recipe->step[i]));
    return OK;
}

static void take_live(struct rebinding *b)
{
    struct plan *p = b->plan;
    size_t bytes = (size_t)p->live_count * sizeof(*p->live);
    p->live = memcpy(arena_alloc(&p->arena, bytes + 1), b->base->live, bytes);
    for (int i = 0; i < p->live_count; i++) {
        const struct type *now = b->now[p->live[i].cell.value->id];
        if (now == NULL)
            continue;
        p->live[i].cell.shape = now->shape;
        if (now->constant != NULL)
            p->live[i].place =
                (struct place){ .kind = PLACE_CONSTANT, .data = now->constant->data };
    }
}

/* A copy of the base whose steps are all shared so far. */
static struct plan *copy_base(const struct plan_request *r, struct plan *base)
{
    struct plan *p = plan_new(r, base->step_count);
    p->steps = arena_alloc(&p->arena, (size_t)(base->step_count + 1) * sizeof(*p->steps));
    for (int i = 0; i < base->step_count; i++) {
        p->steps[i] = base->steps[i];
        p->steps[i].shared = true;
    }
    p->step_count = base->step_count;
    p->base = plan_ref(base);
    p->is_raw = base->is_raw;
    p->live = base->live;
    p->live_count = base->live_count;
    p->next = base->next;
    p->max_in = base->max_in;
    p->max_out = base->max_out;
    p->workspace_bytes = base->workspace_bytes;
    p->scratch_offset = base->scratch_offset;
    return p;
}

status rebind(struct plan *base, const struct plan_request *r, struct plan **out)
{
    struct rebinding b = { .r = r, .base = base, .scratch = r->scratch };
    b.now = arena_zalloc(r->scratch, (size_t)(r->graph->value_count + 1) * sizeof(*b.now));
    b.plan = copy_base(r, base);
    status s = redo_all(&b);
    if (s != OK) {
        plan_unref(b.plan);
        return s;
    }
    take_live(&b);
    *out = b.plan;
    return OK;
}
