#include "text.h"

#include "codec/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#define SHORT_COUNT 16
#define FIRST_COUNT 8

/* A number of any real type; false for the others. */
static bool number_at(const struct tensor *t, int64_t i, double *out)
{
    switch (t->dtype) {
    case DTYPE_F32: *out = ((const float *)t->data)[i]; return true;
    case DTYPE_F64: *out = ((const double *)t->data)[i]; return true;
    case DTYPE_F16: *out = f16_to_f32(((const uint16_t *)t->data)[i]); return true;
    case DTYPE_BF16: *out = bf16_to_f32(((const uint16_t *)t->data)[i]); return true;
    case DTYPE_I64: *out = (double)((const int64_t *)t->data)[i]; return true;
    case DTYPE_I32: *out = ((const int32_t *)t->data)[i]; return true;
    case DTYPE_I16: *out = ((const int16_t *)t->data)[i]; return true;
    case DTYPE_I8: *out = ((const int8_t *)t->data)[i]; return true;
    case DTYPE_U8: *out = ((const uint8_t *)t->data)[i]; return true;
    case DTYPE_U16: *out = ((const uint16_t *)t->data)[i]; return true;
    case DTYPE_U32: *out = ((const uint32_t *)t->data)[i]; return true;
    case DTYPE_U64: *out = (double)((const uint64_t *)t->data)[i]; return true;
    case DTYPE_BOOL: *out = ((const uint8_t *)t->data)[i] != 0; return true;
    default: return false;
    }
}

/* 9 digits tell any float from its neighbours, 17 any double; whole numbers of 64 bits do not pass
 * through a double. */
static void put_element(struct buf *out, const struct tensor *t, int64_t i)
{
    double v;
    switch (t->dtype) {
    case DTYPE_I64: buf_printf(out, "%" PRId64, ((const int64_t *)t->data)[i]); break;
    case DTYPE_U64: buf_printf(out, "%" PRIu64, ((const uint64_t *)t->data)[i]); break;
    case DTYPE_BOOL: buf_str(out, ((const uint8_t *)t->data)[i] != 0 ? "true" : "false"); break;
    case DTYPE_F64: buf_printf(out, "%.17g", ((const double *)t->data)[i]); break;
    default:
        if (number_at(t, i, &v))
            buf_printf(out, "%.9g", v);
        else
            buf_byte(out, '?');
    }
}

static void put_elements(struct buf *out, const struct tensor *t, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        buf_byte(out, ' ');
        put_element(out, t, i);
    }
}

static void put_head(struct buf *out, struct str name, const struct tensor *t)
{
    char shape[SHAPE_TEXT_MAX];
    buf_printf(out, "%.*s %s %s", STR_ARG(name), dtype_name(t->dtype),
               shape_text(&t->shape, shape, sizeof(shape)));
}

static void put_lod(struct buf *out, struct str name, const struct lod *lod)
{
    for (int level = 0; level < lod->levels; level++) {
        const struct lod_level *l = &lod->level[level];
        struct tensor t = { .dtype = DTYPE_I64, .shape = SHAPE(l->count), .data = l->offset };
        buf_printf(out, "%.*s.lod", STR_ARG(name));
        if (level > 0)
            buf_printf(out, "%d", level);
        put_head(out, STR(""), &t);
        put_elements(out, &t, l->count);
        buf_byte(out, '\n');
    }
}

void text_put_tensor(struct buf *out, struct str name, const struct tensor *t)
{
    put_head(out, name, t);
    put_elements(out, t, shape_numel(&t->shape));
    buf_byte(out, '\n');
    put_lod(out, name, &t->lod);
}

static void put_statistics(struct buf *out, const struct tensor *t, int64_t count)
{
    double v, least = INFINITY, greatest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count && number_at(t, i, &v); i++) {
        least = fmin(least, v);
        greatest = fmax(greatest, v);
        sum += v;
    }
    buf_printf(out, " ... (least %.6g, greatest %.6g, mean %.6g)", least, greatest,
               sum / (double)count);
}

void text_put_summary(struct buf *out, struct str name, const struct tensor *t)
{
    int64_t count = shape_numel(&t->shape);
    put_head(out, name, t);
    put_elements(out, t, count <= SHORT_COUNT ? count : FIRST_COUNT);
    if (count > SHORT_COUNT)
        put_statistics(out, t, count);
    buf_byte(out, '\n');
    put_lod(out, name, &t->lod);
}

static void put_json(struct buf *out, const struct named_tensor *t)
{
    const struct shape *shape = &t->tensor.shape;
    buf_str(out, "{\"name\":");
    json_put_string(out, t->name);
    buf_str(out, ",\"alias\":");
    json_put_string(out, t->alias);
    buf_printf(out, ",\"dtype\":\"%s\",\"shape\":", dtype_name(t->tensor.dtype));
    json_put_numbers(out, DTYPE_I64, shape->dim, shape->rank);
    buf_str(out, ",\"data\":");
    json_put_numbers(out, t->tensor.dtype, t->tensor.data, shape_numel(shape));
    if (t->tensor.lod.levels > 0) {
        buf_str(out, ",\"lod\":[");
        for (int i = 0; i < t->tensor.lod.levels; i++) {
            const struct lod_level *l = &t->tensor.lod.level[i];
            buf_str(out, i > 0 ? "," : "");
            json_put_numbers(out, DTYPE_I64, l->offset, l->count);
        }
        buf_byte(out, ']');
    }
    buf_byte(out, '}');
}

void text_put_json(struct buf *out, const struct named_tensor *t, int count)
{
    buf_str(out, "{\"outputs\":[");
    for (int i = 0; i < count; i++) {
        buf_str(out, i > 0 ? "," : "");
        put_json(out, &t[i]);
    }
    buf_str(out, "]}\n");
}

status text_print(struct buf *out, struct err *e)
{
    status s = buf_check(out);
    if (s != OK)
        err_set(e, s, "more than %zu bytes are to be printed", out->max);
    else
        fwrite(out->data, 1, out->len, stdout);
    buf_deinit(out);
    return s;
}
