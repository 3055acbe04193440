/* Operators that answer by chance, and the one that follows beams back. */
#include "graph/attrs_move.h"
#include "graph/attrs_random.h"
#include "graph/ops.h"

const char *const random_names[] = { "uniform", "normal", "truncated", NULL };

static status infer_random(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct random_attrs *a = n->attrs;
    struct attr_ints dims;
    TRY(ints_of(n, in, 0, &a->shape, "its shape", &dims, e));
    struct shape s = { .rank = dims.count };
    if (dims.count > SHAPE_MAX)
        return err_set(e, UNSUPPORTED, "a result of %d dimensions, at most %d", dims.count,
                       SHAPE_MAX);
    for (int i = 0; i < dims.count; i++) {
        if (dims.v[i] < 0)
            return err_set(e, INVALID, "its shape holds %lld at place %d", (long long)dims.v[i], i);
        s.dim[i] = dims.v[i];
    }
    bool is_int = a->dtype == DTYPE_I64 || a->dtype == DTYPE_I32;
    if (!is_int && a->dtype != DTYPE_F32 && a->dtype != DTYPE_F64)
        return err_set(e, UNSUPPORTED, "random numbers of that dtype");
    if (is_int && (a->kind != RANDOM_UNIFORM || !(a->a < a->b)))
        return err_set(e, INVALID, "integers of %g to %g", (double)a->a, (double)a->b);
    out[0] = (struct type){ (dtype)a->dtype, s, NULL };
    return OK;
}

static status infer_sample(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct sample_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    int64_t c = x->rank > 0 ? x->dim[x->rank - 1] : 0;
    if (x->rank < 1 || x->rank > 2 || c < 1 || a->count < 1 || (!a->replace && a->count > c))
        return err_set(e, INVALID, "%d of %lld cannot be chosen", a->count, (long long)c);
    out[0] = (struct type){ DTYPE_I64, *x, NULL };
    out[0].shape.dim[x->rank - 1] = a->count;
    return OK;
}

static status infer_gather_tree(const struct node *n, const struct type *in, struct type *out,
                                struct err *e)
{
    TRY(want_rank(&in[0], 3, "its ids", e));
    TRY(want_dtype(&in[1], in[0].dtype, "its parents", e));
    if (in[0].dtype != DTYPE_I64 && in[0].dtype != DTYPE_I32)
        return err_set(e, INVALID, "expected int64 or int32 ids, got %s", dtype_name(in[0].dtype));
    if (!shape_eq(&in[0].shape, &in[1].shape))
        return err_set(e, INVALID, "its ids and its parents are not of one shape");
    return infer_same(n, in, out, e);
}

static status infer_beam_step(const struct node *n, const struct type *in, struct type *out,
                              struct err *e)
{
    const struct beam_attrs *a = n->attrs;
    int64_t sources, sequences, most, rows;
    TRY(want_rank(&in[2], 2, "its scores", e));
    TRY(want_dtype(&in[0], DTYPE_I64, "its ids so far", e));
    TRY(want_dtype(&in[1], DTYPE_F32, "its scores so far", e));
    TRY(want_dtype(&in[2], DTYPE_F32, "its scores", e));
    TRY(want_offsets(&in[3], &sources, e));
    TRY(want_offsets(&in[4], &sequences, e));
    rows = in[2].shape.dim[0];
    if (shape_numel(&in[0].shape) != rows || shape_numel(&in[1].shape) != rows)
        return err_set(e, INVALID, "%lld rows of scores, %lld ids and %lld scores so far",
                       (long long)rows, (long long)shape_numel(&in[0].shape),
                       (long long)shape_numel(&in[1].shape));
    if (has_input(n, 5)) {
        TRY(want_dtype(&in[5], DTYPE_I64, "its ids", e));
        if (!shape_eq(&in[5].shape, &in[2].shape))
            return err_set(e, INVALID, "its ids and its scores are not of one shape");
    }
    if (a->beam_size < 1 || __builtin_mul_overflow(sources, (int64_t)a->beam_size, &most) ||
        rows == INT64_MAX)
        return err_set(e, INVALID, "%d beams for %lld sources", a->beam_size, (long long)sources);
    out[0] = (struct type){ DTYPE_I64, SHAPE(most, 1), NULL };
    out[1] = (struct type){ in[2].dtype, SHAPE(most, 1), NULL };
    out[2] = (struct type){ DTYPE_I32, SHAPE(most), NULL };
    out[3] = (struct type){ DTYPE_I64, SHAPE(sources + 1), NULL };
    out[4] = (struct type){ DTYPE_I64, SHAPE(rows + 1), NULL };
    return OK;
}

// clang-format off
static const struct attr_field beam_fields[] = {
    FIELD(beam_attrs, beam_size, ATTR_I32), FIELD(beam_attrs, accumulated, ATTR_BOOL), { 0 },
};
static const struct attr_field random_fields[] = {
    FIELD(random_attrs, shape, ATTR_I64S), FIELD_ENUM(random_attrs, kind, random_names),
    FIELD(random_attrs, dtype, ATTR_I32), FIELD(random_attrs, seed, ATTR_I32),
    FIELD(random_attrs, a, ATTR_F32), FIELD(random_attrs, b, ATTR_F32), { 0 },
};
static const struct attr_field sample_fields[] = {
    FIELD(sample_attrs, count, ATTR_I32), FIELD(sample_attrs, seed, ATTR_I32),
    FIELD(sample_attrs, replace, ATTR_BOOL), { 0 },
};

const struct op ops_random[] = {
    { "random",      0, 1, 1, OP_IMPURE | OP_NEEDS(0), random_fields, sizeof(struct random_attrs), infer_random },
    { "sample",      1, 1, 1, OP_IMPURE,               sample_fields, sizeof(struct sample_attrs), infer_sample },
    { "flip_coins",  1, 1, 1, OP_IMPURE,               NULL,          0,                           infer_same },
    { "beam_step",   5, 6, 5, OP_DYNAMIC,              beam_fields,   sizeof(struct beam_attrs),   infer_beam_step },
    { "gather_tree", 2, 2, 1, 0,                       NULL,          0,                           infer_gather_tree },
    { 0 },
};
// clang-format on
