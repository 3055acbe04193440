#include "import/onnx/build.h"

#include "graph/attrs_control.h"
#include "graph/attrs_index.h"
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"

struct shape declared_broadcast(const struct shape *a, const struct shape *b)
{
    struct shape out = { .rank = a->rank > b->rank ? a->rank : b->rank };
    if (a->rank < 0 || b->rank < 0)
        out.rank = -1;
    for (int i = 0; i < out.rank; i++) {
        int x = i - (out.rank - a->rank), y = i - (out.rank - b->rank);
        int64_t da = x >= 0 ? a->dim[x] : 1, db = y >= 0 ? b->dim[y] : 1;
        out.dim[i] = da == db || db == 1 ? da : da == 1 ? db : -1;
    }
    return out;
}

void declare_unknown(struct value *v)
{
    for (int i = 0; i < v->shape.rank; i++)
        v->shape.dim[i] = -1;
}

int declared_axis(const struct value *v, int64_t axis)
{
    int64_t at = axis < 0 ? axis + v->shape.rank : axis;
    return v->shape.rank >= 0 && at >= 0 && at < v->shape.rank ? (int)at : -1;
}

bool dtype_is_float(dtype d)
{
    return d == DTYPE_F32 || d == DTYPE_F64 || d == DTYPE_F16 || d == DTYPE_BF16;
}

/* ---- arithmetic ---- */

static bool is_truth(const char *op)
{
    static const char *const names[] = { "equal",      "not_equal", "less",
                                         "less_equal", "greater",   "greater_equal",
                                         "and",        "or",        "xor" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_is(str_of(op), names[i]))
            return true;
    return false;
}

status build2(struct onnx_site *s, const char *op, struct value *a, struct value *b,
              struct value **out)
{
    TRY(onnx_add1(s, op, (struct value *[]){ a, b }, 2, out));
    (*out)->shape = declared_broadcast(&a->shape, &b->shape);
    if (is_truth(op))
        (*out)->dtype = DTYPE_BOOL;
    return OK;
}

status build_by(struct onnx_site *s, const char *op, struct value *a, double number,
                struct value **out)
{
    struct value *b;
    TRY(onnx_add_scalar_like(s, a, number, &b));
    return build2(s, op, a, b, out);
}

status build1(struct onnx_site *s, const char *op, struct value *x, struct value **out)
{
    return onnx_add1(s, op, &x, 1, out);
}

status import_plain(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(build1(s, s->row->canonical, x, &out));
    return onnx_bind(s, 0, out);
}

status build_affine(struct onnx_site *s, struct value *x, double scale, double bias,
                    struct value **out)
{
    TRY(build1(s, "affine", x, out));
    *(struct affine_attrs *)node_attrs((*out)->producer) =
        (struct affine_attrs){ (float)scale, (float)bias };
    return OK;
}

status build_cast(struct onnx_site *s, struct value *x, dtype d, struct value **out)
{
    *out = x;
    if (x->dtype == d)
        return OK;
    TRY(build1(s, "cast", x, out));
    ((struct dtype_attrs *)node_attrs((*out)->producer))->dtype = d;
    (*out)->dtype = d;
    return OK;
}

status build_where(struct onnx_site *s, struct value *condition, struct value *yes,
                   struct value *no, struct value **out)
{
    TRY(onnx_add1(s, "where", (struct value *[]){ condition, yes, no }, 3, out));
    (*out)->dtype = yes->dtype;
    (*out)->shape = declared_broadcast(&yes->shape, &no->shape);
    (*out)->shape = declared_broadcast(&condition->shape, &(*out)->shape);
    return OK;
}

status build_matmul(struct onnx_site *s, struct value *a, struct value *b, bool trans_b,
                    struct value **out)
{
    TRY(build2(s, "matmul", a, b, out));
    *(struct matmul_attrs *)node_attrs((*out)->producer) =
        (struct matmul_attrs){ .trans_b = trans_b, .alpha = 1 };
    if (a->shape.rank < 2 || b->shape.rank < 2)
        (*out)->shape.rank = -1;
    declare_unknown(*out);
    return OK;
}

status build_along(struct onnx_site *s, const char *op, struct value *x, int32_t axis,
                   struct value **out)
{
    TRY(build1(s, op, x, out));
    ((struct axis_attrs *)node_attrs((*out)->producer))->axis = axis;
    return OK;
}

status build_reduce(struct onnx_site *s, int32_t mode, struct value *x,
                    const struct attr_ints *axes, bool keep_dims, struct value **out)
{
    bool gone[SHAPE_MAX] = { false };
    TRY(build1(s, "reduce", x, out));
    *(struct reduce_attrs *)node_attrs((*out)->producer) =
        (struct reduce_attrs){ .mode = mode, .axes = *axes, .keep_dims = keep_dims };
    for (int i = 0; i < axes->count; i++)
        if (declared_axis(x, axes->v[i]) >= 0)
            gone[declared_axis(x, axes->v[i])] = true;
    if (x->shape.rank < 0)
        return OK;
    (*out)->shape.rank = 0;
    for (int i = 0; i < x->shape.rank; i++) {
        bool away = axes->count == 0 || gone[i];
        if (!away || keep_dims)
            (*out)->shape.dim[(*out)->shape.rank++] = away ? 1 : x->shape.dim[i];
    }
    return OK;
}

/* Stable, since log_sum_exp takes the largest out first. */
status build_log_softmax(struct onnx_site *s, struct value *x, int32_t axis, struct value **out)
{
    struct value *total;
    TRY(build_reduce(s, REDUCE_LOG_SUM_EXP, x, &(struct attr_ints){ 1, { axis } }, true, &total));
    return build2(s, "sub", x, total, out);
}

/* ---- moving ---- */

status build_transpose(struct onnx_site *s, struct value *x, const struct attr_ints *perm,
                       struct value **out)
{
    TRY(build1(s, "transpose", x, out));
    ((struct transpose_attrs *)node_attrs((*out)->producer))->perm = *perm;
    for (int i = 0; i < x->shape.rank; i++) {
        int from =
            perm->count == x->shape.rank ? declared_axis(x, perm->v[i]) : x->shape.rank - 1 - i;
        (*out)->shape.dim[i] = from >= 0 ? x->shape.dim[from] : -1;
    }
    return OK;
}

status build_unsqueeze(struct onnx_site *s, struct value *x, const struct attr_ints *axes,
                       struct value **out)
{
    TRY(build1(s, "unsqueeze", x, out));
    *(struct axes_attrs *)node_attrs((*out)->producer) =
        (struct axes_attrs){ .axes = *axes, .together = true };
    int rank = x->shape.rank + axes->count;
    (*out)->shape.rank = x->shape.rank >= 0 && rank <= SHAPE_MAX ? rank : -1;
    declare_unknown(*out);
    for (int i = 0; i < axes->count; i++)
        if (declared_axis(*out, axes->v[i]) >= 0)
            (*out)->shape.dim[declared_axis(*out, axes->v[i])] = 1;
    return OK;
}

status build_slice(struct onnx_site *s, struct value *x, int32_t axis, int64_t from, int64_t to,
                   struct value **out)
{
    TRY(build1(s, "slice", x, out));
    *(struct slice_attrs *)node_attrs((*out)->producer) = (struct slice_attrs){
        .axes = { 1, { axis } }, .starts = { 1, { from } }, .ends = { 1, { to } }
    };
    if (declared_axis(x, axis) >= 0)
        (*out)->shape.dim[declared_axis(x, axis)] = -1;
    return OK;
}

status build_concat(struct onnx_site *s, struct value *const *in, int count, int32_t axis,
                    struct value **out)
{
    TRY(onnx_add1(s, "concat", in, count, out));
    ((struct axis_attrs *)node_attrs((*out)->producer))->axis = axis;
    int at = declared_axis(*out, axis);
    for (int i = 1; i < count && at >= 0; i++) {
        int64_t *dim = &(*out)->shape.dim[at];
        bool known = in[i]->shape.rank == (*out)->shape.rank && in[i]->shape.dim[at] >= 0;
        if (*dim < 0 || !known || __builtin_add_overflow(*dim, in[i]->shape.dim[at], dim))
            *dim = -1;
    }
    return OK;
}

status build_gather(struct onnx_site *s, struct value *x, struct value *index, int32_t axis,
                    struct value **out)
{
    TRY(onnx_add1(s, "gather", (struct value *[]){ x, index }, 2, out));
    ((struct gather_attrs *)node_attrs((*out)->producer))->axis = axis;
    int rank = x->shape.rank - 1 + index->shape.rank;
    (*out)->shape.rank =
        x->shape.rank >= 0 && index->shape.rank >= 0 && rank <= SHAPE_MAX ? rank : -1;
    declare_unknown(*out);
    return OK;
}

/* ---- shapes ---- */

status build_shape(struct onnx_site *s, struct value *x, struct value **out)
{
    TRY(build1(s, "shape", x, out));
    ((struct dtype_attrs *)node_attrs((*out)->producer))->dtype = DTYPE_I64;
    (*out)->dtype = DTYPE_I64;
    (*out)->shape = SHAPE(x->shape.rank);
    return OK;
}

status build_dim(struct onnx_site *s, struct value *x, int axis, struct value **out)
{
    struct value *shape;
    TRY(build_shape(s, x, &shape));
    TRY(build_slice(s, shape, 0, axis, axis == -1 ? INT64_MAX : axis + 1, out));
    (*out)->shape = SHAPE(1);
    return OK;
}

status build_reshape_to(struct onnx_site *s, struct value *x, struct value *shape, int32_t rank,
                        struct value **out)
{
    TRY(onnx_add1(s, "reshape", (struct value *[]){ x, shape }, 2, out));
    (*out)->shape.rank = rank;
    declare_unknown(*out);
    return OK;
}

status build_range(struct onnx_site *s, struct value *end, struct value *step, struct value **out)
{
    static const int64_t numbers[2] = { 0, 1 };
    struct value *zero;
    TRY(onnx_add_constant(s, DTYPE_I64, &(struct shape){ 0 }, &numbers[0], &zero));
    if (step == NULL)
        TRY(onnx_add_constant(s, DTYPE_I64, &(struct shape){ 0 }, &numbers[1], &step));
    TRY(onnx_add1(s, "range", (struct value *[]){ zero, end, step }, 3, out));
    (*out)->shape = SHAPE(-1);
    return OK;
}

status build_places(struct onnx_site *s, struct value *x, int axis, struct value **out)
{
    struct value *dim, *end;
    TRY(build_dim(s, x, axis, &dim));
    TRY(onnx_add_reshape(s, dim, &(struct attr_ints){ 0 }, &end));
    return build_range(s, end, NULL, out);
}

status build_best_label(struct onnx_site *s, const int64_t *label, int count, struct value *scores,
                        struct value **out)
{
    struct value *at, *labels;
    TRY(build1(s, "arg_reduce", scores, &at));
    *(struct arg_reduce_attrs *)node_attrs(at->producer) =
        (struct arg_reduce_attrs){ .axis = -1, .dtype = DTYPE_I64 };
    at->dtype = DTYPE_I64;
    at->shape = SHAPE(-1);
    TRY(onnx_add_constant(s, DTYPE_I64, &SHAPE(count), label, &labels));
    return build_gather(s, labels, at, 0, out);
}
