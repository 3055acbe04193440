/* The protobuf half of general_model.h. A tensor message is walked twice: once to learn its type,
 * shape and how much each field holds, and, unless its elements can be used where they lie, once
 * more to gather them. */
#include "base/limits.h"
#include "codec/pb.h"
#include "proto/general_check.h"
#include "proto/general_model.h"

#include <string.h>

enum tensor_field {
    TENSOR_ELEM_TYPE = 10,
    TENSOR_SHAPE = 11,
    TENSOR_LOD = 12,
    TENSOR_NAME = 13,
    TENSOR_ALIAS = 14,
};

enum request_field {
    REQUEST_TENSOR = 1,
    REQUEST_FETCH,
    REQUEST_PROFILE,
    REQUEST_LOG_ID
};

enum reply_field {
    REPLY_OUTPUTS = 1,
    REPLY_PROFILE_TIME,
    REPLY_ERR_NO = 5,
    REPLY_ERR_MSG
};

enum output_field {
    OUTPUT_TENSOR = 1,
    OUTPUT_ENGINE
};

/* How one value of each field is written when it is not packed. */
// clang-format off
static const enum pb_wire wire_of[GENERAL_SOURCES] = {
    [GENERAL_F32] = PB_FIXED32,  [GENERAL_F64] = PB_FIXED64, [GENERAL_C64] = PB_FIXED32,
    [GENERAL_C128] = PB_FIXED64, [GENERAL_DATA] = PB_BYTES,  [GENERAL_CONTENT] = PB_BYTES,
};
// clang-format on

static enum general_source source_at(uint32_t number)
{
    int s = 0;
    while (s < GENERAL_SOURCES && general_field[s].number != number)
        s++;
    return (enum general_source)s;
}

static status damaged(struct err *e, const char *what)
{
    return err_set(e, INVALID, "%s: the protobuf message is damaged or cut short", what);
}

static const _Alignas(16) uint8_t nothing[16]; /* where empty tensors point */

/* ---- reading ---- */

/* A repeated integer, gathered from packed pieces and single values. */
struct ints {
    int64_t *list;
    int64_t count;
    struct arena *arena;
    bool no_memory;
};

static void add_int(struct ints *v, uint64_t value)
{
    int64_t *list =
        v->no_memory ? NULL : general_grow(v->arena, v->list, v->count, sizeof(*v->list));
    if (list == NULL) {
        v->no_memory = true;
        return;
    }
    v->list = list;
    v->list[v->count++] = (int64_t)value;
}

static void take_ints(struct pb *r, struct ints *v)
{
    if (r->wire == PB_VARINT) {
        add_int(v, pb_varint(r));
    } else if (r->wire == PB_BYTES) {
        struct pb packed;
        pb_init(&packed, pb_bytes(r));
        while (pb_more(&packed) && !v->no_memory)
            add_int(v, pb_raw_varint(&packed));
        r->bad |= packed.bad;
    } else {
        pb_skip(r);
    }
}

struct tensor_message {
    struct str bytes;
    struct general_parts parts;
    struct ints lod;
    struct str piece[GENERAL_SOURCES]; /* what came last of each field */
    int64_t pieces[GENERAL_SOURCES];
    struct arena *arena;
};

static void take_shape(struct pb *r, struct general_parts *p)
{
    struct pb packed = { 0 };
    bool one = r->wire == PB_VARINT;
    if (!one && r->wire != PB_BYTES) {
        pb_skip(r);
        return;
    }
    if (!one)
        pb_init(&packed, pb_bytes(r));
    while (one || pb_more(&packed)) {
        int64_t v = (int64_t)(one ? pb_varint(r) : pb_raw_varint(&packed));
        if (p->dims < SHAPE_MAX)
            p->dim[p->dims] = v;
        p->dims++;
        one = false;
    }
    r->bad |= packed.bad;
}

/* Values in a packed piece; one that is cut is told by r->bad, here or when the values are taken.
 */
static int64_t values_in(struct pb *r, struct str piece, enum pb_wire wire)
{
    if (wire == PB_VARINT)
        return (int64_t)pb_count_varints(piece);
    size_t size = wire == PB_FIXED32 ? 4 : 8;
    r->bad |= piece.n % size != 0;
    return (int64_t)(piece.n / size);
}

/* The bytes of a field that pb_next stepped to, whether one value or many. */
static struct str take_piece(struct pb *r)
{
    if (r->wire == PB_BYTES)
        return pb_bytes(r);
    const uint8_t *begin = r->p;
    pb_skip(r);
    return (struct str){ (const char *)begin, (size_t)(r->p - begin) };
}

/* Of another wire type a field counts as unknown, by protobuf's rule. */
static bool fits_field(const struct pb *r, enum general_source s)
{
    return r->field == general_field[s].number && (r->wire == PB_BYTES || r->wire == wire_of[s]);
}

/* First walk: a field of elements. */
static void note_elements(struct pb *r, struct tensor_message *m, enum general_source s)
{
    struct general_parts *p = &m->parts;
    bool packed = r->wire == PB_BYTES;
    struct str piece = take_piece(r);
    m->piece[s] = piece;
    m->pieces[s]++;
    if (s == GENERAL_CONTENT)
        p->scalars[s] = (int64_t)piece.n; /* not repeated: the last one counts */
    else if (s == GENERAL_DATA || !packed)
        p->scalars[s]++;
    else
        p->scalars[s] += values_in(r, piece, wire_of[s]);
    if (s == GENERAL_DATA)
        p->string_bytes += (int64_t)piece.n;
}

static struct str take_text(struct pb *r, struct str before)
{
    if (r->wire == PB_BYTES)
        return pb_bytes(r);
    pb_skip(r);
    return before;
}

static uint64_t take_number(struct pb *r, uint64_t before)
{
    if (r->wire == PB_VARINT)
        return pb_varint(r);
    pb_skip(r);
    return before;
}

static void note_other_field(struct pb *r, struct tensor_message *m)
{
    enum general_source s = source_at(r->field);
    if (s != GENERAL_SOURCES && fits_field(r, s))
        note_elements(r, m, s);
    else
        pb_skip(r);
}

static void note_field(struct pb *r, struct tensor_message *m)
{
    struct general_parts *p = &m->parts;
    switch (r->field) {
    case TENSOR_ELEM_TYPE: p->elem_type = (int64_t)take_number(r, (uint64_t)p->elem_type); break;
    case TENSOR_SHAPE: take_shape(r, p); break;
    case TENSOR_LOD: take_ints(r, &m->lod); break;
    case TENSOR_NAME: p->name = take_text(r, p->name); break;
    case TENSOR_ALIAS: p->alias = take_text(r, p->alias); break;
    default: note_other_field(r, m); break;
    }
}

/* Stores values of a varint field at `to`, at most n of them; returns how many. */
static int64_t store_varints(struct pb *packed, uint8_t *to, int64_t n, size_t size)
{
    int64_t i = 0;
    for (; i < n && pb_more(packed); i++) {
        uint64_t v = pb_raw_varint(packed);
        uint32_t low = (uint32_t)v;
        if (size == sizeof(v))
            memcpy(to + i * 8, &v, sizeof(v));
        else if (size == sizeof(low))
            memcpy(to + i * 4, &low, sizeof(low));
        else
            to[i] = v != 0; /* bool */
    }
    return i;
}

/* Second walk: the values of one piece of field s, at `to`; false: a varint among them is damaged.
 */
static bool store_piece(struct str piece, enum general_source s, uint8_t **to, int64_t *left)
{
    struct pb packed;
    if (wire_of[s] != PB_VARINT) {
        memcpy(*to, piece.p, piece.n);
        *to += piece.n;
        if (s == GENERAL_DATA)
            *(*to)++ = '\0';
        return true;
    }
    size_t size = dtype_size(general_field[s].scalar);
    pb_init(&packed, piece);
    int64_t n = store_varints(&packed, *to, *left, size);
    *to += (size_t)n * size;
    *left -= n;
    return pb_ok(&packed) && !pb_more(&packed);
}

static bool gather(const struct tensor_message *m, enum general_source s, uint8_t *to)
{
    struct pb r;
    int64_t left = m->parts.scalars[s];
    bool good = true;
    pb_init(&r, m->bytes);
    while (pb_next(&r)) {
        if (fits_field(&r, s))
            good = store_piece(take_piece(&r), s, &to, &left) && good;
        else
            pb_skip(&r);
    }
    return good && pb_ok(&r);
}

static status take_elements(const struct tensor_message *m, enum general_source s,
                            struct named_tensor *out, struct err *e)
{
    struct tensor *t = &out->tensor;
    size_t size = dtype_size(general_field[s].scalar);
    const char *at = m->piece[s].p;
    t->data = nothing;
    if (m->parts.scalars[s] == 0)
        return OK;
    if (s == GENERAL_CONTENT)
        return general_content(m->piece[s], t->dtype, m->arena, &t->data, e);
    bool fixed = wire_of[s] == PB_FIXED32 || wire_of[s] == PB_FIXED64;
    if (fixed && m->pieces[s] == 1 && (uintptr_t)at % size == 0) {
        t->data = at;
        return OK;
    }
    uint8_t *copy = arena_try(m->arena, (size_t)tensor_bytes(t), 16);
    if (copy == NULL)
        return general_no_memory(e);
    t->data = copy;
    return gather(m, s, copy) ? OK : damaged(e, general_field[s].name);
}

static status take_tensor(struct str bytes, int index, struct arena *a, struct named_tensor *out,
                          struct err *e)
{
    struct tensor_message m = { .bytes = bytes, .lod.arena = a, .arena = a };
    struct pb r;
    enum general_source from;
    m.parts = (struct general_parts){ .index = index, .name = { "", 0 }, .alias = { "", 0 } };
    pb_init(&r, bytes);
    while (pb_next(&r))
        note_field(&r, &m);
    if (!pb_ok(&r))
        return err_set(e, INVALID, "tensor %d: the protobuf message is damaged or cut short",
                       index);
    if (m.lod.no_memory)
        return general_no_memory(e);
    m.parts.lod = m.lod.list;
    m.parts.lod_count = m.lod.count;
    TRY(general_tensor(&m.parts, out, &from, e));
    status s = take_elements(&m, from, out, e);
    return s == OK ? OK : err_prefix(e, s, "tensor %d: ", index);
}

/* The tensor that r stepped to, as the next one of a list. */
static status add_tensor(struct pb *r, struct arena *a, struct named_tensor **list, int *count,
                         struct err *e)
{
    if (*count >= LIMIT_REQUEST_TENSORS)
        return err_set(e, INVALID, "more than %d tensors", LIMIT_REQUEST_TENSORS);
    struct named_tensor *grown = general_grow(a, *list, *count, sizeof(**list));
    if (grown == NULL)
        return general_no_memory(e);
    *list = grown;
    struct str bytes = pb_bytes(r);
    if (!pb_ok(r))
        return err_set(e, INVALID, "tensor %d is cut short", *count);
    TRY(take_tensor(bytes, *count, a, &grown[*count], e));
    ++*count;
    return OK;
}

static status add_fetch(struct pb *r, struct arena *a, struct infer_request *out, struct err *e)
{
    if (out->fetch_count >= LIMIT_FETCH_NAMES)
        return err_set(e, INVALID, "more than %d fetch_var_names", LIMIT_FETCH_NAMES);
    struct str *grown = general_grow(a, out->fetch, out->fetch_count, sizeof(*out->fetch));
    if (grown == NULL)
        return general_no_memory(e);
    out->fetch = grown;
    struct str name = pb_bytes(r);
    if (!pb_ok(r))
        return damaged(e, "fetch_var_names");
    TRY(general_name_check(name, "fetch_var_names", e));
    grown[out->fetch_count++] = name;
    return OK;
}

/* An empty buffer's view has no address. */
static void begin_message(struct pb *r, struct str bytes)
{
    pb_init(r, bytes.n > 0 ? bytes : STR(""));
}

static status take_request_field(struct pb *r, struct arena *a, struct infer_request *out,
                                 struct err *e)
{
    if (r->field == REQUEST_TENSOR && r->wire == PB_BYTES)
        return add_tensor(r, a, &out->feed, &out->feed_count, e);
    if (r->field == REQUEST_FETCH && r->wire == PB_BYTES)
        return add_fetch(r, a, out, e);
    if (r->field == REQUEST_PROFILE)
        out->profile = take_number(r, out->profile) != 0;
    else if (r->field == REQUEST_LOG_ID)
        out->log_id = take_number(r, out->log_id);
    else
        pb_skip(r);
    return OK;
}

status general_request_from_pb(struct str bytes, struct arena *a, struct infer_request *out,
                               struct err *e)
{
    struct pb r;
    *out = (struct infer_request){ 0 };
    begin_message(&r, bytes);
    while (pb_next(&r))
        TRY(take_request_field(&r, a, out, e));
    return pb_ok(&r) ? OK : damaged(e, "request");
}

static status take_output(struct str bytes, struct arena *a, struct infer_output *out,
                          struct err *e)
{
    struct pb r;
    pb_init(&r, bytes);
    while (pb_next(&r)) {
        if (r.field == OUTPUT_TENSOR && r.wire == PB_BYTES)
            TRY(add_tensor(&r, a, &out->tensor, &out->tensor_count, e));
        else if (r.field == OUTPUT_ENGINE)
            out->engine = take_text(&r, out->engine);
        else
            pb_skip(&r);
    }
    if (!pb_ok(&r))
        return damaged(e, "the message");
    return general_name_check(out->engine, "engine_name", e);
}

static status add_output(struct pb *r, struct arena *a, struct infer_reply *out, struct err *e)
{
    int i = out->output_count;
    if (i >= LIMIT_REQUEST_TENSORS)
        return err_set(e, INVALID, "more than %d outputs", LIMIT_REQUEST_TENSORS);
    struct infer_output *grown = general_grow(a, out->output, i, sizeof(*out->output));
    if (grown == NULL)
        return general_no_memory(e);
    out->output = grown;
    struct str bytes = pb_bytes(r);
    if (!pb_ok(r))
        return damaged(e, "outputs");
    grown[i] = (struct infer_output){ .engine = { "", 0 } };
    status s = take_output(bytes, a, &grown[i], e);
    if (s != OK)
        return err_prefix(e, s, "output %d: ", i);
    out->output_count++;
    return OK;
}

/* What a reply says of its own failure, beside its outputs. */
struct reply_error {
    int32_t number;
    struct str text;
};

static status take_reply_field(struct pb *r, struct arena *a, struct infer_reply *out,
                               struct ints *stamps, struct reply_error *failure, struct err *e)
{
    if (r->field == REPLY_OUTPUTS && r->wire == PB_BYTES)
        return add_output(r, a, out, e);
    switch (r->field) {
    case REPLY_PROFILE_TIME: take_ints(r, stamps); break;
    case REPLY_ERR_NO: failure->number = (int32_t)take_number(r, 0); break;
    case REPLY_ERR_MSG: failure->text = take_text(r, failure->text); break;
    default: pb_skip(r); break;
    }
    return OK;
}

status general_reply_from_pb(struct str bytes, struct arena *a, struct infer_reply *out,
                             struct err *e)
{
    struct pb r;
    struct ints stamps = { .arena = a };
    struct reply_error failure = { .text = { "", 0 } };
    *out = (struct infer_reply){ 0 };
    begin_message(&r, bytes);
    while (pb_next(&r))
        TRY(take_reply_field(&r, a, out, &stamps, &failure, e));
    if (!pb_ok(&r))
        return damaged(e, "reply");
    if (stamps.no_memory || stamps.count > INT32_MAX)
        return general_no_memory(e);
    out->stamp_us = stamps.list;
    out->stamp_count = (int)stamps.count;
    return general_reply_error(failure.number, failure.text, e);
}

/* ---- writing ---- */

static uint64_t varint_at(enum general_source s, const void *data, int64_t i)
{
    switch (s) {
    case GENERAL_I64: return (uint64_t)((const int64_t *)data)[i];
    case GENERAL_I32: return (uint64_t)(int64_t)((const int32_t *)data)[i];
    case GENERAL_U32: return ((const uint32_t *)data)[i];
    default: return ((const uint8_t *)data)[i] != 0;
    }
}

static size_t size_ints(const int64_t *v, int64_t n)
{
    size_t size = 0;
    for (int64_t i = 0; i < n; i++)
        size += pb_size_varint((uint64_t)v[i]);
    return size;
}

static void put_ints(struct buf *b, const int64_t *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        pb_put_varint(b, (uint64_t)v[i]);
}

/* A tensor on its way out: where its elements go and how long its parts are. */
struct outgoing {
    const struct named_tensor *named;
    enum general_source to;
    struct shape shape;
    int64_t values;
    size_t data_bytes, shape_bytes, lod_bytes; /* packed contents, without tag and length */
    size_t size;
};

static size_t size_optional(uint32_t field, size_t n)
{
    return n > 0 ? pb_size_bytes(field, n) : 0;
}

static size_t size_strings(const struct tensor *t)
{
    struct str left = { t->data, (size_t)tensor_bytes(t) }, one;
    size_t size = 0;
    while (general_next_string(&left, &one))
        size += pb_size_bytes(general_field[GENERAL_DATA].number, one.n);
    return size;
}

static void measure_elements(struct outgoing *o)
{
    const struct tensor *t = &o->named->tensor;
    const struct general_field *f = &general_field[o->to];
    o->values = shape_numel(&t->shape) * f->scalars;
    if (o->to == GENERAL_DATA) {
        o->size += size_strings(t);
        return;
    }
    if (wire_of[o->to] != PB_VARINT)
        o->data_bytes = (size_t)tensor_bytes(t);
    else
        for (int64_t i = 0; i < o->values; i++)
            o->data_bytes += pb_size_varint(varint_at(o->to, t->data, i));
    o->size += size_optional(f->number, o->data_bytes);
}

static void measure(const struct named_tensor *named, struct outgoing *o)
{
    const struct tensor *t = &named->tensor;
    o->named = named;
    o->to = general_source_for(t);
    o->shape = general_shape(t, o->to);
    o->data_bytes = o->lod_bytes = o->size = 0;
    measure_elements(o);
    o->shape_bytes = size_ints(o->shape.dim, o->shape.rank);
    for (int i = 0; i < t->lod.levels; i++)
        o->lod_bytes += size_ints(t->lod.level[i].offset, t->lod.level[i].count);
    o->size += t->dtype != 0 ? pb_size_u64(TENSOR_ELEM_TYPE, (uint64_t)t->dtype) : 0;
    o->size +=
        size_optional(TENSOR_SHAPE, o->shape_bytes) + size_optional(TENSOR_LOD, o->lod_bytes);
    o->size +=
        size_optional(TENSOR_NAME, named->name.n) + size_optional(TENSOR_ALIAS, named->alias.n);
}

static void put_optional(struct buf *b, uint32_t field, struct str v)
{
    if (v.n > 0)
        pb_put_bytes(b, field, v);
}

/* Leaves the elements where they lie, if that pays and the caller takes gaps (not NULL). */
static bool leave_gap(struct buf *b, uint32_t number, struct str bytes, struct general_gaps *gaps)
{
    if (gaps == NULL || bytes.n < GENERAL_GAP_BYTES || gaps->count == GENERAL_GAPS)
        return false;
    pb_put_begin(b, number, bytes.n);
    gaps->gap[gaps->count++] =
        (struct general_gap){ .at = b->len, .data = bytes.p, .bytes = bytes.n };
    gaps->bytes += bytes.n;
    return true;
}

static void put_elements(struct buf *b, const struct outgoing *o, struct general_gaps *gaps)
{
    const struct tensor *t = &o->named->tensor;
    uint32_t number = general_field[o->to].number;
    struct str bytes = { t->data, o->data_bytes };
    if (o->to == GENERAL_DATA) {
        struct str left = { t->data, (size_t)tensor_bytes(t) }, one;
        while (general_next_string(&left, &one))
            pb_put_bytes(b, number, one);
    } else if (wire_of[o->to] != PB_VARINT) {
        if (!leave_gap(b, number, bytes, gaps))
            put_optional(b, number, bytes);
    } else if (o->values > 0) {
        pb_put_begin(b, number, o->data_bytes);
        for (int64_t i = 0; i < o->values; i++)
            pb_put_varint(b, varint_at(o->to, t->data, i));
    }
}

static void put_tensor(struct buf *b, uint32_t field, const struct outgoing *o,
                       struct general_gaps *gaps)
{
    const struct named_tensor *named = o->named;
    const struct lod *lod = &named->tensor.lod;
    pb_put_begin(b, field, o->size);
    if (o->to != GENERAL_CONTENT)
        put_elements(b, o, gaps);
    if (named->tensor.dtype != 0)
        pb_put_u64(b, TENSOR_ELEM_TYPE, (uint64_t)named->tensor.dtype);
    if (o->shape_bytes > 0) {
        pb_put_begin(b, TENSOR_SHAPE, o->shape_bytes);
        put_ints(b, o->shape.dim, o->shape.rank);
    }
    if (o->lod_bytes > 0)
        pb_put_begin(b, TENSOR_LOD, o->lod_bytes);
    for (int i = 0; i < lod->levels; i++)
        put_ints(b, lod->level[i].offset, lod->level[i].count);
    put_optional(b, TENSOR_NAME, named->name);
    put_optional(b, TENSOR_ALIAS, named->alias);
    if (o->to == GENERAL_CONTENT)
        put_elements(b, o, gaps);
}

static void put_request(const struct infer_request *r, struct buf *out, struct general_gaps *gaps)
{
    struct outgoing o;
    for (int i = 0; i < r->feed_count; i++) {
        measure(&r->feed[i], &o);
        put_tensor(out, REQUEST_TENSOR, &o, gaps);
    }
    for (int i = 0; i < r->fetch_count; i++)
        pb_put_bytes(out, REQUEST_FETCH, r->fetch[i]);
    if (r->profile)
        pb_put_u64(out, REQUEST_PROFILE, 1);
    if (r->log_id != 0)
        pb_put_u64(out, REQUEST_LOG_ID, r->log_id);
}

void general_request_to_pb(const struct infer_request *r, struct buf *out)
{
    put_request(r, out, NULL);
}

void general_request_to_pb_around(const struct infer_request *r, struct buf *out,
                                  struct general_gaps *gaps)
{
    *gaps = (struct general_gaps){ 0 };
    put_request(r, out, gaps);
}

#define REMEMBERED \
    4 /* tensors of an output: what they measure; of further ones it is found out twice */

static void put_output(struct buf *b, const struct infer_output *o)
{
    struct outgoing known[REMEMBERED], more;
    size_t size = size_optional(OUTPUT_ENGINE, o->engine.n);
    for (int i = 0; i < o->tensor_count; i++) {
        struct outgoing *t = i < REMEMBERED ? &known[i] : &more;
        measure(&o->tensor[i], t);
        size += pb_size_bytes(OUTPUT_TENSOR, t->size);
    }
    pb_put_begin(b, REPLY_OUTPUTS, size);
    for (int i = 0; i < o->tensor_count; i++) {
        struct outgoing *t = i < REMEMBERED ? &known[i] : &more;
        if (i >= REMEMBERED)
            measure(&o->tensor[i], t);
        put_tensor(b, OUTPUT_TENSOR, t, NULL);
    }
    put_optional(b, OUTPUT_ENGINE, o->engine);
}

void general_reply_to_pb(const struct infer_reply *r, struct buf *out)
{
    for (int i = 0; i < r->output_count; i++)
        put_output(out, &r->output[i]);
    if (r->stamp_count > 0) {
        pb_put_begin(out, REPLY_PROFILE_TIME, size_ints(r->stamp_us, r->stamp_count));
        put_ints(out, r->stamp_us, r->stamp_count);
    }
}
