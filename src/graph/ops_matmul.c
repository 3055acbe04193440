#include "graph/ops.h"

#include <math.h>
#include <stdio.h>

/* An operand as a stack of matrices: a vector becomes one row (a) or one column (b), whatever the transposition says. */
struct operand {
    struct shape stack; /* batch dimensions */
    int64_t rows, columns;
    bool vector;
};

static struct operand take_operand(const struct shape *s, bool trans, bool is_a)
{
    struct operand o = { .vector = s->rank == 1 };
    if (o.vector) {
        o.rows = is_a ? 1 : s->dim[0];
        o.columns = is_a ? s->dim[0] : 1;
        return o;
    }
    o.stack = *s;
    o.stack.rank -= 2;
    o.rows = s->dim[s->rank - (trans ? 1 : 2)];
    o.columns = s->dim[s->rank - (trans ? 2 : 1)];
    return o;
}

bool matmul_dims(const struct matmul_attrs *m, const struct shape *a, const struct shape *b,
                 struct matmul_dims *out)
{
    if (a->rank < 1 || b->rank < 1)
        return false;
    struct operand x = take_operand(a, m->trans_a, true), y = take_operand(b, m->trans_b, false);
    *out = (struct matmul_dims){ .m = x.rows,
                                 .k = x.columns,
                                 .n = y.columns,
                                 .trans_a = m->trans_a && !x.vector,
                                 .trans_b = m->trans_b && !y.vector,
                                 .stack_a = x.stack,
                                 .stack_b = y.stack };
    if (x.columns != y.rows || !shape_broadcast(&x.stack, &y.stack, &out->stack))
        return false;
    out->shape = out->stack;
    if (out->stack.rank + 2 > SHAPE_MAX)
        return false;
    if (!x.vector)
        out->shape.dim[out->shape.rank++] = out->m;
    if (!y.vector)
        out->shape.dim[out->shape.rank++] = out->n;
    return true;
}

status want_residual(const struct node *n, const struct type *t, int index, dtype d,
                     const struct shape *shape, struct err *e)
{
    char want[SHAPE_TEXT_MAX], got[SHAPE_TEXT_MAX];
    if (!has_input(n, index))
        return OK;
    TRY(want_dtype(t, d, "what is added", e));
    if (shape_eq(&t->shape, shape))
        return OK;
    return err_set(e, INVALID, "expected %s to be added, got %s",
                   shape_text(shape, want, sizeof(want)), shape_text(&t->shape, got, sizeof(got)));
}

const char *const result_names[] = { "float32", "int8", "uint8", NULL };

bool is_integer8(dtype d)
{
    return d == DTYPE_I8 || d == DTYPE_U8;
}

static bool is_scale(float x)
{
    return x > 0 && x < INFINITY;
}

status want_integers(const struct integers *q, const struct node *n, const struct type *in,
                     int residual, int scale, dtype *out, struct err *e)
{
    static const dtype made[] = {
        [RESULT_F32] = DTYPE_F32, [RESULT_I8] = DTYPE_I8, [RESULT_U8] = DTYPE_U8
    };
    bool integers = is_integer8(in[0].dtype);
    *out = integers ? made[q->result] : in[0].dtype;
    if (!integers && q->result != RESULT_F32)
        return err_set(e, INVALID, "an integer result of %s", dtype_name(in[0].dtype));
    if (integers && !has_input(n, scale))
        return err_set(e, INVALID, "integers without a scale");
    if (q->result != RESULT_F32 && !is_scale(q->out_scale))
        return err_set(e, INVALID, "a result in units of %g", (double)q->out_scale);
    if (!integers || !has_input(n, residual) || in[residual].dtype == DTYPE_F32)
        return OK;
    if (!is_integer8(in[residual].dtype) || q->result == RESULT_F32 || !is_scale(q->residual_scale))
        return err_set(e, INVALID, "%s cannot be added to a result of %s",
                       dtype_name(in[residual].dtype), dtype_name(*out));
    return OK;
}

status want_vector(const struct node *n, const struct type *in, int index, const char *what,
                   int64_t count, struct err *e)
{
    char text[SHAPE_TEXT_MAX], its[32];
    const struct shape *s = &in[index].shape;
    if (!has_input(n, index))
        return OK;
    snprintf(its, sizeof(its), "its %s", what);
    TRY(want_dtype(&in[index], is_integer8(in[0].dtype) ? DTYPE_F32 : in[0].dtype, its, e));
    if (s->rank == 1 && s->dim[0] == count)
        return OK;
    return err_set(e, INVALID, "expected a %s of shape [%lld], got %s", what, (long long)count,
                   shape_text(s, text, sizeof(text)));
}

static status infer_matmul(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    const struct matmul_attrs *m = n->attrs;
    bool integers = is_integer8(in[0].dtype);
    struct matmul_dims d;
    dtype result;
    if (!matmul_dims(n->attrs, &in[0].shape, &in[1].shape, &d))
        return err_set(e, INVALID, "shapes %s and %s do not make a matrix product",
                       shape_text(&in[0].shape, a, sizeof(a)),
                       shape_text(&in[1].shape, b, sizeof(b)));
    TRY(want_dtype(&in[1], integers ? DTYPE_I8 : in[0].dtype, "its second operand", e));
    TRY(want_integers(&m->q, n, in, MATMUL_RESIDUAL, MATMUL_SCALE, &result, e));
    if (integers && (in[1].shape.rank != 2 || d.trans_a || m->alpha != 1))
        return err_set(e, INVALID, "integers are multiplied as rows times one matrix");
    TRY(want_vector(n, in, MATMUL_BIAS, "bias", d.n, e));
    TRY(want_vector(n, in, MATMUL_SCALE, "scale", d.n, e));
    dtype added = integers ? in[MATMUL_RESIDUAL].dtype : in[0].dtype;
    TRY(want_residual(n, &in[MATMUL_RESIDUAL], MATMUL_RESIDUAL, added, &d.shape, e));
    out[0] = (struct type){ result, d.shape, NULL };
    return OK;
}

static const struct attr_field fields[] = {
    FIELD(matmul_attrs, trans_a, ATTR_BOOL),
    FIELD(matmul_attrs, trans_b, ATTR_BOOL),
    FIELD(matmul_attrs, alpha, ATTR_F32),
    FIELD_ENUM(matmul_attrs, act, act_names),
    FIELD(matmul_attrs, act_alpha, ATTR_F32),
    FIELD(matmul_attrs, act_beta, ATTR_F32),
    FIELD(matmul_attrs, act_gamma, ATTR_F32),
    FIELDS_INTEGERS(matmul_attrs),
    { 0 },
};

const struct op ops_matmul[] = {
    { "matmul", 2, 5, 1, 0, fields, sizeof(struct matmul_attrs), infer_matmul },
    { 0 },
};
