/* Parameters as Paddle stores them, all in one file in the order of their names. */
#include "convert/paddle.h"

#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

const char *paddle_text(struct paddle_writer *w, struct str name, const char *more)
{
    return arena_printf(w->arena, "%.*s%s", STR_ARG(name), more);
}

void paddle_store(struct paddle_writer *w, const char *name, const struct tensor *t)
{
    if (w->param_count == w->param_cap) {
        struct stored *old = w->param;
        w->param_cap = 2 * w->param_cap + 64;
        w->param = arena_zalloc(w->arena, (size_t)w->param_cap * sizeof(*w->param));
        if (w->param_count > 0)
            memcpy(w->param, old, (size_t)w->param_count * sizeof(*old));
    }
    w->param[w->param_count++] = (struct stored){ name, *t };
}

/* ---- what takes a weight's or an activation's place ---- */

void paddle_store_int8(struct paddle_writer *w, const char *name, const struct weight *v,
                       struct quantised *q)
{
    weight_quantise(v, w->arena, q);
    struct tensor t = { .dtype = DTYPE_I8, .shape = v->tensor->shape, .data = q->q };
    paddle_store(w, name, &t);
}

void paddle_store_half(struct paddle_writer *w, const char *name, const struct weight *v)
{
    struct tensor t = { .dtype = w->precision == PRECISION_FP16 ? DTYPE_F16 : DTYPE_BF16,
                        .shape = v->tensor->shape,
                        .data = weight_halve(v, w->precision, w->arena) };
    paddle_store(w, name, &t);
}

/* ---- the file ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct stored *)a)->name, ((const struct stored *)b)->name);
}

/* VarType.Type of framework.proto. */
static int type_number(dtype d)
{
    static const struct {
        dtype dtype;
        int number;
    } rows[] = {
        { DTYPE_BOOL, 0 }, { DTYPE_I16, 1 }, { DTYPE_I32, 2 }, { DTYPE_I64, 3 }, { DTYPE_F16, 4 },
        { DTYPE_F32, 5 },  { DTYPE_F64, 6 }, { DTYPE_U8, 20 }, { DTYPE_I8, 21 }, { DTYPE_BF16, 22 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].dtype == d)
            return rows[i].number;
    return 5;
}

/* import/paddle/params.h has the format. */
static void put_param(struct buf *out, const struct stored *p)
{
    static const uint8_t no_lod[12];
    struct buf desc;
    buf_init(&desc, PROGRAM_BYTES_MAX);
    pb_put_u64(&desc, 1, (uint64_t)type_number(p->tensor.dtype));
    for (int i = 0; i < p->tensor.shape.rank; i++)
        pb_put_u64(&desc, 2, (uint64_t)p->tensor.shape.dim[i]);
    buf_append(out, no_lod, sizeof(no_lod));
    buf_append(out, no_lod, sizeof(uint32_t)); /* the version */
    const uint32_t bytes = (uint32_t)desc.len;
    buf_append(out, &bytes, sizeof(bytes));
    buf_append(out, desc.data, desc.len);
    buf_append(out, p->tensor.data, (size_t)tensor_bytes(&p->tensor));
    buf_deinit(&desc);
}

static void keep_others(struct paddle_writer *w)
{
    const struct block_desc *b = &w->paddle->program.block[0];
    for (int i = 0; i < b->var_count; i++) {
        const struct tensor *t =
            var_is_param(&b->var[i]) ? map_get(&w->paddle->params.by_name, b->var[i].name) : NULL;
        if (t != NULL && !recipe_converts(w->recipe, b->var[i].name))
            paddle_store(w, paddle_text(w, b->var[i].name, ""), t);
    }
}

status paddle_write_params(struct paddle_writer *w, const char *path, uint64_t *bytes,
                           struct err *e)
{
    struct buf out;
    buf_init(&out, LIMIT_MODEL_FILE_BYTES);
    keep_others(w);
    qsort(w->param, (size_t)w->param_count, sizeof(*w->param), by_name);
    for (int i = 0; i < w->param_count; i++)
        put_param(&out, &w->param[i]);
    status s = buf_check(&out);
    s = s != OK ? err_set(e, s, "%s: its parameters are too large", path)
                : file_write(path, out.data, out.len, e);
    *bytes = out.len;
    buf_deinit(&out);
    return s;
}
