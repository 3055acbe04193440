/* Decoding in two looks at each message, as in import/paddle/program.c: one that counts its repeated fields, so that every
 * array is made once in its final size, one that fills. The cursor's first fault sticks (codec/pb.h), so each message
 * checks once at its end. */
#include "import/onnx/proto.h"

#include "base/limits.h"
#include "codec/pb.h"
#include "import/onnx/narrow.h"

#include <string.h>

struct decode {
    struct str file;
    struct arena *arena;
    struct err *err;
    int depth; /* of graphs in graphs */
};

static size_t place_of(const struct decode *d, const struct pb *r)
{
    uintptr_t at = (uintptr_t)r->p, start = (uintptr_t)d->file.p;
    return at >= start && at - start <= d->file.n ? at - start : 0;
}

static status check_end(struct decode *d, const struct pb *r, const char *message)
{
    if (pb_ok(r))
        return OK;
    return err_set(d->err, CORRUPT,
                   "not an ONNX model, or a damaged one: %s breaks off at byte %zu", message,
                   place_of(d, r));
}

/* An array with an element of `size` bytes for each field `number` of the message. */
static status make_array(struct decode *d, struct str message, uint32_t number, size_t size,
                         void *array)
{
    struct pb r;
    size_t n = 0;
    pb_init(&r, message);
    while (pb_next(&r)) {
        n += r.field == number;
        pb_skip(&r);
    }
    TRY(check_end(d, &r, "a field"));
    if (n > LIMIT_GRAPH_VALUES)
        return err_set(d->err, TOO_LARGE, "%zu elements in one list of the model, at most %u", n,
                       LIMIT_GRAPH_VALUES);
    void *p = arena_try_array(d->arena, n + 1, size);
    if (p == NULL)
        return err_set(d->err, NO_MEMORY, "the model of %zu bytes needs too much memory",
                       d->file.n);
    *(void **)array = p;
    return OK;
}

/* ---- lists of numbers: one by one, or packed ---- */

static size_t count_numbers(struct str message, uint32_t field, enum pb_wire wire, size_t bytes)
{
    struct pb r;
    size_t n = 0;
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field != field || r.wire != PB_BYTES || wire == PB_BYTES) {
            n += r.field == field;
            pb_skip(&r);
        } else {
            struct str packed = pb_bytes(&r);
            n += wire == PB_VARINT ? pb_count_varints(packed) : packed.n / bytes;
        }
    }
    return n;
}

static void take_floats(struct pb *r, float *to, int *count, int max)
{
    if (r->wire != PB_BYTES) {
        float v = pb_float(r);
        if (*count < max)
            to[(*count)++] = v;
        return;
    }
    struct str packed = pb_bytes(r);
    r->bad = r->bad || packed.n % sizeof(float) != 0;
    for (size_t i = 0; i + sizeof(float) <= packed.n && *count < max; i += sizeof(float))
        memcpy(&to[(*count)++], packed.p + i, sizeof(float));
}

/* ---- tensors ---- */

/* external_data: keys location, offset, length (and checksum, which no writer gives). */
static status decode_external(struct decode *d, struct str message, struct onnx_tensor *t)
{
    struct pb r;
    struct str key = { "", 0 }, value = { "", 0 };
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: key = pb_bytes(&r); break;
        case 2: value = pb_bytes(&r); break;
        default: pb_skip(&r);
        }
    }
    TRY(check_end(d, &r, "a tensor's external_data"));
    if (str_is(key, "location"))
        t->location = value;
    else if ((str_is(key, "offset") && (!str_to_i64(value, &t->offset) || t->offset < 0)) ||
             (str_is(key, "length") && (!str_to_i64(value, &t->length) || t->length < 0)))
        return err_set(d->err, CORRUPT, "tensor '%.*s': external_data %.*s is '%.*s'",
                       STR_ARG(t->name), STR_ARG(key), STR_ARG(value));
    return OK;
}

static status decode_tensor(struct decode *d, struct str message, struct onnx_tensor *t)
{
    struct pb r;
    int64_t dim[SHAPE_MAX + 1];
    int rank = 0;
    *t = (struct onnx_tensor){ .message = message, .length = -1 };
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: pb_take_ints(&r, dim, &rank, SHAPE_MAX + 1); break;
        case 2: t->data_type = (int32_t)pb_varint(&r); break;
        case 8: t->name = pb_bytes(&r); break;
        case 9: t->raw = pb_bytes(&r); break;
        case 13: TRY(decode_external(d, pb_bytes(&r), t)); break;
        case 14: t->external = pb_varint(&r) == 1; break;
        default: pb_skip(&r);
        }
    }
    TRY(check_end(d, &r, "a tensor"));
    if (rank > SHAPE_MAX)
        return err_set(d->err, UNSUPPORTED, "tensor '%.*s' has more than %d dimensions",
                       STR_ARG(t->name), SHAPE_MAX);
    t->shape.rank = rank;
    memcpy(t->shape.dim, dim, (size_t)rank * sizeof(dim[0]));
    if (shape_numel(&t->shape) < 0)
        return err_set(d->err, CORRUPT, "tensor '%.*s' has a shape that no tensor has",
                       STR_ARG(t->name));
    return OK;
}

/* ---- types of inputs and outputs ---- */

static status decode_dim(struct decode *d, struct str message, int64_t *dim)
{
    struct pb r;
    *dim = -1;
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field == 1)
            *dim = (int64_t)pb_varint(&r);
        else
            pb_skip(&r);
    }
    if (*dim < 0)
        *dim = -1;
    return check_end(d, &r, "a dimension");
}

static status decode_shape(struct decode *d, struct str message, struct onnx_port *p)
{
    struct pb r;
    p->has_shape = true;
    p->shape.rank = 0;
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field != 1) {
            pb_skip(&r);
            continue;
        }
        if (p->shape.rank == SHAPE_MAX)
            return err_set(d->err, UNSUPPORTED, "'%.*s' has more than %d dimensions",
                           STR_ARG(p->name), SHAPE_MAX);
        TRY(decode_dim(d, pb_bytes(&r), &p->shape.dim[p->shape.rank++]));
    }
    return check_end(d, &r, "a shape");
}

static status decode_tensor_type(struct decode *d, struct str message, struct onnx_port *p)
{
    struct pb r;
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: p->data_type = (int32_t)pb_varint(&r); break;
        case 2: TRY(decode_shape(d, pb_bytes(&r), p)); break;
        default: pb_skip(&r);
        }
    }
    return check_end(d, &r, "a type");
}

/* TypeProto: a tensor's is field 1; sequences and maps are left as data_type 0. */
static status decode_plain_type(struct decode *d, struct str message, struct onnx_port *p)
{
    struct pb r;
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field == 1)
            TRY(decode_tensor_type(d, pb_bytes(&r), p));
        else
            pb_skip(&r);
    }
    return check_end(d, &r, "a type");
}

/* The type of an optional: field 1 of it. */
static status decode_optional(struct decode *d, struct str message, struct onnx_port *p)
{
    struct pb r;
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field == 1)
            TRY(decode_plain_type(d, pb_bytes(&r), p));
        else
            pb_skip(&r);
    }
    return check_end(d, &r, "an optional type");
}

/* An optional tensor (field 9) counts as a tensor: one that is there. */
static status decode_type(struct decode *d, struct str message, struct onnx_port *p)
{
    struct pb r;
    TRY(decode_plain_type(d, message, p));
    pb_init(&r, message);
    while (pb_next(&r)) {
        if (r.field == 9)
            TRY(decode_optional(d, pb_bytes(&r), p));
        else
            pb_skip(&r);
    }
    return check_end(d, &r, "a type");
}

static status decode_port(struct decode *d, struct str message, struct onnx_port *p)
{
    struct pb r;
    struct str type = { "", 0 };
    *p = (struct onnx_port){ 0 };
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: p->name = pb_bytes(&r); break;
        case 2: type = pb_bytes(&r); break;
        default: pb_skip(&r);
        }
    }
    TRY(check_end(d, &r, "an input or output"));
    return decode_type(d, type, p);
}

/* ---- attributes ---- */

static status decode_graph(struct decode *d, struct str message, struct onnx_graph *g);

static status make_lists(struct decode *d, struct str message, struct onnx_attr *a)
{
    size_t ints = count_numbers(message, 8, PB_VARINT, 0),
           floats = count_numbers(message, 7, PB_FIXED32, sizeof(float)),
           strings = count_numbers(message, 9, PB_BYTES, 0);
    if (ints > LIMIT_GRAPH_VALUES * 16 || floats > LIMIT_GRAPH_VALUES * 16)
        return err_set(d->err, TOO_LARGE, "attribute '%.*s' is a list too long", STR_ARG(a->name));
    a->ints = arena_try_array(d->arena, ints + 1, sizeof(*a->ints));
    a->floats = arena_try_array(d->arena, floats + 1, sizeof(*a->floats));
    a->strings = arena_try_array(d->arena, strings + 1, sizeof(*a->strings));
    if (a->ints == NULL || a->floats == NULL || a->strings == NULL)
        return err_set(d->err, NO_MEMORY, "the model of %zu bytes needs too much memory",
                       d->file.n);
    return OK;
}

static status decode_attr_tensor(struct decode *d, struct str message, struct onnx_attr *a)
{
    struct onnx_tensor *t = arena_zalloc(d->arena, sizeof(*t));
    a->tensor = t;
    return decode_tensor(d, message, t);
}

static status decode_attr_graph(struct decode *d, struct str message, struct onnx_attr *a)
{
    if (d->depth >= LIMIT_PROTO_DEPTH)
        return err_set(d->err, TOO_LARGE, "graphs are nested deeper than %d", LIMIT_PROTO_DEPTH);
    a->graph = arena_zalloc(d->arena, sizeof(*a->graph));
    d->depth++;
    TRY(decode_graph(d, message, a->graph));
    d->depth--;
    return OK;
}

static status decode_attr(struct decode *d, struct str message, struct onnx_attr *a)
{
    struct pb r;
    size_t max = message.n;
    *a = (struct onnx_attr){ 0 };
    TRY(make_lists(d, message, a));
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: a->name = pb_bytes(&r); break;
        case 2: a->f = pb_float(&r); break;
        case 3: a->i = (int64_t)pb_varint(&r); break;
        case 4: a->s = pb_bytes(&r); break;
        case 5: TRY(decode_attr_tensor(d, pb_bytes(&r), a)); break;
        case 6: TRY(decode_attr_graph(d, pb_bytes(&r), a)); break;
        case 7: take_floats(&r, a->floats, &a->float_count, (int)max); break;
        case 8: pb_take_ints(&r, a->ints, &a->int_count, (int)max); break;
        case 9: a->strings[a->string_count++] = pb_bytes(&r); break;
        case 20: a->type = (int32_t)pb_varint(&r); break;
        case 21: a->ref = pb_bytes(&r); break;
        default: pb_skip(&r);
        }
    }
    return check_end(d, &r, "an attribute");
}

/* ---- nodes and graphs ---- */

static status decode_node(struct decode *d, struct str message, struct onnx_node *n)
{
    struct pb r;
    *n = (struct onnx_node){ 0 };
    TRY(make_array(d, message, 1, sizeof(*n->in), &n->in));
    TRY(make_array(d, message, 2, sizeof(*n->out), &n->out));
    TRY(make_array(d, message, 5, sizeof(*n->attr), &n->attr));
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: n->in[n->in_count++] = pb_bytes(&r); break;
        case 2: n->out[n->out_count++] = pb_bytes(&r); break;
        case 3: n->name = pb_bytes(&r); break;
        case 4: n->type = pb_bytes(&r); break;
        case 5: TRY(decode_attr(d, pb_bytes(&r), &n->attr[n->attr_count++])); break;
        case 7: n->domain = pb_bytes(&r); break;
        default: pb_skip(&r);
        }
    }
    if (str_is(n->domain, "ai.onnx"))
        n->domain = (struct str){ "", 0 };
    return check_end(d, &r, "a node");
}

static status make_graph_arrays(struct decode *d, struct str message, struct onnx_graph *g)
{
    TRY(make_array(d, message, 1, sizeof(*g->node), &g->node));
    TRY(make_array(d, message, 5, sizeof(*g->initializer), &g->initializer));
    TRY(make_array(d, message, 11, sizeof(*g->in), &g->in));
    TRY(make_array(d, message, 12, sizeof(*g->out), &g->out));
    return make_array(d, message, 13, sizeof(*g->info), &g->info);
}

static status decode_graph(struct decode *d, struct str message, struct onnx_graph *g)
{
    struct pb r;
    *g = (struct onnx_graph){ 0 };
    TRY(make_graph_arrays(d, message, g));
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: TRY(decode_node(d, pb_bytes(&r), &g->node[g->node_count++])); break;
        case 2: g->name = pb_bytes(&r); break;
        case 5: TRY(decode_tensor(d, pb_bytes(&r), &g->initializer[g->initializer_count++])); break;
        case 11: TRY(decode_port(d, pb_bytes(&r), &g->in[g->in_count++])); break;
        case 12: TRY(decode_port(d, pb_bytes(&r), &g->out[g->out_count++])); break;
        case 13: TRY(decode_port(d, pb_bytes(&r), &g->info[g->info_count++])); break;
        case 15:
            return err_set(d->err, UNSUPPORTED,
                           "sparse initialisers are not supported; export "
                           "with dense weights");
        default: pb_skip(&r);
        }
    }
    return check_end(d, &r, "the graph");
}

/* ---- functions and the model ---- */

static status decode_function(struct decode *d, struct str message, struct onnx_function *f)
{
    struct pb r;
    TRY(make_array(d, message, 4, sizeof(*f->in), &f->in));
    TRY(make_array(d, message, 5, sizeof(*f->out), &f->out));
    TRY(make_array(d, message, 7, sizeof(*f->node), &f->node));
    TRY(make_array(d, message, 11, sizeof(*f->attr), &f->attr));
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: f->name = pb_bytes(&r); break;
        case 4: f->in[f->in_count++] = pb_bytes(&r); break;
        case 5: f->out[f->out_count++] = pb_bytes(&r); break;
        case 7: TRY(decode_node(d, pb_bytes(&r), &f->node[f->node_count++])); break;
        case 10: f->domain = pb_bytes(&r); break;
        case 11: TRY(decode_attr(d, pb_bytes(&r), &f->attr[f->attr_count++])); break;
        default: pb_skip(&r);
        }
    }
    return check_end(d, &r, "a function");
}

static status decode_opset(struct decode *d, struct str message, struct onnx_model *m)
{
    struct pb r;
    struct str domain = { "", 0 };
    int64_t version = 1;
    pb_init(&r, message);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: domain = pb_bytes(&r); break;
        case 2: version = (int64_t)pb_varint(&r); break;
        default: pb_skip(&r);
        }
    }
    if (domain.n == 0 || str_is(domain, "ai.onnx"))
        m->opset = version;
    else if (str_is(domain, "ai.onnx.ml"))
        m->ml_opset = version;
    return check_end(d, &r, "an opset_import");
}

status onnx_decode(struct str bytes, struct arena *a, struct onnx_model *out, struct err *e)
{
    struct decode d = { .file = bytes, .arena = a, .err = e };
    struct pb r;
    bool graph = false;
    *out = (struct onnx_model){ .opset = 1, .ml_opset = 1 };
    TRY(make_array(&d, bytes, 25, sizeof(*out->function), &out->function));
    pb_init(&r, bytes);
    while (pb_next(&r)) {
        switch (r.field) {
        case 1: out->ir_version = (int64_t)pb_varint(&r); break;
        case 7:
            graph = true;
            TRY(decode_graph(&d, pb_bytes(&r), &out->graph));
            break;
        case 8: TRY(decode_opset(&d, pb_bytes(&r), out)); break;
        case 25:
            TRY(decode_function(&d, pb_bytes(&r), &out->function[out->function_count++]));
            break;
        default: pb_skip(&r);
        }
    }
    TRY(check_end(&d, &r, "the model"));
    return graph ? OK : err_set(e, CORRUPT, "not an ONNX model: it holds no graph");
}

/* ---- looking things up ---- */

bool onnx_dtype(int32_t data_type, dtype *out)
{
    static const struct {
        int32_t data_type;
        dtype dtype;
    } rows[] = {
        { 1, DTYPE_F32 },   { 2, DTYPE_U8 },   { 3, DTYPE_I8 },   { 4, DTYPE_U16 },
        { 5, DTYPE_I16 },   { 6, DTYPE_I32 },  { 7, DTYPE_I64 },  { 9, DTYPE_BOOL },
        { 10, DTYPE_F16 },  { 11, DTYPE_F64 }, { 12, DTYPE_U32 }, { 13, DTYPE_U64 },
        { 16, DTYPE_BF16 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].data_type == data_type) {
            *out = rows[i].dtype;
            return true;
        }
    }
    const struct onnx_narrow *narrow = onnx_narrow_find(data_type);
    if (narrow != NULL)
        *out = narrow->held;
    return narrow != NULL;
}

const struct onnx_attr *onnx_attr_find(const struct onnx_node *n, const char *name)
{
    for (int i = 0; i < n->attr_count; i++)
        if (str_is(n->attr[i].name, name))
            return &n->attr[i];
    return NULL;
}
