/* Operators on signals. */
#include "graph/attrs_move.h"
#include "graph/attrs_signal.h"
#include "graph/ops.h"

#define LENGTH_LIMIT ((int64_t)1 << 31)

/* The one number that input i holds; `otherwise` where it is left out. */
static status one_number(const struct node *n, const struct type *in, int i, const char *what,
                         int64_t otherwise, int64_t *out, struct err *e)
{
    struct attr_ints v;
    TRY(ints_of(n, in, i, &(struct attr_ints){ 1, { otherwise } }, what, &v, e));
    *out = v.v[0];
    return v.count == 1 ? OK : err_set(e, INVALID, "%s is not one number but %d", what, v.count);
}

status dft_dims(const struct node *n, const struct type *in, struct dft_dims *out, struct err *e)
{
    const struct dft_attrs *a = n->attrs;
    const struct shape *x = &in[0].shape;
    char text[SHAPE_TEXT_MAX];
    int64_t axis;
    if (x->rank < 2 || (x->dim[x->rank - 1] != 1 && x->dim[x->rank - 1] != 2))
        return err_set(e, INVALID, "expected numbers with a last dimension of 1 or 2, got %s",
                       shape_text(x, text, sizeof(text)));
    TRY(one_number(n, in, 2, "its axis", a->axis, &axis, e));
    *out = (struct dft_dims){ .axis = shape_axis(x, axis),
                              .complex_in = x->dim[x->rank - 1] == 2,
                              .complex_out = !(a->one_sided && a->inverse) };
    if (out->axis < 0 || out->axis == x->rank - 1)
        return err_set(e, INVALID, "axis %lld does not fit %s", (long long)axis,
                       shape_text(x, text, sizeof(text)));
    out->in = x->dim[out->axis];
    bool half_in = a->one_sided && a->inverse;
    TRY(one_number(n, in, 1, "its length", half_in && out->in > 0 ? 2 * (out->in - 1) : out->in,
                   &out->length, e));
    if (out->length < 1 || out->length >= LENGTH_LIMIT || out->in >= LENGTH_LIMIT)
        return err_set(e, INVALID, "a transform of %lld elements of %lld", (long long)out->length,
                       (long long)out->in);
    if (a->one_sided && out->complex_in != a->inverse)
        return err_set(e, INVALID, "one side of %s numbers",
                       out->complex_in ? "complex" : "the inverse of real");
    out->out = a->one_sided && !a->inverse ? out->length / 2 + 1 : out->length;
    return OK;
}

static status infer_dft(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    struct dft_dims d;
    TRY(dft_dims(n, in, &d, e));
    out[0] = (struct type){ in[0].dtype, in[0].shape, NULL };
    out[0].shape.dim[d.axis] = d.out;
    out[0].shape.dim[in[0].shape.rank - 1] = d.complex_out ? 2 : 1;
    return OK;
}

static const struct attr_field dft_fields[] = {
    FIELD(dft_attrs, axis, ATTR_I32),
    FIELD(dft_attrs, inverse, ATTR_BOOL),
    FIELD(dft_attrs, one_sided, ATTR_BOOL),
    { 0 },
};

// clang-format off
const struct op ops_signal[] = {
    { "dft", 1, 3, 1, OP_NEEDS(1) | OP_NEEDS(2), dft_fields, sizeof(struct dft_attrs), infer_dft },
    { 0 },
};
// clang-format on
