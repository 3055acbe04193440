#include "graph/graph.h"

#include "base/limits.h"
#include "base/mem.h"
#include "graph/op.h"

#include <stdio.h>
#include <string.h>

struct graph *graph_new(void)
{
    struct graph *g = mem_zalloc(sizeof(*g));
    arena_init(&g->arena, 0);
    return g;
}

void graph_free(struct graph *g)
{
    if (g == NULL)
        return;
    mem_free(g->values);
    mem_free(g->nodes);
    arena_deinit(&g->arena);
    mem_free(g);
}

/* ---- building ---- */

/* Room for one more pointer in a list that doubles. */
static status grow(void **list, uint32_t count, uint32_t *cap, uint32_t limit, const char *what,
                   struct err *e)
{
    if (count < *cap)
        return OK;
    if (count >= limit)
        return err_set(e, TOO_LARGE, "more than %u %s in one graph", limit, what);
    uint32_t bigger = *cap == 0 ? 64 : *cap * 2;
    void *p = mem_resize_try(*list, bigger * sizeof(void *));
    if (p == NULL)
        return err_set(e, NO_MEMORY, "no memory for %u %s", bigger, what);
    *list = p;
    *cap = bigger;
    return OK;
}

status graph_add_value(struct graph *g, const char *name, dtype d, const struct shape *s,
                       struct value **out, struct err *e)
{
    void *list = g->values;
    TRY(grow(&list, g->value_count, &g->value_cap, LIMIT_GRAPH_VALUES, "values", e));
    g->values = list;
    struct value *v = arena_zalloc(&g->arena, sizeof(*v));
    v->name = name != NULL ? arena_strndup(&g->arena, name, strlen(name))
                           : arena_printf(&g->arena, "%%%u", g->value_count);
    v->dtype = d;
    v->shape = *s;
    v->id = g->value_count;
    g->values[g->value_count++] = v;
    *out = v;
    return OK;
}

status graph_add_constant(struct graph *g, const char *name, const struct tensor *t,
                          struct value **out, struct err *e)
{
    TRY(graph_add_value(g, name, t->dtype, &t->shape, out, e));
    struct tensor *copy = arena_alloc(&g->arena, sizeof(*copy));
    *copy = *t;
    (*out)->constant = copy;
    return OK;
}

static status add_outputs(struct graph *g, struct node *n, int count, struct err *e)
{
    static const struct shape scalar = { 0 };
    n->out_count = count;
    n->out = arena_zalloc(&g->arena, (size_t)n->out_count * sizeof(*n->out));
    for (int i = 0; i < n->out_count; i++) {
        TRY(graph_add_value(g, NULL, DTYPE_F32, &scalar, &n->out[i], e));
        n->out[i]->producer = n;
    }
    return OK;
}

static struct value **copy_values(struct graph *g, struct value *const *values, int count)
{
    struct value **copy = arena_zalloc(&g->arena, ((size_t)count + 1) * sizeof(*copy));
    if (count > 0)
        memcpy(copy, values, (size_t)count * sizeof(*copy));
    return copy;
}

status graph_add_node(struct graph *g, const struct op *op, const char *origin,
                      struct value *const *in, int in_count, struct node **out, struct err *e)
{
    return graph_add_node_outs(g, op, origin, in, in_count, op->out_count, out, e);
}

status graph_add_node_outs(struct graph *g, const struct op *op, const char *origin,
                           struct value *const *in, int in_count, int out_count, struct node **out,
                           struct err *e)
{
    void *list = g->nodes;
    if (in_count > UINT8_MAX)
        return err_set(e, TOO_LARGE, "%s: %d inputs, at most %d", op->name, in_count, UINT8_MAX);
    TRY(grow(&list, g->node_count, &g->node_cap, LIMIT_GRAPH_NODES, "nodes", e));
    g->nodes = list;
    struct node *n = arena_zalloc(&g->arena, sizeof(*n));
    n->op = op;
    n->name = arena_printf(&g->arena, "%s_%u", op->name, g->node_count);
    n->origin = origin;
    n->in_count = in_count;
    n->in = copy_values(g, in, in_count);
    n->attrs = op->attrs_size > 0 ? arena_zalloc(&g->arena, op->attrs_size) : NULL;
    TRY(add_outputs(g, n, out_count, e));
    g->nodes[g->node_count++] = n;
    *out = n;
    return OK;
}

void *node_attrs(struct node *n)
{
    return (void *)n->attrs;
}

static void free_inner(void *g)
{
    graph_free(g);
}

struct graph *graph_new_inner(struct graph *g)
{
    struct graph *inner = graph_new();
    arena_defer(&g->arena, free_inner, inner);
    return inner;
}

struct graph *node_graph(const struct node *n, int i)
{
    struct graph *g;
    for (const struct attr_field *f = n->op->attrs; f != NULL && f->name != NULL; f++) {
        if (f->type != ATTR_GRAPH || i-- > 0)
            continue;
        memcpy(&g, (const char *)n->attrs + f->offset, sizeof(g));
        return g;
    }
    return NULL;
}

status graph_set_inputs(struct graph *g, struct value *const *values, int count)
{
    g->inputs = copy_values(g, values, count);
    g->input_count = count;
    return OK;
}

status graph_set_outputs(struct graph *g, struct value *const *values, int count)
{
    g->outputs = copy_values(g, values, count);
    g->output_count = count;
    return OK;
}

/* ---- passes' tools ---- */

status graph_add_input(struct graph *g, struct node *n, struct value *v, struct err *e)
{
    if (n->in_count >= UINT8_MAX)
        return err_set(e, TOO_LARGE, "%s: more than %d inputs", n->name, UINT8_MAX);
    struct value **in = arena_zalloc(&g->arena, ((size_t)n->in_count + 2) * sizeof(*in));
    memcpy(in, n->in, (size_t)n->in_count * sizeof(*in));
    in[n->in_count++] = v;
    n->in = in;
    return OK;
}

void graph_absorb(struct node *n, struct node *user)
{
    n->out[0] = user->out[0];
    n->out[0]->producer = n;
    user->out_count = 0;
}

static struct value *forwarded(struct value *v, struct value *const *by_id)
{
    while (v != NULL && by_id[v->id] != NULL)
        v = by_id[v->id];
    return v;
}

static void forward_lod(struct value *v, struct value *const *by_id)
{
    for (int l = 0; l < v->lod_levels; l++)
        v->lod[l] = forwarded(v->lod[l], by_id);
}

void graph_forward(struct graph *g, struct value **by_id)
{
    for (uint32_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i]->in_count; k++)
            g->nodes[i]->in[k] = forwarded(g->nodes[i]->in[k], by_id);
    for (uint32_t i = 0; i < g->value_count; i++)
        forward_lod(g->values[i], by_id);
    for (int i = 0; i < g->output_count; i++)
        g->outputs[i] = forwarded(g->outputs[i], by_id);
}

void graph_count_uses(const struct graph *g, int *uses)
{
    memset(uses, 0, g->value_count * sizeof(*uses));
    for (uint32_t i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->nodes[i]->in_count; k++)
            if (g->nodes[i]->in[k] != NULL)
                uses[g->nodes[i]->in[k]->id]++;
    for (int i = 0; i < g->output_count; i++) {
        uses[g->outputs[i]->id]++;
        for (int l = 0; l < g->outputs[i]->lod_levels; l++)
            uses[g->outputs[i]->lod[l]->id]++;
    }
}

static bool is_used(const struct node *n, const int *uses)
{
    for (int i = 0; i < n->out_count; i++)
        if (uses[n->out[i]->id] > 0)
            return true;
    return false;
}

void graph_sweep(struct graph *g)
{
    int *uses = mem_alloc((g->value_count + 1) * sizeof(*uses));
    graph_count_uses(g, uses);
    for (uint32_t i = g->node_count; i-- > 0;) { /* users before what they use */
        struct node *n = g->nodes[i];
        if (is_used(n, uses))
            continue;
        for (int k = 0; k < n->in_count; k++)
            if (n->in[k] != NULL)
                uses[n->in[k]->id]--;
        g->nodes[i] = NULL;
    }
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->node_count; i++)
        if (g->nodes[i] != NULL)
            g->nodes[kept++] = g->nodes[i];
    g->node_count = kept;
    mem_free(uses);
}
