/* add(matmul(a, b), c) with a constant c of b's columns becomes matmul(a, b, c), and add(conv2d(x, w), c) with a constant
 * of w's channels conv2d(x, w, c). The sum is then rounded once less. */
#include "base/mem.h"
#include "graph/attrs.h"
#include "graph/op.h"
#include "passes/rows.h"

#include <string.h>

/* b must be a constant matrix, so that the columns are known to be c's elements. */
static bool fits_matmul(const struct node *n, const struct tensor *c)
{
    const struct matmul_attrs *a = n->attrs;
    const struct tensor *b = n->in[1]->constant;
    return b != NULL && b->shape.rank == 2 && c->shape.rank == 1 &&
           c->shape.dim[0] == b->shape.dim[a->trans_b ? 0 : 1] && a->act == ACT_NONE;
}

/* [C, 1, 1], or the same with one image. */
static bool fits_conv(const struct node *n, const struct tensor *c)
{
    const struct tensor *w = n->in[1]->constant;
    int r = c->shape.rank;
    return w != NULL && w->shape.rank == 4 && (r == 3 || (r == 4 && c->shape.dim[0] == 1)) &&
           c->shape.dim[r - 3] == w->shape.dim[0] && c->shape.dim[r - 2] == 1 &&
           c->shape.dim[r - 1] == 1 && ((const struct conv_attrs *)n->attrs)->act == ACT_NONE;
}

static const struct host {
    const char *op;
    bool (*fits)(const struct node *n, const struct tensor *c);
} hosts[] = {
    { "matmul", fits_matmul },
    { "conv2d", fits_conv },
};

/* A product of int8 makes floats. */
static bool same_numbers(dtype c, dtype weight)
{
    return c == weight || (c == DTYPE_F32 && weight == DTYPE_I8);
}

/* The node that can take the constant c up, where `product` comes from one. */
static struct node *find_host(const struct value *product, const struct tensor *c, const int *uses)
{
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct node *n = sole_producer(product, hosts[i].op, uses);
        if (n != NULL && (n->in_count <= 2 || n->in[2] == NULL) && n->in[1]->constant != NULL &&
            same_numbers(c->dtype, n->in[1]->constant->dtype) && hosts[i].fits(n, c))
            return n;
    }
    return NULL;
}

static status fuse(struct graph *g, struct node *host, struct node *add, const struct value *c,
                   struct err *e)
{
    struct tensor flat = *c->constant;
    struct value *bias;
    flat.shape = SHAPE(shape_numel(&c->constant->shape));
    TRY(graph_add_constant(g, arena_printf(&g->arena, "%s#bias", c->name), &flat, &bias, e));
    TRY(put_input(g, host, 2, bias, e));
    graph_absorb(host, add);
    return OK;
}

static status fuse_all(struct graph *g, const int *uses, int *changes, struct err *e)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        struct node *add = g->nodes[i];
        if (strcmp(add->op->name, "add") != 0)
            continue;
        for (int k = 0; k < 2; k++) {
            const struct value *c = add->in[1 - k];
            struct node *host =
                c->constant != NULL ? find_host(add->in[k], c->constant, uses) : NULL;
            if (host == NULL)
                continue;
            TRY(fuse(g, host, add, c, e));
            (*changes)++;
            break;
        }
    }
    return OK;
}

status fuse_bias(struct graph *g, int *changes, struct err *e)
{
    int *uses = mem_alloc((g->value_count + 1) * sizeof(*uses));
    graph_count_uses(g, uses);
    status s = fuse_all(g, uses, changes, e);
    mem_free(uses);
    return s;
}
