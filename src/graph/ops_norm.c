/* Normalisation by channels. */
#include "graph/attrs_image.h"
#include "graph/ops.h"

static status want_channels(const struct type *t, const struct type *x, int64_t channels,
                            const char *what, struct err *e)
{
    char text[SHAPE_TEXT_MAX];
    if (t->shape.rank < 0)
        return OK;
    TRY(want_dtype(t, x->dtype, what, e));
    if (t->shape.rank == 1 && t->shape.dim[0] == channels)
        return OK;
    return err_set(e, INVALID, "expected %s of shape [%lld], got %s", what, (long long)channels,
                   shape_text(&t->shape, text, sizeof(text)));
}

static status channels_of(const struct type *x, bool last, int64_t *out, struct err *e)
{
    if (x->shape.rank < 2)
        return err_set(e, INVALID, "expected images and channels, got %d dimensions",
                       x->shape.rank);
    *out = x->shape.dim[last ? x->shape.rank - 1 : 1];
    return OK;
}

static status want_epsilon(float epsilon, struct err *e)
{
    return epsilon >= 0 && epsilon < 1e6f
               ? OK
               : err_set(e, INVALID, "epsilon %g does not make sense", (double)epsilon);
}

static status infer_batch_norm(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    static const char *const what[] = { "", "its scale", "its bias", "its mean", "its variance" };
    const struct norm_attrs *a = n->attrs;
    int64_t channels = 0;
    TRY(channels_of(&in[0], a->channel_last, &channels, e));
    TRY(want_epsilon(a->epsilon, e));
    for (int i = 1; i < 5; i++)
        TRY(want_channels(&in[i], &in[0], channels, what[i], e));
    return infer_same(n, in, out, e);
}

static status infer_own_norm(const struct node *n, const struct type *in, struct type *out,
                             struct err *e)
{
    const struct norm_attrs *a = n->attrs;
    int64_t channels = 0;
    TRY(channels_of(&in[0], a->channel_last, &channels, e));
    TRY(want_epsilon(a->epsilon, e));
    if (n->in_count > 1)
        TRY(want_channels(&in[1], &in[0], channels, "its scale", e));
    if (n->in_count > 2)
        TRY(want_channels(&in[2], &in[0], channels, "its bias", e));
    return infer_same(n, in, out, e);
}

static status infer_group_norm(const struct node *n, const struct type *in, struct type *out,
                               struct err *e)
{
    const struct norm_attrs *a = n->attrs;
    int64_t channels = 0;
    TRY(channels_of(&in[0], a->channel_last, &channels, e));
    if (a->groups < 1 || channels % a->groups != 0)
        return err_set(e, INVALID, "%lld channels do not make %d groups", (long long)channels,
                       a->groups);
    return infer_own_norm(n, in, out, e);
}

static status infer_lrn(const struct node *n, const struct type *in, struct type *out,
                        struct err *e)
{
    const struct lrn_attrs *a = n->attrs;
    TRY(want_rank(&in[0], 4, "its image", e));
    if (a->size < 1)
        return err_set(e, INVALID, "%d neighbours, expected 1 or more", a->size);
    return infer_same(n, in, out, e);
}

static const struct attr_field norm_fields[] = {
    FIELD(norm_attrs, epsilon, ATTR_F32),
    FIELD(norm_attrs, groups, ATTR_I32),
    FIELD(norm_attrs, channel_last, ATTR_BOOL),
    { 0 },
};

static const struct attr_field lrn_fields[] = {
    FIELD(lrn_attrs, size, ATTR_I32),          FIELD(lrn_attrs, alpha, ATTR_F32),
    FIELD(lrn_attrs, beta, ATTR_F32),          FIELD(lrn_attrs, k, ATTR_F32),
    FIELD(lrn_attrs, channel_last, ATTR_BOOL), { 0 },
};

// clang-format off
const struct op ops_norm[] = {
    { "batch_norm",    5, 5, 1, OP_INPLACE, norm_fields, sizeof(struct norm_attrs), infer_batch_norm },
    { "instance_norm", 1, 3, 1, 0,          norm_fields, sizeof(struct norm_attrs), infer_own_norm },
    { "group_norm",    1, 3, 1, 0,          norm_fields, sizeof(struct norm_attrs), infer_group_norm },
    { "lrn",           1, 1, 1, 0,          lrn_fields,  sizeof(struct lrn_attrs),  infer_lrn },
    { 0 },
};
// clang-format on
