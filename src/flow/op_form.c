/* Operators on the form of values: copy, select, concat, cast, reshape, constant, first. */
#include "flow/ops.h"
#include "flow/rows.h"

#include <math.h>
#include <string.h>

/* ---- copy: what comes in goes out; GeneralCopyOp ---- */

static status open_copy(struct flow_open *o, struct err *e)
{
    const struct flow_edge *edge = &o->node->edge[0];
    if (edge->tensor == NULL && edge->rename == NULL) {
        o->node->port = flow_node_at(o->flow, edge->node)->port;
        o->node->port_count = flow_node_at(o->flow, edge->node)->port_count;
    } else {
        flow_gives(o, NULL, edge->rename);
    }
    return OK;
}

static status run_copy(struct flow_step *s, struct exec *x, struct err *e)
{
    s->out = flow_step_input(s, 0);
    return OK;
}

static const char *const no_keys[] = { NULL };
const struct flow_op general_copy_op = { .type = "GeneralCopyOp",
                                         .also = "copy",
                                         .inputs_min = 1,
                                         .inputs_max = 1,
                                         .keys = no_keys,
                                         .open = open_copy,
                                         .run = run_copy };

/* ---- select: the tensors of all inputs, in the order of the edges (which name and rename them) ---- */

static status open_select(struct flow_open *o, struct err *e)
{
    int count = 0, n = 0;
    for (int k = 0; k < o->node->edge_count; k++) {
        const struct flow_edge *edge = &o->node->edge[k];
        count += edge->tensor != NULL ? 1 : flow_node_at(o->flow, edge->node)->port_count;
    }
    struct port *p = arena_zalloc(o->arena, ((size_t)count + 1) * sizeof(*p));
    for (int k = 0; k < o->node->edge_count; k++) {
        const struct flow_edge *edge = &o->node->edge[k];
        const struct flow_node *from = flow_node_at(o->flow, edge->node);
        if (edge->tensor != NULL && o->in[k] != NULL) {
            p[n] = *o->in[k];
            if (edge->rename != NULL)
                p[n].name = p[n].alias = edge->rename;
            n++;
        }
        for (int i = 0; edge->tensor == NULL && i < from->port_count; i++)
            p[n++] = from->port[i];
    }
    o->node->port = n == count && n > 0 ? p : NULL;
    o->node->port_count = o->node->port != NULL ? n : 0;
    return OK;
}

static status run_select(struct flow_step *s, struct exec *x, struct err *e)
{
    int count = 0;
    for (int k = 0; k < s->node->edge_count; k++)
        count += flow_step_input(s, k).count;
    struct named_tensor *t = arena_zalloc(s->arena, ((size_t)count + 1) * sizeof(*t));
    s->out = (struct flow_value){ t, count, false };
    for (int k = 0; k < s->node->edge_count; k++) {
        struct flow_value v = flow_step_input(s, k);
        for (int i = 0; i < v.count; i++)
            *t++ = v.tensor[i];
    }
    return OK;
}

const struct flow_op select_op = { .type = "SelectOp",
                                   .also = "select",
                                   .inputs_min = 1,
                                   .inputs_max = 64,
                                   .keys = no_keys,
                                   .open = open_select,
                                   .run = run_select };

/* ---- first: the first input that is there; joins what conditions parted ---- */

static status open_first(struct flow_open *o, struct err *e)
{
    return open_copy(o, e);
}

/* Whichever it is, it goes by the names of the first one, which are those that clients are told. */
static struct flow_value named_alike(const struct flow_step *s, struct flow_value v)
{
    const struct flow_node *n = s->node;
    if (n->port == NULL || n->port_count != v.count)
        return v;
    struct named_tensor *t = arena_zalloc(s->arena, ((size_t)v.count + 1) * sizeof(*t));
    for (int i = 0; i < v.count; i++)
        t[i] = (struct named_tensor){ str_of(n->port[i].name), str_of(n->port[i].alias),
                                      v.tensor[i].tensor };
    return (struct flow_value){ t, v.count, false };
}

static status run_first(struct flow_step *s, struct exec *x, struct err *e)
{
    for (int k = 0; k < s->node->edge_count; k++) {
        s->out = flow_step_input(s, k);
        if (s->out.skipped)
            continue;
        if (k > 0)
            s->out = named_alike(s, s->out);
        return OK;
    }
    return OK;
}

const struct flow_op first_op = { .type = "FirstOp",
                                  .also = "first",
                                  .inputs_min = 1,
                                  .inputs_max = 64,
                                  .keys = no_keys,
                                  .open = open_first,
                                  .run = run_first,
                                  .takes_skipped = true };

/* ---- concat ---- */

struct axis {
    int64_t axis;
};

static status open_concat(struct flow_open *o, struct err *e)
{
    struct axis *state = arena_zalloc(o->arena, sizeof(*state));
    const char *name = NULL;
    state->axis = -1;
    TRY(flow_attr_i64(o, "axis", -SHAPE_MAX, SHAPE_MAX, &state->axis, e));
    TRY(flow_attr_text(o, "output", &name, e));
    for (int k = 1; k < o->node->edge_count; k++)
        if (o->in[0] != NULL && o->in[k] != NULL && o->in[0]->dtype != o->in[k]->dtype)
            return err_set(e, INVALID, "node '%s': '%s' is %s and '%s' is %s", o->node->name,
                           o->in[0]->alias, dtype_name(o->in[0]->dtype), o->in[k]->alias,
                           dtype_name(o->in[k]->dtype));
    flow_gives(o, NULL, name);
    struct port *p = (struct port *)o->node->port;
    int axis = shape_axis(&p->shape, state->axis);
    if (o->in[0] != NULL && axis < 0)
        return err_set(e, INVALID, "node '%s': '%s' has no axis %lld", o->node->name,
                       o->in[0]->alias, (long long)state->axis);
    if (axis >= 0)
        p->shape.dim[axis] = -1;
    o->node->state = state;
    return OK;
}

static status concat_fault(struct flow_step *s, const struct tensor *a, const struct tensor *b,
                           struct err *e)
{
    char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX];
    return err_set(e, INVALID, "node '%s': %s %s and %s %s cannot be put together", s->node->name,
                   dtype_name(a->dtype), shape_text(&a->shape, x, sizeof(x)), dtype_name(b->dtype),
                   shape_text(&b->shape, y, sizeof(y)));
}

static bool fit_but_for(const struct tensor *a, const struct tensor *b, int axis)
{
    struct shape x = a->shape, y = b->shape;
    if (a->dtype != b->dtype || x.rank != y.rank)
        return false;
    x.dim[axis] = y.dim[axis] = 0;
    return shape_eq(&x, &y);
}

static status run_concat(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct axis *state = s->node->state;
    const struct named_tensor *first, *t;
    TRY(flow_one_input(s, 0, &first, e));
    struct shape shape = first->tensor.shape;
    int axis = shape_axis(&shape, state->axis);
    if (axis < 0)
        return concat_fault(s, &first->tensor, &first->tensor, e);
    for (int k = 1; k < s->node->edge_count; k++) {
        TRY(flow_one_input(s, k, &t, e));
        if (!fit_but_for(&first->tensor, &t->tensor, axis))
            return concat_fault(s, &first->tensor, &t->tensor, e);
        shape.dim[axis] += t->tensor.shape.dim[axis];
    }
    void *data;
    TRY(flow_give(s, first->tensor.dtype, &shape, &data, e));
    size_t inner =
        dtype_size(first->tensor.dtype) * (size_t)shape_span(&shape, axis + 1, shape.rank);
    size_t outer = (size_t)shape_span(&shape, 0, axis), at = 0;
    size_t stride = inner * (size_t)shape.dim[axis];
    for (int k = 0; k < s->node->edge_count; k++) {
        TRY(flow_one_input(s, k, &t, e));
        size_t n = inner * (size_t)t->tensor.shape.dim[axis];
        for (size_t i = 0; i < outer; i++)
            memcpy((uint8_t *)data + i * stride + at, (const uint8_t *)t->tensor.data + i * n, n);
        at += n;
    }
    return OK;
}

static const char *const concat_keys[] = { "axis", "output", NULL };
const struct flow_op concat_op = { .type = "ConcatOp",
                                   .also = "concat",
                                   .inputs_min = 1,
                                   .inputs_max = 64,
                                   .keys = concat_keys,
                                   .open = open_concat,
                                   .run = run_concat };

/* ---- cast ---- */

struct cast {
    dtype to;
};

#define NUMBERS                                                                                  \
    (DTYPE_BIT(DTYPE_F32) | DTYPE_BIT(DTYPE_F64) | DTYPE_BIT(DTYPE_I64) | DTYPE_BIT(DTYPE_I32) | \
     DTYPE_BIT(DTYPE_I16) | DTYPE_BIT(DTYPE_I8) | DTYPE_BIT(DTYPE_U8) | DTYPE_BIT(DTYPE_BOOL))

/* The types of numbers, by name. */
static status read_type(const struct flow_open *o, const char *name, dtype *out, struct err *e)
{
    const char *known[32];
    size_t count = 0;
    for (int d = 0; d < 32; d++)
        if ((NUMBERS & DTYPE_BIT(d)) != 0)
            known[count++] = dtype_name((dtype)d);
    if (dtype_from_name(str_of(name), out) && (NUMBERS & DTYPE_BIT(*out)) != 0)
        return OK;
    return err_set(e, INVALID, "node '%s': '%s' is no type of numbers%s", o->node->name, name,
                   str_hint(str_nearest(str_of(name), known, count), known[0]).text);
}

static status open_cast(struct flow_open *o, struct err *e)
{
    struct cast *c = arena_zalloc(o->arena, sizeof(*c));
    const char *to = NULL, *name = NULL;
    TRY(flow_attr_text(o, "to", &to, e));
    TRY(flow_attr_text(o, "output", &name, e));
    if (to == NULL)
        return err_set(e, INVALID, "node '%s': 'to' is missing: the type that it becomes",
                       o->node->name);
    TRY(read_type(o, to, &c->to, e));
    TRY(flow_check_dtype(o, 0, NUMBERS, "a number", e));
    flow_gives(o, NULL, name);
    ((struct port *)o->node->port)->dtype = c->to;
    o->node->state = c;
    return OK;
}

/* Whole numbers go through int64, so that none is rounded on its way. */
static int64_t whole_at(const struct tensor *t, int64_t i)
{
    switch (t->dtype) {
    case DTYPE_I64: return ((const int64_t *)t->data)[i];
    case DTYPE_I32: return ((const int32_t *)t->data)[i];
    case DTYPE_I16: return ((const int16_t *)t->data)[i];
    case DTYPE_I8: return ((const int8_t *)t->data)[i];
    default: return ((const uint8_t *)t->data)[i];
    }
}

static void put_whole(dtype d, void *to, int64_t i, int64_t v)
{
    switch (d) {
    case DTYPE_I64: ((int64_t *)to)[i] = v; break;
    case DTYPE_I32: ((int32_t *)to)[i] = (int32_t)v; break;
    case DTYPE_I16: ((int16_t *)to)[i] = (int16_t)v; break;
    case DTYPE_I8: ((int8_t *)to)[i] = (int8_t)v; break;
    case DTYPE_BOOL: ((uint8_t *)to)[i] = v != 0; break;
    case DTYPE_F32: ((float *)to)[i] = (float)v; break;
    case DTYPE_F64: ((double *)to)[i] = (double)v; break;
    default: ((uint8_t *)to)[i] = (uint8_t)v; break;
    }
}

/* Towards zero, and at the ends of the range: what C leaves undefined is defined here. */
static int64_t whole_of(double v)
{
    if (isnan(v))
        return 0;
    return v >= 9.2e18 ? INT64_MAX : v <= -9.2e18 ? INT64_MIN : (int64_t)v;
}

static status run_cast(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct cast *c = s->node->state;
    const struct named_tensor *t;
    void *data;
    TRY(flow_one_input(s, 0, &t, e));
    dtype from = t->tensor.dtype;
    if ((NUMBERS & DTYPE_BIT(from)) == 0)
        return err_set(e, INVALID, "node '%s': '%.*s' is %s, expected a number", s->node->name,
                       STR_ARG(t->alias), dtype_name(from));
    TRY(flow_give(s, c->to, &t->tensor.shape, &data, e));
    int64_t n = shape_numel(&t->tensor.shape);
    bool is_float = from == DTYPE_F32 || from == DTYPE_F64;
    for (int64_t i = 0; i < n; i++) {
        if (!is_float) {
            put_whole(c->to, data, i, whole_at(&t->tensor, i));
            continue;
        }
        double v = from == DTYPE_F32 ? (double)((const float *)t->tensor.data)[i]
                                     : ((const double *)t->tensor.data)[i];
        if (c->to == DTYPE_F32)
            ((float *)data)[i] = (float)v;
        else if (c->to == DTYPE_F64)
            ((double *)data)[i] = v;
        else
            put_whole(c->to, data, i, c->to == DTYPE_BOOL ? v != 0 : whole_of(v));
    }
    return OK;
}

static const char *const cast_keys[] = { "to", "output", NULL };
const struct flow_op cast_op = { .type = "CastOp",
                                 .also = "cast",
                                 .inputs_min = 1,
                                 .inputs_max = 1,
                                 .keys = cast_keys,
                                 .open = open_cast,
                                 .run = run_cast };

/* ---- reshape ---- */

static status open_reshape(struct flow_open *o, struct err *e)
{
    struct shape *shape = arena_zalloc(o->arena, sizeof(*shape));
    const double *dim = NULL;
    const char *name = NULL;
    int count = 0, open = 0;
    TRY(flow_attr_text(o, "output", &name, e));
    TRY(flow_attr_reals(o, "shape", &dim, &count, e));
    if (count < 1 || count > SHAPE_MAX)
        return err_set(e, INVALID, "node '%s': 'shape' is expected to list 1 to %d dimensions",
                       o->node->name, SHAPE_MAX);
    shape->rank = count;
    for (int i = 0; i < count; i++) {
        shape->dim[i] = (int64_t)dim[i];
        open += dim[i] == -1;
        if (dim[i] != floor(dim[i]) || dim[i] < -1 || dim[i] > 1e12 || open > 1)
            return err_set(
                e, INVALID,
                "node '%s': 'shape' is expected to hold whole numbers, 0 for a dimension "
                "that stays and one -1 for what is left",
                o->node->name);
    }
    flow_gives(o, NULL, name);
    struct port *p = (struct port *)o->node->port;
    p->shape = *shape;
    for (int i = 0; i < count; i++)
        if (p->shape.dim[i] == 0)
            p->shape.dim[i] = -1;
    p->ragged = false;
    o->node->state = shape;
    return OK;
}

static status run_reshape(struct flow_step *s, struct exec *x, struct err *e)
{
    struct shape shape = *(const struct shape *)s->node->state;
    const struct named_tensor *t;
    TRY(flow_one_input(s, 0, &t, e));
    int64_t all = shape_numel(&t->tensor.shape), known = 1;
    int open = -1;
    for (int i = 0; i < shape.rank; i++) {
        if (shape.dim[i] == 0 && i < t->tensor.shape.rank)
            shape.dim[i] = t->tensor.shape.dim[i];
        if (shape.dim[i] < 0)
            open = i;
        else if (__builtin_mul_overflow(known, shape.dim[i], &known))
            known = -1;
    }
    if (open >= 0 && known > 0 && all % known == 0)
        shape.dim[open] = all / known;
    if (shape_numel(&shape) != all) {
        char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
        return err_set(e, INVALID, "node '%s': %s cannot become %s", s->node->name,
                       shape_text(&t->tensor.shape, a, sizeof(a)),
                       shape_text(&shape, b, sizeof(b)));
    }
    struct named_tensor *out = arena_zalloc(s->arena, sizeof(*out));
    *out = (struct named_tensor){ str_of(s->node->port->name), str_of(s->node->port->alias),
                                  t->tensor };
    out->tensor.shape = shape;
    out->tensor.lod.levels = 0;
    s->out = (struct flow_value){ out, 1, false };
    return OK;
}

static const char *const reshape_keys[] = { "shape", "output", NULL };
const struct flow_op reshape_op = { .type = "ReshapeOp",
                                    .also = "reshape",
                                    .inputs_min = 1,
                                    .inputs_max = 1,
                                    .keys = reshape_keys,
                                    .open = open_reshape,
                                    .run = run_reshape };

/* ---- constant ---- */

static status open_constant(struct flow_open *o, struct err *e)
{
    struct tensor *t = arena_zalloc(o->arena, sizeof(*t));
    const double *value = NULL, *dim = NULL;
    int count = 0, rank = 0;
    const char *type = "float32", *name = o->node->name;
    TRY(flow_attr_reals(o, "value", &value, &count, e));
    TRY(flow_attr_reals(o, "shape", &dim, &rank, e));
    TRY(flow_attr_text(o, "type", &type, e));
    TRY(flow_attr_text(o, "output", &name, e));
    TRY(read_type(o, type, &t->dtype, e));
    if (count < 1)
        return err_set(e, INVALID, "node '%s': 'value' is missing: a number, or a list of them",
                       o->node->name);
    t->shape =
        rank > 0 ? (struct shape){ rank < SHAPE_MAX ? rank : SHAPE_MAX, { 0 } } : SHAPE(count);
    for (int i = 0; i < rank && i < SHAPE_MAX; i++)
        t->shape.dim[i] = (int64_t)dim[i];
    if (shape_numel(&t->shape) != count)
        return err_set(e, INVALID, "node '%s': 'value' has %d numbers, 'shape' wants %lld",
                       o->node->name, count, (long long)shape_numel(&t->shape));
    void *data = arena_zalloc(o->arena, (size_t)count * dtype_size(t->dtype));
    for (int i = 0; i < count; i++) {
        if (t->dtype == DTYPE_F32)
            ((float *)data)[i] = (float)value[i];
        else if (t->dtype == DTYPE_F64)
            ((double *)data)[i] = value[i];
        else
            put_whole(t->dtype, data, i, whole_of(value[i]));
    }
    t->data = data;
    const struct port p = { .dtype = t->dtype, .shape = t->shape };
    flow_gives(o, &p, name);
    o->node->state = t;
    return OK;
}

static status run_constant(struct flow_step *s, struct exec *x, struct err *e)
{
    struct named_tensor *out = arena_zalloc(s->arena, sizeof(*out));
    *out = (struct named_tensor){ str_of(s->node->port->name), str_of(s->node->port->alias),
                                  *(const struct tensor *)s->node->state };
    s->out = (struct flow_value){ out, 1, false };
    return OK;
}

static const char *const constant_keys[] = { "value", "shape", "type", "output", NULL };
const struct flow_op constant_op = { .type = "ConstantOp",
                                     .also = "constant",
                                     .inputs_min = 0,
                                     .inputs_max = 0,
                                     .keys = constant_keys,
                                     .open = open_constant,
                                     .run = run_constant };
