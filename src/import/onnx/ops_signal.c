/* Signals: Fourier transforms, windows, random numbers. */
#include "graph/attrs_control.h"
#include "graph/attrs_move.h"
#include "graph/attrs_random.h"
#include "graph/attrs_signal.h"
#include "import/onnx/build.h"

#include <math.h>

/* ---- transforms ---- */

/* Before version 20 the axis was an attribute, and 1 where it was left out. */
static status import_dft(struct onnx_site *s)
{
    struct value *in[3] = { NULL }, *out;
    struct dft_attrs a = { .axis = s->opset < 20 ? onnx_i32(s, "axis", 1) : -2,
                           .inverse = onnx_bool(s, "inverse", false),
                           .one_sided = onnx_bool(s, "onesided", false) };
    TRY(onnx_in(s, 0, &in[0]));
    TRY(onnx_in_optional(s, 1, &in[1]));
    if (s->opset >= 20)
        TRY(onnx_in_optional(s, 2, &in[2]));
    TRY(onnx_add1(s, "dft", in, in[2] != NULL ? 3 : in[1] != NULL ? 2 : 1, &out));
    *(struct dft_attrs *)node_attrs(out->producer) = a;
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

static status scalar_in(struct onnx_site *s, struct value *v, struct value **out)
{
    TRY(build_cast(s, v, DTYPE_I64, &v));
    return onnx_add_reshape(s, v, &(struct attr_ints){ 0 }, out);
}

/* The length of a frame: said, or the window's, or the whole signal. */
static status frame_length(struct onnx_site *s, struct value *signal, struct value *window,
                           struct value **out)
{
    struct value *said;
    TRY(onnx_in_optional(s, 3, &said));
    if (said == NULL)
        TRY(build_dim(s, window != NULL ? window : signal, window != NULL ? 0 : 1, &said));
    return scalar_in(s, said, out);
}

/* int64 [frames, length]: the places of each frame's elements. */
static status frame_places(struct onnx_site *s, struct value *signal, struct value *length,
                           struct value *step, struct value **out)
{
    struct value *total, *room, *end, *begin, *within;
    TRY(build_dim(s, signal, 1, &total));
    TRY(scalar_in(s, total, &total));
    TRY(build2(s, "sub", total, length, &room));
    TRY(build_affine(s, room, 1, 1, &end));
    TRY(build_range(s, end, step, &begin));
    TRY(build_range(s, length, NULL, &within));
    TRY(build_unsqueeze(s, begin, &(struct attr_ints){ 1, { 1 } }, &begin));
    return build2(s, "add", begin, within, out);
}

static status import_stft(struct onnx_site *s)
{
    struct value *signal, *step, *window, *length, *places, *frames, *out;
    TRY(onnx_in(s, 0, &signal));
    TRY(onnx_in(s, 1, &step));
    TRY(onnx_in_optional(s, 2, &window));
    TRY(scalar_in(s, step, &step));
    TRY(frame_length(s, signal, window, &length));
    TRY(frame_places(s, signal, length, step, &places));
    TRY(build_gather(s, signal, places, 1, &frames));
    if (window != NULL) {
        TRY(onnx_add_reshape(s, window, &(struct attr_ints){ 2, { -1, 1 } }, &window));
        TRY(build2(s, "mul", frames, window, &frames));
    }
    TRY(build1(s, "dft", frames, &out));
    *(struct dft_attrs *)node_attrs(out->producer) =
        (struct dft_attrs){ .axis = -2, .one_sided = onnx_bool(s, "onesided", true) };
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

/* ---- windows: sums of cosines ---- */

static const struct {
    const char *type;
    double constant, once, twice; /* cos of 0, of 2 pi i / n, of 4 pi i / n */
} windows[] = {
    { "HannWindow", 0.5, -0.5, 0 },
    { "HammingWindow", 25.0 / 46, -21.0 / 46, 0 },
    { "BlackmanWindow", 0.42, -0.5, 0.08 },
};

static status import_window(struct onnx_site *s)
{
    struct value *size, *at, *n, *turn, *cos, *out;
    dtype d;
    size_t row = 0;
    TRY(onnx_in(s, 0, &size));
    TRY(onnx_type_attr(s, "output_datatype", DTYPE_F32, &d));
    while (row + 1 < ARRAY_LEN(windows) && !str_is(s->node->type, windows[row].type))
        row++;
    TRY(scalar_in(s, size, &size));
    TRY(build_range(s, size, NULL, &at));
    TRY(build_cast(s, at, DTYPE_F64, &at));
    TRY(build_affine(s, size, 1, onnx_bool(s, "periodic", true) ? 0 : -1, &n));
    TRY(build_cast(s, n, DTYPE_F64, &n));
    TRY(build2(s, "div", at, n, &turn));
    TRY(build_by(s, "mul", turn, 2 * 3.14159265358979323846, &turn));
    TRY(build1(s, "cos", turn, &cos));
    TRY(build_affine(s, cos, windows[row].once, windows[row].constant, &out));
    if (windows[row].twice != 0) {
        TRY(build_affine(s, turn, 2, 0, &turn));
        TRY(build1(s, "cos", turn, &cos));
        TRY(build_affine(s, cos, windows[row].twice, 0, &cos));
        TRY(build2(s, "add", out, cos, &out));
    }
    TRY(build_cast(s, out, d, &out));
    return onnx_bind(s, 0, out);
}

/* ---- by chance ---- */

/* ONNX's seed is a float; none means others at each run, which is our 0. */
static int32_t read_seed(struct onnx_site *s)
{
    float seed = onnx_f32(s, "seed", 0);
    return seed >= 1 && seed < 0x1p31f ? (int32_t)seed : onnx_attr(s, "seed") != NULL ? 1 : 0;
}

static struct random_attrs read_random(struct onnx_site *s, dtype d)
{
    bool normal =
        str_is(s->node->type, "RandomNormal") || str_is(s->node->type, "RandomNormalLike");
    return (struct random_attrs){
        .kind = normal ? RANDOM_NORMAL : RANDOM_UNIFORM,
        .dtype = (int32_t)d,
        .seed = read_seed(s),
        .a = normal ? onnx_f32(s, "mean", 0) : onnx_f32(s, "low", 0),
        .b = normal ? onnx_f32(s, "scale", 1) : onnx_f32(s, "high", 1),
    };
}

static status import_random(struct onnx_site *s)
{
    struct value *shape, *out;
    struct attr_ints dims = onnx_i64s(s, "shape");
    dtype d;
    TRY(onnx_type_attr(s, "dtype", DTYPE_F32, &d));
    TRY(onnx_add_ints(s, &dims, &shape));
    TRY(onnx_add1(s, "random", &shape, 1, &out));
    *(struct random_attrs *)node_attrs(out->producer) = read_random(s, d);
    out->dtype = d;
    out->shape.rank = dims.count <= SHAPE_MAX ? dims.count : -1;
    declare_unknown(out);
    return onnx_bind(s, 0, out);
}

static status random_like(struct onnx_site *s, struct value *x, const struct random_attrs *a,
                          struct value **out)
{
    struct value *shape;
    TRY(build_shape(s, x, &shape));
    TRY(onnx_add1(s, "random", &shape, 1, out));
    *(struct random_attrs *)node_attrs((*out)->producer) = *a;
    (*out)->dtype = (dtype)a->dtype;
    (*out)->shape = x->shape;
    return OK;
}

static status import_random_like(struct onnx_site *s)
{
    struct value *x, *out;
    dtype d;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_type_attr(s, "dtype", x->dtype, &d));
    struct random_attrs a = read_random(s, d);
    TRY(random_like(s, x, &a, &out));
    return onnx_bind(s, 0, out);
}

/* 1 where a number of 0 .. 1 falls below the probability. */
static status import_bernoulli(struct onnx_site *s)
{
    struct value *x, *chance, *hit;
    dtype d;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_type_attr(s, "dtype", x->dtype, &d));
    struct random_attrs a = { .dtype = DTYPE_F32, .seed = read_seed(s), .b = 1 };
    TRY(build_cast(s, x, DTYPE_F32, &x));
    TRY(random_like(s, x, &a, &chance));
    TRY(build2(s, "less", chance, x, &hit));
    TRY(build_cast(s, hit, d, &hit));
    return onnx_bind(s, 0, hit);
}

// clang-format off
const struct onnx_row onnx_signal[] = {
    { "DFT",               "dft",    import_dft },
    { "STFT",              "dft",    import_stft },
    { "HannWindow",        "cos",    import_window },
    { "HammingWindow",     "cos",    import_window },
    { "BlackmanWindow",    "cos",    import_window },
    { "RandomUniform",     "random", import_random },
    { "RandomNormal",      "random", import_random },
    { "RandomUniformLike", "random", import_random_like },
    { "RandomNormalLike",  "random", import_random_like },
    { "Bernoulli",         "random", import_bernoulli },
    { 0 },
};
// clang-format on
