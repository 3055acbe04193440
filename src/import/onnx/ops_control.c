/* Graphs in attributes: branches and loops. What such a graph looks at outside becomes an input of it (struct onnx_scope),
 * and of the node that runs it (graph/attrs_control.h). */
#include "graph/attrs_control.h"
#include "graph/attrs_move.h"
#include "import/onnx/build.h"

#include <string.h>

/* ---- a graph of its own ---- */

static status open_scope(struct onnx_site *s, const char *attr, struct onnx_scope *inner,
                         const struct onnx_graph **source)
{
    const struct onnx_attr *a = onnx_attr(s, attr);
    if (a == NULL || a->graph == NULL)
        return onnx_fault(s, INVALID, "attribute '%s' is missing", attr);
    *source = a->graph;
    *inner = (struct onnx_scope){ .outer = s->scope, .graph = graph_new_inner(s->scope->graph) };
    map_init(&inner->bound, s->import->scratch);
    map_init(&inner->stored, s->import->scratch);
    for (int i = 0; i < a->graph->initializer_count; i++)
        map_put(&inner->stored, a->graph->initializer[i].name, &a->graph->initializer[i]);
    return OK;
}

/* The site of the node, building into the inner graph. */
static struct onnx_site inside(const struct onnx_site *s, struct onnx_scope *inner)
{
    struct onnx_site at = *s;
    at.scope = inner;
    return at;
}

static status add_inner_input(struct onnx_site *s, struct onnx_scope *inner, struct str name,
                              const struct value *like, struct value **out)
{
    TRY(graph_add_value(inner->graph, NULL, like->dtype, &like->shape, out, s->import->err));
    if (name.n > 0)
        onnx_bind_name(s->import, inner, name, *out);
    return OK;
}

/* What output i of the inner graph is; a value that it only passes on gets a node of its own. */
static status inner_output(struct onnx_site *s, struct onnx_scope *inner,
                           const struct onnx_graph *source, int i, struct value **out)
{
    struct onnx_site at = inside(s, inner);
    TRY(onnx_resolve(s->import, inner, source->out[i].name, out));
    if (*out == NULL)
        return onnx_fault(s, INVALID, "its graph does not make the output '%.*s'",
                          STR_ARG(source->out[i].name));
    onnx_dtype(source->out[i].data_type, &(*out)->dtype);
    return build1(&at, "identity", *out, out);
}

/* ---- If ---- */

struct branch {
    struct onnx_scope scope;
    const struct onnx_graph *source;
    struct value **in, **out;
};

static status lower_branch(struct onnx_site *s, const char *attr, struct branch *b)
{
    int count;
    TRY(open_scope(s, attr, &b->scope, &b->source));
    TRY(onnx_lower_nodes(s->import, &b->scope, b->source->node, b->source->node_count));
    count = b->source->out_count;
    if (count != s->node->out_count)
        return onnx_fault(s, INVALID, "%s makes %d values, the node %d", attr, count,
                          s->node->out_count);
    b->out = arena_zalloc(s->import->scratch, ((size_t)count + 1) * sizeof(struct value *));
    for (int i = 0; i < count; i++)
        TRY(inner_output(s, &b->scope, b->source, i, &b->out[i]));
    return graph_set_outputs(b->scope.graph, b->out, count);
}

static struct value *captured_as(const struct onnx_scope *scope, const struct value *v)
{
    for (int i = 0; i < scope->capture_count; i++)
        if (scope->from[i] == v)
            return scope->to[i];
    return NULL;
}

/* Both branches take what either looks at, in one order. */
static status give_inputs(struct onnx_site *s, struct branch *b, struct value *const *from,
                          int count)
{
    b->in = arena_zalloc(s->import->scratch, ((size_t)count + 1) * sizeof(struct value *));
    for (int i = 0; i < count; i++) {
        b->in[i] = captured_as(&b->scope, from[i]);
        if (b->in[i] == NULL)
            TRY(add_inner_input(s, &b->scope, (struct str){ "", 0 }, from[i], &b->in[i]));
    }
    return graph_set_inputs(b->scope.graph, b->in, count);
}

/* in[0] stays free for the condition. */
static int join_captures(struct onnx_site *s, const struct branch b[2], struct value ***in)
{
    int count = 0;
    size_t room = (size_t)b[0].scope.capture_count + (size_t)b[1].scope.capture_count + 2;
    *in = arena_zalloc(s->import->scratch, room * sizeof(**in));
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < b[k].scope.capture_count; i++)
            if (k == 0 || captured_as(&b[0].scope, b[k].scope.from[i]) == NULL)
                (*in)[1 + count++] = b[k].scope.from[i];
    return count;
}

static status add_node(struct onnx_site *s, const char *op, struct value *const *in, int in_count,
                       int out_count, struct node **out)
{
    if (in_count > UINT8_MAX)
        return onnx_fault(s, UNSUPPORTED, "its graphs look at %d values outside, at most %d",
                          in_count, UINT8_MAX);
    return onnx_add_outs(s, op, in, in_count, out_count, out);
}

static void declare_like(struct value *v, const struct value *like)
{
    v->dtype = like->dtype;
    v->shape = like->shape;
    declare_unknown(v);
}

static status import_if(struct onnx_site *s)
{
    struct branch b[2] = { { .source = NULL } };
    struct value **in;
    struct node *n;
    TRY(lower_branch(s, "then_branch", &b[0]));
    TRY(lower_branch(s, "else_branch", &b[1]));
    int count = join_captures(s, b, &in);
    TRY(onnx_in(s, 0, &in[0]));
    for (int k = 0; k < 2; k++)
        TRY(give_inputs(s, &b[k], in + 1, count));
    TRY(add_node(s, "if", in, count + 1, s->node->out_count, &n));
    *(struct if_attrs *)node_attrs(n) = (struct if_attrs){ b[0].scope.graph, b[1].scope.graph };
    for (int i = 0; i < n->out_count; i++) {
        declare_like(n->out[i], b[0].out[i]);
        if (b[0].out[i]->shape.rank != b[1].out[i]->shape.rank)
            n->out[i]->shape.rank = -1;
        TRY(onnx_bind(s, i, n->out[i]));
    }
    return OK;
}

/* ---- loops ---- */

/* A while node as it grows: its values outside and inside, the loop's own first. The counter is the first of them. */
struct loop {
    struct onnx_scope scope;
    const struct onnx_graph *source;
    struct value **outer, **inner, **next; /* next: what the body makes of the loop's values */
    int vars, room;
    int scans;            /* outputs that grow: the last of vars */
    struct value *length; /* inside: how often at most; NULL: no bound */
};

static status open_loop(struct onnx_site *s, const char *attr, struct loop *l)
{
    static const int64_t zero = 0;
    *l = (struct loop){ .room = s->node->in_count + s->node->out_count + 4 };
    TRY(open_scope(s, attr, &l->scope, &l->source));
    size_t bytes = ((size_t)l->room + 1) * sizeof(struct value *);
    l->outer = arena_zalloc(s->import->scratch, bytes);
    l->inner = arena_zalloc(s->import->scratch, bytes);
    l->next = arena_zalloc(s->import->scratch, bytes);
    TRY(onnx_add_constant(s, DTYPE_I64, &(struct shape){ 0 }, &zero, &l->outer[0]));
    l->vars = 1;
    return add_inner_input(s, &l->scope, (struct str){ "", 0 }, l->outer[0], &l->inner[0]);
}

static status add_var(struct onnx_site *s, struct loop *l, struct value *start, struct str name)
{
    struct value like = *start;
    if (l->vars == l->room)
        return onnx_fault(s, INVALID, "its graph has more values than the node");
    declare_unknown(&like); /* a step may change its size */
    l->outer[l->vars] = start;
    return add_inner_input(s, &l->scope, name, &like, &l->inner[l->vars++]);
}

/* One more output that grows by an item a step; [0] stands for none yet (graph/attrs.h, append). */
static status add_scan(struct onnx_site *s, struct loop *l, struct value *item)
{
    struct onnx_site at = inside(s, &l->scope);
    struct value *none;
    TRY(onnx_add_constant(s, item->dtype, &SHAPE(0), "", &none));
    none->shape.rank = -1;
    TRY(add_var(s, l, none, (struct str){ "", 0 }));
    l->scans++;
    int i = l->vars - 1;
    TRY(onnx_add1(&at, "append", (struct value *[]){ l->inner[i], item }, 2, &l->next[i]));
    return OK;
}

/* Counter + 1, and whether there is a next step: `go` (NULL: yes) and the counter below the length. */
static status step(struct onnx_site *s, struct loop *l, struct value *go, struct value **again)
{
    struct onnx_site at = inside(s, &l->scope);
    struct value *below = NULL;
    static const bool yes = true;
    TRY(build_affine(&at, l->inner[0], 1, 1, &l->next[0]));
    if (l->length != NULL)
        TRY(build2(&at, "less", l->next[0], l->length, &below));
    if (go != NULL && below != NULL)
        return build2(&at, "and", go, below, again);
    *again = go != NULL ? go : below;
    return *again != NULL ? OK
                          : onnx_add_constant(&at, DTYPE_BOOL, &(struct shape){ 0 }, &yes, again);
}

/* The node: the condition, the loop's values, what the body only looks at. */
static status close_loop(struct onnx_site *s, struct loop *l, struct value *condition,
                         struct value *again, struct node **out)
{
    int captures = l->scope.capture_count, count = 1 + l->vars + captures;
    size_t bytes = ((size_t)count + 1) * sizeof(struct value *);
    struct value **in = arena_zalloc(s->import->scratch, bytes);
    struct value **inputs = arena_zalloc(s->import->scratch, bytes);
    struct value **outputs = arena_zalloc(s->import->scratch, bytes);
    struct onnx_site at = inside(s, &l->scope);
    in[0] = condition;
    TRY(build1(&at, "identity", again, &outputs[0]));
    for (int i = 0; i < l->vars; i++) {
        in[1 + i] = l->outer[i];
        inputs[i] = l->inner[i];
        outputs[1 + i] = l->next[i];
    }
    for (int i = 0; i < captures; i++) {
        in[1 + l->vars + i] = l->scope.from[i];
        inputs[l->vars + i] = l->scope.to[i];
    }
    TRY(graph_set_inputs(l->scope.graph, inputs, l->vars + captures));
    TRY(graph_set_outputs(l->scope.graph, outputs, 1 + l->vars));
    TRY(add_node(s, "while", in, count, l->vars, out));
    ((struct while_attrs *)node_attrs(*out))->body = l->scope.graph;
    for (int i = 0; i < l->vars; i++)
        declare_like((*out)->out[i], l->next[i]);
    return OK;
}

/* ---- Loop ---- */

/* As a scalar, whatever its shape. */
static status as_scalar(struct onnx_site *s, struct value *v, struct value **out)
{
    *out = v;
    return v->shape.rank == 0 ? OK : onnx_add_reshape(s, v, &(struct attr_ints){ 0 }, out);
}

static status loop_condition(struct onnx_site *s, struct value *limit, struct value **out)
{
    struct value *go, *below, *zero;
    static const int64_t none = 0;
    static const bool yes = true;
    TRY(onnx_in_optional(s, 1, &go));
    if (go == NULL)
        TRY(onnx_add_constant(s, DTYPE_BOOL, &(struct shape){ 0 }, &yes, &go));
    *out = go;
    if (limit == NULL)
        return OK;
    TRY(onnx_add_constant(s, DTYPE_I64, &(struct shape){ 0 }, &none, &zero));
    TRY(build2(s, "less", zero, limit, &below));
    return build2(s, "and", go, below, out);
}

static status import_loop(struct onnx_site *s)
{
    struct loop l;
    struct value *limit, *condition, *true_inside, *go, *again;
    struct node *n;
    static const bool yes = true;
    int carried = s->node->in_count > 2 ? s->node->in_count - 2 : 0;
    TRY(open_loop(s, "body", &l));
    if (l.source->in_count != carried + 2 || l.source->out_count < carried + 1 ||
        l.source->out_count - 1 != s->node->out_count)
        return onnx_fault(s, INVALID, "a body of %d inputs and %d outputs for %d carried values",
                          l.source->in_count, l.source->out_count, carried);
    TRY(onnx_in_optional(s, 0, &limit));
    if (limit != NULL)
        TRY(as_scalar(s, limit, &limit));
    TRY(loop_condition(s, limit, &condition));
    if (limit != NULL)
        TRY(onnx_look_at(s->import, &l.scope, limit, &l.length));
    struct onnx_site at = inside(s, &l.scope);
    TRY(onnx_add_constant(&at, DTYPE_BOOL, &(struct shape){ 0 }, &yes, &true_inside));
    onnx_bind_name(s->import, &l.scope, l.source->in[0].name, l.inner[0]);
    onnx_bind_name(s->import, &l.scope, l.source->in[1].name, true_inside);
    for (int i = 0; i < carried; i++) {
        struct value *start;
        TRY(onnx_in(s, 2 + i, &start));
        TRY(add_var(s, &l, start, l.source->in[2 + i].name));
    }
    TRY(onnx_lower_nodes(s->import, &l.scope, l.source->node, l.source->node_count));
    TRY(inner_output(s, &l.scope, l.source, 0, &go));
    for (int i = 1; i < l.source->out_count; i++) {
        struct value *v;
        TRY(inner_output(s, &l.scope, l.source, i, &v));
        if (i <= carried)
            l.next[i] = v;
        else
            TRY(add_scan(s, &l, v));
    }
    TRY(step(s, &l, go, &again));
    TRY(close_loop(s, &l, condition, again, &n));
    for (int i = 0; i < s->node->out_count; i++)
        TRY(onnx_bind(s, i, n->out[1 + i]));
    return OK;
}

/* ---- Scan ---- */

/* The slice of scan input i for this step. */
static status take_slice(struct onnx_site *s, struct loop *l, int states, int i,
                         struct value *counter[2])
{
    struct attr_ints axes = onnx_i64s(s, "scan_input_axes"),
                     backwards = onnx_i64s(s, "scan_input_directions");
    struct onnx_site at = inside(s, &l->scope);
    struct value *whole, *seen, *slice;
    TRY(onnx_in(s, states + i, &whole));
    TRY(onnx_look_at(s->import, &l->scope, whole, &seen));
    int64_t axis = i < axes.count ? axes.v[i] : 0;
    bool turned = i < backwards.count && backwards.v[i] != 0;
    TRY(build_gather(&at, seen, counter[turned], (int32_t)axis, &slice));
    onnx_bind_name(s->import, &l->scope, l->source->in[states + i].name, slice);
    return OK;
}

/* How many steps, outside and inside; and the counter from the front and from the back. */
static status count_steps(struct onnx_site *s, struct loop *l, int states, struct value *counter[2],
                          struct value **condition)
{
    struct attr_ints axes = onnx_i64s(s, "scan_input_axes");
    struct onnx_site at = inside(s, &l->scope);
    struct value *first, *length, *last, *zero;
    static const int64_t none = 0;
    TRY(onnx_in(s, states, &first));
    TRY(build_dim(s, first, axes.count > 0 ? (int)axes.v[0] : 0, &length));
    TRY(as_scalar(s, length, &length));
    TRY(onnx_look_at(s->import, &l->scope, length, &l->length));
    TRY(onnx_add_constant(s, DTYPE_I64, &(struct shape){ 0 }, &none, &zero));
    TRY(build2(s, "less", zero, length, condition));
    counter[0] = l->inner[0];
    TRY(build_affine(&at, l->length, 1, -1, &last));
    return build2(&at, "sub", last, l->inner[0], &counter[1]);
}

/* Items lie along the first dimension, from the first step on; the node may want it otherwise. */
static status bind_scanned(struct onnx_site *s, int states, int i, struct value *v)
{
    struct attr_ints axes = onnx_i64s(s, "scan_output_axes"),
                     backwards = onnx_i64s(s, "scan_output_directions");
    int64_t axis = i < axes.count ? axes.v[i] : 0;
    if (i < backwards.count && backwards.v[i] != 0) {
        TRY(build1(s, "flip", v, &v));
        ((struct axes_attrs *)node_attrs(v->producer))->axes = (struct attr_ints){ 1, { 0 } };
    }
    if (axis == 0)
        return onnx_bind(s, states + i, v);
    int rank = v->shape.rank, to = declared_axis(v, axis);
    struct attr_ints perm = { 0 };
    if (to < 0)
        return onnx_fault(s, UNSUPPORTED,
                          "scan_output_axes of outputs whose number of dimensions "
                          "the file does not tell");
    for (int k = 0; k < rank; k++)
        perm.v[perm.count++] = k < to ? k + 1 : k == to ? 0 : k;
    TRY(build_transpose(s, v, &perm, &v));
    return onnx_bind(s, states + i, v);
}

static status import_scan(struct onnx_site *s)
{
    struct loop l;
    struct value *counter[2], *condition, *again;
    struct node *n;
    int64_t scanned = onnx_i64(s, "num_scan_inputs", 1);
    int states = s->node->in_count - (int)scanned;
    if (s->opset < 9)
        return onnx_fault(s, UNSUPPORTED, "Scan of opset 8; export with opset 9 or later");
    TRY(open_loop(s, "body", &l));
    if (scanned < 1 || states < 0 || l.source->in_count != s->node->in_count ||
        l.source->out_count != s->node->out_count || l.source->out_count < states)
        return onnx_fault(s, INVALID,
                          "a body of %d inputs and %d outputs for %d states and %lld "
                          "scanned inputs",
                          l.source->in_count, l.source->out_count, states, (long long)scanned);
    TRY(count_steps(s, &l, states, counter, &condition));
    for (int i = 0; i < states; i++) {
        struct value *start;
        TRY(onnx_in(s, i, &start));
        TRY(add_var(s, &l, start, l.source->in[i].name));
    }
    for (int i = 0; i < scanned; i++)
        TRY(take_slice(s, &l, states, i, counter));
    TRY(onnx_lower_nodes(s->import, &l.scope, l.source->node, l.source->node_count));
    for (int i = 0; i < l.source->out_count; i++) {
        struct value *v;
        TRY(inner_output(s, &l.scope, l.source, i, &v));
        if (i < states)
            l.next[1 + i] = v;
        else
            TRY(add_scan(s, &l, v));
    }
    TRY(step(s, &l, NULL, &again));
    TRY(close_loop(s, &l, condition, again, &n));
    for (int i = 0; i < states; i++)
        TRY(onnx_bind(s, i, n->out[1 + i]));
    for (int i = 0; i < l.scans; i++)
        TRY(bind_scanned(s, states, i, n->out[1 + states + i]));
    return OK;
}

/* ---- optional values: one that is there, which is its own optional, or a name that is left out ---- */

static status import_has_element(struct onnx_site *s)
{
    struct value *x, *out;
    TRY(onnx_in_optional(s, 0, &x));
    bool there = x != NULL;
    TRY(onnx_add_constant(s, DTYPE_BOOL, &(struct shape){ 0 }, &there, &out));
    return onnx_bind(s, 0, out);
}

// clang-format off
const struct onnx_row onnx_control[] = {
    { "OptionalHasElement", NULL,       import_has_element },
    { "OptionalGetElement", "identity", import_plain },
    { "Optional",           "identity", import_plain },
    { "If",   "if",    import_if },
    { "Loop", "while", import_loop },
    { "Scan", "while", import_scan },
    { 0 },
};
// clang-format on
