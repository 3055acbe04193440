/* What multiplies and shifts each channel of a convolution's result (batch_norm, affine, or mul, add, sub, div with a
 * constant) joins the convolution: out = scale * (x conv w) + bias. The weights stay the file's; whoever packs them
 * multiplies them on the way. A conv_transpose, which has no scale, gets weights of its own. Results differ by the roundings that
 * are saved. */
#include "base/mem.h"
#include "graph/attrs_image.h"
#include "graph/attrs_quant.h"
#include "graph/op.h"
#include "passes/rows.h"

#include <math.h>
#include <string.h>

/* y = scale[c] * x + shift[c] */
struct map {
    int64_t channels;
    float *scale, *shift;
};

static const float *floats(const struct value *v, int64_t count)
{
    const struct tensor *c = v != NULL ? v->constant : NULL;
    return c != NULL && c->dtype == DTYPE_F32 && shape_numel(&c->shape) == count ? c->data : NULL;
}

enum norm_input {
    NORM_X,
    NORM_SCALE,
    NORM_BIAS,
    NORM_MEAN,
    NORM_VARIANCE,
    NORM_INPUTS
};

/* batch_norm: (x - mean) / sqrt(variance + epsilon) * scale + bias */
static bool map_norm(const struct node *n, int k, struct map *m)
{
    const float *in[NORM_INPUTS] = { NULL }, *epsilon = pass_field(n, "epsilon");
    const bool *last = pass_field(n, "channel_last");
    if (epsilon == NULL || n->in_count < NORM_INPUTS || (last != NULL && *last))
        return false;
    for (int i = NORM_SCALE; i < NORM_INPUTS; i++)
        if ((in[i] = floats(n->in[i], m->channels)) == NULL)
            return false;
    for (int64_t c = 0; c < m->channels; c++) {
        m->scale[c] = (float)(in[NORM_SCALE][c] / sqrt((double)in[NORM_VARIANCE][c] + *epsilon));
        m->shift[c] = (float)(in[NORM_BIAS][c] - (double)in[NORM_MEAN][c] * m->scale[c]);
    }
    return true;
}

static bool map_affine(const struct node *n, int k, struct map *m)
{
    const struct affine_attrs *a = n->attrs;
    for (int64_t c = 0; c < m->channels; c++) {
        m->scale[c] = a->scale;
        m->shift[c] = a->bias;
    }
    return true;
}

/* What Paddle's older quantised forms put behind a product of integers. */
static bool map_dequant(const struct node *n, int k, struct map *m)
{
    const struct fake_dequant_attrs *a = n->attrs;
    const float *scale = floats(n->in[1], a->per_axis ? m->channels : 1), *second = NULL;
    bool has_second = n->in_count > 2 && n->in[2] != NULL;
    if (has_second)
        second = floats(n->in[2], 1);
    if (scale == NULL || (a->per_axis && a->axis != 1) || has_second != (second != NULL))
        return false;
    for (int64_t c = 0; c < m->channels; c++) {
        m->scale[c] = scale[a->per_axis ? c : 0] * (second != NULL ? *second : 1) / a->range;
        m->shift[c] = 0;
    }
    return true;
}

/* One number, or one for each channel of [N, C, H, W]; its step from channel to channel. */
static const float *operand(const struct value *v, int64_t channels, int *step)
{
    const struct tensor *c = v->constant;
    if (c == NULL || c->dtype != DTYPE_F32)
        return NULL;
    int r = c->shape.rank;
    *step = shape_numel(&c->shape) != 1;
    if (*step == 0)
        return r <= 4 ? c->data : NULL;
    bool fits = (r == 3 || (r == 4 && c->shape.dim[0] == 1)) && c->shape.dim[r - 3] == channels &&
                c->shape.dim[r - 2] == 1 && c->shape.dim[r - 1] == 1;
    return fits ? c->data : NULL;
}

/* k: the input that is the image. */
static bool map_binary(const struct node *n, int k, struct map *m)
{
    int step;
    const float *v = operand(n->in[1 - k], m->channels, &step);
    char op = n->op->name[0]; /* add, sub, mul, div */
    if (v == NULL || (op == 'd' && k == 1))
        return false;
    for (int64_t c = 0; c < m->channels; c++, v += step) {
        m->scale[c] = op == 'm' ? *v : (op == 'd' ? 1 / *v : 1);
        m->shift[c] = op == 'a' ? *v : (op == 's' ? -*v : 0);
        if (op == 's' && k == 1) { /* v - x */
            m->scale[c] = -1;
            m->shift[c] = *v;
        }
    }
    return true;
}

static const struct follower {
    const char *op;
    int inputs; /* that may be the image */
    bool (*map)(const struct node *n, int k, struct map *m);
} followers[] = {
    { "batch_norm", 1, map_norm },      { "affine", 1, map_affine }, { "mul", 2, map_binary },
    { "add", 2, map_binary },           { "sub", 2, map_binary },    { "div", 2, map_binary },
    { "fake_dequant", 1, map_dequant },
};

static const struct follower *find_follower(const struct node *n)
{
    for (size_t i = 0; i < ARRAY_LEN(followers); i++)
        if (strcmp(followers[i].op, n->op->name) == 0 && n->out_count == 1)
            return &followers[i];
    return NULL;
}

/* ---- joining ---- */

static bool is_free(const struct node *conv, int input)
{
    return conv->in_count <= input || conv->in[input] == NULL;
}

static bool can_take(const struct node *conv)
{
    const struct conv_attrs *a = conv->attrs;
    const struct tensor *w = conv->in[CONV_W]->constant;
    int64_t channels = w != NULL && w->shape.rank == 4 ? w->shape.dim[0] : -1;
    return channels > 0 && (w->dtype == DTYPE_F32 || w->dtype == DTYPE_I8) && a->act == ACT_NONE &&
           is_free(conv, CONV_RESIDUAL) &&
           (is_free(conv, CONV_BIAS) || floats(conv->in[CONV_BIAS], channels) != NULL) &&
           (is_free(conv, CONV_SCALE) || floats(conv->in[CONV_SCALE], channels) != NULL);
}

/* [C, O, h, w], in one group */
static bool can_take_turned(const struct node *conv)
{
    const struct tensor *w = conv->in[CONV_W]->constant;
    int64_t channels = w != NULL && w->shape.rank == 4 ? w->shape.dim[1] : -1;
    return channels > 0 && w->dtype == DTYPE_F32 &&
           ((const struct conv_nd_attrs *)conv->attrs)->groups <= 1 &&
           (is_free(conv, CONV_BIAS) || floats(conv->in[CONV_BIAS], channels) != NULL);
}

static status set_floats(struct graph *g, struct node *n, int index, float *data, int64_t count,
                         struct err *e)
{
    struct value *v;
    TRY(add_floats(g, data, count, &v, e));
    return put_input(g, n, index, v, e);
}

static bool is_all(const float *x, int64_t n, float value)
{
    for (int64_t i = 0; i < n; i++)
        if (x[i] != value)
            return false;
    return true;
}

/* scale (s conv + b) + shift */
static status join(struct graph *g, struct node *conv, struct map *m, struct err *e)
{
    const float *b = is_free(conv, CONV_BIAS) ? NULL : conv->in[CONV_BIAS]->constant->data;
    const float *s = is_free(conv, CONV_SCALE) ? NULL : conv->in[CONV_SCALE]->constant->data;
    for (int64_t c = 0; c < m->channels; c++) {
        m->shift[c] += b != NULL ? b[c] * m->scale[c] : 0;
        m->scale[c] *= s != NULL ? s[c] : 1;
    }
    if (b != NULL || !is_all(m->shift, m->channels, 0))
        TRY(set_floats(g, conv, CONV_BIAS, m->shift, m->channels, e));
    if (s != NULL || !is_all(m->scale, m->channels, 1))
        TRY(set_floats(g, conv, CONV_SCALE, m->scale, m->channels, e));
    return OK;
}

static status scale_turned(struct graph *g, struct node *conv, const struct map *m, struct err *e)
{
    struct tensor t = *conv->in[CONV_W]->constant;
    int64_t taps = t.shape.dim[2] * t.shape.dim[3], count = shape_numel(&t.shape);
    const void *w = t.data;
    float *scaled = arena_try_array(&g->arena, (size_t)count, sizeof(*scaled));
    if (scaled == NULL)
        return err_set(e, NO_MEMORY, "no memory for %lld weights", (long long)count);
    for (int64_t i = 0; i < count; i++)
        scaled[i] = float_at(w, i) * m->scale[i / taps % m->channels];
    t.data = scaled;
    return graph_add_constant(g, NULL, &t, &conv->in[CONV_W], e);
}

static status join_turned(struct graph *g, struct node *conv, struct map *m, struct err *e)
{
    const float *b = is_free(conv, CONV_BIAS) ? NULL : conv->in[CONV_BIAS]->constant->data;
    for (int64_t c = 0; c < m->channels; c++)
        m->shift[c] += b != NULL ? b[c] * m->scale[c] : 0;
    if (b != NULL || !is_all(m->shift, m->channels, 0))
        TRY(set_floats(g, conv, CONV_BIAS, m->shift, m->channels, e));
    return is_all(m->scale, m->channels, 1) ? OK : scale_turned(g, conv, m, e);
}

/* What can be multiplied and shifted, and where its output channels stand in its filter. */
static const struct host {
    const char *op;
    int channels;
    bool (*can_take)(const struct node *conv);
    status (*join)(struct graph *g, struct node *conv, struct map *m, struct err *e);
} hosts[] = {
    { "conv2d", 0, can_take, join },
    { "conv_transpose", 1, can_take_turned, join_turned },
};

static const struct host *find_host(const struct value *v, const int *uses)
{
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        const struct node *n = sole_producer(v, hosts[i].op, uses);
        if (n != NULL && hosts[i].can_take(n))
            return &hosts[i];
    }
    return NULL;
}

static struct map new_map(struct graph *g, int64_t channels)
{
    size_t bytes = (size_t)channels * sizeof(float);
    return (struct map){ channels, arena_alloc(&g->arena, bytes), arena_alloc(&g->arena, bytes) };
}

static status try_join(struct graph *g, struct node *n, const int *uses, int *changes,
                       struct err *e)
{
    const struct follower *f = find_follower(n);
    for (int k = 0; f != NULL && k < f->inputs; k++) {
        const struct host *h = find_host(n->in[k], uses);
        struct node *conv = n->in[k]->producer;
        if (h == NULL)
            continue;
        struct map m = new_map(g, conv->in[CONV_W]->constant->shape.dim[h->channels]);
        if (!f->map(n, k, &m))
            continue;
        TRY(h->join(g, conv, &m, e));
        graph_absorb(conv, n);
        ++*changes;
        return OK;
    }
    return OK;
}

status fold_scale(struct graph *g, int *changes, struct err *e)
{
    int *uses = mem_alloc((g->value_count + 1) * sizeof(*uses));
    uint32_t known = g->value_count; /* constants are added behind them */
    graph_count_uses(g, uses);
    status s = OK;
    for (uint32_t i = 0; i < g->node_count && s == OK; i++)
        s = g->nodes[i]->out_count > 0 && g->nodes[i]->out[0]->id < known
                ? try_join(g, g->nodes[i], uses, changes, e)
                : OK;
    mem_free(uses);
    return s;
}
