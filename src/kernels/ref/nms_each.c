#include "graph/attrs_nms_each.h"
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdlib.h>

struct nms_each {
    int64_t images, classes, boxes;
    bool centred;
};

/* A box that is still in question: its score and its number. */
struct candidate {
    float score;
    int32_t box;
};

struct corners {
    float y0, x0, y1, x1;
};

static status prepare(const struct kernel_ctx *ctx, void **state, size_t *scratch, struct err *e)
{
    struct nms_each *s = arena_zalloc(ctx->arena, sizeof(*s));
    *s = (struct nms_each){ .images = ctx->in[1].shape.dim[0],
                            .classes = ctx->in[1].shape.dim[1],
                            .boxes = ctx->in[1].shape.dim[2],
                            .centred = ((const struct nms_each_attrs *)ctx->node->attrs)->centred };
    *state = s;
    *scratch = (size_t)s->boxes * sizeof(struct candidate);
    return OK;
}

static struct corners corners_of(const float *b, bool centred)
{
    if (centred)
        return (struct corners){ b[1] - b[3] / 2, b[0] - b[2] / 2, b[1] + b[3] / 2,
                                 b[0] + b[2] / 2 };
    return (struct corners){ fminf(b[0], b[2]), fminf(b[1], b[3]), fmaxf(b[0], b[2]),
                             fmaxf(b[1], b[3]) };
}

static float overlap(struct corners a, struct corners b)
{
    float h = fminf(a.y1, b.y1) - fmaxf(a.y0, b.y0), w = fminf(a.x1, b.x1) - fmaxf(a.x0, b.x0);
    float both = h > 0 && w > 0 ? h * w : 0;
    float all = (a.y1 - a.y0) * (a.x1 - a.x0) + (b.y1 - b.y0) * (b.x1 - b.x0) - both;
    return all > 0 ? both / all : 0;
}

/* Falling; of equal scores the earlier box comes first. */
static int better_first(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->box > y->box) - (x->box < y->box);
}

static int64_t gather(const struct nms_each *s, const float *score, float least, bool bounded,
                      struct candidate *c)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->boxes; i++)
        if (score[i] == score[i] && (!bounded || score[i] > least))
            c[n++] = (struct candidate){ score[i], (int32_t)i };
    if (n > 1)
        qsort(c, (size_t)n, sizeof(*c), better_first);
    return n;
}

/* Those that stay move to the front of c; returns how many. */
static int64_t suppress(const struct nms_each *s, const float *boxes, struct candidate *c,
                        int64_t n, float limit, int64_t most)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n && kept < most; i++) {
        struct corners own = corners_of(boxes + (int64_t)c[i].box * 4, s->centred);
        bool stays = true;
        for (int64_t k = 0; k < kept && stays; k++)
            stays = overlap(own, corners_of(boxes + (int64_t)c[k].box * 4, s->centred)) <= limit;
        if (stays)
            c[kept++] = c[i];
    }
    return kept;
}

static status run(const void *state, const struct kernel_io *io)
{
    const struct nms_each *s = state;
    const float *limit = io->in[3], *least = io->in[4];
    const int64_t *most = io->in[2];
    struct candidate *c = io->scratch;
    int64_t *out = io->out[0], rows = 0;
    for (int64_t i = 0; i < s->images * s->classes; i++) {
        int64_t image = i / s->classes;
        const float *boxes = (const float *)io->in[0] + image * s->boxes * 4;
        int64_t n = gather(s, (const float *)io->in[1] + i * s->boxes, least != NULL ? *least : 0,
                           least != NULL, c);
        n = suppress(s, boxes, c, n, limit != NULL ? *limit : 0, most != NULL ? *most : 0);
        for (int64_t k = 0; k < n; k++, rows++) {
            out[rows * 3] = image;
            out[rows * 3 + 1] = i % s->classes;
            out[rows * 3 + 2] = c[k].box;
        }
    }
    io->shape[0].dim[0] = rows;
    return OK;
}

const struct kernel ref_nms_each[] = {
    { "nms_each", "ref nms_each", DTYPE_BIT(DTYPE_F32), DEVICE_CPU, NULL, prepare, run, NULL },
    { 0 },
};
