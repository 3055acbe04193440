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
    case DTYPE_I16: return ((const int16_t *)t->data)[i];
    case DTYPE_I8: return ((const int8_t *)t->data)[i];
    case DTYPE_F16: return (double)f16_to_f32(((const uint16_t *)t->data)[i]);
    case DTYPE_BF16: return (double)bf16_to_f32(((const uint16_t *)t->data)[i]);
    default: return ((const uint8_t *)t->data)[i];
    }
}

static bool has_numbers(dtype d)
{
    return d == DTYPE_F32 || d == DTYPE_F64 || d == DTYPE_I64 || d == DTYPE_I32 || d == DTYPE_F16 ||
           d == DTYPE_BF16 || d == DTYPE_I16 || dtype_size(d) == 1;
}

bool compare_number(const struct tensor *t, int64_t i, double *out)
{
    if (!has_numbers(t->dtype) || i >= shape_numel(&t->shape))
        return false;
    *out = number(t, i);
    return true;
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
        if (x == y || (isnan(x) && isnan(y)))
            continue;
        if (!isfinite(x) || !isfinite(y))
            return INFINITY;
        double d = fabs(x - y) / fmax(1, fmax(fabs(x), fabs(y)));
        worst = d > worst ? d : worst;
    }
    return worst;
}

static struct str name_of(const struct named_tensor *t)
{
    return t->alias.n > 0 ? t->alias : t->name;
}

static const struct tensor *find(const struct infer_reply *r, struct str name)
{
    for (int i = 0; i < r->output_count; i++)
        for (int k = 0; k < r->output[i].tensor_count; k++)
            if (str_eq(name_of(&r->output[i].tensor[k]), name))
                return &r->output[i].tensor[k].tensor;
    return NULL;
}

/* How far a's are from those of the same names in b, whatever groups they come in. */
static double compare_named(const struct infer_reply *a, const struct infer_reply *b)
{
    double worst = 0;
    for (int i = 0; i < a->output_count; i++)
        for (int k = 0; k < a->output[i].tensor_count; k++) {
            struct str name = name_of(&a->output[i].tensor[k]);
            const struct tensor *x = find(a, name), *y = find(b, name); /* the first of its name */
            worst = fmax(worst, y != NULL ? compare_tensors(x, y) : INFINITY);
        }
    return worst;
}

/* Groups come one for each operator of a graph that answers, or as one list over protocols that know no groups. */
double compare_replies(const struct infer_reply *a, const struct infer_reply *b)
{
    double worst = 0;
    if (a->output_count != b->output_count)
        return fmax(compare_named(a, b), compare_named(b, a));
    for (int i = 0; i < a->output_count; i++) {
        if (a->output[i].tensor_count != b->output[i].tensor_count)
            return INFINITY;
        for (int k = 0; k < a->output[i].tensor_count; k++)
            worst = fmax(worst, compare_tensors(&a->output[i].tensor[k].tensor,
                                                &b->output[i].tensor[k].tensor));
    }
    return worst;
}
