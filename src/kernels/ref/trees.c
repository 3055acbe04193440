/* Decision trees. The tables are constants, checked once while preparing, so that a run needs no look at them. */
#include "graph/attrs_trees.h"
#include "kernels/ref/ref.h"

#include <float.h>
#include <string.h>

struct trees {
    int64_t rows, features, nodes, roots;
    int32_t targets, sum;
};

static const char *refuse(const struct kernel_ctx *ctx)
{
    for (int i = 1; i < 6; i++)
        if (ctx->in[i].constant == NULL)
            return "tables that are computed";
    return NULL;
}

static bool within(int32_t v, int64_t count)
{
    return v >= 0 && v < count;
}

/* Children lie behind their parent or not, as the file has it; a walk that comes nowhere is stopped by its length. */
static bool node_is_sane(const int32_t *n, const struct trees *s, int64_t leaves)
{
    if (n[TREE_BRANCH] == TREE_LEAF)
        return n[TREE_FIRST] >= 0 && n[TREE_COUNT] >= 0 &&
               (int64_t)n[TREE_FIRST] + n[TREE_COUNT] <= leaves;
    return within(n[TREE_BRANCH], TREE_BRANCH_COUNT) && within(n[TREE_FEATURE], s->features) &&
           within(n[TREE_YES], s->nodes) && within(n[TREE_NO], s->nodes);
}

static status check_tables(const struct kernel_ctx *ctx, const struct trees *s, struct err *e)
{
    const int32_t *nodes = ctx->in[1].constant->data, *target = ctx->in[3].constant->data,
                  *root = ctx->in[5].constant->data;
    int64_t leaves = ctx->in[3].shape.dim[0];
    for (int64_t i = 0; i < s->nodes; i++)
        if (!node_is_sane(nodes + i * TREE_COLUMNS, s, leaves))
            return err_set(e, INVALID,
                           "node %lld of its trees looks at a feature or node that is not there "
                           "(the rows have %lld features)",
                           (long long)i, (long long)s->features);
    for (int64_t i = 0; i < leaves; i++)
        if (!within(target[i], s->targets))
            return err_set(e, INVALID, "a leaf is for target %d of %d", target[i], s->targets);
    for (int64_t i = 0; i < s->roots; i++)
        if (!within(root[i], s->nodes))
            return err_set(e, INVALID, "a tree begins at node %d of %lld", root[i],
                           (long long)s->nodes);
    return OK;
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    const struct trees_attrs *a = ctx->node->attrs;
    struct trees *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct trees){ .rows = ctx->in[0].shape.dim[0],
                         .features = ctx->in[0].shape.dim[1],
                         .nodes = ctx->in[1].shape.dim[0],
                         .roots = ctx->in[5].shape.dim[0],
                         .targets = a->targets,
                         .sum = a->sum };
    *state = s;
    return check_tables(ctx, s, e);
}

static bool goes_yes(const int32_t *n, float x, float threshold)
{
    if (x != x && n[TREE_NAN_YES])
        return true;
    switch (n[TREE_BRANCH]) {
    case TREE_AT_MOST: return x <= threshold;
    case TREE_BELOW: return x < threshold;
    case TREE_AT_LEAST: return x >= threshold;
    case TREE_ABOVE: return x > threshold;
    case TREE_EQUAL: return x == threshold;
    default: return x != threshold;
    }
}

/* The leaf that x comes to; NULL when the nodes go round in a circle. */
static const int32_t *find_leaf(const struct trees *s, const int32_t *nodes, const float *threshold,
                                int32_t at, const float *x)
{
    for (int64_t steps = 0; steps <= s->nodes; steps++) {
        const int32_t *n = nodes + (int64_t)at * TREE_COLUMNS;
        if (n[TREE_BRANCH] == TREE_LEAF)
            return n;
        at = goes_yes(n, x[n[TREE_FEATURE]], threshold[at]) ? n[TREE_YES] : n[TREE_NO];
    }
    return NULL;
}

static void add_leaf(const struct trees *s, const int32_t *leaf, const int32_t *target,
                     const float *weight, float *out)
{
    for (int32_t i = leaf[TREE_FIRST]; i < leaf[TREE_FIRST] + leaf[TREE_COUNT]; i++) {
        float *to = &out[target[i]];
        if (s->sum == TREE_SUM)
            *to += weight[i];
        else if (s->sum == TREE_MIN ? weight[i] < *to : weight[i] > *to)
            *to = weight[i];
    }
}

static status run_row(const struct trees *s, const struct kernel_io *io, const float *x, float *out)
{
    const int32_t *root = io->in[5];
    const float *base = io->in[6];
    float first = s->sum == TREE_SUM ? 0 : s->sum == TREE_MIN ? FLT_MAX : -FLT_MAX;
    for (int32_t t = 0; t < s->targets; t++)
        out[t] = first;
    for (int64_t i = 0; i < s->roots; i++) {
        const int32_t *leaf = find_leaf(s, io->in[1], io->in[2], root[i], x);
        if (leaf == NULL)
            return err_set(io->err, INVALID, "tree %lld goes round in a circle", (long long)i);
        add_leaf(s, leaf, io->in[3], io->in[4], out);
    }
    for (int32_t t = 0; base != NULL && t < s->targets; t++)
        out[t] += base[t];
    return OK;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct trees *s = state;
    for (int64_t r = 0; r < s->rows; r++)
        TRY(run_row(s, io, (const float *)io->in[0] + r * s->features,
                    (float *)io->out[0] + r * s->targets));
    return OK;
}

const struct kernel ref_trees[] = {
    { "trees", "ref trees", DTYPE_BIT(DTYPE_F32), DEVICE_CPU, refuse, prepare, run, NULL },
    { 0 },
};
