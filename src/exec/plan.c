/* Compiling a graph for concrete shapes, in four steps: types flow from the inputs to every value
 * (infer), each value gets a home (a constant, an input, or an extent of the workspace that views
 * and in-place operators share), kernels are chosen and prepared, and extents are laid out so that
 * lives that do not meet share bytes. */
#include "exec/plan.h"

#include "base/limits.h"
#include "base/mem.h"

#include <string.h>

/* Working state of one build; everything in it lives in `scratch`. */
struct build {
    const struct plan_request *r;
    struct plan *plan;
    struct arena scratch;
    struct type *type;     /* by value id; rank -1: not known */
    struct place *home;    /* by value id; PLACE_WORKSPACE: index is the extent */
    struct extent *extent; /* extent_count of them */
    int extent_count;
    size_t scratch_bytes;
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
        if (p->steps[i].kernel->release != NULL)
            p->steps[i].kernel->release(p->steps[i].state);
    arena_deinit(&p->arena);
    mem_free(p);
}

static status node_fault(const struct node *n, status s, struct err *e)
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
        b->type[i].shape.rank = -1;
        if (c == NULL)
            continue;
        b->type[i] = (struct type){ c->dtype, c->shape, c };
        b->home[i] = (struct place){ .kind = PLACE_CONSTANT, .data = c->data };
    }
}

static void set_input_types(struct build *b)
{
    for (int i = 0; i < b->r->ports->input_count; i++) {
        const struct value *v = b->r->graph->inputs[b->r->ports->inputs[i].value];
        const struct tensor *t = &b->r->in[i];
        b->type[v->id] = (struct type){ t->dtype, t->shape, NULL };
        b->home[v->id] = (struct place){ .kind = PLACE_INPUT, .index = i };
        for (int l = 0; l < v->lod_levels && l < t->lod.levels; l++) {
            uint32_t id = v->lod[l]->id;
            b->type[id] = (struct type){ DTYPE_I64, SHAPE(t->lod.level[l].count), NULL };
            b->home[id] = (struct place){ .kind = PLACE_LOD, .index = i, .level = l };
        }
    }
}

static const struct type absent = { .shape = { .rank = -1 } };

/* Optional inputs that a node does not have are absent ones to its kernel, so that it need not count; an operator with
 * more than a few takes a list, which has no optional ones. */
static int padded_in_count(const struct node *n)
{
    return n->op->in_max <= 8 ? n->op->in_max : n->in_count;
}

static struct type *gather_in(struct build *b, const struct node *n)
{
    int count = padded_in_count(n);
    struct type *in = arena_zalloc(&b->scratch, (size_t)(count + 1) * sizeof(*in));
    for (int i = 0; i < count; i++)
        in[i] = i < n->in_count && n->in[i] != NULL ? b->type[n->in[i]->id] : absent;
    return in;
}

static status infer_node(struct build *b, const struct node *n, struct type *in, struct type *out)
{
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] != NULL && in[i].shape.rank < 0)
            return err_set(b->err, INVALID, "its input '%s' is neither fed nor computed",
                           n->in[i]->name);
    TRY(n->op->infer(n, in, out, b->err));
    for (int i = 0; i < n->out_count; i++) {
        struct tensor t = { .dtype = out[i].dtype, .shape = out[i].shape };
        if (tensor_bytes(&t) < 0)
            return err_set(b->err, TOO_LARGE, "the size of its output '%s' overflows",
                           n->out[i]->name);
        b->type[n->out[i]->id] = out[i];
    }
    return OK;
}

/* ---- homes ---- */

static size_t value_bytes(const struct build *b, const struct value *v)
{
    struct tensor t = { .dtype = b->type[v->id].dtype, .shape = b->type[v->id].shape };
    return (size_t)tensor_bytes(&t);
}

/* Whether output 0 of step i may be written over input 0: a workspace value of the same size that
 * dies at this step and is no other input of it. */
static bool can_overwrite(const struct build *b, const struct node *n, int i)
{
    if (!(n->op->flags & OP_INPLACE) || n->in[0] == NULL)
        return false;
    const struct place *home = &b->home[n->in[0]->id];
    if (home->kind != PLACE_WORKSPACE || b->extent[home->index].last != i ||
        value_bytes(b, n->in[0]) != value_bytes(b, n->out[0]) ||
        dtype_size(b->type[n->in[0]->id].dtype) != dtype_size(b->type[n->out[0]->id].dtype))
        return false;
    for (int k = 1; k < n->in_count; k++)
        if (n->in[k] != NULL && b->home[n->in[k]->id].kind == PLACE_WORKSPACE &&
            b->home[n->in[k]->id].index == home->index)
            return false;
    return true;
}

static void new_extent(struct build *b, const struct value *v, int i, const int *last_use)
{
    struct extent *x = &b->extent[b->extent_count];
    *x = (struct extent){ .bytes = value_bytes(b, v), .first = i, .last = last_use[v->id] };
    b->home[v->id] = (struct place){ .kind = PLACE_WORKSPACE, .index = b->extent_count++ };
}

static void stretch(struct build *b, const struct value *v, int last)
{
    struct place *home = &b->home[v->id];
    if (home->kind == PLACE_WORKSPACE && b->extent[home->index].last < last)
        b->extent[home->index].last = last;
}

/* Homes of node i's outputs. A view shares its input's home; an in-place result takes over its
 * input's extent. */
static void house_node(struct build *b, const struct node *n, int i, const int *last_use)
{
    for (int k = 0; k < n->out_count; k++) {
        const struct value *v = n->out[k];
        bool share = k == 0 && ((n->op->flags & OP_VIEW) || can_overwrite(b, n, i));
        if (share) {
            b->home[v->id] = b->home[n->in[0]->id];
            stretch(b, v, last_use[v->id]);
        } else {
            new_extent(b, v, i, last_use);
        }
    }
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
    int *last_use = arena_zalloc(&b->scratch, g->value_count * sizeof(int));
    for (uint32_t i = 0; i < g->node_count; i++) {
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
    for (uint32_t i = g->node_count; i-- > 0;)
        if (g->nodes[i]->op->flags & OP_VIEW)
            use(last_use, g->nodes[i]->in[0], last_use[g->nodes[i]->out[0]->id]);
    return last_use;
}

/* ---- kernels ---- */

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

static status prepare_step(struct build *b, const struct node *n, struct type *in, struct type *out)
{
    struct plan_step *s = &b->plan->steps[b->plan->step_count];
    struct kernel_ctx ctx = { .node = n,
                              .in = in,
                              .out = out,
                              .arena = &b->plan->arena,
                              .packs = b->r->packs,
                              .threads = b->r->options->threads };
    *s = (struct plan_step){ .node = n, .in_count = padded_in_count(n), .out_count = n->out_count };
    TRY(b->r->options->ref_only ? choose_ref(&ctx, &s->kernel, b->err)
                                : kernel_choose(&ctx, &s->kernel, b->r->explain, b->err));
    size_t scratch_bytes = 0;
    if (s->kernel->prepare != NULL)
        TRY(s->kernel->prepare(&ctx, &s->state, &scratch_bytes, b->err));
    b->plan->step_count++; /* from here on plan_unref releases its state */
    if (scratch_bytes > b->scratch_bytes)
        b->scratch_bytes = scratch_bytes;
    if (s->in_count > b->plan->max_in)
        b->plan->max_in = s->in_count;
    if (n->out_count > b->plan->max_out)
        b->plan->max_out = n->out_count;
    return OK;
}

static void explain_step(struct build *b, const struct node *n, const struct type *out)
{
    char shape[SHAPE_TEXT_MAX];
    const char *kernel =
        n->op->flags & OP_VIEW ? "view" : b->plan->steps[b->plan->step_count - 1].kernel->name;
    buf_printf(b->r->explain, "%-24s %-14s %-22s %s %s\n", n->name, n->op->name, kernel,
               dtype_name(out[0].dtype), shape_text(&out[0].shape, shape, sizeof(shape)));
}

static status compile_node(struct build *b, const struct node *n, int i, const int *last_use)
{
    struct type *in = gather_in(b, n);
    struct type *out = arena_zalloc(&b->scratch, (size_t)n->out_count * sizeof(*out));
    TRY(infer_node(b, n, in, out));
    house_node(b, n, i, last_use);
    if (!(n->op->flags & OP_VIEW))
        TRY(prepare_step(b, n, in, out));
    if (b->r->explain != NULL)
        explain_step(b, n, out);
    return OK;
}

/* ---- places ---- */

static struct place settle(const struct build *b, const struct value *v)
{
    if (v == NULL)
        return (struct place){ .kind = PLACE_NONE };
    struct place p = b->home[v->id];
    if (p.kind == PLACE_WORKSPACE)
        p.offset = b->extent[p.index].offset;
    return p;
}

static void settle_steps(struct build *b)
{
    for (int i = 0; i < b->plan->step_count; i++) {
        struct plan_step *s = &b->plan->steps[i];
        s->in = arena_zalloc(&b->plan->arena, (size_t)(s->in_count + 1) * sizeof(struct place));
        s->out = arena_zalloc(&b->plan->arena, (size_t)(s->out_count + 1) * sizeof(struct place));
        for (int k = 0; k < s->in_count; k++)
            s->in[k] = settle(b, k < s->node->in_count ? s->node->in[k] : NULL);
        for (int k = 0; k < s->out_count; k++)
            s->out[k] = settle(b, s->node->out[k]);
    }
}

static status settle_outputs(struct build *b)
{
    const struct imported *ports = b->r->ports;
    b->plan->outputs = arena_zalloc(&b->plan->arena,
                                    (size_t)(ports->output_count + 1) * sizeof(struct plan_output));
    for (int i = 0; i < ports->output_count; i++) {
        const struct value *v = b->r->graph->outputs[ports->outputs[i].value];
        struct plan_output *o = &b->plan->outputs[i];
        if (b->type[v->id].shape.rank < 0)
            return err_set(b->err, INVALID, "output '%s' is neither fed nor computed",
                           ports->outputs[i].alias);
        *o = (struct plan_output){ .dtype = b->type[v->id].dtype,
                                   .shape = b->type[v->id].shape,
                                   .data = settle(b, v),
                                   .lod_levels = v->lod_levels };
        for (int l = 0; l < v->lod_levels; l++) {
            o->lod[l] = settle(b, v->lod[l]);
            o->lod_count[l] = shape_numel(&b->type[v->lod[l]->id].shape);
        }
    }
    return OK;
}

static status lay_out(struct build *b)
{
    size_t bytes = layout_extents(b->extent, b->extent_count, &b->scratch);
    if (bytes > LIMIT_PLAN_BYTES || b->scratch_bytes > LIMIT_PLAN_BYTES - bytes)
        return err_set(b->err, TOO_LARGE,
                       "these shapes need %zu bytes of working memory, at most %zu are allowed",
                       bytes == SIZE_MAX ? bytes : bytes + b->scratch_bytes,
                       (size_t)LIMIT_PLAN_BYTES);
    b->plan->scratch_offset = bytes;
    b->plan->workspace_bytes = bytes + b->scratch_bytes;
    settle_steps(b);
    return settle_outputs(b);
}

static status compile(struct build *b)
{
    const struct graph *g = b->r->graph;
    int outputs = 0;
    for (uint32_t i = 0; i < g->node_count; i++)
        outputs += g->nodes[i]->out_count;
    b->type = arena_zalloc(&b->scratch, (g->value_count + 1) * sizeof(*b->type));
    b->home = arena_zalloc(&b->scratch, (g->value_count + 1) * sizeof(*b->home));
    b->extent = arena_zalloc(&b->scratch, (size_t)(outputs + 1) * sizeof(*b->extent));
    b->plan->steps = arena_zalloc(&b->plan->arena, (g->node_count + 1) * sizeof(struct plan_step));
    set_constant_types(b);
    set_input_types(b);
    const int *last_use = find_last_uses(b);
    for (uint32_t i = 0; i < g->node_count; i++) {
        status s = compile_node(b, g->nodes[i], (int)i, last_use);
        if (s != OK)
            return node_fault(g->nodes[i], s, b->err);
    }
    return lay_out(b);
}

static struct plan *new_plan(struct plan_key key)
{
    struct plan *p = mem_zalloc(sizeof(*p));
    list_init(&p->node);
    atomic_init(&p->refs, 1);
    arena_init(&p->arena, 0);
    size_t bytes = (size_t)key.count * sizeof(int64_t);
    int64_t *word = arena_alloc(&p->arena, bytes + 1);
    if (bytes > 0)
        memcpy(word, key.word, bytes);
    p->key = (struct plan_key){ word, key.count };
    return p;
}

status plan_build(const struct plan_request *r, struct plan **out, struct err *e)
{
    struct build b = { .r = r, .plan = new_plan(r->key), .err = e };
    arena_init(&b.scratch, 0);
    status s = compile(&b);
    arena_deinit(&b.scratch);
    if (s != OK) {
        plan_unref(b.plan);
        return s;
    }
    *out = b.plan;
    return OK;
}
