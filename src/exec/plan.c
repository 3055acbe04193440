/* Compiling a graph for concrete types, in four steps: types flow from what is given to every value
 * (infer), and what depends on them alone is computed right away; kernels are chosen and prepared, and say in which layout
 * they want images and leave them, so that a step in between brings an image from one to the other where they disagree;
 * each value gets a home (a constant, a given cell, or an extent of the workspace that views and in-place operators
 * share), and extents are laid out so that lives that do not meet share bytes. The walk ends early in front of a node
 * whose types only running tells. */
#include "exec/build.h"

#include "base/limits.h"
#include "base/mem.h"
#include "exec/control.h"
#include "exec/eval.h"

#include <string.h>

#define OWN_STEPS      32 /* a plan of so many has its first memory with itself */
#define OWN_STEP_BYTES 320

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

/* ---- nodes ---- */

/* A view shares its input's home: the plain one, but where it is the same image. */
static void compile_view(struct build *b, const struct node *n, int i)
{
    const struct value *x = n->in[0], *y = n->out[0];
    bool same = shape_eq(&b->type[x->id].shape, &b->type[y->id].shape);
    enum layout l = same ? b->layout[x->id] : LAYOUT_PLAIN;
    b->home[y->id] = step_bring(b, n, x, l, i);
    b->layout[y->id] = l;
    home_stretch(b, &b->home[y->id], b->last_use[y->id]);
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
    step_bring_all(b, n, plain, i, at);
    TRY(step_align_places(b, n, NULL, at));
    struct plan_step *s = step_new(b, n, padded_in_count(n), n->out_count);
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
    home_late(b, n);
    s->late = home_make_late(b, n);
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
        TRY(step_prepare(b, n, i, in, out));
        how = b->plan->steps[b->plan->step_count - 1].kernel->name;
    }
    if (b->r->explain != NULL)
        explain_step(b, n, how, out);
    return OK;
}

/* ---- all of it ---- */

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
    b->last_use = home_last_uses(b);
    TRY(compile_nodes(b));
    return plan_finish(b);
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
