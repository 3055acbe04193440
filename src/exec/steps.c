/* One node becomes a step: its kernel is chosen and prepared, and says in which layout it wants images and leaves them; a
 * step in between brings an image from one to the other where they disagree. */
#include "exec/build.h"
#include "exec/eval.h"
#include "exec/flops.h"
#include "exec/spread.h"

#include <string.h>

/* Room for one more; the pointers of earlier ones may be gone. */
static struct plan_step *step_room(struct build *b)
{
    struct plan *p = b->plan;
    if (p->step_count == b->step_cap) {
        struct plan_step *old = p->steps;
        b->step_cap = 2 * b->step_cap + 16;
        p->steps = arena_zalloc(&p->arena, (size_t)b->step_cap * sizeof(*p->steps));
        if (p->step_count > 0)
            memcpy(p->steps, old, (size_t)p->step_count * sizeof(*p->steps));
    }
    return &p->steps[p->step_count];
}

struct plan_step *step_new(struct build *b, const struct node *n, int in_count, int out_count)
{
    struct plan_step *s = step_room(b);
    *s = (struct plan_step){ .node = n, .in_count = in_count, .out_count = out_count, .late = -1 };
    s->in = arena_zalloc(&b->plan->arena, (size_t)(in_count + 1) * sizeof(struct place));
    s->out = arena_zalloc(&b->plan->arena, (size_t)(out_count + 1) * sizeof(struct place));
    if (in_count > b->plan->max_in)
        b->plan->max_in = in_count;
    if (out_count > b->plan->max_out)
        b->plan->max_out = out_count;
    return s;
}

/* t's elements, or a copy that is aligned: a parameter may lie in its file at any alignment. */
status step_align(struct build *b, const struct tensor *t, const void **data)
{
    return packs_aligned(b->r->packs, t, data) == OK
               ? OK
               : err_set(b->err, NO_MEMORY, "no memory for a copy of a parameter");
}

/* A step in front of node i that brings v into the layout. */
static struct place reorder(struct build *b, const struct node *n, const struct value *v,
                            enum layout to, int i)
{
    struct plan_step *s = step_new(b, n, 1, 1);
    struct reorder *r = arena_zalloc(&b->plan->arena, sizeof(*r));
    *r = (struct reorder){ b->type[v->id].shape, b->layout[v->id], to,
                           dtype_size(b->type[v->id].dtype) };
    s->kernel = &layout_reorder;
    s->state = r;
    s->in[0] = b->home[v->id];
    if (v->constant != NULL && packs_aligned(b->r->packs, v->constant, &s->in[0].data) != OK)
        b->is_out_of_memory = true;
    s->out[0] = home_extent(b, home_bytes(b, v, to), i, b->last_use[v->id]);
    b->plan->step_count++;
    return s->out[0];
}

/* Where v lies in the layout that node i (n; the last one, for results) wants. */
struct place step_bring(struct build *b, const struct node *n, const struct value *v,
                        enum layout want, int i)
{
    if (v == NULL)
        return (struct place){ .kind = PLACE_NONE };
    struct copy *c = &b->copy[v->id];
    const struct shape *shape = &b->type[v->id].shape;
    if (layout_same(shape, b->layout[v->id], want))
        return b->home[v->id];
    if (c->home.kind == PLACE_NONE || !layout_same(shape, c->layout, want))
        *c = (struct copy){ want, reorder(b, n, v, want, i) };
    return c->home;
}

void step_bring_all(struct build *b, const struct node *n, const enum layout *want, int i,
                    struct place *in)
{
    for (int k = 0; k < n->in_count; k++)
        in[k] = step_bring(b, n, n->in[k], want[k], i);
}

/* Notes where a kernel reads a constant that would be faster read elsewhere. */
static bool must_align(struct build *b, const struct kernel *k, int i, const void *data)
{
    if (!kernel_takes_any_alignment(k, i))
        return true;
    if (!kernel_is_slow_unaligned(k, i) || b->r->is_settled)
        return kernel_is_slow_unaligned(k, i);
    b->plan->is_raw = b->plan->is_raw || (uintptr_t)data % sizeof(float) != 0;
    return false;
}

/* Of step n by kernel k, in `at`: what it reads is aligned. */
status step_align_places(struct build *b, const struct node *n, const struct kernel *k,
                         struct place *at)
{
    for (int i = 0; i < n->in_count; i++)
        if (at[i].kind == PLACE_CONSTANT && must_align(b, k, i, at[i].data)) {
            const struct type *t = &b->type[n->in[i]->id];
            struct tensor x = { .dtype = t->dtype, .shape = t->shape, .data = at[i].data };
            TRY(step_align(b, &x, &at[i].data));
        }
    return OK;
}

static struct type *kernel_types(struct build *b, const struct node *n, const struct type *in)
{
    int count = padded_in_count(n);
    struct type *t = arena_zalloc(b->scratch, (size_t)(count + 1) * sizeof(*t));
    memcpy(t, in, (size_t)count * sizeof(*t));
    types_for_kernel(n, t);
    return t;
}

/* What is decided for one node before it becomes a step. */
struct choice {
    struct type *in, *out; /* as the kernel sees them */
    enum layout *have, *want, *give;
    int over; /* the input that output 0 would like to lie over, or -1 */
    const struct kernel *kernel;
    void *state;
    size_t scratch_bytes;
};

static void new_choice(struct build *b, const struct node *n, const struct type *in,
                       const struct type *out, struct choice *c)
{
    size_t count = (size_t)padded_in_count(n) + 1, outs = (size_t)n->out_count + 1;
    *c = (struct choice){ .in = kernel_types(b, n, in), .over = -1 };
    c->out = arena_zalloc(b->scratch, outs * sizeof(*c->out));
    memcpy(c->out, out, (outs - 1) * sizeof(*c->out));
    c->have = arena_zalloc(b->scratch, count * sizeof(*c->have));
    c->want = arena_zalloc(b->scratch, count * sizeof(*c->want));
    c->give = arena_zalloc(b->scratch, outs * sizeof(*c->give));
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] != NULL)
            c->have[i] = layout_wide(b->layout[n->in[i]->id]);
}

/* Whether all that reads n's result, which is of type t, wants it as bfloat16. i: n's place. */
static bool readers_like_narrow(const struct build *b, const struct node *n, int i,
                                const struct type *t)
{
    const struct graph *g = b->r->graph;
    const struct value *v = n->out_count == 1 ? n->out[0] : NULL;
    int readers = 0;
    if (b->r->options->precision != PRECISION_BF16 || v == NULL || t->dtype != DTYPE_F32 ||
        b->last_use[v->id] >= (int)g->node_count)
        return false;
    for (int k = i + 1; k <= b->last_use[v->id]; k++)
        for (int j = 0; j < g->nodes[k]->in_count; j++) {
            if (g->nodes[k]->in[j] != v)
                continue;
            if (!kernel_likes_narrow(g->nodes[k], j, t))
                return false;
            readers++;
        }
    return readers > 0;
}

static status choose(struct build *b, const struct node *n, int i, struct choice *c)
{
    bool spreads = spread(n, c->in, padded_in_count(n), c->out, c->have, c->want, c->give);
    struct kernel_ctx ctx = { .node = n,
                              .in = c->in,
                              .out = c->out,
                              .arena = &b->plan->arena,
                              .packs = b->r->packs,
                              .threads = b->r->options->threads,
                              .bf16 = b->r->options->precision == PRECISION_BF16,
                              .narrow = readers_like_narrow(b, n, i, &c->out[0]) };
    if (!spreads) {
        ctx.have = c->have;
        ctx.want = c->want;
        ctx.give = c->give;
        ctx.over = &c->over;
    }
    TRY(choose_kernel(b->r->options, &ctx, &c->kernel, b->r->explain, b->err));
    if (types_align(b->r->packs, b->scratch, c->kernel, c->in, padded_in_count(n)) != OK)
        return err_set(b->err, NO_MEMORY, "no memory for a copy of a parameter");
    return c->kernel->prepare != NULL
               ? c->kernel->prepare(&ctx, &c->state, &c->scratch_bytes, b->err)
               : OK;
}

status step_prepare(struct build *b, const struct node *n, int i, const struct type *in,
                    const struct type *out)
{
    struct choice c;
    new_choice(b, n, in, out, &c);
    TRY(choose(b, n, i, &c));
    struct place *at = arena_zalloc(b->scratch, ((size_t)n->in_count + 1) * sizeof(*at));
    step_bring_all(b, n, c.want, i, at);
    TRY(step_align_places(b, n, c.kernel, at));
    home_outputs(b, n, i, at, c.give, c.over);
    struct plan_step *s = step_new(b, n, padded_in_count(n), n->out_count);
    s->kernel = c.kernel;
    s->state = c.state;
    s->flops = node_flops(n, in, out);
    memcpy(s->in, at, (size_t)n->in_count * sizeof(*at));
    b->plan->step_count++; /* from here on plan_unref releases its state */
    if (c.scratch_bytes > b->scratch_bytes)
        b->scratch_bytes = c.scratch_bytes;
    for (int k = 0; k < n->out_count; k++)
        s->out[k] = b->home[n->out[k]->id];
    if (n->op->flags & OP_DYNAMIC)
        s->late = home_make_late(b, n);
    return OK;
}
