#include "kernels/resize.h"
#include "graph/attrs_image.h"
#include "kernels/ref/ref.h"

#include <string.h>

/* ---- resize: each element is a weighted sum over the product of a few places along each axis ---- */

struct axis {
    int64_t out, step;      /* of the input, between neighbours along this axis */
    int taps;               /* 1: nearest, or an axis that keeps its size */
    struct resize_tap *tap; /* one for each place of the output */
};

struct state {
    int rank;
    struct axis axis[SHAPE_MAX];
    int64_t count;
};

static void keep_axis(struct arena *a, struct axis *x, int64_t size)
{
    x->taps = 1;
    x->tap = arena_try_array(a, (size_t)size + 1, sizeof(*x->tap));
    for (int64_t i = 0; x->tap != NULL && i < size; i++) {
        x->tap[i].at[0] = i * x->step;
        x->tap[i].weight[0] = 1;
    }
}

static void resize_axis(const struct resize_attrs *r, const struct resize_axis *p, struct arena *a,
                        struct axis *x)
{
    x->taps = resize_taps(r->mode);
    x->tap = arena_try_array(a, (size_t)p->out, sizeof(*x->tap));
    for (int64_t i = 0; x->tap != NULL && i < p->out; i++)
        resize_tap(r, p, i, x->step, &x->tap[i]);
}

static status prepare_resize(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct resize_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape, *y = &ctx->out[0].shape;
    struct resize_axis plan[SHAPE_MAX];
    int count;
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->rank = x->rank;
    s->count = shape_numel(y);
    *state = s;
    if (s->count == 0)
        return OK;
    TRY(resize_plan(ctx->node, ctx->in, plan, &count, e));
    for (int i = 0; i < x->rank; i++) {
        struct axis *axis = &s->axis[i];
        *axis = (struct axis){ .out = y->dim[i], .step = shape_span(x, i + 1, x->rank) };
        const struct resize_axis *p = NULL;
        for (int k = 0; k < count; k++)
            p = plan[k].axis == i ? &plan[k] : p;
        if (p != NULL)
            resize_axis(a, p, ctx->arena, axis);
        else
            keep_axis(ctx->arena, axis, x->dim[i]);
        if (axis->tap == NULL)
            return err_set(e, NO_MEMORY, "no memory for the places of %lld elements",
                           (long long)axis->out);
    }
    return OK;
}

static double blend(const struct state *s, const float *x, const int64_t *index, int axis,
                    int64_t at)
{
    if (axis == s->rank)
        return x[at];
    const struct axis *a = &s->axis[axis];
    const struct resize_tap *t = &a->tap[index[axis]];
    if (a->taps == 1)
        return blend(s, x, index, axis + 1, at + t->at[0]);
    double sum = 0;
    for (int i = 0; i < a->taps; i++)
        sum += t->weight[i] * blend(s, x, index, axis + 1, at + t->at[i]);
    return sum;
}

static void step(const int64_t *dim, int rank, int64_t *index)
{
    for (int i = rank - 1; i >= 0 && ++index[i] == dim[i]; i--)
        index[i] = 0;
}

static status run_resize(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    int64_t index[SHAPE_MAX] = { 0 }, dim[SHAPE_MAX] = { 0 };
    float *out = io->out[0];
    for (int i = 0; i < s->rank; i++)
        dim[i] = s->axis[i].out;
    for (int64_t o = 0; o < s->count; o++, step(dim, s->rank, index))
        out[o] = (float)blend(s, io->in[0], index, 0, 0);
    return OK;
}

/* ---- pad ---- */

struct pad_state {
    int rank;
    int64_t in[SHAPE_MAX], out[SHAPE_MAX], before[SHAPE_MAX], step[SHAPE_MAX], count;
    size_t size;     /* of an element */
    uint8_t fill[8]; /* an element */
    int32_t mode;
};

static void put_value(dtype d, float v, uint8_t *to)
{
    switch (d) {
    case DTYPE_F32: memcpy(to, &v, sizeof(v)); break;
    case DTYPE_F64: memcpy(to, &(double){ v }, sizeof(double)); break;
    case DTYPE_F16: memcpy(to, &(uint16_t){ f32_to_f16(v) }, 2); break;
    case DTYPE_BF16: memcpy(to, &(uint16_t){ f32_to_bf16(v) }, 2); break;
    case DTYPE_I64: memcpy(to, &(int64_t){ (int64_t)v }, sizeof(int64_t)); break;
    case DTYPE_I32: memcpy(to, &(int32_t){ (int32_t)v }, sizeof(int32_t)); break;
    default: *to = (uint8_t)(int32_t)v; break;
    }
}

static const char *refuse_pad(const struct kernel_ctx *ctx)
{
    float v = ((const struct pad_attrs *)ctx->node->attrs)->value;
    bool whole = ctx->in[0].dtype != DTYPE_F32 && ctx->in[0].dtype != DTYPE_F64;
    return whole && !(v > -1e9f && v < 1e9f) ? "the value does not fit an integer" : NULL;
}

static status prepare_pad(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    const struct pad_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape, *y = &ctx->out[0].shape;
    int64_t after[SHAPE_MAX];
    struct pad_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    TRY(pad_amounts(ctx->node, ctx->in, s->before, after, e));
    s->rank = x->rank;
    s->mode = a->mode;
    s->count = shape_numel(y);
    s->size = dtype_size(ctx->in[0].dtype);
    put_value(ctx->in[0].dtype, a->value, s->fill);
    memcpy(s->in, x->dim, sizeof(s->in));
    memcpy(s->out, y->dim, sizeof(s->out));
    for (int i = 0; s->count > 0 && i < x->rank; i++)
        s->step[i] = shape_span(x, i + 1, x->rank);
    *state = s;
    return OK;
}

/* The input's place for place v - before of an axis; -1: there is none. */
static int64_t pad_source(int32_t mode, int64_t v, int64_t size)
{
    if (v >= 0 && v < size)
        return v;
    switch ((enum pad_mode)mode) {
    case PADDING_REFLECT: return v < 0 ? -v : 2 * size - 2 - v;
    case PADDING_EDGE: return v < 0 ? 0 : size - 1;
    case PADDING_WRAP: return v < 0 ? v + size : v - size;
    default: return -1;
    }
}

static int64_t pad_place(const struct pad_state *s, const int64_t *index)
{
    int64_t at = 0;
    for (int i = 0; i < s->rank; i++) {
        int64_t v = pad_source(s->mode, index[i] - s->before[i], s->in[i]);
        if (v < 0)
            return -1;
        at += v * s->step[i];
    }
    return at;
}

static status run_pad(const void *state, const struct kernel_io *io)
{
    const struct pad_state *s = state;
    int64_t index[SHAPE_MAX] = { 0 };
    const uint8_t *x = io->in[0], *fill = io->in[2] != NULL ? io->in[2] : s->fill;
    uint8_t *out = io->out[0];
    for (int64_t o = 0; o < s->count; o++, out += s->size, step(s->out, s->rank, index)) {
        int64_t at = pad_place(s, index);
        memcpy(out, at < 0 ? fill : x + (size_t)at * s->size, s->size);
    }
    return OK;
}

/* ---- grid_sample ---- */

struct grid_state {
    int64_t images, channels, in[3], places; /* in: depth (or 1), height, width */
    int axes;
    struct grid_attrs attrs;
};

static status prepare_grid(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct shape *x = &ctx->in[0].shape, *grid = &ctx->in[1].shape;
    struct grid_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct grid_attrs *)ctx->node->attrs;
    s->axes = x->rank - 2;
    s->images = x->dim[0];
    s->channels = x->dim[1];
    s->in[0] = s->axes == 3 ? x->dim[2] : 1;
    s->in[1] = x->dim[x->rank - 2];
    s->in[2] = x->dim[x->rank - 1];
    s->places = shape_span(grid, 1, grid->rank - 1);
    *state = s;
    return OK;
}

/* Mirrors v at the borders low and low + span until it lies inside. */
static float mirror(float v, float low, float span)
{
    if (!(span > 0))
        return 0;
    float d = fabsf(v - low), extra = fmodf(d, span);
    return fmodf(floorf(d / span), 2) == 0 ? extra + low : span - extra + low;
}

static float limit_place(const struct grid_attrs *a, float v, int64_t size)
{
    float last = (float)(size - 1);
    if (a->padding == GRID_REFLECTION)
        v = a->align_corners ? mirror(v, 0, last) : mirror(v, -0.5f, (float)size);
    if (a->padding != GRID_ZEROS)
        v = v < 0 || isnan(v) ? 0 : v > last ? last : v;
    return v;
}

static float grid_place(const struct grid_attrs *a, float g, int64_t size)
{
    return a->align_corners ? (g + 1) / 2 * (float)(size - 1) : ((g + 1) * (float)size - 1) / 2;
}

/* An element, 0 outside. For cubic every tap is brought inside by the padding's own rule. */
static double pixel(const struct grid_state *s, const float *x, const float at[3])
{
    int64_t index = 0;
    for (int i = 0; i < 3; i++) {
        float v = at[i];
        if (s->attrs.mode == RESIZE_CUBIC)
            v = limit_place(&s->attrs, v, s->in[i]);
        if (!(v >= 0 && v <= (float)(s->in[i] - 1)))
            return 0;
        index = index * s->in[i] + (int64_t)v;
    }
    return x[index];
}

static double sum_corners(const struct grid_state *s, const float *x, const float at[3])
{
    double sum = 0;
    float low[3], part[3];
    for (int i = 0; i < 3; i++) {
        low[i] = floorf(at[i]);
        part[i] = at[i] - low[i];
    }
    for (int k = s->axes == 3 ? 0 : 4; k < 8; k++) { /* bit set: the lower neighbour */
        double weight = 1;
        float v[3];
        for (int i = 0; i < 3; i++) {
            bool lower = k >> (2 - i) & 1;
            v[i] = lower ? low[i] : low[i] + 1;
            weight *= lower ? 1 - (double)part[i] : (double)part[i];
        }
        sum += weight * pixel(s, x, v);
    }
    return sum;
}

static double sum_cubic(const struct grid_state *s, const float *x, const float at[3])
{
    float h = floorf(at[1]), w = floorf(at[2]), wh[4], ww[4];
    double sum = 0;
    resize_cubic(-0.75f, at[1] - h, wh);
    resize_cubic(-0.75f, at[2] - w, ww);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            sum += (double)wh[i] * ww[j] *
                   pixel(s, x, (float[]){ 0, h + (float)(i - 1), w + (float)(j - 1) });
    return sum;
}

static double sample(const struct grid_state *s, const float *x, const float *grid)
{
    float at[3] = { 0 };
    for (int i = 0; i < s->axes; i++) { /* the grid has x first */
        int axis = 2 - i;
        at[axis] = grid_place(&s->attrs, grid[i], s->in[axis]);
        if (s->attrs.mode != RESIZE_CUBIC)
            at[axis] = limit_place(&s->attrs, at[axis], s->in[axis]);
        if (!(fabsf(at[axis]) < 1e9f)) /* NaN, or so far outside that arithmetic ends */
            return s->attrs.padding == GRID_ZEROS ? 0 : x[0];
        if (s->attrs.strict && !(at[axis] >= 0 && at[axis] <= (float)(s->in[axis] - 1)))
            return 0;
    }
    if (s->attrs.mode == RESIZE_NEAREST)
        return pixel(s, x, (float[]){ nearbyintf(at[0]), nearbyintf(at[1]), nearbyintf(at[2]) });
    return s->attrs.mode == RESIZE_CUBIC ? sum_cubic(s, x, at) : sum_corners(s, x, at);
}

static status run_grid(const void *state, const struct kernel_io *io)
{
    const struct grid_state *s = state;
    const float *x = io->in[0], *grid = io->in[1];
    float *out = io->out[0];
    int64_t plane = s->in[0] * s->in[1] * s->in[2];
    for (int64_t n = 0; n < s->images; n++, grid += s->places * s->axes)
        for (int64_t c = 0; c < s->channels; c++, x += plane)
            for (int64_t p = 0; p < s->places; p++)
                *out++ = (float)sample(s, x, grid + p * s->axes);
    return OK;
}

/* ---- affine_grid ---- */

struct affine_state {
    int64_t images, d, h, w;
    int axes;
    bool align_corners;
};

static status prepare_affine(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    const struct shape *y = &ctx->out[0].shape;
    const struct affine_grid_attrs *a = ctx->node->attrs;
    struct affine_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    int axes = y->rank - 2;
    *s =
        (struct affine_state){ y->dim[0], axes == 3 ? y->dim[1] : 1, y->dim[axes - 1], y->dim[axes],
                               axes,      a->align_corners };
    *state = s;
    return OK;
}

/* Place i of n in -1 .. 1: the ends are the first and last elements' middles, or the image's edges. */
static double spread(int64_t i, int64_t n, bool corners)
{
    if (corners)
        return n > 1 ? -1 + 2.0 * (double)i / (double)(n - 1) : -1;
    return (2.0 * (double)i + 1) / (double)n - 1;
}

/* theta times (x, y, z, 1). */
static void put_place(const struct affine_state *s, const float *theta, const double at[3],
                      float *out)
{
    for (int i = 0; i < s->axes; i++) {
        const float *row = theta + i * (s->axes + 1);
        double sum = row[s->axes];
        for (int k = 0; k < s->axes && k < 3; k++)
            sum += row[k] * at[k];
        out[i] = (float)sum;
    }
}

static status run_affine(const void *state, const struct kernel_io *io)
{
    const struct affine_state *s = state;
    const float *t = io->in[0];
    float *out = io->out[0];
    for (int64_t n = 0; n < s->images; n++, t += s->axes * (s->axes + 1))
        for (int64_t k = 0; k < s->d; k++)
            for (int64_t i = 0; i < s->h; i++)
                for (int64_t j = 0; j < s->w; j++, out += s->axes)
                    put_place(s, t,
                              (double[]){ spread(j, s->w, s->align_corners),
                                          spread(i, s->h, s->align_corners),
                                          spread(k, s->d, s->align_corners) },
                              out);
    return OK;
}

#define PADDABLE                                                                                  \
    (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64) | DTYPE_BIT(DTYPE_F16) | DTYPE_BIT(DTYPE_BF16) | \
     DTYPE_BIT(DTYPE_I64) | DTYPE_BIT(DTYPE_I32) | DTYPE_BIT(DTYPE_U8) | DTYPE_BIT(DTYPE_I8) |    \
     DTYPE_BIT(DTYPE_BOOL))

// clang-format off
const struct kernel ref_resize[] = {
    { "resize",      "ref resize",      F32_ONLY, DEVICE_CPU, NULL,       prepare_resize, run_resize, NULL },
    { "pad",         "ref pad",         PADDABLE, DEVICE_CPU, refuse_pad, prepare_pad,    run_pad,    NULL },
    { "grid_sample", "ref grid_sample", F32_ONLY, DEVICE_CPU, NULL,       prepare_grid,   run_grid,   NULL },
    { "affine_grid", "ref affine_grid", F32_ONLY, DEVICE_CPU, NULL,       prepare_affine, run_affine, NULL },
    { 0 },
};
// clang-format on
