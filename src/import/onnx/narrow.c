#include "import/onnx/narrow.h"

#include "graph/attrs_narrow.h"
#include "import/onnx/build.h"

#include <string.h>

// clang-format off
static const struct onnx_narrow types[] = {
    { 17, true,  NARROW_E4M3,     DTYPE_F32, 8, 0,  0 },
    { 18, true,  NARROW_E4M3FNUZ, DTYPE_F32, 8, 0,  0 },
    { 19, true,  NARROW_E5M2,     DTYPE_F32, 8, 0,  0 },
    { 20, true,  NARROW_E5M2FNUZ, DTYPE_F32, 8, 0,  0 },
    { 21, false, 0,               DTYPE_U8,  4, 0,  15 },
    { 22, false, 0,               DTYPE_I8,  4, -8, 7 },
    { 23, true,  NARROW_E2M1,     DTYPE_F32, 4, 0,  0 },
    { 24, true,  NARROW_E8M0,     DTYPE_F32, 8, 0,  0 },
    { 25, false, 0,               DTYPE_U8,  2, 0,  3 },
    { 26, false, 0,               DTYPE_I8,  2, -2, 1 },
};
// clang-format on

const struct onnx_narrow *onnx_narrow_find(int32_t data_type)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (types[i].data_type == data_type)
            return &types[i];
    return NULL;
}

void onnx_narrow_unpack(const struct onnx_narrow *t, const uint8_t *packed, int64_t numel,
                        void *out)
{
    int each = 8 / t->bits, mask = (1 << t->bits) - 1;
    for (int64_t i = 0; i < numel; i++) {
        int code = packed[i / each] >> (int)(i % each) * t->bits & mask;
        if (t->is_float)
            ((float *)out)[i] = narrow_to_f32(t->format, (uint8_t)code);
        else
            ((uint8_t *)out)[i] = (uint8_t)(t->low < 0 && code > t->high ? code - mask - 1 : code);
    }
}

/* A value's own address is its name here. */
void onnx_mark(struct onnx_import *import, const struct value *v, const struct onnx_narrow *t)
{
    const struct value **key = arena_alloc(import->scratch, sizeof(const struct value *));
    *key = v;
    if (t != NULL)
        map_put(&import->narrow, (struct str){ (const char *)key, sizeof(v) }, (void *)t);
}

const struct onnx_narrow *onnx_marked(const struct onnx_import *import, const struct value *v)
{
    return map_get(&import->narrow, (struct str){ (const char *)&v, sizeof(v) });
}

static status round_to(struct onnx_site *s, struct value *x, const struct onnx_narrow *t,
                       struct value **out)
{
    static const char *const round[] = { "up", "down", "nearest", NULL };
    TRY(build_cast(s, x, DTYPE_F32, &x));
    TRY(build1(s, "round_narrow", x, out));
    *(struct narrow_attrs *)node_attrs((*out)->producer) =
        (struct narrow_attrs){ .format = (int32_t)t->format,
                               .saturate = onnx_bool(s, "saturate", true),
                               .round = onnx_enum(s, "round_mode", "up", round) };
    return OK;
}

/* The low bits, and above them copies of the sign: by shifts of all eight. */
static status cut_to(struct onnx_site *s, struct value *x, const struct onnx_narrow *t,
                     struct value **out)
{
    double by = 8 - t->bits;
    TRY(build_cast(s, x, DTYPE_I32, &x));
    TRY(build_cast(s, x, t->held, &x));
    TRY(build_by(s, "shift_left", x, by, &x));
    return build_by(s, "shift_right", x, by, out);
}

status onnx_to_narrow(struct onnx_site *s, struct value *x, const struct onnx_narrow *t,
                      struct value **out)
{
    TRY(t->is_float ? round_to(s, x, t, out) : cut_to(s, x, t, out));
    onnx_mark(s->import, *out, t);
    return OK;
}
