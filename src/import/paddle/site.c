#include "import/paddle/site.h"

#include "graph/attrs_control.h"
#include "graph/op.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

status(site_fault)(const struct site *s, status code, const char *fmt, ...)
{
    char words[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(words, sizeof(words), fmt, ap);
    va_end(ap);
    return err_set(s->err, code, "operator '%.*s' (operator %d of block %d): %s",
                   STR_ARG(s->op->type), s->index, s->block, words);
}

/* ---- inputs ---- */

status site_resolve(struct site *s, struct str name, struct value **out)
{
    return scope_resolve(s->scope, name, out, s->err);
}

static status resolve_arg(struct site *s, struct str name, struct value **out)
{
    TRY(site_resolve(s, name, out));
    if (*out == NULL)
        return site_fault(s, INVALID,
                          "its input '%.*s' is neither a feed nor a parameter nor written before",
                          STR_ARG(name));
    return OK;
}

status site_in_optional(struct site *s, const char *slot, struct value **out)
{
    const struct slot_desc *d = op_slot_in(s->op, slot);
    *out = NULL;
    if (d == NULL || d->arg_count == 0)
        return OK;
    if (d->arg_count > 1)
        return site_fault(s, INVALID, "expected one variable as input %s, got %d", slot,
                          d->arg_count);
    return resolve_arg(s, d->arg[0], out);
}

status site_in(struct site *s, const char *slot, struct value **out)
{
    TRY(site_in_optional(s, slot, out));
    return *out != NULL ? OK : site_fault(s, INVALID, "its input %s is missing", slot);
}

status site_ins(struct site *s, const char *slot, struct value ***out, int *count)
{
    const struct slot_desc *d = op_slot_in(s->op, slot);
    *count = d != NULL ? d->arg_count : 0;
    if (*count == 0)
        return site_fault(s, INVALID, "its input %s is missing", slot);
    *out = arena_try_array(s->scratch, (size_t)*count, sizeof(**out));
    if (*out == NULL)
        return site_fault(s, NO_MEMORY, "no memory for %d inputs", *count);
    for (int i = 0; i < *count; i++)
        TRY(resolve_arg(s, d->arg[i], &(*out)[i]));
    return OK;
}

status site_in_ints(struct site *s, const char *whole, const char *list, struct value **out)
{
    struct value **part;
    int count;
    *out = NULL;
    if (whole != NULL)
        TRY(site_in_optional(s, whole, out));
    const struct slot_desc *d = op_slot_in(s->op, list);
    if (*out != NULL || d == NULL || d->arg_count == 0)
        return OK;
    TRY(site_ins(s, list, &part, &count));
    for (int i = 0; i < count; i++) {
        TRY(site_reshape(s, part[i], &(struct attr_ints){ 1, { -1 } }, &part[i]));
        if (part[i]->dtype != part[0]->dtype) /* a shape's int32 beside an index's int64 */
            TRY(site_cast(s, part[i], part[0]->dtype, &part[i]));
    }
    if (count == 1) {
        *out = part[0];
        return OK;
    }
    TRY(site_add1(s, "concat", part, count, out));
    (*out)->shape = SHAPE(count);
    return OK;
}

status site_refuse_in(struct site *s, const char *slot)
{
    const struct slot_desc *d = op_slot_in(s->op, slot);
    if (d == NULL || d->arg_count == 0)
        return OK;
    return site_fault(s, UNSUPPORTED, "input %s ('%.*s') is not supported", slot,
                      STR_ARG(d->arg[0]));
}

status site_offsets(struct site *s, const char *slot, struct value **out)
{
    struct value *x;
    TRY(site_in(s, slot, &x));
    if (x->lod_levels == 0)
        return site_fault(s, INVALID,
                          "its input '%s' has no LoD; expected sequences, so the feed that it "
                          "comes from needs lod_level 1 or is_lod_tensor: true",
                          x->name);
    *out = x->lod[x->lod_levels - 1];
    return OK;
}

/* ---- results ---- */

static void put_number(dtype d, double number, void *to)
{
    int64_t i = f64_to_i64(number);
    float f = (float)number;
    uint16_t h = d == DTYPE_F16 ? f32_to_f16(f) : f32_to_bf16(f);
    switch (d) {
    case DTYPE_F32: memcpy(to, &f, sizeof(f)); break;
    case DTYPE_F64: memcpy(to, &number, sizeof(number)); break;
    case DTYPE_F16:
    case DTYPE_BF16: memcpy(to, &h, sizeof(h)); break;
    default: memcpy(to, &i, dtype_size(d) <= sizeof(i) ? dtype_size(d) : sizeof(i)); break;
    }
}

status site_number(struct site *s, dtype d, int rank, double number, struct value **out)
{
    void *data = arena_zalloc(&s->graph->arena, 16);
    put_number(d, number, data);
    struct tensor t = { .dtype = d, .shape = { .rank = rank }, .data = data };
    for (int i = 0; i < rank; i++)
        t.shape.dim[i] = 1;
    return graph_add_constant(s->graph, NULL, &t, out, s->err);
}

const struct var_desc *site_declared(const struct site *s, const char *slot)
{
    const struct slot_desc *d = op_slot_out(s->op, slot);
    return d != NULL && d->arg_count > 0 ? scope_var(s->scope, d->arg[0]) : NULL;
}

status site_add_outs(struct site *s, const char *name, struct value *const *in, int in_count,
                     int out_count, struct node **out)
{
    const struct op *op = op_find(name);
    if (op == NULL)
        return site_fault(s, UNSUPPORTED, "the engine has no operator '%s'", name);
    const char *origin =
        arena_printf(&s->graph->arena, "%.*s (operator %d)", STR_ARG(s->op->type), s->index);
    return graph_add_node_outs(s->graph, op, origin, in, in_count,
                               op->out_count != OUT_ANY ? op->out_count : out_count, out, s->err);
}

status site_add(struct site *s, const char *name, struct value *const *in, int in_count,
                struct node **out)
{
    return site_add_outs(s, name, in, in_count, 1, out);
}

status site_add1(struct site *s, const char *name, struct value *const *in, int in_count,
                 struct value **out)
{
    const struct value *first = in_count > 0 ? in[0] : NULL; /* in may be where out goes */
    struct node *n;
    TRY(site_add(s, name, in, in_count, &n));
    *out = n->out[0];
    if (first != NULL) {
        (*out)->dtype = first->dtype;
        (*out)->shape = first->shape;
    }
    return OK;
}

status site_add2(struct site *s, const char *op, struct value *a, struct value *b,
                 struct value **out)
{
    struct value *in[] = { a, b };
    return site_add1(s, op, in, 2, out);
}

static int64_t reshaped_dim(const struct value *x, const struct attr_ints *to, int i)
{
    if (to->v[i] != 0)
        return to->v[i];
    return i < x->shape.rank ? x->shape.dim[i] : -1;
}

/* Keeps every dimension where it is, by 0 or by its known size. */
static bool changes_nothing(const struct value *x, const struct attr_ints *to)
{
    if (to->count != x->shape.rank)
        return false;
    for (int i = 0; i < to->count; i++)
        if (to->v[i] != 0 && (to->v[i] < 0 || to->v[i] != x->shape.dim[i]))
            return false;
    return true;
}

status site_add_reshape(struct site *s, struct value *x, const struct attr_ints *shape,
                        struct value **out)
{
    if (shape->count > SHAPE_MAX)
        return site_fault(s, UNSUPPORTED, "a shape of %d dimensions, at most %d", shape->count,
                          SHAPE_MAX);
    TRY(site_add1(s, "reshape", &x, 1, out));
    ((struct reshape_attrs *)node_attrs((*out)->producer))->shape = *shape;
    (*out)->shape.rank = shape->count;
    for (int i = 0; i < shape->count; i++)
        (*out)->shape.dim[i] = reshaped_dim(x, shape, i);
    return OK;
}

status site_reshape(struct site *s, struct value *x, const struct attr_ints *shape,
                    struct value **out)
{
    *out = x;
    return changes_nothing(x, shape) ? OK : site_add_reshape(s, x, shape, out);
}

status site_ints_constant(struct site *s, const struct attr_ints *v, struct value **out)
{
    size_t bytes = (size_t)v->count * sizeof(int64_t);
    int64_t *data = arena_alloc(&s->graph->arena, bytes + 1);
    memcpy(data, v->v, bytes);
    struct tensor t = { .dtype = DTYPE_I64, .shape = SHAPE(v->count), .data = data };
    return graph_add_constant(s->graph, NULL, &t, out, s->err);
}

status site_cast(struct site *s, struct value *x, dtype to, struct value **out)
{
    *out = x;
    if (x->dtype == to)
        return OK;
    TRY(site_add1(s, "cast", &x, 1, out));
    ((struct dtype_attrs *)node_attrs((*out)->producer))->dtype = (int32_t)to;
    (*out)->dtype = to;
    return OK;
}

void site_share_lod(struct value *v, const struct value *x, int levels)
{
    v->lod_levels = levels;
    memcpy(v->lod, x->lod, sizeof(v->lod));
}

void site_bind_name(struct site *s, struct str name, struct value *v)
{
    scope_bind(s->scope, name, v);
}

static void declare(const struct site *s, struct str name, struct value *v)
{
    const struct var_desc *d = scope_var(s->scope, name);
    if (d == NULL)
        return;
    program_computed(d->data_type, &v->dtype);
    v->shape = d->shape;
}

status site_bind(struct site *s, const char *slot, struct value *v)
{
    int count = site_out_count(s, slot);
    if (count > 1)
        return site_fault(s, INVALID, "expected one variable as output %s, got %d", slot, count);
    return site_bind_at(s, slot, 0, v);
}

status site_bind_one(struct site *s, const char *slot, struct value *v)
{
    const struct var_desc *d = site_declared(s, slot);
    if (d != NULL && d->shape.rank == 1)
        TRY(site_add_reshape(s, v, &(struct attr_ints){ 1, { 1 } }, &v));
    return site_bind(s, slot, v);
}

status site_bind_at(struct site *s, const char *slot, int i, struct value *v)
{
    if (i >= site_out_count(s, slot))
        return OK;
    struct str name = op_slot_out(s->op, slot)->arg[i];
    v->name = scope_name(s->scope, name);
    declare(s, name, v);
    if (s->row->lod == LOD_SHARE && s->ragged != NULL)
        site_share_lod(v, s->ragged, s->ragged->lod_levels);
    site_bind_name(s, name, v);
    return OK;
}

int site_out_count(const struct site *s, const char *slot)
{
    const struct slot_desc *d = op_slot_out(s->op, slot);
    return d != NULL ? d->arg_count : 0;
}

/* ---- attributes ---- */

static void bad_attr(struct site *s, const char *name, const char *why)
{
    if (s->bad_attr != NULL)
        return;
    s->bad_attr = name;
    s->bad_why = why;
}

int64_t attr_i64(struct site *s, const char *name, int64_t otherwise)
{
    const struct attr_desc *a = op_attr(s->op, name);
    if (a == NULL)
        return otherwise;
    switch (a->kind) {
    case KIND_INT:
    case KIND_LONG:
    case KIND_BOOLEAN: return a->i;
    case KIND_INTS:
    case KIND_LONGS:
        if (a->int_count == 1)
            return a->ints[0];
        break;
    }
    bad_attr(s, name, "expected an integer");
    return otherwise;
}

int32_t attr_i32(struct site *s, const char *name, int32_t otherwise)
{
    int64_t v = attr_i64(s, name, otherwise);
    if (v >= INT32_MIN && v <= INT32_MAX)
        return (int32_t)v;
    bad_attr(s, name, "the number is out of range");
    return otherwise;
}

bool attr_bool(struct site *s, const char *name, bool otherwise)
{
    return attr_i64(s, name, otherwise) != 0;
}

double attr_f64(struct site *s, const char *name, double otherwise)
{
    const struct attr_desc *a = op_attr(s->op, name);
    if (a == NULL)
        return otherwise;
    if (a->kind == KIND_FLOAT || a->kind == KIND_FLOAT64)
        return a->f;
    if (a->kind == KIND_INT || a->kind == KIND_LONG)
        return (double)a->i;
    bad_attr(s, name, "expected a number");
    return otherwise;
}

struct str attr_str(struct site *s, const char *name, const char *otherwise)
{
    const struct attr_desc *a = op_attr(s->op, name);
    if (a != NULL && a->kind == KIND_STRING)
        return a->s;
    if (a != NULL)
        bad_attr(s, name, "expected text");
    return str_of(otherwise);
}

struct attr_ints attr_i64s(struct site *s, const char *name)
{
    struct attr_ints out = { 0 };
    const struct attr_desc *a = op_attr(s->op, name);
    if (a == NULL)
        return out;
    if (a->kind == KIND_INT || a->kind == KIND_LONG) {
        out.count = 1;
        out.v[0] = a->i;
    } else if ((a->kind != KIND_INTS && a->kind != KIND_LONGS) || a->int_count > ATTR_INTS_MAX) {
        bad_attr(s, name, "expected a list of integers, not longer than 16");
    } else if (a->int_count > 0) {
        out.count = a->int_count;
        memcpy(out.v, a->ints, (size_t)a->int_count * sizeof(int64_t));
    }
    return out;
}

const double *attr_f64s(struct site *s, const char *name, int *count)
{
    const struct attr_desc *a = op_attr(s->op, name);
    *count = 0;
    if (a == NULL)
        return NULL;
    if (a->kind == KIND_FLOAT || a->kind == KIND_FLOAT64) {
        *count = 1;
        return &a->f;
    }
    if (a->kind != KIND_FLOATS && a->kind != KIND_FLOAT64S) {
        bad_attr(s, name, "expected a list of numbers");
        return NULL;
    }
    *count = a->float_count;
    return a->floats;
}

int32_t attr_enum(struct site *s, const char *name, const char *otherwise, const char *const *names)
{
    struct str text = attr_str(s, name, otherwise);
    for (int32_t i = 0; names[i] != NULL; i++)
        if (str_is(text, names[i]))
            return i;
    bad_attr(s, name, "the value is not known");
    return 0;
}
