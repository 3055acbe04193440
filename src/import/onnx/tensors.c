#include "import/onnx/tensors.h"

#include "base/limits.h"
#include "codec/pb.h"
#include "import/onnx/narrow.h"

#include <string.h>

static status fault(const struct onnx_tensor *t, status s, const char *what, struct err *e)
{
    return err_set(e, s, "tensor '%.*s': %s", STR_ARG(t->name), what);
}

/* ---- numbers in files beside the model ---- */

static status add_map(struct onnx_tensors *r, struct str name, struct file_map *m, struct err *e)
{
    if (r->map_count == r->map_cap) {
        int cap = r->map_cap * 2 + 4;
        struct file_map **map = arena_try_array(r->arena, (size_t)cap, sizeof(*map));
        struct str *names = arena_try_array(r->arena, (size_t)cap, sizeof(*names));
        if (map == NULL || names == NULL) {
            file_map_unref(m);
            return err_set(e, NO_MEMORY, "no memory for %d files", cap);
        }
        if (r->map_count > 0) {
            memcpy(map, r->map, (size_t)r->map_count * sizeof(*map));
            memcpy(names, r->name, (size_t)r->map_count * sizeof(*names));
        }
        r->map = map;
        r->name = names;
        r->map_cap = cap;
    }
    r->map[r->map_count] = m;
    r->name[r->map_count++] = name;
    return OK;
}

static status open_beside(struct onnx_tensors *r, const struct onnx_tensor *t,
                          struct file_map **out, struct err *e)
{
    if (!file_stays_below(t->location)) /* a model reads nothing that is not its own */
        return err_set(e, INVALID,
                       "tensor '%.*s': its file '%.*s' must be a path below the model's directory",
                       STR_ARG(t->name), STR_ARG(t->location));
    for (int i = 0; i < r->map_count; i++) {
        if (str_eq(r->name[i], t->location)) {
            *out = r->map[i];
            return OK;
        }
    }
    const char *path = arena_printf(r->arena, "%s/%.*s", r->dir, STR_ARG(t->location));
    status s = file_map_open(path, LIMIT_MODEL_FILE_BYTES, out, e);
    if (s != OK)
        return err_prefix(e, s, "tensor '%.*s': ", STR_ARG(t->name));
    return add_map(r, t->location, *out, e);
}

static status read_beside(struct onnx_tensors *r, const struct onnx_tensor *t, struct str *raw,
                          struct err *e)
{
    struct file_map *m;
    TRY(open_beside(r, t, &m, e));
    uint64_t size = file_map_size(m), offset = (uint64_t)t->offset;
    uint64_t length = t->length >= 0 ? (uint64_t)t->length : size - (offset < size ? offset : size);
    if (offset > size || length > size - offset)
        return err_set(e, CORRUPT, "tensor '%.*s': bytes %llu to %llu of '%.*s', which has %llu",
                       STR_ARG(t->name), (unsigned long long)offset,
                       (unsigned long long)(offset + length), STR_ARG(t->location),
                       (unsigned long long)size);
    *raw = (struct str){ (const char *)file_map_data(m) + offset, (size_t)length };
    return OK;
}

/* ---- raw numbers ---- */

static status use_raw(struct onnx_tensors *r, const struct onnx_tensor *t, struct str raw,
                      struct tensor *out, struct err *e)
{
    int64_t need = tensor_bytes(out);
    if (need < 0 || (uint64_t)need != raw.n)
        return err_set(e, CORRUPT, "tensor '%.*s': its shape needs %lld bytes, %zu are there",
                       STR_ARG(t->name), (long long)need, raw.n);
    out->data = raw.p;
    if ((uintptr_t)raw.p % dtype_size(out->dtype) == 0)
        return OK;
    void *copy = arena_try(r->arena, raw.n + 1, 64);
    if (copy == NULL)
        return fault(t, NO_MEMORY, "no memory for its numbers", e);
    if (raw.n > 0)
        memcpy(copy, raw.p, raw.n);
    out->data = copy;
    return OK;
}

/* ---- lists of numbers ---- */

/* Which field of the message holds numbers of this type, and how. */
static uint32_t list_field(dtype d, enum pb_wire *wire)
{
    *wire = d == DTYPE_F32 ? PB_FIXED32 : d == DTYPE_F64 ? PB_FIXED64 : PB_VARINT;
    switch (d) {
    case DTYPE_F32: return 4;
    case DTYPE_I64: return 7;
    case DTYPE_F64: return 10;
    case DTYPE_U32:
    case DTYPE_U64: return 11;
    default: return 5;
    }
}

struct list {
    uint8_t *to;
    size_t element, room, count;
};

/* Little-endian, so the low bytes of a number are the number in a narrower type. */
static void put_number(struct list *l, uint64_t v)
{
    if (l->count < l->room)
        memcpy(l->to + l->count * l->element, &v, l->element);
    l->count++;
}

static void put_packed(struct list *l, struct pb *r, enum pb_wire wire)
{
    struct str packed = pb_bytes(r);
    if (wire != PB_VARINT) {
        r->bad = r->bad || packed.n % l->element != 0;
        for (size_t i = 0; i + l->element <= packed.n; i += l->element) {
            uint64_t v = 0;
            memcpy(&v, packed.p + i, l->element);
            put_number(l, v);
        }
        return;
    }
    struct pb p;
    pb_init(&p, packed);
    while (pb_more(&p))
        put_number(l, pb_raw_varint(&p));
    r->bad = r->bad || !pb_ok(&p);
}

static void put_one(struct list *l, struct pb *r, enum pb_wire wire)
{
    if (r->wire == PB_BYTES)
        put_packed(l, r, wire);
    else if (wire == PB_VARINT)
        put_number(l, pb_varint(r));
    else
        put_number(l, wire == PB_FIXED32 ? pb_fixed32(r) : pb_fixed64(r));
}

static status use_list(struct onnx_tensors *r, const struct onnx_tensor *t, struct tensor *out,
                       struct err *e)
{
    enum pb_wire wire;
    uint32_t field = list_field(out->dtype, &wire);
    int64_t numel = shape_numel(&out->shape);
    /* An element takes a byte of the message at least, so that a short message cannot ask for much. */
    if (numel < 0 || (uint64_t)numel > t->message.n)
        return fault(t, CORRUPT, "its shape asks for more numbers than the file has", e);
    struct list l = { .element = dtype_size(out->dtype), .room = (size_t)numel };
    l.to = arena_try(r->arena, l.room * l.element + 1, 64);
    if (l.to == NULL)
        return fault(t, NO_MEMORY, "no memory for its numbers", e);
    struct pb p;
    pb_init(&p, t->message);
    while (pb_next(&p)) {
        if (p.field == field)
            put_one(&l, &p, wire);
        else
            pb_skip(&p);
    }
    if (!pb_ok(&p) || l.count != l.room)
        return err_set(e, CORRUPT, "tensor '%.*s': its shape needs %zu numbers, %zu are there",
                       STR_ARG(t->name), l.room, l.count);
    out->data = l.to;
    return OK;
}

/* ---- elements of less than a byte ---- */

static status widen(struct onnx_tensors *r, const struct onnx_tensor *t,
                    const struct onnx_narrow *narrow, struct str raw, struct tensor *out,
                    struct err *e)
{
    int64_t numel = shape_numel(&t->shape), each = 8 / narrow->bits;
    if (numel < 0 || numel > INT64_MAX - each)
        return fault(t, CORRUPT, "its shape is too large", e);
    struct tensor packed = { .dtype = DTYPE_U8, .shape = SHAPE((numel + each - 1) / each) };
    TRY(raw.n > 0 || t->external ? use_raw(r, t, raw, &packed, e) : use_list(r, t, &packed, e));
    void *numbers = arena_try_array(r->arena, (size_t)numel + 1, dtype_size(narrow->held));
    if (numbers == NULL)
        return fault(t, NO_MEMORY, "no memory for its numbers", e);
    onnx_narrow_unpack(narrow, packed.data, numel, numbers);
    out->data = numbers;
    return OK;
}

status onnx_tensor_read(struct onnx_tensors *r, const struct onnx_tensor *t, struct tensor *out,
                        struct err *e)
{
    struct str raw = t->raw;
    *out = (struct tensor){ .shape = t->shape };
    if (!onnx_dtype(t->data_type, &out->dtype))
        return err_set(e, UNSUPPORTED, "tensor '%.*s': element type %d is not supported",
                       STR_ARG(t->name), t->data_type);
    if (t->external)
        TRY(read_beside(r, t, &raw, e));
    const struct onnx_narrow *narrow = onnx_narrow_find(t->data_type);
    if (narrow != NULL)
        TRY(widen(r, t, narrow, raw, out, e));
    else if (raw.n > 0 || t->external)
        TRY(use_raw(r, t, raw, out, e));
    else
        TRY(use_list(r, t, out, e));
    r->bytes += (uint64_t)tensor_bytes(out);
    r->elements += (uint64_t)shape_numel(&out->shape);
    return OK;
}
