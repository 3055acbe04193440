/* Attention, losses and other layers of networks, put together from simpler operators. */
#include "graph/attrs_control.h"
#include "graph/attrs_image.h"
#include "graph/attrs_index.h"
#include "graph/attrs_linear_attention.h"
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"
#include "import/onnx/build.h"

#include <math.h>

/* ---- attention ---- */

/* Everything that one attention node works with; heads are [batch, heads, length, size]. */
struct attention {
    struct value *q, *k, *v, *scores;
    struct value *past_k, *past_v, *key_length; /* NULL: not given */
    int64_t q_heads, kv_heads;
    bool flat; /* inputs are [batch, length, heads * size] */
};

/* [batch, length, heads * size] to heads. */
static status split_heads(struct onnx_site *s, struct value *x, int64_t heads, struct value **out)
{
    struct value *cut;
    if (heads < 1)
        return onnx_fault(s, INVALID, "inputs of 3 dimensions need q_num_heads and kv_num_heads");
    TRY(onnx_add_reshape(s, x, &(struct attr_ints){ 4, { 0, 0, heads, -1 } }, &cut));
    return build_transpose(s, cut, &(struct attr_ints){ 4, { 0, 2, 1, 3 } }, out);
}

static status join_heads(struct onnx_site *s, struct value *x, struct value **out)
{
    struct value *turned;
    TRY(build_transpose(s, x, &(struct attr_ints){ 4, { 0, 2, 1, 3 } }, &turned));
    return onnx_add_reshape(s, turned, &(struct attr_ints){ 3, { 0, 0, -1 } }, out);
}

/* Each head of keys serves `times` heads of queries: [b, h, l, d] to [b, h * times, l, d]. */
static status repeat_heads(struct onnx_site *s, struct value *x, int64_t times, struct value **out)
{
    struct value *wide, *many;
    *out = x;
    if (times == 1)
        return OK;
    struct value *shape, *heads, *all, *tail[2], *front, *to;
    TRY(build_unsqueeze(s, x, &(struct attr_ints){ 1, { 2 } }, &wide));
    TRY(build1(s, "tile", wide, &many));
    ((struct tile_attrs *)node_attrs(many->producer))->repeats =
        (struct attr_ints){ 5, { 1, 1, times, 1, 1 } };
    TRY(build_shape(s, x, &shape));
    TRY(build_slice(s, shape, 0, 0, 1, &front));
    TRY(build_slice(s, shape, 0, 1, 2, &heads));
    TRY(build_affine(s, heads, (double)times, 0, &all));
    TRY(build_slice(s, shape, 0, 2, 3, &tail[0]));
    TRY(build_slice(s, shape, 0, 3, 4, &tail[1]));
    TRY(build_concat(s, (struct value *[]){ front, all, tail[0], tail[1] }, 4, 0, &to));
    return build_reshape_to(s, many, to, 4, out);
}

static status read_heads(struct onnx_site *s, struct attention *a)
{
    TRY(onnx_in(s, 0, &a->q));
    TRY(onnx_in(s, 1, &a->k));
    TRY(onnx_in(s, 2, &a->v));
    TRY(onnx_in_optional(s, 4, &a->past_k));
    TRY(onnx_in_optional(s, 5, &a->past_v));
    TRY(onnx_in_optional(s, 6, &a->key_length));
    a->flat = a->q->shape.rank == 3;
    a->q_heads = onnx_i64(s, "q_num_heads", a->q->shape.rank == 4 ? a->q->shape.dim[1] : 0);
    a->kv_heads = onnx_i64(s, "kv_num_heads", a->k->shape.rank == 4 ? a->k->shape.dim[1] : 0);
    if (a->flat) {
        TRY(split_heads(s, a->q, a->q_heads, &a->q));
        TRY(split_heads(s, a->k, a->kv_heads, &a->k));
        TRY(split_heads(s, a->v, a->kv_heads, &a->v));
    }
    if (a->q_heads < 1 || a->kv_heads < 1 || a->q_heads % a->kv_heads != 0)
        return onnx_fault(s, UNSUPPORTED, "%lld heads of queries for %lld of keys",
                          (long long)a->q_heads, (long long)a->kv_heads);
    return OK;
}

/* Keys and values of earlier calls go in front; what results is an output too. */
static status join_past(struct onnx_site *s, struct attention *a)
{
    if (a->past_k != NULL && a->past_v != NULL) {
        TRY(build_concat(s, (struct value *[]){ a->past_k, a->k }, 2, 2, &a->k));
        TRY(build_concat(s, (struct value *[]){ a->past_v, a->v }, 2, 2, &a->v));
    }
    struct value *out;
    for (int i = 0; i < 2; i++) {
        if (!onnx_wants(s, 1 + i))
            continue;
        TRY(build1(s, "identity", i == 0 ? a->k : a->v, &out));
        TRY(onnx_bind(s, 1 + i, out));
    }
    return OK;
}

/* Where a mask is false, the score becomes the lowest number. */
static status keep_where(struct onnx_site *s, struct value *mask, struct value **scores)
{
    struct value *low;
    TRY(onnx_add_scalar_like(s, *scores, -INFINITY, &low));
    return build_where(s, mask, *scores, low, scores);
}

/* The keys that query i sees: from i - left to i + right, counted behind what was there before; -1: without a bound. */
static status mask_window(struct onnx_site *s, struct attention *a)
{
    struct value *q, *k, *offset, *sees, *distance;
    bool causal = onnx_bool(s, "is_causal", false);
    int64_t left = onnx_i64(s, "left_window_size", -1),
            right = onnx_i64(s, "right_window_size", -1);
    right = causal ? 0 : right; /* a causal window has none behind */
    if (left < 0 && right < 0)
        return OK;
    TRY(build_places(s, a->scores, 2, &q));
    TRY(build_places(s, a->scores, 3, &k));
    TRY(build_unsqueeze(s, q, &(struct attr_ints){ 1, { 1 } }, &q));
    if (a->past_k != NULL) {
        TRY(build_dim(s, a->past_k, 2, &offset));
        TRY(build2(s, "add", q, offset, &q));
    } else if (a->key_length != NULL) {
        struct value *length;
        TRY(build_dim(s, a->q, 2, &length));
        TRY(build2(s, "sub", a->key_length, length, &offset));
        TRY(build_unsqueeze(s, offset, &(struct attr_ints){ 3, { 1, 2, 3 } }, &offset));
        TRY(build2(s, "add", q, offset, &q));
    }
    TRY(build2(s, "sub", k, q, &distance));
    if (right >= 0) {
        TRY(build_by(s, "less_equal", distance, (double)right, &sees));
        TRY(keep_where(s, sees, &a->scores));
    }
    if (left < 0)
        return OK;
    TRY(build_by(s, "greater_equal", distance, -(double)left, &sees));
    return keep_where(s, sees, &a->scores);
}

/* A mask shorter than the keys hides those behind it. */
static status widen_mask(struct onnx_site *s, struct attention *a, struct value **mask)
{
    struct value *have, *want, *more, *pads, *zeros, *cast = *mask;
    int rank = (*mask)->shape.rank;
    if (rank < 1 || ((*mask)->shape.dim[rank - 1] >= 0 && a->k->shape.dim[2] >= 0 &&
                     (*mask)->shape.dim[rank - 1] == a->k->shape.dim[2]))
        return OK;
    TRY(build_dim(s, *mask, -1, &have));
    TRY(build_dim(s, a->scores, -1, &want));
    TRY(build2(s, "sub", want, have, &more));
    struct attr_ints none = { .count = 2 * rank - 1 };
    TRY(onnx_add_ints(s, &none, &zeros));
    TRY(build_concat(s, (struct value *[]){ zeros, more }, 2, 0, &pads));
    bool truth = (*mask)->dtype == DTYPE_BOOL;
    struct value *fill;
    if (truth)
        TRY(build_cast(s, *mask, DTYPE_F32, &cast));
    TRY(onnx_add_scalar_like(s, cast, truth ? 0 : -INFINITY, &fill));
    TRY(onnx_add1(s, "pad", (struct value *[]){ cast, pads, fill }, 3, mask));
    (*mask)->shape.dim[rank - 1] = -1;
    return truth ? build_cast(s, *mask, DTYPE_BOOL, mask) : OK;
}

static status mask_given(struct onnx_site *s, struct attention *a)
{
    struct value *mask;
    TRY(onnx_in_optional(s, 3, &mask));
    if (mask == NULL)
        return OK;
    TRY(widen_mask(s, a, &mask));
    if (mask->dtype == DTYPE_BOOL)
        return keep_where(s, mask, &a->scores);
    return build2(s, "add", a->scores, mask, &a->scores);
}

/* Keys behind each batch's own length are padding. */
static status mask_padding(struct onnx_site *s, struct attention *a)
{
    struct value *k, *length, *sees;
    if (a->key_length == NULL)
        return OK;
    TRY(build_places(s, a->scores, 3, &k));
    TRY(build_unsqueeze(s, a->key_length, &(struct attr_ints){ 3, { 1, 2, 3 } }, &length));
    TRY(build2(s, "less", k, length, &sees));
    return keep_where(s, sees, &a->scores);
}

static status cap_scores(struct onnx_site *s, struct attention *a)
{
    float cap = onnx_f32(s, "softcap", 0);
    if (cap == 0)
        return OK;
    TRY(build_affine(s, a->scores, 1 / (double)cap, 0, &a->scores));
    TRY(build1(s, "tanh", a->scores, &a->scores));
    return build_affine(s, a->scores, (double)cap, 0, &a->scores);
}

static status scale_queries(struct onnx_site *s, struct attention *a, struct value *k)
{
    const struct onnx_attr *scale = onnx_attr(s, "scale");
    TRY(build_matmul(s, a->q, k, true, &a->scores));
    a->scores->shape.rank = 4;
    declare_unknown(a->scores);
    if (scale != NULL)
        return build_affine(s, a->scores, (double)scale->f, 0, &a->scores);
    struct value *size, *root, *real;
    TRY(build_dim(s, a->q, -1, &size));
    TRY(build_cast(s, size, a->q->dtype, &real));
    TRY(build1(s, "sqrt", real, &root));
    return build2(s, "div", a->scores, root, &a->scores);
}

/* What output 3 shows: the scores as they are, behind the cap, behind the masks too, or the weights. */
static status show_scores(struct onnx_site *s, struct value *scores, int64_t stage)
{
    struct value *out;
    if (!onnx_wants(s, 3) || onnx_i64(s, "qk_matmul_output_mode", 0) != stage)
        return OK;
    TRY(build1(s, "identity", scores, &out));
    return onnx_bind(s, 3, out);
}

/* A row of nothing but hidden keys has no weights: softmax of -inf alone is NaN, and stands for 0. */
static status weights_of(struct onnx_site *s, struct value *scores, struct value **out)
{
    struct value *weights, *wrong, *zero;
    TRY(build_along(s, "softmax", scores, -1, &weights));
    TRY(build1(s, "isnan", weights, &wrong));
    wrong->dtype = DTYPE_BOOL;
    TRY(onnx_add_scalar_like(s, weights, 0, &zero));
    return build_where(s, wrong, zero, weights, out);
}

static status import_attention(struct onnx_site *s)
{
    struct attention a = { 0 };
    struct value *k, *v, *weights, *out;
    TRY(read_heads(s, &a));
    TRY(join_past(s, &a));
    TRY(repeat_heads(s, a.k, a.q_heads / a.kv_heads, &k));
    TRY(repeat_heads(s, a.v, a.q_heads / a.kv_heads, &v));
    TRY(scale_queries(s, &a, k));
    TRY(show_scores(s, a.scores, 0));
    TRY(cap_scores(s, &a));
    TRY(show_scores(s, a.scores, 1));
    TRY(mask_given(s, &a));
    TRY(mask_window(s, &a));
    TRY(mask_padding(s, &a));
    TRY(show_scores(s, a.scores, 2));
    TRY(weights_of(s, a.scores, &weights));
    TRY(show_scores(s, weights, 3));
    TRY(build_matmul(s, weights, v, false, &out));
    out->shape.rank = 4;
    declare_unknown(out);
    if (a.flat)
        TRY(join_heads(s, out, &out));
    return onnx_bind(s, 0, out);
}

/* ---- attention without a softmax ---- */

static status import_linear_attention(struct onnx_site *s)
{
    static const char *const rule[] = { "linear", "gated", "delta", "gated_delta", NULL };
    int32_t which = onnx_enum(s, "update_rule", "gated_delta", rule);
    struct value *in[6];
    struct node *n;
    for (int i = 0; i < 3; i++)
        TRY(onnx_in(s, i, &in[i]));
    for (int i = 3; i < 6; i++)
        TRY(onnx_in_optional(s, i, &in[i]));
    bool gated = which == 1 || which == 3, delta = which >= 2;
    if (gated != (in[LINEAR_DECAY] != NULL) || delta != (in[LINEAR_BETA] != NULL))
        return onnx_fault(s, INVALID, "update_rule '%s' %s a decay and %s a beta", rule[which],
                          gated ? "needs" : "has not", delta ? "needs" : "has not");
    TRY(onnx_add(s, "linear_attention", in, 6, &n));
    *(struct linear_attention_attrs *)node_attrs(n) = (struct linear_attention_attrs){
        .q_heads = onnx_i32(s, "q_num_heads", 0),
        .kv_heads = onnx_i32(s, "kv_num_heads", 0),
        .scale = onnx_f32(s, "scale", 0),
    };
    for (int i = 0; i < 2; i++) {
        n->out[i]->dtype = in[i == 1 && in[LINEAR_STATE] != NULL ? LINEAR_STATE : LINEAR_Q]->dtype;
        n->out[i]->shape.rank = 3 + i;
        declare_unknown(n->out[i]);
        TRY(onnx_bind(s, i, n->out[i]));
    }
    return OK;
}

/* What lies in front of x: the state, or zeros. */
static status with_past(struct onnx_site *s, struct value *x, int64_t kernel, struct value **out)
{
    struct value *past;
    TRY(onnx_in_optional(s, 3, &past));
    if (past != NULL)
        return build_concat(s, (struct value *[]){ past, x }, 2, 2, out);
    TRY(build1(s, "pad", x, out));
    ((struct pad_attrs *)node_attrs((*out)->producer))->pads =
        (struct attr_ints){ 6, { 0, 0, kernel - 1, 0, 0, 0 } };
    (*out)->shape.dim[2] = -1;
    return OK;
}

/* Each channel by itself, looking at this and earlier places alone; its last kernel - 1 are the state of the next call. */
static status import_causal_conv(struct onnx_site *s)
{
    static const char *const activation[] = { "none", "silu", "swish", NULL };
    struct value *in[3], *x, *state, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &in[1]));
    TRY(onnx_in_optional(s, 2, &in[2]));
    const struct shape *w = &in[1]->shape;
    if (x->shape.rank != 3 || w->rank != 3 || w->dim[0] < 1 || w->dim[0] > INT32_MAX ||
        w->dim[2] < 1)
        return onnx_fault(
            s, UNSUPPORTED,
            "an input of %d dimensions, or a filter whose size the file does not tell",
            x->shape.rank);
    TRY(with_past(s, x, w->dim[2], &in[0]));
    TRY(onnx_add1(s, "conv_nd", in, in[2] != NULL ? 3 : 2, &out));
    ((struct conv_nd_attrs *)node_attrs(out->producer))->groups = (int32_t)w->dim[0];
    out->shape = x->shape;
    if (onnx_enum(s, "activation", "none", activation) > 0) {
        TRY(build1(s, "swish", out, &out));
        ((struct curve_attrs *)node_attrs(out->producer))->alpha = 1;
    }
    bool none = w->dim[2] == 1;
    TRY(build_slice(s, in[0], 2, none ? 0 : 1 - w->dim[2], none ? 0 : INT64_MAX, &state));
    TRY(onnx_bind(s, 0, out));
    return onnx_bind(s, 1, state);
}

/* ---- losses ---- */

struct loss {
    struct value *log_p, *target, *weight; /* weight NULL: all 1 */
};

/* Targets that count, as numbers of the loss's dtype: the weight of each, 0 where it is ignored. */
static status target_weights(struct onnx_site *s, struct loss *l, struct value **counts)
{
    const struct onnx_attr *ignore = onnx_attr(s, "ignore_index");
    struct value *skip = NULL, *zero;
    if (ignore != NULL) {
        TRY(build_by(s, "equal", l->target, (double)ignore->i, &skip));
        TRY(onnx_add_scalar_like(s, l->target, 0, &zero));
        TRY(build_where(s, skip, zero, l->target, &l->target));
    }
    if (l->weight != NULL)
        TRY(build_gather(s, l->weight, l->target, 0, counts));
    else {
        TRY(build1(s, "fill_like", l->target, counts));
        *(struct fill_like_attrs *)node_attrs((*counts)->producer) =
            (struct fill_like_attrs){ .dtype = l->log_p->dtype, .value = 1, .integer = 1 };
    }
    (*counts)->dtype = l->log_p->dtype;
    (*counts)->shape = l->target->shape;
    if (skip == NULL)
        return OK;
    TRY(onnx_add_scalar_like(s, *counts, 0, &zero));
    return build_where(s, skip, zero, *counts, counts);
}

static status reduce_loss(struct onnx_site *s, struct value *loss, struct value *counts,
                          struct value **out)
{
    static const char *const reduction[] = { "mean", "sum", "none", NULL };
    int32_t how = onnx_enum(s, "reduction", "mean", reduction);
    struct attr_ints all = { 0 };
    struct value *sum, *total;
    *out = loss;
    if (how == 2)
        return OK;
    TRY(build_reduce(s, REDUCE_SUM, loss, &all, false, &sum));
    *out = sum;
    if (how == 1)
        return OK;
    TRY(build_reduce(s, REDUCE_SUM, counts, &all, false, &total));
    return build2(s, "div", sum, total, out);
}

/* -weight[target] * log_p[target] over the classes in dimension 1. */
static status negative_log_likelihood(struct onnx_site *s, struct loss *l, struct value **out)
{
    struct value *counts, *at, *picked, *flat, *loss;
    TRY(build_cast(s, l->target, DTYPE_I64, &l->target));
    TRY(target_weights(s, l, &counts));
    TRY(build_unsqueeze(s, l->target, &(struct attr_ints){ 1, { 1 } }, &at));
    TRY(onnx_add1(s, "take_along", (struct value *[]){ l->log_p, at }, 2, &picked));
    ((struct gather_attrs *)node_attrs(picked->producer))->axis = 1;
    TRY(build1(s, "squeeze", picked, &flat));
    ((struct axes_attrs *)node_attrs(flat->producer))->axes = (struct attr_ints){ 1, { 1 } };
    flat->shape = l->target->shape;
    TRY(build2(s, "mul", flat, counts, &loss));
    TRY(build_affine(s, loss, -1, 0, &loss));
    return reduce_loss(s, loss, counts, out);
}

static status import_nll_loss(struct onnx_site *s)
{
    struct loss l;
    struct value *out;
    TRY(onnx_in(s, 0, &l.log_p));
    TRY(onnx_in(s, 1, &l.target));
    TRY(onnx_in_optional(s, 2, &l.weight));
    TRY(negative_log_likelihood(s, &l, &out));
    return onnx_bind(s, 0, out);
}

static status import_softmax_loss(struct onnx_site *s)
{
    struct loss l;
    struct value *x, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &l.target));
    TRY(onnx_in_optional(s, 2, &l.weight));
    TRY(build_log_softmax(s, x, 1, &l.log_p));
    TRY(negative_log_likelihood(s, &l, &out));
    TRY(onnx_bind(s, 0, out));
    return onnx_bind(s, 1, l.log_p);
}

/* ---- rotary embedding ---- */

/* Halves of the last dimension: neighbours (interleaved) or the first and the second half. */
static status halves(struct onnx_site *s, struct value *x, int64_t size, bool interleaved,
                     struct value *half[2])
{
    for (int i = 0; i < 2; i++) {
        TRY(build1(s, "slice", x, &half[i]));
        struct slice_attrs *a = node_attrs(half[i]->producer);
        *a = (struct slice_attrs){ .axes = { 1, { -1 } }, .steps = { 1, { interleaved ? 2 : 1 } } };
        a->starts = (struct attr_ints){ 1, { interleaved ? i : i * size / 2 } };
        a->ends = (struct attr_ints){ 1, { interleaved || i == 1 ? INT64_MAX : size / 2 } };
        half[i]->shape.dim[3] = size / 2;
    }
    return OK;
}

/* (a cos - b sin, a sin + b cos), put together again as they were. */
static status rotate(struct onnx_site *s, struct value *const half[2], struct value *cos,
                     struct value *sin, bool interleaved, struct value **out)
{
    struct value *ac, *bs, *as, *bc, *turned[2];
    TRY(build2(s, "mul", half[0], cos, &ac));
    TRY(build2(s, "mul", half[1], sin, &bs));
    TRY(build2(s, "mul", half[0], sin, &as));
    TRY(build2(s, "mul", half[1], cos, &bc));
    TRY(build2(s, "sub", ac, bs, &turned[0]));
    TRY(build2(s, "add", as, bc, &turned[1]));
    if (!interleaved)
        return build_concat(s, turned, 2, -1, out);
    for (int i = 0; i < 2; i++)
        TRY(build_unsqueeze(s, turned[i], &(struct attr_ints){ 1, { 4 } }, &turned[i]));
    struct value *pairs;
    TRY(build_concat(s, turned, 2, 4, &pairs));
    return onnx_add_reshape(s, pairs, &(struct attr_ints){ 4, { 0, 0, 0, -1 } }, out);
}

/* cos or sin by position: [batch, length, half] to [batch, length, 1, half]. */
static status by_position(struct onnx_site *s, int i, struct value *positions, struct value **out)
{
    struct value *table;
    TRY(onnx_in(s, i, &table));
    if (positions != NULL)
        TRY(build_gather(s, table, positions, 0, &table));
    return build_unsqueeze(s, table, &(struct attr_ints){ 1, { 2 } }, out);
}

static status import_rotary(struct onnx_site *s)
{
    struct value *x, *positions, *rows, *cos, *sin, *half[2], *turned, *rest = NULL, *out;
    bool interleaved = onnx_bool(s, "interleaved", false);
    int64_t heads = onnx_i64(s, "num_heads", 0), part = onnx_i64(s, "rotary_embedding_dim", 0);
    TRY(onnx_in(s, 0, &x));
    bool flat = x->shape.rank == 3;
    if (flat)
        TRY(onnx_add_reshape(s, x, &(struct attr_ints){ 4, { 0, 0, heads, -1 } }, &rows));
    else
        TRY(build_transpose(s, x, &(struct attr_ints){ 4, { 0, 2, 1, 3 } }, &rows));
    int64_t size = flat && heads > 0 && x->shape.dim[2] > 0 ? x->shape.dim[2] / heads
                   : !flat && x->shape.rank == 4            ? x->shape.dim[3]
                                                            : -1;
    if (size < 2)
        return onnx_fault(s, UNSUPPORTED, "heads whose size the file does not tell");
    if (part > 0 && part < size) {
        TRY(build_slice(s, rows, -1, part, INT64_MAX, &rest));
        TRY(build_slice(s, rows, -1, 0, part, &rows));
        size = part;
    }
    TRY(onnx_in_optional(s, 3, &positions));
    TRY(by_position(s, 1, positions, &cos));
    TRY(by_position(s, 2, positions, &sin));
    TRY(halves(s, rows, size, interleaved, half));
    TRY(rotate(s, half, cos, sin, interleaved, &turned));
    if (rest != NULL)
        TRY(build_concat(s, (struct value *[]){ turned, rest }, 2, -1, &turned));
    if (flat)
        TRY(onnx_add_reshape(s, turned, &(struct attr_ints){ 3, { 0, 0, -1 } }, &out));
    else
        TRY(build_transpose(s, turned, &(struct attr_ints){ 4, { 0, 2, 1, 3 } }, &out));
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_neural[] = {
    { "Attention",               "softmax", import_attention },
    { "LinearAttention",         "linear_attention", import_linear_attention },
    { "CausalConvWithState",     "conv_nd", import_causal_conv },
    { "NegativeLogLikelihoodLoss", "take_along", import_nll_loss },
    { "SoftmaxCrossEntropyLoss", "take_along", import_softmax_loss },
    { "RotaryEmbedding",         "mul",     import_rotary },
    { 0 },
};
// clang-format on
