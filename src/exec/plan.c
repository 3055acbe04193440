/* Compiling a graph for concrete types, in four steps: types flow from what is given to every value
 * (infer), and what depends on them alone is computed right away; each value gets a home (a constant, a given cell, or an
 * extent of the workspace that views and in-place operators share), kernels are chosen and prepared, and extents are
 * laid out so that lives that do not meet share bytes. The walk ends early in front of a node whose types only running
 * tells. */
#include "exec/plan.h"

#include "base/limits.h"
#include "base/mem.h"
#include "exec/control.h"
#include "exec/eval.h"

#include <string.h>

#define KNOWN_BYTES \
    1024 /* larger constants are handed on as bytes: no shape is made of so many numbers */
#define RANK_ABSENT (-1) /* not made so far */
#define RANK_LATE   (-2) /* made, but only running tells its shape */

/* Working state of one build; everything in it lives in `scratch`. */
struct build {
    const struct plan_request *r;
    struct plan *plan;
    struct arena scratch;
    struct type *type;     /* by value id; rank: as above */
    struct shape *bound;   /* by value id, where the type is late */
    int *late;             /* by value id: the late slot, or -1 */
    struct place *home;    /* by value id; PLACE_WORKSPACE: index is the extent */
    const int *last_use;   /* by value id */
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
        if (p->steps[i].kernel != NULL && p->steps[i].kernel->release != NULL)
            p->steps[i].kernel->release(p->steps[i].state);
    arena_deinit(&p->arena);
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
    struct type *in = arena_zalloc(&b->scratch, (size_t)(count + 1) * sizeof(*in));
    for (int i = 0; i < count; i++)
        in[i] = i < n->in_count && n->in[i] != NULL ? b->type[n->in[i]->id] : absent;
    return in;
}

static bool needs(const struct op *op, int i)
{
    return i < 8 && (op->flags & OP_NEEDS(i));
}

/* Whether only running tells what planning n wants to know. */
static bool must_wait(const struct node *n, const struct type *in)
{
    for (int i = 0; i < n->in_count; i++)
        if (n->in[i] != NULL &&
            (in[i].shape.rank == RANK_LATE || (needs(n->op, i) && in[i].constant == NULL)))
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

/* More than this is not worth keeping in every plan. Shapes alone decide the boxes or positions of a whole image: those
 * take longer to make than others. */
#define EVAL_BYTES       ((size_t)1 << 20)
#define EVAL_SHAPE_BYTES ((size_t)16 << 20)

static bool is_small(const struct node *n, const struct type *out)
{
    size_t total = 0, most = n->op->flags & OP_SHAPE_ONLY ? EVAL_SHAPE_BYTES : EVAL_BYTES;
    for (int i = 0; i < n->out_count; i++) {
        struct tensor t = { .dtype = out[i].dtype, .shape = out[i].shape };
        if (__builtin_add_overflow(total, (size_t)tensor_bytes(&t), &total))
            return false;
    }
    return total <= most;
}

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

static void new_extent(struct build *b, const struct value *v, int i)
{
    struct extent *x = &b->extent[b->extent_count];
    *x = (struct extent){ .bytes = value_bytes(b, v), .first = i, .last = b->last_use[v->id] };
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
static void house_node(struct build *b, const struct node *n, int i)
{
    for (int k = 0; k < n->out_count; k++) {
        const struct value *v = n->out[k];
        bool share = k == 0 && ((n->op->flags & OP_VIEW) || can_overwrite(b, n, i));
        if (share) {
            b->home[v->id] = b->home[n->in[0]->id];
            stretch(b, v, b->last_use[v->id]);
        } else {
            new_extent(b, v, i);
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
    int *last_use = arena_zalloc(&b->scratch, (g->value_count + 1) * sizeof(int));
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

static struct plan_step *new_step(struct build *b, const struct node *n)
{
    struct plan_step *s = &b->plan->steps[b->plan->step_count];
    *s = (struct plan_step){
        .node = n, .in_count = padded_in_count(n), .out_count = n->out_count, .late = -1
    };
    if (s->in_count > b->plan->max_in)
        b->plan->max_in = s->in_count;
    if (n->out_count > b->plan->max_out)
        b->plan->max_out = n->out_count;
    return s;
}

/* What a kernel may take for a constant: it packs weights by their address, which must be the model's, and not that of
 * something that was computed for this plan and is gone with it. Elements that inference needs may be looked at. */
static struct type *kernel_types(struct build *b, const struct node *n, const struct type *in)
{
    int count = padded_in_count(n);
    struct type *t = arena_zalloc(&b->scratch, (size_t)(count + 1) * sizeof(*t));
    memcpy(t, in, (size_t)count * sizeof(*t));
    for (int i = 0; i < count && i < n->in_count; i++)
        if (n->in[i] != NULL && n->in[i]->constant == NULL && !needs(n->op, i))
            t[i].constant = NULL;
    return t;
}

static status prepare_step(struct build *b, const struct node *n, struct type *in, struct type *out)
{
    struct plan_step *s = new_step(b, n);
    struct kernel_ctx ctx = { .node = n,
                              .in = kernel_types(b, n, in),
                              .out = out,
                              .arena = &b->plan->arena,
                              .packs = b->r->packs,
                              .threads = b->r->options->threads };
    TRY(choose_kernel(b->r->options, &ctx, &s->kernel, b->r->explain, b->err));
    size_t scratch_bytes = 0;
    if (s->kernel->prepare != NULL)
        TRY(s->kernel->prepare(&ctx, &s->state, &scratch_bytes, b->err));
    b->plan->step_count++; /* from here on plan_unref releases its state */
    if (scratch_bytes > b->scratch_bytes)
        b->scratch_bytes = scratch_bytes;
    if (n->op->flags & OP_DYNAMIC)
        s->late = make_late(b, n);
    return OK;
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

static status compile_control(struct build *b, const struct node *n, const struct type *in)
{
    struct plan_step *s = new_step(b, n);
    s->control = control_find(n->op->name);
    if (s->control == NULL)
        return err_set(b->err, UNSUPPORTED, "nothing runs '%s'", n->op->name);
    s->cell = arena_zalloc(&b->plan->arena, (size_t)(n->in_count + 1) * sizeof(*s->cell));
    for (int i = 0; i < n->in_count; i++) {
        bool known = in[i].constant != NULL && tensor_bytes(in[i].constant) <= KNOWN_BYTES;
        s->cell[i] = (struct cell){ n->in[i], in[i].dtype, known, in[i].shape, NULL };
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
    struct type *out = arena_zalloc(&b->scratch, (size_t)(n->out_count + 1) * sizeof(*out));
    const char *how = "computed while planning";
    TRY(check_in(b, n, in));
    if (n->op->flags & OP_CONTROL)
        return compile_control(b, n, in);
    TRY(infer_node(b, n, in, out));
    if (n->op->flags & OP_VIEW) {
        view_known(b, in, &out[0]);
        keep_types(b, n, out);
        house_node(b, n, i);
        how = "view";
    } else if (eval_can(n, in) && is_small(n, out)) {
        TRY(compute_now(b, n, in, out));
    } else {
        keep_types(b, n, out);
        house_node(b, n, i);
        TRY(prepare_step(b, n, in, out));
        how = b->plan->steps[b->plan->step_count - 1].kernel->name;
    }
    if (b->r->explain != NULL)
        explain_step(b, n, how, out);
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

static void add_live(struct build *b, const struct value *v, bool known)
{
    const struct type *t = &b->type[v->id];
    int late = b->late[v->id];
    b->plan->live[b->plan->live_count++] = (struct plan_live){
        .cell = { .value = v,
                  .dtype = t->dtype,
                  .known = known,
                  .shape = late >= 0 ? b->bound[v->id] : t->shape },
        .place = settle(b, v),
        .late = late,
    };
}

/* Elements that planning knows so far, and those that made it stop, are known to the next plan too. */
static bool is_known(const struct build *b, const struct value *v, const struct node *next)
{
    const struct tensor *c = b->type[v->id].constant;
    if (c != NULL && tensor_bytes(c) <= KNOWN_BYTES)
        return true;
    for (int i = 0; i < next->in_count; i++)
        if (next->in[i] == v && needs(next->op, i))
            return true;
    return false;
}

static void settle_live(struct build *b)
{
    const struct graph *g = b->r->graph;
    const struct node *next = g->nodes[b->plan->next];
    b->plan->live = arena_zalloc(&b->plan->arena, (g->value_count + 1) * sizeof(*b->plan->live));
    for (uint32_t i = 0; i < g->value_count; i++) {
        const struct value *v = g->values[i];
        if (b->type[i].shape.rank != RANK_ABSENT && v->constant == NULL &&
            b->last_use[i] >= (int)b->plan->next)
            add_live(b, v, is_known(b, v, next));
    }
}

static status settle_output(struct build *b, const struct value *v)
{
    if (b->type[v->id].shape.rank == RANK_ABSENT)
        return err_set(b->err, INVALID, "output '%s' is neither fed nor computed", v->name);
    add_live(b, v, false);
    return OK;
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
    if (b->plan->next == b->r->graph->node_count)
        return settle_outputs(b);
    settle_live(b);
    return OK;
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
    size_t outputs = 0, values = g->value_count + (size_t)1;
    for (uint32_t i = b->r->first; i < g->node_count; i++)
        outputs += (size_t)g->nodes[i]->out_count;
    b->type = arena_zalloc(&b->scratch, values * sizeof(*b->type));
    b->bound = arena_zalloc(&b->scratch, values * sizeof(*b->bound));
    b->late = arena_zalloc(&b->scratch, values * sizeof(*b->late));
    b->home = arena_zalloc(&b->scratch, values * sizeof(*b->home));
    b->extent = arena_zalloc(&b->scratch, (outputs + 1) * sizeof(*b->extent));
    b->plan->steps =
        arena_zalloc(&b->plan->arena, (g->node_count - b->r->first + 1) * sizeof(struct plan_step));
    set_constant_types(b);
    TRY(set_given_types(b));
    b->last_use = find_last_uses(b);
    TRY(compile_nodes(b));
    return lay_out(b);
}

static struct plan *new_plan(const struct plan_request *r)
{
    struct plan *p = mem_zalloc(sizeof(*p));
    list_init(&p->node);
    atomic_init(&p->refs, 1);
    arena_init(&p->arena, 0);
    p->graph = r->graph;
    size_t bytes = (size_t)r->key.count * sizeof(int64_t);
    int64_t *word = arena_alloc(&p->arena, bytes + 1);
    if (bytes > 0)
        memcpy(word, r->key.word, bytes);
    p->key = r->key;
    p->key.word = word;
    return p;
}

status plan_build(const struct plan_request *r, struct plan **out, struct err *e)
{
    struct build b = { .r = r, .plan = new_plan(r), .err = e };
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
