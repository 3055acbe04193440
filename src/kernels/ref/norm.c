#include "graph/attrs_image.h"
#include "kernels/ref/ref.h"

/* Element c of image n lies at n * image + c * step, its neighbours of the same channel `next` apart, `size` of them. */
struct state {
    int64_t images, channels, size, image, step, next;
    struct norm_attrs attrs;
    struct lrn_attrs lrn;
};

static void place(struct state *s, const struct shape *x, bool channel_last)
{
    s->images = x->dim[0];
    s->channels = x->dim[channel_last ? x->rank - 1 : 1];
    s->size = channel_last ? shape_span(x, 1, x->rank - 1) : shape_span(x, 2, x->rank);
    s->image = s->channels * s->size;
    s->step = channel_last ? 1 : s->size;
    s->next = channel_last ? s->channels : 1;
}

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct norm_attrs *)ctx->node->attrs;
    place(s, &ctx->in[0].shape, s->attrs.channel_last);
    *state = s;
    return OK;
}

static status run_batch(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0], *scale = io->in[1], *bias = io->in[2], *mean = io->in[3],
                *variance = io->in[4];
    float *y = io->out[0];
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t c = 0; c < s->channels; c++) {
            double by = scale[c] / sqrt((double)variance[c] + s->attrs.epsilon);
            double more = bias[c] - mean[c] * by;
            int64_t at = n * s->image + c * s->step;
            for (int64_t i = 0; i < s->size; i++, at += s->next)
                y[at] = (float)(x[at] * by + more);
        }
    return OK;
}

/* ---- by the mean and variance of the values themselves ---- */

struct moments {
    double mean, variance;
};

/* Of `channels` neighbouring channels from c on. */
static struct moments measure(const struct state *s, const float *x, int64_t c, int64_t channels)
{
    double sum = 0, squares = 0, count = (double)channels * (double)s->size;
    for (int64_t k = c; k < c + channels; k++)
        for (int64_t i = 0; i < s->size; i++)
            sum += x[k * s->step + i * s->next];
    double mean = sum / count;
    for (int64_t k = c; k < c + channels; k++)
        for (int64_t i = 0; i < s->size; i++) {
            double d = x[k * s->step + i * s->next] - mean;
            squares += d * d;
        }
    return (struct moments){ mean, squares / count };
}

static void normalise(const struct state *s, const struct kernel_io *io, const struct moments *m,
                      int64_t n, int64_t c)
{
    const float *x = io->in[0], *scale = io->in[1], *bias = io->in[2];
    float *y = io->out[0];
    double by = (scale != NULL ? scale[c] : 1) / sqrt(m->variance + s->attrs.epsilon);
    double more = bias != NULL ? bias[c] : 0;
    int64_t at = n * s->image + c * s->step;
    for (int64_t i = 0; i < s->size; i++, at += s->next)
        y[at] = (float)((x[at] - m->mean) * by + more);
}

static void run_groups(const struct state *s, const struct kernel_io *io, int64_t per_group)
{
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t c = 0; c < s->channels; c += per_group) {
            struct moments m = measure(s, (const float *)io->in[0] + n * s->image, c, per_group);
            for (int64_t k = c; k < c + per_group; k++)
                normalise(s, io, &m, n, k);
        }
}

static status run_instance(const void *state, const struct kernel_io *io)
{
    run_groups(state, io, 1);
    return OK;
}

static status run_group(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    run_groups(s, io, s->channels / s->attrs.groups);
    return OK;
}

/* ---- lrn ---- */

static status prepare_lrn(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->lrn = *(const struct lrn_attrs *)ctx->node->attrs;
    place(s, &ctx->in[0].shape, s->lrn.channel_last);
    *state = s;
    return OK;
}

static status run_lrn(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    const float *x = io->in[0];
    float *y = io->out[0];
    int64_t before = (s->lrn.size - 1) / 2, after = s->lrn.size - 1 - before;
    for (int64_t n = 0; n < s->images; n++, x += s->image, y += s->image)
        for (int64_t c = 0; c < s->channels; c++)
            for (int64_t i = 0; i < s->size; i++) {
                int64_t from = c > before ? c - before : 0;
                int64_t to = after < s->channels - c ? c + after + 1 : s->channels;
                double sum = 0;
                for (int64_t k = from; k < to; k++) {
                    double v = x[k * s->step + i * s->next];
                    sum += v * v;
                }
                int64_t at = c * s->step + i * s->next;
                y[at] = (float)(x[at] / pow(s->lrn.k + s->lrn.alpha * sum, s->lrn.beta));
            }
    return OK;
}

// clang-format off
const struct kernel ref_norm[] = {
    { "batch_norm",    "ref batch_norm",    F32_ONLY, DEVICE_CPU, NULL, prepare,     run_batch,    NULL },
    { "instance_norm", "ref instance_norm", F32_ONLY, DEVICE_CPU, NULL, prepare,     run_instance, NULL },
    { "group_norm",    "ref group_norm",    F32_ONLY, DEVICE_CPU, NULL, prepare,     run_group,    NULL },
    { "lrn",           "ref lrn",           F32_ONLY, DEVICE_CPU, NULL, prepare_lrn, run_lrn,      NULL },
    { 0 },
};
// clang-format on
