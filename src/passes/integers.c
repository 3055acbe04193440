/* A quantised model's products and convolutions take the integers themselves: conv2d(dequantize(q), dequantize(w)) becomes
 * conv2d(q, w) with a scale for each channel, and matmul the same. Paddle's spellings become quantize and dequantize first. Sums
 * of integers are exact, where those of the floats that they stand for are rounded; a quantisation behind them can fall on the
 * other side of a half by that. */
#include "passes/integers.h"

#include "base/mem.h"
#include "graph/op.h"
#include "passes/rows.h"

#include <math.h>
#include <string.h>

static bool one_float(const struct value *v, float *out)
{
    const struct tensor *c = v != NULL ? v->constant : NULL;
    if (c == NULL || c->dtype != DTYPE_F32 || shape_numel(&c->shape) != 1)
        return false;
    *out = float_at(c->data, 0);
    return true;
}

static bool read_zero(const struct node *n, int32_t *out)
{
    *out = 0;
    if (n->in_count < 3 || n->in[2] == NULL)
        return true;
    const struct tensor *c = n->in[2]->constant;
    if (c == NULL || shape_numel(&c->shape) != 1)
        return false;
    *out = c->dtype == DTYPE_I8 ? *(const int8_t *)c->data : *(const uint8_t *)c->data;
    return c->dtype == DTYPE_I8 || c->dtype == DTYPE_U8;
}

bool read_step(const struct node *n, const char *op, struct step *out)
{
    float scale;
    if (!is_op(n, op) || !one_float(n->in[1], &scale) || !(scale > 0) || !isfinite(scale) ||
        !read_zero(n, &out->zero))
        return false;
    const struct quant_attrs *a = n->attrs;
    out->scale = scale;
    out->multiply = a->multiply;
    out->dtype =
        strcmp(op, "quantize") == 0 ? (a->to == RESULT_I8 ? DTYPE_I8 : DTYPE_U8) : n->in[0]->dtype;
    return out->dtype == DTYPE_I8 || out->dtype == DTYPE_U8;
}

struct integers *integers_field(struct node *n)
{
    if (is_op(n, "conv2d"))
        return &((struct conv_attrs *)node_attrs(n))->q;
    return is_op(n, "matmul") ? &((struct matmul_attrs *)node_attrs(n))->q : NULL;
}

bool made_by_step(const struct value *v, const char *op, struct step *out)
{
    return v != NULL && v->producer != NULL && read_step(v->producer, op, out);
}

/* ---- places ---- */

/* New nodes, each to stand behind an older one. They are added at the graph's end, and brought to their places when all are
 * there. One node of the old list has one new one at most. */
struct places {
    struct node **behind; /* by index of the old list */
    uint32_t count;
};

static void places_init(struct places *p, const struct graph *g)
{
    p->count = g->node_count;
    p->behind = mem_zalloc((g->node_count + (size_t)1) * sizeof(*p->behind));
}

/* Frees too. */
static void places_apply(struct places *p, struct graph *g)
{
    struct node **old = mem_alloc((p->count + (size_t)1) * sizeof(*old));
    uint32_t at = 0;
    memcpy(old, g->nodes, p->count * sizeof(*old));
    for (uint32_t i = 0; i < p->count; i++) {
        g->nodes[at++] = old[i];
        if (p->behind[i] != NULL)
            g->nodes[at++] = p->behind[i];
    }
    mem_free(old);
    mem_free(p->behind);
}

/* ---- Paddle's spellings ---- */

static status add_float(struct graph *g, float x, struct value **out, struct err *e)
{
    float *data = arena_alloc(&g->arena, sizeof(*data));
    *data = x;
    return add_floats(g, data, 1, out, e);
}

/* n becomes another operator on x and a scale. */
static void respell(struct graph *g, struct node *n, const char *op, struct value *x,
                    struct value *scale, const struct quant_attrs *a)
{
    struct quant_attrs *attrs = arena_alloc(&g->arena, sizeof(*attrs));
    *attrs = *a;
    n->op = op_find(op);
    n->attrs = attrs;
    n->in = arena_zalloc(&g->arena, 2 * sizeof(*n->in));
    n->in[0] = x;
    n->in[1] = scale;
    n->in_count = 2;
}

/* A product that makes integers itself rounds halves to the even neighbour where Paddle's older operators round them away
 * from 0, and cuts at -128 what they cut at -127: a step at most. */
static status respell_quant(struct graph *g, struct node *n, struct node **behind, struct err *e)
{
    const struct fake_quant_attrs a = *(const struct fake_quant_attrs *)n->attrs;
    const float top = 127;
    float scale;
    struct value *factor, *back, *made = n->out[0];
    if (a.per_axis || a.bits != 8 || !one_float(n->in[1], &scale) || !(scale > 1e-30f) ||
        n->in[0]->constant != NULL)
        return OK;
    TRY(add_float(g, top * (1 / scale), &factor, e));
    TRY(add_float(g, a.back ? scale / top : 1, &back, e));
    respell(g, n, "quantize", n->in[0], factor,
            &(struct quant_attrs){ .to = RESULT_I8, .multiply = true, .away = a.away });
    TRY(graph_add_node(g, op_find("dequantize"), n->origin, (struct value *[]){ made, back }, 2,
                       behind, e));
    /* The floats keep their value, integers get the new one. */
    struct value *whole = (*behind)->out[0];
    whole->shape = made->shape;
    whole->dtype = DTYPE_I8;
    n->out[0] = (*behind)->in[0] = whole;
    whole->producer = n;
    (*behind)->out[0] = made;
    made->producer = *behind;
    return OK;
}

/* Numbers of quantize that went through a dequantize by 1 are divided here. */
static status respell_dequant(struct graph *g, struct node *n, struct err *e)
{
    const struct fake_dequant_attrs *a = n->attrs;
    float scale;
    struct value *v;
    struct step by;
    bool second = n->in_count > 2 && n->in[2] != NULL;
    if (a->per_axis || second || !one_float(n->in[1], &scale) || !(scale > 0) ||
        !made_by_step(n->in[0], "dequantize", &by) || by.scale != 1)
        return OK;
    TRY(add_float(g, scale / a->range, &v, e));
    respell(g, n, "dequantize", n->in[0]->producer->in[0], v, &(struct quant_attrs){ 0 });
    return OK;
}

static status respell_all(struct graph *g, int *changes, struct err *e)
{
    struct places p;
    status s = OK;
    places_init(&p, g);
    for (uint32_t i = 0; i < p.count && s == OK; i++) {
        if (is_op(g->nodes[i], "fake_quant"))
            s = respell_quant(g, g->nodes[i], &p.behind[i], e);
        else if (is_op(g->nodes[i], "fake_dequant"))
            s = respell_dequant(g, g->nodes[i], e);
        *changes += p.behind[i] != NULL;
    }
    places_apply(&p, g);
    return s;
}

/* ---- weights ---- */

/* Integers of a weight, and what they stand for: a scale for each of its output channels. */
struct grid {
    const int8_t *q;
    float *scale;
    struct shape shape;
    int64_t channels, each; /* elements of a channel */
    int64_t step, next;     /* from channel to channel; from element to element of one */
};

static bool lay_grid(const struct node *n, const struct shape *s, struct grid *w)
{
    *w = (struct grid){ .shape = *s };
    if (is_op(n, "conv2d") && s->rank == 4) {
        w->channels = s->dim[0];
        w->each = w->step = s->dim[1] * s->dim[2] * s->dim[3];
        w->next = 1;
        return shape_numel(s) > 0;
    }
    if (!is_op(n, "matmul") || s->rank != 2)
        return false;
    bool turned = ((const struct matmul_attrs *)n->attrs)->trans_b;
    w->channels = s->dim[turned ? 0 : 1];
    w->each = s->dim[turned ? 1 : 0];
    w->step = turned ? w->each : 1;
    w->next = turned ? 1 : w->channels;
    return shape_numel(s) > 0;
}

static bool all_zero(const struct value *v)
{
    const struct tensor *c = v->constant;
    const uint8_t *x = c != NULL ? c->data : NULL;
    for (int64_t i = 0; c != NULL && i < shape_numel(&c->shape); i++)
        if (x[i] != 0)
            return false;
    return c != NULL && dtype_size(c->dtype) == 1;
}

/* Scales of dequantize or fake_dequant (then over range), one or one for each channel. */
static bool take_scales(struct graph *g, const struct node *by, float range, struct grid *w)
{
    const struct tensor *c = by->in[1]->constant;
    int64_t count = c != NULL && c->dtype == DTYPE_F32 ? shape_numel(&c->shape) : 0;
    if (count != 1 && count != w->channels)
        return false;
    w->scale = arena_alloc(&g->arena, (size_t)w->channels * sizeof(float));
    for (int64_t i = 0; i < w->channels; i++)
        w->scale[i] = float_at(c->data, count == 1 ? 0 : i) / range;
    return true;
}

/* The axis of several scales is that of the output channels. */
static bool axis_fits(const struct grid *w, const struct shape *s, int32_t axis)
{
    int at = shape_axis(s, axis);
    return at >= 0 && s->dim[at] == w->channels && shape_span(s, at + 1, s->rank) == w->step;
}

/* Weights that the file holds as integers. */
static bool take_stored(struct graph *g, const struct node *n, struct grid *w)
{
    const struct node *by = n->in[1]->producer;
    const struct tensor *c = by != NULL ? by->in[0]->constant : NULL;
    float range = 1;
    if (c == NULL || c->dtype != DTYPE_I8 || !lay_grid(n, &c->shape, w))
        return false;
    int32_t axis;
    if (is_op(by, "dequantize")) {
        axis = ((const struct quant_attrs *)by->attrs)->axis;
    } else if (is_op(by, "fake_dequant")) {
        axis = ((const struct fake_dequant_attrs *)by->attrs)->axis;
        range = ((const struct fake_dequant_attrs *)by->attrs)->range;
    } else {
        return false;
    }
    if (by->in_count > 2 && by->in[2] != NULL && !all_zero(by->in[2]))
        return false;
    w->q = c->data;
    return take_scales(g, by, range, w) &&
           (shape_numel(&by->in[1]->constant->shape) == 1 || axis_fits(w, &c->shape, axis));
}

#define OFF_GRID 0.01f /* of a step: what rounding can leave */

static float largest(const void *x, const struct grid *w, int64_t c)
{
    float most = 0;
    for (int64_t i = 0; i < w->each; i++)
        most = fmaxf(most, fabsf(float_at(x, c * w->step + i * w->next)));
    return most;
}

/* Channel c on the grid of this step; false where it is not. */
static bool snap(const void *x, const struct grid *w, int64_t c, float step, int8_t *q)
{
    for (int64_t i = 0; i < w->each; i++) {
        int64_t at = c * w->step + i * w->next;
        float v = float_at(x, at) / step, whole = rintf(v);
        if (!(fabsf(v - whole) <= OFF_GRID) || fabsf(whole) > 127)
            return false;
        q[at] = (int8_t)whole;
    }
    return true;
}

static bool snap_all(const void *x, struct grid *w, float common, int8_t *q)
{
    for (int64_t c = 0; c < w->channels; c++) {
        float most = common > 0 ? common : largest(x, w, c) / 127;
        w->scale[c] = most > 0 ? most : 1;
        if (!snap(x, w, c, w->scale[c], q))
            return false;
    }
    return true;
}

/* Floats that a quantisation left on a grid: of whole numbers, of the largest of each channel, or of all. */
static bool take_snapped(struct graph *g, const struct node *n, struct grid *w)
{
    const struct tensor *c = n->in[1]->constant;
    if (c == NULL || c->dtype != DTYPE_F32 || !lay_grid(n, &c->shape, w))
        return false;
    const void *x = c->data;
    int8_t *q = arena_alloc(&g->arena, (size_t)shape_numel(&c->shape));
    float most = 0;
    w->scale = arena_alloc(&g->arena, (size_t)w->channels * sizeof(float));
    w->q = q;
    for (int64_t i = 0; i < w->channels; i++)
        most = fmaxf(most, largest(x, w, i));
    return snap_all(x, w, 1, q) || snap_all(x, w, 0, q) || snap_all(x, w, most / 127, q);
}

/* ---- products ---- */

struct kind {
    const char *op;
    int scale; /* which input */
};

static const struct kind kinds[] = {
    { "conv2d", CONV_SCALE },
    { "matmul", MATMUL_SCALE },
};

static const struct kind *kind_of(const struct node *n)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (is_op(n, kinds[i].op))
            return &kinds[i];
    return NULL;
}

static bool can_take(const struct node *n, const struct kind *k)
{
    const struct matmul_attrs *m = n->attrs;
    if (is_op(n, "matmul") && (m->trans_a || m->alpha != 1))
        return false;
    return n->in_count <= k->scale || n->in[k->scale] == NULL;
}

static status take(struct graph *g, struct node *n, const struct kind *k, const struct step *x,
                   struct grid *w, struct err *e)
{
    struct tensor t = { .dtype = DTYPE_I8, .shape = w->shape, .data = w->q };
    struct value *scale, *weight;
    struct integers *q = integers_field(n);
    for (int64_t i = 0; i < w->channels; i++)
        w->scale[i] *= x->scale;
    TRY(add_floats(g, w->scale, w->channels, &scale, e));
    TRY(graph_add_constant(g, NULL, &t, &weight, e));
    TRY(put_input(g, n, k->scale, scale, e));
    q->x_zero = x->zero;
    n->in[0] = n->in[0]->producer->in[0];
    n->in[1] = weight;
    return OK;
}

static status try_take(struct graph *g, struct node *n, int *changes, struct err *e)
{
    const struct kind *k = kind_of(n);
    struct step x;
    struct grid w;
    if (k == NULL || !can_take(n, k) || !made_by_step(n->in[0], "dequantize", &x))
        return OK;
    if (!take_stored(g, n, &w) && !take_snapped(g, n, &w))
        return OK;
    ++*changes;
    return take(g, n, k, &x, &w, e);
}

/* Twice: before constants are folded, when weights that the file holds as integers still are; and behind, when weights
 * that are quantised on the way have been. */
status take_integers(struct graph *g, int *changes, struct err *e)
{
    TRY(respell_all(g, changes, e));
    for (uint32_t i = 0; i < g->node_count; i++)
        TRY(try_take(g, g->nodes[i], changes, e));
    return OK;
}
