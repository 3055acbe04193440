#include "codec/pb.h"

#include <string.h>

void pb_init(struct pb *r, struct str bytes)
{
    *r = (struct pb){ .p = (const uint8_t *)bytes.p, .end = (const uint8_t *)bytes.p + bytes.n };
}

bool pb_ok(const struct pb *r)
{
    return !r->bad;
}

/* Marks the fault and ends the cursor, so that every later call returns at once. */
static uint64_t fault(struct pb *r)
{
    r->bad = true;
    r->p = r->end;
    return 0;
}

uint64_t pb_raw_varint(struct pb *r)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 70 && r->p < r->end; shift += 7) {
        uint8_t byte = *r->p++;
        if (shift == 63 && byte > 1)
            break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return v;
    }
    return fault(r);
}

bool pb_more(const struct pb *packed)
{
    return packed->p < packed->end;
}

bool pb_next(struct pb *r)
{
    if (r->p >= r->end)
        return false;
    uint64_t key = pb_raw_varint(r);
    uint32_t wire = (uint32_t)(key & 7);
    bool known = wire == PB_VARINT || wire == PB_FIXED64 || wire == PB_BYTES || wire == PB_FIXED32;
    if (r->bad || !known || key >> 3 == 0 || key >> 3 > 0x1fffffff) {
        fault(r);
        return false;
    }
    r->field = (uint32_t)(key >> 3);
    r->wire = (enum pb_wire)wire;
    return true;
}

uint64_t pb_varint(struct pb *r)
{
    return r->wire == PB_VARINT ? pb_raw_varint(r) : fault(r);
}

uint32_t pb_fixed32(struct pb *r)
{
    uint32_t v;
    if (r->wire != PB_FIXED32 || r->end - r->p < (ptrdiff_t)sizeof(v))
        return (uint32_t)fault(r);
    memcpy(&v, r->p, sizeof(v));
    r->p += sizeof(v);
    return v;
}

uint64_t pb_fixed64(struct pb *r)
{
    uint64_t v;
    if (r->wire != PB_FIXED64 || r->end - r->p < (ptrdiff_t)sizeof(v))
        return fault(r);
    memcpy(&v, r->p, sizeof(v));
    r->p += sizeof(v);
    return v;
}

float pb_float(struct pb *r)
{
    uint32_t bits = pb_fixed32(r);
    float v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

double pb_double(struct pb *r)
{
    uint64_t bits = pb_fixed64(r);
    double v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

struct str pb_bytes(struct pb *r)
{
    uint64_t n = r->wire == PB_BYTES ? pb_raw_varint(r) : fault(r);
    if (r->bad || n > (uint64_t)(r->end - r->p)) {
        fault(r);
        return (struct str){ "", 0 };
    }
    struct str s = { (const char *)r->p, (size_t)n };
    r->p += n;
    return s;
}

void pb_skip(struct pb *r)
{
    switch (r->wire) {
    case PB_VARINT: pb_raw_varint(r); break;
    case PB_FIXED64: pb_fixed64(r); break;
    case PB_BYTES: pb_bytes(r); break;
    case PB_FIXED32: pb_fixed32(r); break;
    }
}

void pb_take_ints(struct pb *r, int64_t *to, int *count, int max)
{
    if (r->wire != PB_BYTES) {
        int64_t v = (int64_t)pb_varint(r);
        if (*count < max)
            to[(*count)++] = v;
        return;
    }
    struct pb packed;
    pb_init(&packed, pb_bytes(r));
    while (pb_more(&packed) && *count < max)
        to[(*count)++] = (int64_t)pb_raw_varint(&packed);
    if (!pb_ok(&packed))
        r->bad = true;
}

size_t pb_count_varints(struct str packed)
{
    size_t n = 0;
    for (size_t i = 0; i < packed.n; i++)
        n += ((uint8_t)packed.p[i] & 0x80) == 0;
    return n;
}

/* ---- writing ---- */

#define VARINT_MAX 10

size_t pb_size_varint(uint64_t v)
{
    return (size_t)(70 - __builtin_clzll(v | 1)) / 7; /* ceil(bits / 7), 1 for zero */
}

size_t pb_size_tag(uint32_t field)
{
    return pb_size_varint((uint64_t)field << 3);
}

size_t pb_size_bytes(uint32_t field, size_t n)
{
    return pb_size_tag(field) + pb_size_varint(n) + n;
}

size_t pb_size_u64(uint32_t field, uint64_t v)
{
    return pb_size_tag(field) + pb_size_varint(v);
}

void pb_put_varint(struct buf *b, uint64_t v)
{
    if (v < 0x80 && b->len < b->cap && b->failed == OK) { /* nearly all of them */
        b->data[b->len++] = (uint8_t)v;
        return;
    }
    uint8_t *to = buf_reserve(b, VARINT_MAX);
    if (to == NULL)
        return;
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        to[n++] = (uint8_t)(v | 0x80);
    to[n++] = (uint8_t)v;
    b->len += n;
}

void pb_put_tag(struct buf *b, uint32_t field, enum pb_wire wire)
{
    pb_put_varint(b, (uint64_t)field << 3 | (uint64_t)wire);
}

void pb_put_u64(struct buf *b, uint32_t field, uint64_t v)
{
    pb_put_tag(b, field, PB_VARINT);
    pb_put_varint(b, v);
}

void pb_put_begin(struct buf *b, uint32_t field, size_t n)
{
    pb_put_tag(b, field, PB_BYTES);
    pb_put_varint(b, n);
}

void pb_put_bytes(struct buf *b, uint32_t field, struct str v)
{
    pb_put_begin(b, field, v.n);
    buf_append(b, v.p, v.n);
}

/* ---- looking ahead ---- */

size_t pb_find_large(struct str front, size_t large, int depth)
{
    struct pb r;
    for (pb_init(&r, front); pb_next(&r);) {
        uint64_t n = r.wire == PB_FIXED64 ? 8 : r.wire == PB_FIXED32 ? 4 : pb_raw_varint(&r);
        if (r.wire == PB_VARINT)
            n = 0;
        if (n >= large && depth-- == 0)
            return (size_t)(r.p - (const uint8_t *)front.p);
        if (n >= large) /* it goes on inside */
            continue;
        if (n > (size_t)(r.end - r.p))
            return 0;
        r.p += n;
    }
    return 0;
}
