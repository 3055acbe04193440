#include "graph/attrs_linear_attention.h"
#include "graph/ops.h"

static status want_shape(const struct type *t, const struct shape *want, const char *what,
                         struct err *e)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    TRY(want_dtype(t, DTYPE_F32, what, e));
    if (shape_eq(&t->shape, want))
        return OK;
    return err_set(e, INVALID, "expected %s as %s, got %s", shape_text(want, a, sizeof(a)), what,
                   shape_text(&t->shape, b, sizeof(b)));
}

/* Decay and update rate, of two widths each. */
static status check_gates(const struct node *n, const struct type *in,
                          struct linear_attention_dims *d, struct err *e)
{
    struct shape want = SHAPE(d->batch, d->tokens, d->kv_heads);
    if (has_input(n, LINEAR_DECAY)) {
        const struct shape *g = &in[LINEAR_DECAY].shape;
        d->decay_by_key = g->rank == 3 && g->dim[2] != d->kv_heads;
        want.dim[2] = d->decay_by_key ? d->kv_heads * d->key : d->kv_heads;
        TRY(want_shape(&in[LINEAR_DECAY], &want, "its decay", e));
    }
    if (!has_input(n, LINEAR_BETA))
        return OK;
    const struct shape *b = &in[LINEAR_BETA].shape;
    d->beta_by_head = b->rank == 3 && b->dim[2] == d->kv_heads;
    want.dim[2] = d->beta_by_head ? d->kv_heads : 1;
    return want_shape(&in[LINEAR_BETA], &want, "its update rate", e);
}

status linear_attention_dims(const struct node *n, const struct type *in,
                             struct linear_attention_dims *d, struct err *e)
{
    const struct linear_attention_attrs *a = n->attrs;
    for (int i = 0; i < 3; i++)
        TRY(want_rank(&in[i], 3, i == 0 ? "its queries" : i == 1 ? "its keys" : "its values", e));
    const struct shape *q = &in[LINEAR_Q].shape, *v = &in[LINEAR_V].shape;
    if (a->q_heads < 1 || a->kv_heads < 1 || a->q_heads % a->kv_heads != 0 ||
        q->dim[2] % a->q_heads != 0 || v->dim[2] % a->kv_heads != 0)
        return err_set(e, INVALID, "%lld and %lld numbers do not make %d and %d heads",
                       (long long)q->dim[2], (long long)v->dim[2], a->q_heads, a->kv_heads);
    *d = (struct linear_attention_dims){ .batch = q->dim[0],
                                         .tokens = q->dim[1],
                                         .q_heads = a->q_heads,
                                         .kv_heads = a->kv_heads,
                                         .key = q->dim[2] / a->q_heads,
                                         .value = v->dim[2] / a->kv_heads };
    int64_t keys;
    if (__builtin_mul_overflow(d->kv_heads, d->key, &keys))
        return err_set(e, TOO_LARGE, "%d heads of %lld numbers", a->kv_heads, (long long)d->key);
    TRY(want_dtype(&in[LINEAR_Q], DTYPE_F32, "its queries", e));
    TRY(want_shape(&in[LINEAR_K], &SHAPE(d->batch, d->tokens, keys), "its keys", e));
    TRY(want_shape(&in[LINEAR_V], &SHAPE(d->batch, d->tokens, v->dim[2]), "its values", e));
    if (has_input(n, LINEAR_STATE))
        TRY(want_shape(&in[LINEAR_STATE], &SHAPE(d->batch, d->kv_heads, d->key, d->value),
                       "its state", e));
    return check_gates(n, in, d, e);
}

static status infer(const struct node *n, const struct type *in, struct type *out, struct err *e)
{
    struct linear_attention_dims d;
    int64_t width;
    TRY(linear_attention_dims(n, in, &d, e));
    if (__builtin_mul_overflow(d.q_heads, d.value, &width))
        return err_set(e, TOO_LARGE, "%lld heads of %lld numbers", (long long)d.q_heads,
                       (long long)d.value);
    out[0] = (struct type){ DTYPE_F32, SHAPE(d.batch, d.tokens, width), NULL };
    out[1] = (struct type){ DTYPE_F32, SHAPE(d.batch, d.kv_heads, d.key, d.value), NULL };
    return OK;
}

static const struct attr_field fields[] = {
    FIELD(linear_attention_attrs, q_heads, ATTR_I32),
    FIELD(linear_attention_attrs, kv_heads, ATTR_I32),
    FIELD(linear_attention_attrs, scale, ATTR_F32),
    { 0 },
};

// clang-format off
const struct op ops_linear_attention[] = {
    { "linear_attention", 3, 6, 2, 0, fields, sizeof(struct linear_attention_attrs), infer },
    { 0 },
};
// clang-format on
