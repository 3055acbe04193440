/* Matrix products, and what is nearly nothing. */
#include "graph/attrs_reduce.h"
#include "import/paddle/site.h"

/* ---- matrix products ---- */

/* The shape [0, 0, ...] that keeps the first n dimensions. */
static struct attr_ints keep_dims(int n)
{
    return (struct attr_ints){ .count = n };
}

/* Product of dim[from] .. dim[to-1], or -1 where one is unknown. */
static int64_t span(const struct shape *s, int from, int to)
{
    struct shape part = { 0 };
    for (int i = from; i < to; i++)
        part.dim[part.rank++] = s->dim[i];
    return shape_numel(&part);
}

static status add_matmul(struct site *s, struct value *x, struct value *y, struct matmul_attrs a,
                         struct value **out)
{
    struct value *in[] = { x, y };
    TRY(site_add1(s, "matmul", in, 2, out));
    *(struct matmul_attrs *)node_attrs((*out)->producer) = a;
    return OK;
}

/* Y as the matrix [rows, columns] that its first m and its other dimensions make. */
static status flatten_y(struct site *s, struct value *y, int m, struct value **out)
{
    struct attr_ints to = { 2, { span(&y->shape, 0, m), span(&y->shape, m, y->shape.rank) } };
    if (y->shape.rank == 2) {
        *out = y;
        return OK;
    }
    if (to.v[0] < 0 && to.v[1] < 0)
        return site_fault(s, UNSUPPORTED, "the sizes of its input '%s' are not known", y->name);
    return site_reshape(s, y, &to, out);
}

/* X keeps its first n dimensions, which the product treats as rows, and the others become one. */
static status flatten_x(struct site *s, struct value *x, int n, int64_t columns, struct value **out)
{
    struct attr_ints to = keep_dims(n + 1);
    to.v[n] = columns;
    if (x->shape.rank == n + 1) {
        *out = x;
        return OK;
    }
    return site_reshape(s, x, &to, out);
}

/* The result's columns get the shape that Y's last dimensions have. */
static status unflatten(struct site *s, struct value *product, int n, const struct value *y, int m,
                        struct value **out)
{
    struct attr_ints to = keep_dims(n);
    for (int i = m; i < y->shape.rank && to.count < SHAPE_MAX; i++)
        to.v[to.count++] = y->shape.dim[i];
    *out = product;
    return y->shape.rank == m + 1 ? OK : site_reshape(s, product, &to, out);
}

/* mul: X seen as a matrix with its first x_num_col_dims dimensions as rows, Y likewise. */
static status import_mul(struct site *s)
{
    struct value *x, *y, *x2, *y2, *product, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    int n = attr_i32(s, "x_num_col_dims", 1), m = attr_i32(s, "y_num_col_dims", 1);
    if (n < 1 || n >= x->shape.rank || m < 1 || m >= y->shape.rank)
        return site_fault(s, INVALID,
                          "x_num_col_dims %d and y_num_col_dims %d do not fit inputs of %d and %d "
                          "dimensions",
                          n, m, x->shape.rank, y->shape.rank);
    if (n + y->shape.rank - m > SHAPE_MAX)
        return site_fault(s, UNSUPPORTED, "a result of more than %d dimensions", SHAPE_MAX);
    TRY(flatten_y(s, y, m, &y2));
    TRY(flatten_x(s, x, n, span(&y->shape, 0, m), &x2));
    TRY(add_matmul(s, x2, y2, (struct matmul_attrs){ .alpha = 1 }, &product));
    TRY(unflatten(s, product, n, y, m, &out));
    return site_bind(s, "Out", out);
}

/* A product of the transposed X has other rows, so X's sequences end here. */
static status bind_product(struct site *s, bool trans_x, struct value *v)
{
    if (trans_x)
        s->ragged = NULL;
    return site_bind(s, "Out", v);
}

static status import_matmul_v2(struct site *s)
{
    struct value *x, *y, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    struct matmul_attrs a = { .trans_a = attr_bool(s, "trans_x", false),
                              .trans_b = attr_bool(s, "trans_y", false),
                              .alpha = 1 };
    TRY(add_matmul(s, x, y, a, &out));
    return bind_product(s, a.trans_a, out);
}

static status import_matmul(struct site *s)
{
    struct value *x, *y, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    if (attr_i64(s, "head_number", 1) > 1)
        return site_fault(s, UNSUPPORTED, "head_number %lld",
                          (long long)attr_i64(s, "head_number", 1));
    struct matmul_attrs a = { .trans_a = attr_bool(s, "transpose_X", false),
                              .trans_b = attr_bool(s, "transpose_Y", false),
                              .alpha = (float)attr_f64(s, "alpha", 1) };
    TRY(add_matmul(s, x, y, a, &out));
    return bind_product(s, a.trans_a, out);
}

/* ---- what is nothing, or nearly, in inference ---- */

static status import_unary(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, s->row->canonical, &x, 1, &out));
    return site_bind(s, "Out", out);
}

static status add_affine(struct site *s, struct value *x, double scale, double bias)
{
    struct value *out;
    TRY(site_add1(s, "affine", &x, 1, &out));
    *(struct affine_attrs *)node_attrs(out->producer) =
        (struct affine_attrs){ .scale = (float)scale, .bias = (float)bias };
    return site_bind(s, "Out", out);
}

/* Nothing is dropped in inference; the older kind did not scale up while training and scales down
 * now. */
static status import_dropout(struct site *s)
{
    struct value *x;
    TRY(site_in(s, "X", &x));
    double p = attr_f64(s, "dropout_prob", 0.5);
    if (str_is(attr_str(s, "dropout_implementation", "downgrade_in_infer"), "upscale_in_train"))
        return import_unary(s);
    return add_affine(s, x, 1 - p, 0);
}

/* x - log(sum(exp(x))). */
static status import_log_softmax(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_add1(s, "reduce", &in[0], 1, &in[1]));
    *(struct reduce_attrs *)node_attrs(in[1]->producer) = (struct reduce_attrs){
        .mode = REDUCE_LOG_SUM_EXP, .axes = { 1, { attr_i32(s, "axis", -1) } }, .keep_dims = true
    };
    TRY(site_add1(s, "sub", in, 2, &out));
    return site_bind(s, "Out", out);
}

static status import_softmax(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "softmax", &x, 1, &out));
    ((struct axis_attrs *)node_attrs(out->producer))->axis = attr_i32(s, "axis", -1);
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_math[] = {
    { "mul",             "matmul",   import_mul,         LOD_SHARE },
    { "matmul_v2",       "matmul",   import_matmul_v2,   LOD_SHARE },
    { "matmul",          "matmul",   import_matmul,      LOD_SHARE },
    { "dropout",         "identity", import_dropout,     LOD_SHARE },
    { "softmax",         "softmax",  import_softmax,     LOD_SHARE },
    { "log_softmax",     "sub",      import_log_softmax, LOD_SHARE },
    { 0 },
};
// clang-format on
