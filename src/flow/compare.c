#include "flow/compare.h"

#include <math.h>
#include <string.h>

static double number(const struct tensor *t, int64_t i)
{
    switch (t->dtype) {
    case DTYPE_F32: return (double)((const float *)t->data)[i];
    case DTYPE_F64: return ((const double *)t->data)[i];
    case DTYPE_I64: return (double)((const int64_t *)t->data)[i];
    case DTYPE_I32: return ((const int32_t *)t->data)[i];
    case DTYPE_F16: return (double)f16_to_f32(((const uint16_t *)t->data)[i]);
    case DTYPE_BF16: return (double)bf16_to_f32(((const uint16_t *)t->data)[i]);
    default: return ((const uint8_t *)t->data)[i];
    }
}

static bool has_numbers(dtype d)
{
    return d == DTYPE_F32 || d == DTYPE_F64 || d == DTYPE_I64 || d == DTYPE_I32 || d == DTYPE_F16 ||
           d == DTYPE_BF16 || dtype_size(d) == 1;
}

double compare_tensors(const struct tensor *a, const struct tensor *b)
{
    double worst = 0;
    if (a->dtype != b->dtype || !shape_eq(&a->shape, &b->shape))
        return INFINITY;
    if (!has_numbers(a->dtype))
        return memcmp(a->data, b->data, (size_t)tensor_bytes(a)) == 0 ? 0 : INFINITY;
    int64_t n = shape_numel(&a->shape);
    for (int64_t i = 0; i < n; i++) {
        double x = number(a, i), y = number(b, i);
        double d = fabs(x - y) / fmax(1, fmax(fabs(x), fabs(y)));
        if (isnan(x) != isnan(y))
            return INFINITY;
        worst = d > worst ? d : worst;
    }
    return worst;
}

double compare_replies(const struct infer_reply *a, const struct infer_reply *b)
{
    double worst = 0;
    if (a->output_count != b->output_count)
        return INFINITY;
    for (int i = 0; i < a->output_count; i++) {
        if (a->output[i].tensor_count != b->output[i].tensor_count)
            return INFINITY;
        for (int k = 0; k < a->output[i].tensor_count; k++)
            worst = fmax(worst, compare_tensors(&a->output[i].tensor[k].tensor,
                                                &b->output[i].tensor[k].tensor));
    }
    return worst;
}
