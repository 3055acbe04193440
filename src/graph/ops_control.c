/* Operators that run graphs of their own, and those that choose between values that came out of such. */
#include "graph/attrs_control.h"
#include "graph/ops.h"

/* One of the inputs behind the first: which one, and so of which shape, only running tells. */
static status infer_select(const struct node *n, const struct type *in, struct type *out,
                           struct err *e)
{
    const struct type *largest = &in[1];
    if (shape_numel(&in[0].shape) != 1 || (in[0].dtype != DTYPE_I32 && in[0].dtype != DTYPE_BOOL))
        return err_set(e, INVALID, "expected one int32 or bool that says which input counts");
    for (int i = 2; i < n->in_count; i++) {
        if (in[i].dtype != in[1].dtype)
            return err_set(e, INVALID, "its inputs are %s and %s, expected one dtype",
                           dtype_name(in[1].dtype), dtype_name(in[i].dtype));
        if (shape_numel(&in[i].shape) > shape_numel(&largest->shape))
            largest = &in[i];
    }
    out[0] = (struct type){ largest->dtype, largest->shape, NULL };
    return OK;
}

static const struct attr_field while_fields[] = {
    FIELD(while_attrs, body, ATTR_GRAPH),
    { 0 },
};

static const struct attr_field if_fields[] = {
    FIELD(if_attrs, then_graph, ATTR_GRAPH),
    FIELD(if_attrs, else_graph, ATTR_GRAPH),
    { 0 },
};

// clang-format off
const struct op ops_control[] = {
    { "while",  1, UINT8_MAX, OUT_ANY, OP_CONTROL, while_fields, sizeof(struct while_attrs), NULL },
    { "if",     1, UINT8_MAX, OUT_ANY, OP_CONTROL, if_fields,    sizeof(struct if_attrs),    NULL },
    { "select", 2, UINT8_MAX, 1,       OP_DYNAMIC, NULL,         0,                          infer_select },
    { 0 },
};
// clang-format on
