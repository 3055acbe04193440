#include "kernels/ref/boxes.h"

#include <string.h>

struct state {
    int64_t images, classes, rows,
        most; /* rows: boxes that may be found in an image; most: scores of the largest level */
    struct retina_attrs attrs;
    int64_t boxes[LEVELS_MAX]; /* of each level */
};

/* One image's boxes, in the order of their levels and, within, of their scores. */
struct scratch {
    float *score, *box; /* [rows], [rows, 4] */
    int32_t *label;     /* [rows] */
    int32_t *order;     /* of scores: [the larger of most and rows] */
    int32_t *by_class;  /* boxes, class by class: [rows] */
    int32_t *kept;      /* [rows] */
    int32_t *end;       /* of each class in by_class: [classes + 1] */
    float *kept_score;  /* [rows] */
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *bytes, struct err *e)
{
    struct state *s = arena_zalloc(ctx->arena, sizeof(*s));
    s->attrs = *(const struct retina_attrs *)ctx->node->attrs;
    s->images = ctx->in[0].shape.dim[0];
    s->classes = ctx->in[s->attrs.levels].shape.dim[2];
    for (int i = 0; s->images > 0 && i < s->attrs.levels; i++) {
        s->boxes[i] = ctx->in[i].shape.dim[1];
        int64_t scores = s->boxes[i] * s->classes, top = s->attrs.nms_top_k;
        s->most = scores > s->most ? scores : s->most;
        s->rows += top > -1 && top < scores ? top : scores;
    }
    s->most = s->rows > s->most ? s->rows : s->most;
    *bytes = (size_t)(s->rows * 9 + s->most + s->classes + 1) * sizeof(float);
    *state = s;
    return OK;
}

static struct scratch divide(const struct state *s, void *memory)
{
    struct scratch x = { .score = memory };
    x.box = x.score + s->rows;
    x.kept_score = x.box + s->rows * 4;
    x.label = (int32_t *)(x.kept_score + s->rows);
    x.by_class = x.label + s->rows;
    x.kept = x.by_class + s->rows;
    x.order = x.kept + s->rows;
    x.end = x.order + s->most;
    return x;
}

static float within(float v, float size)
{
    return fmaxf(fminf(v, size - 1), 0);
}

static void decode(const float *anchor, const float *d, const float *info, float *out)
{
    float height = roundf(info[0] / info[2]), width = roundf(info[1] / info[2]);
    float aw = anchor[2] - anchor[0] + 1, ah = anchor[3] - anchor[1] + 1;
    float x = d[0] * aw + (anchor[0] + aw / 2), y = d[1] * ah + (anchor[1] + ah / 2);
    float w = expf(d[2]) * aw, h = expf(d[3]) * ah;
    out[0] = within((x - w / 2) / info[2], width);
    out[1] = within((y - h / 2) / info[2], height);
    out[2] = within((x + w / 2 - 1) / info[2], width);
    out[3] = within((y + h / 2 - 1) / info[2], height);
}

/* The best of level l of an image, behind the `n` boxes found so far; how many there are then. */
static int64_t add_level(const struct state *s, const struct kernel_io *io, int l, int64_t image,
                         struct scratch *x, int64_t n)
{
    const struct retina_attrs *a = &s->attrs;
    int64_t boxes = s->boxes[l], count = 0;
    const float *score = (const float *)io->in[a->levels + l] + image * boxes * s->classes;
    const float *delta = (const float *)io->in[l] + image * boxes * 4;
    float threshold = l + 1 < a->levels ? a->score_threshold : 0;
    for (int64_t i = 0; i < boxes * s->classes; i++)
        if (score[i] > threshold)
            x->order[count++] = (int32_t)i;
    boxes_sort(score, x->order, count);
    count = a->nms_top_k > -1 && a->nms_top_k < count ? a->nms_top_k : count;
    for (int64_t i = 0; i < count; i++, n++) {
        int64_t at = x->order[i], box = at / s->classes;
        x->score[n] = score[at];
        x->label[n] = (int32_t)(at % s->classes);
        decode((const float *)io->in[2 * a->levels + l] + box * 4, delta + box * 4,
               (const float *)io->in[3 * a->levels] + image * 3, x->box + n * 4);
    }
    return n;
}

/* Boxes by class, the best of each first. */
static void split_classes(const struct state *s, struct scratch *x, int64_t n)
{
    memset(x->end, 0, (size_t)(s->classes + 1) * sizeof(*x->end));
    for (int64_t i = 0; i < n; i++) {
        x->order[i] = (int32_t)i;
        x->end[x->label[i] + 1]++;
    }
    for (int64_t c = 0; c < s->classes; c++)
        x->end[c + 1] += x->end[c];
    boxes_sort(x->score, x->order, n);
    for (int64_t i = 0; i < n; i++) /* end[c] counts up from where c begins to where it ends */
        x->by_class[x->end[x->label[x->order[i]]]++] = x->order[i];
}

/* Class by class to kept[]; how many. */
static int64_t suppress(const struct state *s, struct scratch *x, int64_t n)
{
    int64_t kept = 0, first = 0; /* first: of this class in kept */
    float threshold = s->attrs.nms_threshold;
    for (int64_t i = 0; i < n; i++) {
        int32_t b = x->by_class[i];
        bool keep = true;
        if (i > 0 && x->label[b] != x->label[x->by_class[i - 1]]) {
            first = kept;
            threshold = s->attrs.nms_threshold;
        }
        for (int64_t k = first; k < kept && keep; k++)
            keep = box_iou(x->box + b * 4, x->box + x->kept[k] * 4, true) <= threshold;
        if (!keep)
            continue;
        x->kept[kept++] = b;
        if (s->attrs.eta < 1 && threshold > 0.5f)
            threshold *= s->attrs.eta;
    }
    return kept;
}

static int64_t put_image(const struct state *s, struct scratch *x, int64_t n, float *row)
{
    int64_t kept = suppress(s, x, n), top = s->attrs.keep_top_k < kept ? s->attrs.keep_top_k : kept;
    for (int64_t i = 0; i < kept; i++) {
        x->kept_score[i] = x->score[x->kept[i]];
        x->order[i] = (int32_t)i;
    }
    boxes_sort(x->kept_score, x->order, kept);
    for (int64_t i = 0; i < top; i++, row += 6) {
        int32_t b = x->kept[x->order[i]];
        row[0] = (float)(x->label[b] + 1);
        row[1] = x->score[b];
        memcpy(row + 2, x->box + b * 4, 4 * sizeof(float));
    }
    return top;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct state *s = state;
    struct scratch x = divide(s, io->scratch);
    int64_t rows = 0, *offset = io->out[1];
    offset[0] = 0;
    for (int64_t i = 0; i < s->images; i++) {
        int64_t n = 0;
        for (int l = 0; l < s->attrs.levels; l++)
            n = add_level(s, io, l, i, &x, n);
        split_classes(s, &x, n);
        rows += put_image(s, &x, n, (float *)io->out[0] + rows * 6);
        offset[i + 1] = rows;
    }
    io->shape[0].dim[0] = rows;
    return OK;
}

const struct kernel ref_retina[] = {
    { "retina_boxes", "ref retina_boxes", F32_ONLY, DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
