/* Compiling a graph for concrete types, in four steps: types flow from what is given to every value
 * (infer), and what depends on them alone is computed right away; kernels are chosen and prepared, and say in which layout
 * they want images and leave them, so that a step in between brings an image from one to the other where they disagree;
 * each value gets a home (a constant, a given cell, or an extent of the workspace that views and in-place operators
 * share), and extents are laid out so that lives that do not meet share bytes. The walk ends early in front of a node
 * whose types only running tells. */
#include "exec/plan.h"

#include "base/limits.h"
#include "base/mem.h"
#include "exec/control.h"
#include "exec/eval.h"
#include "exec/flops.h"
#include "exec/rebind.h"
#include "exec/spread.h"

#include <string.h>

#define KNOWN_BYTES \
    1024 /* larger constants are handed on as bytes: no shape is made of so many numbers */
#define SPARE_MOST     ((size_t)256 << 10)
#define OWN_STEPS      32 /* a plan of so many has its first memory with itself */
#define OWN_STEP_BYTES 320
#define RANK_ABSENT    (-1) /* not made so far */
#define RANK_LATE      (-2) /* made, but only running tells its shape */

/* A value in another layout than it has at home. */
struct copy {
    enum layout layout;
    struct place home; /* PLACE_NONE: there is none */
};

/* Working state of one build; everything in it lives in `scratch`. */
struct build {
    const struct plan_request *r;
    struct plan *plan;
    struct arena *scratch;
    struct type *type;     /* by value id; rank: as above */
    struct shape *bound;   /* by value id, where the type is late */
    int *late;             /* by value id: the late slot, or -1 */
    struct place *home;    /* by value id; PLACE_WORKSPACE: index is the extent */
    enum layout *layout;   /* by value id: how it lies at home */
    struct copy *copy;     /* by value id */
    const int *last_use;   /* by value id */
    struct extent *extent; /* extent_count of them */
    int extent_count, step_cap;
    size_t scratch_bytes;
    bool is_out_of_memory; /* told at the end */
    struct err *err;
};

struct plan *plan_ref(struct plan *p)
{
    atomic_fetch_add(&p->refs, 1);
    return p;
}

void plan_unref(struct plan *p)
{
    if (p == NULL || atomic_fetch_sub(&p->refs, 1) != 1)
        return;
    for (int i = 0; i < p->step_count; i++)
        if (!p->steps[i].shared && p->steps[i].kernel != NULL &&
            p->steps[i].kernel->release != NULL)
            p->steps[i].kernel->release(p->steps[i].state);
    arena_deinit(&p->arena);
    plan_unref(p->base);
    mem_free(p);
}

size_t plan_bytes(const struct plan *p)
{
    return sizeof(*p) + p->arena.total_bytes;
}

status node_fault(const struct node *n, status s, struct err *e)
{
    return err_prefix(e, s, "node '%s' (%s): ", n->name,
                      n->origin != NULL ? n->origin : n->op->name);
}

/* ---- types ---- */

static void set_constant_types(struct build *b)
{
    const struct graph *g = b->r->graph;
    for (uint32_t i = 0; i < g->value_count; i++) {
        const struct tensor *c = g->values[i]->constant;
        b->type[i].shape.rank = RANK_ABSENT;
        b->late[i] = -1;
        if (c == NULL)
            continue;
        b->type[i] = (struct type){ c->dtype, c->shape, c };
        b->home[i] = (struct place){ .kind = PLACE_CONSTANT, .data = c->data };
    }
}

/* The elements of a cell that planning may look at, copied: the cell's are gone after the run. */
static status copy_known(struct build *b, const struct cell *c, const struct tensor **out)
{
    struct tensor *t = arena_zalloc(&b->plan->arena, sizeof(*t));
    *t = (struct tensor){ .dtype = c->dtype, .shape = c->shape };
    size_t bytes = (size_t)tensor_bytes(t);
    void *data = arena_try(&b->plan->arena, bytes + 1, 64);
    if (data == NULL)
        return err_set(b->err, NO_MEMORY, "no memory for the %zu bytes of '%s'", bytes,
                       c->value->name);
    if (bytes > 0)
        memcpy(data, c->data, bytes);
    t->data = data;
    *out = t;
    return OK;
}

static status set_given_types(struct build *b)
{
    for (int i = 0; i < b->r->given_count; i++) {
        const struct cell *c = &b->r->given[i];
        struct type *t = &b->type[c->value->id];
        *t = (struct type){ c->dtype, c->shape, NULL };
        if (c->known)
            TRY(copy_known(b, c, &t->constant));
        b->home[c->value->id] = (struct place){ .kind = PLACE_GIVEN, .index = i };
    }
    return OK;
}

static const struct type absent = { .shape = { .rank = RANK_ABSENT } };

static struct type *gather_in(struct build *b, const struct node *n)
{
    int count = padded_in_count(n);
    struct type *in = arena_zalloc(b->scratch, (size_t)(count + 1) * sizeof(*in));
    for (int i = 0; i < count; i++)
        in[i] = i < n->in_count && n->in[i] != NULL ? b->type[n->in[i]->id] : absent;
    return in;
}

/* Whether only running tells what planning n wants to know. */
static bool must_wait(const struct node *n, const struct type *in)
{
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] != NULL &&
            (in[i].shape.rank == RANK_LATE || (op_needs(n->op, i) && in[i].constant == NULL)))
            return true;
    return false;
}

static status check_in(struct build *b, const struct node *n, const struct type *in)
{
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] != NULL && in[i].shape.rank == RANK_ABSENT)
            return err_set(b->err, INVALID, "its input '%s' is neither fed nor computed",
                           n->in[i]->name);
    return OK;
}

static status infer_node(struct build *b, const struct node *n, struct type *in, struct type *out)
{
    TRY(n->op->infer(n, in, out, b->err));
    for (int i = 0; i < n->out_count; i++) {
        struct tensor t = { .dtype = out[i].dtype, .shape = out[i].shape };
        if (tensor_bytes(&t) < 0)
            return err_set(b->err, TOO_LARGE, "the size of its output '%s' overflows",
                           n->out[i]->name);
    }
    return OK;
}

static void keep_types(struct build *b, const struct node *n, const struct type *out)
{
    for (int i = 0; i < n->out_count; i++)
        b->type[n->out[i]->id] = out[i];
}

/* ---- what is computed while planning ---- */

static void house_constants(struct build *b, const struct node *n, const struct type *out)
{
    for (int i = 0; i < n->out_count; i++)
        b->home[n->out[i]->id] =
            (struct place){ .kind = PLACE_CONSTANT, .data = out[i].constant->data };
}

static status compute_now(struct build *b, const struct node *n, const struct type *in,
                          struct type *out)
{
    struct eval v = { b->r->packs, b->r->options, &b->plan->arena };
    TRY(eval_node(&v, n, in, out, b->err));
    keep_types(b, n, out);
    house_constants(b, n, out);
    return OK;
}

/* A view of what is known is known. */
static void view_known(struct build *b, const struct type *in, struct type *out)
{
    if (in[0].constant == NULL)
        return;
    struct tensor *t = arena_zalloc(&b->plan->arena, sizeof(*t));
    *t = (struct tensor){ .dtype = out->dtype, .shape = out->shape, .data = in[0].constant->data };
    out->constant = t;
}

/* ---- homes ---- */

static size_t value_bytes(const struct build *b, const struct value *v, enum layout l)
{
    struct tensor t = { .dtype = b->type[v->id].dtype, .shape = b->type[v->id].shape };
    return (size_t)(l == LAYOUT_PLAIN ? tensor_bytes(&t)
                                      : layout_bytes(&t.shape, l, dtype_size(t.dtype)));
}

/* Small ones get up to a quarter more, to steps that other sizes share (rebind.h). */
static size_t with_room(size_t bytes)
{
    size_t step = 64;
    while (step * 8 <= bytes)
        step *= 2;
    return bytes <= SPARE_MOST ? (bytes + step - 1) / step * step : bytes;
}

static struct place new_extent(struct build *b, size_t bytes, int first, int last)
{
    b->extent[b->extent_count] =
        (struct extent){ .bytes = with_room(bytes), .first = first, .last = last };
    return (struct place){ .kind = PLACE_WORKSPACE, .index = b->extent_count++ };
}

static void stretch(struct build *b, const struct place *home, int last)
{
    if (home->kind == PLACE_WORKSPACE && b->extent[home->index].last < last)
        b->extent[home->index].last = last;
}

/* Whether output 0 of step i, of this size, may be written over input k, which lies in in[k]: a workspace value of the
 * same size that dies at this step and is no other input of it. */
static bool can_overwrite(const struct build *b, const struct node *n, int i, int k,
                          const struct place *in, size_t bytes)
{
    if (k >= n->in_count || in[k].kind != PLACE_WORKSPACE || b->extent[in[k].index].last != i ||
        b->extent[in[k].index].bytes != with_room(bytes) ||
        shape_numel(&b->type[n->in[k]->id].shape) != shape_numel(&b->type[n->out[0]->id].shape) ||
        dtype_size(b->type[n->in[k]->id].dtype) != dtype_size(b->type[n->out[0]->id].dtype))
        return false;
    for (int other = 0; other < n->in_count; other++)
        if (other != k && in[other].kind == PLACE_WORKSPACE && in[other].index == in[k].index)
            return false;
    return true;
}

/* Homes of node i's outputs. An in-place result takes over an input's extent: the first one's, or input `over`'s. */
static void house_outputs(struct build *b, const struct node *n, int i, const struct place *in,
                          const enum layout *give, int over)
{
    int first = n->op->flags & OP_INPLACE ? 0 : over;
    for (int k = 0; k < n->out_count; k++) {
        const struct value *v = n->out[k];
        size_t bytes = value_bytes(b, v, give[k]);
        b->layout[v->id] = give[k];
        if (k == 0 && first >= 0 && can_overwrite(b, n, i, first, in, bytes)) {
            b->home[v->id] = in[first];
            stretch(b, &in[first], b->last_use[v->id]);
        } else {
            b->home[v->id] = new_extent(b, bytes, i, b->last_use[v->id]);
        }
    }
}

/* What comes out of a step with graphs lies where that says. */
static void house_late(struct build *b, const struct node *n)
{
    for (int k = 0; k < n->out_count; k++)
        b->home[n->out[k]->id] = (struct place){ .kind = PLACE_LATE };
}

/* The shapes of n's outputs are told by running it, in the next late slots; gives the first. */
static int make_late(struct build *b, const struct node *n)
{
    int first = b->plan->late_count;
    for (int k = 0; k < n->out_count; k++) {
        uint32_t id = n->out[k]->id;
        b->bound[id] = b->type[id].shape;
        b->type[id].shape.rank = RANK_LATE;
        b->late[id] = b->plan->late_count++;
        if (b->home[id].kind == PLACE_LATE)
            b->home[id].index = b->late[id];
    }
    return first;
}

static void use(int *last_use, const struct value *v, int i)
{
    if (v != NULL && last_use[v->id] < i)
        last_use[v->id] = i;
}

/* The last step that reads each value; outputs are read behind the last step. */
static int *find_last_uses(struct build *b)
{
    const struct graph *g = b->r->graph;
    int *last_use = arena_zalloc(b->scratch, (g->value_count + 1) * sizeof(int));
    for (uint32_t i = b->r->first; i < g->node_count; i++) {
        for (int k = 0; k < g->nodes[i]->out_count; k++)
            use(last_use, g->nodes[i]->out[k], (int)i);
        for (int k = 0; k < g->nodes[i]->in_count; k++)
            use(last_use, g->nodes[i]->in[k], (int)i);
    }
    for (int i = 0; i < g->output_count; i++) {
        use(last_use, g->outputs[i], (int)g->node_count);
        for (int l = 0; l < g->outputs[i]->lod_levels; l++)
            use(last_use, g->outputs[i]->lod[l], (int)g->node_count);
    }
    /* A view keeps alive what it looks at: later views are seen first. */
    for (uint32_t i = g->node_count; i-- > b->r->first;)
        if (g->nodes[i]->op->flags & OP_VIEW)
            use(last_use, g->nodes[i]->in[0], last_use[g->nodes[i]->out[0]->id]);
    return last_use;
}

/* ---- steps ---- */

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

static struct plan_step *new_step(struct build *b, const struct node *n, int in_count,
                                  int out_count)
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
static status align(struct build *b, const struct tensor *t, const void **data)
{
    return packs_aligned(b->r->packs, t, data) == OK
               ? OK
               : err_set(b->err, NO_MEMORY, "no memory for a copy of a parameter");
}

/* A step in front of node i that brings v into the layout. */
static struct place reorder(struct build *b, const struct node *n, const struct value *v,
                            enum layout to, int i)
{
    struct plan_step *s = new_step(b, n, 1, 1);
    struct reorder *r = arena_zalloc(&b->plan->arena, sizeof(*r));
    *r = (struct reorder){ b->type[v->id].shape, b->layout[v->id], to,
                           dtype_size(b->type[v->id].dtype) };
    s->kernel = &layout_reorder;
    s->state = r;
    s->in[0] = b->home[v->id];
    if (v->constant != NULL && packs_aligned(b->r->packs, v->constant, &s->in[0].data) != OK)
        b->is_out_of_memory = true;
    s->out[0] = new_extent(b, value_bytes(b, v, to), i, b->last_use[v->id]);
    b->plan->step_count++;
    return s->out[0];
}

/* Where v lies in the layout that node i (n; the last one, for results) wants. */
static struct place bring(struct build *b, const struct node *n, const struct value *v,
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

static void bring_all(struct build *b, const struct node *n, const enum layout *want, int i,
                      struct place *in)
{
    for (int k = 0; k < n->in_count; k++)
        in[k] = bring(b, n, n->in[k], want[k], i);
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
static status align_places(struct build *b, const struct node *n, const struct kernel *k,
                           struct place *at)
{
    for (int i = 0; i < n->in_count; i++)
        if (at[i].kind == PLACE_CONSTANT && must_align(b, k, i, at[i].data)) {
            const struct type *t = &b->type[n->in[i]->id];
            struct tensor x = { .dtype = t->dtype, .shape = t->shape, .data = at[i].data };
            TRY(align(b, &x, &at[i].data));
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

static status prepare_step(struct build *b, const struct node *n, int i, const struct type *in,
                           const struct type *out)
{
    struct choice c;
    new_choice(b, n, in, out, &c);
    TRY(choose(b, n, i, &c));
    struct place *at = arena_zalloc(b->scratch, ((size_t)n->in_count + 1) * sizeof(*at));
    bring_all(b, n, c.want, i, at);
    TRY(align_places(b, n, c.kernel, at));
    house_outputs(b, n, i, at, c.give, c.over);
    struct plan_step *s = new_step(b, n, padded_in_count(n), n->out_count);
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
        s->late = make_late(b, n);
    return OK;
}

/* A view shares its input's home: the plain one, but where it is the same image. */
static void compile_view(struct build *b, const struct node *n, int i)
{
    const struct value *x = n->in[0], *y = n->out[0];
    bool same = shape_eq(&b->type[x->id].shape, &b->type[y->id].shape);
    enum layout l = same ? b->layout[x->id] : LAYOUT_PLAIN;
    b->home[y->id] = bring(b, n, x, l, i);
    b->layout[y->id] = l;
    stretch(b, &b->home[y->id], b->last_use[y->id]);
}

static void explain_step(struct build *b, const struct node *n, const char *how,
                         const struct type *out)
{
    char shape[SHAPE_TEXT_MAX];
    buf_printf(b->r->explain, "%-24s %-14s %-22s ", n->name, n->op->name, how);
    if (n->out_count > 0)
        buf_printf(b->r->explain, "%s%s %s", n->op->flags & OP_DYNAMIC ? "at most " : "",
                   dtype_name(out[0].dtype), shape_text(&out[0].shape, shape, sizeof(shape)));
    buf_byte(b->r->explain, '\n');
}

static status compile_control(struct build *b, const struct node *n, int i, const struct type *in)
{
    enum layout *plain = arena_zalloc(b->scratch, ((size_t)n->in_count + 1) * sizeof(*plain));
    struct place *at = arena_zalloc(b->scratch, ((size_t)n->in_count + 1) * sizeof(*at));
    bring_all(b, n, plain, i, at);
    TRY(align_places(b, n, NULL, at));
    struct plan_step *s = new_step(b, n, padded_in_count(n), n->out_count);
    memcpy(s->in, at, (size_t)n->in_count * sizeof(*at));
    s->control = control_find(n->op->name);
    if (s->control == NULL)
        return err_set(b->err, UNSUPPORTED, "nothing runs '%s'", n->op->name);
    s->cell = arena_zalloc(&b->plan->arena, (size_t)(n->in_count + 1) * sizeof(*s->cell));
    for (int k = 0; k < n->in_count; k++) {
        bool known = in[k].constant != NULL && tensor_bytes(in[k].constant) <= KNOWN_BYTES;
        s->cell[k] = (struct cell){ n->in[k], in[k].dtype, known, in[k].shape, NULL };
    }
    b->plan->step_count++;
    house_late(b, n);
    s->late = make_late(b, n);
    if (b->r->explain != NULL)
        buf_printf(b->r->explain, "%-24s %-14s runs its graphs\n", n->name, n->op->name);
    return OK;
}

static status compile_node(struct build *b, const struct node *n, int i, struct type *in)
{
    struct type *out = arena_zalloc(b->scratch, (size_t)(n->out_count + 1) * sizeof(*out));
    const char *how = "computed while planning";
    TRY(check_in(b, n, in));
    if (n->op->flags & OP_CONTROL)
        return compile_control(b, n, i, in);
    TRY(infer_node(b, n, in, out));
    if (n->op->flags & OP_VIEW) {
        view_known(b, in, &out[0]);
        keep_types(b, n, out);
        compile_view(b, n, i);
        how = "view";
    } else if (eval_can(n, in) && eval_is_small(n, out)) {
        TRY(compute_now(b, n, in, out));
    } else {
        keep_types(b, n, out);
        TRY(prepare_step(b, n, i, in, out));
        how = b->plan->steps[b->plan->step_count - 1].kernel->name;
    }
    if (b->r->explain != NULL)
        explain_step(b, n, how, out);
    return OK;
}

/* ---- places ---- */

static struct place settle(const struct build *b, struct place p)
{
    if (p.kind == PLACE_WORKSPACE)
        p.offset = b->extent[p.index].offset;
    return p;
}

static void settle_steps(struct build *b)
{
    for (int i = 0; i < b->plan->step_count; i++) {
        struct plan_step *s = &b->plan->steps[i];
        for (int k = 0; k < s->in_count; k++)
            s->in[k] = settle(b, s->in[k]);
        for (int k = 0; k < s->out_count; k++)
            s->out[k] = settle(b, s->out[k]);
    }
}

/* What leaves the plan is plain. */
static void bring_home(struct build *b, const struct value *v)
{
    const struct graph *g = b->r->graph;
    if (b->type[v->id].shape.rank < 0 || b->layout[v->id] == LAYOUT_PLAIN)
        return;
    b->home[v->id] = bring(b, g->nodes[g->node_count - 1], v, LAYOUT_PLAIN, (int)b->plan->next);
    b->layout[v->id] = LAYOUT_PLAIN;
}

static void bring_results_home(struct build *b)
{
    const struct graph *g = b->r->graph;
    for (uint32_t i = 0; i < g->value_count; i++)
        if (b->last_use[i] >= (int)b->plan->next)
            bring_home(b, g->values[i]);
}

static status add_live(struct build *b, const struct value *v, bool known)
{
    const struct type *t = &b->type[v->id];
    int late = b->late[v->id];
    struct place at = settle(b, b->home[v->id]);
    if (at.kind == PLACE_CONSTANT)
        TRY(align(b, &(struct tensor){ .dtype = t->dtype, .shape = t->shape, .data = at.data },
                  &at.data));
    b->plan->live[b->plan->live_count++] = (struct plan_live){
        .cell = { .value = v,
                  .dtype = t->dtype,
                  .known = known,
                  .shape = late >= 0 ? b->bound[v->id] : t->shape },
        .place = at,
        .late = late,
    };
    return OK;
}

/* Elements that planning knows so far, and those that made it stop, are known to the next plan too. */
static bool is_known(const struct build *b, const struct value *v, const struct node *next)
{
    const struct tensor *c = b->type[v->id].constant;
    if (c != NULL && tensor_bytes(c) <= KNOWN_BYTES)
        return true;
    for (int i = 0; i < next->in_count; i++)
        if (next->in[i] == v && op_needs(next->op, i))
            return true;
    return false;
}

static status settle_live(struct build *b)
{
    const struct graph *g = b->r->graph;
    const struct node *next = g->nodes[b->plan->next];
    b->plan->live = arena_zalloc(&b->plan->arena, (g->value_count + 1) * sizeof(*b->plan->live));
    for (uint32_t i = 0; i < g->value_count; i++) {
        const struct value *v = g->values[i];
        if (b->type[i].shape.rank != RANK_ABSENT && v->constant == NULL &&
            b->last_use[i] >= (int)b->plan->next)
            TRY(add_live(b, v, is_known(b, v, next)));
    }
    return OK;
}

static status settle_output(struct build *b, const struct value *v)
{
    if (b->type[v->id].shape.rank == RANK_ABSENT)
        return err_set(b->err, INVALID, "output '%s' is neither fed nor computed", v->name);
    return add_live(b, v, false);
}

static status settle_outputs(struct build *b)
{
    const struct graph *g = b->r->graph;
    size_t room = (size_t)g->output_count * (1 + LOD_MAX) + 1;
    b->plan->live = arena_zalloc(&b->plan->arena, room * sizeof(*b->plan->live));
    for (int i = 0; i < g->output_count; i++) {
        TRY(settle_output(b, g->outputs[i]));
        for (int l = 0; l < g->outputs[i]->lod_levels; l++)
            TRY(settle_output(b, g->outputs[i]->lod[l]));
    }
    return OK;
}

/* The largest value made here, most often the one that is wrong; NULL: none has a place. */
static const struct value *find_largest(const struct build *b)
{
    const struct graph *g = b->r->graph;
    const struct value *largest = NULL;
    size_t most = 0;
    for (uint32_t i = b->r->first; i < b->plan->next; i++)
        for (int k = 0; k < g->nodes[i]->out_count; k++) {
            const struct value *v = g->nodes[i]->out[k];
            const struct place *home = &b->home[v->id];
            if (home->kind != PLACE_WORKSPACE || b->extent[home->index].bytes < most)
                continue;
            most = b->extent[home->index].bytes;
            largest = v;
        }
    return largest;
}

static status too_large(struct build *b, size_t bytes)
{
    const struct value *v = find_largest(b);
    char shape[SHAPE_TEXT_MAX];
    err_set(b->err, TOO_LARGE,
            "these shapes need %zu bytes of working memory, at most %zu are allowed (--max-arena)",
            bytes, b->r->options->max_arena_bytes);
    if (v == NULL)
        return TOO_LARGE;
    const struct type *t = &b->type[v->id];
    const struct shape *s = b->late[v->id] >= 0 ? &b->bound[v->id] : &t->shape;
    err_prefix(b->err, TOO_LARGE, "it makes %s %s: ", dtype_name(t->dtype),
               shape_text(s, shape, sizeof(shape)));
    return node_fault(v->producer, TOO_LARGE, b->err);
}

/* ---- what others may be made out of ---- */

#define RECIPE_VALUES 512 /* larger graphs take so long to run that planning is no matter */

/* Where nothing but plain images and steps that need no more than shapes are in it. */
static bool is_pattern(const struct build *b)
{
    const struct graph *g = b->r->graph;
    if (b->r->is_no_pattern || b->r->first != 0 || b->plan->late_count > 0 ||
        g->value_count > RECIPE_VALUES || b->r->options->ref_only)
        return false;
    for (uint32_t i = 0; i < g->value_count; i++)
        if (b->layout[i] != LAYOUT_PLAIN || b->copy[i].home.kind != PLACE_NONE)
            return false;
    for (int i = 0; i < b->r->given_count; i++)
        if (b->r->given[i].known)
            return false;
    return true;
}

static void *keep(struct build *b, const void *from, size_t count, size_t size)
{
    void *to = arena_zalloc(&b->plan->arena, (count + 1) * size);
    return count > 0 ? memcpy(to, from, count * size) : to;
}

static const size_t *find_rooms(struct build *b)
{
    const struct graph *g = b->r->graph;
    size_t *room = arena_zalloc(&b->plan->arena, (g->value_count + 1) * sizeof(*room));
    for (uint32_t i = 0; i < g->value_count; i++) {
        const struct place *home = &b->home[i];
        if (home->kind == PLACE_WORKSPACE)
            room[i] = b->extent[home->index].bytes;
        else if (home->kind == PLACE_GIVEN) /* views of what is fed are as large as that */
            room[i] = SIZE_MAX;
    }
    return room;
}

static const int *find_steps(struct build *b)
{
    const struct graph *g = b->r->graph;
    int *step = arena_zalloc(&b->plan->arena, (g->node_count + 1) * sizeof(*step));
    for (uint32_t i = 0; i < g->node_count; i++)
        step[i] = g->nodes[i]->op->flags & OP_VIEW ? STEP_VIEW : STEP_DONE;
    int at = 0;
    for (uint32_t i = 0; i < g->node_count && at < b->plan->step_count; i++)
        if (b->plan->steps[at].node == g->nodes[i])
            step[i] = at++;
    return step;
}

static void keep_recipe(struct build *b)
{
    const struct graph *g = b->r->graph;
    struct plan *p = b->plan;
    if (!is_pattern(b))
        return;
    struct recipe *made = arena_zalloc(&p->arena, sizeof(*made));
    made->type = keep(b, b->type, g->value_count, sizeof(*b->type));
    made->room = find_rooms(b);
    made->step = find_steps(b);
    made->scratch_room = b->scratch_bytes;
    p->given = keep(b, b->r->given, (size_t)b->r->given_count, sizeof(*p->given));
    p->given_count = b->r->given_count;
    p->recipe = made;
}

static status lay_out(struct build *b)
{
    bring_results_home(b);
    if (b->is_out_of_memory)
        return err_set(b->err, NO_MEMORY, "no memory for a copy of a parameter");
    size_t bytes = layout_extents(b->extent, b->extent_count, b->scratch);
    size_t most = b->r->options->max_arena_bytes;
    if (bytes > most || b->scratch_bytes > most - bytes)
        return too_large(b, bytes == SIZE_MAX ? bytes : bytes + b->scratch_bytes);
    b->scratch_bytes = with_room(b->scratch_bytes);
    b->plan->scratch_offset = bytes;
    b->plan->workspace_bytes = bytes + b->scratch_bytes;
    settle_steps(b);
    if (b->plan->next == b->r->graph->node_count) {
        keep_recipe(b);
        return settle_outputs(b);
    }
    return settle_live(b);
}

static status compile_nodes(struct build *b)
{
    const struct graph *g = b->r->graph;
    uint32_t i = b->r->first;
    for (; i < g->node_count; i++) {
        struct type *in = gather_in(b, g->nodes[i]);
        if (must_wait(g->nodes[i], in))
            break;
        status s = compile_node(b, g->nodes[i], (int)i, in);
        if (s != OK)
            return node_fault(g->nodes[i], s, b->err);
    }
    b->plan->next = i;
    if (i < g->node_count && b->r->explain != NULL)
        buf_printf(b->r->explain, "%-24s is planned, with what follows, when shapes are known\n",
                   g->nodes[i]->name);
    return OK;
}

static status compile(struct build *b)
{
    const struct graph *g = b->r->graph;
    size_t args = 0, values = g->value_count + (size_t)1, nodes = g->node_count - b->r->first;
    for (uint32_t i = b->r->first; i < g->node_count; i++)
        args += (size_t)g->nodes[i]->out_count + (size_t)g->nodes[i]->in_count;
    b->type = arena_zalloc(b->scratch, values * sizeof(*b->type));
    b->bound = arena_zalloc(b->scratch, values * sizeof(*b->bound));
    b->late = arena_zalloc(b->scratch, values * sizeof(*b->late));
    b->home = arena_zalloc(b->scratch, values * sizeof(*b->home));
    b->layout = arena_zalloc(b->scratch, values * sizeof(*b->layout));
    b->copy = arena_zalloc(b->scratch, values * sizeof(*b->copy));
    /* At most every input of every node, and every result, is brought into another layout. */
    b->extent = arena_zalloc(b->scratch, (args + values) * sizeof(*b->extent));
    b->step_cap = (int)nodes;
    b->plan->steps = arena_zalloc(&b->plan->arena, (nodes + 1) * sizeof(struct plan_step));
    set_constant_types(b);
    TRY(set_given_types(b));
    b->last_use = find_last_uses(b);
    TRY(compile_nodes(b));
    return lay_out(b);
}

static void unref_kept(struct kept *k)
{
    plan_unref((struct plan *)k);
}

struct plan *plan_new(const struct plan_request *r, int steps)
{
    size_t key_bytes = (size_t)r->key.count * sizeof(int64_t);
    /* The first piece of its arena is its own: a plan of few steps takes no more than it needs. */
    size_t own = steps <= OWN_STEPS ? (size_t)steps * OWN_STEP_BYTES + key_bytes + 256 : 0;
    struct plan *p = mem_alloc(sizeof(*p) + own);
    memset(p, 0, sizeof(*p));
    p->kept = (struct kept){ r->model_id, unref_kept };
    list_init(&p->node);
    list_init(&p->same_hash);
    list_init(&p->base_node);
    atomic_init(&p->refs, 1);
    arena_init_in(&p->arena, p + 1, own);
    p->graph = r->graph;
    int64_t *word = arena_alloc(&p->arena, key_bytes + 1);
    if (key_bytes > 0)
        memcpy(word, r->key.word, key_bytes);
    p->key = r->key;
    p->key.word = word;
    return p;
}

status plan_build(const struct plan_request *r, struct plan **out, struct err *e)
{
    struct build b = { .r = r, .err = e };
    b.plan = plan_new(r, (int)(r->graph->node_count - r->first));
    struct arena own;
    arena_init(&own, 0);
    b.scratch = r->scratch != NULL ? r->scratch : &own;
    status s = compile(&b);
    arena_deinit(&own);
    if (s != OK) {
        plan_unref(b.plan);
        return s;
    }
    *out = b.plan;
    return OK;
}
