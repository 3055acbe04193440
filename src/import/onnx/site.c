#include "import/onnx/site.h"

#include "graph/op.h"
#include "import/onnx/narrow.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

status(onnx_fault)(const struct onnx_site *s, status code, const char *fmt, ...)
{
    char words[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof(words), fmt, ap);
    va_end(ap);
    return err_set(s->import->err, code, "%.*s '%.*s' (node %d): %s", STR_ARG(s->node->type),
                   STR_ARG(s->node->name), s->index, words);
}

/* ---- names ---- */

void onnx_bind_name(struct onnx_import *import, struct onnx_scope *scope, struct str name,
                    struct value *v)
{
    map_put(&scope->bound, name, v);
}

static status make_stored(struct onnx_import *import, struct onnx_scope *scope,
                          const struct onnx_tensor *t, struct value **out)
{
    struct tensor *numbers = arena_zalloc(&scope->graph->arena, sizeof(*numbers));
    TRY(onnx_tensor_read(import->tensors, t, numbers, import->err));
    const char *name =
        scope->call == NULL ? arena_strndup(import->scratch, t->name.p, t->name.n) : NULL;
    TRY(graph_add_constant(scope->graph, name, numbers, out, import->err));
    onnx_mark(import, *out, onnx_narrow_find(t->data_type));
    onnx_bind_name(import, scope, t->name, *out);
    return OK;
}

static bool grow_captures(struct onnx_import *import, struct onnx_scope *scope)
{
    if (scope->capture_count < scope->capture_cap)
        return true;
    int cap = scope->capture_cap * 2 + 8;
    struct value **from = arena_try_array(import->scratch, (size_t)cap, sizeof(*from));
    struct value **to = arena_try_array(import->scratch, (size_t)cap, sizeof(*to));
    if (from == NULL || to == NULL)
        return false;
    if (scope->capture_count > 0) {
        memcpy(from, scope->from, (size_t)scope->capture_count * sizeof(*from));
        memcpy(to, scope->to, (size_t)scope->capture_count * sizeof(*to));
    }
    scope->from = from;
    scope->to = to;
    scope->capture_cap = cap;
    return true;
}

/* A value of the graph outside becomes a constant or one more input of the graph inside. */
status onnx_look_at(struct onnx_import *import, struct onnx_scope *scope, struct value *v,
                    struct value **out)
{
    if (v->constant != NULL) {
        TRY(graph_add_constant(scope->graph, NULL, v->constant, out, import->err));
    } else {
        if (!grow_captures(import, scope))
            return err_set(import->err, NO_MEMORY, "no memory for the names of a graph");
        TRY(graph_add_value(scope->graph, NULL, v->dtype, &v->shape, out, import->err));
        scope->from[scope->capture_count] = v;
        scope->to[scope->capture_count++] = *out;
    }
    onnx_mark(import, *out, onnx_marked(import, v));
    return OK;
}

status onnx_resolve(struct onnx_import *import, struct onnx_scope *scope, struct str name,
                    struct value **out)
{
    *out = map_get(&scope->bound, name);
    if (*out != NULL)
        return OK;
    const struct onnx_tensor *t = map_get(&scope->stored, name);
    if (t != NULL)
        return make_stored(import, scope, t, out);
    if (scope->outer == NULL || scope->call != NULL)
        return OK;
    struct value *v;
    TRY(onnx_resolve(import, scope->outer, name, &v));
    if (v == NULL)
        return OK;
    TRY(onnx_look_at(import, scope, v, out));
    onnx_bind_name(import, scope, name, *out);
    return OK;
}

/* ---- inputs ---- */

status onnx_in_optional(struct onnx_site *s, int i, struct value **out)
{
    *out = NULL;
    if (i >= s->node->in_count || s->node->in[i].n == 0)
        return OK;
    TRY(onnx_resolve(s->import, s->scope, s->node->in[i], out));
    if (*out == NULL && s->scope->call == NULL)
        return onnx_fault(s, INVALID,
                          "its input '%.*s' is neither an input nor an initialiser of the graph, "
                          "nor made before (a graph in a circle has no first node)",
                          STR_ARG(s->node->in[i]));
    return OK; /* a function's input that its caller left out */
}

status onnx_in(struct onnx_site *s, int i, struct value **out)
{
    TRY(onnx_in_optional(s, i, out));
    return *out != NULL ? OK : onnx_fault(s, INVALID, "its input %d is missing", i);
}

status onnx_ins(struct onnx_site *s, int first, struct value ***out, int *count)
{
    int last = s->node->in_count;
    while (last > first && s->node->in[last - 1].n == 0)
        last--;
    *count = last > first ? last - first : 0;
    *out = arena_try_array(s->import->scratch, (size_t)*count + 1, sizeof(**out));
    if (*out == NULL)
        return onnx_fault(s, NO_MEMORY, "no memory for %d inputs", *count);
    for (int i = 0; i < *count; i++)
        TRY(onnx_in(s, first + i, &(*out)[i]));
    return OK;
}

status onnx_const(struct onnx_site *s, int i, const char *what, const struct tensor **out)
{
    struct value *v;
    *out = NULL;
    TRY(onnx_in_optional(s, i, &v));
    if (v != NULL && v->constant == NULL)
        return onnx_fault(s, UNSUPPORTED,
                          "%s ('%.*s') is computed; only numbers that the file holds are supported "
                          "there",
                          what, STR_ARG(s->node->in[i]));
    *out = v != NULL ? v->constant : NULL;
    return OK;
}

status onnx_const_ints(struct onnx_site *s, int i, const char *what, struct attr_ints *out)
{
    const struct tensor *t;
    *out = (struct attr_ints){ 0 };
    TRY(onnx_const(s, i, what, &t));
    int64_t n = t != NULL ? shape_numel(&t->shape) : 0;
    if (t == NULL)
        return OK;
    if ((t->dtype != DTYPE_I64 && t->dtype != DTYPE_I32) || n > ATTR_INTS_MAX)
        return onnx_fault(s, INVALID, "%s ('%.*s'): expected at most %d integers", what,
                          STR_ARG(s->node->in[i]), ATTR_INTS_MAX);
    out->count = (int32_t)n;
    for (int64_t k = 0; k < n; k++)
        out->v[k] =
            t->dtype == DTYPE_I64 ? ((const int64_t *)t->data)[k] : ((const int32_t *)t->data)[k];
    return OK;
}

/* ---- results ---- */

status onnx_add_outs(struct onnx_site *s, const char *name, struct value *const *in, int in_count,
                     int out_count, struct node **out)
{
    const struct op *op = op_find(name);
    if (op == NULL)
        return onnx_fault(s, UNSUPPORTED, "the engine has no operator '%s'", name);
    const char *origin = arena_printf(&s->scope->graph->arena, "%.*s '%.*s', node %d",
                                      STR_ARG(s->node->type), STR_ARG(s->node->name), s->index);
    return graph_add_node_outs(s->scope->graph, op, origin, in, in_count,
                               out_count > 0 ? out_count : op->out_count, out, s->import->err);
}

status onnx_add(struct onnx_site *s, const char *name, struct value *const *in, int in_count,
                struct node **out)
{
    return onnx_add_outs(s, name, in, in_count, 0, out);
}

status onnx_add1(struct onnx_site *s, const char *name, struct value *const *in, int in_count,
                 struct value **out)
{
    struct node *n;
    TRY(onnx_add(s, name, in, in_count, &n));
    *out = n->out[0];
    if (in_count > 0 && in[0] != NULL) {
        (*out)->dtype = in[0]->dtype;
        (*out)->shape = in[0]->shape;
    }
    return OK;
}

status onnx_add_constant(struct onnx_site *s, dtype d, const struct shape *shape, const void *data,
                         struct value **out)
{
    struct arena *a = &s->scope->graph->arena;
    struct tensor *t = arena_zalloc(a, sizeof(*t));
    *t = (struct tensor){ .dtype = d, .shape = *shape };
    int64_t bytes = tensor_bytes(t);
    void *copy = bytes >= 0 ? arena_try(a, (size_t)bytes + 1, 64) : NULL;
    if (copy == NULL)
        return onnx_fault(s, NO_MEMORY, "no memory for a constant");
    if (bytes > 0)
        memcpy(copy, data, (size_t)bytes);
    t->data = copy;
    return graph_add_constant(s->scope->graph, NULL, t, out, s->import->err);
}

status onnx_add_scalar_like(struct onnx_site *s, const struct value *x, double number,
                            struct value **out)
{
    struct shape scalar = { 0 };
    float f = (float)number;
    bool whole = number >= -0x1p63 && number < 0x1p63; /* not infinity, which only floats have */
    int64_t i = whole ? (int64_t)number : 0;
    uint16_t half = f32_to_f16(f), brain = f32_to_bf16(f);
    switch (x->dtype) {
    case DTYPE_F32: return onnx_add_constant(s, x->dtype, &scalar, &f, out);
    case DTYPE_F64: return onnx_add_constant(s, x->dtype, &scalar, &number, out);
    case DTYPE_F16: return onnx_add_constant(s, x->dtype, &scalar, &half, out);
    case DTYPE_BF16: return onnx_add_constant(s, x->dtype, &scalar, &brain, out);
    default: return onnx_add_constant(s, x->dtype, &scalar, &i, out); /* its low bytes */
    }
}

status onnx_add_ints(struct onnx_site *s, const struct attr_ints *v, struct value **out)
{
    return onnx_add_constant(s, DTYPE_I64, &SHAPE(v->count), v->v, out);
}

status onnx_add_reshape(struct onnx_site *s, struct value *x, const struct attr_ints *shape,
                        struct value **out)
{
    if (shape->count > SHAPE_MAX)
        return onnx_fault(s, UNSUPPORTED, "a shape of %d dimensions, at most %d", shape->count,
                          SHAPE_MAX);
    TRY(onnx_add1(s, "reshape", &x, 1, out));
    ((struct reshape_attrs *)node_attrs((*out)->producer))->shape = *shape;
    (*out)->shape.rank = shape->count;
    for (int i = 0; i < shape->count; i++)
        (*out)->shape.dim[i] = shape->v[i] > 0                         ? shape->v[i]
                               : shape->v[i] == 0 && i < x->shape.rank ? x->shape.dim[i]
                                                                       : -1;
    return OK;
}

static bool all_known(const struct shape *s)
{
    for (int i = 0; i < s->rank; i++)
        if (s->dim[i] < 0)
            return false;
    return s->rank >= 0;
}

/* Types of the node's inputs where the file tells all that inference needs. */
static bool known_inputs(const struct node *n, struct type *in)
{
    for (int i = 0; i < n->in_count; i++) {
        const struct value *v = n->in[i];
        in[i] = (struct type){ .shape.rank = -1 };
        if (v == NULL)
            continue;
        if (!all_known(&v->shape) || (i < 8 && (n->op->flags & OP_NEEDS(i)) && v->constant == NULL))
            return false;
        in[i] = (struct type){ v->dtype, v->shape, v->constant };
    }
    return true;
}

/* What translations could not tell of a result's shape, inference may: above all the lengths of shapes, which say how many
 * dimensions a reshape gives. */
static void refine(struct onnx_site *s, struct node *n)
{
    struct type *in = arena_zalloc(s->import->scratch, ((size_t)n->in_count + 8) * sizeof(*in));
    struct type *out = arena_zalloc(s->import->scratch, ((size_t)n->out_count + 1) * sizeof(*out));
    struct err words;
    if (n->op->infer == NULL || (n->op->flags & (OP_DYNAMIC | OP_CONTROL)) ||
        !known_inputs(n, in) || n->op->infer(n, in, out, &words) != OK)
        return;
    for (int i = 0; i < n->out_count; i++)
        if (!all_known(&n->out[i]->shape))
            n->out[i]->shape = out[i].shape;
}

bool onnx_wants(const struct onnx_site *s, int i)
{
    return i < s->node->out_count && s->node->out[i].n > 0;
}

status onnx_bind(struct onnx_site *s, int i, struct value *v)
{
    if (!onnx_wants(s, i))
        return OK;
    struct str name = s->node->out[i];
    if (v->producer != NULL && !all_known(&v->shape))
        refine(s, v->producer);
    if (map_get(&s->scope->bound, name) != NULL || map_get(&s->scope->stored, name) != NULL)
        return onnx_fault(s, INVALID, "its output '%.*s' is made twice", STR_ARG(name));
    /* A view of an input is named by whoever made it; a function's names may come several times. */
    if (s->scope->call == NULL && v->producer != NULL && v->name[0] == '%')
        v->name = arena_strndup(&s->scope->graph->arena, name.p, name.n);
    onnx_bind_name(s->import, s->scope, name, v);
    return OK;
}

/* ---- attributes ---- */

void onnx_bad_attr(struct onnx_site *s, const char *name, const char *why)
{
    if (s->bad_attr != NULL)
        return;
    s->bad_attr = name;
    s->bad_why = why;
}

/* The default that a function gives to an attribute. */
static const struct onnx_attr *function_default(const struct onnx_site *s, struct str name)
{
    const struct onnx_model *m = s->import->model;
    const struct onnx_node *call = s->scope->call;
    for (int i = 0; i < m->function_count; i++) {
        const struct onnx_function *f = &m->function[i];
        if (!str_eq(f->name, call->type) || !str_eq(f->domain, call->domain))
            continue;
        for (int k = 0; k < f->attr_count; k++)
            if (str_eq(f->attr[k].name, name))
                return &f->attr[k];
    }
    return NULL;
}

const struct onnx_attr *onnx_attr(const struct onnx_site *s, const char *name)
{
    const struct onnx_attr *a = onnx_attr_find(s->node, name);
    if (a == NULL || a->ref.n == 0)
        return a;
    if (s->scope->call == NULL)
        return NULL;
    for (int i = 0; i < s->scope->call->attr_count; i++)
        if (str_eq(s->scope->call->attr[i].name, a->ref))
            return &s->scope->call->attr[i];
    return function_default(s, a->ref);
}

/* Old files do not say an attribute's type; what is there tells. */
static bool is_type(const struct onnx_attr *a, int32_t type)
{
    return a->type == type || a->type == 0;
}

int64_t onnx_i64(struct onnx_site *s, const char *name, int64_t otherwise)
{
    const struct onnx_attr *a = onnx_attr(s, name);
    if (a == NULL)
        return otherwise;
    if (is_type(a, ONNX_INT))
        return a->i;
    if (a->type == ONNX_INTS && a->int_count == 1)
        return a->ints[0];
    onnx_bad_attr(s, name, "expected an integer");
    return otherwise;
}

int32_t onnx_i32(struct onnx_site *s, const char *name, int32_t otherwise)
{
    int64_t v = onnx_i64(s, name, otherwise);
    if (v >= INT32_MIN && v <= INT32_MAX)
        return (int32_t)v;
    onnx_bad_attr(s, name, "the number is out of range");
    return otherwise;
}

bool onnx_bool(struct onnx_site *s, const char *name, bool otherwise)
{
    return onnx_i64(s, name, otherwise) != 0;
}

float onnx_f32(struct onnx_site *s, const char *name, float otherwise)
{
    const struct onnx_attr *a = onnx_attr(s, name);
    if (a == NULL)
        return otherwise;
    if (is_type(a, ONNX_FLOAT))
        return a->f;
    if (a->type == ONNX_INT)
        return (float)a->i;
    onnx_bad_attr(s, name, "expected a number");
    return otherwise;
}

struct str onnx_str(struct onnx_site *s, const char *name, const char *otherwise)
{
    const struct onnx_attr *a = onnx_attr(s, name);
    if (a != NULL && is_type(a, ONNX_STRING))
        return a->s;
    if (a != NULL)
        onnx_bad_attr(s, name, "expected text");
    return str_of(otherwise);
}

struct attr_ints onnx_i64s(struct onnx_site *s, const char *name)
{
    struct attr_ints out = { 0 };
    const struct onnx_attr *a = onnx_attr(s, name);
    if (a == NULL)
        return out;
    if (a->type == ONNX_INT) {
        out.count = 1;
        out.v[0] = a->i;
    } else if (!is_type(a, ONNX_INTS) || a->int_count > ATTR_INTS_MAX) {
        onnx_bad_attr(s, name, "expected a list of integers, not longer than 16");
    } else if (a->int_count > 0) {
        out.count = a->int_count;
        memcpy(out.v, a->ints, (size_t)a->int_count * sizeof(int64_t));
    }
    return out;
}

int32_t onnx_enum(struct onnx_site *s, const char *name, const char *otherwise,
                  const char *const *names)
{
    struct str text = onnx_str(s, name, otherwise);
    for (int32_t i = 0; names[i] != NULL; i++)
        if (str_is(text, names[i]))
            return i;
    const char *known = names[0];
    for (int32_t i = 1; names[i] != NULL; i++)
        known = arena_printf(s->import->scratch, "%s, %s", known, names[i]);
    onnx_bad_attr(s, name,
                  arena_printf(s->import->scratch, "'%.*s' is none of %s", STR_ARG(text), known));
    return 0;
}

status onnx_type_attr(struct onnx_site *s, const char *name, dtype otherwise, dtype *out)
{
    const struct onnx_attr *a = onnx_attr(s, name);
    *out = otherwise;
    if (a == NULL || onnx_dtype((int32_t)a->i, out))
        return OK;
    return onnx_fault(s, UNSUPPORTED, "attribute '%s': element type %lld is not supported", name,
                      (long long)a->i);
}
