/* softmax(scale * q k' + mask) v, however it is spelt, becomes one attention: its weights are then never written to memory.
 * Transpositions that only bring heads in front of tokens, and back, go with it. Sums are added up in another order. */
#include "base/mem.h"
#include "graph/attrs.h"
#include "graph/attrs_attention.h"
#include "graph/attrs_move.h"
#include "graph/op.h"
#include "passes/rows.h"

#include <string.h>

static bool is_op(const struct node *n, const char *op)
{
    return n != NULL && strcmp(n->op->name, op) == 0;
}

/* The one number of a constant; false where it is something else. */
static bool is_number(const struct value *v, float *out)
{
    const struct tensor *c = v->constant;
    if (c == NULL || c->dtype != DTYPE_F32 || shape_numel(&c->shape) != 1 || c->shape.rank > 4)
        return false;
    *out = *(const float *)c->data;
    return true;
}

/* Whether n multiplies its input by a number; gives both. */
static bool scales(const struct node *n, float *by, struct value **x)
{
    if (is_op(n, "affine")) {
        const struct affine_attrs *a = n->attrs;
        *by = a->scale;
        *x = n->in[0];
        return a->bias == 0;
    }
    if (is_op(n, "div") && is_number(n->in[1], by)) {
        *by = 1 / *by;
        *x = n->in[0];
        return true;
    }
    for (int k = 0; k < 2 && is_op(n, "mul"); k++)
        if (is_number(n->in[k], by)) {
            *x = n->in[1 - k];
            return true;
        }
    return false;
}

static struct value *unscale(struct value *v, float *scale)
{
    struct value *x;
    float by;
    while (v->producer != NULL && scales(v->producer, &by, &x)) {
        *scale *= by;
        v = x;
    }
    return v;
}

/* Whether n is the transposition of four dimensions that ends in `third`, `fourth`, with heads and tokens exchanged. */
static bool turns(const struct node *n, int64_t second, int64_t third, int64_t fourth)
{
    if (!is_op(n, "transpose"))
        return false;
    const struct attr_ints *p = &((const struct transpose_attrs *)n->attrs)->perm;
    return p->count == 4 && p->v[0] == 0 && p->v[1] == second && p->v[2] == third &&
           p->v[3] == fourth;
}

/* A plain product of two operands, times alpha. */
static bool is_product(const struct node *n, bool trans_b)
{
    if (!is_op(n, "matmul"))
        return false;
    const struct matmul_attrs *a = n->attrs;
    return !a->trans_a && a->trans_b == trans_b && a->act == ACT_NONE &&
           (n->in_count < 3 || n->in[2] == NULL) && (n->in_count < 4 || n->in[3] == NULL);
}

struct found {
    struct value *q, *k, *v, *mask;
    struct attention_attrs attrs;
};

/* q k' from [B,H,M,D] and the like; the operands certainly have four dimensions, since a transposition says so. */
static bool match_weights(struct node *n, struct found *f)
{
    if (!is_product(n, true) && !is_product(n, false))
        return false;
    bool trans_b = ((const struct matmul_attrs *)n->attrs)->trans_b;
    f->attrs.scale *= ((const struct matmul_attrs *)n->attrs)->alpha;
    struct value *q = unscale(n->in[0], &f->attrs.scale), *k = unscale(n->in[1], &f->attrs.scale);
    if (!turns(q->producer, 2, 1, 3))
        return false;
    f->q = q->producer->in[0];
    if (trans_b ? turns(k->producer, 2, 1, 3) : turns(k->producer, 2, 3, 1)) {
        f->k = k->producer->in[0];
        return true;
    }
    /* [B,H,D,N] out of [B,H,N,D] out of [B,N,H,D] */
    if (trans_b || !turns(k->producer, 1, 3, 2) || !turns(k->producer->in[0]->producer, 2, 1, 3))
        return false;
    f->k = k->producer->in[0]->producer->in[0];
    return true;
}

/* scale and mask on top, in this order or without one of them. */
static bool match_scores(struct value *scores, const int *uses, struct found *f)
{
    struct value *s = uses[scores->id] == 1 ? unscale(scores, &f->attrs.scale) : scores;
    if (s->producer != NULL && match_weights(s->producer, f))
        return true;
    if (!is_op(scores->producer, "add") || uses[scores->id] != 1)
        return false;
    for (int k = 0; k < 2; k++) {
        struct node *add = scores->producer;
        f->attrs.scale = 1;
        s = unscale(add->in[k], &f->attrs.scale);
        if (s->producer == NULL || uses[add->in[k]->id] != 1 || !match_weights(s->producer, f))
            continue;
        f->mask = add->in[1 - k];
        return true;
    }
    return false;
}

static bool match(struct node *n, const int *uses, struct found *f)
{
    *f = (struct found){ .attrs = { .scale = 1, .out_heads_first = true } };
    if (!is_product(n, false) || ((const struct matmul_attrs *)n->attrs)->alpha != 1)
        return false;
    struct node *softmax = sole_producer(n->in[0], "softmax", uses);
    if (softmax == NULL || !turns(n->in[1]->producer, 2, 1, 3))
        return false;
    int32_t axis = ((const struct axis_attrs *)softmax->attrs)->axis;
    f->v = n->in[1]->producer->in[0];
    return (axis == -1 || axis == 3) && match_scores(softmax->in[0], uses, f);
}

/* The product with the values becomes the attention: it stands behind all that is needed. */
static void rewrite(struct graph *g, struct node *n, const struct found *f)
{
    struct attention_attrs *a = arena_alloc(&g->arena, sizeof(*a));
    struct value **in = arena_alloc(&g->arena, 4 * sizeof(*in));
    *a = f->attrs;
    in[0] = f->q;
    in[1] = f->k;
    in[2] = f->v;
    in[3] = f->mask;
    n->op = op_find("attention");
    n->attrs = a;
    n->in = in;
    n->in_count = f->mask != NULL ? 4 : 3;
}

/* The transposition that brings tokens in front of heads again. */
static void absorb_turn(struct graph *g, const int *uses)
{
    for (uint32_t i = 0; i < g->node_count; i++) {
        struct node *turn = g->nodes[i];
        struct node *n = turns(turn, 2, 1, 3) && turn->out_count == 1
                             ? sole_producer(turn->in[0], "attention", uses)
                             : NULL;
        if (n == NULL || !((const struct attention_attrs *)n->attrs)->out_heads_first)
            continue;
        ((struct attention_attrs *)node_attrs(n))->out_heads_first = false;
        graph_absorb(n, turn);
    }
}

status fuse_attention(struct graph *g, int *changes, struct err *e)
{
    int *uses = mem_alloc((g->value_count + 1) * sizeof(*uses));
    struct found f;
    graph_count_uses(g, uses);
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (!match(g->nodes[i], uses, &f))
            continue;
        rewrite(g, g->nodes[i], &f);
        ++*changes;
    }
    absorb_turn(g, uses);
    mem_free(uses);
    return OK;
}
