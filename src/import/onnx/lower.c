#include "import/onnx/lower.h"

#include "base/limits.h"
#include "graph/attrs_narrow.h"
#include "import/onnx/narrow.h"

#include <string.h>

/* ---- what is not supported, all at once ---- */

static const struct onnx_function *find_function(const struct onnx_model *m,
                                                 const struct onnx_node *n)
{
    for (int i = 0; i < m->function_count; i++)
        if (str_eq(m->function[i].name, n->type) && str_eq(m->function[i].domain, n->domain))
            return &m->function[i];
    return NULL;
}

static void note_unknown(struct unknown_list *l, const struct onnx_node *n)
{
    const char *name = arena_printf(l->arena, "%.*s%s%.*s", STR_ARG(n->domain),
                                    n->domain.n > 0 ? "." : "", STR_ARG(n->type));
    unknown_note_named(l, str_of(name), n->name);
}

static void find_unknown(const struct onnx_model *m, struct unknown_list *l,
                         const struct onnx_node *node, int count)
{
    for (int i = 0; i < count; i++) {
        if (find_function(m, &node[i]) == NULL &&
            onnx_row_find(node[i].domain, node[i].type) == NULL)
            note_unknown(l, &node[i]);
        for (int k = 0; k < node[i].attr_count; k++)
            if (node[i].attr[k].graph != NULL)
                find_unknown(m, l, node[i].attr[k].graph->node, node[i].attr[k].graph->node_count);
    }
}

void onnx_find_unknown(const struct onnx_model *m, struct unknown_list *l)
{
    find_unknown(m, l, m->graph.node, m->graph.node_count);
    for (int i = 0; i < m->function_count; i++)
        find_unknown(m, l, m->function[i].node, m->function[i].node_count);
}

static status check_known(const struct onnx_import *import)
{
    struct unknown_list l;
    unknown_init(&l, import->scratch);
    onnx_find_unknown(import->model, &l);
    return unknown_tell(&l, import->err);
}

/* ---- nodes ---- */

/* A function's nodes go where the call stands; its names are its own. */
static status lower_call(struct onnx_import *import, struct onnx_scope *scope,
                         const struct onnx_node *n, const struct onnx_function *f)
{
    struct onnx_scope body = { .outer = scope, .call = n, .graph = scope->graph };
    map_init(&body.bound, import->scratch);
    map_init(&body.stored, import->scratch);
    if (import->depth >= LIMIT_PROTO_DEPTH)
        return err_set(import->err, TOO_LARGE, "functions call each other deeper than %d",
                       LIMIT_PROTO_DEPTH);
    for (int i = 0; i < f->in_count && i < n->in_count; i++) {
        struct value *v;
        TRY(onnx_resolve(import, scope, n->in[i], &v));
        if (v != NULL)
            onnx_bind_name(import, &body, f->in[i], v);
    }
    import->depth++;
    TRY(onnx_lower_nodes(import, &body, f->node, f->node_count));
    import->depth--;
    for (int i = 0; i < f->out_count && i < n->out_count; i++) {
        struct value *v;
        TRY(onnx_resolve(import, &body, f->out[i], &v));
        if (v == NULL)
            return err_set(import->err, INVALID, "function '%.*s' does not make its output '%.*s'",
                           STR_ARG(f->name), STR_ARG(f->out[i]));
        onnx_bind_name(import, scope, n->out[i], v);
    }
    return OK;
}

static status lower_node(struct onnx_import *import, struct onnx_scope *scope,
                         const struct onnx_node *n, int index)
{
    const struct onnx_function *f = find_function(import->model, n);
    if (f != NULL)
        return lower_call(import, scope, n, f);
    struct onnx_site s = { .import = import,
                           .scope = scope,
                           .node = n,
                           .row = onnx_row_find(n->domain, n->type),
                           .index = index,
                           .opset =
                               n->domain.n == 0 ? import->model->opset : import->model->ml_opset };
    TRY(s.row->import(&s));
    if (s.bad_attr != NULL)
        return onnx_fault(&s, INVALID, "attribute '%s': %s", s.bad_attr, s.bad_why);
    return OK;
}

status onnx_lower_nodes(struct onnx_import *import, struct onnx_scope *scope,
                        const struct onnx_node *node, int count)
{
    for (int i = 0; i < count; i++)
        TRY(lower_node(import, scope, &node[i], i));
    return OK;
}

/* ---- the graph's ends ---- */

static void index_stored(struct onnx_scope *scope, const struct onnx_graph *g)
{
    for (int i = 0; i < g->initializer_count; i++)
        map_put(&scope->stored, g->initializer[i].name, &g->initializer[i]);
}

static status check_input(const struct onnx_import *import, const struct onnx_port *p, dtype *d)
{
    if (!onnx_dtype(p->data_type, d))
        return err_set(import->err, UNSUPPORTED,
                       "input '%.*s' is no tensor of a supported element type (%d)",
                       STR_ARG(p->name), p->data_type);
    if (!p->has_shape)
        return err_set(import->err, UNSUPPORTED,
                       "input '%.*s' has no shape, not even a number of dimensions",
                       STR_ARG(p->name));
    return OK;
}

/* Codes that come in are numbers from then on, numbers that go out are codes. */
static status add_codes(struct onnx_import *import, struct graph *g, const char *op,
                        const struct onnx_narrow *t, struct value *from, dtype to,
                        struct value **out)
{
    struct node *n;
    TRY(graph_add_node(g, op_find(op), "codes", &from, 1, &n, import->err));
    *(struct narrow_attrs *)node_attrs(n) = (struct narrow_attrs){ .format = (int32_t)t->format };
    *out = n->out[0];
    (*out)->dtype = to;
    (*out)->shape = from->shape;
    return OK;
}

static status bind_input(struct onnx_import *import, struct onnx_scope *scope,
                         const struct onnx_port *p, struct value *in)
{
    const struct onnx_narrow *t = onnx_narrow_find(p->data_type);
    struct value *v = in;
    if (t != NULL && t->is_float) {
        in->dtype = DTYPE_U8;
        TRY(add_codes(import, scope->graph, "from_codes", t, in, DTYPE_F32, &v));
    }
    onnx_mark(import, v, t);
    onnx_bind_name(import, scope, p->name, v);
    return OK;
}

/* Before version 4 of the file format every initialiser was listed as an input too: it is none. */
static status add_inputs(struct onnx_import *import, struct onnx_scope *scope,
                         const struct onnx_graph *g, struct port_names *names)
{
    struct value **in = arena_zalloc(import->scratch, ((size_t)g->in_count + 1) * sizeof(*in));
    int count = 0;
    names->input =
        arena_zalloc(&scope->graph->arena, ((size_t)g->in_count + 1) * sizeof(*names->input));
    for (int i = 0; i < g->in_count; i++) {
        const struct onnx_port *p = &g->in[i];
        dtype d;
        if (map_get(&scope->stored, p->name) != NULL)
            continue;
        TRY(check_input(import, p, &d));
        const char *name = arena_strndup(&scope->graph->arena, p->name.p, p->name.n);
        TRY(graph_add_value(scope->graph, name, d, &p->shape, &in[count], import->err));
        if (map_get(&scope->bound, p->name) != NULL)
            return err_set(import->err, INVALID, "two inputs are called '%.*s'", STR_ARG(p->name));
        TRY(bind_input(import, scope, p, in[count]));
        names->input[count++] = name;
    }
    return graph_set_inputs(scope->graph, in, count);
}

/* An output that is also an input, a constant, or another output gets a value of its own. */
static status own_value(struct onnx_import *import, struct onnx_scope *scope, struct value **v,
                        struct value *const *before, int count)
{
    bool shared = (*v)->producer == NULL;
    for (int i = 0; i < count; i++)
        shared = shared || before[i] == *v;
    if (!shared)
        return OK;
    struct node *n;
    TRY(graph_add_node(scope->graph, op_find("identity"), "an output", v, 1, &n, import->err));
    n->out[0]->dtype = (*v)->dtype;
    n->out[0]->shape = (*v)->shape;
    *v = n->out[0];
    return OK;
}

static status add_outputs(struct onnx_import *import, struct onnx_scope *scope,
                          const struct onnx_graph *g, struct port_names *names)
{
    struct value **out = arena_zalloc(import->scratch, ((size_t)g->out_count + 1) * sizeof(*out));
    names->output =
        arena_zalloc(&scope->graph->arena, ((size_t)g->out_count + 1) * sizeof(*names->output));
    for (int i = 0; i < g->out_count; i++) {
        const struct onnx_port *p = &g->out[i];
        TRY(onnx_resolve(import, scope, p->name, &out[i]));
        if (out[i] == NULL)
            return err_set(import->err, INVALID, "no node makes the output '%.*s'",
                           STR_ARG(p->name));
        TRY(own_value(import, scope, &out[i], out, i));
        onnx_dtype(p->data_type, &out[i]->dtype);
        const struct onnx_narrow *t = onnx_narrow_find(p->data_type);
        if (t != NULL && t->is_float)
            TRY(add_codes(import, scope->graph, "to_codes", t, out[i], DTYPE_U8, &out[i]));
        if (p->has_shape)
            out[i]->shape = p->shape;
        names->output[i] = arena_strndup(&scope->graph->arena, p->name.p, p->name.n);
    }
    return graph_set_outputs(scope->graph, out, g->out_count);
}

/* Translations know a number of dimensions or not (-1); the graph has no word for that, and plans find it out. */
static void forget_unknown(struct graph *g)
{
    for (uint32_t i = 0; i < g->value_count; i++)
        if (g->values[i]->shape.rank < 0)
            g->values[i]->shape.rank = 0;
}

static status lower(struct onnx_import *import, struct onnx_scope *scope,
                    const struct onnx_graph *g, struct port_names *names)
{
    index_stored(scope, g);
    TRY(check_known(import));
    TRY(add_inputs(import, scope, g, names));
    TRY(onnx_lower_nodes(import, scope, g->node, g->node_count));
    TRY(add_outputs(import, scope, g, names));
    forget_unknown(scope->graph);
    return graph_check(scope->graph, import->err);
}

status onnx_lower(const struct onnx_model *m, struct onnx_tensors *tensors, struct graph *g,
                  struct port_names *names, struct err *e)
{
    struct arena scratch;
    struct onnx_import import = { .model = m, .tensors = tensors, .scratch = &scratch, .err = e };
    struct onnx_scope scope = { .graph = g };
    arena_init(&scratch, 0);
    map_init(&import.narrow, &scratch);
    map_init(&import.sequences, &scratch);
    map_init(&scope.bound, &scratch);
    map_init(&scope.stored, &scratch);
    status s = lower(&import, &scope, &m->graph, names);
    arena_deinit(&scratch);
    return s;
}
