#include "passes/symbols.h"

#include "base/mem.h"
#include "graph/attrs.h"
#include "graph/attrs_attention.h"
#include "graph/attrs_move.h"
#include "graph/op.h"

#include <string.h>

/* A dimension that a window makes of another one: (from + slack) / stride + 1, rounded down. */
struct windowed {
    int64_t from, slack, stride, symbol;
};

struct symbols {
    struct shape *shape; /* by value id */
    uint32_t count;
    int64_t next;              /* the symbol to give out next; they go down from -1 */
    struct windowed *windowed; /* two of each node at most */
    size_t windowed_count;
};

static int64_t fresh(struct symbols *s)
{
    return s->next--;
}

static void set_unknown(struct shape *out)
{
    out->rank = -1;
}

/* ---- windows ---- */

static int64_t remember(struct symbols *s, int64_t from, int64_t slack, int64_t stride)
{
    for (size_t i = 0; i < s->windowed_count; i++) {
        const struct windowed *w = &s->windowed[i];
        if (w->from == from && w->slack == slack && w->stride == stride)
            return w->symbol;
    }
    int64_t symbol = fresh(s);
    s->windowed[s->windowed_count++] = (struct windowed){ from, slack, stride, symbol };
    return symbol;
}

/* extent: what the window spans, dilation included; pads: both sides' sum. */
static int64_t window_dim(struct symbols *s, int64_t in, int64_t pads, int64_t extent,
                          int64_t stride, bool round_up)
{
    int64_t slack = pads - extent + (round_up ? stride - 1 : 0);
    if (stride < 1)
        return fresh(s);
    if (in >= 0)
        return in + slack < 0 ? fresh(s) : (in + slack) / stride + 1;
    return stride == 1 && slack == -1 ? in : remember(s, in, slack, stride);
}

static void conv_shape(struct symbols *s, const struct node *n, const struct shape *in,
                       struct shape *out)
{
    const struct conv_attrs *a = n->attrs;
    const struct shape *w = &in[1];
    if (in[0].rank != 4 || w->rank != 4 || w->dim[2] < 1 || w->dim[3] < 1)
        return set_unknown(out);
    *out = SHAPE(in[0].dim[0], w->dim[0], fresh(s), fresh(s));
    if (a->auto_pad == PAD_SAME || w->dim[2] > INT32_MAX || w->dim[3] > INT32_MAX)
        return;
    bool pads = a->auto_pad == PAD_EXPLICIT;
    out->dim[2] = window_dim(s, in[0].dim[2], pads ? (int64_t)a->pad_top + a->pad_bottom : 0,
                             (w->dim[2] - 1) * a->dilation_h + 1, a->stride_h, false);
    out->dim[3] = window_dim(s, in[0].dim[3], pads ? (int64_t)a->pad_left + a->pad_right : 0,
                             (w->dim[3] - 1) * a->dilation_w + 1, a->stride_w, false);
}

static void pool_shape(struct symbols *s, const struct node *n, const struct shape *in,
                       struct shape *out)
{
    const struct pool_attrs *a = n->attrs;
    if (in[0].rank != 4)
        return set_unknown(out);
    *out = SHAPE(in[0].dim[0], in[0].dim[1], fresh(s), fresh(s));
    if (a->global)
        out->dim[2] = out->dim[3] = 1;
    if (a->adaptive) {
        out->dim[2] = a->kernel_h;
        out->dim[3] = a->kernel_w;
    }
    /* A rounded-up window may be dropped where it begins in the pads: only without pads the formula is all there is. */
    bool plain = !a->ceil_mode || (a->pad_top | a->pad_bottom | a->pad_left | a->pad_right) == 0;
    if (a->global || a->adaptive || a->auto_pad != PAD_EXPLICIT || !plain)
        return;
    out->dim[2] = window_dim(s, in[0].dim[2], (int64_t)a->pad_top + a->pad_bottom, a->kernel_h,
                             a->stride_h, a->ceil_mode);
    out->dim[3] = window_dim(s, in[0].dim[3], (int64_t)a->pad_left + a->pad_right, a->kernel_w,
                             a->stride_w, a->ceil_mode);
}

/* ---- the others ---- */

static int64_t broadcast_dim(struct symbols *s, int64_t a, int64_t b)
{
    if (a == b || b == 1)
        return a;
    if (a == 1)
        return b;
    if (a > 1 || b > 1) /* the other one is this or 1 */
        return a > 1 ? a : b;
    return fresh(s);
}

static void broadcast(struct symbols *s, const struct shape *a, const struct shape *b,
                      struct shape *out)
{
    struct shape r = { .rank = a->rank > b->rank ? a->rank : b->rank };
    if (a->rank < 0 || b->rank < 0)
        return set_unknown(out);
    for (int i = 1; i <= r.rank; i++) {
        int64_t x = i <= a->rank ? a->dim[a->rank - i] : 1;
        int64_t y = i <= b->rank ? b->dim[b->rank - i] : 1;
        r.dim[r.rank - i] = broadcast_dim(s, x, y);
    }
    *out = r;
}

static void elementwise_shape(struct symbols *s, const struct node *n, const struct shape *in,
                              struct shape *out)
{
    *out = in[0];
    for (int i = 1; i < n->in_count; i++)
        if (n->in[i] != NULL)
            broadcast(s, out, &in[i], out);
}

static void same_shape(struct symbols *s, const struct node *n, const struct shape *in,
                       struct shape *out)
{
    *out = in[0];
}

static void matmul_shape(struct symbols *s, const struct node *n, const struct shape *in,
                         struct shape *out)
{
    const struct matmul_attrs *m = n->attrs;
    const struct shape *a = &in[0], *b = &in[1];
    if (a->rank < 2 || b->rank < 2)
        return set_unknown(out);
    struct shape x = *a, y = *b;
    x.rank -= 2;
    y.rank -= 2;
    broadcast(s, &x, &y, out);
    out->dim[out->rank++] = a->dim[a->rank - (m->trans_a ? 1 : 2)];
    out->dim[out->rank++] = b->dim[b->rank - (m->trans_b ? 2 : 1)];
}

static void embedding_shape(struct symbols *s, const struct node *n, const struct shape *in,
                            struct shape *out)
{
    if (in[0].rank < 0 || in[0].rank >= SHAPE_MAX || in[1].rank != 2)
        return set_unknown(out);
    *out = in[0];
    out->dim[out->rank++] = in[1].dim[1];
}

static void flatten_shape(struct symbols *s, const struct node *n, const struct shape *in,
                          struct shape *out)
{
    const struct flatten_attrs *a = n->attrs;
    int start = in[0].rank > 0 ? shape_axis(&in[0], a->start) : -1;
    int stop = in[0].rank > 0 ? shape_axis(&in[0], a->stop) : -1;
    int64_t product = 1;
    if (start < 0 || stop < start)
        return set_unknown(out);
    *out = in[0];
    for (int i = start; i <= stop && product >= 0; i++)
        if (in[0].dim[i] < 0 || __builtin_mul_overflow(product, in[0].dim[i], &product))
            product = -1;
    out->rank = in[0].rank - (stop - start);
    out->dim[start] = product >= 0 ? product : fresh(s);
    for (int i = stop + 1; i < in[0].rank; i++)
        out->dim[start + i - stop] = in[0].dim[i];
}

/* The one dimension of s that is a symbol; *known: the others multiplied. 0: there is none, or several. */
static int64_t sole_symbol(const struct shape *s, int64_t *known)
{
    int64_t symbol = 0;
    *known = 1;
    for (int i = 0; i < s->rank; i++) {
        if (s->dim[i] < 0 && symbol != 0)
            return 0;
        if (s->dim[i] < 0)
            symbol = s->dim[i];
        else if (__builtin_mul_overflow(*known, s->dim[i], known))
            return 0;
    }
    return symbol;
}

/* What is left over for an open dimension is the input's symbol where the others have as many elements as its others. */
static void reshape_shape(struct symbols *s, const struct node *n, const struct shape *in,
                          struct shape *out)
{
    const struct attr_ints *to = &((const struct reshape_attrs *)n->attrs)->shape;
    int64_t before, after, symbol = sole_symbol(&in[0], &before);
    int open = -1;
    if (to->count > SHAPE_MAX || n->in_count > 1)
        return set_unknown(out);
    out->rank = to->count;
    for (int i = 0; i < to->count; i++) {
        out->dim[i] = to->v[i] > 0 ? to->v[i] : fresh(s);
        if (to->v[i] == 0 && in[0].rank >= 0)
            out->dim[i] = i < in[0].rank ? in[0].dim[i] : 0;
        open = to->v[i] == -1 ? i : open;
    }
    if (in[0].rank >= 0 && symbol != 0 && open >= 0 && sole_symbol(out, &after) != 0 &&
        before == after && after > 0)
        out->dim[open] = symbol;
}

/* All but the axis is the same in each input: one that is known will do. */
static void concat_shape(struct symbols *s, const struct node *n, const struct shape *in,
                         struct shape *out)
{
    int known = 0;
    while (known < n->in_count && in[known].rank < 0)
        known++;
    int axis = known < n->in_count
                   ? shape_axis(&in[known], ((const struct axis_attrs *)n->attrs)->axis)
                   : -1;
    if (axis < 0)
        return set_unknown(out);
    *out = in[known];
    int64_t sum = 0;
    for (int i = 0; i < n->in_count && sum >= 0; i++)
        sum = in[i].rank == out->rank && in[i].dim[axis] >= 0 ? sum + in[i].dim[axis] : -1;
    out->dim[axis] = sum >= 0 ? sum : fresh(s);
}

static void transpose_shape(struct symbols *s, const struct node *n, const struct shape *in,
                            struct shape *out)
{
    const struct attr_ints *p = &((const struct transpose_attrs *)n->attrs)->perm;
    if (in[0].rank < 0 || p->count != in[0].rank)
        return set_unknown(out);
    out->rank = p->count;
    for (int i = 0; i < p->count; i++) {
        if (p->v[i] < 0 || p->v[i] >= p->count)
            return set_unknown(out);
        out->dim[i] = in[0].dim[p->v[i]];
    }
}

/* Along its axes anything may be left. */
static void slice_shape(struct symbols *s, const struct node *n, const struct shape *in,
                        struct shape *out)
{
    const struct slice_attrs *a = n->attrs;
    *out = in[0];
    for (int i = 0; i < out->rank && (n->in_count > 1 || a->axes.count == 0); i++)
        out->dim[i] = fresh(s);
    for (int i = 0; i < a->axes.count && out->rank >= 0; i++) {
        int axis = shape_axis(&in[0], a->axes.v[i]);
        if (axis >= 0)
            out->dim[axis] = fresh(s);
    }
}

static void squeeze_shape(struct symbols *s, const struct node *n, const struct shape *in,
                          struct shape *out)
{
    const struct axes_attrs *a = n->attrs;
    bool gone[SHAPE_MAX] = { false };
    if (in[0].rank < 0 || n->in_count > 1 || a->axes.count == 0 || a->lenient)
        return set_unknown(out);
    for (int i = 0; i < a->axes.count; i++) {
        int axis = shape_axis(&in[0], a->axes.v[i]);
        if (axis >= 0)
            gone[axis] = true;
    }
    out->rank = 0;
    for (int i = 0; i < in[0].rank; i++)
        if (!gone[i])
            out->dim[out->rank++] = in[0].dim[i];
}

/* Of operands that have one batch and one number of heads. */
static void attention_shape(struct symbols *s, const struct node *n, const struct shape *in,
                            struct shape *out)
{
    const struct attention_attrs *a = n->attrs;
    const struct shape *q = &in[0], *v = &in[2];
    set_unknown(out);
    if (a->q_heads_first || a->v_heads_first || a->out_heads_first || q->rank < 4 || v->rank < 4)
        return;
    int64_t q_heads = q->dim[q->rank - 2], v_heads = v->dim[v->rank - 2];
    if (q->dim[0] == v->dim[0] && q->dim[0] == in[1].dim[0] && in[1].rank >= 4 && q_heads > 1 &&
        q_heads == v_heads)
        *out = SHAPE(q->dim[0], q->dim[1], q_heads, v->dim[v->rank - 1]);
}

struct rule {
    const char *op;
    void (*shape)(struct symbols *s, const struct node *n, const struct shape *in,
                  struct shape *out);
};

static const struct rule rules[] = {
    { "conv2d", conv_shape },         { "pool2d", pool_shape },
    { "matmul", matmul_shape },       { "embedding", embedding_shape },
    { "reshape", reshape_shape },     { "concat", concat_shape },
    { "transpose", transpose_shape }, { "slice", slice_shape },
    { "squeeze", squeeze_shape },     { "softmax", same_shape },
    { "layer_norm", same_shape },     { "batch_norm", same_shape },
    { "quantize", same_shape },       { "dequantize", same_shape },
    { "attention", attention_shape }, { "flatten", flatten_shape },
};

static const struct rule *find_rule(const struct node *n)
{
    static const struct rule elementwise = { "", elementwise_shape };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++)
        if (strcmp(rules[i].op, n->op->name) == 0)
            return &rules[i];
    return n->op->flags & OP_ELEMENTWISE ? &elementwise : NULL;
}

#define INPUTS_MAX 255

static void visit(struct symbols *s, const struct node *n)
{
    struct shape in[INPUTS_MAX];
    const struct rule *rule = find_rule(n);
    for (int i = 0; i < n->in_count; i++) {
        set_unknown(&in[i]);
        if (n->in[i] != NULL)
            in[i] = s->shape[n->in[i]->id];
    }
    if (rule != NULL && n->out_count > 0)
        rule->shape(s, n, in, &s->shape[n->out[0]->id]);
}

/* What a feed leaves open is a symbol of its own. */
static void set_input(struct symbols *s, const struct value *v)
{
    struct shape *x = &s->shape[v->id];
    *x = v->shape;
    for (int d = 0; d < x->rank; d++)
        if (x->dim[d] < 0)
            x->dim[d] = fresh(s);
}

struct symbols *symbols_new(const struct graph *g)
{
    struct symbols *s = mem_zalloc(sizeof(*s));
    s->count = g->value_count;
    s->next = -1;
    s->windowed = mem_zalloc((2 * (size_t)g->node_count + 1) * sizeof(*s->windowed));
    s->shape = mem_zalloc((g->value_count + 1) * sizeof(*s->shape));
    for (uint32_t i = 0; i < g->value_count; i++) {
        set_unknown(&s->shape[i]);
        if (g->values[i]->constant != NULL)
            s->shape[i] = g->values[i]->constant->shape;
    }
    for (int i = 0; i < g->input_count; i++)
        set_input(s, g->inputs[i]);
    for (uint32_t i = 0; i < g->node_count; i++)
        visit(s, g->nodes[i]);
    return s;
}

void symbols_free(struct symbols *s)
{
    if (s == NULL)
        return;
    mem_free(s->shape);
    mem_free(s->windowed);
    mem_free(s);
}

static const struct shape unknown = { .rank = -1 };

const struct shape *symbols_shape(const struct symbols *s, const struct value *v)
{
    return v->id < s->count ? &s->shape[v->id] : &unknown;
}

bool symbols_same(const struct symbols *s, const struct value *a, const struct value *b)
{
    const struct shape *x = symbols_shape(s, a), *y = symbols_shape(s, b);
    return x->rank >= 0 && shape_eq(x, y);
}
