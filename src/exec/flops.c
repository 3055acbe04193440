#include "exec/flops.h"

#include "graph/attrs.h"
#include "graph/attrs_attention.h"

#include <string.h>

static double numel(const struct shape *s)
{
    return (double)shape_numel(s);
}

/* Two for each weight that each output sees: of conv2d, and of others whose filter is [O, C / groups, taps...]. */
static double conv_flops(const struct node *n, const struct type *in, const struct type *out)
{
    const struct shape *w = &in[1].shape;
    return w->rank > 1 ? 2 * numel(&out[0].shape) * numel(w) / (double)w->dim[0] : 0;
}

/* Here each input element meets all of its group's filters. */
static double transposed_flops(const struct node *n, const struct type *in, const struct type *out)
{
    const struct shape *w = &in[1].shape;
    return w->rank > 1 ? 2 * numel(&in[0].shape) * numel(w) / (double)w->dim[0] : 0;
}

static double matmul_flops(const struct node *n, const struct type *in, const struct type *out)
{
    struct matmul_dims d;
    bool fits = matmul_dims(n->attrs, &in[0].shape, &in[1].shape, &d);
    return fits ? 2 * numel(&out[0].shape) * (double)d.k : 0;
}

static double attention_flops(const struct node *n, const struct type *in, const struct type *out)
{
    struct attention_dims d;
    if (attention_dims(n->attrs, &in[0].shape, &in[1].shape, &in[2].shape, &d, NULL) != OK)
        return 0;
    return 2.0 * (double)(d.batch * d.heads * d.q.tokens) * (double)d.k.tokens *
           (double)(d.q.width + d.v.width);
}

static double lstm_flops(const struct node *n, const struct type *in, const struct type *out)
{
    return 2 * (double)in[0].shape.dim[0] * numel(&in[2].shape);
}

static const struct counter {
    const char *op;
    double (*flops)(const struct node *n, const struct type *in, const struct type *out);
} counters[] = {
    { "conv2d", conv_flops },   { "conv_nd", conv_flops },
    { "matmul", matmul_flops }, { "attention", attention_flops },
    { "lstm", lstm_flops },     { "conv_transpose", transposed_flops },
};

double node_flops(const struct node *n, const struct type *in, const struct type *out)
{
    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        if (strcmp(counters[i].op, n->op->name) == 0)
            return counters[i].flops(n, in, out);
    return 0;
}
