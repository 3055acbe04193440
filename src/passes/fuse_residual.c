/* add(conv2d(...), y) becomes conv2d(..., residual y), and add(matmul(...), y) the same, where y certainly has the result's
 * shape and is made before the product is. An activation that conv2d has already is then applied first. */
#include "base/mem.h"
#include "graph/attrs.h"
#include "graph/op.h"
#include "passes/rows.h"
#include "passes/symbols.h"

#include <string.h>

struct fusion {
    struct graph *graph;
    const struct symbols *symbols;
    const int *uses;
    /* by value id: the node that makes it, counted from 1; 0 for what is there from the start */
    uint32_t *place;
};

static const struct host {
    const char *op;
    int residual; /* which input */
} hosts[] = {
    { "conv2d", CONV_RESIDUAL },
    { "matmul", 3 },
};

static const struct host *host_of(const struct fusion *f, const struct value *product,
                                  const struct value *y)
{
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        const struct node *n = sole_producer(product, hosts[i].op, f->uses);
        if (n != NULL && (n->in_count <= hosts[i].residual || n->in[hosts[i].residual] == NULL) &&
            n->in[1]->constant != NULL && y->constant == NULL && product->lod_levels == 0 &&
            symbols_same(f->symbols, product, y))
            return &hosts[i];
    }
    return NULL;
}

/* The host stands where it stands, so y must be there by then. */
static bool is_made_before(const struct fusion *f, const struct value *y,
                           const struct value *product)
{
    return f->place[y->id] < f->place[product->id];
}

static status fuse(const struct fusion *f, const struct host *h, struct node *add, int side,
                   struct err *e)
{
    struct node *n = add->in[side]->producer;
    bool *act_first = pass_field(n, "act_first");
    TRY(put_input(f->graph, n, h->residual, add->in[1 - side], e));
    if (act_first != NULL)
        *act_first = *(const int32_t *)pass_field(n, "act") != ACT_NONE;
    graph_absorb(n, add);
    f->place[add->out[0]->id] = f->place[add->in[side]->id];
    return OK;
}

static status try_add(const struct fusion *f, struct node *add, int *changes, struct err *e)
{
    /* Both may be products: the later one can take the other up. */
    for (int side = 0; side < 2; side++) {
        const struct value *product = add->in[side], *y = add->in[1 - side];
        const struct host *h = host_of(f, product, y);
        if (h == NULL || !is_made_before(f, y, product))
            continue;
        ++*changes;
        return fuse(f, h, add, side, e);
    }
    return OK;
}

static void find_places(const struct fusion *f)
{
    for (uint32_t i = 0; i < f->graph->node_count; i++)
        for (int k = 0; k < f->graph->nodes[i]->out_count; k++)
            f->place[f->graph->nodes[i]->out[k]->id] = i + 1;
}

status fuse_residual(struct graph *g, int *changes, struct err *e)
{
    int *uses = mem_alloc((g->value_count + 1) * sizeof(*uses));
    struct symbols *symbols = symbols_new(g);
    struct fusion f = { g, symbols, uses, mem_zalloc((g->value_count + 1) * sizeof(uint32_t)) };
    graph_count_uses(g, uses);
    find_places(&f);
    status s = OK;
    for (uint32_t i = 0; i < g->node_count && s == OK; i++)
        if (strcmp(g->nodes[i]->op->name, "add") == 0 && g->nodes[i]->out_count > 0)
            s = try_add(&f, g->nodes[i], changes, e);
    mem_free(f.place);
    symbols_free(symbols);
    mem_free(uses);
    return s;
}
