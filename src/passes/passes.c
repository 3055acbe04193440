#include "passes/passes.h"

#include "graph/op.h"
#include "passes/rows.h"

#include <string.h>

// clang-format off
static const struct pass passes[] = {
    { "drop_identity", "values that are copies of others",                       drop_identity, false },
    { "hoist_dequantize", "quantize and dequantize stand right behind what they read", hoist_dequantize, true },
    { "drop_requantise", "a product of integers is added before it is rounded",  drop_requantise, true },
    { "fold_scale",    "what scales and shifts channels joins the convolution before it", fold_scale, false },
    { "fuse_attention", "softmax(q k') v with its scale, mask and transpositions", fuse_attention, false },
    { "fuse_bias",     "a vector added to a product or a convolution joins it",  fuse_bias, false },
    { "fuse_act",      "an activation behind a product or a convolution joins it", fuse_act, false },
    { "fuse_residual", "what is added to a product or a convolution joins it",   fuse_residual, false },
    { "fuse_act",      "the same, behind such a sum",                            fuse_act, false },
    { "keep_integers", "tensors stay integers between products of integers",     keep_integers, true },
};
// clang-format on

const struct pass *pass_at(size_t index)
{
    return index < ARRAY_LEN(passes) ? &passes[index] : NULL;
}

static status run_inner(struct graph *g, bool integers, struct err *e)
{
    struct graph *inner;
    for (uint32_t i = 0; i < g->node_count; i++)
        for (int k = 0; (inner = node_graph(g->nodes[i], k)) != NULL; k++)
            TRY(passes_run(inner, integers, e));
    return OK;
}

status passes_run(struct graph *g, bool integers, struct err *e)
{
    TRY(run_inner(g, integers, e));
    for (size_t i = 0; i < ARRAY_LEN(passes); i++) {
        int changes = 0;
        if (passes[i].integers && !integers)
            continue;
        status s = passes[i].run(g, &changes, e);
        if (s != OK)
            return err_prefix(e, s, "pass %s: ", passes[i].name);
        graph_sweep(g);
    }
    return graph_check(g, e);
}

status passes_take_integers(struct graph *g, int *changes, struct err *e)
{
    status s = take_integers(g, changes, e);
    if (s != OK)
        return err_prefix(e, s, "pass take_integers: ");
    graph_sweep(g);
    return OK;
}

struct node *sole_producer(const struct value *v, const char *op, const int *uses)
{
    struct node *n = v->producer;
    return is_op(n, op) && uses[v->id] == 1 ? n : NULL;
}

status add_floats(struct graph *g, const float *data, int64_t count, struct value **out,
                  struct err *e)
{
    struct tensor t = { .dtype = DTYPE_F32, .shape = SHAPE(count), .data = data };
    return graph_add_constant(g, NULL, &t, out, e);
}

status put_input(struct graph *g, struct node *n, int index, struct value *v, struct err *e)
{
    while (n->in_count <= index)
        TRY(graph_add_input(g, n, NULL, e));
    n->in[index] = v;
    return OK;
}
