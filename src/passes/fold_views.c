/* A view (reshape, flatten) of a constant is a constant: the same bytes under the new shape. */
#include "graph/op.h"
#include "passes/rows.h"

static bool has_constant(const struct node *n)
{
    return (n->op->flags & OP_VIEW) && n->in_count == 1 && n->in[0]->constant != NULL &&
           n->out[0]->lod_levels == 0;
}

static status fold(struct graph *g, struct node *n, struct err *e)
{
    const struct tensor *c = n->in[0]->constant;
    struct type in = { c->dtype, c->shape, c }, out;
    TRY(n->op->infer(n, &in, &out, e));
    struct tensor *t = arena_alloc(&g->arena, sizeof(*t));
    *t = *c;
    t->shape = out.shape;
    n->out[0]->constant = t;
    n->out[0]->shape = out.shape;
    n->out[0]->producer = NULL;
    n->out_count = 0;
    return OK;
}

status fold_views(struct graph *g, int *changes, struct err *e)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (!has_constant(g->nodes[i]))
            continue;
        TRY(fold(g, g->nodes[i], e));
        (*changes)++;
    }
    return OK;
}
