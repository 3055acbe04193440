#include "exec/spread.h"

#include <string.h>

/* Operators that make zeros of zeros: the channels behind the last one stay zeros, which kernels that read whole blocks
 * rely on. */
static const char *const zero_of_zeros[] = {
    "relu", "tanh",   "leaky_relu", "elu", "hard_swish", "swish", "mish", "gelu", "gelu_tanh",
    "abs",  "square", "sqrt",       "add", "sub",        "mul",   "max",  "min",  "identity",
};

static bool keeps_zeros(const struct node *n)
{
    for (size_t i = 0; i < ARRAY_LEN(zero_of_zeros); i++)
        if (strcmp(n->op->name, zero_of_zeros[i]) == 0)
            return true;
    return false;
}

static bool is_image(const struct type *t)
{
    return t->shape.rank == 4 && t->dtype == DTYPE_F32;
}

/* The layout of the first input that is as large as the result and lies in another than the plain one. */
static enum layout common_layout(const struct type *in, int count, const struct type *out,
                                 const enum layout *have)
{
    for (int i = 0; i < count; i++)
        if (have[i] != LAYOUT_PLAIN && is_image(&in[i]) && shape_eq(&in[i].shape, &out->shape))
            return have[i];
    return LAYOUT_PLAIN;
}

/* t's shape with four dimensions; false where it has more. */
static bool four(const struct shape *s, struct shape *out)
{
    if (s->rank > 4)
        return false;
    *out = SHAPE(1, 1, 1, 1);
    for (int i = 0; i < s->rank; i++)
        out->dim[4 - s->rank + i] = s->dim[i];
    return true;
}

struct operand {
    struct shape shape; /* as the kernel is to see it */
    enum layout want;
    bool zeros; /* the channels behind the last one are there, and zeros */
};

/* How one operand lies beside an image of the layout l; false: it does not. */
static bool fit(const struct type *t, const struct shape *image, enum layout l, struct operand *o)
{
    struct shape s;
    int64_t block = layout_block(l), channels = image->dim[1];
    if (t->dtype != DTYPE_F32 || !four(&t->shape, &s))
        return false;
    if (shape_eq(&t->shape, image)) {
        *o = (struct operand){ layout_shape(image, l), l, true };
        return true;
    }
    bool each_channel = s.dim[1] == channels && s.dim[2] == 1 && s.dim[3] == 1;
    bool each_place = s.dim[1] == 1;
    bool as_it_is = each_place || (each_channel && (channels % block == 0 || l == LAYOUT_LAST));
    if (as_it_is) { /* one channel, or one place, or whole blocks of channels: the plain bytes serve */
        o->shape = each_place && l != LAYOUT_LAST ? SHAPE(s.dim[0], 1, s.dim[2], s.dim[3], 1)
                                                  : layout_shape(&s, l);
        o->want = LAYOUT_PLAIN;
        o->zeros = false;
        return true;
    }
    *o = (struct operand){ layout_shape(&t->shape, l), l, true };
    return each_channel && t->shape.rank == 4;
}

#define OPERANDS_MAX 4

bool spread(const struct node *n, struct type *in, int count, struct type *out,
            const enum layout *have, enum layout *want, enum layout *give)
{
    struct operand o[OPERANDS_MAX];
    bool zeros = true, scales = strcmp(n->op->name, "mul") == 0;
    if (!(n->op->flags & OP_ELEMENTWISE) || n->out_count != 1 || !is_image(out) ||
        count > OPERANDS_MAX)
        return false;
    enum layout l = common_layout(in, count, out, have);
    if (l == LAYOUT_PLAIN)
        return false;
    for (int i = 0; i < count; i++) {
        if (in[i].shape.rank < 0)
            continue;
        if (!fit(&in[i], &out->shape, l, &o[i]))
            return false;
        zeros = zeros && (o[i].zeros || scales);
    }
    if (out->shape.dim[1] % layout_block(l) != 0 && !(zeros && keeps_zeros(n)))
        return false;
    for (int i = 0; i < count; i++)
        if (in[i].shape.rank >= 0) {
            in[i].shape = o[i].shape;
            want[i] = o[i].want;
        }
    out->shape = layout_shape(&out->shape, l);
    *give = l;
    return true;
}
