#include "passes/passes.h"

#include "graph/op.h"
#include "passes/rows.h"

#include <string.h>

// clang-format off
static const struct pass passes[] = {
    { "drop_identity", "values that are copies of others",                       drop_identity },
    { "fold_scale",    "what scales and shifts channels joins the convolution before it", fold_scale },
    { "fuse_attention", "softmax(q k') v with its scale, mask and transpositions", fuse_attention },
    { "fuse_bias",     "a vector added to a product or a convolution joins it",  fuse_bias },
    { "fuse_act",      "an activation behind a product or a convolution joins it", fuse_act },
    { "fuse_residual", "what is added to a product or a convolution joins it",   fuse_residual },
    { "fuse_act",      "the same, behind such a sum",                            fuse_act },
};
// clang-format on

const struct pass *pass_at(size_t index)
{
    return index < ARRAY_LEN(passes) ? &passes[index] : NULL;
}

static status run_inner(struct graph *g, struct err *e)
{
    struct graph *inner;
    for (uint32_t i = 0; i < g->node_count; i++)
        for (int k = 0; (inner = node_graph(g->nodes[i], k)) != NULL; k++)
            TRY(passes_run(inner, e));
    return OK;
}

status passes_run(struct graph *g, struct err *e)
{
    TRY(run_inner(g, e));
    for (size_t i = 0; i < ARRAY_LEN(passes); i++) {
        int changes = 0;
        status s = passes[i].run(g, &changes, e);
        if (s != OK)
            return err_prefix(e, s, "pass %s: ", passes[i].name);
        graph_sweep(g);
    }
    return graph_check(g, e);
}

struct node *sole_producer(const struct value *v, const char *op, const int *uses)
{
    struct node *n = v->producer;
    return n != NULL && uses[v->id] == 1 && strcmp(n->op->name, op) == 0 ? n : NULL;
}
