/* Tensors from nothing but numbers and shapes, the change of dtype, and the choice between tensors. */
#include "graph/attrs_control.h"
#include "kernels/ref/ref.h"

#include <string.h>

/* ---- fill, fill_like ---- */

struct fill_state {
    int64_t count;
    size_t size; /* of an element */
    bool given;  /* by input 1 */
    _Alignas(16) uint8_t element[16];
};

static void put_element(dtype d, double value, int64_t integer, void *to)
{
    switch (d) {
    case DTYPE_F32: *(float *)to = (float)value; break;
    case DTYPE_F64: *(double *)to = value; break;
    case DTYPE_F16: *(uint16_t *)to = f32_to_f16((float)value); break;
    case DTYPE_BF16: *(uint16_t *)to = f32_to_bf16((float)value); break;
    case DTYPE_C64: *(float *)to = (float)value; break;
    case DTYPE_C128: *(double *)to = value; break;
    case DTYPE_BOOL: *(uint8_t *)to = integer != 0; break;
    default: memcpy(to, &integer, dtype_size(d)); break; /* little-endian: the low bytes */
    }
}

static void make_fill(const struct kernel_ctx *ctx, double value, int64_t integer, void **state)
{
    struct fill_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->count = shape_numel(&ctx->out[0].shape);
    s->size = dtype_size(ctx->out[0].dtype);
    put_element(ctx->out[0].dtype, value, integer, s->element);
    *state = s;
}

static status prepare_fill(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct fill_attrs *a = ctx->node->attrs;
    make_fill(ctx, a->value, a->integer, state);
    ((struct fill_state *)*state)->given = ctx->in[1].shape.rank >= 0;
    return OK;
}

static status prepare_fill_like(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                struct err *e)
{
    const struct fill_like_attrs *a = ctx->node->attrs;
    make_fill(ctx, a->value, a->integer, state);
    return OK;
}

static status run_fill(const void *state, const struct kernel_io *io)
{
    const struct fill_state *s = state;
    const void *element = s->given ? io->in[1] : s->element;
    uint8_t *out = io->out[0];
    for (int64_t i = 0; i < s->count; i++)
        memcpy(out + (size_t)i * s->size, element, s->size);
    return OK;
}

/* ---- shape, numel ---- */

struct shape_state {
    struct shape shape;
    dtype dtype;
};

static status prepare_shape(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    struct shape_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct shape_state){ ctx->in[0].shape, ctx->out[0].dtype };
    *state = s;
    return OK;
}

static status run_shape(const void *state, const struct kernel_io *io)
{
    const struct shape_state *s = state;
    for (int i = 0; i < s->shape.rank; i++) {
        if (s->dtype == DTYPE_I64)
            ((int64_t *)io->out[0])[i] = s->shape.dim[i];
        else
            ((int32_t *)io->out[0])[i] = (int32_t)s->shape.dim[i];
    }
    return OK;
}

static status run_numel(const void *state, const struct kernel_io *io)
{
    *(int64_t *)io->out[0] = shape_numel(&((const struct shape_state *)state)->shape);
    return OK;
}

/* ---- range ---- */

struct range_state {
    int64_t count;
    dtype dtype;
};

static status prepare_range(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    struct range_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct range_state){ ctx->out[0].shape.dim[0], ctx->out[0].dtype };
    *state = s;
    return OK;
}

/* By adding up, as the framework does: floats then have the same errors. Integers wrap rather than overflow. */
#define RANGE(type, sum)                                                       \
    do {                                                                       \
        type v = *(const type *)io->in[0], step = *(const type *)io->in[2];    \
        for (int64_t i = 0; i < s->count; i++, v = (type)((sum)v + (sum)step)) \
            ((type *)io->out[0])[i] = v;                                       \
    } while (0)

static status run_range(const void *state, const struct kernel_io *io)
{
    const struct range_state *s = state;
    switch (s->dtype) {
    case DTYPE_F32: RANGE(float, float); break;
    case DTYPE_F64: RANGE(double, double); break;
    case DTYPE_I32: RANGE(int32_t, uint32_t); break;
    default: RANGE(int64_t, uint64_t); break;
    }
    return OK;
}

/* ---- cast ---- */

/* Between any two dtypes by way of double, int64 or float, whichever loses nothing, a chunk at a time. */
#define CHUNK 256

struct cast_state {
    int64_t count;
    dtype from, to;
};

union chunk {
    double f[CHUNK];
    int64_t i[CHUNK];
};

static bool is_float(dtype d)
{
    return d == DTYPE_F32 || d == DTYPE_F64 || d == DTYPE_F16 || d == DTYPE_BF16;
}

#define LOAD(type, member, expr)                 \
    do {                                         \
        const type *p = (const type *)from + at; \
        for (int k = 0; k < n; k++)              \
            c->member[k] = (expr);               \
    } while (0)

static void load_chunk(dtype d, const void *from, int64_t at, int n, union chunk *c)
{
    switch (d) {
    case DTYPE_F32: LOAD(float, f, (double)p[k]); break;
    case DTYPE_F64: LOAD(double, f, p[k]); break;
    case DTYPE_F16: LOAD(uint16_t, f, (double)f16_to_f32(p[k])); break;
    case DTYPE_BF16: LOAD(uint16_t, f, (double)bf16_to_f32(p[k])); break;
    case DTYPE_I64: LOAD(int64_t, i, p[k]); break;
    case DTYPE_I32: LOAD(int32_t, i, p[k]); break;
    case DTYPE_I16: LOAD(int16_t, i, p[k]); break;
    case DTYPE_I8: LOAD(int8_t, i, +p[k]); break;
    case DTYPE_U64: LOAD(uint64_t, i, (int64_t)p[k]); break;
    case DTYPE_U32: LOAD(uint32_t, i, p[k]); break;
    case DTYPE_U16: LOAD(uint16_t, i, p[k]); break;
    default: LOAD(uint8_t, i, p[k]); break;
    }
}

/* What C leaves open is here what x86 does: the smallest number of int64. */
static int64_t truncated(double x)
{
    return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN;
}

static void change_kind(bool from_float, bool to_float, int n, union chunk *c)
{
    for (int k = 0; k < n && from_float && !to_float; k++)
        c->i[k] = truncated(c->f[k]);
    for (int k = 0; k < n && !from_float && to_float; k++)
        c->f[k] = (double)c->i[k];
}

#define STORE(type, expr)           \
    do {                            \
        type *p = (type *)to + at;  \
        for (int k = 0; k < n; k++) \
            p[k] = (type)(expr);    \
    } while (0)

static void store_chunk(dtype d, const union chunk *c, int64_t at, int n, void *to)
{
    switch (d) {
    case DTYPE_F32: STORE(float, c->f[k]); break;
    case DTYPE_F64: STORE(double, c->f[k]); break;
    case DTYPE_F16: STORE(uint16_t, f32_to_f16((float)c->f[k])); break;
    case DTYPE_BF16: STORE(uint16_t, f32_to_bf16((float)c->f[k])); break;
    case DTYPE_I64:
    case DTYPE_U64: STORE(int64_t, c->i[k]); break;
    case DTYPE_I32:
    case DTYPE_U32: STORE(int32_t, c->i[k]); break;
    case DTYPE_I16:
    case DTYPE_U16: STORE(int16_t, c->i[k]); break;
    default: STORE(int8_t, c->i[k]); break;
    }
}

static void to_bool(bool from_float, int n, union chunk *c)
{
    for (int k = 0; k < n; k++)
        c->i[k] = from_float ? c->f[k] != 0 : c->i[k] != 0;
}

static status prepare_cast(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    struct cast_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct cast_state){ shape_numel(&ctx->in[0].shape), ctx->in[0].dtype, ctx->out[0].dtype };
    *state = s;
    return OK;
}

static status run_cast(const void *state, const struct kernel_io *io)
{
    const struct cast_state *s = state;
    bool from_float = is_float(s->from);
    union chunk c;
    if (s->from == s->to) {
        if (s->count > 0)
            memmove(io->out[0], io->in[0], (size_t)s->count * dtype_size(s->to));
        return OK;
    }
    for (int64_t at = 0; at < s->count; at += CHUNK) {
        int n = s->count - at < CHUNK ? (int)(s->count - at) : CHUNK;
        load_chunk(s->from, io->in[0], at, n, &c);
        if (s->to == DTYPE_BOOL)
            to_bool(from_float, n, &c);
        else
            change_kind(from_float, is_float(s->to), n, &c);
        store_chunk(s->to, &c, at, n, io->out[0]);
    }
    return OK;
}

static const char *refuse_cast(const struct kernel_ctx *ctx)
{
    const uint32_t complex = DTYPE_BIT(DTYPE_C64) | DTYPE_BIT(DTYPE_C128);
    bool either = (complex & (DTYPE_BIT(ctx->in[0].dtype) | DTYPE_BIT(ctx->out[0].dtype))) != 0;
    return either && ctx->in[0].dtype != ctx->out[0].dtype ? "not for complex numbers" : NULL;
}

/* ---- bit_cast ---- */

struct bit_state {
    int64_t count;
    dtype from, to;
};

static status prepare_bits(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct bit_cast_attrs *a = ctx->node->attrs;
    struct bit_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct bit_state){ shape_numel(&ctx->in[0].shape), (dtype)a->from, (dtype)a->to };
    *state = s;
    return OK;
}

static bool is_half(dtype d)
{
    return d == DTYPE_F16 || d == DTYPE_BF16;
}

static void copy_bits(const struct bit_state *s, const void *from, void *to)
{
    size_t size = dtype_size(s->from);
    for (int64_t i = 0; i < s->count; i++) {
        uint8_t bits[16] = { 0 };
        uint16_t half;
        if (is_half(s->from)) {
            float f = ((const float *)from)[i];
            half = s->from == DTYPE_F16 ? f32_to_f16(f) : f32_to_bf16(f);
            memcpy(bits, &half, sizeof(half));
        } else {
            memcpy(bits, (const uint8_t *)from + (size_t)i * size, size);
        }
        if (is_half(s->to)) {
            memcpy(&half, bits, sizeof(half));
            ((float *)to)[i] = s->to == DTYPE_F16 ? f16_to_f32(half) : bf16_to_f32(half);
        } else if (s->to == DTYPE_BOOL) {
            ((bool *)to)[i] = bits[0] != 0; /* a bool of another number would be none */
        } else {
            memcpy((uint8_t *)to + (size_t)i * size, bits, size);
        }
    }
}

static status run_bits(const void *state, const struct kernel_io *io)
{
    copy_bits(state, io->in[0], io->out[0]);
    return OK;
}

/* ---- select ---- */

struct select_state {
    dtype index;
    int count; /* of inputs to choose from */
    size_t size;
    struct shape shape[];
};

static status prepare_select(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    int count = ctx->node->in_count - 1;
    struct select_state *s =
        arena_zalloc(ctx->arena, sizeof(*s) + (size_t)count * sizeof(s->shape[0]));
    s->index = ctx->in[0].dtype;
    s->count = count;
    s->size = dtype_size(ctx->out[0].dtype);
    for (int i = 0; i < count; i++)
        s->shape[i] = ctx->in[1 + i].shape;
    *state = s;
    return OK;
}

static status run_select(const void *state, const struct kernel_io *io)
{
    const struct select_state *s = state;
    int32_t i = s->index == DTYPE_I32 ? *(const int32_t *)io->in[0] : *(const uint8_t *)io->in[0];
    if (i < 0 || i >= s->count)
        return err_set(io->err, INVALID, "input %d is asked for, there are %d", i, s->count);
    size_t bytes = (size_t)shape_numel(&s->shape[i]) * s->size;
    io->shape[0] = s->shape[i];
    if (bytes > 0)
        memcpy(io->out[0], io->in[1 + i], bytes);
    return OK;
}

// clang-format off
const struct kernel ref_fill[] = {
    { "fill",      "ref fill",   UINT32_MAX, DEVICE_CPU, NULL,        prepare_fill,      run_fill,   NULL },
    { "fill_like", "ref fill",   UINT32_MAX, DEVICE_CPU, NULL,        prepare_fill_like, run_fill,   NULL },
    { "shape",     "ref shape",  UINT32_MAX, DEVICE_CPU, NULL,        prepare_shape,     run_shape,  NULL },
    { "numel",     "ref numel",  UINT32_MAX, DEVICE_CPU, NULL,        prepare_shape,     run_numel,  NULL },
    { "cast",      "ref cast",   UINT32_MAX, DEVICE_CPU, refuse_cast, prepare_cast,      run_cast,   NULL },
    { "bit_cast",  "ref bit_cast", UINT32_MAX, DEVICE_CPU, NULL,      prepare_bits,      run_bits,   NULL },
    { "range",     "ref range",  UINT32_MAX, DEVICE_CPU, NULL,        prepare_range,     run_range,  NULL },
    { "select",    "ref select", UINT32_MAX, DEVICE_CPU, NULL,        prepare_select,    run_select, NULL },
    { 0 },
};
// clang-format on
