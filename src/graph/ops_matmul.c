#include "graph/ops.h"

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
    if (n->in_count <= index || n->in[index] == NULL)
        return OK;
    TRY(want_dtype(t, d, "what is added", e));
    if (shape_eq(&t->shape, shape))
        return OK;
    return err_set(e, INVALID, "expected %s to be added, got %s",
                   shape_text(shape, want, sizeof(want)), shape_text(&t->shape, got, sizeof(got)));
}

static status infer_matmul(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    struct matmul_dims d;
    if (!matmul_dims(n->attrs, &in[0].shape, &in[1].shape, &d))
        return err_set(e, INVALID, "shapes %s and %s do not make a matrix product",
                       shape_text(&in[0].shape, a, sizeof(a)),
                       shape_text(&in[1].shape, b, sizeof(b)));
    TRY(want_dtype(&in[1], in[0].dtype, "its second operand", e));
    if (n->in_count > 2 && n->in[2] != NULL) {
        TRY(want_dtype(&in[2], in[0].dtype, "its bias", e));
        if (in[2].shape.rank != 1 || in[2].shape.dim[0] != d.n)
            return err_set(e, INVALID, "expected a bias of shape [%lld], got %s", (long long)d.n,
                           shape_text(&in[2].shape, a, sizeof(a)));
    }
    TRY(want_residual(n, &in[3], 3, in[0].dtype, &d.shape, e));
    out[0] = (struct type){ in[0].dtype, d.shape, NULL };
    return OK;
}

static const struct attr_field fields[] = {
    FIELD(matmul_attrs, trans_a, ATTR_BOOL),  FIELD(matmul_attrs, trans_b, ATTR_BOOL),
    FIELD(matmul_attrs, alpha, ATTR_F32),     FIELD_ENUM(matmul_attrs, act, act_names),
    FIELD(matmul_attrs, act_alpha, ATTR_F32), FIELD(matmul_attrs, act_beta, ATTR_F32),
    FIELD(matmul_attrs, act_gamma, ATTR_F32), { 0 },
};

const struct op ops_matmul[] = {
    { "matmul", 2, 4, 1, 0, fields, sizeof(struct matmul_attrs), infer_matmul },
    { 0 },
};
