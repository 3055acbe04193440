#include "kernels/ref/boxes.h"
#include "kernels/ref/polygon.h"

#include <string.h>

/* ---- sorting: indices by falling score, equal ones by rising index; NaN comes last ---- */

static bool goes_first(const float *score, int32_t a, int32_t b)
{
    float x = score[a], y = score[b];
    if (x == y || (isnan(x) && isnan(y)))
        return a < b;
    return x > y || isnan(y);
}

/* Lets index[i] sink in the heap of n, whose top goes last. */
static void sink(const float *score, int32_t *index, int64_t i, int64_t n)
{
    int32_t v = index[i];
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && goes_first(score, index[child], index[child + 1]))
            child++;
        if (!goes_first(score, v, index[child]))
            break;
        index[i] = index[child];
    }
    index[i] = v;
}

void boxes_sort(const float *score, int32_t *index, int64_t n)
{
    for (int64_t i = n / 2; i-- > 0;)
        sink(score, index, i, n);
    for (int64_t end = n - 1; end > 0; end--) {
        int32_t last = index[0];
        index[0] = index[end];
        index[end] = last;
        sink(score, index, 0, end);
    }
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- multiclass_nms ---- */

struct nms_state {
    struct images images;
    int64_t classes, boxes; /* boxes: of an image, or of all where images are parts */
    int64_t width;          /* numbers of a box: 4, or two for each corner of a polygon */
    bool parts;
    struct nms_attrs attrs;
};

static float overlap(const struct nms_state *s, const float *a, const float *b)
{
    return s->width == 4 ? box_iou(a, b, s->attrs.pixels) : polygon_iou(a, b, (int)s->width / 2);
}

struct found {
    int32_t label, box;
    float score;
};

/* One image's data: box b of class c lies at box[b * box_step + c * class_box], its score at score[...] alike. */
struct view {
    const float *box, *score;
    int64_t count, box_step, class_box, score_step, class_score;
};

struct nms_scratch {
    float *score;   /* [boxes] of one class, then of all that was found */
    int32_t *order; /* as many */
    struct found *found;
    bool *kept;
    float *most; /* matrix_nms: each candidate's largest overlap */
    float *own;  /* merge: one image's boxes and scores, to be changed */
};

static int64_t most_found(const struct nms_state *s)
{
    int64_t top = s->attrs.nms_top_k;
    return s->classes * (top > -1 && !s->parts ? smaller(top, s->boxes) : s->boxes);
}

static status prepare_nms(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                          struct err *e)
{
    const struct shape *score = &ctx->in[1].shape;
    struct nms_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->parts = score->rank == 2;
    s->classes = score->dim[1];
    s->boxes = score->dim[s->parts ? 0 : 2];
    s->width = ctx->in[0].shape.dim[2];
    s->attrs = *(const struct nms_attrs *)ctx->node->attrs;
    if (s->parts)
        s->images = images_of(ctx->in, 2, s->boxes);
    else
        s->images = (struct images){ .count = score->dim[0] };
    size_t room = (size_t)(most_found(s) + s->boxes);
    size_t own = s->attrs.merge ? (size_t)(s->boxes * (s->classes + s->width)) * sizeof(float) : 0;
    *scratch =
        own + room * (2 * sizeof(float) + sizeof(int32_t) + sizeof(struct found) + sizeof(bool));
    *state = s;
    return OK;
}

static struct nms_scratch divide(const struct nms_state *s, void *scratch)
{
    size_t room = (size_t)(most_found(s) + s->boxes);
    struct nms_scratch x = { .own = scratch };
    x.score = x.own + (s->attrs.merge ? s->boxes * (s->classes + s->width) : 0);
    x.most = x.score + room;
    x.order = (int32_t *)(x.most + room);
    x.found = (struct found *)(x.order + room);
    x.kept = (bool *)(x.found + room);
    return x;
}

/* Merges box b into the last one left, in the image's own copy, where they overlap. */
static bool merge_box(const struct nms_state *s, float *box, float *score, int64_t last, int64_t b)
{
    float *from = box + b * s->width, *to = box + last * s->width;
    if (!(overlap(s, from, to) > s->attrs.nms_threshold))
        return false;
    for (int64_t i = 0; i < s->width; i++)
        to[i] = (from[i] * score[b] + to[i] * score[last]) / (score[b] + score[last]);
    score[last] += score[b];
    return true;
}

/* x->kept[b]: box b of class c was not merged into another. */
static void merge_boxes(const struct nms_state *s, int64_t c, struct nms_scratch *x)
{
    float *box = x->own, *score = x->own + s->boxes * s->width + c * s->boxes;
    int64_t last = -1;
    for (int64_t b = 0; b < s->boxes; b++) {
        x->kept[b] = last < 0 || !merge_box(s, box, score, last, b);
        last = x->kept[b] ? b : last;
    }
}

/* Indices of the best boxes of class c above the threshold, in order. */
static int64_t candidates(const struct nms_state *s, const struct view *v, int64_t c,
                          struct nms_scratch *x)
{
    int64_t n = 0;
    if (s->attrs.merge)
        merge_boxes(s, c, x);
    for (int64_t b = 0; b < v->count; b++) {
        x->score[b] = v->score[b * v->score_step + c * v->class_score];
        if (x->score[b] > s->attrs.score_threshold && (!s->attrs.merge || x->kept[b]))
            x->order[n++] = (int32_t)b;
    }
    boxes_sort(x->score, x->order, n);
    return s->attrs.nms_top_k > -1 ? smaller(n, s->attrs.nms_top_k) : n;
}

static const float *box_at(const struct view *v, int64_t b, int64_t c)
{
    return v->box + b * v->box_step + c * v->class_box;
}

/* Greedy suppression in class c: what is kept goes to found[0 ..]; its number. */
static int64_t suppress(const struct nms_state *s, const struct view *v, int64_t c,
                        struct nms_scratch *x, struct found *found)
{
    float threshold = s->attrs.nms_threshold;
    int64_t n = candidates(s, v, c, x), kept = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t b = x->order[i];
        bool keep = true;
        for (int64_t k = 0; k < kept && keep; k++)
            keep = overlap(s, box_at(v, b, c), box_at(v, found[k].box, c)) <= threshold;
        if (!keep)
            continue;
        found[kept++] = (struct found){ (int32_t)c, b, x->score[b] };
        if (s->attrs.eta < 1 && threshold > 0.5f)
            threshold *= s->attrs.eta;
    }
    return kept;
}

/* In parts the boxes of a class come in their own order. */
static void sort_by_box(struct found *found, int64_t n)
{
    for (int64_t gap = n / 2; gap > 0; gap /= 2)
        for (int64_t i = gap; i < n; i++) {
            struct found v = found[i];
            int64_t k = i;
            for (; k >= gap && found[k - gap].box > v.box; k -= gap)
                found[k] = found[k - gap];
            found[k] = v;
        }
}

/* Marks the best keep_top_k of what was found in all classes. */
static int64_t keep_best(const struct nms_state *s, struct nms_scratch *x, int64_t n)
{
    int64_t top = s->attrs.keep_top_k > -1 ? smaller(s->attrs.keep_top_k, n) : n;
    for (int64_t i = 0; i < n; i++) {
        x->score[i] = x->found[i].score;
        x->order[i] = (int32_t)i;
        x->kept[i] = top == n;
    }
    if (top < n)
        boxes_sort(x->score, x->order, n);
    for (int64_t i = 0; i < top; i++)
        x->kept[x->order[i]] = true;
    return top;
}

/* All classes of one image; rows and indices from `base` on. Gives how many. */
static int64_t nms_image(const struct nms_state *s, const struct view *v, struct nms_scratch *x,
                         int64_t base, float *row, int32_t *index)
{
    int64_t n = 0;
    for (int64_t c = 0; c < s->classes; c++) {
        if (c == s->attrs.background)
            continue;
        int64_t kept = suppress(s, v, c, x, x->found + n);
        if (s->parts)
            sort_by_box(x->found + n, kept);
        n += kept;
    }
    int64_t top = keep_best(s, x, n);
    for (int64_t i = 0; i < n; i++) {
        const struct found *f = &x->found[i];
        if (!x->kept[i])
            continue;
        row[0] = (float)f->label;
        row[1] = f->score;
        memcpy(row + 2, box_at(v, f->box, f->label), (size_t)s->width * sizeof(float));
        row += 2 + s->width;
        *index++ = (int32_t)(s->parts ? (base + f->box) * s->classes + f->label : base + f->box);
    }
    return top;
}

/* Shapes of rows, indices and offsets for n boxes in all. */
static void tell_shapes(const struct kernel_io *io, int64_t n, bool nothing)
{
    int64_t *offset = io->out[3];
    io->shape[0].dim[0] = io->shape[1].dim[0] = n;
    if (n > 0 || !nothing)
        return;
    io->shape[0] = SHAPE(1, 1);
    io->shape[3] = SHAPE(2);
    *(float *)io->out[0] = -1;
    offset[0] = 0;
    offset[1] = 1;
}

static struct view view_of(const struct nms_state *s, const struct kernel_io *io, int64_t image,
                           const struct image_rows *r)
{
    const float *box = io->in[0], *score = io->in[1];
    if (s->parts)
        return (struct view){ box + r->from * s->classes * s->width,
                              score + r->from * s->classes,
                              r->to - r->from,
                              s->classes * s->width,
                              s->width,
                              s->classes,
                              1 };
    return (struct view){ box + image * s->boxes * s->width,
                          score + image * s->classes * s->boxes,
                          s->boxes,
                          s->width,
                          0,
                          1,
                          s->boxes };
}

static void take_own(const struct nms_state *s, struct nms_scratch *x, struct view *v)
{
    if (s->boxes == 0 || s->classes == 0)
        return;
    memcpy(x->own, v->box, (size_t)(s->boxes * s->width) * sizeof(float));
    memcpy(x->own + s->boxes * s->width, v->score, (size_t)(s->boxes * s->classes) * sizeof(float));
    v->box = x->own;
    v->score = x->own + s->boxes * s->width;
}

static status run_nms(const void *state, const struct kernel_io *io)
{
    const struct nms_state *s = state;
    struct nms_scratch x = divide(s, io->scratch);
    struct image_rows r = { 0 };
    int64_t n = 0, *offset = io->out[3];
    offset[0] = 0;
    for (int64_t i = 0; i < s->images.count; i++) {
        if (s->parts)
            TRY(images_next(&s->images, io->in[2], io->in[3], &r, io->err));
        struct view v = view_of(s, io, i, &r);
        if (s->attrs.merge)
            take_own(s, &x, &v);
        int64_t kept =
            nms_image(s, &v, &x, s->parts ? r.from : i * s->boxes,
                      (float *)io->out[0] + n * (2 + s->width), (int32_t *)io->out[1] + n);
        ((int32_t *)io->out[2])[i] = (int32_t)kept;
        offset[i + 1] = n += kept;
    }
    io->shape[3] = SHAPE(s->images.count + 1);
    tell_shapes(io, n, s->attrs.nothing);
    return OK;
}

/* ---- matrix_nms: scores decay by the overlap with better boxes (Wang et al., SOLOv2, 2020) ---- */

static double decay(const struct nms_attrs *a, float iou, float most)
{
    if (a->gaussian)
        return exp((double)((most * most - iou * iou) * a->sigma));
    return (1. - (double)iou) / (1. - (double)most);
}

/* The least decay of candidate i by those before it; most[j]: j's own largest overlap. */
static float least_decay(const struct nms_state *s, const struct view *v, const int32_t *order,
                         const float *most, int64_t i)
{
    float least = 1;
    for (int64_t j = 0; j < i; j++) {
        float iou = box_iou(box_at(v, order[i], 0), box_at(v, order[j], 0), s->attrs.pixels);
        float d = (float)decay(&s->attrs, iou, most[j]);
        least = d < least ? d : least;
    }
    return least;
}

static float most_overlap(const struct nms_state *s, const struct view *v, const int32_t *order,
                          int64_t i)
{
    float most = 0;
    for (int64_t j = 0; j < i; j++)
        most =
            fmaxf(most, box_iou(box_at(v, order[i], 0), box_at(v, order[j], 0), s->attrs.pixels));
    return most;
}

/* What class c leaves goes to found[0 ..]. */
static int64_t decay_class(const struct nms_state *s, const struct view *v, int64_t c,
                           struct nms_scratch *x, struct found *found)
{
    int64_t n = candidates(s, v, c, x), kept = 0;
    for (int64_t i = 0; i < n; i++) {
        x->most[i] = most_overlap(s, v, x->order, i);
        float score = least_decay(s, v, x->order, x->most, i) * x->score[x->order[i]];
        if (score > s->attrs.post_threshold)
            found[kept++] = (struct found){ (int32_t)c, x->order[i], score };
    }
    return kept;
}

static int64_t decay_image(const struct nms_state *s, const struct view *v, struct nms_scratch *x,
                           int64_t base, float *row, int32_t *index)
{
    int64_t n = 0;
    for (int64_t c = 0; c < s->classes; c++)
        if (c != s->attrs.background)
            n += decay_class(s, v, c, x, x->found + n);
    int64_t top = s->attrs.keep_top_k > -1 ? smaller(s->attrs.keep_top_k, n) : n;
    for (int64_t i = 0; i < n; i++) {
        x->score[i] = x->found[i].score;
        x->order[i] = (int32_t)i;
    }
    boxes_sort(x->score, x->order, n);
    for (int64_t i = 0; i < top; i++, row += 6) {
        const struct found *f = &x->found[x->order[i]];
        row[0] = (float)f->label;
        row[1] = f->score;
        memcpy(row + 2, box_at(v, f->box, 0), 4 * sizeof(float));
        index[i] = (int32_t)(base + f->box);
    }
    return top;
}

static status run_matrix_nms(const void *state, const struct kernel_io *io)
{
    const struct nms_state *s = state;
    struct nms_scratch x = divide(s, io->scratch);
    struct image_rows none = { 0 };
    int64_t n = 0, *offset = io->out[3];
    offset[0] = 0;
    for (int64_t i = 0; i < s->images.count; i++) {
        struct view v = view_of(s, io, i, &none);
        int64_t kept = decay_image(s, &v, &x, i * s->boxes, (float *)io->out[0] + n * 6,
                                   (int32_t *)io->out[1] + n);
        ((int32_t *)io->out[2])[i] = (int32_t)kept;
        offset[i + 1] = n += kept;
    }
    tell_shapes(io, n, false);
    return OK;
}

/* ---- nms_ordered ---- */

static status prepare_ordered(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    struct nms_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->boxes = ctx->in[0].shape.dim[0];
    s->attrs.nms_threshold = ((const struct ordered_attrs *)ctx->node->attrs)->threshold;
    *state = s;
    return OK;
}

/* Without a division: boxes without an area overlap nothing. */
static bool overlaps(const float *a, const float *b, float threshold)
{
    float w = fmaxf(fminf(a[2], b[2]) - fmaxf(a[0], b[0]), 0);
    float h = fmaxf(fminf(a[3], b[3]) - fmaxf(a[1], b[1]), 0);
    float of_a = (a[2] - a[0]) * (a[3] - a[1]), of_b = (b[2] - b[0]) * (b[3] - b[1]);
    return w * h > threshold * (of_a + of_b - w * h);
}

static status run_ordered(const void *state, const struct kernel_io *io)
{
    const struct nms_state *s = state;
    const float *box = io->in[0];
    int64_t *kept = io->out[0], n = 0;
    for (int64_t i = 0; i < s->boxes; i++) {
        bool keep = true;
        for (int64_t k = 0; k < n && keep; k++)
            keep = !overlaps(box + kept[k] * 4, box + i * 4, s->attrs.nms_threshold);
        if (keep)
            kept[n++] = i;
    }
    io->shape[0].dim[0] = n;
    return OK;
}

/* ---- proposals ---- */

struct proposals_state {
    int64_t images, anchors, places, boxes, info_size; /* boxes = anchors * places of one image */
    struct proposals_attrs attrs;
};

struct proposals_scratch {
    float *score, *box;
    int32_t *order, *kept;
};

static status prepare_proposals(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                struct err *e)
{
    const struct shape *x = &ctx->in[0].shape;
    struct proposals_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct proposals_state){ x->dim[0],
                                   x->dim[1],
                                   x->dim[2] * x->dim[3],
                                   shape_span(x, 1, 4),
                                   ctx->in[2].shape.dim[1],
                                   *(const struct proposals_attrs *)ctx->node->attrs };
    *scratch = (size_t)s->boxes * (5 * sizeof(float) + 2 * sizeof(int32_t));
    *state = s;
    return OK;
}

/* A box moved by its deltas d, which are `step` apart. */
static void move(const float *anchor, const float *var, const float *d, int64_t step, bool pixels,
                 float *out)
{
    const float limit = 4.1351665567423556f; /* log(1000 / 16) */
    float more = pixels ? 1 : 0, aw = anchor[2] - anchor[0] + more,
          ah = anchor[3] - anchor[1] + more;
    float x = var[0] * d[0] * aw + (anchor[0] + 0.5f * aw);
    float y = var[1] * d[step] * ah + (anchor[1] + 0.5f * ah);
    float w = expf(fminf(var[2] * d[2 * step], limit)) * aw;
    float h = expf(fminf(var[3] * d[3 * step], limit)) * ah;
    out[0] = x - w / 2;
    out[1] = y - h / 2;
    out[2] = x + w / 2 - more;
    out[3] = y + h / 2 - more;
}

static void clip_to_image(float *box, const float *info, bool pixels)
{
    float more = pixels ? 1 : 0;
    for (int i = 0; i < 4; i++)
        box[i] = fmaxf(fminf(box[i], info[i % 2 == 0 ? 1 : 0] - more), 0);
}

static bool large_enough(const struct proposals_attrs *a, const float *b, const float *info)
{
    float more = a->pixels ? 1 : 0, size = fmaxf(a->min_size, 1);
    float w = b[2] - b[0] + more, h = b[3] - b[1] + more;
    if (!a->pixels)
        return w >= size && h >= size;
    float x = b[0] + w / 2, y = b[1] + h / 2;
    if (a->by_scale) {
        w = (b[2] - b[0]) / info[2] + 1;
        h = (b[3] - b[1]) / info[2] + 1;
    }
    return w >= size && h >= size && x <= info[1] && y <= info[0];
}

/* Boxes of the best scores, moved and cut, in x->box; x->order is left with those that are large enough. */
static int64_t propose(const struct proposals_state *s, const struct kernel_io *io, int64_t image,
                       struct proposals_scratch *x)
{
    const float *score = (const float *)io->in[0] + image * s->boxes;
    const float *delta = (const float *)io->in[1] + image * s->boxes * 4;
    const float *info = (const float *)io->in[2] + image * s->info_size;
    int64_t n = s->boxes, kept = 0;
    for (int64_t i = 0; i < s->boxes; i++) { /* by place, then by anchor */
        x->score[i] = score[i % s->anchors * s->places + i / s->anchors];
        x->order[i] = (int32_t)i;
    }
    boxes_sort(x->score, x->order, n);
    n = s->attrs.pre_top > 0 ? smaller(n, s->attrs.pre_top) : n;
    for (int64_t k = 0; k < n; k++) {
        int32_t i = x->order[k];
        move((const float *)io->in[3] + i * 4, (const float *)io->in[4] + i * 4,
             delta + i % s->anchors * 4 * s->places + i / s->anchors, s->places, s->attrs.pixels,
             x->box + i * 4);
        clip_to_image(x->box + i * 4, info, s->attrs.pixels);
        if (large_enough(&s->attrs, x->box + i * 4, info))
            x->order[kept++] = i;
    }
    return kept;
}

static int64_t suppress_proposals(const struct proposals_state *s, struct proposals_scratch *x,
                                  int64_t n)
{
    float threshold = s->attrs.threshold;
    int64_t kept = 0;
    for (int64_t i = 0; i < n && (s->attrs.post_top <= 0 || kept < s->attrs.post_top); i++) {
        bool keep = true;
        for (int64_t k = 0; k < kept && keep; k++)
            keep = box_iou(x->box + x->order[i] * 4, x->box + x->kept[k] * 4, s->attrs.pixels) <=
                   threshold;
        if (!keep)
            continue;
        x->kept[kept++] = x->order[i];
        if (s->attrs.eta < 1 && threshold > 0.5f)
            threshold *= s->attrs.eta;
    }
    return kept;
}

/* Where no box is large enough, one of zeros comes out. */
static int64_t propose_image(const struct proposals_state *s, const struct kernel_io *io,
                             int64_t image, struct proposals_scratch *x, float *box, float *score)
{
    int64_t kept = suppress_proposals(s, x, propose(s, io, image, x));
    for (int64_t i = 0; i < kept; i++) {
        memcpy(box + i * 4, x->box + x->kept[i] * 4, 4 * sizeof(float));
        score[i] = x->score[x->kept[i]];
    }
    if (kept > 0)
        return kept;
    memset(box, 0, 4 * sizeof(float));
    score[0] = 0;
    return 1;
}

static status run_proposals(const void *state, const struct kernel_io *io)
{
    const struct proposals_state *s = state;
    struct proposals_scratch x = { .score = io->scratch };
    int64_t n = 0, *offset = io->out[3];
    x.box = x.score + s->boxes;
    x.order = (int32_t *)(x.box + s->boxes * 4);
    x.kept = x.order + s->boxes;
    offset[0] = 0;
    for (int64_t i = 0; i < s->images; i++) {
        int64_t kept =
            propose_image(s, io, i, &x, (float *)io->out[0] + n * 4, (float *)io->out[1] + n);
        ((int32_t *)io->out[2])[i] = (int32_t)kept;
        offset[i + 1] = n += kept;
    }
    io->shape[0].dim[0] = io->shape[1].dim[0] = n;
    return OK;
}

/* ---- distribute_rois ---- */

struct distribute_state {
    struct images images;
    int64_t levels;
    struct distribute_attrs attrs;
};

static status prepare_distribute(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                                 struct err *e)
{
    struct distribute_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct distribute_attrs *)ctx->node->attrs;
    s->levels = (int64_t)s->attrs.max_level - s->attrs.min_level + 1;
    s->images = images_of(ctx->in, 1, ctx->in[0].shape.dim[0]);
    *scratch = (size_t)s->images.rows + 1; /* each roi's level */
    *state = s;
    return OK;
}

static int64_t level_of(const struct distribute_attrs *a, const float *roi)
{
    float size = sqrtf(box_area(roi, a->pixels));
    float level = floorf(log2f(size / (float)a->refer_scale + 1e-6f) + (float)a->refer_level);
    if (!(level > (float)a->min_level)) /* and NaN */
        return 0;
    return level >= (float)a->max_level ? (int64_t)a->max_level - a->min_level
                                        : (int64_t)level - a->min_level;
}

/* Copies one level's rois, image by image; where each went is counted from `first` on. Gives how many there are. */
static status take_level(const struct distribute_state *s, const struct kernel_io *io,
                         int64_t level, int64_t first, int64_t *taken)
{
    const uint8_t *level_at = io->scratch;
    int32_t *count = io->out[s->levels + level];
    int64_t *offset = io->out[2 * s->levels + level], n = 0;
    struct image_rows r = { 0 };
    offset[0] = 0;
    while (r.image < s->images.count) {
        TRY(images_next(&s->images, io->in[1], io->in[2], &r, io->err));
        int64_t before = n;
        for (int64_t i = r.from; i < r.to; i++) {
            if (level_at[i] != level)
                continue;
            memcpy((float *)io->out[level] + n * 4, (const float *)io->in[0] + i * 4,
                   4 * sizeof(float));
            ((int32_t *)io->out[3 * s->levels])[i] = (int32_t)(first + n++);
        }
        count[r.image - 1] = (int32_t)(n - before);
        offset[r.image] = n;
    }
    io->shape[level].dim[0] = *taken = n;
    return OK;
}

static status run_distribute(const void *state, const struct kernel_io *io)
{
    const struct distribute_state *s = state;
    uint8_t *level_at = io->scratch;
    int64_t first = 0, taken = 0;
    for (int64_t i = 0; i < s->images.rows; i++)
        level_at[i] = (uint8_t)level_of(&s->attrs, (const float *)io->in[0] + i * 4);
    for (int64_t l = 0; l < s->levels; l++, first += taken)
        TRY(take_level(s, io, l, first, &taken));
    return OK;
}

/* ---- collect_rois ---- */

struct collect_state {
    int64_t levels, images, total, top;
    bool by_offsets;
    int64_t rows[LEVELS_MAX];
};

static status prepare_collect(const struct kernel_ctx *ctx, void **state, size_t *scratch,
                              struct err *e)
{
    const struct collect_attrs *a = ctx->node->attrs;
    struct collect_state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->levels = a->levels;
    s->by_offsets = a->by_offsets;
    s->images = ctx->out[1].shape.dim[0];
    s->top = ctx->out[0].shape.dim[0];
    for (int64_t l = 0; l < s->levels; l++) {
        s->rows[l] = ctx->in[l].shape.dim[0];
        s->total += s->rows[l];
    }
    *scratch = (size_t)s->total * (sizeof(float) + 2 * sizeof(int32_t));
    *state = s;
    return OK;
}

/* Each roi of all levels one after another: its score and its image. */
struct collect_scratch {
    float *score;
    int32_t *order, *image;
};

static status note_levels(const struct collect_state *s, const struct kernel_io *io,
                          struct collect_scratch *x)
{
    int64_t at = 0;
    for (int64_t l = 0; l < s->levels; l++) {
        struct images m = { s->images, s->rows[l], false, !s->by_offsets, s->by_offsets };
        struct image_rows r = { 0 };
        const void *counts = io->in[2 * s->levels + l];
        while (r.image < m.count) {
            TRY(images_next(&m, counts, counts, &r, io->err));
            for (int64_t i = r.from; i < r.to; i++, at++) {
                x->score[at] = ((const float *)io->in[s->levels + l])[i];
                x->image[at] = (int32_t)r.image - 1;
                x->order[at] = (int32_t)at;
            }
        }
    }
    return OK;
}

static const float *roi_at(const struct collect_state *s, const struct kernel_io *io, int64_t at)
{
    int64_t l = 0;
    for (; at >= s->rows[l]; l++)
        at -= s->rows[l];
    return (const float *)io->in[l] + at * 4;
}

static status run_collect(const void *state, const struct kernel_io *io)
{
    const struct collect_state *s = state;
    struct collect_scratch x = { .score = io->scratch };
    int64_t n = 0, *offset = io->out[2];
    x.order = (int32_t *)(x.score + s->total);
    x.image = x.order + s->total;
    TRY(note_levels(s, io, &x));
    boxes_sort(x.score, x.order, s->images > 0 ? s->total : 0);
    offset[0] = 0;
    for (int64_t i = 0; i < s->images; i++) {
        int64_t before = n;
        for (int64_t k = 0; k < s->top; k++)
            if (x.image[x.order[k]] == i)
                memcpy((float *)io->out[0] + 4 * n++, roi_at(s, io, x.order[k]), 4 * sizeof(float));
        ((int32_t *)io->out[1])[i] = (int32_t)(n - before);
        offset[i + 1] = n;
    }
    io->shape[0].dim[0] = n;
    return OK;
}

// clang-format off
const struct kernel ref_select[] = {
    { "multiclass_nms",  "ref multiclass_nms",  F32_ONLY, DEVICE_CPU, NULL, prepare_nms,        run_nms,        NULL },
    { "matrix_nms",      "ref matrix_nms",      F32_ONLY, DEVICE_CPU, NULL, prepare_nms,        run_matrix_nms, NULL },
    { "nms_ordered",     "ref nms_ordered",     F32_ONLY, DEVICE_CPU, NULL, prepare_ordered,    run_ordered,    NULL },
    { "proposals",       "ref proposals",       F32_ONLY, DEVICE_CPU, NULL, prepare_proposals,  run_proposals,  NULL },
    { "distribute_rois", "ref distribute_rois", F32_ONLY, DEVICE_CPU, NULL, prepare_distribute, run_distribute, NULL },
    { "collect_rois",    "ref collect_rois",    F32_ONLY, DEVICE_CPU, NULL, prepare_collect,    run_collect,    NULL },
    { 0 },
};
// clang-format on
