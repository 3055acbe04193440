#include "kernels/walk.h"

status walk_prepare(const struct kernel_ctx *ctx, view_fn *view, void **state, struct err *e)
{
    struct view v;
    struct walk *w = arena_zalloc(ctx->arena, sizeof(*w));
    TRY(view(ctx->node, ctx->in, &v, e));
    w->rank = v.rank;
    w->offset = v.offset;
    w->count = shape_numel(&v.shape);
    w->size = dtype_size(ctx->in[0].dtype);
    for (int i = 0; i < v.rank; i++) {
        w->dim[i] = v.dim[i];
        w->step[i] = v.step[i];
    }
    *state = w;
    return OK;
}

void walk_merge(struct walk *w)
{
    int rank = 0;
    for (int i = 0; i < w->rank; i++) {
        if (w->dim[i] == 1)
            continue;
        if (rank > 0 && w->step[rank - 1] == w->step[i] * w->dim[i]) {
            w->dim[rank - 1] *= w->dim[i];
            w->step[rank - 1] = w->step[i];
        } else {
            w->dim[rank] = w->dim[i];
            w->step[rank++] = w->step[i];
        }
    }
    w->rank = rank;
}

bool walk_next(const struct walk *w, int rank, int64_t *index, int64_t *at)
{
    for (int i = rank - 1; i >= 0; i--) {
        *at += w->step[i];
        if (++index[i] < w->dim[i])
            return true;
        *at -= w->step[i] * w->dim[i];
        index[i] = 0;
    }
    return false;
}
