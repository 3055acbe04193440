/* Numbers by chance, and what PaddleNLP's decoding and PaddleRec's models use besides. */
#include "graph/attrs_move.h"
#include "graph/attrs_random.h"
#include "graph/attrs_reduce.h"
#include "import/paddle/site.h"

#include <string.h>

/* ---- chance ---- */

static status add_random(struct site *s, struct random_attrs a)
{
    struct value *shape, *out;
    dtype d = DTYPE_F32;
    int32_t code = attr_i32(s, "dtype", 5);
    if (code != -1 && !program_computed(code, &d))
        return site_fault(s, UNSUPPORTED, "dtype %d of VarType", code);
    TRY(site_in_ints(s, "ShapeTensor", "ShapeTensorList", &shape));
    a.shape = attr_i64s(s, "shape");
    a.dtype = (int32_t)d;
    a.seed = attr_i32(s, "seed", 0);
    TRY(site_add1(s, "random", &shape, shape != NULL, &out));
    *(struct random_attrs *)node_attrs(out->producer) = a;
    out->dtype = d;
    out->shape = (struct shape){ .rank = a.shape.count < SHAPE_MAX ? a.shape.count : SHAPE_MAX };
    for (int i = 0; i < out->shape.rank; i++)
        out->shape.dim[i] = shape != NULL ? -1 : a.shape.v[i];
    return site_bind(s, "Out", out);
}

static status import_uniform(struct site *s)
{
    return add_random(s, (struct random_attrs){ .kind = RANDOM_UNIFORM,
                                                .a = (float)attr_f64(s, "min", -1),
                                                .b = (float)attr_f64(s, "max", 1) });
}

static status import_randint(struct site *s)
{
    int64_t low = attr_i64(s, "low", 0), high = attr_i64(s, "high", 0);
    if (low >= high || low < -(1 << 24) || high > 1 << 24)
        return site_fault(s, UNSUPPORTED, "integers of %lld to %lld; within 2^24 are supported",
                          (long long)low, (long long)high);
    return add_random(
        s, (struct random_attrs){ .kind = RANDOM_UNIFORM, .a = (float)low, .b = (float)high });
}

static status import_normal(struct site *s)
{
    bool cut = str_is(s->op->type, "truncated_gaussian_random");
    return add_random(s, (struct random_attrs){ .kind = cut ? RANDOM_TRUNCATED : RANDOM_NORMAL,
                                                .a = (float)attr_f64(s, "mean", 0),
                                                .b = (float)attr_f64(s, "std", 1) });
}

static status add_sample(struct site *s, struct sample_attrs a, struct value **out)
{
    struct value *x;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "sample", &x, 1, out));
    *(struct sample_attrs *)node_attrs((*out)->producer) = a;
    (*out)->dtype = DTYPE_I64;
    return OK;
}

static status import_multinomial(struct site *s)
{
    struct value *out;
    TRY(site_refuse_in(s, "NumSamplesTensor"));
    TRY(add_sample(s,
                   (struct sample_attrs){ .count = attr_i32(s, "num_samples", 1),
                                          .replace = attr_bool(s, "replacement", false) },
                   &out));
    return site_bind(s, "Out", out);
}

static status import_sampling_id(struct site *s)
{
    struct value *sample, *out;
    TRY(add_sample(
        s, (struct sample_attrs){ .count = 1, .seed = attr_i32(s, "seed", 0), .replace = true },
        &sample));
    TRY(site_add_reshape(s, sample, &(struct attr_ints){ 1, { -1 } }, &out));
    return site_bind(s, "Out", out);
}

static status import_bernoulli(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "flip_coins", &x, 1, &out));
    return site_bind(s, "Out", out);
}

/* Scores [N, K] with two levels: sources, and their beams. */
static status import_beam_search(struct site *s)
{
    struct value *in[6];
    struct node *n;
    TRY(site_in(s, "pre_ids", &in[0]));
    TRY(site_in(s, "pre_scores", &in[1]));
    TRY(site_in(s, "scores", &in[2]));
    TRY(site_in_optional(s, "ids", &in[5]));
    if (in[2]->lod_levels != 2 || attr_i32(s, "level", 0) != 0)
        return site_fault(s, UNSUPPORTED, "level %d of scores with %d LoD levels, expected 0 of 2",
                          attr_i32(s, "level", 0), in[2]->lod_levels);
    in[3] = in[2]->lod[0];
    in[4] = in[2]->lod[1];
    struct beam_attrs a = { .end_id = attr_i64(s, "end_id", 0),
                            .beam_size = attr_i32(s, "beam_size", 1),
                            .accumulated = attr_bool(s, "is_accumulated", true) };
    TRY(site_add(s, "beam_step", in, in[5] != NULL ? 6 : 5, &n));
    *(struct beam_attrs *)node_attrs(n) = a;
    static const char *const slot[] = { "selected_ids", "selected_scores", "parent_idx" };
    for (int i = 0; i < 5; i++)
        n->out[i]->dtype = i == 1 ? in[2]->dtype : i == 2 ? DTYPE_I32 : DTYPE_I64;
    for (int i = 0; i < 3; i++) {
        TRY(site_bind(s, slot[i], n->out[i]));
        if (i < 2) {
            n->out[i]->lod_levels = 2;
            n->out[i]->lod[0] = n->out[3];
            n->out[i]->lod[1] = n->out[4];
        }
    }
    return OK;
}

/* Arrays of what each step of a beam search chose, to sentences. */
static status import_beam_decode(struct site *s)
{
    static const char *const slot[] = { "SentenceIds", "SentenceScores" };
    struct value *in[3];
    struct node *n;
    TRY(site_in(s, "Ids", &in[0]));
    TRY(site_in(s, "Scores", &in[1]));
    TRY(site_add1(s, "array_length", in, 1, &in[2]));
    in[2]->dtype = DTYPE_I64;
    in[2]->shape = SHAPE(1);
    TRY(site_add(s, "beam_decode", in, 3, &n));
    *(struct beam_decode_attrs *)node_attrs(n) = (struct beam_decode_attrs){
        .end_id = attr_i64(s, "end_id", 0),
        .beam_size = attr_i32(s, "beam_size", 1),
    };
    for (int i = 0; i < 4; i++) {
        n->out[i]->dtype = i == 1 ? DTYPE_F32 : DTYPE_I64;
        n->out[i]->shape = SHAPE(-1);
    }
    for (int i = 0; i < 2; i++) {
        TRY(site_bind(s, slot[i], n->out[i]));
        n->out[i]->lod_levels = 2;
        n->out[i]->lod[0] = n->out[2];
        n->out[i]->lod[1] = n->out[3];
    }
    return OK;
}

static status import_gather_tree(struct site *s)
{
    struct value *in[2], *out;
    TRY(site_in(s, "Ids", &in[0]));
    TRY(site_in(s, "Parents", &in[1]));
    TRY(site_add1(s, "gather_tree", in, 2, &out));
    return site_bind(s, "Out", out);
}

/* ---- parts ---- */

static status add_slice(struct site *s, struct value *x, const struct slice_attrs *a,
                        struct value **out)
{
    TRY(site_add1(s, "slice", &x, 1, out));
    *(struct slice_attrs *)node_attrs((*out)->producer) = *a;
    return OK;
}

/* The columns that partial_concat and partial_sum take of each input. */
static status partial(struct site *s, struct value ***parts, int *count)
{
    int64_t start = attr_i64(s, "start_index", 0), length = attr_i64(s, "length", -1);
    struct slice_attrs a = { .axes = { 1, { 1 } }, .starts = { 1, { start } } };
    a.ends = (struct attr_ints){ 1, { INT64_MAX } };
    if (length >= 0 && start < 0 && start + length == 0)
        length = -1;
    if (length >= 0 && __builtin_add_overflow(start, length, &a.ends.v[0]))
        a.ends.v[0] = INT64_MAX;
    TRY(site_ins(s, "X", parts, count));
    for (int i = 0; i < *count; i++)
        TRY(add_slice(s, (*parts)[i], &a, &(*parts)[i]));
    return OK;
}

static status import_partial_concat(struct site *s)
{
    struct value **parts, *out;
    int count;
    TRY(partial(s, &parts, &count));
    TRY(site_add1(s, "concat", parts, count, &out));
    ((struct axis_attrs *)node_attrs(out->producer))->axis = 1;
    return site_bind(s, "Out", out);
}

static status import_partial_sum(struct site *s)
{
    struct value **parts, *out;
    int count;
    TRY(partial(s, &parts, &count));
    out = parts[0];
    for (int i = 1; i < count; i++)
        TRY(site_add2(s, "add", out, parts[i], &out));
    return site_bind(s, "Out", out);
}

static status import_broadcast_tensors(struct site *s)
{
    struct value **x, *out;
    int count;
    TRY(site_ins(s, "X", &x, &count));
    struct value **in = arena_zalloc(s->scratch, ((size_t)count + 1) * sizeof(*in));
    memcpy(in + 1, x, (size_t)count * sizeof(*in));
    for (int i = 0; i < count; i++) {
        in[0] = x[i];
        TRY(site_add1(s, "expand_as", in, count + 1, &out));
        TRY(site_bind_at(s, "Out", i, out));
    }
    return OK;
}

/* ---- products and distances of recommendation ---- */

static status reduce_last(struct site *s, struct value *x, int32_t mode, struct value **out)
{
    TRY(site_add1(s, "reduce", &x, 1, out));
    *(struct reduce_attrs *)node_attrs((*out)->producer) =
        (struct reduce_attrs){ .mode = mode, .axes = { 1, { -1 } }, .keep_dims = true };
    return OK;
}

static status bind_if_asked(struct site *s, const char *slot, struct value *v)
{
    struct value *copy;
    if (site_out_count(s, slot) == 0)
        return OK;
    TRY(site_add1(s, "identity", &v, 1, &copy));
    return site_bind(s, slot, copy);
}

/* cos_sim: of rows; Y may be one row for all. */
static status import_cos_sim(struct site *s)
{
    struct value *x, *y, *dot, *nx, *ny, *norms, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(site_add2(s, "mul", x, y, &dot));
    TRY(reduce_last(s, dot, REDUCE_SUM, &dot));
    TRY(reduce_last(s, x, REDUCE_L2, &nx));
    TRY(reduce_last(s, y, REDUCE_L2, &ny));
    TRY(bind_if_asked(s, "XNorm", nx));
    TRY(bind_if_asked(s, "YNorm", ny));
    TRY(site_add2(s, "mul", nx, ny, &norms));
    TRY(site_add2(s, "div", dot, norms, &out));
    return site_bind(s, "Out", out);
}

/* batch_fc: a product of its own for each slot: [S, N, K] x [S, K, M] + [S, M]. */
static status import_batch_fc(struct site *s)
{
    struct value *x, *w, *bias, *out;
    TRY(site_in(s, "Input", &x));
    TRY(site_in(s, "W", &w));
    TRY(site_in(s, "Bias", &bias));
    TRY(site_add2(s, "matmul", x, w, &out));
    ((struct matmul_attrs *)node_attrs(out->producer))->alpha = 1;
    TRY(site_add1(s, "unsqueeze", &bias, 1, &bias));
    ((struct axes_attrs *)node_attrs(bias->producer))->axes = (struct attr_ints){ 1, { 1 } };
    TRY(site_add2(s, "add", out, bias, &out));
    return site_bind(s, "Out", out);
}

/* bilinear_tensor_product: out[n][k] = x[n] x W[k] x y[n] + bias[k]. */
static status import_bilinear(struct site *s)
{
    struct value *x, *y, *w, *bias, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_in(s, "Y", &y));
    TRY(site_in(s, "Weight", &w));
    TRY(site_in_optional(s, "Bias", &bias));
    TRY(site_add2(s, "matmul", x, w, &out));
    ((struct matmul_attrs *)node_attrs(out->producer))->alpha = 1;
    TRY(site_add2(s, "mul", out, y, &out));
    TRY(site_add1(s, "reduce", &out, 1, &out));
    *(struct reduce_attrs *)node_attrs(out->producer) =
        (struct reduce_attrs){ .mode = REDUCE_SUM, .axes = { 1, { -1 } } };
    TRY(site_add1(s, "transpose", &out, 1, &out));
    ((struct transpose_attrs *)node_attrs(out->producer))->perm = (struct attr_ints){ 2, { 1, 0 } };
    if (bias != NULL)
        TRY(site_add2(s, "add", out, bias, &out));
    return site_bind(s, "Out", out);
}

/* label_smooth: (1 - epsilon) * x + epsilon * prior, which is even where none is given. */
static status import_label_smooth(struct site *s)
{
    struct value *x, *prior, *out;
    double epsilon = attr_f64(s, "epsilon", 0);
    TRY(site_in(s, "X", &x));
    TRY(site_in_optional(s, "PriorDist", &prior));
    int64_t classes = x->shape.rank > 0 ? x->shape.dim[x->shape.rank - 1] : -1;
    if (prior == NULL && classes < 1)
        return site_fault(s, UNSUPPORTED, "the number of its classes is not known");
    TRY(site_add1(s, "affine", &x, 1, &out));
    *(struct affine_attrs *)node_attrs(out->producer) =
        (struct affine_attrs){ (float)(1 - epsilon),
                               prior == NULL ? (float)(epsilon / (double)classes) : 0 };
    if (prior != NULL) {
        TRY(site_add1(s, "affine", &prior, 1, &prior));
        ((struct affine_attrs *)node_attrs(prior->producer))->scale = (float)epsilon;
        TRY(site_add2(s, "add", out, prior, &out));
    }
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_random[] = {
    { "uniform_random",            "random",      import_uniform,           LOD_OWN },
    { "gaussian_random",           "random",      import_normal,            LOD_OWN },
    { "truncated_gaussian_random", "random",      import_normal,            LOD_OWN },
    { "randint",                   "random",      import_randint,           LOD_OWN },
    { "multinomial",               "sample",      import_multinomial,       LOD_OWN },
    { "sampling_id",               "sample",      import_sampling_id,       LOD_OWN },
    { "bernoulli",                 "flip_coins",  import_bernoulli,         LOD_SHARE },
    { "beam_search",               "beam_step",   import_beam_search,       LOD_OWN },
    { "beam_search_decode",        "beam_decode", import_beam_decode,       LOD_OWN },
    { "gather_tree",               "gather_tree", import_gather_tree,       LOD_OWN },
    { "partial_concat",            "concat",      import_partial_concat,    LOD_OWN },
    { "partial_sum",               "add",         import_partial_sum,       LOD_OWN },
    { "broadcast_tensors",         "expand_as",   import_broadcast_tensors, LOD_OWN },
    { "cos_sim",                   "div",         import_cos_sim,           LOD_SHARE },
    { "batch_fc",                  "matmul",      import_batch_fc,          LOD_OWN },
    { "bilinear_tensor_product",   "matmul",      import_bilinear,          LOD_SHARE },
    { "label_smooth",              "affine",      import_label_smooth,      LOD_SHARE },
    { 0 },
};
// clang-format on
