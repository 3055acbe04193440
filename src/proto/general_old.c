#include "proto/general_old.h"

#include "base/limits.h"
#include "codec/pb.h"
#include "proto/general_check.h"

#include <string.h>

enum {
    TENSOR_DATA = 1, /* repeated bytes; of MultiLang one, the elements as they are in memory */
    TENSOR_I32,
    TENSOR_I64,
    TENSOR_F32,
    TENSOR_ELEM_TYPE,
    TENSOR_SHAPE,
    TENSOR_LOD,

    REQUEST_INSTS = 1,
    REQUEST_FETCH = 2,
    REQUEST_PROFILE = 3,
    REQUEST_LOG_ID = 4,

    LANG_INSTS = 1,
    LANG_FEED = 2,
    LANG_FETCH = 3,
    LANG_PYTHON = 4,
    LANG_LOG_ID = 5,

    REPLY_OUTPUTS = 1,
    REPLY_TIMES = 2,
    LANG_TAG = 2,
    LANG_ERR_CODE = 3,
    OUTPUT_INSTS = 1,
    OUTPUT_ENGINE = 2,
};

static status damaged(struct err *e)
{
    return err_set(e, MALFORMED, "the protobuf message is damaged or cut short");
}

/* ---- telling the two apart ---- */

/* Fields 1 to 7 alone, the first of which today's Tensor has as int64_data: there it is not alone. */
static bool is_old_tensor(struct str bytes)
{
    struct pb r;
    bool described = false;
    for (pb_init(&r, bytes); pb_next(&r); pb_skip(&r)) {
        if (r.field > TENSOR_LOD)
            return false;
        described |= r.field == TENSOR_ELEM_TYPE || r.field == TENSOR_SHAPE;
    }
    return pb_ok(&r) && described;
}

static bool is_feed_inst(struct str bytes)
{
    struct pb r;
    int tensors = 0;
    for (pb_init(&r, bytes); pb_next(&r); tensors++)
        if (r.field != 1 || r.wire != PB_BYTES || !is_old_tensor(pb_bytes(&r)))
            return false;
    return pb_ok(&r) && tensors > 0;
}

bool general_is_old(struct str bytes)
{
    struct pb r;
    for (pb_init(&r, bytes); pb_next(&r); pb_skip(&r))
        if (r.field == REQUEST_INSTS)
            return r.wire == PB_BYTES && is_feed_inst(pb_bytes(&r));
    return false;
}

/* ---- tensors ---- */

struct numbers {
    int64_t *list;
    int64_t count;
};

/* Values of a repeated field, packed or one by one. */
static status take_numbers(struct pb *r, struct arena *a, struct numbers *v, struct err *e)
{
    struct pb packed = { 0 };
    bool one = r->wire == PB_VARINT;
    if (!one)
        pb_init(&packed, pb_bytes(r));
    while (one || pb_more(&packed)) {
        uint64_t value = one ? pb_varint(r) : pb_raw_varint(&packed);
        one = false;
        int64_t *list = general_grow(a, v->list, v->count, sizeof(*list));
        if (list == NULL)
            return general_no_memory(e);
        v->list = list;
        v->list[v->count++] = (int64_t)value;
    }
    r->bad |= packed.bad;
    return OK;
}

struct floats {
    float *list;
    int64_t count;
};

static status take_floats(struct pb *r, struct arena *a, struct floats *v, struct err *e)
{
    struct str bytes;
    float one;
    if (r->wire == PB_FIXED32) {
        one = pb_float(r);
        bytes = (struct str){ (const char *)&one, sizeof(one) };
    } else {
        bytes = pb_bytes(r);
    }
    r->bad |= bytes.n % sizeof(float) != 0;
    if (v->count == 0 && r->wire == PB_BYTES && (uintptr_t)bytes.p % sizeof(float) == 0) {
        v->list =
            (float *)(uintptr_t)bytes.p; /* all of it, mostly: copied only when more follows */
        v->count = (int64_t)(bytes.n / sizeof(float));
        return OK;
    }
    size_t have = (size_t)v->count * sizeof(float);
    float *list = arena_try(a, have + bytes.n + 1, 16);
    if (list == NULL)
        return general_no_memory(e);
    if (have > 0)
        memcpy(list, v->list, have);
    memcpy((char *)list + have, bytes.p, bytes.n / sizeof(float) * sizeof(float));
    v->list = list;
    v->count += (int64_t)(bytes.n / sizeof(float));
    return OK;
}

struct old_tensor {
    struct general_parts parts;
    struct numbers i32, i64, shape, lod;
    struct floats f32;
    struct str *data; /* strings, or the raw bytes */
    int64_t data_count;
};

static status take_data(struct pb *r, struct arena *a, struct old_tensor *t, struct err *e)
{
    struct str *list = general_grow(a, t->data, t->data_count, sizeof(*list));
    if (list == NULL)
        return general_no_memory(e);
    t->data = list;
    t->data[t->data_count++] = pb_bytes(r);
    return OK;
}

static status take_field(struct pb *r, struct arena *a, struct old_tensor *t, struct err *e)
{
    switch (r->field) {
    case TENSOR_DATA: return take_data(r, a, t, e);
    case TENSOR_I32: return take_numbers(r, a, &t->i32, e);
    case TENSOR_I64: return take_numbers(r, a, &t->i64, e);
    case TENSOR_F32: return take_floats(r, a, &t->f32, e);
    case TENSOR_SHAPE: return take_numbers(r, a, &t->shape, e);
    case TENSOR_LOD: return take_numbers(r, a, &t->lod, e);
    case TENSOR_ELEM_TYPE: t->parts.elem_type = (int64_t)pb_varint(r); return OK;
    default: pb_skip(r); return OK;
    }
}

/* elem_type 3 is bytes here, where today it is float64. */
#define OLD_BYTES 3

static void count_parts(struct old_tensor *t, bool raw)
{
    struct general_parts *p = &t->parts;
    for (int64_t i = 0; i < t->shape.count && i < SHAPE_MAX; i++)
        p->dim[i] = t->shape.list[i];
    p->dims = t->shape.count;
    p->lod = t->lod.list;
    p->lod_count = t->lod.count;
    p->scalars[GENERAL_I32] = t->i32.count;
    p->scalars[GENERAL_I64] = t->i64.count;
    p->scalars[GENERAL_F32] = t->f32.count;
    if (p->elem_type == OLD_BYTES)
        p->elem_type = DTYPE_BYTES;
    if (raw && t->data_count > 0 && p->elem_type != DTYPE_BYTES) {
        p->scalars[GENERAL_CONTENT] = (int64_t)t->data[0].n;
        return;
    }
    p->scalars[GENERAL_DATA] = t->data_count;
    for (int64_t i = 0; i < t->data_count; i++)
        p->string_bytes += (int64_t)t->data[i].n;
}

static status narrow(const struct numbers *from, struct arena *a, const void **out, struct err *e)
{
    int32_t *to = arena_try_array(a, (size_t)from->count + 1, sizeof(*to));
    if (to == NULL)
        return general_no_memory(e);
    for (int64_t i = 0; i < from->count; i++)
        to[i] = (int32_t)(uint32_t)from->list[i];
    *out = to;
    return OK;
}

static status join(const struct old_tensor *t, struct arena *a, const void **out, struct err *e)
{
    char *to = arena_try(a, (size_t)(t->parts.string_bytes + t->data_count) + 1, 16);
    if (to == NULL)
        return general_no_memory(e);
    *out = to;
    for (int64_t i = 0; i < t->data_count; i++) {
        memcpy(to, t->data[i].p, t->data[i].n);
        to += t->data[i].n;
        *to++ = '\0';
    }
    return OK;
}

static status take_elements(const struct old_tensor *t, enum general_source from, struct arena *a,
                            struct tensor *out, struct err *e)
{
    static const _Alignas(16) uint8_t nothing[16];
    out->data = nothing;
    if (t->parts.scalars[from] == 0)
        return OK;
    switch (from) {
    case GENERAL_I64: out->data = t->i64.list; return OK;
    case GENERAL_F32: out->data = t->f32.list; return OK;
    case GENERAL_I32: return narrow(&t->i32, a, &out->data, e);
    case GENERAL_DATA: return join(t, a, &out->data, e);
    default: return general_content(t->data[0], out->dtype, a, &out->data, e);
    }
}

static status take_tensor(struct str bytes, bool raw, struct arena *a, struct named_tensor *out,
                          struct old_tensor *t, struct err *e)
{
    struct pb r;
    enum general_source from;
    for (pb_init(&r, bytes); pb_next(&r);)
        TRY(take_field(&r, a, t, e));
    if (!pb_ok(&r))
        return damaged(e);
    count_parts(t, raw);
    TRY(general_tensor(&t->parts, out, &from, e));
    return take_elements(t, from, a, &out->tensor, e);
}

/* ---- requests ---- */

struct names {
    struct str *list;
    int count;
};

static status add_name(struct pb *r, struct arena *a, struct names *n, struct err *e)
{
    if (n->count >= LIMIT_FETCH_NAMES)
        return err_set(e, INVALID, "more than %d names", LIMIT_FETCH_NAMES);
    struct str *list = general_grow(a, n->list, n->count, sizeof(*list));
    if (list == NULL)
        return general_no_memory(e);
    n->list = list;
    n->list[n->count++] = pb_bytes(r);
    return general_name_check(n->list[n->count - 1], "a name", e);
}

static status take_inst(struct str bytes, const struct names *names, bool raw, struct arena *a,
                        struct infer_request *out, struct err *e)
{
    struct pb r;
    for (pb_init(&r, bytes); pb_next(&r);) {
        if (r.field != 1 || r.wire != PB_BYTES) {
            pb_skip(&r);
            continue;
        }
        if (out->feed_count >= LIMIT_REQUEST_TENSORS)
            return err_set(e, INVALID, "more than %d tensors", LIMIT_REQUEST_TENSORS);
        struct named_tensor *list = general_grow(a, out->feed, out->feed_count, sizeof(*list));
        struct old_tensor *t = arena_zalloc(a, sizeof(*t));
        if (list == NULL)
            return general_no_memory(e);
        out->feed = list;
        t->parts.index = out->feed_count;
        t->parts.name = names->list != NULL && out->feed_count < names->count
                            ? names->list[out->feed_count]
                            : str_of(arena_printf(a, "in%d", out->feed_count));
        TRY(take_tensor(pb_bytes(&r), raw, a, &list[out->feed_count], t, e));
        out->feed_count++;
    }
    return pb_ok(&r) ? OK : damaged(e);
}

static status several_insts(struct err *e)
{
    return err_set(e, UNSUPPORTED,
                   "more than one FeedInst: give one, whose tensors hold the whole batch");
}

status general_old_request(struct str bytes, struct arena *a, struct infer_request *out,
                           struct err *e)
{
    const struct names none = { 0 };
    struct names fetch = { 0 };
    struct str inst = STR("");
    struct pb r;
    *out = (struct infer_request){ 0 };
    for (pb_init(&r, bytes); pb_next(&r);) {
        switch (r.field) {
        case REQUEST_INSTS:
            if (inst.n > 0)
                return several_insts(e);
            inst = pb_bytes(&r);
            break;
        case REQUEST_FETCH: TRY(add_name(&r, a, &fetch, e)); break;
        case REQUEST_PROFILE: out->profile = pb_varint(&r) != 0; break;
        case REQUEST_LOG_ID: out->log_id = pb_varint(&r); break;
        default: pb_skip(&r);
        }
    }
    if (!pb_ok(&r))
        return damaged(e);
    out->fetch = fetch.list;
    out->fetch_count = fetch.count;
    return take_inst(inst, &none, false, a, out, e);
}

status general_multi_lang_request(struct str bytes, struct arena *a, struct infer_request *out,
                                  bool *raw, struct err *e)
{
    struct names feed = { 0 }, fetch = { 0 };
    struct str inst = STR("");
    struct pb r;
    *out = (struct infer_request){ 0 };
    *raw = false;
    for (pb_init(&r, bytes); pb_next(&r);) {
        switch (r.field) {
        case LANG_INSTS:
            if (inst.n > 0)
                return several_insts(e);
            inst = pb_bytes(&r);
            break;
        case LANG_FEED: TRY(add_name(&r, a, &feed, e)); break;
        case LANG_FETCH: TRY(add_name(&r, a, &fetch, e)); break;
        case LANG_PYTHON: *raw = pb_varint(&r) != 0; break;
        case LANG_LOG_ID: out->log_id = pb_varint(&r); break;
        default: pb_skip(&r);
        }
    }
    if (!pb_ok(&r))
        return damaged(e);
    out->fetch = fetch.list;
    out->fetch_count = fetch.count;
    return take_inst(inst, &feed, *raw, a, out, e);
}

/* ---- replies ---- */

static void put_ints(struct buf *out, uint32_t field, const int64_t *v, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        pb_put_u64(out, field, (uint64_t)v[i]);
}

static void put_lod(struct buf *out, const struct lod *lod)
{
    for (int i = 0; i < lod->levels; i++)
        put_ints(out, TENSOR_LOD, lod->level[i].offset, lod->level[i].count);
}

/* Packed, which every reader of proto2 takes since protobuf 2.3. */
static void put_packed(struct buf *out, uint32_t field, const struct tensor *t)
{
    int64_t count = shape_numel(&t->shape);
    size_t bytes = 0;
    if (t->dtype == DTYPE_F32) {
        pb_put_bytes(out, field, (struct str){ t->data, (size_t)tensor_bytes(t) });
        return;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < count; i++) {
            int64_t v = t->dtype == DTYPE_I64 ? ((const int64_t *)t->data)[i]
                                              : ((const int32_t *)t->data)[i];
            if (pass == 0)
                bytes += pb_size_varint((uint64_t)v);
            else
                pb_put_varint(out, (uint64_t)v);
        }
        if (pass == 0)
            pb_put_begin(out, field, bytes);
    }
}

static void put_strings(struct buf *out, const struct tensor *t)
{
    struct str left = { t->data, (size_t)tensor_bytes(t) }, one;
    while (general_next_string(&left, &one))
        pb_put_bytes(out, TENSOR_DATA, one);
}

/* Types that the form has no field for go as bytes. */
static void put_tensor(struct buf *out, const struct tensor *t, bool raw)
{
    enum general_source s = general_source_for(t);
    struct shape shape = general_shape(t, s);
    bool bytes = t->dtype == DTYPE_BYTES;
    if (s == GENERAL_DATA)
        put_strings(out, t);
    else if (raw || (s != GENERAL_F32 && s != GENERAL_I32 && s != GENERAL_I64))
        pb_put_bytes(out, TENSOR_DATA, (struct str){ t->data, (size_t)tensor_bytes(t) });
    else
        put_packed(out,
                   s == GENERAL_F32   ? TENSOR_F32
                   : s == GENERAL_I32 ? TENSOR_I32
                                      : TENSOR_I64,
                   t);
    pb_put_u64(out, TENSOR_ELEM_TYPE, bytes ? OLD_BYTES : (uint64_t)t->dtype);
    put_ints(out, TENSOR_SHAPE, shape.dim, shape.rank);
    put_lod(out, &t->lod);
}

/* One FetchInst, with the tensors in the order asked for. */
static void put_output(struct buf *out, const struct infer_output *o, bool raw)
{
    struct buf inst, tensor, whole;
    buf_init(&inst, out->max);
    buf_init(&tensor, out->max);
    buf_init(&whole, out->max);
    for (int i = 0; i < o->tensor_count; i++) {
        buf_clear(&tensor);
        put_tensor(&tensor, &o->tensor[i].tensor, raw);
        pb_put_bytes(&inst, 1, buf_view(&tensor));
    }
    pb_put_bytes(&whole, OUTPUT_INSTS, buf_view(&inst));
    pb_put_bytes(&whole, OUTPUT_ENGINE, o->engine);
    pb_put_bytes(out, REPLY_OUTPUTS, buf_view(&whole));
    if (inst.failed != OK || tensor.failed != OK || whole.failed != OK)
        out->failed = TOO_LARGE;
    buf_deinit(&inst);
    buf_deinit(&tensor);
    buf_deinit(&whole);
}

void general_old_reply(const struct infer_reply *r, struct buf *out)
{
    for (int i = 0; i < r->output_count; i++)
        put_output(out, &r->output[i], false);
    put_ints(out, REPLY_TIMES, r->stamp_us, r->stamp_count);
}

void general_multi_lang_reply(const struct infer_reply *r, bool raw, struct buf *out)
{
    for (int i = 0; i < r->output_count; i++)
        put_output(out, &r->output[i], raw);
    if (r->variant.n > 0)
        pb_put_bytes(out, LANG_TAG, r->variant);
    pb_put_u64(out, LANG_ERR_CODE, 0); /* required */
}
