#include "proto/oip_pb.h"

#include "base/limits.h"
#include "proto/general_check.h"

#include <string.h>

enum {
    REQUEST_MODEL = 1,
    REQUEST_VERSION,
    REQUEST_ID,
    REQUEST_PARAMETERS,
    REQUEST_INPUTS,
    REQUEST_OUTPUTS,
    REQUEST_RAW,

    TENSOR_NAME = 1,
    TENSOR_DATATYPE,
    TENSOR_SHAPE,
    TENSOR_PARAMETERS,
    TENSOR_CONTENTS,

    WANTED_NAME = 1,
    WANTED_PARAMETERS,

    REPLY_MODEL = 1,
    REPLY_VERSION,
    REPLY_ID,
    REPLY_PARAMETERS,
    REPLY_OUTPUTS,
    REPLY_RAW,

    ENTRY_KEY = 1,
    ENTRY_VALUE,

    PARAM_BOOL = 1,
    PARAM_INT64,
    PARAM_STRING,
    PARAM_DOUBLE,
    PARAM_UINT64,

    CONTENTS_BOOL = 1,
    CONTENTS_INT,
    CONTENTS_INT64,
    CONTENTS_UINT,
    CONTENTS_UINT64,
    CONTENTS_FP32,
    CONTENTS_FP64,
    CONTENTS_BYTES,
    CONTENTS_END,
};

/* What each list of explicit contents is called, and how one value of it is written. */
// clang-format off
static const struct {
    const char *type;
    enum pb_wire wire;
} contents_of[CONTENTS_END] = {
    [CONTENTS_BOOL]   = { "BOOL",   PB_VARINT },  [CONTENTS_INT]    = { "INT32",  PB_VARINT },
    [CONTENTS_INT64]  = { "INT64",  PB_VARINT },  [CONTENTS_UINT]   = { "UINT32", PB_VARINT },
    [CONTENTS_UINT64] = { "UINT64", PB_VARINT },  [CONTENTS_FP32]   = { "FP32",   PB_FIXED32 },
    [CONTENTS_FP64]   = { "FP64",   PB_FIXED64 }, [CONTENTS_BYTES]  = { "BYTES",  PB_BYTES },
};
// clang-format on

static uint32_t contents_for(dtype d)
{
    switch (d) {
    case DTYPE_BOOL: return CONTENTS_BOOL;
    case DTYPE_I8:
    case DTYPE_I16:
    case DTYPE_I32: return CONTENTS_INT;
    case DTYPE_I64: return CONTENTS_INT64;
    case DTYPE_U8:
    case DTYPE_U16:
    case DTYPE_U32: return CONTENTS_UINT;
    case DTYPE_U64: return CONTENTS_UINT64;
    case DTYPE_F32: return CONTENTS_FP32;
    case DTYPE_F64: return CONTENTS_FP64;
    case DTYPE_BYTES: return CONTENTS_BYTES;
    default: return 0; /* of FP16 and BF16 there is only the raw form */
    }
}

static status damaged(struct err *e)
{
    return err_set(e, MALFORMED, "the protobuf message is damaged or cut short");
}

/* ---- parameters ---- */

static void take_value(struct str bytes, struct oip_param *p, bool *bad)
{
    struct pb r;
    for (pb_init(&r, bytes); pb_next(&r);) {
        switch (r.field) {
        case PARAM_BOOL:
            p->kind = OIP_BOOL;
            p->integer = pb_varint(&r) != 0;
            break;
        case PARAM_INT64:
            p->kind = OIP_INT;
            p->integer = (int64_t)pb_varint(&r);
            break;
        case PARAM_UINT64:
            p->kind = OIP_UINT;
            p->integer = (int64_t)pb_varint(&r);
            break;
        case PARAM_DOUBLE:
            p->kind = OIP_DOUBLE;
            p->real = pb_double(&r);
            break;
        case PARAM_STRING:
            p->kind = OIP_STRING;
            p->text = pb_bytes(&r);
            break;
        default: pb_skip(&r);
        }
    }
    *bad |= !pb_ok(&r);
}

/* One entry of map<string, InferParameter>. */
static status take_param(struct pb *message, struct oip_param *p, struct err *e)
{
    struct pb r;
    bool bad = false;
    *p = (struct oip_param){ .text = STR("") };
    for (pb_init(&r, pb_bytes(message)); pb_next(&r);) {
        if (r.field == ENTRY_KEY)
            p->key = pb_bytes(&r);
        else if (r.field == ENTRY_VALUE)
            take_value(pb_bytes(&r), p, &bad);
        else
            pb_skip(&r);
    }
    return pb_ok(&r) && !bad ? OK : damaged(e);
}

/* ---- explicit contents ---- */

struct contents {
    struct str bytes;
    int64_t count[CONTENTS_END];
    struct str piece[CONTENTS_END]; /* what came last */
    int pieces[CONTENTS_END];
};

static struct str take_piece(struct pb *r)
{
    if (r->wire == PB_BYTES)
        return pb_bytes(r);
    const uint8_t *begin = r->p;
    pb_skip(r);
    return (struct str){ (const char *)begin, (size_t)(r->p - begin) };
}

static int64_t values_in(struct pb *r, struct str piece, uint32_t field)
{
    if (field == CONTENTS_BYTES)
        return 1;
    if (contents_of[field].wire == PB_VARINT)
        return (int64_t)pb_count_varints(piece);
    size_t size = contents_of[field].wire == PB_FIXED32 ? 4 : 8;
    r->bad |= piece.n % size != 0;
    return (int64_t)(piece.n / size);
}

static bool fits(const struct pb *r)
{
    return r->field < CONTENTS_END && r->field > 0 &&
           (r->wire == PB_BYTES || r->wire == contents_of[r->field].wire);
}

static bool note_contents(struct contents *c)
{
    struct pb r;
    for (pb_init(&r, c->bytes); pb_next(&r);) {
        if (!fits(&r)) {
            pb_skip(&r);
            continue;
        }
        uint32_t field = r.field;
        c->piece[field] = take_piece(&r);
        c->pieces[field]++;
        c->count[field] += values_in(&r, c->piece[field], field);
    }
    return pb_ok(&r);
}

static void store(uint8_t *to, int64_t i, uint64_t v, size_t size)
{
    switch (size) {
    case 1: to[i] = (uint8_t)v; break;
    case 2: ((uint16_t *)(void *)to)[i] = (uint16_t)v; break;
    case 4: ((uint32_t *)(void *)to)[i] = (uint32_t)v; break;
    default: ((uint64_t *)(void *)to)[i] = v; break;
    }
}

/* A value of int_contents must be one of INT8 where that is the type, and so on. */
static bool in_range(uint64_t v, dtype d)
{
    int64_t i = (int64_t)v;
    switch (d) {
    case DTYPE_I8: return i >= INT8_MIN && i <= INT8_MAX;
    case DTYPE_I16: return i >= INT16_MIN && i <= INT16_MAX;
    case DTYPE_I32: return i >= INT32_MIN && i <= INT32_MAX;
    case DTYPE_U8: return v <= UINT8_MAX;
    case DTYPE_U16: return v <= UINT16_MAX;
    case DTYPE_U32: return v <= UINT32_MAX;
    case DTYPE_BOOL: return v <= 1;
    default: return true;
    }
}

struct filling {
    uint8_t *to;
    int64_t at, count;
    dtype dtype;
    bool out_of_range;
};

static void fill_varints(struct filling *f, struct str piece)
{
    struct pb packed;
    size_t size = dtype_size(f->dtype);
    pb_init(&packed, piece);
    while (f->at < f->count && pb_more(&packed)) {
        uint64_t v = pb_raw_varint(&packed);
        f->out_of_range |= !in_range(v, f->dtype);
        store(f->to, f->at++, v, size);
    }
}

static void fill(struct filling *f, struct str piece, uint32_t field)
{
    if (field == CONTENTS_BYTES) {
        ((struct str *)(void *)f->to)[f->at++] = piece;
    } else if (contents_of[field].wire == PB_VARINT) {
        fill_varints(f, piece);
    } else {
        size_t size = dtype_size(f->dtype);
        memcpy(f->to + (size_t)f->at * size, piece.p, piece.n);
        f->at += (int64_t)(piece.n / size);
    }
}

static status gather(const struct contents *c, uint32_t field, struct oip_input *in,
                     struct arena *a, struct err *e)
{
    size_t size = field == CONTENTS_BYTES ? sizeof(struct str) : dtype_size(in->dtype);
    struct filling f = { .count = c->count[field], .dtype = in->dtype };
    struct pb r;
    f.to = arena_try_array(a, (size_t)f.count + 1, size);
    if (f.to == NULL)
        return general_no_memory(e);
    for (pb_init(&r, c->bytes); pb_next(&r);) {
        if (fits(&r) && r.field == field)
            fill(&f, take_piece(&r), field);
        else
            pb_skip(&r);
    }
    in->elements = f.to;
    if (f.out_of_range)
        return err_set(e, INVALID, "input '%.*s': a value does not fit into %s", STR_ARG(in->name),
                       dtype_oip(in->dtype));
    return pb_ok(&r) && f.at == f.count ? OK : damaged(e);
}

/* The one list that holds something; 0: none does. */
static uint32_t given_list(const struct contents *c)
{
    uint32_t found = 0;
    for (uint32_t i = 1; i < CONTENTS_END; i++)
        if (c->count[i] > 0 && (found == 0 || c->count[i] > c->count[found]))
            found = i;
    return found;
}

static status take_contents(struct str bytes, const struct oip_model *m, struct oip_input *in,
                            struct arena *a, struct err *e)
{
    static const _Alignas(16) uint8_t nothing[16];
    struct contents c = { .bytes = bytes };
    if (!note_contents(&c))
        return damaged(e);
    uint32_t want = contents_for(in->dtype), given = given_list(&c);
    if (want == 0)
        return err_set(e, INVALID,
                       "inference input data-type is '%s': use raw_input_contents for input '%.*s'",
                       dtype_oip(in->dtype), STR_ARG(in->name));
    if (given != 0 && given != want)
        return err_set(e, INVALID,
                       "unexpected explicit tensor data for input tensor '%.*s' for model '%.*s' "
                       "of type '%s', expected datatype '%s'",
                       STR_ARG(in->name), STR_ARG(m->name), contents_of[given].type,
                       dtype_oip(in->dtype));
    in->count = c.count[want];
    in->elements = nothing;
    if (in->count == 0)
        return OK;
    /* In place where all of it lies in one piece, as its type wants it. */
    if (contents_of[want].wire != PB_VARINT && want != CONTENTS_BYTES && c.pieces[want] == 1 &&
        (uintptr_t)c.piece[want].p % dtype_size(in->dtype) == 0) {
        in->elements = c.piece[want].p;
        return OK;
    }
    return gather(&c, want, in, a, e);
}

/* ---- requests ---- */

void oip_pb_names(struct str bytes, struct str *model, struct str *version)
{
    struct pb r;
    *model = *version = STR("");
    for (pb_init(&r, bytes); pb_next(&r);) {
        bool text = r.wire == PB_BYTES;
        if (text && r.field == REQUEST_MODEL)
            *model = pb_bytes(&r);
        else if (text && r.field == REQUEST_VERSION)
            *version = pb_bytes(&r);
        else if (r.field >= REQUEST_INPUTS && model->n > 0)
            return; /* in the order of their numbers, as everybody writes them */
        else
            pb_skip(&r);
    }
}

static status too_many_dims(const struct oip_input *in, struct err *e)
{
    return err_set(e, INVALID, "input '%.*s': a shape of more than %d dimensions",
                   STR_ARG(in->name), SHAPE_MAX);
}

static status take_shape(struct pb *r, struct oip_input *in, struct err *e)
{
    struct pb packed = { 0 };
    bool one = r->wire == PB_VARINT;
    if (!one)
        pb_init(&packed, pb_bytes(r));
    while (one || pb_more(&packed)) {
        int64_t v = (int64_t)(one ? pb_varint(r) : pb_raw_varint(&packed));
        one = false;
        if (in->shape.rank == SHAPE_MAX)
            return too_many_dims(in, e);
        in->shape.dim[in->shape.rank++] = v;
    }
    r->bad |= packed.bad;
    return OK;
}

struct reading {
    const struct oip_model *model;
    struct arena *arena;
    struct oip_request *out;
    struct str *raw;
    int raw_count;
};

static status take_input(struct reading *d, struct pb *message, struct err *e)
{
    struct pb r;
    struct oip_param p;
    struct str contents = { NULL, 0 };
    struct oip_input *in = oip_add_input(d->out, d->arena, e);
    if (in == NULL)
        return INVALID;
    in->has_shape = true; /* of no dimensions, where none is given */
    for (pb_init(&r, pb_bytes(message)); pb_next(&r);) {
        switch (r.field) {
        case TENSOR_NAME: in->name = pb_bytes(&r); break;
        case TENSOR_DATATYPE: in->datatype = pb_bytes(&r); break;
        case TENSOR_SHAPE: TRY(take_shape(&r, in, e)); break;
        case TENSOR_CONTENTS: contents = pb_bytes(&r); break;
        case TENSOR_PARAMETERS:
            TRY(take_param(&r, &p, e));
            TRY(oip_take_input_param(in, &p, e));
            break;
        default: pb_skip(&r);
        }
    }
    if (!pb_ok(&r))
        return damaged(e);
    for (int i = 0; i < in->shape.rank; i++)
        if (in->shape.dim[i] < 0)
            return err_set(e, INVALID, "input '%.*s': a negative dimension", STR_ARG(in->name));
    TRY(oip_input_type(in, e));
    in->has_raw = false; /* what binary_data_size says is of HTTP */
    return contents.p != NULL ? take_contents(contents, d->model, in, d->arena, e) : OK;
}

static status take_wanted(struct reading *d, struct pb *message, struct err *e)
{
    struct pb r;
    struct oip_param p;
    struct oip_wanted *w = oip_add_output(d->out, d->arena, e);
    if (w == NULL)
        return INVALID;
    for (pb_init(&r, pb_bytes(message)); pb_next(&r);) {
        switch (r.field) {
        case WANTED_NAME: w->name = pb_bytes(&r); break;
        case WANTED_PARAMETERS:
            TRY(take_param(&r, &p, e));
            TRY(oip_take_output_param(w, &p, e));
            break;
        default: pb_skip(&r);
        }
    }
    return pb_ok(&r) ? OK : damaged(e);
}

static status take_raw(struct reading *d, struct pb *r, struct err *e)
{
    struct str *list = NULL;
    if (d->raw_count >= LIMIT_REQUEST_TENSORS)
        return err_set(e, INVALID, "the request has more than %d raw_input_contents",
                       LIMIT_REQUEST_TENSORS);
    list = general_grow(d->arena, d->raw, d->raw_count, sizeof(*list));
    if (list == NULL)
        return general_no_memory(e);
    d->raw = list;
    d->raw[d->raw_count++] = pb_bytes(r);
    return OK;
}

/* They stand in the order of those inputs that are not in shared memory. */
static status hand_out_raw(struct reading *d, struct err *e)
{
    int next = 0;
    for (int i = 0; d->raw_count > 0 && i < d->out->input_count; i++) {
        struct oip_input *in = &d->out->input[i];
        if (in->region.name.p != NULL)
            continue;
        if (in->elements != NULL)
            return err_set(e, INVALID,
                           "contents field must not be specified when using raw_input_contents for "
                           "'%.*s' for model '%.*s'",
                           STR_ARG(in->name), STR_ARG(d->model->name));
        if (next == d->raw_count)
            break;
        in->raw = d->raw[next++];
        in->has_raw = true;
    }
    for (int i = 0; i < d->out->input_count; i++) {
        const struct oip_input *in = &d->out->input[i];
        if (!in->has_raw && in->elements == NULL && in->region.name.p == NULL)
            return err_set(e, INVALID,
                           "unable to find data for input tensor '%.*s' for model '%.*s' in "
                           "request.",
                           STR_ARG(in->name), STR_ARG(d->model->name));
    }
    if (next < d->raw_count)
        return err_set(e, INVALID, "%d raw_input_contents for %d inputs", d->raw_count, next);
    return OK;
}

static status take_field(struct reading *d, struct pb *r, struct err *e)
{
    struct oip_param p;
    if (r->wire != PB_BYTES) {
        pb_skip(r);
        return OK;
    }
    switch (r->field) {
    case REQUEST_ID: d->out->id = pb_bytes(r); return OK;
    case REQUEST_PARAMETERS:
        TRY(take_param(r, &p, e));
        return oip_take_param(d->out, &p, d->arena, e);
    case REQUEST_INPUTS: return take_input(d, r, e);
    case REQUEST_OUTPUTS: return take_wanted(d, r, e);
    case REQUEST_RAW: return take_raw(d, r, e);
    default: pb_skip(r); return OK;
    }
}

status oip_request_from_pb(struct str bytes, const struct oip_model *m, struct arena *a,
                           struct oip_request *out, struct err *e)
{
    struct pb r;
    struct reading d = { .model = m, .arena = a, .out = out };
    for (pb_init(&r, bytes); pb_next(&r);)
        TRY(take_field(&d, &r, e));
    if (!pb_ok(&r))
        return damaged(e);
    out->binary_output = true;
    return hand_out_raw(&d, e);
}

/* ---- replies ---- */

static size_t text_size(uint32_t field, struct str s)
{
    return s.n > 0 ? pb_size_bytes(field, s.n) : 0;
}

static void put_text(struct buf *out, uint32_t field, struct str s)
{
    if (s.n > 0)
        pb_put_bytes(out, field, s);
}

static size_t shape_bytes(const struct shape *s)
{
    size_t n = 0;
    for (int i = 0; i < s->rank; i++)
        n += pb_size_varint((uint64_t)s->dim[i]);
    return n;
}

static void put_shape(struct buf *out, const struct shape *s)
{
    if (s->rank == 0)
        return;
    pb_put_begin(out, TENSOR_SHAPE, shape_bytes(s));
    for (int i = 0; i < s->rank; i++)
        pb_put_varint(out, (uint64_t)s->dim[i]);
}

static size_t shape_size(const struct shape *s)
{
    return s->rank > 0 ? pb_size_bytes(TENSOR_SHAPE, shape_bytes(s)) : 0;
}

static size_t value_size(const struct oip_param *p)
{
    switch (p->kind) {
    case OIP_BOOL: return pb_size_u64(PARAM_BOOL, (uint64_t)p->integer);
    case OIP_INT: return pb_size_u64(PARAM_INT64, (uint64_t)p->integer);
    case OIP_UINT: return pb_size_u64(PARAM_UINT64, (uint64_t)p->integer);
    case OIP_DOUBLE: return pb_size_tag(PARAM_DOUBLE) + sizeof(p->real);
    case OIP_STRING: return pb_size_bytes(PARAM_STRING, p->text.n);
    }
    return 0;
}

static void put_value(struct buf *out, const struct oip_param *p)
{
    switch (p->kind) {
    case OIP_BOOL: pb_put_u64(out, PARAM_BOOL, (uint64_t)p->integer); break;
    case OIP_INT: pb_put_u64(out, PARAM_INT64, (uint64_t)p->integer); break;
    case OIP_UINT: pb_put_u64(out, PARAM_UINT64, (uint64_t)p->integer); break;
    case OIP_DOUBLE:
        pb_put_tag(out, PARAM_DOUBLE, PB_FIXED64);
        buf_append(out, &p->real, sizeof(p->real));
        break;
    case OIP_STRING: pb_put_bytes(out, PARAM_STRING, p->text); break;
    }
}

static size_t entry_size(const struct oip_param *p)
{
    return pb_size_bytes(ENTRY_KEY, p->key.n) + pb_size_bytes(ENTRY_VALUE, value_size(p));
}

static void put_param(struct buf *out, uint32_t field, const struct oip_param *p)
{
    pb_put_begin(out, field, entry_size(p));
    pb_put_bytes(out, ENTRY_KEY, p->key);
    pb_put_begin(out, ENTRY_VALUE, value_size(p));
    put_value(out, p);
}

#define REGION_PARAMS 3

/* Where in shared memory an output was put. */
static int region_params(const struct oip_output *o, struct oip_param p[REGION_PARAMS])
{
    if (o->region.name.p == NULL)
        return 0;
    p[0] = (struct oip_param){ .key = STR("shared_memory_region"),
                               .kind = OIP_STRING,
                               .text = o->region.name };
    p[1] = (struct oip_param){ .key = STR("shared_memory_offset"),
                               .kind = OIP_INT,
                               .integer = (int64_t)o->region.offset };
    p[2] = (struct oip_param){ .key = STR("shared_memory_byte_size"),
                               .kind = OIP_INT,
                               .integer = (int64_t)o->bytes };
    return REGION_PARAMS;
}

static size_t params_size(uint32_t field, const struct oip_param *p, int count)
{
    size_t n = 0;
    for (int i = 0; i < count; i++)
        n += pb_size_bytes(field, entry_size(&p[i]));
    return n;
}

static size_t output_size(const struct oip_output *o)
{
    struct oip_param p[REGION_PARAMS];
    int params = region_params(o, p);
    return text_size(TENSOR_NAME, o->name) +
           pb_size_bytes(TENSOR_DATATYPE, strlen(dtype_oip(o->dtype))) + shape_size(&o->shape) +
           params_size(TENSOR_PARAMETERS, p, params);
}

static void put_output(struct buf *out, const struct oip_output *o)
{
    struct oip_param p[REGION_PARAMS];
    int params = region_params(o, p);
    pb_put_begin(out, REPLY_OUTPUTS, output_size(o));
    put_text(out, TENSOR_NAME, o->name);
    pb_put_bytes(out, TENSOR_DATATYPE, str_of(dtype_oip(o->dtype)));
    put_shape(out, &o->shape);
    for (int i = 0; i < params; i++)
        put_param(out, TENSOR_PARAMETERS, &p[i]);
}

size_t oip_reply_pb_size(const struct oip_reply *r)
{
    size_t n = text_size(REPLY_MODEL, r->model->name) +
               text_size(REPLY_VERSION, r->model->version) + text_size(REPLY_ID, r->id) +
               params_size(REPLY_PARAMETERS, r->param, r->param_count);
    for (int i = 0; i < r->output_count; i++) {
        n += pb_size_bytes(REPLY_OUTPUTS, output_size(&r->output[i]));
        if (r->output[i].region.name.p == NULL)
            n += pb_size_bytes(REPLY_RAW, r->output[i].bytes);
    }
    return n;
}

void oip_reply_to_pb(const struct oip_reply *r, struct buf *out)
{
    put_text(out, REPLY_MODEL, r->model->name);
    put_text(out, REPLY_VERSION, r->model->version);
    put_text(out, REPLY_ID, r->id);
    for (int i = 0; i < r->param_count; i++)
        put_param(out, REPLY_PARAMETERS, &r->param[i]);
    for (int i = 0; i < r->output_count; i++)
        put_output(out, &r->output[i]);
    for (int i = 0; i < r->output_count; i++) {
        if (r->output[i].region.name.p != NULL)
            continue;
        pb_put_begin(out, REPLY_RAW, r->output[i].bytes);
        oip_put_raw(&r->output[i], out);
    }
}

/* ---- the client's side ---- */

/* A tensor of bytes holds strings, each ended by a NUL; here each has its length in front. */
static size_t raw_size(const struct tensor *t)
{
    struct str left = { t->data, (size_t)tensor_bytes(t) }, one;
    size_t n = 0;
    if (t->dtype != DTYPE_BYTES)
        return left.n;
    while (general_next_string(&left, &one))
        n += sizeof(uint32_t) + one.n;
    return n;
}

static void put_raw(struct buf *out, const struct tensor *t)
{
    struct str left = { t->data, (size_t)tensor_bytes(t) }, one;
    pb_put_begin(out, REQUEST_RAW, raw_size(t));
    if (t->dtype != DTYPE_BYTES) {
        buf_append(out, left.p, left.n);
        return;
    }
    while (general_next_string(&left, &one)) {
        uint32_t n = (uint32_t)one.n;
        buf_append(out, &n, sizeof(n));
        buf_append(out, one.p, one.n);
    }
}

static struct shape wire_shape(const struct tensor *t)
{
    return t->dtype == DTYPE_BYTES ? general_shape(t, GENERAL_DATA) : t->shape;
}

static void put_input(struct buf *out, const struct named_tensor *t)
{
    struct str name = t->alias.n > 0 ? t->alias : t->name;
    struct shape shape = wire_shape(&t->tensor);
    const char *type = dtype_oip(t->tensor.dtype);
    pb_put_begin(out, REQUEST_INPUTS,
                 text_size(TENSOR_NAME, name) + pb_size_bytes(TENSOR_DATATYPE, strlen(type)) +
                     shape_size(&shape));
    put_text(out, TENSOR_NAME, name);
    pb_put_bytes(out, TENSOR_DATATYPE, str_of(type));
    put_shape(out, &shape);
}

/* Offsets of a ragged feed go along as an input of their own. */
static void put_lod(struct buf *out, const struct named_tensor *t, bool raw)
{
    char name[LIMIT_NAME_BYTES + 8];
    struct str of = t->alias.n > 0 ? t->alias : t->name;
    const struct lod *lod = &t->tensor.lod;
    int64_t count = 0;
    for (int i = 0; i < lod->levels; i++)
        count += lod->level[i].count;
    if (count == 0 || of.n > LIMIT_NAME_BYTES)
        return;
    memcpy(name, of.p, of.n);
    memcpy(name + of.n, ".lod", 4);
    struct named_tensor offsets = { .name = { name, of.n + 4 },
                                    .tensor = { .dtype = DTYPE_I64, .shape = SHAPE(count) } };
    if (!raw) {
        put_input(out, &offsets);
        return;
    }
    pb_put_begin(out, REQUEST_RAW, (size_t)count * sizeof(int64_t));
    for (int i = 0; i < lod->levels; i++)
        buf_append(out, lod->level[i].offset, (size_t)lod->level[i].count * sizeof(int64_t));
}

void oip_request_to_pb(const struct infer_request *r, struct str model, struct str version,
                       struct buf *out)
{
    put_text(out, REQUEST_MODEL, model);
    put_text(out, REQUEST_VERSION, version);
    for (int i = 0; i < r->feed_count; i++) {
        put_input(out, &r->feed[i]);
        put_lod(out, &r->feed[i], false);
    }
    for (int i = 0; i < r->fetch_count; i++) {
        pb_put_begin(out, REQUEST_OUTPUTS, text_size(WANTED_NAME, r->fetch[i]));
        put_text(out, WANTED_NAME, r->fetch[i]);
    }
    for (int i = 0; i < r->feed_count; i++) {
        put_raw(out, &r->feed[i].tensor);
        put_lod(out, &r->feed[i], true);
    }
}

static status take_output(struct pb *message, struct oip_input *t, struct err *e)
{
    struct pb r;
    *t = (struct oip_input){ 0 };
    for (pb_init(&r, pb_bytes(message)); pb_next(&r);) {
        switch (r.field) {
        case TENSOR_NAME: t->name = pb_bytes(&r); break;
        case TENSOR_DATATYPE: t->datatype = pb_bytes(&r); break;
        case TENSOR_SHAPE: TRY(take_shape(&r, t, e)); break;
        default: pb_skip(&r);
        }
    }
    return pb_ok(&r) ? oip_input_type(t, e) : damaged(e);
}

/* Strings with their lengths become strings that end with a NUL. */
static status take_reply_strings(struct str raw, struct arena *a, struct tensor *t, struct err *e)
{
    char *to = arena_try(a, raw.n + 1, 1);
    size_t at = 0, n = 0;
    if (to == NULL)
        return general_no_memory(e);
    while (raw.n - at >= sizeof(uint32_t)) {
        uint32_t size;
        memcpy(&size, raw.p + at, sizeof(size));
        at += sizeof(size);
        if (size > raw.n - at)
            return damaged(e);
        memcpy(to + n, raw.p + at, size);
        n += size;
        to[n++] = '\0';
        at += size;
    }
    t->data = to;
    t->shape = SHAPE((int64_t)n);
    return at == raw.n ? OK : damaged(e);
}

static status take_reply_tensor(const struct oip_input *in, struct arena *a,
                                struct named_tensor *out, struct err *e)
{
    *out = (struct named_tensor){ in->name, in->name, { .dtype = in->dtype, .shape = in->shape } };
    if (in->dtype == DTYPE_BYTES)
        return take_reply_strings(in->raw, a, &out->tensor, e);
    int64_t bytes = tensor_bytes(&out->tensor);
    if (bytes < 0 || (uint64_t)bytes != in->raw.n)
        return err_set(e, INVALID, "output '%.*s': %zu bytes are not what its shape says",
                       STR_ARG(in->name), in->raw.n);
    return general_content(in->raw, in->dtype, a, &out->tensor.data, e);
}

status oip_reply_from_pb(struct str bytes, struct arena *a, struct infer_reply *out, struct err *e)
{
    struct pb r;
    int raw = 0, count = 0;
    struct oip_input *list = NULL;
    struct infer_output *o = arena_zalloc(a, sizeof(*o));
    for (pb_init(&r, bytes); pb_next(&r);) {
        if (r.field == REPLY_OUTPUTS && r.wire == PB_BYTES) {
            list = general_grow(a, list, count, sizeof(*list));
            if (list == NULL)
                return general_no_memory(e);
            TRY(take_output(&r, &list[count++], e));
        } else if (r.field == REPLY_RAW && r.wire == PB_BYTES && raw < count) {
            list[raw++].raw = pb_bytes(&r);
        } else {
            pb_skip(&r);
        }
    }
    if (!pb_ok(&r))
        return damaged(e);
    o->tensor = arena_try_array(a, (size_t)count + 1, sizeof(*o->tensor));
    if (o->tensor == NULL)
        return general_no_memory(e);
    for (o->tensor_count = 0; o->tensor_count < count; o->tensor_count++)
        TRY(take_reply_tensor(&list[o->tensor_count], a, &o->tensor[o->tensor_count], e));
    *out = (struct infer_reply){ .output = o, .output_count = 1 };
    return OK;
}
