/* softmax(scale * q k' + mask) v, however it is spelt, becomes one attention: its weights are then never written to memory.
 * Transpositions that only bring heads in front of tokens, and back, go with it. Sums are added up in another order. */
#include "base/mem.h"
#include "graph/attrs.h"
#include "graph/attrs_attention.h"
#include "graph/attrs_move.h"
#include "graph/op.h"
#include "passes/rows.h"
#include "passes/symbols.h"

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

struct fusion {
    struct graph *graph;
    const int *uses;
    const struct symbols *symbols;
};

struct found {
    struct value *q, *k, *v, *mask;
    struct attention_attrs attrs;
};

/* v as [B,tokens,H,D] out of the transposition that brought heads in front, or as it is: it must certainly have four
 * dimensions. */
static bool take_operand(const struct fusion *f, struct value *v, struct value **out,
                         bool *heads_first)
{
    *heads_first = !turns(v->producer, 2, 1, 3);
    *out = *heads_first ? v : v->producer->in[0];
    return !*heads_first || symbols_shape(f->symbols, v)->rank == 4;
}

/* [B,H,D,N], which may come straight out of [B,N,H,D]. */
static bool take_turned(const struct fusion *f, struct value *v, struct value **out,
                        bool *heads_first)
{
    if (turns(v->producer, 1, 3, 2))
        return take_operand(f, v->producer->in[0], out, heads_first);
    *heads_first = false;
    *out = turns(v->producer, 2, 3, 1) ? v->producer->in[0] : NULL;
    return *out != NULL;
}

/* q k' */
static bool match_weights(const struct fusion *f, struct node *n, struct found *t)
{
    if (!is_product(n, true) && !is_product(n, false))
        return false;
    bool trans_b = ((const struct matmul_attrs *)n->attrs)->trans_b;
    t->attrs.scale *= ((const struct matmul_attrs *)n->attrs)->alpha;
    struct value *q = unscale(n->in[0], &t->attrs.scale), *k = unscale(n->in[1], &t->attrs.scale);
    return take_operand(f, q, &t->q, &t->attrs.q_heads_first) &&
           (trans_b ? take_operand : take_turned)(f, k, &t->k, &t->attrs.k_heads_first);
}

/* scale and mask on top, in this order or without one of them. */
static bool match_scores(const struct fusion *f, struct value *scores, struct found *t)
{
    const int *uses = f->uses;
    struct value *s = uses[scores->id] == 1 ? unscale(scores, &t->attrs.scale) : scores;
    if (s->producer != NULL && match_weights(f, s->producer, t))
        return true;
    if (!is_op(scores->producer, "add") || uses[scores->id] != 1)
        return false;
    for (int k = 0; k < 2; k++) {
        struct node *add = scores->producer;
        t->attrs.scale = 1;
        s = unscale(add->in[k], &t->attrs.scale);
        if (s->producer == NULL || uses[add->in[k]->id] != 1 || !match_weights(f, s->producer, t))
            continue;
        t->mask = add->in[1 - k];
        return true;
    }
    return false;
}

static bool match(const struct fusion *f, struct node *n, struct found *t)
{
    *t = (struct found){ .attrs = { .scale = 1, .out_heads_first = true } };
    if (!is_product(n, false) || ((const struct matmul_attrs *)n->attrs)->alpha != 1)
        return false;
    struct node *softmax = sole_producer(n->in[0], "softmax", f->uses);
    if (softmax == NULL || !take_operand(f, n->in[1], &t->v, &t->attrs.v_heads_first))
        return false;
    int32_t axis = ((const struct axis_attrs *)softmax->attrs)->axis;
    return (axis == -1 || axis == 3) && match_scores(f, softmax->in[0], t);
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

static bool is_one(const struct attr_ints *list, int64_t v)
{
    return list->count == 1 && list->v[0] == v;
}

/* The number of the one element that n cuts out along dimension 0; -1: it cuts otherwise. */
static int64_t part_of(const struct node *n)
{
    const struct slice_attrs *a = n->attrs;
    if (n->in_count > 1 || !is_one(&a->axes, 0) || a->starts.count != 1 || a->starts.v[0] < 0 ||
        a->ends.count != 1 || a->ends.v[0] != a->starts.v[0] + 1 || a->starts.v[0] > INT32_MAX ||
        (a->steps.count != 0 && !is_one(&a->steps, 1)))
        return -1;
    return a->starts.v[0];
}

/* One of the three in [3,B,H,T,D] = transpose [B,T,3,H,D], as [B,H,T,D]: attention takes it out of what was transposed, so
 * that it is neither transposed nor cut out. */
static void take_part(const struct fusion *f, struct value **v, bool *heads_first, int32_t *part)
{
    struct node *squeeze = *heads_first ? sole_producer(*v, "squeeze", f->uses) : NULL;
    struct node *slice = squeeze != NULL ? sole_producer(squeeze->in[0], "slice", f->uses) : NULL;
    struct node *turn = slice != NULL ? slice->in[0]->producer : NULL;
    if (!is_op(turn, "transpose") || squeeze->in_count > 1 || part_of(slice) < 0)
        return;
    const struct attr_ints *p = &((const struct transpose_attrs *)turn->attrs)->perm;
    if (p->count != 5 || p->v[0] != 2 || p->v[1] != 0 || p->v[2] != 3 || p->v[3] != 1 ||
        p->v[4] != 4 || !is_one(&((const struct axes_attrs *)squeeze->attrs)->axes, 0))
        return;
    *v = turn->in[0];
    *part = (int32_t)part_of(slice);
    *heads_first = false;
}

status fuse_attention(struct graph *g, int *changes, struct err *e)
{
    int *uses = mem_alloc((g->value_count + 1) * sizeof(*uses));
    struct symbols *symbols = symbols_new(g);
    struct fusion f = { g, uses, symbols };
    struct found t;
    graph_count_uses(g, uses);
    for (uint32_t i = 0; i < g->node_count; i++) {
        if (!match(&f, g->nodes[i], &t))
            continue;
        take_part(&f, &t.q, &t.attrs.q_heads_first, &t.attrs.q_part);
        take_part(&f, &t.k, &t.attrs.k_heads_first, &t.attrs.k_part);
        take_part(&f, &t.v, &t.attrs.v_heads_first, &t.attrs.v_part);
        rewrite(g, g->nodes[i], &t);
        ++*changes;
    }
    absorb_turn(g, uses);
    symbols_free(symbols);
    mem_free(uses);
    return OK;
}
