/* Support vector machines and tables of labels of ai.onnx.ml: what scikit-learn's SVC, NuSVC, SVR and OneClassSVM export.
 *
 * A question is a sum over support vectors of coefficient times kernel(x, vector), plus rho. A regressor asks one. A
 * classifier asks one for each pair of classes (i, j), i < j, of the vectors of those two: above 0 it speaks for i. Votes
 * decide; probabilities are made to fit all pairs (graph/attrs_matrices.h, couple). */
#include "graph/attrs_index.h"
#include "graph/attrs_reduce.h"
#include "import/onnx/build.h"

#include <string.h>

enum machine_kernel {
    MACHINE_LINEAR,
    MACHINE_POLY,
    MACHINE_RBF,
    MACHINE_SIGMOID,
};

struct machine {
    struct value *x;
    const struct onnx_attr *vectors, *coefficients, *rho;
    int count;     /* of support vectors; 0: the coefficients are of features */
    int questions; /* a row of coefficients each; of a classifier, classes - 1 rows */
    int32_t kernel;
    double gamma, offset, degree;
};

static int float_count(const struct onnx_attr *a)
{
    return a != NULL ? a->float_count : 0;
}

static status read_kernel(struct onnx_site *s, struct machine *m)
{
    static const char *const kernel[] = { "LINEAR", "POLY", "RBF", "SIGMOID", NULL };
    static const char *const none[] = { "NONE", NULL };
    const struct onnx_attr *params = onnx_attr(s, "kernel_params");
    m->kernel = onnx_enum(s, "kernel_type", "LINEAR", kernel);
    onnx_enum(s, "post_transform", "NONE", none);
    if (float_count(params) > 0 && params->float_count != 3)
        return onnx_fault(s, INVALID, "attribute 'kernel_params' has %d numbers, expected 3",
                          params->float_count);
    if (float_count(params) == 3) {
        m->gamma = (double)params->floats[0];
        m->offset = (double)params->floats[1];
        m->degree = (double)params->floats[2];
    }
    return OK;
}

static status read_machine(struct onnx_site *s, struct machine *m)
{
    TRY(onnx_in(s, 0, &m->x));
    TRY(build_cast(s, m->x, DTYPE_F32, &m->x));
    m->vectors = onnx_attr(s, "support_vectors");
    m->coefficients = onnx_attr(s, "coefficients");
    m->rho = onnx_attr(s, "rho");
    if (float_count(m->coefficients) == 0 || float_count(m->rho) == 0)
        return onnx_fault(s, INVALID, "no coefficients, or no rho");
    return read_kernel(s, m);
}

/* Vectors lie one behind the other: as many features each as fit. */
static status shape_vectors(struct onnx_site *s, const struct machine *m, struct value **out)
{
    int numbers = float_count(m->vectors);
    if (m->count < 1 || numbers < m->count || numbers % m->count != 0)
        return onnx_fault(s, INVALID, "%d numbers for %d support vectors", numbers, m->count);
    return onnx_add_constant(s, DTYPE_F32, &SHAPE(m->count, numbers / m->count), m->vectors->floats,
                             out);
}

/* exp(-gamma |x - v|^2), by the differences themselves: close vectors would be lost in the difference of their squares. */
static status radial(struct onnx_site *s, const struct machine *m, struct value *vectors,
                     struct value **out)
{
    struct value *x, *apart;
    TRY(build_unsqueeze(s, m->x, &(struct attr_ints){ 1, { 1 } }, &x));
    TRY(build2(s, "sub", x, vectors, &apart));
    apart->shape = SHAPE(-1, vectors->shape.dim[0], vectors->shape.dim[1]);
    TRY(build1(s, "square", apart, &apart));
    TRY(build_reduce(s, REDUCE_SUM, apart, &(struct attr_ints){ 1, { -1 } }, false, out));
    TRY(build_affine(s, *out, -m->gamma, 0, out));
    return build1(s, "exp", *out, out);
}

/* [rows, vectors]: each row with each support vector. */
static status kernels(struct onnx_site *s, const struct machine *m, struct value **out)
{
    struct value *vectors;
    TRY(shape_vectors(s, m, &vectors));
    if (m->kernel == MACHINE_RBF)
        return radial(s, m, vectors, out);
    TRY(build_matmul(s, m->x, vectors, true, out));
    if (m->kernel == MACHINE_LINEAR)
        return OK;
    TRY(build_affine(s, *out, m->gamma, m->offset, out));
    if (m->kernel == MACHINE_SIGMOID)
        return build1(s, "tanh", *out, out);
    return build_by(s, "pow", *out, m->degree, out);
}

/* ---- one question ---- */

/* 1 above 0, -1 otherwise. */
static status side_of(struct onnx_site *s, struct value *x, struct value **out)
{
    struct value *above;
    TRY(build_by(s, "greater", x, 0, &above));
    TRY(build_cast(s, above, DTYPE_F32, out));
    return build_affine(s, *out, 2, -1, out);
}

static status import_svm_regressor(struct onnx_site *s)
{
    struct machine m = { .questions = 1 };
    struct value *k, *weight, *out;
    TRY(read_machine(s, &m));
    m.count = onnx_i32(s, "n_supports", 0);
    if (m.count > 0)
        TRY(kernels(s, &m, &k));
    else
        k = m.x;
    int rows = float_count(m.coefficients);
    if (m.count > 0 && rows != m.count)
        return onnx_fault(s, INVALID, "%d coefficients for %d support vectors", rows, m.count);
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(rows, 1), m.coefficients->floats, &weight));
    TRY(build_matmul(s, k, weight, false, &out));
    out->shape = SHAPE(-1, 1);
    TRY(build_affine(s, out, 1, (double)m.rho->floats[0], &out));
    if (onnx_i64(s, "one_class", 0) != 0)
        TRY(side_of(s, out, &out));
    return onnx_bind(s, 0, out);
}

/* ---- a question for each pair of classes ---- */

struct pairs {
    const int64_t *vectors, *label; /* by class: how many support vectors, and its name */
    int classes, count;
};

static status read_pairs(struct onnx_site *s, struct machine *m, struct pairs *p)
{
    const struct onnx_attr *per = onnx_attr(s, "vectors_per_class"),
                           *label = onnx_attr(s, "classlabels_ints");
    if (per == NULL || per->int_count < 2)
        return onnx_fault(s, UNSUPPORTED, "a classifier without support vectors");
    if (label == NULL || label->int_count != per->int_count)
        return onnx_fault(s, UNSUPPORTED, "labels that are texts; export with integer classes");
    *p = (struct pairs){ per->ints, label->ints, per->int_count, 0 };
    p->count = p->classes * (p->classes - 1) / 2;
    for (int i = 0; i < p->classes; i++) {
        if (per->ints[i] < 0 || per->ints[i] > INT32_MAX - m->count)
            return onnx_fault(s, INVALID, "%lld support vectors of a class",
                              (long long)per->ints[i]);
        m->count += (int)per->ints[i];
    }
    if (float_count(m->coefficients) != (int64_t)m->count * (p->classes - 1) ||
        float_count(m->rho) != p->count)
        return onnx_fault(s, INVALID,
                          "%d coefficients and %d of rho for %d support vectors of %d classes",
                          float_count(m->coefficients), float_count(m->rho), m->count, p->classes);
    return OK;
}

/* The column of w for the pair (i, j): the vectors of i weigh by row j - 1 of the coefficients, those of j by row i. */
static void fill_pair(const struct machine *m, const struct pairs *p, int i, int j, int column,
                      float *w)
{
    int first = 0;
    for (int c = 0; c < p->classes; first += (int)p->vectors[c++]) {
        if (c != i && c != j)
            continue;
        const float *row =
            m->coefficients->floats + (size_t)(c == i ? j - 1 : i) * (size_t)m->count;
        for (int v = first; v < first + (int)p->vectors[c]; v++)
            w[(size_t)v * (size_t)p->count + (size_t)column] = row[v];
    }
}

static status ask_pairs(struct onnx_site *s, const struct machine *m, const struct pairs *p,
                        struct value **out)
{
    struct value *k, *weight, *rho;
    size_t size = (size_t)m->count * (size_t)p->count;
    float *w = arena_try_array(s->import->scratch, size + 1, sizeof(*w));
    if (w == NULL)
        return onnx_fault(s, NO_MEMORY, "no memory for %d pairs of classes", p->count);
    memset(w, 0, size * sizeof(*w));
    for (int i = 0, column = 0; i < p->classes; i++)
        for (int j = i + 1; j < p->classes; j++)
            fill_pair(m, p, i, j, column++, w);
    TRY(kernels(s, m, &k));
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(m->count, p->count), w, &weight));
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(p->count), m->rho->floats, &rho));
    TRY(build_matmul(s, k, weight, false, out));
    (*out)->shape = SHAPE(-1, p->count);
    return build2(s, "add", *out, rho, out);
}

/* Each question is a vote: one column of `yes` and `no` says for whom. */
static status count_votes(struct onnx_site *s, const struct pairs *p, struct value *scores,
                          struct value **out)
{
    struct value *above, *below, *mine, *theirs, *w;
    size_t size = (size_t)p->count * (size_t)p->classes;
    float *table = arena_try_array(s->import->scratch, 2 * size, sizeof(*table));
    if (table == NULL)
        return onnx_fault(s, NO_MEMORY, "no memory for %d pairs of classes", p->count);
    memset(table, 0, 2 * size * sizeof(*table));
    for (int i = 0, at = 0; i < p->classes; i++)
        for (int j = i + 1; j < p->classes; j++, at += p->classes) {
            table[at + i] = 1;
            table[size + (size_t)(at + j)] = 1;
        }
    TRY(build_by(s, "greater", scores, 0, &above));
    TRY(build_cast(s, above, DTYPE_F32, &above));
    TRY(build_affine(s, above, -1, 1, &below));
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(p->count, p->classes), table, &w));
    TRY(build_matmul(s, above, w, false, &mine));
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(p->count, p->classes), table + size, &w));
    TRY(build_matmul(s, below, w, false, &theirs));
    return build2(s, "add", mine, theirs, out);
}

/* A pair's probability of its first class, 1 / (1 + exp(a score + b)), kept off 0 and 1; then one for each class. */
static status probabilities(struct onnx_site *s, const struct pairs *p, struct value *scores,
                            struct value **out)
{
    const struct onnx_attr *a = onnx_attr(s, "prob_a"), *b = onnx_attr(s, "prob_b");
    struct value *slope, *shift, *r;
    if (float_count(a) != p->count || float_count(b) != p->count)
        return onnx_fault(s, INVALID, "%d of prob_a and %d of prob_b for %d pairs of classes",
                          float_count(a), float_count(b), p->count);
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(p->count), a->floats, &slope));
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(p->count), b->floats, &shift));
    TRY(build2(s, "mul", scores, slope, &r));
    TRY(build2(s, "add", r, shift, &r));
    TRY(build_affine(s, r, -1, 0, &r));
    TRY(build1(s, "sigmoid", r, &r));
    TRY(build1(s, "clip", r, &r));
    *(struct curve_attrs *)node_attrs(r->producer) = (struct curve_attrs){ 1e-7f, 1 - 1e-7f, 0 };
    TRY(onnx_add1(s, "couple", &r, 1, out));
    (*out)->shape = SHAPE(-1, p->classes);
    return OK;
}

static status import_svm_classifier(struct onnx_site *s)
{
    struct machine m = { .count = 0 };
    struct pairs p = { .count = 0 };
    struct value *scores, *votes, *label, *other;
    TRY(read_machine(s, &m));
    TRY(read_pairs(s, &m, &p));
    TRY(ask_pairs(s, &m, &p, &scores));
    TRY(count_votes(s, &p, scores,
                    &votes)); /* they decide even where probabilities see it otherwise */
    TRY(build_best_label(s, p.label, p.classes, votes, &label));
    TRY(onnx_bind(s, 0, label));
    if (float_count(onnx_attr(s, "prob_a")) > 0) {
        TRY(probabilities(s, &p, scores, &scores));
    } else if (p.count == 1) { /* a score for each of two classes */
        TRY(build_affine(s, scores, -1, 0, &other));
        TRY(build_concat(s, (struct value *[]){ scores, other }, 2, -1, &scores));
    }
    return onnx_bind(s, 1, scores);
}

/* ---- labels ---- */

/* Numbers in an attribute, as a constant. NULL: there are none of these. */
static status label_list(struct onnx_site *s, const char *ints, const char *floats,
                         struct value **out)
{
    const struct onnx_attr *i = onnx_attr(s, ints), *f = onnx_attr(s, floats);
    *out = NULL;
    if (i != NULL && i->int_count > 0)
        return onnx_add_constant(s, DTYPE_I64, &SHAPE(i->int_count), i->ints, out);
    if (float_count(f) > 0)
        return onnx_add_constant(s, DTYPE_F32, &SHAPE(f->float_count), f->floats, out);
    return onnx_fault(s, UNSUPPORTED, "labels that are texts; export with numbers");
}

static status default_label(struct onnx_site *s, const struct value *like, struct value **out)
{
    bool whole = like->dtype == DTYPE_I64;
    double number = whole ? (double)onnx_i64(s, "default_int64", -1)
                          : (double)onnx_f32(s, "default_float", -0.0f);
    return onnx_add_scalar_like(s, like, number, out);
}

/* The value of the first key that equals x, else the default. */
static status import_label_encoder(struct onnx_site *s)
{
    struct value *x, *keys, *values, *wide, *same, *at, *known, *found, *otherwise, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(label_list(s, "keys_int64s", "keys_floats", &keys));
    TRY(label_list(s, "values_int64s", "values_floats", &values));
    if (keys->shape.dim[0] != values->shape.dim[0])
        return onnx_fault(s, INVALID, "%lld keys for %lld values", (long long)keys->shape.dim[0],
                          (long long)values->shape.dim[0]);
    TRY(default_label(s, values, &otherwise));
    TRY(build_cast(s, x, keys->dtype, &x));
    TRY(build_unsqueeze(s, x, &(struct attr_ints){ 1, { -1 } }, &wide));
    TRY(build2(s, "equal", wide, keys, &same));
    TRY(build_cast(s, same, DTYPE_I32, &same));
    declare_unknown(same);
    TRY(build1(s, "arg_reduce", same, &at));
    *(struct arg_reduce_attrs *)node_attrs(at->producer) =
        (struct arg_reduce_attrs){ .axis = -1, .dtype = DTYPE_I64 };
    at->dtype = DTYPE_I64;
    at->shape = x->shape;
    TRY(build_reduce(s, REDUCE_MAX, same, &(struct attr_ints){ 1, { -1 } }, false, &known));
    TRY(build_cast(s, known, DTYPE_BOOL, &known));
    TRY(build_gather(s, values, at, 0, &found));
    TRY(build_where(s, known, found, otherwise, &out));
    out->shape = x->shape;
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_svm[] = {
    { "SVMRegressor",  "matmul", import_svm_regressor },
    { "SVMClassifier", "matmul", import_svm_classifier },
    { "LabelEncoder",  "gather", import_label_encoder },
    { 0 },
};
// clang-format on
