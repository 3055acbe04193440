/* ONNX: nodes are copied byte for byte but for what they read. Int8 models get the form that quantisers write (QDQ): int8
 * weights behind DequantizeLinear, activations as uint8 through QuantizeLinear and DequantizeLinear. Half weights go
 * through Cast. Numbers that lay beside the model come into it. Field numbers: onnx.proto of the ONNX project. */
#include "import/onnx/onnx.h"
#include "base/file.h"
#include "base/limits.h"
#include "convert/recipe.h"
#include "import/dir.h"
#include "import/onnx/tensors.h"

enum proto_field {
    MODEL_GRAPH = 7,
    GRAPH_NODE = 1,
    GRAPH_INITIALIZER = 5,
    GRAPH_INPUT = 11,
    PORT_NAME = 1,
    NODE_INPUT = 1,
    NODE_OUTPUT = 2,
    NODE_NAME = 3,
    NODE_TYPE = 4,
    NODE_ATTRIBUTE = 5,
    TENSOR_DIMS = 1,
    TENSOR_TYPE = 2,
    TENSOR_NAME = 8,
    TENSOR_RAW = 9,
};

enum data_type {
    TYPE_FLOAT = 1,
    TYPE_UINT8 = 2,
    TYPE_INT8 = 3,
    TYPE_FLOAT16 = 10,
    TYPE_BFLOAT16 = 16,
};

#define ATTR_INT       2  /* AttributeProto.INT */
#define OPSET_QUANTIZE 10 /* QuantizeLinear is there */
#define OPSET_CHANNELS 13 /* and takes a scale for each channel; bfloat16 is there */

struct onnx {
    struct arena *arena;
    const char *file;
    struct file_map *map;
    struct str bytes;
    struct onnx_model model;
    struct onnx_tensors tensors;
    struct map weight; /* name -> struct tensor: float initialisers and Constants */
};

/* The tensor of a Constant node; NULL: n is none. */
static const struct onnx_tensor *constant_of(const struct onnx_node *n)
{
    const struct onnx_attr *value = onnx_attr_find(n, "value");
    return str_is(n->type, "Constant") && n->domain.n == 0 && n->out_count == 1 && value != NULL
               ? value->tensor
               : NULL;
}

static status read_weight(struct onnx *o, struct str name, const struct onnx_tensor *from,
                          struct err *e)
{
    struct tensor *t = arena_zalloc(o->arena, sizeof(*t));
    if (from->data_type != TYPE_FLOAT)
        return OK;
    TRY(onnx_tensor_read(&o->tensors, from, t, e));
    map_put(&o->weight, name, t);
    return OK;
}

static status read_all(struct onnx *o, const char *path, struct err *e)
{
    map_init(&o->weight, o->arena);
    TRY(onnx_find_file(path, o->arena, &o->file, e));
    TRY(file_map_open(o->file, ONNX_BYTES_MAX, &o->map, e));
    o->bytes = (struct str){ (const char *)file_map_data(o->map), file_map_size(o->map) };
    o->tensors = (struct onnx_tensors){ .dir = dir_of(path, o->arena), .arena = o->arena };
    status s = onnx_decode(o->bytes, o->arena, &o->model, e);
    for (int i = 0; i < o->model.graph.initializer_count && s == OK; i++)
        s = read_weight(o, o->model.graph.initializer[i].name, &o->model.graph.initializer[i], e);
    for (int i = 0; i < o->model.graph.node_count && s == OK; i++)
        if (constant_of(&o->model.graph.node[i]) != NULL)
            s = read_weight(o, o->model.graph.node[i].out[0], constant_of(&o->model.graph.node[i]),
                            e);
    return s == OK ? OK : err_prefix(e, s, "%s: ", o->file);
}

static void close_all(void *state)
{
    struct onnx *o = state;
    for (int i = 0; i < o->tensors.map_count; i++)
        file_map_unref(o->tensors.map[i]);
    file_map_unref(o->map);
}

static status open_all(const char *path, struct arena *a, void **state, struct err *e)
{
    struct onnx *o = arena_zalloc(a, sizeof(*o));
    o->arena = a;
    status s = read_all(o, path, e);
    if (s != OK)
        close_all(o);
    *state = o;
    return s;
}

/* ---- which weights and activations ---- */

static int64_t attr_int(const struct onnx_node *n, const char *name, int64_t otherwise)
{
    const struct onnx_attr *a = onnx_attr_find(n, name);
    return a != NULL ? a->i : otherwise;
}

/* The axis of a weight's output channels; -1: not of a product that is computed on integers. */
static int weight_axis(const struct onnx_node *n, const struct tensor *w)
{
    const struct onnx_attr *alpha = onnx_attr_find(n, "alpha");
    if (str_is(n->type, "Conv"))
        return w->shape.rank == 4 ? 0 : -1;
    if (w->shape.rank != 2)
        return -1;
    if (str_is(n->type, "MatMul"))
        return 1;
    if (!str_is(n->type, "Gemm") || attr_int(n, "transA", 0) != 0 ||
        (alpha != NULL && alpha->f != 1))
        return -1;
    return attr_int(n, "transB", 0) != 0 ? 0 : 1;
}

static int count_reads(const struct onnx_graph *g, struct str name)
{
    int count = 0;
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i].in_count; k++)
            count += str_eq(g->node[i].in[k], name);
    for (int i = 0; i < g->out_count; i++)
        count += str_eq(g->out[i].name, name);
    return count;
}

static const struct onnx_node *maker_of(const struct onnx_graph *g, struct str name, int *place)
{
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i].out_count; k++)
            if (str_eq(g->node[i].out[k], name)) {
                *place = i;
                return &g->node[i];
            }
    return NULL;
}

/* Graphs inside nodes may read what they like of the outer one. */
static bool has_inner(const struct onnx_graph *g)
{
    for (int i = 0; i < g->node_count; i++)
        for (int k = 0; k < g->node[i].attr_count; k++)
            if (g->node[i].attr[k].graph != NULL)
                return true;
    return false;
}

static void list_product(struct onnx *o, int i, struct recipe *r)
{
    const struct onnx_node *n = &o->model.graph.node[i];
    if (n->domain.n > 0 || n->in_count < 2 || n->in[0].n == 0)
        return;
    const struct tensor *w = map_get(&o->weight, n->in[1]);
    int axis = w != NULL ? weight_axis(n, w) : -1;
    if (axis < 0 || map_get(&o->weight, n->in[0]) != NULL || shape_numel(&w->shape) == 0 ||
        count_reads(&o->model.graph, n->in[1]) != 1)
        return;
    recipe_add_weight(r, &(struct weight){ n->in[1], w, axis });
    recipe_add_site(r, &(struct site){ i, 0, "", recipe_activation(r, n->in[0]) });
}

static bool ends_convolution(const struct onnx_graph *g, struct str name, int *place)
{
    const struct onnx_node *n = maker_of(g, name, place);
    int ignored;
    if (n == NULL || count_reads(g, name) != 1)
        return false;
    if (str_is(n->type, "BatchNormalization"))
        return ends_convolution(g, n->in[0], &ignored);
    return str_is(n->type, "Conv");
}

/* What a convolution's result is added to is quantised as well, so that the sum stays in integers. */
static void list_sum(struct onnx *o, int i, struct recipe *r)
{
    const struct onnx_graph *g = &o->model.graph;
    const struct onnx_node *n = &g->node[i];
    int place[2] = { 0, 0 };
    if (!str_is(n->type, "Add") || n->in_count != 2 || map_get(&o->weight, n->in[0]) != NULL ||
        map_get(&o->weight, n->in[1]) != NULL)
        return;
    bool ends[2] = { ends_convolution(g, n->in[0], &place[0]),
                     ends_convolution(g, n->in[1], &place[1]) };
    int host = ends[0] && ends[1] ? place[1] > place[0] : ends[1];
    struct str other = n->in[1 - host];
    /* Only what is float is known to be: convolutions' results, and what others quantise. */
    if (ends[host] && (ends[1 - host] || recipe_has(r, other)))
        recipe_add_site(r, &(struct site){ i, 1 - host, "", recipe_activation(r, other) });
}

static void list_half(struct onnx *o, struct str name, struct recipe *r)
{
    const struct tensor *t = map_get(&o->weight, name);
    if (t != NULL && shape_numel(&t->shape) >= HALVE_ELEMENTS)
        recipe_add_weight(r, &(struct weight){ name, t, 0 });
}

static void list_halves(struct onnx *o, struct recipe *r)
{
    const struct onnx_graph *g = &o->model.graph;
    for (int i = 0; i < g->initializer_count; i++)
        list_half(o, g->initializer[i].name, r);
    for (int i = 0; i < g->node_count; i++)
        if (constant_of(&g->node[i]) != NULL)
            list_half(o, g->node[i].out[0], r);
}

static status list(void *state, precision how, struct recipe *r, struct err *e)
{
    struct onnx *o = state;
    const struct onnx_graph *g = &o->model.graph;
    r->symmetric = false;
    if (how == PRECISION_BF16 && o->model.opset < OPSET_CHANNELS)
        return err_set(e, UNSUPPORTED, "%s: opset %lld has no bfloat16; fp16 does", o->file,
                       (long long)o->model.opset);
    if (how != PRECISION_INT8) {
        list_halves(o, r);
        return OK;
    }
    if (o->model.opset < OPSET_QUANTIZE)
        return err_set(e, UNSUPPORTED,
                       "%s: opset %lld has no QuantizeLinear; export with %d or more", o->file,
                       (long long)o->model.opset, OPSET_QUANTIZE);
    if (has_inner(g))
        return err_set(e, UNSUPPORTED, "%s: a model with loops or branches", o->file);
    for (int i = 0; i < g->node_count; i++)
        list_product(o, i, r);
    for (int i = 0; i < g->node_count; i++)
        list_sum(o, i, r);
    return OK;
}

/* ---- writing ---- */

struct writer {
    const struct onnx *onnx;
    const struct recipe *recipe;
    precision precision;
    struct arena *arena;
    struct buf nodes, initializers;
    uint64_t bytes; /* of the initialisers' numbers */
};

static void begin(struct buf *b)
{
    buf_init(b, ONNX_BYTES_MAX);
}

static const char *text(struct writer *w, struct str s, const char *more)
{
    return arena_printf(w->arena, "%.*s%s", STR_ARG(s), more);
}

static void put_tensor(struct writer *w, const char *name, int type, const struct shape *s,
                       const void *data, size_t bytes)
{
    struct buf t;
    begin(&t);
    for (int i = 0; i < s->rank; i++)
        pb_put_u64(&t, TENSOR_DIMS, (uint64_t)s->dim[i]);
    pb_put_u64(&t, TENSOR_TYPE, (uint64_t)type);
    pb_put_bytes(&t, TENSOR_NAME, str_of(name));
    pb_put_bytes(&t, TENSOR_RAW, (struct str){ data, bytes });
    w->bytes += bytes;
    proto_put_message(&w->initializers, GRAPH_INITIALIZER, &t);
}

static void put_attr(struct buf *node, const char *name, int64_t value)
{
    struct buf a;
    begin(&a);
    pb_put_bytes(&a, 1, str_of(name));
    pb_put_u64(&a, 3, (uint64_t)value);
    pb_put_u64(&a, 20, ATTR_INT);
    proto_put_message(node, NODE_ATTRIBUTE, &a);
}

/* attr NULL: none. */
static void put_node(struct writer *w, const char *type, const char *const *in, int count,
                     const char *out, const char *attr, int64_t value)
{
    struct buf n;
    begin(&n);
    for (int i = 0; i < count; i++)
        pb_put_bytes(&n, NODE_INPUT, str_of(in[i]));
    pb_put_bytes(&n, NODE_OUTPUT, str_of(out));
    pb_put_bytes(&n, NODE_NAME, str_of(arena_printf(w->arena, "%s_%s", out, type)));
    pb_put_bytes(&n, NODE_TYPE, str_of(type));
    if (attr != NULL)
        put_attr(&n, attr, value);
    proto_put_message(&w->nodes, GRAPH_NODE, &n);
}

static const char *back_of(struct writer *w, struct str name)
{
    return text(w, name, "_DequantizeLinear_Output");
}

static void put_activation(struct writer *w, const struct activation *v)
{
    static const struct shape one = { .rank = 0 };
    const uint8_t zero = (uint8_t)v->zero;
    const char *in[] = { text(w, v->name, ""), text(w, v->name, "_scale"),
                         text(w, v->name, "_zero_point") };
    const char *q = text(w, v->name, "_QuantizeLinear_Output");
    put_tensor(w, in[1], TYPE_FLOAT, &one, &v->step, sizeof(v->step));
    put_tensor(w, in[2], TYPE_UINT8, &one, &zero, sizeof(zero));
    put_node(w, "QuantizeLinear", in, 3, q, NULL, 0);
    in[0] = q;
    put_node(w, "DequantizeLinear", in, 3, back_of(w, v->name), NULL, 0);
}

/* One scale for all channels, where the operator set has no more. */
static void level(const struct weight *v, struct quantised *q)
{
    const void *x = v->tensor->data;
    float most = 0;
    for (int64_t c = 0; c < q->channels; c++)
        most = q->largest[c] > most ? q->largest[c] : most;
    for (int64_t i = 0; i < shape_numel(&v->tensor->shape); i++)
        q->q[i] = (int8_t)__builtin_rintf(float_at(x, i) / most * 127);
    q->largest[0] = most;
    q->channels = 1;
}

static void put_int8_weight(struct writer *w, const struct weight *v)
{
    bool each = w->onnx->model.opset >= OPSET_CHANNELS;
    const char *in[] = { text(w, v->name, "_quantized"), text(w, v->name, "_scale"),
                         text(w, v->name, "_zero_point") };
    struct quantised q;
    weight_quantise(v, w->arena, &q);
    if (!each)
        level(v, &q);
    struct shape s = each ? SHAPE(q.channels) : (struct shape){ .rank = 0 };
    for (int64_t c = 0; c < q.channels; c++)
        q.largest[c] /= 127;
    put_tensor(w, in[0], TYPE_INT8, &v->tensor->shape, q.q, (size_t)shape_numel(&v->tensor->shape));
    put_tensor(w, in[1], TYPE_FLOAT, &s, q.largest, (size_t)q.channels * sizeof(float));
    put_tensor(w, in[2], TYPE_INT8, &s, arena_zalloc(w->arena, (size_t)q.channels),
               (size_t)q.channels);
    put_node(w, "DequantizeLinear", in, 3, back_of(w, v->name), each ? "axis" : NULL, v->axis);
}

/* The weight's own name becomes what a Cast makes of the stored halves. */
static void put_half_weight(struct writer *w, const struct weight *v)
{
    bool fp16 = w->precision == PRECISION_FP16;
    const char *half = text(w, v->name, fp16 ? "_fp16" : "_bf16");
    put_tensor(w, half, fp16 ? TYPE_FLOAT16 : TYPE_BFLOAT16, &v->tensor->shape,
               weight_halve(v, w->precision, w->arena),
               (size_t)shape_numel(&v->tensor->shape) * sizeof(uint16_t));
    put_node(w, "Cast", &half, 1, text(w, v->name, ""), "to", TYPE_FLOAT);
}

/* ---- one node with other inputs ---- */

static const char *replaced(struct writer *w, int i, int input, struct str arg)
{
    const struct recipe *r = w->recipe;
    if (w->precision != PRECISION_INT8 || arg.n == 0)
        return NULL;
    for (int k = 0; k < r->site_count; k++)
        if (r->site[k].op == i && r->site[k].input == input &&
            str_eq(arg, r->site[k].activation->name))
            return back_of(w, arg);
    return recipe_converts(w->recipe, arg) ? back_of(w, arg) : NULL;
}

static void copy_node(struct writer *w, int i, struct str message)
{
    const struct onnx_node *old = &w->onnx->model.graph.node[i];
    struct pb r;
    struct buf n;
    int input = 0;
    if (constant_of(old) != NULL && recipe_converts(w->recipe, old->out[0]))
        return;
    begin(&n);
    pb_init(&r, message);
    for (const uint8_t *from = r.p; pb_next(&r); from = r.p) {
        if (r.field != NODE_INPUT) {
            proto_copy_field(&r, from, &n);
            continue;
        }
        struct str arg = pb_bytes(&r);
        const char *other = replaced(w, i, input++, arg);
        pb_put_bytes(&n, NODE_INPUT, other != NULL ? str_of(other) : arg);
    }
    proto_put_message(&w->nodes, GRAPH_NODE, &n);
}

/* ---- the graph ---- */

static void put_before(struct writer *w, int i)
{
    for (struct activation *v; (v = recipe_due(w->recipe, i)) != NULL;)
        put_activation(w, v);
}

/* Old files list initialisers among the inputs; a converted one is none any more. */
static void copy_input(struct writer *w, struct str message, struct buf *out)
{
    if (!recipe_converts(w->recipe, proto_text(message, PORT_NAME)))
        pb_put_bytes(out, GRAPH_INPUT, message);
}

static status copy_initializer(struct writer *w, const struct onnx_tensor *t, struct str message,
                               struct err *e)
{
    const struct tensor *floats = map_get(&w->onnx->weight, t->name);
    if (recipe_converts(w->recipe, t->name))
        return OK;
    if (t->external && floats == NULL)
        return err_set(e, UNSUPPORTED, "'%.*s' lies outside the model and is no float32",
                       STR_ARG(t->name));
    if (t->external) {
        put_tensor(w, text(w, t->name, ""), TYPE_FLOAT, &floats->shape, floats->data,
                   (size_t)tensor_bytes(floats));
        return OK;
    }
    w->bytes += t->raw.n;
    pb_put_bytes(&w->initializers, GRAPH_INITIALIZER, message);
    return OK;
}

static void put_weights(struct writer *w)
{
    for (int i = 0; i < w->recipe->weight_count; i++)
        (w->precision == PRECISION_INT8 ? put_int8_weight : put_half_weight)(w,
                                                                             &w->recipe->weight[i]);
}

static status write_graph(struct writer *w, struct str message, struct buf *out, struct err *e)
{
    const struct onnx_graph *g = &w->onnx->model.graph;
    struct pb r;
    struct buf rest;
    int node = 0, initializer = 0;
    status s = OK;
    begin(&rest);
    put_weights(w);
    pb_init(&r, message);
    for (const uint8_t *from = r.p; s == OK && pb_next(&r); from = r.p) {
        if ((r.field == GRAPH_NODE && node == g->node_count) ||
            (r.field == GRAPH_INITIALIZER && initializer == g->initializer_count)) {
            s = err_set(e, CORRUPT, "%s: it holds several graphs", w->onnx->file);
        } else if (r.field == GRAPH_NODE) {
            put_before(w, node);
            copy_node(w, node, pb_bytes(&r));
            node++;
        } else if (r.field == GRAPH_INITIALIZER) {
            s = copy_initializer(w, &g->initializer[initializer++], pb_bytes(&r), e);
        } else if (r.field == GRAPH_INPUT) {
            copy_input(w, pb_bytes(&r), &rest);
        } else {
            proto_copy_field(&r, from, &rest);
        }
    }
    buf_append(&rest, w->nodes.data, w->nodes.len);
    buf_append(&rest, w->initializers.data, w->initializers.len);
    proto_put_message(out, MODEL_GRAPH, &rest);
    return s;
}

static status write_model(struct writer *w, const char *path, struct err *e)
{
    struct pb r;
    struct buf out;
    status s = OK;
    begin(&out);
    pb_init(&r, w->onnx->bytes);
    for (const uint8_t *from = r.p; s == OK && pb_next(&r); from = r.p)
        if (r.field == MODEL_GRAPH)
            s = write_graph(w, pb_bytes(&r), &out, e);
        else
            proto_copy_field(&r, from, &out);
    if (s == OK && buf_check(&out) != OK)
        s = err_set(e, TOO_LARGE, "%s: more than 2 GiB, which is the most an ONNX file holds",
                    path);
    if (s == OK)
        s = file_write(path, out.data, out.len, e);
    buf_deinit(&out);
    return s;
}

static status write(void *state, precision how, const struct recipe *r, const char *out,
                    struct convert_report *report, struct err *e)
{
    struct onnx *o = state;
    struct writer w = { .onnx = o, .recipe = r, .precision = how, .arena = o->arena };
    begin(&w.nodes);
    begin(&w.initializers);
    status s = write_model(&w, arena_printf(o->arena, "%s/model.onnx", out), e);
    buf_deinit(&w.nodes);
    buf_deinit(&w.initializers);
    report->form = "ONNX";
    report->before = o->tensors.bytes;
    report->after = w.bytes;
    return s;
}

const struct format convert_onnx = { onnx_detect, open_all, list, write, close_all };
