/* Constants, shapes, and the operators that move elements. */
#include "graph/attrs_control.h"
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"
#include "import/onnx/build.h"
#include "import/onnx/narrow.h"

#include <string.h>

/* ---- constants ---- */

static status constant_of_floats(struct onnx_site *s, const float *v, int count,
                                 const struct shape *shape)
{
    struct value *out;
    TRY(onnx_add_constant(s, DTYPE_F32, shape, v, &out));
    return onnx_bind(s, 0, out);
}

static status constant_of_ints(struct onnx_site *s, const int64_t *v, const struct shape *shape)
{
    struct value *out;
    TRY(onnx_add_constant(s, DTYPE_I64, shape, v, &out));
    return onnx_bind(s, 0, out);
}

static status constant_tensor(struct onnx_site *s, const struct onnx_tensor *t)
{
    struct value *out;
    struct arena *a = &s->scope->graph->arena;
    struct tensor *numbers = arena_zalloc(a, sizeof(*numbers));
    TRY(onnx_tensor_read(s->import->tensors, t, numbers, s->import->err));
    TRY(graph_add_constant(s->scope->graph, NULL, numbers, &out, s->import->err));
    onnx_mark(s->import, out, onnx_narrow_find(t->data_type));
    return onnx_bind(s, 0, out);
}

static status import_constant(struct onnx_site *s)
{
    const struct onnx_attr *a;
    static const struct shape scalar = { 0 };
    if ((a = onnx_attr(s, "value")) != NULL && a->tensor != NULL)
        return constant_tensor(s, a->tensor);
    if ((a = onnx_attr(s, "value_float")) != NULL)
        return constant_of_floats(s, &a->f, 1, &scalar);
    if ((a = onnx_attr(s, "value_floats")) != NULL)
        return constant_of_floats(s, a->floats, a->float_count, &SHAPE(a->float_count));
    if ((a = onnx_attr(s, "value_int")) != NULL)
        return constant_of_ints(s, &a->i, &scalar);
    if ((a = onnx_attr(s, "value_ints")) != NULL)
        return constant_of_ints(s, a->ints, &SHAPE(a->int_count));
    return onnx_fault(s, UNSUPPORTED, "its value is text, or sparse, or missing");
}

static void number_from(const struct tensor *t, struct fill_attrs *a)
{
    a->dtype = t->dtype;
    memcpy(&a->integer, t->data, dtype_size(t->dtype) < 8 ? dtype_size(t->dtype) : 8);
    switch (t->dtype) {
    case DTYPE_F32: a->value = (double)*(const float *)t->data; break;
    case DTYPE_F64: a->value = *(const double *)t->data; break;
    case DTYPE_F16: a->value = (double)f16_to_f32(*(const uint16_t *)t->data); break;
    case DTYPE_BF16: a->value = (double)bf16_to_f32(*(const uint16_t *)t->data); break;
    case DTYPE_I32: a->value = (double)(a->integer = *(const int32_t *)t->data); break;
    case DTYPE_I16: a->value = (double)(a->integer = *(const int16_t *)t->data); break;
    case DTYPE_I8: a->value = (double)(a->integer = (int64_t) * (const int8_t *)t->data); break;
    default: a->value = (double)a->integer;
    }
}

static status import_constant_of_shape(struct onnx_site *s)
{
    struct value *shape, *out;
    const struct onnx_attr *a = onnx_attr(s, "value");
    struct fill_attrs fill = { .dtype = DTYPE_F32 };
    TRY(onnx_in(s, 0, &shape));
    if (a != NULL && a->tensor != NULL) {
        struct tensor t;
        TRY(onnx_tensor_read(s->import->tensors, a->tensor, &t, s->import->err));
        if (shape_numel(&t.shape) != 1)
            return onnx_fault(s, INVALID, "its value has %lld numbers, expected 1",
                              (long long)shape_numel(&t.shape));
        number_from(&t, &fill);
    }
    TRY(onnx_add1(s, "fill", &shape, 1, &out));
    *(struct fill_attrs *)node_attrs(out->producer) = fill;
    out->dtype = (dtype)fill.dtype;
    out->shape.rank =
        shape->shape.rank == 1 && shape->shape.dim[0] >= 0 && shape->shape.dim[0] <= SHAPE_MAX
            ? (int32_t)shape->shape.dim[0]
            : -1;
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

static status import_range(struct onnx_site *s)
{
    struct value *in[3], *out;
    for (int i = 0; i < 3; i++)
        TRY(onnx_in(s, i, &in[i]));
    TRY(onnx_add1(s, "range", in, 3, &out));
    out->shape = SHAPE(-1);
    return onnx_bind(s, 0, out);
}

/* ---- shapes ---- */

static status import_shape(struct onnx_site *s)
{
    struct value *x, *all, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(build_shape(s, x, &all));
    if (onnx_attr(s, "start") == NULL && onnx_attr(s, "end") == NULL)
        return onnx_bind(s, 0, all);
    TRY(onnx_add1(s, "slice", &all, 1, &out));
    *(struct slice_attrs *)node_attrs(out->producer) = (struct slice_attrs){
        .starts = { 1, { onnx_i64(s, "start", 0) } },
        .ends = { 1, { onnx_i64(s, "end", INT64_MAX) } },
    };
    return onnx_bind(s, 0, out);
}

static status import_size(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_add1(s, "numel", &x, 1, &out));
    out->dtype = DTYPE_I64;
    out->shape = (struct shape){ 0 };
    return onnx_bind(s, 0, out);
}

/* A 0 keeps a dimension, unless allowzero says that it means 0. */
static status check_zeros(struct onnx_site *s, const struct attr_ints *shape)
{
    if (!onnx_bool(s, "allowzero", false))
        return OK;
    for (int i = 0; i < shape->count; i++)
        if (shape->v[i] == 0)
            return onnx_fault(s, UNSUPPORTED, "allowzero with a dimension of 0");
    return OK;
}

static status import_reshape(struct onnx_site *s)
{
    struct value *in[2], *out;
    struct attr_ints shape = onnx_i64s(s, "shape");
    TRY(onnx_in(s, 0, &in[0]));
    if (s->opset >= 5)
        TRY(onnx_in(s, 1, &in[1]));
    if (s->opset < 5 || in[1]->constant != NULL) {
        if (s->opset >= 5)
            TRY(onnx_const_ints(s, 1, "its shape", &shape));
        TRY(check_zeros(s, &shape));
        TRY(onnx_add_reshape(s, in[0], &shape, &out));
    } else {
        TRY(onnx_add1(s, "reshape", in, 2, &out));
        const struct shape *to = &in[1]->shape;
        bool known = to->rank == 1 && to->dim[0] >= 0 && to->dim[0] <= SHAPE_MAX;
        out->shape.rank = known ? (int32_t)to->dim[0] : -1;
        declare_unknown(out);
    }
    return onnx_bind(s, 0, out);
}

/* The same where only a run tells how many dimensions there are. */
static status flatten_at_run(struct onnx_site *s, struct value *x, int32_t axis, struct value **out)
{
    static const struct attr_ints all = { 0 };
    struct value *shape, *part, *size[2];
    TRY(build_shape(s, x, &shape));
    for (int i = 0; i < 2; i++) {
        TRY(build_slice(s, shape, 0, i == 0 ? 0 : axis, i == 0 ? axis : INT64_MAX, &part));
        TRY(build_reduce(s, REDUCE_PROD, part, &all, true, &size[i]));
    }
    TRY(build_concat(s, size, 2, 0, &shape));
    return build_reshape_to(s, x, shape, 2, out);
}

/* Always a matrix: what is in front of axis, and the rest. */
static status import_flatten(struct onnx_site *s)
{
    struct value *x, *out;
    int32_t axis = onnx_i32(s, "axis", 1);
    TRY(onnx_in(s, 0, &x));
    int32_t rank = x->shape.rank, at = axis < 0 ? axis + rank : axis;
    if (rank < 0) {
        TRY(flatten_at_run(s, x, axis, &out));
        return onnx_bind(s, 0, out);
    }
    if (rank >= 0 && (at < 0 || at > rank))
        return onnx_fault(s, INVALID, "axis %d does not fit %d dimensions", axis, rank);
    if (at == 0 || at == rank)
        TRY(onnx_add_reshape(s, x, &(struct attr_ints){ 2, { at == 0 ? 1 : -1, at == 0 ? -1 : 1 } },
                             &out));
    else if (at == 1) {
        TRY(onnx_add1(s, "flatten", &x, 1, &out)); /* which knows the rest even of no rows */
        *(struct flatten_attrs *)node_attrs(out->producer) = (struct flatten_attrs){ 1, -1 };
        int64_t rest = 1;
        for (int i = 1; i < rank; i++)
            if (rest < 0 || x->shape.dim[i] < 0 ||
                __builtin_mul_overflow(rest, x->shape.dim[i], &rest))
                rest = -1;
        out->shape = (struct shape){ .rank = 2, .dim = { x->shape.dim[0], rest } };
    } else {
        struct value *front;
        TRY(onnx_add1(s, "flatten", &x, 1, &front));
        *(struct flatten_attrs *)node_attrs(front->producer) = (struct flatten_attrs){ 0, at - 1 };
        front->shape = (struct shape){ .rank = rank - at + 1, .dim = { -1 } };
        TRY(onnx_add_reshape(s, front, &(struct attr_ints){ 2, { 0, -1 } }, &out));
    }
    return onnx_bind(s, 0, out);
}

/* Axes as an attribute before version 13, as an input since. */
static status add_by_axes(struct onnx_site *s, const char *op, struct value **out)
{
    struct value *in[2] = { NULL, NULL };
    struct axes_attrs a = { .axes = onnx_i64s(s, "axes"), .together = true };
    TRY(onnx_in(s, 0, &in[0]));
    if (s->opset >= 13)
        TRY(onnx_in_optional(s, 1, &in[1]));
    if (in[1] != NULL && in[1]->constant != NULL) {
        TRY(onnx_const_ints(s, 1, "its axes", &a.axes));
        in[1] = NULL;
    }
    TRY(onnx_add1(s, op, in, in[1] != NULL ? 2 : 1, out));
    struct axes_attrs *to = node_attrs((*out)->producer);
    *to = a;
    return OK;
}

static int axis_at(int64_t axis, int rank)
{
    return (int)(axis < 0 ? axis + rank : axis);
}

static status import_unsqueeze(struct onnx_site *s)
{
    struct value *out;
    TRY(add_by_axes(s, "unsqueeze", &out));
    const struct axes_attrs *a = node_attrs(out->producer);
    int rank = out->shape.rank + a->axes.count, from = 0;
    struct shape x = out->shape, y = { .rank = rank <= SHAPE_MAX ? rank : -1 };
    if (x.rank < 0 || out->producer->in_count > 1)
        y.rank = -1;
    for (int i = 0; i < y.rank; i++) {
        bool fresh = false;
        for (int k = 0; k < a->axes.count; k++)
            fresh = fresh || axis_at(a->axes.v[k], rank) == i;
        y.dim[i] = fresh || from >= x.rank ? 1 : x.dim[from++];
    }
    out->shape = y;
    return onnx_bind(s, 0, out);
}

static status import_squeeze(struct onnx_site *s)
{
    struct value *out;
    TRY(add_by_axes(s, "squeeze", &out));
    const struct axes_attrs *a = node_attrs(out->producer);
    struct shape x = out->shape, y = { .rank = 0 };
    for (int i = 0; i < x.rank; i++) {
        bool gone = a->axes.count == 0 && x.dim[i] == 1;
        for (int k = 0; k < a->axes.count; k++)
            gone = gone || axis_at(a->axes.v[k], x.rank) == i;
        if (!gone)
            y.dim[y.rank++] = x.dim[i];
    }
    if (x.rank < 0 || out->producer->in_count > 1)
        y.rank = -1;
    out->shape = y;
    return onnx_bind(s, 0, out);
}

/* ---- moving ---- */

static status import_transpose(struct onnx_site *s)
{
    struct value *x, *out;
    struct attr_ints perm = onnx_i64s(s, "perm");
    TRY(onnx_in(s, 0, &x));
    if (x->shape.rank == 0) {
        TRY(onnx_add1(s, "identity", &x, 1, &out)); /* a scalar */
        return onnx_bind(s, 0, out);
    }
    TRY(build_transpose(s, x, &perm, &out));
    return onnx_bind(s, 0, out);
}

static status import_concat(struct onnx_site *s)
{
    struct value **in, *out;
    int count;
    TRY(onnx_ins(s, 0, &in, &count));
    if (count == 0)
        return onnx_fault(s, INVALID, "it has no input");
    TRY(build_concat(s, in, count, onnx_i32(s, "axis", 1), &out));
    return onnx_bind(s, 0, out);
}

static status import_slice(struct onnx_site *s)
{
    struct value *in[5] = { NULL }, *out;
    int count = 1;
    TRY(onnx_in(s, 0, &in[0]));
    for (int i = 1; i < 5 && s->opset >= 10; i++) {
        TRY(onnx_in_optional(s, i, &in[i]));
        count = in[i] != NULL ? i + 1 : count;
    }
    TRY(onnx_add1(s, "slice", in, count, &out));
    if (s->opset < 10)
        *(struct slice_attrs *)node_attrs(out->producer) = (struct slice_attrs){
            .starts = onnx_i64s(s, "starts"),
            .ends = onnx_i64s(s, "ends"),
            .axes = onnx_i64s(s, "axes"),
        };
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

/* Sections from the attribute before version 13, from the input since; without any, equal parts. */
static status read_split(struct onnx_site *s, int axis, const struct value *x,
                         struct value **computed, struct split_attrs *a)
{
    int64_t outputs = s->node->out_count, parts = onnx_i64(s, "num_outputs", outputs);
    *a = (struct split_attrs){ .axis = axis, .count = 0 };
    *computed = NULL;
    if (s->opset >= 13)
        TRY(onnx_in_optional(s, 1, computed));
    else
        a->sections = onnx_i64s(s, "split");
    if (*computed != NULL && (*computed)->constant != NULL) {
        TRY(onnx_const_ints(s, 1, "its sections", &a->sections));
        *computed = NULL;
    }
    if (a->sections.count > 0 || *computed != NULL)
        return OK;
    int at = axis_at(axis, x->shape.rank);
    int64_t dim = at >= 0 && at < x->shape.rank ? x->shape.dim[at] : -1;
    a->count = (int32_t)parts;
    if (parts < 1 || parts > INT32_MAX)
        return onnx_fault(s, INVALID, "it makes %lld parts", (long long)parts);
    if (dim < 0 || dim % parts == 0 || parts > ATTR_INTS_MAX)
        return OK;
    int64_t size = (dim + parts - 1) / parts; /* the last one is smaller */
    a->count = 0;
    a->sections.count = (int32_t)parts;
    for (int i = 0; i < parts; i++)
        a->sections.v[i] = i + 1 < parts ? size : dim - size * (parts - 1);
    return OK;
}

static status import_split(struct onnx_site *s)
{
    struct value *x, *sections;
    struct split_attrs a;
    int32_t axis = onnx_i32(s, "axis", 0);
    TRY(onnx_in(s, 0, &x));
    TRY(read_split(s, axis, x, &sections, &a));
    for (int i = 0; i < s->node->out_count; i++) {
        struct value *out;
        if (!onnx_wants(s, i))
            continue;
        TRY(onnx_add1(s, "split_part", (struct value *[]){ x, sections }, sections != NULL ? 2 : 1,
                      &out));
        a.index = i;
        *(struct split_attrs *)node_attrs(out->producer) = a;
        int at = axis_at(axis, x->shape.rank);
        if (at >= 0 && at < out->shape.rank)
            out->shape.dim[at] = -1;
        TRY(onnx_bind(s, i, out));
    }
    return OK;
}

static status import_expand(struct onnx_site *s)
{
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_add1(s, "expand", in, 2, &out));
    ((struct expand_attrs *)node_attrs(out->producer))->both = true;
    int64_t to = in[1]->shape.rank == 1 ? in[1]->shape.dim[0] : -1;
    if (to < 0 || to > SHAPE_MAX || out->shape.rank < 0)
        out->shape.rank = -1;
    else if (to > out->shape.rank)
        out->shape.rank = (int32_t)to;
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

static status import_tile(struct onnx_site *s)
{
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_add1(s, "tile", in, 2, &out));
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

/* int64 [rows, columns] of the last two dimensions: column - row. */
static status right_of_diagonal(struct onnx_site *s, struct value *x, struct value **out)
{
    struct value *row, *column;
    TRY(build_places(s, x, -2, &row));
    TRY(build_places(s, x, -1, &column));
    TRY(build_unsqueeze(s, row, &(struct attr_ints){ 1, { 1 } }, &row));
    return build2(s, "sub", column, row, out);
}

/* Trilu with a diagonal that only a run tells: an element stays where column - row is on its side. */
static status trilu_by(struct onnx_site *s, struct value *x, struct value *diagonal, bool upper)
{
    struct value *distance, *stays, *zero, *out;
    TRY(right_of_diagonal(s, x, &distance));
    TRY(onnx_add_reshape(s, diagonal, &(struct attr_ints){ 0 }, &diagonal));
    TRY(build2(s, upper ? "greater_equal" : "less_equal", distance, diagonal, &stays));
    TRY(onnx_add_scalar_like(s, x, 0, &zero));
    TRY(build_where(s, stays, x, zero, &out));
    return onnx_bind(s, 0, out);
}

static status import_trilu(struct onnx_site *s)
{
    struct value *x, *diagonal, *out;
    struct attr_ints k;
    bool upper = onnx_bool(s, "upper", true);
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in_optional(s, 1, &diagonal));
    if (diagonal != NULL && diagonal->constant == NULL)
        return trilu_by(s, x, diagonal, upper);
    TRY(onnx_const_ints(s, 1, "its diagonal", &k));
    TRY(onnx_add1(s, "triangle", &x, 1, &out));
    int64_t at = k.count > 0 ? k.v[0] : 0;
    at = at > INT32_MAX ? INT32_MAX : at < -INT32_MAX ? -INT32_MAX : at;
    *(struct triangle_attrs *)node_attrs(out->producer) =
        (struct triangle_attrs){ .upper = upper, .diagonal = (int32_t)at };
    return onnx_bind(s, 0, out);
}

/* 1 where column - row is k. */
static status import_eye_like(struct onnx_site *s)
{
    struct value *x, *distance, *out;
    dtype d;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_type_attr(s, "dtype", x->dtype, &d));
    if (x->shape.rank != 2)
        return onnx_fault(s, INVALID, "expected a matrix, got %d dimensions", x->shape.rank);
    TRY(right_of_diagonal(s, x, &distance));
    TRY(build_by(s, "equal", distance, (double)onnx_i32(s, "k", 0), &out));
    TRY(build_cast(s, out, d, &out));
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_shape[] = {
    { "Constant",        NULL,         import_constant },
    { "ConstantOfShape", "fill",       import_constant_of_shape },
    { "Range",           "range",      import_range },
    { "Shape",           "shape",      import_shape },
    { "Size",            "numel",      import_size },
    { "Reshape",         "reshape",    import_reshape },
    { "Flatten",         "flatten",    import_flatten },
    { "Unsqueeze",       "unsqueeze",  import_unsqueeze },
    { "Squeeze",         "squeeze",    import_squeeze },
    { "Transpose",       "transpose",  import_transpose },
    { "Concat",          "concat",     import_concat },
    { "Slice",           "slice",      import_slice },
    { "Split",           "split_part", import_split },
    { "Expand",          "expand",     import_expand },
    { "Tile",            "tile",       import_tile },
    { "Trilu",           "triangle",   import_trilu },
    { "EyeLike",         "equal",      import_eye_like },
    { 0 },
};
// clang-format on
