/* The operators: a new one is a row here and a file. */
#include "flow/ops.h"

#include "flow/spec.h"

#include <stdio.h>
#include <string.h>

static const struct flow_op *const ops[] = {
    &general_reader_op, &general_infer_op, &general_response_op,
    &text_reader_op,    &text_response_op, &general_copy_op,
    &select_op,         &first_op,         &concat_op,
    &cast_op,           &reshape_op,       &constant_op,
    &weighted_sum_op,   &softmax_op,       &top_k_op,
    &remote_op,         &plugin_op,
};

/* The original's names of the first releases ("general_infer") are the words of today's in lower case. */
static bool is_old_name(struct str type, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; name[i] != '\0' && strcmp(name + i, "Op") != 0; i++) {
        if (name[i] >= 'A' && name[i] <= 'Z' && i > 0 && (n >= type.n || type.p[n++] != '_'))
            return false;
        char c = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 32 : name[i]);
        if (n >= type.n || type.p[n++] != c)
            return false;
    }
    return n == type.n;
}

const struct flow_op *flow_op_find(struct str type)
{
    for (size_t i = 0; i < ARRAY_LEN(ops); i++)
        if (str_is(type, ops[i]->type) || str_is(type, ops[i]->also) ||
            is_old_name(type, ops[i]->type))
            return ops[i];
    return NULL;
}

const char *flow_op_nearest(struct str type)
{
    const char *known[2 * ARRAY_LEN(ops)];
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        known[2 * i] = ops[i]->type;
        known[2 * i + 1] = ops[i]->also;
    }
    return str_nearest(type, known, ARRAY_LEN(known));
}

struct flow_op_kind flow_op_kind(const char *type)
{
    const struct flow_op *op = flow_op_find(str_of(type));
    if (op == NULL)
        return (struct flow_op_kind){ 0 };
    return (struct flow_op_kind){ op->reads_request, op->answers, op->inputs_max > 0,
                                  op->has_model };
}

/* ---- conditions ---- */

static bool element(const struct tensor *t, int64_t i, double *out)
{
    if (i < 0 || i >= shape_numel(&t->shape))
        return false;
    switch (t->dtype) {
    case DTYPE_F32: *out = (double)((const float *)t->data)[i]; return true;
    case DTYPE_F64: *out = ((const double *)t->data)[i]; return true;
    case DTYPE_I64: *out = (double)((const int64_t *)t->data)[i]; return true;
    case DTYPE_I32: *out = ((const int32_t *)t->data)[i]; return true;
    case DTYPE_U8:
    case DTYPE_BOOL: *out = ((const uint8_t *)t->data)[i]; return true;
    default: return false;
    }
}

static bool is_one_of(const struct flow_when *w, struct str text)
{
    for (int i = 0; i < w->text_count; i++)
        if (str_is(text, w->text[i]))
            return true;
    return false;
}

/* Bytes are a text as they are; a number as it is written, without what only says that it is none of the whole ones. */
static bool reads_as(const struct flow_when *w, const struct tensor *t)
{
    char text[32];
    double x;
    int64_t bytes = tensor_bytes(t);
    if (t->dtype == DTYPE_BYTES) {
        while (bytes > 0 && ((const char *)t->data)[bytes - 1] == '\0') /* behind each text */
            bytes--;
        return bytes >= 0 && is_one_of(w, (struct str){ t->data, (size_t)bytes });
    }
    if (!element(t, w->index, &x))
        return false;
    int n = t->dtype == DTYPE_I64 ? snprintf(text, sizeof(text), "%lld",
                                             (long long)((const int64_t *)t->data)[w->index])
                                  : snprintf(text, sizeof(text), "%.15g", x);
    return is_one_of(w, (struct str){ text, (size_t)n });
}

static bool log_id_holds(const struct flow_when *w, uint64_t id)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
    return w->test == TEST_IS      ? is_one_of(w, (struct str){ text, (size_t)n })
           : w->test == TEST_ABOVE ? (double)id > w->value
           : w->test == TEST_BELOW ? (double)id < w->value
                                   : (double)id == w->value;
}

bool flow_when_holds(const struct flow_when *w, const struct flow_value *v,
                     const struct infer_request *r)
{
    double x;
    if (w->log_id)
        return log_id_holds(w, r->log_id);
    for (int i = 0; i < v->count; i++) {
        const struct named_tensor *t = &v->tensor[i];
        if (w->edge.tensor != NULL && !str_is(t->alias, w->edge.tensor) &&
            !str_is(t->name, w->edge.tensor))
            continue;
        if (w->test == TEST_IS)
            return reads_as(w, &t->tensor);
        if (!element(&t->tensor, w->index, &x))
            return false;
        return w->test == TEST_ABOVE   ? x > w->value
               : w->test == TEST_BELOW ? x < w->value
                                       : x == w->value;
    }
    return false;
}
