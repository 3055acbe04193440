#include "graph/attrs_narrow.h"
#include "graph/ops.h"

static status infer_round(const struct node *n, const struct type *in, struct type *out,
                          struct err *e)
{
    TRY(want_dtype(&in[0], DTYPE_F32, "its input", e));
    return infer_same(n, in, out, e);
}

static status infer_to_codes(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    TRY(infer_round(n, in, out, e));
    out[0].dtype = DTYPE_U8;
    return OK;
}

static status infer_from_codes(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    TRY(want_dtype(&in[0], DTYPE_U8, "its codes", e));
    out[0] = (struct type){ DTYPE_F32, in[0].shape, NULL };
    return OK;
}

static const struct attr_field fields[] = {
    FIELD_ENUM(narrow_attrs, format, narrow_names),
    FIELD(narrow_attrs, saturate, ATTR_BOOL),
    FIELD_ENUM(narrow_attrs, round, narrow_round_names),
    { 0 },
};

// clang-format off
const struct op ops_narrow[] = {
    { "round_narrow", 1, 1, 1, OP_INPLACE, fields, sizeof(struct narrow_attrs), infer_round },
    { "to_codes",     1, 1, 1, 0,          fields, sizeof(struct narrow_attrs), infer_to_codes },
    { "from_codes",   1, 1, 1, 0,          fields, sizeof(struct narrow_attrs), infer_from_codes },
    { 0 },
};
// clang-format on
