/* Operators on scores: weighted sum, softmax, the k highest. Plain loops: what they work on is small. */
#include "flow/ops.h"

#include <math.h>
#include <stdlib.h>

#define FLOATS (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64))

static double real_at(const struct tensor *t, int64_t i)
{
    return t->dtype == DTYPE_F32 ? (double)((const float *)t->data)[i]
                                 : ((const double *)t->data)[i];
}

static void set_real(dtype d, void *data, int64_t i, double v)
{
    if (d == DTYPE_F32)
        ((float *)data)[i] = (float)v;
    else
        ((double *)data)[i] = v;
}

static status check_float(struct flow_step *s, const struct named_tensor *t, struct err *e)
{
    if (t->tensor.dtype == DTYPE_F32 || t->tensor.dtype == DTYPE_F64)
        return OK;
    return err_set(e, INVALID, "node '%s': '%.*s' is %s, expected float32 or float64",
                   s->node->name, STR_ARG(t->alias), dtype_name(t->tensor.dtype));
}

/* ---- weighted sum ---- */

struct weights {
    const double *weight;
    int count;
};

/* Of some outputs only a request tells the shape. */
static bool is_known(const struct port *p)
{
    return p != NULL && !(p->shape.rank == 1 && p->shape.dim[0] < 0);
}

/* Rows apart, of which a model's file may say anything. */
static bool may_agree(const struct port *a, const struct port *b)
{
    bool fine = a->shape.rank == b->shape.rank;
    for (int d = 1; fine && d < a->shape.rank; d++)
        fine = a->shape.dim[d] < 0 || b->shape.dim[d] < 0 || a->shape.dim[d] == b->shape.dim[d];
    return fine;
}

static status open_sum(struct flow_open *o, struct err *e)
{
    struct weights *w = arena_zalloc(o->arena, sizeof(*w));
    const char *name = NULL;
    TRY(flow_attr_text(o, "output", &name, e));
    TRY(flow_attr_reals(o, "weights", &w->weight, &w->count, e));
    if (w->count != 0 && w->count != o->node->edge_count)
        return err_set(e, INVALID, "node '%s' has %d inputs and %d weights", o->node->name,
                       o->node->edge_count, w->count);
    for (int k = 0; k < o->node->edge_count; k++) {
        TRY(flow_check_dtype(o, k, FLOATS, "float32 or float64", e));
        if (is_known(o->in[0]) && is_known(o->in[k]) && !may_agree(o->in[0], o->in[k])) {
            char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX];
            return err_set(e, INVALID, "node '%s': '%s' is %s and '%s' is %s", o->node->name,
                           o->in[0]->alias, shape_text(&o->in[0]->shape, x, sizeof(x)),
                           o->in[k]->alias, shape_text(&o->in[k]->shape, y, sizeof(y)));
        }
    }
    flow_gives(o, NULL, name);
    o->node->state = w;
    return OK;
}

static status shapes_differ(struct flow_step *s, const struct named_tensor *a,
                            const struct named_tensor *b, struct err *e)
{
    char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX];
    return err_set(e, INVALID, "node '%s': '%.*s' is %s and '%.*s' is %s", s->node->name,
                   STR_ARG(a->alias), shape_text(&a->tensor.shape, x, sizeof(x)), STR_ARG(b->alias),
                   shape_text(&b->tensor.shape, y, sizeof(y)));
}

static status run_sum(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct weights *w = s->node->state;
    const struct named_tensor *first, *t;
    void *data;
    TRY(flow_one_input(s, 0, &first, e));
    TRY(flow_give(s, first->tensor.dtype, &first->tensor.shape, &data, e));
    int64_t n = shape_numel(&first->tensor.shape);
    for (int k = 0; k < s->node->edge_count; k++) {
        double weight = w->count > 0 ? w->weight[k] : 1.0 / s->node->edge_count;
        TRY(flow_one_input(s, k, &t, e));
        TRY(check_float(s, t, e));
        if (!shape_eq(&t->tensor.shape, &first->tensor.shape))
            return shapes_differ(s, first, t, e);
        for (int64_t i = 0; i < n; i++) {
            double before = k == 0 ? 0 : real_at(&s->out.tensor->tensor, i);
            set_real(first->tensor.dtype, data, i, before + weight * real_at(&t->tensor, i));
        }
    }
    return OK;
}

static const char *const sum_keys[] = { "weights", "output", NULL };
const struct flow_op weighted_sum_op = { .type = "WeightedSumOp",
                                         .also = "weighted_sum",
                                         .inputs_min = 1,
                                         .inputs_max = 64,
                                         .keys = sum_keys,
                                         .open = open_sum,
                                         .run = run_sum };

/* ---- softmax along the last dimension ---- */

static status open_softmax(struct flow_open *o, struct err *e)
{
    const char *name = NULL;
    TRY(flow_attr_text(o, "output", &name, e));
    TRY(flow_check_dtype(o, 0, FLOATS, "float32 or float64", e));
    flow_gives(o, NULL, name);
    return OK;
}

static void softmax_row(const struct tensor *t, int64_t at, int64_t n, void *data)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = at; i < at + n; i++)
        most = fmax(most, real_at(t, i));
    for (int64_t i = at; i < at + n; i++)
        sum += exp(real_at(t, i) - most);
    for (int64_t i = at; i < at + n; i++)
        set_real(t->dtype, data, i, exp(real_at(t, i) - most) / sum);
}

static status run_softmax(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct named_tensor *t;
    void *data;
    TRY(flow_one_input(s, 0, &t, e));
    TRY(check_float(s, t, e));
    TRY(flow_give(s, t->tensor.dtype, &t->tensor.shape, &data, e));
    int rank = t->tensor.shape.rank;
    int64_t all = shape_numel(&t->tensor.shape), row = rank > 0 ? t->tensor.shape.dim[rank - 1] : 1;
    for (int64_t at = 0; row > 0 && at < all; at += row)
        softmax_row(&t->tensor, at, row, data);
    return OK;
}

static const char *const softmax_keys[] = { "output", NULL };
const struct flow_op softmax_op = { .type = "SoftmaxOp",
                                    .also = "softmax",
                                    .inputs_min = 1,
                                    .inputs_max = 1,
                                    .keys = softmax_keys,
                                    .open = open_softmax,
                                    .run = run_softmax };

/* ---- the k highest of each row ---- */

struct top_k {
    int64_t k;
};

static status open_top_k(struct flow_open *o, struct err *e)
{
    struct top_k *t = arena_zalloc(o->arena, sizeof(*t));
    struct port *p = arena_zalloc(o->arena, 2 * sizeof(*p));
    t->k = 1;
    TRY(flow_attr_i64(o, "k", 1, 1000000, &t->k, e));
    TRY(flow_check_dtype(o, 0, FLOATS, "float32 or float64", e));
    int rank = o->in[0] != NULL ? o->in[0]->shape.rank : 0;
    if (rank > 1 && o->in[0]->shape.dim[rank - 1] >= 0 && o->in[0]->shape.dim[rank - 1] < t->k)
        return err_set(e, INVALID, "node '%s': 'k' is %lld, and a row of '%s' has %lld numbers",
                       o->node->name, (long long)t->k, o->in[0]->alias,
                       (long long)o->in[0]->shape.dim[rank - 1]);
    p[0] = p[1] = o->in[0] != NULL
                      ? *o->in[0]
                      : (struct port){ .dtype = DTYPE_F32, .shape = { 2, { -1, -1 } } };
    if (p[0].shape.rank > 0)
        p[0].shape.dim[p[0].shape.rank - 1] = p[1].shape.dim[p[1].shape.rank - 1] = -1;
    p[0].name = p[0].alias = "values";
    p[1].name = p[1].alias = "indices";
    p[1].dtype = DTYPE_I64;
    o->node->port = p;
    o->node->port_count = 2;
    o->node->state = t;
    return OK;
}

/* Insertion into a short sorted list: k is small. Of equal ones the first comes first. */
static void top_row(const struct tensor *t, int64_t at, int64_t n, int64_t k, void *values,
                    int64_t *indices, int64_t to)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        double v = real_at(t, at + i);
        int64_t place = count < k ? count : k;
        while (place > 0 && real_at(t, at + indices[to + place - 1]) < v)
            place--;
        if (place == k)
            continue;
        count += count < k;
        for (int64_t m = count - 1; m > place; m--)
            indices[to + m] = indices[to + m - 1];
        indices[to + place] = i;
    }
    for (int64_t m = 0; m < count; m++)
        set_real(t->dtype, values, to + m, real_at(t, at + indices[to + m]));
}

static status run_top_k(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct top_k *top = s->node->state;
    const struct named_tensor *t;
    void *values, *indices;
    TRY(flow_one_input(s, 0, &t, e));
    TRY(check_float(s, t, e));
    struct shape shape = t->tensor.shape;
    if (shape.rank == 0)
        return err_set(e, INVALID, "node '%s': '%.*s' is one number", s->node->name,
                       STR_ARG(t->alias));
    int64_t *last = &shape.dim[shape.rank - 1], n = *last, all = shape_numel(&shape);
    int64_t k = *last = top->k < n ? top->k : n;
    struct named_tensor *out = arena_zalloc(s->arena, 2 * sizeof(*out));
    TRY(flow_give(s, t->tensor.dtype, &shape, &values, e));
    out[0] = *s->out.tensor;
    TRY(flow_give(s, DTYPE_I64, &shape, &indices, e));
    out[1] = *s->out.tensor;
    out[1].name = out[1].alias = STR("indices");
    s->out = (struct flow_value){ out, 2, false };
    for (int64_t at = 0, to = 0; n > 0 && at < all; at += n, to += k)
        top_row(&t->tensor, at, n, k, values, indices, to);
    return OK;
}

static const char *const top_k_keys[] = { "k", NULL };
const struct flow_op top_k_op = { .type = "TopKOp",
                                  .also = "top_k",
                                  .inputs_min = 1,
                                  .inputs_max = 1,
                                  .keys = top_k_keys,
                                  .open = open_top_k,
                                  .run = run_top_k };
