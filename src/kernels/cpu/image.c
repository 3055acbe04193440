/* Operators on images that work on whatever layout their neighbours chose: an image is `planes` planes of h x w places of
 * `inner` channels each: [N * C, h, w, 1] plain, [N, h, w, C] with channels last, [N * C/b, h, w, b] in blocks. */
#include "kernels/cpu/cpu.h"
#include "kernels/resize.h"

#include <string.h>

static enum layout have(const struct kernel_ctx *ctx, int i)
{
    return ctx->have != NULL ? ctx->have[i] : LAYOUT_PLAIN;
}

static void keep_layout(const struct kernel_ctx *ctx, int inputs, enum layout l)
{
    if (ctx->have == NULL)
        return;
    for (int i = 0; i < inputs; i++)
        ctx->want[i] = l;
    ctx->give[0] = l;
}

/* ---- resize ---- */

struct resize {
    int64_t planes, inner, in_size; /* in_size: elements of a plane of the input */
    int64_t out_h, out_w;
    int taps;
    struct resize_tap *y, *x; /* in elements of the input's layout */
};

static bool keeps_size(const struct kernel_ctx *ctx, int axis)
{
    return ctx->in[0].shape.dim[axis] == ctx->out[0].shape.dim[axis];
}

static const char *refuse_resize(const struct kernel_ctx *ctx)
{
    const struct resize_attrs *a = ctx->node->attrs;
    if (ctx->in[0].shape.rank != 4 || !keeps_size(ctx, 0) || !keeps_size(ctx, 1))
        return "other axes than height and width change";
    if (a->mode == RESIZE_CUBIC)
        return "only for nearest and linear";
    return shape_numel(&ctx->out[0].shape) == 0 ? "there is nothing to compute" : NULL;
}

/* The taps of one axis, which stays as it is where the node does not speak of it. */
static status make_taps(const struct kernel_ctx *ctx, int axis, int64_t step,
                        struct resize_tap **out, struct err *e)
{
    struct resize_axis plan[SHAPE_MAX];
    int64_t size = ctx->out[0].shape.dim[axis];
    int count;
    *out = arena_try_array(ctx->arena, (size_t)size, sizeof(**out));
    if (*out == NULL)
        return err_set(e, NO_MEMORY, "no memory for the places of %lld elements", (long long)size);
    TRY(resize_plan(ctx->node, ctx->in, plan, &count, e));
    const struct resize_axis *found = NULL;
    for (int k = 0; k < count; k++)
        found = plan[k].axis == axis ? &plan[k] : found;
    for (int64_t i = 0; i < size; i++) {
        if (found != NULL)
            resize_tap(ctx->node->attrs, found, i, step, &(*out)[i]);
        else
            (*out)[i] = (struct resize_tap){ .at = { i * step, i * step }, .weight = { 1, 0 } };
    }
    return OK;
}

static status prepare_resize(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    enum layout l = have(ctx, 0);
    struct shape in = layout_shape(&ctx->in[0].shape, l);
    struct resize *s = arena_zalloc(ctx->arena, sizeof(*s));
    keep_layout(ctx, 1, l);
    s->inner = l == LAYOUT_LAST ? in.dim[3] : layout_block(l);
    s->in_size = ctx->in[0].shape.dim[2] * ctx->in[0].shape.dim[3] * s->inner;
    s->planes = shape_numel(&in) / s->in_size;
    s->out_h = ctx->out[0].shape.dim[2];
    s->out_w = ctx->out[0].shape.dim[3];
    s->taps = resize_taps(((const struct resize_attrs *)ctx->node->attrs)->mode);
    TRY(make_taps(ctx, 2, ctx->in[0].shape.dim[3] * s->inner, &s->y, e));
    TRY(make_taps(ctx, 3, s->inner, &s->x, e));
    *state = s;
    return OK;
}

CLONES static void nearest_row(const struct resize *s, const float *row, float *out)
{
    if (s->inner == 1) {
        for (int64_t x = 0; x < s->out_w; x++)
            out[x] = row[s->x[x].at[0]];
        return;
    }
    for (int64_t x = 0; x < s->out_w; x++, out += s->inner)
        memcpy(out, row + s->x[x].at[0], (size_t)s->inner * sizeof(float));
}

/* above and below: rows of the input; the result lies `weight` of the way down. */
CLONES static void linear_row(const struct resize *s, const float *above, const float *below,
                              const struct resize_tap *y, float *out)
{
    float up = y->weight[0], down = y->weight[1];
    for (int64_t x = 0; x < s->out_w; x++, out += s->inner) {
        const struct resize_tap *t = &s->x[x];
        const float *a = above + t->at[0], *b = above + t->at[1];
        const float *c = below + t->at[0], *d = below + t->at[1];
        float left = t->weight[0], right = t->weight[1];
        for (int64_t i = 0; i < s->inner; i++)
            out[i] = up * (left * a[i] + right * b[i]) + down * (left * c[i] + right * d[i]);
    }
}

static status run_resize(const void *state, const struct kernel_io *io)
{
    const struct resize *s = state;
    const float *in = io->in[0];
    float *out = io->out[0];
    for (int64_t p = 0; p < s->planes; p++, in += s->in_size)
        for (int64_t y = 0; y < s->out_h; y++, out += s->out_w * s->inner) {
            const struct resize_tap *t = &s->y[y];
            if (s->taps == 1)
                nearest_row(s, in + t->at[0], out);
            else
                linear_row(s, in + t->at[0], in + t->at[1], t, out);
        }
    return OK;
}

/* ---- concat ---- */

/* Each input gives `bytes` at a time, `outer` times. */
struct concat {
    int64_t outer;
    int count;
    size_t *bytes;
};

/* The layout that all inputs are joined in along the channels: that of the first one that is not plain, where the joint
 * falls between whole blocks. */
static enum layout joint_layout(const struct kernel_ctx *ctx, int axis)
{
    enum layout l = LAYOUT_PLAIN;
    int count = ctx->node->in_count;
    for (int i = 0; i < count && l == LAYOUT_PLAIN; i++)
        l = have(ctx, i);
    for (int i = 0; i < count && axis == 1; i++)
        if (ctx->in[i].shape.rank == 4 && ctx->in[i].shape.dim[1] % layout_block(l) != 0)
            return LAYOUT_PLAIN;
    return l;
}

/* Where the axis of NCHW is in the array that really lies there. */
static int place_of(enum layout l, int axis)
{
    static const int last[] = { 0, 3, 1, 2 };
    return l == LAYOUT_LAST ? last[axis] : axis;
}

static status prepare_concat(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct concat *s = arena_zalloc(ctx->arena, sizeof(*s));
    int axis = shape_axis(&ctx->out[0].shape, ((const struct axis_attrs *)ctx->node->attrs)->axis);
    enum layout l = joint_layout(ctx, axis);
    struct shape out = layout_shape(&ctx->out[0].shape, l);
    int at = place_of(l, axis);
    keep_layout(ctx, ctx->node->in_count, l);
    s->outer = shape_span(&out, 0, at);
    s->count = ctx->node->in_count;
    s->bytes = arena_zalloc(ctx->arena, (size_t)s->count * sizeof(*s->bytes));
    for (int i = 0; i < s->count; i++) {
        struct shape in = layout_shape(&ctx->in[i].shape, l);
        s->bytes[i] = (size_t)shape_span(&in, at, in.rank) * dtype_size(ctx->in[i].dtype);
    }
    *state = s;
    return OK;
}

static status run_concat(const void *state, const struct kernel_io *io)
{
    const struct concat *s = state;
    uint8_t *out = io->out[0];
    for (int64_t o = 0; o < s->outer; o++)
        for (int i = 0; i < s->count; i++) {
            if (s->bytes[i] > 0)
                memcpy(out, (const uint8_t *)io->in[i] + (size_t)o * s->bytes[i], s->bytes[i]);
            out += s->bytes[i];
        }
    return OK;
}

const struct kernel cpu_image[] = {
    { "resize", "cpu resize", F32_ONLY, DEVICE_CPU, refuse_resize, prepare_resize, run_resize,
      NULL },
    { "concat", "cpu concat", UINT32_MAX, DEVICE_CPU, NULL, prepare_concat, run_concat, NULL },
    { 0 },
};
