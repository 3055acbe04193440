/* ai.onnx.ml, as far as it is about numbers: what scikit-learn, LightGBM and XGBoost export. */
#include "graph/attrs_control.h"
#include "graph/attrs_index.h"
#include "graph/attrs_move.h"
#include "graph/attrs_reduce.h"
#include "graph/attrs_trees.h"
#include "import/onnx/build.h"

#include <stdio.h>

/* ---- lists in attributes ---- */

static status list_of_floats(struct onnx_site *s, const char *name, int count, const float **out)
{
    const struct onnx_attr *a = onnx_attr(s, name);
    *out = a != NULL ? a->floats : NULL;
    if (a == NULL || a->float_count == count || count < 0)
        return OK;
    return onnx_fault(s, INVALID, "attribute '%s' has %d numbers, expected %d", name,
                      a->float_count, count);
}

static status list_of_ints(struct onnx_site *s, const char *name, int count, const int64_t **out)
{
    const struct onnx_attr *a = onnx_attr(s, name);
    *out = a != NULL ? a->ints : NULL;
    if (a == NULL || a->int_count == count || count < 0)
        return OK;
    return onnx_fault(s, INVALID, "attribute '%s' has %d numbers, expected %d", name, a->int_count,
                      count);
}

static int float_count(struct onnx_site *s, const char *name)
{
    const struct onnx_attr *a = onnx_attr(s, name);
    return a != NULL ? a->float_count : 0;
}

/* A list of floats as a constant; NULL: there is none. */
static status constant_floats(struct onnx_site *s, const char *name, const struct shape *shape,
                              struct value **out)
{
    const float *v;
    *out = NULL;
    TRY(list_of_floats(s, name, (int)shape_numel(shape), &v));
    return v != NULL ? onnx_add_constant(s, DTYPE_F32, shape, v, out) : OK;
}

static status rows_in(struct onnx_site *s, struct value **out)
{
    TRY(onnx_in(s, 0, out));
    return build_cast(s, *out, DTYPE_F32, out);
}

/* ---- features ---- */

/* (x - offset) * scale; one number stands for all features. */
static status import_scaler(struct onnx_site *s)
{
    struct value *x, *offset, *scale;
    TRY(rows_in(s, &x));
    TRY(constant_floats(s, "offset", &SHAPE(float_count(s, "offset")), &offset));
    TRY(constant_floats(s, "scale", &SHAPE(float_count(s, "scale")), &scale));
    if (offset != NULL)
        TRY(build2(s, "sub", x, offset, &x));
    if (scale != NULL)
        TRY(build2(s, "mul", x, scale, &x));
    return onnx_bind(s, 0, x);
}

static status import_normalizer(struct onnx_site *s)
{
    static const char *const norm[] = { "MAX", "L1", "L2", NULL };
    static const int32_t mode[] = { REDUCE_MAX, REDUCE_L1, REDUCE_L2 };
    struct value *x, *size, *out;
    int32_t which = onnx_enum(s, "norm", "MAX", norm);
    TRY(rows_in(s, &x));
    TRY(build_reduce(s, mode[which], x, &(struct attr_ints){ 1, { -1 } }, true, &size));
    TRY(build2(s, "div", x, size, &out));
    return onnx_bind(s, 0, out);
}

static status import_binarizer(struct onnx_site *s)
{
    struct value *x, *above, *out;
    TRY(rows_in(s, &x));
    TRY(build_by(s, "greater", x, (double)onnx_f32(s, "threshold", 0), &above));
    TRY(build_cast(s, above, DTYPE_F32, &out));
    return onnx_bind(s, 0, out);
}

/* What is missing (NaN, or a number that stands for it) becomes its feature's own number. */
static status import_imputer(struct onnx_site *s)
{
    struct value *x, *missing, *by, *out;
    float sign = onnx_f32(s, "replaced_value_float", 0);
    TRY(rows_in(s, &x));
    TRY(constant_floats(s, "imputed_value_floats", &SHAPE(float_count(s, "imputed_value_floats")),
                        &by));
    if (by == NULL)
        return onnx_fault(s, UNSUPPORTED, "imputed values that are no floats");
    if (sign != sign) {
        TRY(build1(s, "isnan", x, &missing));
        missing->dtype = DTYPE_BOOL;
    } else {
        TRY(build_by(s, "equal", x, (double)sign, &missing));
    }
    TRY(build_where(s, missing, by, x, &out));
    return onnx_bind(s, 0, out);
}

static status import_feature_vector(struct onnx_site *s)
{
    struct value **in, *out;
    int count;
    TRY(onnx_ins(s, 0, &in, &count));
    for (int i = 0; i < count; i++)
        TRY(build_cast(s, in[i], DTYPE_F32, &in[i]));
    if (count == 0)
        return onnx_fault(s, INVALID, "it has no input");
    TRY(build_concat(s, in, count, -1, &out));
    return onnx_bind(s, 0, out);
}

static status import_array_feature(struct onnx_site *s)
{
    struct value *x, *at, *out;
    TRY(onnx_in(s, 0, &x));
    TRY(onnx_in(s, 1, &at));
    TRY(onnx_add_reshape(s, at, &(struct attr_ints){ 1, { -1 } }, &at));
    TRY(build_gather(s, x, at, -1, &out));
    if (x->shape.rank == 1)
        TRY(build_unsqueeze(s, out, &(struct attr_ints){ 1, { 0 } }, &out));
    return onnx_bind(s, 0, out);
}

/* ---- linear models ---- */

enum transform {
    TRANSFORM_NONE,
    TRANSFORM_SOFTMAX,
    TRANSFORM_LOGISTIC,
};

static int32_t read_transform(struct onnx_site *s)
{
    static const char *const names[] = { "NONE", "SOFTMAX", "LOGISTIC", NULL };
    return onnx_enum(s, "post_transform", "NONE", names);
}

static status transform(struct onnx_site *s, int32_t how, struct value *x, struct value **out)
{
    *out = x;
    if (how == TRANSFORM_SOFTMAX)
        return build_along(s, "softmax", x, -1, out);
    return how == TRANSFORM_LOGISTIC ? build1(s, "sigmoid", x, out) : OK;
}

/* x times the coefficients, [targets, features], plus the intercepts. */
static status linear(struct onnx_site *s, int64_t targets, struct value **out)
{
    struct value *x, *w, *b;
    int count = float_count(s, "coefficients");
    TRY(rows_in(s, &x));
    if (targets < 1 || count % targets != 0)
        return onnx_fault(s, INVALID, "%d coefficients for %lld targets", count,
                          (long long)targets);
    TRY(constant_floats(s, "coefficients", &SHAPE(targets, count / targets), &w));
    TRY(constant_floats(s, "intercepts", &SHAPE(targets), &b));
    TRY(build_matmul(s, x, w, true, out));
    (*out)->shape = SHAPE(-1, targets);
    return b != NULL ? build2(s, "add", *out, b, out) : OK;
}

static status import_linear_regressor(struct onnx_site *s)
{
    struct value *out;
    int32_t how = read_transform(s);
    TRY(linear(s, onnx_i64(s, "targets", 1), &out));
    TRY(transform(s, how, out, &out));
    return onnx_bind(s, 0, out);
}

/* ---- classes ---- */

struct classes {
    const int64_t *label;
    int count;
};

static status read_classes(struct onnx_site *s, const char *attr, struct classes *out)
{
    const struct onnx_attr *a = onnx_attr(s, attr);
    *out = (struct classes){ a != NULL ? a->ints : NULL, a != NULL ? a->int_count : 0 };
    if (a == NULL || a->int_count == 0)
        return onnx_fault(s, UNSUPPORTED, "labels that are texts; export with integer classes");
    return OK;
}

/* One score of a question with two answers stands for the second; the first gets what is left. */
static status second_of_two(struct onnx_site *s, bool probability, struct value *score,
                            struct value **out)
{
    struct value *other;
    TRY(build_affine(s, score, -1, probability ? 1 : 0, &other));
    return build_concat(s, (struct value *[]){ other, score }, 2, -1, out);
}

static status import_linear_classifier(struct onnx_site *s)
{
    struct classes c;
    struct value *scores, *out, *best;
    int32_t how = read_transform(s);
    TRY(read_classes(s, "classlabels_ints", &c));
    int rows = onnx_attr(s, "intercepts") != NULL ? float_count(s, "intercepts") : c.count;
    TRY(linear(s, rows, &scores));
    if (rows == 1 && c.count == 2) {
        TRY(transform(s, how == TRANSFORM_SOFTMAX ? TRANSFORM_NONE : how, scores, &out));
        TRY(second_of_two(s, how == TRANSFORM_LOGISTIC, out, &out));
        if (how == TRANSFORM_SOFTMAX)
            TRY(transform(s, how, out, &out));
    } else {
        TRY(transform(s, how, scores, &out));
    }
    TRY(build_best_label(s, c.label, c.count, out, &best));
    TRY(onnx_bind(s, 0, best));
    return onnx_bind(s, 1, out);
}

/* ---- trees ---- */

/* A tree ensemble's attributes, one entry a node or a leaf. */
struct forest {
    int nodes, leaves;
    const int64_t *tree, *id, *feature, *yes, *no, *nan_yes;
    const float *threshold;
    const struct onnx_attr *mode;
    const int64_t *leaf_tree, *leaf_id, *leaf_target;
    const float *weight;
    int32_t *table, *target, *root;
    float *leaf_weight;
    int root_count;
    struct map place; /* "tree/id" -> row + 1 */
};

static status read_nodes(struct onnx_site *s, struct forest *f)
{
    const struct onnx_attr *id = onnx_attr(s, "nodes_nodeids");
    f->nodes = id != NULL ? id->int_count : 0;
    f->mode = onnx_attr(s, "nodes_modes");
    TRY(list_of_ints(s, "nodes_treeids", f->nodes, &f->tree));
    TRY(list_of_ints(s, "nodes_nodeids", f->nodes, &f->id));
    TRY(list_of_ints(s, "nodes_featureids", f->nodes, &f->feature));
    TRY(list_of_ints(s, "nodes_truenodeids", f->nodes, &f->yes));
    TRY(list_of_ints(s, "nodes_falsenodeids", f->nodes, &f->no));
    TRY(list_of_ints(s, "nodes_missing_value_tracks_true", f->nodes, &f->nan_yes));
    TRY(list_of_floats(s, "nodes_values", f->nodes, &f->threshold));
    if (f->nodes == 0 || f->tree == NULL || f->feature == NULL || f->yes == NULL || f->no == NULL ||
        f->threshold == NULL || f->mode == NULL || f->mode->string_count != f->nodes)
        return onnx_fault(s, UNSUPPORTED, "its nodes_* attributes are missing, or are doubles");
    return OK;
}

static status read_leaves(struct onnx_site *s, const char *prefix, struct forest *f)
{
    char name[32];
    const struct onnx_attr *ids;
    const int64_t **lists[] = { &f->leaf_tree, &f->leaf_id, &f->leaf_target };
    static const char *const tails[] = { "treeids", "nodeids", "ids" };
    snprintf(name, sizeof(name), "%s_ids", prefix);
    ids = onnx_attr(s, name);
    f->leaves = ids != NULL ? ids->int_count : 0;
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        snprintf(name, sizeof(name), "%s_%s", prefix, tails[i]);
        TRY(list_of_ints(s, name, f->leaves, lists[i]));
    }
    snprintf(name, sizeof(name), "%s_weights", prefix);
    TRY(list_of_floats(s, name, f->leaves, &f->weight));
    if (f->leaf_tree == NULL || f->leaf_id == NULL || f->weight == NULL)
        return onnx_fault(s, UNSUPPORTED, "its %s_* attributes are missing, or are doubles",
                          prefix);
    return OK;
}

static struct str key_of(struct onnx_site *s, int64_t tree, int64_t id)
{
    return str_of(arena_printf(s->import->scratch, "%lld/%lld", (long long)tree, (long long)id));
}

/* The row of a node; -1 for one that is not there. */
static int32_t row_of(struct onnx_site *s, const struct forest *f, int64_t tree, int64_t id)
{
    const int32_t *row = map_get(&f->place, key_of(s, tree, id));
    return row != NULL ? *row : -1;
}

static int32_t branch_of(struct str mode)
{
    static const char *const names[] = { "LEAF",      "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE",
                                         "BRANCH_GT", "BRANCH_EQ",  "BRANCH_NEQ" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (str_is(mode, names[i]))
            return (int32_t)i;
    return TREE_BRANCH_COUNT; /* which the kernel refuses */
}

static status index_nodes(struct onnx_site *s, struct forest *f)
{
    int32_t *row = arena_try_array(s->import->scratch, (size_t)f->nodes, sizeof(*row));
    if (row == NULL)
        return onnx_fault(s, NO_MEMORY, "no memory for %d nodes", f->nodes);
    map_init(&f->place, s->import->scratch);
    for (int i = 0; i < f->nodes; i++) {
        row[i] = i;
        if (!map_put(&f->place, key_of(s, f->tree[i], f->id[i]), &row[i]))
            return onnx_fault(s, INVALID, "node %lld of tree %lld is there twice",
                              (long long)f->id[i], (long long)f->tree[i]);
        if (i == 0 || f->tree[i] != f->tree[i - 1])
            f->root[f->root_count++] = i;
    }
    return OK;
}

static void fill_node(struct onnx_site *s, struct forest *f, int i)
{
    int32_t *n = f->table + (size_t)i * TREE_COLUMNS;
    n[TREE_BRANCH] = branch_of(f->mode->strings[i]);
    n[TREE_FEATURE] =
        f->feature[i] >= 0 && f->feature[i] <= INT32_MAX ? (int32_t)f->feature[i] : -1;
    n[TREE_NAN_YES] = f->nan_yes != NULL && f->nan_yes[i] != 0;
    if (n[TREE_BRANCH] == TREE_LEAF)
        return;
    n[TREE_YES] = row_of(s, f, f->tree[i], f->yes[i]);
    n[TREE_NO] = row_of(s, f, f->tree[i], f->no[i]);
}

/* Leaves of one node side by side, in the order of nodes: counted, then placed. */
static status fill_leaves(struct onnx_site *s, struct forest *f)
{
    int32_t at = 0;
    for (int i = 0; i < f->leaves; i++) {
        int32_t row = row_of(s, f, f->leaf_tree[i], f->leaf_id[i]);
        if (row < 0)
            return onnx_fault(s, INVALID, "a leaf for node %lld of tree %lld, which is not there",
                              (long long)f->leaf_id[i], (long long)f->leaf_tree[i]);
        f->table[(size_t)row * TREE_COLUMNS + TREE_COUNT]++;
    }
    for (int i = 0; i < f->nodes; i++) {
        int32_t *n = f->table + (size_t)i * TREE_COLUMNS;
        n[TREE_FIRST] = at;
        at += n[TREE_COUNT];
        n[TREE_COUNT] = 0;
    }
    for (int i = 0; i < f->leaves; i++) {
        int32_t row = row_of(s, f, f->leaf_tree[i], f->leaf_id[i]);
        int32_t *n = f->table + (size_t)row * TREE_COLUMNS;
        int32_t to = n[TREE_FIRST] + n[TREE_COUNT]++;
        int64_t target = f->leaf_target[i];
        f->target[to] = target >= 0 && target <= INT32_MAX ? (int32_t)target : -1;
        f->leaf_weight[to] = f->weight[i];
    }
    return OK;
}

static status make_tables(struct onnx_site *s, struct forest *f)
{
    struct arena *a = s->import->scratch;
    f->table = arena_try_array(a, (size_t)f->nodes * TREE_COLUMNS, sizeof(*f->table));
    f->root = arena_try_array(a, (size_t)f->nodes, sizeof(*f->root));
    f->target = arena_try_array(a, (size_t)f->leaves + 1, sizeof(*f->target));
    f->leaf_weight = arena_try_array(a, (size_t)f->leaves + 1, sizeof(*f->leaf_weight));
    if (f->table == NULL || f->root == NULL || f->target == NULL || f->leaf_weight == NULL)
        return onnx_fault(s, NO_MEMORY, "no memory for %d nodes", f->nodes);
    TRY(index_nodes(s, f));
    for (int i = 0; i < f->nodes; i++)
        fill_node(s, f, i);
    return fill_leaves(s, f);
}

static status add_trees(struct onnx_site *s, const char *prefix, int targets, int32_t sum,
                        struct value **out)
{
    struct forest f = { .nodes = 0 };
    struct value *in[7] = { NULL };
    TRY(rows_in(s, &in[0]));
    TRY(read_nodes(s, &f));
    TRY(read_leaves(s, prefix, &f));
    TRY(make_tables(s, &f));
    TRY(onnx_add_constant(s, DTYPE_I32, &SHAPE(f.nodes, TREE_COLUMNS), f.table, &in[1]));
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(f.nodes), f.threshold, &in[2]));
    TRY(onnx_add_constant(s, DTYPE_I32, &SHAPE(f.leaves), f.target, &in[3]));
    TRY(onnx_add_constant(s, DTYPE_F32, &SHAPE(f.leaves), f.leaf_weight, &in[4]));
    TRY(onnx_add_constant(s, DTYPE_I32, &SHAPE(f.root_count), f.root, &in[5]));
    if (float_count(s, "base_values") == targets)
        TRY(constant_floats(s, "base_values", &SHAPE(targets), &in[6]));
    else if (onnx_attr(s, "base_values") != NULL && float_count(s, "base_values") != 1)
        return onnx_fault(s, INVALID, "%d base values for %d targets",
                          float_count(s, "base_values"), targets);
    TRY(onnx_add1(s, "trees", in, in[6] != NULL ? 7 : 6, out));
    *(struct trees_attrs *)node_attrs((*out)->producer) =
        (struct trees_attrs){ .targets = targets, .sum = sum };
    (*out)->shape = SHAPE(-1, targets);
    return OK;
}

static status import_tree_regressor(struct onnx_site *s)
{
    static const char *const how[] = { "SUM", "MIN", "MAX", "AVERAGE", NULL };
    struct value *out;
    int32_t sum = onnx_enum(s, "aggregate_function", "SUM", how), after = read_transform(s);
    TRY(add_trees(s, "target", onnx_i32(s, "n_targets", 1), sum == 3 ? TREE_SUM : sum, &out));
    if (sum == 3) {
        if (onnx_attr(s, "base_values") != NULL)
            return onnx_fault(s, UNSUPPORTED, "an average with base values");
        TRY(build_affine(s, out, 1.0 / (double)shape_numel(&out->producer->in[5]->shape), 0, &out));
    }
    TRY(transform(s, after, out, &out));
    return onnx_bind(s, 0, out);
}

/* All leaves for one class of two: that class's score, and what is left. */
static bool is_binary(struct onnx_site *s, const struct classes *c)
{
    const struct onnx_attr *ids = onnx_attr(s, "class_ids");
    for (int i = 0; ids != NULL && i < ids->int_count; i++)
        if (ids->ints[i] != ids->ints[0])
            return false;
    return ids != NULL && ids->int_count > 0 && c->count == 2;
}

static status import_tree_classifier(struct onnx_site *s)
{
    struct classes c;
    struct value *scores, *out, *best;
    int32_t how = read_transform(s);
    TRY(read_classes(s, "classlabels_int64s", &c));
    bool binary = is_binary(s, &c);
    TRY(add_trees(s, "class", c.count, TREE_SUM, &scores));
    out = scores;
    if (binary) {
        int64_t which = onnx_attr(s, "class_ids")->ints[0];
        TRY(build_slice(s, scores, -1, which, which + 1, &out));
        if (float_count(s, "base_values") == 1)
            TRY(build_affine(s, out, 1, (double)onnx_attr(s, "base_values")->floats[0], &out));
        if (how == TRANSFORM_LOGISTIC)
            TRY(build1(s, "sigmoid", out, &out));
        TRY(second_of_two(s, true, out, &out));
    } else {
        TRY(transform(s, how, scores, &out));
    }
    TRY(build_best_label(s, c.label, c.count, out, &best));
    TRY(onnx_bind(s, 0, best));
    return onnx_bind(s, 1, out);
}

/* ZipMap makes a list of dictionaries from class to probability, which has no tensor: the probabilities stay, in the order
 * of the classes. */
// clang-format off
const struct onnx_row onnx_ml[] = {
    { "Scaler",                 "mul",      import_scaler },
    { "Normalizer",             "div",      import_normalizer },
    { "Binarizer",              "greater",  import_binarizer },
    { "Imputer",                "where",    import_imputer },
    { "FeatureVectorizer",      "concat",   import_feature_vector },
    { "ArrayFeatureExtractor",  "gather",   import_array_feature },
    { "LinearRegressor",        "matmul",   import_linear_regressor },
    { "LinearClassifier",       "matmul",   import_linear_classifier },
    { "TreeEnsembleRegressor",  "trees",    import_tree_regressor },
    { "TreeEnsembleClassifier", "trees",    import_tree_classifier },
    { "ZipMap",                 "identity", import_plain },
    { 0 },
};
// clang-format on
