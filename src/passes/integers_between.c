/* Tensors stay integers between a quantised model's products: a product makes the integers that its only reader quantises
 * to, adds integers, and what only moves elements moves integers. */
#include "passes/integers.h"

#include "base/mem.h"
#include "graph/attrs_move.h"
#include "graph/op.h"
#include "passes/rows.h"

#include <string.h>

static bool is_integer8(dtype d)
{
    return d == DTYPE_I8 || d == DTYPE_U8;
}

/* The numbers of a product of integers; NULL: n is none. */
static struct integers *integers_of(struct node *n)
{
    if (n == NULL || n->in_count < 1 || n->in[0] == NULL || !is_integer8(n->in[0]->dtype))
        return NULL;
    return integers_field(n);
}

/* What quantize's factor or scale is as a scale. */
static struct step as_scale(struct step s)
{
    if (s.multiply)
        s.scale = 1 / s.scale;
    s.multiply = false;
    return s;
}

static bool same_step(struct step a, struct step b)
{
    a = as_scale(a);
    b = as_scale(b);
    float apart = a.scale > b.scale ? a.scale - b.scale : b.scale - a.scale;
    return a.dtype == b.dtype && a.zero == b.zero && apart <= a.scale * 1e-6f;
}

/* ---- quantize and dequantize stand right behind what they read, so that what they make is there for whoever adds it ---- */

static bool is_moved(const struct node *n)
{
    struct step by;
    return (read_step(n, "dequantize", &by) || read_step(n, "quantize", &by)) &&
           n->in[0]->producer != NULL;
}

struct hoisting {
    struct graph *graph;
    struct node *const *old;
    uint32_t count, at; /* of the old list; of the new one */
    uint32_t *first;    /* by value id: 1 + the first node that is moved and reads it */
    uint32_t *next;     /* by node: the next one that reads the same */
    struct node **stack;
};

/* n, and whatever is moved and reads what n makes, and so on: the nodes that wait are a stack. */
static void put_hoisted(struct hoisting *h, struct node *n)
{
    uint32_t waiting = 0;
    h->stack[waiting++] = n;
    while (waiting > 0) {
        n = h->stack[--waiting];
        h->graph->nodes[h->at++] = n;
        for (int k = 0; k < n->out_count; k++)
            for (uint32_t i = h->first[n->out[k]->id]; i != 0; i = h->next[i - 1])
                h->stack[waiting++] = h->old[i - 1];
    }
}

static void find_readers(struct hoisting *h)
{
    for (uint32_t i = h->count; i-- > 0;) {
        if (!is_moved(h->old[i]))
            continue;
        uint32_t *first = &h->first[h->old[i]->in[0]->id];
        h->next[i] = *first;
        *first = i + 1;
    }
}

status hoist_dequantize(struct graph *g, int *changes, struct err *e)
{
    uint32_t count = g->node_count;
    struct node **old = mem_alloc((count + (size_t)1) * sizeof(*old));
    struct hoisting h = { g,
                          old,
                          count,
                          0,
                          mem_zalloc((g->value_count + 1) * sizeof(uint32_t)),
                          mem_zalloc((count + (size_t)1) * sizeof(uint32_t)),
                          mem_alloc((count + (size_t)1) * sizeof(*old)) };
    memcpy(old, g->nodes, count * sizeof(*old));
    find_readers(&h);
    for (uint32_t i = 0; i < count; i++)
        if (!is_moved(old[i]))
            put_hoisted(&h, old[i]);
    mem_free(h.first);
    mem_free(h.next);
    mem_free(h.stack);
    mem_free(old);
    return OK;
}

/* ---- a sum takes the product itself, not what it was rounded to ---- */

static uint32_t place_of(const struct graph *g, const struct node *n)
{
    for (uint32_t i = 0; i < g->node_count; i++)
        if (g->nodes[i] == n)
            return i;
    return UINT32_MAX;
}

/* conv in add(dequantize(quantize(conv)), ..), where each is read once. */
static struct value *rounded_product(const struct value *v, const int *uses)
{
    struct step by;
    if (uses[v->id] != 1 || !made_by_step(v, "dequantize", &by))
        return NULL;
    const struct value *q = v->producer->in[0];
    if (uses[q->id] != 1 || !made_by_step(q, "quantize", &by))
        return NULL;
    struct value *x = q->producer->in[0];
    return uses[x->id] == 1 && integers_of(x->producer) != NULL ? x : NULL;
}

/* Where a product of integers is rounded only to be added to another rounded tensor, it is added as it is: a rounding less
 * than the model asks for, and the sum joins the product. */
status drop_requantise(struct graph *g, int *changes, struct err *e)
{
    int *uses = mem_alloc((g->value_count + 1) * sizeof(*uses));
    graph_count_uses(g, uses);
    for (uint32_t i = 0; i < g->node_count; i++) {
        struct node *add = g->nodes[i];
        if (!is_op(add, "add"))
            continue;
        struct value *product[2];
        for (int k = 0; k < 2; k++)
            product[k] = rounded_product(add->in[k], uses);
        int side = product[0] != NULL ? 0 : 1;
        if (product[0] != NULL && product[1] != NULL &&
            place_of(g, product[1]->producer) > place_of(g, product[0]->producer))
            side = 1;
        if (product[side] == NULL)
            continue;
        add->in[side] = product[side];
        ++*changes;
    }
    mem_free(uses);
    return OK;
}

/* ---- quantize joins what is in front of it ---- */

struct joining {
    struct graph *graph;
    const int *uses;
    struct value **forward; /* by value id */
};

static int residual_of(const struct node *n)
{
    return is_op(n, "conv2d") ? (int)CONV_RESIDUAL : (int)MATMUL_RESIDUAL;
}

/* A float that is added is added as the integers it was, or the product cannot make integers. */
static bool take_residual(struct node *n, struct integers *q)
{
    struct step by;
    int i = residual_of(n);
    if (n->in_count <= i || n->in[i] == NULL)
        return true;
    if (!made_by_step(n->in[i], "dequantize", &by))
        return false;
    q->residual_scale = by.scale;
    q->residual_zero = by.zero;
    n->in[i] = n->in[i]->producer->in[0];
    return true;
}

static bool join_product(struct node *quantize, struct step to)
{
    struct node *n = quantize->in[0]->producer;
    struct integers *q = integers_of(n);
    if (q == NULL || q->result != RESULT_F32 || !take_residual(n, q))
        return false;
    q->result = to.dtype == DTYPE_I8 ? RESULT_I8 : RESULT_U8;
    q->out_scale = as_scale(to).scale;
    q->out_zero = to.zero;
    quantize->out[0]->dtype = to.dtype;
    graph_absorb(n, quantize);
    return true;
}

/* Elements come out as they go in; a largest one too, since rounding keeps the order. */
static bool only_moves(const struct node *n)
{
    if (n == NULL || n->out_count != 1)
        return false;
    if (is_op(n, "pool2d"))
        return ((const struct pool_attrs *)n->attrs)->mode == POOL_MAX;
    return (n->op->flags & OP_VIEW) || is_op(n, "transpose");
}

/* quantize(move(x)) becomes move(quantize(x)): the two nodes change places. */
static void swap_with_move(struct graph *g, struct node *quantize, uint32_t at)
{
    struct value *middle = quantize->in[0];
    struct node *move = middle->producer;
    uint32_t before = place_of(g, move);
    struct value *result = quantize->out[0];
    quantize->in[0] = move->in[0];
    middle->dtype = result->dtype;
    middle->shape = move->in[0]->shape;
    quantize->out[0] = middle;
    middle->producer = quantize;
    move->in[0] = middle;
    move->out[0] = result;
    result->producer = move;
    g->nodes[before] = quantize;
    g->nodes[at] = move;
}

static bool join(struct joining *j, struct node *n, uint32_t at)
{
    struct step to, from;
    const struct value *x;
    if (!read_step(n, "quantize", &to))
        return false;
    x = n->in[0];
    if (made_by_step(x, "dequantize", &from) && same_step(to, from)) {
        j->forward[n->out[0]->id] = x->producer->in[0];
        n->out_count = 0;
        return true;
    }
    if (x->producer == NULL || j->uses[x->id] != 1)
        return false;
    if (only_moves(x->producer)) {
        swap_with_move(j->graph, n, at);
        return true;
    }
    return join_product(n, to);
}

/* One walk; *changes counts. */
static void join_all(struct graph *g, int *changes)
{
    int *uses = mem_alloc((g->value_count + 1) * sizeof(*uses));
    struct joining j = { g, uses, mem_zalloc((g->value_count + 1) * sizeof(*j.forward)) };
    graph_count_uses(g, uses);
    for (uint32_t i = 0; i < g->node_count; i++)
        *changes += g->nodes[i]->out_count == 1 && join(&j, g->nodes[i], i);
    graph_forward(g, j.forward);
    mem_free(j.forward);
    mem_free(uses);
    graph_sweep(g);
}

#define WALKS_MAX 64 /* a quantize passes one operator in each */

status keep_integers(struct graph *g, int *changes, struct err *e)
{
    for (int i = 0, before = -1; i < WALKS_MAX && *changes != before; i++) {
        before = *changes;
        join_all(g, changes);
    }
    return OK;
}
