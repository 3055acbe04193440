#include "kernels/ref/boxes.h"

#include <string.h>

/* ---- boxes by place ---- */

struct place_state {
    const void *attrs;
    int64_t h, w, image_h, image_w, per;
};

static status prepare_place(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    const struct type *in = ctx->in;
    struct place_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = ctx->node->attrs;
    s->h = in[0].shape.dim[2];
    s->w = in[0].shape.dim[3];
    if (in[1].shape.rank == 4) {
        s->image_h = in[1].shape.dim[2];
        s->image_w = in[1].shape.dim[3];
    }
    s->per = shape_numel(&ctx->out[0].shape) / 4 / s->h / s->w;
    *state = s;
    return OK;
}

static void fill_variances(float *out, int64_t boxes, const struct attr_floats *v)
{
    for (int64_t i = 0; i < boxes * 4; i++)
        out[i] = v->v[i % 4];
}

static void clip_boxes(float *out, int64_t boxes)
{
    for (int64_t i = 0; i < boxes * 4; i++)
        out[i] = out[i] < 0 ? 0 : out[i] > 1 ? 1 : out[i];
}

/* A box of 2 w x 2 h around (x, y), in parts of the image; gives the place behind it. */
static float *put_prior(const struct place_state *s, float *out, float x, float y, double w,
                        double h)
{
    float half_w = (float)w, half_h = (float)h;
    out[0] = (x - half_w) / (float)s->image_w;
    out[1] = (y - half_h) / (float)s->image_h;
    out[2] = (x + half_w) / (float)s->image_w;
    out[3] = (y + half_h) / (float)s->image_h;
    return out + 4;
}

static float *put_ratios(const struct place_state *s, const struct prior_attrs *a, float *out,
                         float x, float y, float size)
{
    float ratio[2 * ATTR_INTS_MAX + 1];
    int count;
    prior_ratios(a, ratio, &count);
    for (int i = a->max_early ? 1 : 0; i < count; i++)
        out = put_prior(s, out, x, y, (double)size * sqrt((double)ratio[i]) / 2,
                        (double)size / sqrt((double)ratio[i]) / 2);
    return out;
}

static float *put_priors(const struct place_state *s, const struct prior_attrs *a, float *out,
                         float x, float y)
{
    for (int i = 0; i < a->min_sizes.count; i++) {
        float size = a->min_sizes.v[i];
        double both = a->max_sizes.count > 0 ? sqrt((double)(size * a->max_sizes.v[i])) / 2 : 0;
        if (a->max_early)
            out = put_prior(s, out, x, y, (double)size / 2, (double)size / 2);
        if (a->max_early && a->max_sizes.count > 0)
            out = put_prior(s, out, x, y, both, both);
        out = put_ratios(s, a, out, x, y, size);
        if (!a->max_early && a->max_sizes.count > 0)
            out = put_prior(s, out, x, y, both, both);
    }
    return out;
}

struct steps {
    float w, h;
};

/* Elements of the image from one place of the feature to the next. */
static struct steps steps_of(const struct place_state *s, float step_w, float step_h)
{
    if (step_w == 0 || step_h == 0)
        return (struct steps){ (float)s->image_w / (float)s->w, (float)s->image_h / (float)s->h };
    return (struct steps){ step_w, step_h };
}

static status run_prior(const void *state, const struct kernel_io *io)
{
    const struct place_state *s = state;
    const struct prior_attrs *a = s->attrs;
    struct steps step = steps_of(s, a->step_w, a->step_h);
    float *out = io->out[0];
    for (int64_t h = 0; h < s->h; h++)
        for (int64_t w = 0; w < s->w; w++)
            out = put_priors(s, a, out, ((float)w + a->offset) * step.w,
                             ((float)h + a->offset) * step.h);
    if (a->clip)
        clip_boxes(io->out[0], s->h * s->w * s->per);
    fill_variances(io->out[1], s->h * s->w * s->per, &a->variances);
    return OK;
}

/* The boxes of one size and ratio: density x density of them, shifted around (x, y). */
static float *put_dense(const struct place_state *s, float *out, float x, float y, int64_t density,
                        int64_t average, float width, float height)
{
    int64_t shift = average / density;
    float left = (float)((double)x - (double)average / 2. + (double)shift / 2.);
    float top = (float)((double)y - (double)average / 2. + (double)shift / 2.);
    for (int64_t i = 0; i < density; i++)
        for (int64_t j = 0; j < density; j++, out += 4) {
            double cx = (double)(left + (float)(j * shift)),
                   cy = (double)(top + (float)(i * shift));
            out[0] = (float)fmax((cx - (double)width / 2.) / (double)s->image_w, 0);
            out[1] = (float)fmax((cy - (double)height / 2.) / (double)s->image_h, 0);
            out[2] = (float)fmin((cx + (double)width / 2.) / (double)s->image_w, 1);
            out[3] = (float)fmin((cy + (double)height / 2.) / (double)s->image_h, 1);
        }
    return out;
}

static float *put_densities(const struct place_state *s, const struct density_attrs *a, float *out,
                            float x, float y, int64_t average)
{
    for (int i = 0; i < a->sizes.count; i++)
        for (int r = 0; r < a->ratios.count; r++) {
            float root = sqrtf(a->ratios.v[r]);
            out = put_dense(s, out, x, y, a->densities.v[i], average, a->sizes.v[i] * root,
                            a->sizes.v[i] / root);
        }
    return out;
}

static status run_density(const void *state, const struct kernel_io *io)
{
    const struct place_state *s = state;
    const struct density_attrs *a = s->attrs;
    struct steps step = steps_of(s, a->step_w, a->step_h);
    float mean = (step.w + step.h) * 0.5f;
    int64_t average = mean > 0 && mean < 1e9f ? (int64_t)mean : 0;
    float *out = io->out[0];
    for (int64_t h = 0; h < s->h; h++)
        for (int64_t w = 0; w < s->w; w++)
            out = put_densities(s, a, out, ((float)w + a->offset) * step.w,
                                ((float)h + a->offset) * step.h, average);
    if (a->clip)
        clip_boxes(io->out[0], s->h * s->w * s->per);
    fill_variances(io->out[1], s->h * s->w * s->per, &a->variances);
    return OK;
}

static float *put_anchor(const struct anchor_attrs *a, float *out, float x, float y, float ratio,
                         float size)
{
    float w = roundf(sqrtf(a->stride.v[0] * a->stride.v[1] / ratio)), h = roundf(w * ratio);
    w *= size / a->stride.v[0];
    h *= size / a->stride.v[1];
    out[0] = (float)((double)x - 0.5 * (double)(w - 1));
    out[1] = (float)((double)y - 0.5 * (double)(h - 1));
    out[2] = (float)((double)x + 0.5 * (double)(w - 1));
    out[3] = (float)((double)y + 0.5 * (double)(h - 1));
    return out + 4;
}

static float *put_anchors(const struct anchor_attrs *a, float *out, float x, float y)
{
    for (int r = 0; r < a->ratios.count; r++)
        for (int i = 0; i < a->sizes.count; i++)
            out = put_anchor(a, out, x, y, a->ratios.v[r], a->sizes.v[i]);
    return out;
}

static status run_anchors(const void *state, const struct kernel_io *io)
{
    const struct place_state *s = state;
    const struct anchor_attrs *a = s->attrs;
    float *out = io->out[0];
    for (int64_t h = 0; h < s->h; h++)
        for (int64_t w = 0; w < s->w; w++)
            out = put_anchors(a, out, (float)w * a->stride.v[0] + a->offset * (a->stride.v[0] - 1),
                              (float)h * a->stride.v[1] + a->offset * (a->stride.v[1] - 1));
    fill_variances(io->out[1], s->h * s->w * s->per, &a->variances);
    return OK;
}

/* ---- box_coder ---- */

struct coder_state {
    int64_t rows, columns;
    struct box_coder_attrs attrs;
};

static status prepare_coder(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    struct coder_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct coder_state){ ctx->out[0].shape.dim[0], ctx->out[0].shape.dim[1],
                               *(const struct box_coder_attrs *)ctx->node->attrs };
    *state = s;
    return OK;
}

struct centre {
    float x, y, w, h;
};

static struct centre centre_of(const float *b, bool pixels)
{
    float w = b[2] - b[0] + (pixels ? 1 : 0), h = b[3] - b[1] + (pixels ? 1 : 0);
    return (struct centre){ b[0] + w / 2, b[1] + h / 2, w, h };
}

static void encode(const float *t, const float *prior, const float *var, bool pixels, float *out)
{
    struct centre p = centre_of(prior, pixels);
    float more = pixels ? 1 : 0;
    out[0] = ((t[0] + t[2]) / 2 - p.x) / p.w / var[0];
    out[1] = ((t[1] + t[3]) / 2 - p.y) / p.h / var[1];
    out[2] = logf(fabsf((t[2] - t[0] + more) / p.w)) / var[2];
    out[3] = logf(fabsf((t[3] - t[1] + more) / p.h)) / var[3];
}

static void decode(const float *t, const float *prior, const float *var, bool pixels, float *out)
{
    struct centre p = centre_of(prior, pixels);
    float more = pixels ? 1 : 0;
    float x = var[0] * t[0] * p.w + p.x, y = var[1] * t[1] * p.h + p.y;
    float w = expf(var[2] * t[2]) * p.w, h = expf(var[3] * t[3]) * p.h;
    out[0] = x - w / 2;
    out[1] = y - h / 2;
    out[2] = x + w / 2 - more;
    out[3] = y + h / 2 - more;
}

static status run_coder(const void *state, const struct kernel_io *io)
{
    static const float ones[4] = { 1, 1, 1, 1 };
    const struct coder_state *s = state;
    const struct box_coder_attrs *a = &s->attrs;
    const float *prior = io->in[0], *target = io->in[1], *variances = io->in[2];
    float *out = io->out[0];
    for (int64_t i = 0; i < s->rows; i++)
        for (int64_t j = 0; j < s->columns; j++, out += 4) {
            int64_t p = a->encode || a->axis == 0 ? j : i;
            const float *var = variances != NULL        ? variances + p * 4
                               : a->variances.count > 0 ? a->variances.v
                                                        : ones;
            if (a->encode)
                encode(target + i * 4, prior + p * 4, var, a->pixels, out);
            else
                decode(target + (i * s->columns + j) * 4, prior + p * 4, var, a->pixels, out);
        }
    return OK;
}

/* ---- decode_assign ---- */

struct assign_state {
    int64_t rows, classes;
    bool own_variances; /* four for each prior */
    float limit;
};

static status prepare_assign(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                             struct err *e)
{
    struct assign_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct assign_state){ ctx->in[3].shape.dim[0], ctx->in[3].shape.dim[1],
                                ctx->in[1].shape.rank == 2,
                                ((const struct assign_attrs *)ctx->node->attrs)->limit };
    *state = s;
    return OK;
}

static void decode_class(const float *prior, const float *var, const float *d, float limit,
                         float *out)
{
    float pw = prior[2] - prior[0] + 1, ph = prior[3] - prior[1] + 1;
    float x = var[0] * d[0] * pw + (prior[0] + pw / 2);
    float y = var[1] * d[1] * ph + (prior[1] + ph / 2);
    float w = expf(fminf(var[2] * d[2], limit)) * pw, h = expf(fminf(var[3] * d[3], limit)) * ph;
    out[0] = x - w / 2;
    out[1] = y - h / 2;
    out[2] = x + w / 2 - 1;
    out[3] = y + h / 2 - 1;
}

static status run_assign(const void *state, const struct kernel_io *io)
{
    const struct assign_state *s = state;
    const float *prior = io->in[0], *var = io->in[1], *delta = io->in[2], *score = io->in[3];
    float *box = io->out[0], *best_box = io->out[1];
    for (int64_t i = 0; i < s->rows; i++, prior += 4, score += s->classes, best_box += 4) {
        int64_t best = 0;
        float top = -1;
        for (int64_t c = 0; c < s->classes; c++) {
            decode_class(prior, var + (s->own_variances ? i * 4 : 0), delta + c * 4, s->limit,
                         box + c * 4);
            if (c > 0 && score[c] > top) {
                top = score[c];
                best = c;
            }
        }
        memcpy(best_box, best > 0 ? box + best * 4 : prior, 4 * sizeof(float));
        box += s->classes * 4;
        delta += s->classes * 4;
    }
    return OK;
}

/* ---- box_clip ---- */

struct clip_state {
    struct images images;
    int64_t per; /* boxes of one row */
};

static status prepare_clip(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct clip_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    bool ragged = ctx->in[2].shape.rank >= 0;
    s->images = (struct images){ .count = ctx->in[1].shape.dim[0],
                                 .rows = x->dim[0],
                                 .by_offsets = ragged };
    s->per = shape_numel(x) > 0 ? shape_span(x, 1, x->rank - 1) : 0;
    if (!ragged && x->rank > 2) { /* the first dimension is the image */
        s->images.rows = x->dim[0] * s->per;
        s->per = 1;
    }
    *state = s;
    return OK;
}

static void clip_rows(const float *x, const float *info, int64_t count, float *out)
{
    float bottom = roundf(info[0] / info[2]) - 1, right = roundf(info[1] / info[2]) - 1;
    for (int64_t i = 0; i < count * 4; i++) {
        float limit = i % 2 == 0 ? right : bottom;
        out[i] = fmaxf(fminf(x[i], limit), 0);
    }
}

static status run_clip(const void *state, const struct kernel_io *io)
{
    const struct clip_state *s = state;
    const float *x = io->in[0], *info = io->in[1];
    struct image_rows r = { 0 };
    int64_t each = s->images.count > 0 ? s->images.rows / s->images.count : 0;
    while (r.image < s->images.count) {
        if (s->images.by_offsets) {
            TRY(images_next(&s->images, NULL, io->in[2], &r, io->err));
        } else {
            r = (struct image_rows){ r.image + 1, r.to, r.to + each };
        }
        clip_rows(x + r.from * s->per * 4, info + (r.image - 1) * 3, (r.to - r.from) * s->per,
                  (float *)io->out[0] + r.from * s->per * 4);
    }
    return OK;
}

/* ---- yolo_box ---- */

struct yolo_state {
    int64_t images, h, w, anchors;
    struct yolo_attrs attrs;
};

static status prepare_yolo(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                           struct err *e)
{
    const struct yolo_attrs *a = ctx->node->attrs;
    const struct shape *x = &ctx->in[0].shape;
    struct yolo_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct yolo_state){ x->dim[0], x->dim[2], x->dim[3], a->anchors.count / 2, *a };
    *state = s;
    return OK;
}

static float sigmoid(float x)
{
    return (float)(1.0 / (1.0 + (double)expf(-x)));
}

struct cell {
    const float *x; /* channel 0 of the anchor at this place: x, y, w, h, object, classes */
    int64_t anchor, row, column, plane;
    int32_t image_h, image_w;
};

static void put_box(const struct yolo_state *s, const struct cell *c, float *out)
{
    const struct yolo_attrs *a = &s->attrs;
    const float *x = c->x;
    float scale = a->scale, bias = -0.5f * (scale - 1), ih = (float)c->image_h,
          iw = (float)c->image_w;
    float cx = ((float)c->column + sigmoid(x[0]) * scale + bias) * iw / (float)s->w;
    float cy = ((float)c->row + sigmoid(x[c->plane]) * scale + bias) * ih / (float)s->h;
    float w = expf(x[2 * c->plane]) * (float)a->anchors.v[2 * c->anchor] * iw /
              ((float)a->downsample * (float)s->w);
    float h = expf(x[3 * c->plane]) * (float)a->anchors.v[2 * c->anchor + 1] * ih /
              ((float)a->downsample * (float)s->h);
    out[0] = cx - w / 2;
    out[1] = cy - h / 2;
    out[2] = cx + w / 2;
    out[3] = cy + h / 2;
    if (!a->clip)
        return;
    out[0] = out[0] > 0 ? out[0] : 0;
    out[1] = out[1] > 0 ? out[1] : 0;
    out[2] = out[2] < iw - 1 ? out[2] : iw - 1;
    out[3] = out[3] < ih - 1 ? out[3] : ih - 1;
}

/* One place of one anchor; below the threshold all is 0. iou: what iou_aware adds, or NULL. */
static void put_cell(const struct yolo_state *s, const struct cell *c, const float *iou, float *box,
                     float *score)
{
    const struct yolo_attrs *a = &s->attrs;
    float conf = sigmoid(c->x[4 * c->plane]);
    if (iou != NULL)
        conf = powf(conf, 1 - a->iou_factor) * powf(sigmoid(*iou), a->iou_factor);
    if (conf < a->threshold) {
        memset(box, 0, 4 * sizeof(*box));
        memset(score, 0, (size_t)a->classes * sizeof(*score));
        return;
    }
    put_box(s, c, box);
    for (int32_t i = 0; i < a->classes; i++)
        score[i] = conf * sigmoid(c->x[(5 + i) * c->plane]);
}

static status run_yolo(const void *state, const struct kernel_io *io)
{
    const struct yolo_state *s = state;
    const int32_t *size = io->in[1];
    int64_t plane = s->h * s->w, classes = s->attrs.classes,
            first = s->attrs.iou_aware ? s->anchors : 0;
    int64_t image = (s->anchors * (classes + 5) + first) * plane;
    float *box = io->out[0], *score = io->out[1];
    for (int64_t n = 0; n < s->images; n++)
        for (int64_t a = 0; a < s->anchors; a++)
            for (int64_t p = 0; p < plane; p++, box += 4, score += classes) {
                const float *x = (const float *)io->in[0] + n * image;
                struct cell c = { x + (first + a * (classes + 5)) * plane + p,
                                  a,
                                  p / s->w,
                                  p % s->w,
                                  plane,
                                  size[2 * n],
                                  size[2 * n + 1] };
                put_cell(s, &c, first > 0 ? x + a * plane + p : NULL, box, score);
            }
    return OK;
}

/* ---- iou_similarity ---- */

struct iou_state {
    int64_t rows, columns;
    bool pixels;
};

static status prepare_iou(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    struct iou_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct iou_state){ ctx->out[0].shape.dim[0], ctx->out[0].shape.dim[1],
                             ((const struct iou_attrs *)ctx->node->attrs)->pixels };
    *state = s;
    return OK;
}

static float similarity(const float *a, const float *b, float more)
{
    float w = fmaxf(fminf(a[2], b[2]) - fmaxf(a[0], b[0]) + more, 0);
    float h = fmaxf(fminf(a[3], b[3]) - fmaxf(a[1], b[1]) + more, 0);
    float of_a = (a[2] - a[0] + more) * (a[3] - a[1] + more);
    float of_b = (b[2] - b[0] + more) * (b[3] - b[1] + more);
    float both = of_a + of_b - w * h;
    return both > 0 ? w * h / both : 0;
}

static status run_iou(const void *state, const struct kernel_io *io)
{
    const struct iou_state *s = state;
    const float *x = io->in[0], *y = io->in[1];
    float *out = io->out[0];
    for (int64_t i = 0; i < s->rows; i++)
        for (int64_t j = 0; j < s->columns; j++)
            *out++ = similarity(x + i * 4, y + j * 4, s->pixels ? 1 : 0);
    return OK;
}

/* ---- bipartite_match: the largest distance of all is matched first, its row and column go, and so on ---- */

struct match_state {
    struct images images;
    int64_t columns;
    struct match_attrs attrs;
};

static status prepare_match(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                            struct err *e)
{
    struct match_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    const struct shape *x = &ctx->in[0].shape;
    s->images = (struct images){ .count = ctx->out[0].shape.dim[0],
                                 .rows = x->dim[0],
                                 .by_offsets = ctx->in[1].shape.rank >= 0 };
    s->columns = x->dim[1];
    s->attrs = *(const struct match_attrs *)ctx->node->attrs;
    *scratch = (size_t)x->dim[0]; /* a mark for each row that is taken */
    *state = s;
    return OK;
}

static bool best_pair(const float *d, int64_t rows, int64_t columns, const bool *taken,
                      const int32_t *match, int64_t *row, int64_t *column)
{
    float best = 1e-6f;
    *row = -1;
    for (int64_t j = 0; j < columns; j++)
        for (int64_t i = 0; i < rows && match[j] < 0; i++)
            if (!taken[i] && d[i * columns + j] > best) {
                best = d[i * columns + j];
                *row = i;
                *column = j;
            }
    return *row >= 0;
}

static void match_rest(const struct match_state *s, const float *d, int64_t rows, int32_t *match,
                       float *distance)
{
    for (int64_t j = 0; j < s->columns; j++) {
        int64_t best = -1;
        float top = -1;
        for (int64_t i = 0; i < rows && match[j] < 0; i++) {
            float v = d[i * s->columns + j];
            if (v >= 1e-6f && v >= s->attrs.threshold && v > top) {
                top = v;
                best = i;
            }
        }
        if (best >= 0) {
            match[j] = (int32_t)best;
            distance[j] = top;
        }
    }
}

static void match_image(const struct match_state *s, const float *d, int64_t rows, bool *taken,
                        int32_t *match, float *distance)
{
    int64_t i, j;
    for (int64_t k = 0; k < s->columns; k++) {
        match[k] = -1;
        distance[k] = 0;
    }
    memset(taken, 0, (size_t)rows);
    while (best_pair(d, rows, s->columns, taken, match, &i, &j)) {
        taken[i] = true;
        match[j] = (int32_t)i;
        distance[j] = d[i * s->columns + j];
    }
    if (s->attrs.per_prediction)
        match_rest(s, d, rows, match, distance);
}

static status run_match(const void *state, const struct kernel_io *io)
{
    const struct match_state *s = state;
    struct image_rows r = { 0 };
    while (r.image < s->images.count) {
        TRY(images_next(&s->images, NULL, io->in[1], &r, io->err));
        match_image(s, (const float *)io->in[0] + r.from * s->columns, r.to - r.from, io->scratch,
                    (int32_t *)io->out[0] + (r.image - 1) * s->columns,
                    (float *)io->out[1] + (r.image - 1) * s->columns);
    }
    return OK;
}

/* ---- polygon_box ---- */

static status prepare_polygon(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    struct shape *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = ctx->in[0].shape;
    *state = s;
    return OK;
}

static status run_polygon(const void *state, const struct kernel_io *io)
{
    const struct shape *s = state;
    const float *x = io->in[0];
    float *out = io->out[0];
    for (int64_t c = 0; c < s->dim[0] * s->dim[1]; c++)
        for (int64_t h = 0; h < s->dim[2]; h++)
            for (int64_t w = 0; w < s->dim[3]; w++)
                *out++ = 4 * (float)(c % 2 == 0 ? w : h) - *x++;
    return OK;
}

// clang-format off
const struct kernel ref_detect[] = {
    { "prior_box",         "ref prior_box",         UINT32_MAX, DEVICE_CPU, NULL, prepare_place,   run_prior,   NULL },
    { "density_prior_box", "ref density_prior_box", UINT32_MAX, DEVICE_CPU, NULL, prepare_place,   run_density, NULL },
    { "anchors",           "ref anchors",           UINT32_MAX, DEVICE_CPU, NULL, prepare_place,   run_anchors, NULL },
    { "box_coder",         "ref box_coder",         F32_ONLY,   DEVICE_CPU, NULL, prepare_coder,   run_coder,   NULL },
    { "decode_assign",     "ref decode_assign",     F32_ONLY,   DEVICE_CPU, NULL, prepare_assign,  run_assign,  NULL },
    { "box_clip",          "ref box_clip",          F32_ONLY,   DEVICE_CPU, NULL, prepare_clip,    run_clip,    NULL },
    { "yolo_box",          "ref yolo_box",          F32_ONLY,   DEVICE_CPU, NULL, prepare_yolo,    run_yolo,    NULL },
    { "iou_similarity",    "ref iou_similarity",    F32_ONLY,   DEVICE_CPU, NULL, prepare_iou,     run_iou,     NULL },
    { "bipartite_match",   "ref bipartite_match",   F32_ONLY,   DEVICE_CPU, NULL, prepare_match,   run_match,   NULL },
    { "polygon_box",       "ref polygon_box",       F32_ONLY,   DEVICE_CPU, NULL, prepare_polygon, run_polygon, NULL },
    { 0 },
};
// clang-format on
