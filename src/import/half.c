#include "import/half.h"

#include "base/mem.h"
#include "graph/attrs_control.h"
#include "graph/op.h"

#include <string.h>

static bool is_half(dtype d)
{
    return d == DTYPE_F16 || d == DTYPE_BF16;
}

static status widen_constant(struct graph *g, struct value *v, struct err *e)
{
    const struct tensor *from = v->constant;
    int64_t n = shape_numel(&from->shape);
    const uint16_t *half = from->data;
    float *wide = n >= 0 ? arena_try_array(&g->arena, (size_t)n + 1, sizeof(*wide)) : NULL;
    if (wide == NULL)
        return err_set(e, NO_MEMORY, "no memory to widen '%s'", v->name);
    for (int64_t i = 0; i < n; i++)
        wide[i] = from->dtype == DTYPE_F16 ? f16_to_f32(half[i]) : bf16_to_f32(half[i]);
    struct tensor *t = arena_alloc(&g->arena, sizeof(*t));
    *t = *from;
    t->dtype = DTYPE_F32;
    t->data = wide;
    v->constant = t;
    return OK;
}

/* What the operator makes by an attribute of its own: a cast, a fill. */
static void widen_attrs(struct node *n)
{
    for (const struct attr_field *f = n->op->attrs; f != NULL && f->name != NULL; f++) {
        if (strcmp(f->name, "dtype") != 0)
            continue;
        int32_t *d = (int32_t *)((char *)node_attrs(n) + f->offset);
        if (is_half((dtype)*d))
            *d = DTYPE_F32;
    }
}

static status add_cast(struct graph *g, struct value *from, dtype to, struct node **out,
                       struct err *e)
{
    TRY(graph_add_node(g, op_find("cast"), "half precision", &from, 1, out, e));
    ((struct dtype_attrs *)node_attrs(*out))->dtype = (int32_t)to;
    struct value *v = (*out)->out[0];
    v->dtype = to;
    v->shape = from->shape;
    v->lod_levels = from->lod_levels;
    memcpy(v->lod, from->lod, sizeof(v->lod));
    return OK;
}

static status narrow_outputs(struct graph *g, struct err *e)
{
    for (int i = 0; i < g->output_count; i++) {
        struct node *cast;
        if (!is_half(g->outputs[i]->dtype))
            continue;
        TRY(add_cast(g, g->outputs[i], g->outputs[i]->dtype, &cast, e));
        g->outputs[i] = cast->out[0];
    }
    return OK;
}

static bool is_output(const struct graph *g, const struct value *v)
{
    for (int i = 0; i < g->output_count; i++)
        if (g->outputs[i] == v)
            return true;
    return false;
}

/* Brings the last node to the front. */
static void put_first(struct graph *g)
{
    struct node *n = g->nodes[g->node_count - 1];
    memmove(g->nodes + 1, g->nodes, (g->node_count - 1) * sizeof(*g->nodes));
    g->nodes[0] = n;
}

/* Whoever used the input uses the cast of it. */
static status widen_input(struct graph *g, struct value *in, struct err *e)
{
    struct node *cast;
    TRY(add_cast(g, in, DTYPE_F32, &cast, e));
    put_first(g);
    struct value **by_id = mem_zalloc((g->value_count + 1) * sizeof(*by_id));
    by_id[in->id] = cast->out[0];
    graph_forward(g, by_id);
    cast->in[0] = in;
    mem_free(by_id);
    return OK;
}

static bool is_input(const struct graph *g, const struct value *v)
{
    for (int i = 0; i < g->input_count; i++)
        if (g->inputs[i] == v)
            return true;
    return false;
}

static bool has_half(const struct graph *g)
{
    for (uint32_t i = 0; i < g->value_count; i++)
        if (is_half(g->values[i]->constant != NULL ? g->values[i]->constant->dtype
                                                   : g->values[i]->dtype))
            return true;
    return false;
}

static status widen_inner(struct graph *g, struct err *e)
{
    struct graph *inner;
    for (uint32_t i = 0; i < g->node_count; i++)
        for (int k = 0; (inner = node_graph(g->nodes[i], k)) != NULL; k++)
            TRY(half_widen(inner, e));
    return OK;
}

static status widen_values(struct graph *g, struct err *e)
{
    for (uint32_t i = 0; i < g->value_count; i++) {
        struct value *v = g->values[i];
        if (v->constant != NULL && is_half(v->constant->dtype))
            TRY(widen_constant(g, v, e));
        if (is_half(v->dtype) && !is_input(g, v) && !is_output(g, v))
            v->dtype = DTYPE_F32;
    }
    return OK;
}

status half_widen(struct graph *g, struct err *e)
{
    TRY(widen_inner(g, e));
    for (uint32_t i = 0; i < g->node_count; i++)
        widen_attrs(g->nodes[i]);
    if (!has_half(g))
        return OK;
    TRY(narrow_outputs(g, e));
    for (int i = 0; i < g->input_count; i++)
        if (is_half(g->inputs[i]->dtype))
            TRY(widen_input(g, g->inputs[i], e));
    return widen_values(g, e);
}
