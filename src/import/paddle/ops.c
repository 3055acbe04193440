#include "import/paddle/ops.h"

// clang-format off
static const struct op_row *const family[] = {
    paddle_rare, paddle_places,
    paddle_random,
    paddle_fused,
    paddle_quant, paddle_linear, paddle_choose,
    paddle_recurrent, paddle_ragged,
    paddle_math, paddle_image, paddle_shape, paddle_sequence, paddle_unary, paddle_binary,
    paddle_image_nd, paddle_resize, paddle_boxes,
    paddle_move, paddle_index, paddle_reduce,
    paddle_fill, paddle_array,
};
// clang-format on

const struct op_row *op_row_find(struct str type)
{
    for (size_t i = 0; i < ARRAY_LEN(family); i++)
        for (const struct op_row *r = family[i]; r->type != NULL; r++)
            if (str_is(type, r->type))
                return r;
    return NULL;
}

const struct op_row *op_row_at(int index)
{
    for (size_t i = 0; i < ARRAY_LEN(family); i++)
        for (const struct op_row *r = family[i]; r->type != NULL; r++)
            if (index-- == 0)
                return r;
    return NULL;
}
