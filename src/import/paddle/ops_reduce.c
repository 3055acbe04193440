/* Reductions, running sums and normalisation. */
#include "graph/attrs_reduce.h"
#include "import/paddle/site.h"

#include <math.h>

/* ---- reductions ---- */

static status add_reduce(struct site *s, struct value *x, const struct reduce_attrs *a,
                         struct value **out)
{
    TRY(site_add1(s, "reduce", &x, 1, out));
    *(struct reduce_attrs *)node_attrs((*out)->producer) = *a;
    return OK;
}

/* The axes of reduce_*: reduce_all overrules the list, and an empty list means all too. */
static struct attr_ints read_axes(struct site *s, const char *name)
{
    struct attr_ints axes = attr_i64s(s, name);
    return attr_bool(s, "reduce_all", false) ? (struct attr_ints){ 0 } : axes;
}

static int32_t mode_of(const struct site *s)
{
    static const struct {
        const char *type;
        enum reduce_mode mode;
    } rows[] = {
        { "reduce_sum", REDUCE_SUM },   { "reduce_mean", REDUCE_MEAN },
        { "reduce_max", REDUCE_MAX },   { "reduce_amax", REDUCE_MAX },
        { "reduce_min", REDUCE_MIN },   { "reduce_amin", REDUCE_MIN },
        { "reduce_prod", REDUCE_PROD }, { "reduce_all", REDUCE_ALL },
        { "reduce_any", REDUCE_ANY },   { "frobenius_norm", REDUCE_L2 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_is(s->op->type, rows[i].type))
            return rows[i].mode;
    return REDUCE_SUM;
}

/* The declared type of the result, where it is another than x's: sums of bools and of int32 come as int64. */
static status widen(struct site *s, struct value *x, struct value **out)
{
    const struct var_desc *v = site_declared(s, "Out");
    dtype want = x->dtype;
    int32_t code = attr_i32(s, "out_dtype", -1);
    if (code >= 0 && !program_computed(code, &want))
        return site_fault(s, UNSUPPORTED, "out_dtype %d of VarType", code);
    if (code < 0 && v != NULL)
        program_computed(v->data_type, &want);
    return site_cast(s, x, want, out);
}

static status import_reduce(struct site *s)
{
    struct value *x, *out;
    struct reduce_attrs a = { .mode = mode_of(s),
                              .axes = read_axes(s, "dim"),
                              .keep_dims = attr_bool(s, "keep_dim", false) };
    TRY(site_in(s, "X", &x));
    if (a.mode == REDUCE_SUM || a.mode == REDUCE_PROD)
        TRY(widen(s, x, &x));
    TRY(add_reduce(s, x, &a, &out));
    return site_bind(s, "Out", out);
}

/* mean: of all elements, to one. */
static status import_mean(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(add_reduce(s, x, &(struct reduce_attrs){ .mode = REDUCE_MEAN }, &out));
    return site_bind_one(s, "Out", out);
}

static status import_logsumexp(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    struct reduce_attrs a = { .mode = REDUCE_LOG_SUM_EXP,
                              .axes = read_axes(s, "axis"),
                              .keep_dims = attr_bool(s, "keepdim", false) };
    TRY(add_reduce(s, x, &a, &out));
    return site_bind(s, "Out", out);
}

/* Which reduction the p-norm is: infinities are the largest and the smallest magnitude, 0 counts. */
static int32_t norm_mode(double p)
{
    return p == 0 ? REDUCE_ZERO : p == 1 ? REDUCE_L1 : p == 2 ? REDUCE_L2 : REDUCE_LP;
}

static status import_p_norm(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    double p = attr_f64(s, "porder", 2);
    if (isnan(p))
        return site_fault(s, INVALID, "porder is no number");
    struct reduce_attrs a = { .mode = norm_mode(p),
                              .axes = { 1, { attr_i32(s, "axis", -1) } },
                              .keep_dims = attr_bool(s, "keepdim", false),
                              .p = (float)p };
    if (attr_bool(s, "asvector", false))
        a.axes.count = 0;
    if (isinf(p)) {
        TRY(site_add1(s, "abs", &x, 1, &x));
        a.mode = p > 0 ? REDUCE_MAX : REDUCE_MIN;
    }
    dtype d = x->dtype;
    TRY(add_reduce(s, x, &a, &out));
    if (p == 0) {
        out->dtype = DTYPE_I64;
        TRY(site_cast(s, out, d, &out));
    }
    return site_bind(s, "Out", out);
}

/* ---- running sums ---- */

static status import_scan(struct site *s)
{
    struct value *x, *out;
    bool product = str_is(s->op->type, "cumprod");
    TRY(site_in(s, "X", &x));
    struct scan_attrs a = { .mode = product ? SCAN_PROD : SCAN_SUM,
                            .axis = attr_i32(s, product ? "dim" : "axis", -1),
                            .exclusive = attr_bool(s, "exclusive", false),
                            .reverse = attr_bool(s, "reverse", false) };
    if (str_is(s->op->type, "logcumsumexp"))
        a.mode = SCAN_LOG_SUM_EXP;
    if (attr_bool(s, "flatten", false)) {
        TRY(site_reshape(s, x, &(struct attr_ints){ 1, { -1 } }, &x));
        a.axis = 0;
    }
    TRY(site_add1(s, "scan", &x, 1, &out));
    *(struct scan_attrs *)node_attrs(out->producer) = a;
    return site_bind(s, "Out", out);
}

/* ---- normalisation ---- */

static status import_layer_norm(struct site *s)
{
    struct value *in[3], *out;
    TRY(site_in(s, "X", &in[0]));
    TRY(site_in_optional(s, "Scale", &in[1]));
    TRY(site_in_optional(s, "Bias", &in[2]));
    TRY(site_add1(s, "layer_norm", in, in[2] != NULL ? 3 : in[1] != NULL ? 2 : 1, &out));
    *(struct layer_norm_attrs *)node_attrs(out->producer) =
        (struct layer_norm_attrs){ .begin = attr_i32(s, "begin_norm_axis", 1),
                                   .epsilon = (float)attr_f64(s, "epsilon", 1e-5) };
    return site_bind(s, "Y", out);
}

/* norm: x / sqrt(sum of squares along axis + epsilon). Its output Norm is for training. */
static status import_norm(struct site *s)
{
    struct value *x, *out;
    TRY(site_in(s, "X", &x));
    TRY(site_add1(s, "l2_normalize", &x, 1, &out));
    *(struct l2_attrs *)node_attrs(out->producer) =
        (struct l2_attrs){ .axis = attr_i32(s, "axis", -1),
                           .epsilon = (float)attr_f64(s, "epsilon", 1e-10) };
    return site_bind(s, "Out", out);
}

// clang-format off
const struct op_row paddle_reduce[] = {
    { "reduce_sum",     "reduce",       import_reduce,     LOD_OWN },
    { "reduce_mean",    "reduce",       import_reduce,     LOD_OWN },
    { "reduce_max",     "reduce",       import_reduce,     LOD_OWN },
    { "reduce_min",     "reduce",       import_reduce,     LOD_OWN },
    { "reduce_amax",    "reduce",       import_reduce,     LOD_OWN },
    { "reduce_amin",    "reduce",       import_reduce,     LOD_OWN },
    { "reduce_prod",    "reduce",       import_reduce,     LOD_OWN },
    { "reduce_all",     "reduce",       import_reduce,     LOD_OWN },
    { "reduce_any",     "reduce",       import_reduce,     LOD_OWN },
    { "frobenius_norm", "reduce",       import_reduce,     LOD_OWN },
    { "p_norm",         "reduce",       import_p_norm,     LOD_OWN },
    { "mean",           "reduce",       import_mean,       LOD_OWN },
    { "logsumexp",      "reduce",       import_logsumexp,  LOD_OWN },
    { "cumsum",         "scan",         import_scan,       LOD_SHARE },
    { "cumprod",        "scan",         import_scan,       LOD_SHARE },
    { "logcumsumexp",   "scan",         import_scan,       LOD_SHARE },
    { "layer_norm",     "layer_norm",   import_layer_norm, LOD_SHARE },
    { "norm",           "l2_normalize", import_norm,       LOD_SHARE },
    { 0 },
};
// clang-format on
