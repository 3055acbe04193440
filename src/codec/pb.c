#include "codec/pb.h"

#include <string.h>

/* Marks the fault and ends the cursor, so that every later call returns at once. */
static uint64_t fault(struct pb *r)
{
    r->bad = true;
    r->p = r->end;
    return 0;
}

uint64_t pb_raw_varint_slow(struct pb *r)
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

bool pb_next_slow(struct pb *r)
{
    uint64_t key = pb_raw_varint(r);
    uint32_t wire = (uint32_t)(key & 7);
    if (r->bad || (PB_WIRES >> wire & 1) == 0 || key >> 3 == 0 || key >> 3 > 0x1fffffff) {
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

struct str pb_bytes_slow(struct pb *r)
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

void pb_put_varint_slow(struct buf *b, uint64_t v)
{
    uint8_t *to = buf_reserve(b, VARINT_MAX);
    if (to == NULL)
        return;
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        to[n++] = (uint8_t)(v | 0x80);
    to[n++] = (uint8_t)v;
    b->len += n;
}

void pb_put_bytes(struct buf *b, uint32_t field, struct str v)
{
    if (field < 16 && v.n < 0x80 && v.n + 2 <= b->cap - b->len && b->failed == OK) {
        uint8_t *to = b->data + b->len;
        to[0] = (uint8_t)(field << 3 | PB_BYTES);
        to[1] = (uint8_t)v.n;
        if (v.n > 0)
            memcpy(to + 2, v.p, v.n);
        b->len += v.n + 2;
        return;
    }
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
