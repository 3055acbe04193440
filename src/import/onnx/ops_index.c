/* Choosing elements by number or by rank. */
#include "graph/attrs_choose.h"
#include "graph/attrs_control.h"
#include "graph/attrs_index.h"
#include "graph/attrs_move.h"
#include "import/onnx/build.h"

static status import_gather(struct onnx_site *s)
{
    struct value *x, *index, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &index));
    TRY(build_gather(s, x, index, onnx_i32(s, "axis", 0), &out));
    return onnx_bind(s, 0, out);
}

static status import_gather_elements(struct onnx_site *s)
{
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_add1(s, "take_along", in, 2, &out));
    ((struct gather_attrs *)node_attrs(out->producer))->axis = onnx_i32(s, "axis", 0);
    out->shape = in[1]->shape;
    return onnx_bind(s, 0, out);
}

/* v [n] as [1, n, 1, ...] with n at `at` of `rank` dimensions. */
static status laid_along(struct onnx_site *s, struct value *v, int rank, int at, struct value **out)
{
    struct attr_ints shape = { .count = rank };
    for (int i = 0; i < rank; i++)
        shape.v[i] = i == at ? -1 : 1;
    return onnx_add_reshape(s, v, &shape, out);
}

/* Rows of an index within each batch become rows that name the batch too. */
static status name_batches(struct onnx_site *s, int64_t batches, struct value **index)
{
    struct value *part[SHAPE_MAX + 1], *like;
    int rank = (*index)->shape.rank;
    if (batches == 0)
        return OK;
    if (rank < 1 || batches < 0 || batches >= rank)
        return onnx_fault(s, UNSUPPORTED, "batch_dims %lld of an index of %d dimensions",
                          (long long)batches, rank);
    TRY(build_cast(s, *index, DTYPE_I64, index));
    TRY(build_slice(s, *index, -1, 0, 1, &like));
    for (int i = 0; i < batches; i++) {
        TRY(build_places(s, *index, i, &part[i]));
        TRY(laid_along(s, part[i], rank, i, &part[i]));
        TRY(onnx_add1(s, "expand_as", (struct value *[]){ part[i], like }, 2, &part[i]));
        part[i]->shape = like->shape;
    }
    part[batches] = *index;
    return build_concat(s, part, (int)batches + 1, -1, index);
}

static status import_gather_nd(struct onnx_site *s)
{
    struct value *in[2], *out;
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(name_batches(s, onnx_i64(s, "batch_dims", 0), &in[1]));
    TRY(onnx_add1(s, "gather_nd", in, 2, &out));
    const struct shape *index = &in[1]->shape;
    int64_t named = index->rank > 0 ? index->dim[index->rank - 1] : -1;
    int64_t rank = index->rank - 1 + in[0]->shape.rank - named;
    out->shape.rank =
        in[0]->shape.rank >= 0 && named >= 0 && rank >= 0 && rank <= SHAPE_MAX ? (int32_t)rank : -1;
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

static int32_t read_mode(struct onnx_site *s)
{
    static const char *const reduction[] = { "none", "add", "mul", "max", "min", NULL };
    return onnx_enum(s, "reduction", "none", reduction); /* in the order of enum scatter_mode */
}

static status import_scatter(struct onnx_site *s)
{
    struct value *in[3], *out;
    for (int i = 0; i < 3; i++)
        TRY(onnx_in(s, i, &in[i]));
    TRY(onnx_add1(s, s->row->canonical, in, 3, &out));
    *(struct scatter_attrs *)node_attrs(out->producer) =
        (struct scatter_attrs){ .axis = onnx_i32(s, "axis", 0), .mode = read_mode(s) };
    return onnx_bind(s, 0, out);
}

/* One number that the file holds, in whatever type. */
static status known_number(struct onnx_site *s, int i, const char *what, int64_t *out)
{
    const struct tensor *t;
    struct attr_ints v;
    *out = 0;
    TRY(onnx_const(s, i, what, &t));
    if (t == NULL || shape_numel(&t->shape) != 1)
        return onnx_fault(s, INVALID, "%s is not one number", what);
    switch (t->dtype) {
    case DTYPE_F32: *out = (int64_t) * (const float *)t->data; return OK;
    case DTYPE_F64: *out = (int64_t) * (const double *)t->data; return OK;
    default:
        TRY(onnx_const_ints(s, i, what, &v));
        *out = v.v[0];
        return OK;
    }
}

/* The last dimension goes to axis. */
static status bring_last_to(struct onnx_site *s, struct value *x, int64_t axis, struct value **out)
{
    int rank = x->shape.rank, to = declared_axis(x, axis);
    struct attr_ints perm = { 0 };
    *out = x;
    if (to == rank - 1)
        return OK;
    if (to < 0)
        return onnx_fault(s, INVALID, "axis %lld does not fit", (long long)axis);
    for (int i = 0; i < rank; i++)
        perm.v[perm.count++] = i < to ? i : i == to ? rank - 1 : i - 1;
    return build_transpose(s, x, &perm, out);
}

/* values: [off, on]. */
static status import_one_hot(struct onnx_site *s)
{
    struct value *x, *in[2], *values, *hot, *off, *on, *out;
    int64_t depth = -1;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_in(s, 2, &values));
    TRY(build_cast(s, x, DTYPE_I64, &in[0]));
    bool known = in[1]->constant != NULL;
    if (known)
        TRY(known_number(s, 1, "its depth", &depth));
    else
        TRY(build_cast(s, in[1], DTYPE_I64, &in[1]));
    TRY(onnx_add1(s, "one_hot", in, known ? 1 : 2, &hot));
    *(struct one_hot_attrs *)node_attrs(hot->producer) = (struct one_hot_attrs){
        .depth = depth, .dtype = DTYPE_BOOL, .lenient = true, .negative = true
    };
    hot->dtype = DTYPE_BOOL;
    if (hot->shape.rank >= 0 && hot->shape.rank < SHAPE_MAX)
        hot->shape.dim[hot->shape.rank++] = depth;
    TRY(build_slice(s, values, 0, 0, 1, &off));
    TRY(build_slice(s, values, 0, 1, 2, &on));
    TRY(build_where(s, hot, on, off, &out));
    TRY(bring_last_to(s, out, onnx_i64(s, "axis", -1), &out));
    return onnx_bind(s, 0, out);
}

static status import_top_k(struct onnx_site *s)
{
    struct value *in[2] = { NULL, NULL };
    struct node *n;
    struct top_k_attrs a = { .k = onnx_i64(s, "k", 1),
                             .axis = onnx_i32(s, "axis", -1),
                             .smallest = !onnx_bool(s, "largest", true) };
    TRY(onnx_in(s, 0, &in[0]));
    if (s->opset >= 10) {
        TRY(onnx_in(s, 1, &in[1]));
        if (in[1]->constant != NULL) {
            struct attr_ints k;
            TRY(onnx_const_ints(s, 1, "k", &k));
            if (k.count != 1)
                return onnx_fault(s, INVALID, "k is not one number");
            a.k = k.v[0];
            in[1] = NULL;
        }
    }
    TRY(onnx_add(s, "top_k", in, in[1] != NULL ? 2 : 1, &n));
    *(struct top_k_attrs *)node_attrs(n) = a;
    for (int i = 0; i < 2; i++) {
        n->out[i]->dtype = i == 0 ? in[0]->dtype : DTYPE_I64;
        n->out[i]->shape = in[0]->shape;
        int at = a.axis < 0 ? a.axis + in[0]->shape.rank : a.axis;
        if (at >= 0 && at < in[0]->shape.rank)
            n->out[i]->shape.dim[at] = -1;
        TRY(onnx_bind(s, i, n->out[i]));
    }
    return OK;
}

/* [rank, n], where ours gives [n, rank]. */
static status import_nonzero(struct onnx_site *s)
{
    struct value *x, *places, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(build1(s, "nonzero", x, &places));
    places->dtype = DTYPE_I64;
    places->shape = SHAPE(-1, -1);
    TRY(build_transpose(s, places, &(struct attr_ints){ 2, { 1, 0 } }, &out));
    return onnx_bind(s, 0, out);
}

/* The slices along axis (without one, the elements) where the condition holds. */
static status import_compress(struct onnx_site *s)
{
    struct value *x, *condition, *places, *out;
    const struct onnx_attr *axis = onnx_attr(s, "axis");
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &condition));
    if (axis == NULL)
        TRY(onnx_add_reshape(s, x, &(struct attr_ints){ 1, { -1 } }, &x));
    TRY(build1(s, "nonzero", condition, &places));
    places->dtype = DTYPE_I64;
    places->shape = SHAPE(-1, 1);
    TRY(onnx_add_reshape(s, places, &(struct attr_ints){ 1, { -1 } }, &places));
    TRY(build_gather(s, x, places, onnx_i32(s, "axis", 0), &out));
    return onnx_bind(s, 0, out);
}

static status import_unique(struct onnx_site *s)
{
    struct value *x;
    struct node *n;
    if (onnx_attr(s, "axis") != NULL)
        return onnx_fault(s, UNSUPPORTED, "unique slices along an axis");
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_add(s, "unique", &x, 1, &n));
    ((struct unique_attrs *)node_attrs(n))->unsorted = !onnx_bool(s, "sorted", true);
    for (int i = 0; i < 4; i++) {
        n->out[i]->dtype = i == 0 ? x->dtype : DTYPE_I64;
        n->out[i]->shape = SHAPE(-1);
        TRY(onnx_bind(s, i, n->out[i]));
    }
    return OK;
}

/* The first `length` of each batch, turned round. */
static status import_reverse_sequence(struct onnx_site *s)
{
    struct value *x, *length, *time, *last, *back, *inside, *index, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &length));
    int rank = x->shape.rank, along = declared_axis(x, onnx_i64(s, "time_axis", 0)),
        batch = declared_axis(x, onnx_i64(s, "batch_axis", 1));
    if (along < 0 || batch < 0 || along == batch)
        return onnx_fault(s, INVALID, "its time_axis and batch_axis do not fit %d dimensions",
                          rank);
    TRY(build_places(s, x, along, &time));
    TRY(laid_along(s, time, rank, along, &time));
    TRY(build_cast(s, length, DTYPE_I64, &length));
    TRY(laid_along(s, length, rank, batch, &length));
    TRY(build_affine(s, length, 1, -1, &last));
    TRY(build2(s, "sub", last, time, &back));
    TRY(build2(s, "less", time, length, &inside));
    TRY(build_where(s, inside, back, time, &index));
    TRY(onnx_add1(s, "expand_as", (struct value *[]){ index, x }, 2, &index));
    index->shape = x->shape;
    TRY(onnx_add1(s, "take_along", (struct value *[]){ x, index }, 2, &out));
    ((struct gather_attrs *)node_attrs(out->producer))->axis = along;
    return onnx_bind(s, 0, out);
}

/* Each batch's update goes into the cache from its own place on; circular: round the end. */
static status import_tensor_scatter(struct onnx_site *s)
{
    static const char *const mode[] = { "linear", "circular", NULL };
    struct value *cache, *update, *first, *index, *size, *out;
    TRY(onnx_in(s, 0, &cache));
    TRY(onnx_in(s, 1, &update));
    TRY(onnx_in_optional(s, 2, &first));
    int rank = update->shape.rank, axis = declared_axis(update, onnx_i64(s, "axis", -2));
    if (axis < 1)
        return onnx_fault(s, INVALID, "its axis does not fit %d dimensions, or is that of batches",
                          rank);
    TRY(build_places(s, update, axis, &index));
    TRY(laid_along(s, index, rank, axis, &index));
    if (first != NULL) {
        TRY(build_cast(s, first, DTYPE_I64, &first));
        TRY(laid_along(s, first, rank, 0, &first));
        TRY(build2(s, "add", index, first, &index));
    }
    if (onnx_enum(s, "mode", "linear", mode) == 1) {
        TRY(build_dim(s, cache, axis, &size));
        TRY(build2(s, "mod", index, size, &index));
    }
    TRY(onnx_add1(s, "expand_as", (struct value *[]){ index, update }, 2, &index));
    index->shape = update->shape;
    TRY(onnx_add1(s, "put_along", (struct value *[]){ cache, index, update }, 3, &out));
    ((struct scatter_attrs *)node_attrs(out->producer))->axis = axis;
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_index[] = {
    { "Gather",          "gather",     import_gather },
    { "GatherElements",  "take_along", import_gather_elements },
    { "GatherND",        "gather_nd",  import_gather_nd },
    { "Scatter",         "put_along",  import_scatter },
    { "ScatterElements", "put_along",  import_scatter },
    { "ScatterND",       "scatter_nd", import_scatter },
    { "OneHot",          "one_hot",    import_one_hot },
    { "TopK",            "top_k",      import_top_k },
    { "NonZero",         "nonzero",    import_nonzero },
    { "Compress",        "nonzero",    import_compress },
    { "Unique",          "unique",     import_unique },
    { "ReverseSequence", "take_along", import_reverse_sequence },
    { "TensorScatter",   "put_along",  import_tensor_scatter },
    { 0 },
};
// clang-format on
