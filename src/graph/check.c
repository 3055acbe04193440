/* What an importer or a pass owes: a graph whose every node can be planned without a further look at its form. */
#include "base/mem.h"
#include "graph/graph.h"
#include "graph/op.h"

#include <string.h>

struct check {
    const struct graph *graph;
    bool *known; /* by value id: fed, constant, or made by an earlier node */
    struct err *err;
};

static status fault(const struct check *c, const struct node *n, const char *what)
{
    return err_set(c->err, INVALID, "node '%s' (%s): %s", n->name,
                   n->origin != NULL ? n->origin : n->op->name, what);
}

static status check_inputs(const struct check *c, const struct node *n)
{
    if (n->in_count < n->op->in_min || n->in_count > n->op->in_max)
        return err_set(c->err, INVALID, "node '%s': %d inputs, expected %d to %d", n->name,
                       n->in_count, n->op->in_min, n->op->in_max);
    for (int i = 0; i < n->in_count; i++) {
        if (n->in[i] == NULL && i < n->op->in_min)
            return fault(c, n, "a required input is missing");
        if (n->in[i] != NULL && !c->known[n->in[i]->id])
            return err_set(c->err, INVALID,
                           "node '%s': its input '%s' is neither fed nor made before it", n->name,
                           n->in[i]->name);
    }
    return OK;
}

static int32_t enum_size(const char *const *names)
{
    int32_t n = 0;
    while (names[n] != NULL)
        n++;
    return n;
}

static bool field_is_sane(const struct attr_field *f, const void *attrs)
{
    const char *p = (const char *)attrs + f->offset;
    int32_t v;
    if (f->type == ATTR_ENUM) {
        memcpy(&v, p, sizeof(v));
        return v >= 0 && v < enum_size(f->names);
    }
    if (f->type == ATTR_I64S) {
        memcpy(&v, p + offsetof(struct attr_ints, count), sizeof(v));
        return v >= 0 && v <= ATTR_INTS_MAX;
    }
    if (f->type == ATTR_F32S) {
        memcpy(&v, p + offsetof(struct attr_floats, count), sizeof(v));
        return v >= 0 && v <= ATTR_INTS_MAX;
    }
    if (f->type == ATTR_GRAPH) {
        const struct graph *g;
        memcpy(&g, p, sizeof(g));
        return g != NULL;
    }
    return true;
}

static status check_attrs(const struct check *c, const struct node *n)
{
    for (const struct attr_field *f = n->op->attrs; f != NULL && f->name != NULL; f++)
        if (!field_is_sane(f, n->attrs))
            return err_set(c->err, INVALID, "node '%s': attribute '%s' is out of range", n->name,
                           f->name);
    return OK;
}

static status check_graphs(const struct check *c, const struct node *n)
{
    const struct graph *g;
    for (int i = 0; (g = node_graph(n, i)) != NULL; i++) {
        status s = graph_check(g, c->err);
        if (s != OK)
            return err_prefix(c->err, s, "node '%s': its graph %d: ", n->name, i);
    }
    return OK;
}

static status check_node(const struct check *c, const struct node *n)
{
    TRY(check_inputs(c, n));
    TRY(check_attrs(c, n));
    TRY(check_graphs(c, n));
    if (n->op->out_count != OUT_ANY && n->out_count != n->op->out_count)
        return fault(c, n, "it does not make as many values as its operator says");
    for (int i = 0; i < n->out_count; i++) {
        if (n->out[i]->producer != n || c->known[n->out[i]->id])
            return fault(c, n, "one of its outputs is made twice");
        c->known[n->out[i]->id] = true;
    }
    return OK;
}

static void mark_fed(const struct check *c)
{
    const struct graph *g = c->graph;
    for (uint32_t i = 0; i < g->value_count; i++)
        c->known[i] = g->values[i]->constant != NULL;
    for (int i = 0; i < g->input_count; i++) {
        c->known[g->inputs[i]->id] = true;
        for (int l = 0; l < g->inputs[i]->lod_levels; l++)
            c->known[g->inputs[i]->lod[l]->id] = true;
    }
}

static status check_output(const struct check *c, const struct value *v)
{
    if (!c->known[v->id])
        return err_set(c->err, INVALID, "output '%s' is neither fed nor computed", v->name);
    for (int l = 0; l < v->lod_levels; l++)
        if (!c->known[v->lod[l]->id])
            return err_set(c->err, INVALID, "the LoD of output '%s' is not computed", v->name);
    return OK;
}

static status check_all(const struct check *c)
{
    const struct graph *g = c->graph;
    mark_fed(c);
    for (uint32_t i = 0; i < g->node_count; i++)
        TRY(check_node(c, g->nodes[i]));
    for (int i = 0; i < g->output_count; i++)
        TRY(check_output(c, g->outputs[i]));
    return OK;
}

status graph_check(const struct graph *g, struct err *e)
{
    struct check c = { g, mem_zalloc(g->value_count + 1), e };
    status s = check_all(&c);
    mem_free(c.known);
    return s;
}
