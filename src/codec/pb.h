/* Protobuf wire format (protobuf.dev/programming-guides/encoding), read in place and written into a buf.
 *
 * Reading: a cursor over borrowed bytes. `pb_next` steps to the next field; then exactly one of the value readers or
 * pb_skip takes it. The first fault sticks (`bad`): readers then return zeros and pb_next ends, so that a decoder can run
 * to its end and check once with pb_ok. Depth is bounded by whoever recurses (LIMIT_PROTO_DEPTH).
 *
 * Writing: the caller knows sizes beforehand (pb_size_*), so that nested messages need no second copy. */
#pragma once

#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum pb_wire {
    PB_VARINT = 0,
    PB_FIXED64 = 1,
    PB_BYTES = 2,
    PB_FIXED32 = 5,
};

struct pb {
    const uint8_t *p, *end;
    uint32_t field; /* of the field that pb_next stepped to */
    enum pb_wire wire;
    bool bad;
};

static inline void pb_init(struct pb *r, struct str bytes)
{
    const uint8_t *p = (const uint8_t *)bytes.p;
    *r = (struct pb){ .p = p, .end = p + bytes.n };
}

static inline bool pb_ok(const struct pb *r)
{
    return !r->bad;
}

/* What stands in this header is what nearly every field takes: tags and lengths of one byte. The rest is in pb.c. */
bool pb_next_slow(struct pb *r);
struct str pb_bytes_slow(struct pb *r);
uint64_t pb_raw_varint_slow(struct pb *r);

/* A bit for each wire type that there is. */
#define PB_WIRES (1u << PB_VARINT | 1u << PB_FIXED64 | 1u << PB_BYTES | 1u << PB_FIXED32)

/* false at the end or at a fault; group wire types are a fault */
static inline bool pb_next(struct pb *r)
{
    if (r->p >= r->end)
        return false;
    uint8_t key = *r->p;
    if (key >= 0x80 || key < 8 || (PB_WIRES >> (key & 7) & 1) == 0)
        return pb_next_slow(r);
    r->p++;
    r->field = key >> 3;
    r->wire = (enum pb_wire)(key & 7);
    return true;
}

/* Each expects the wire type it names, and sets bad on any other. */
uint64_t pb_varint(struct pb *r);
uint32_t pb_fixed32(struct pb *r);
uint64_t pb_fixed64(struct pb *r);

/* a view; also strings and sub-messages */
static inline struct str pb_bytes(struct pb *r)
{
    size_t n = r->wire == PB_BYTES && r->p < r->end ? *r->p : 0x80;
    if (n >= 0x80 || n >= (size_t)(r->end - r->p))
        return pb_bytes_slow(r);
    struct str s = { (const char *)r->p + 1, n };
    r->p += 1 + n;
    return s;
}

float pb_float(struct pb *r);
double pb_double(struct pb *r);
void pb_skip(struct pb *r);

/* A repeated scalar field may come packed (PB_BYTES) or one by one; readers accept both, as the specification asks.
 * A struct pb over the packed bytes has no fields: take its values with these until pb_more is false. */
static inline bool pb_more(const struct pb *packed)
{
    return packed->p < packed->end;
}

static inline uint64_t pb_raw_varint(struct pb *packed)
{
    return packed->p < packed->end && *packed->p < 0x80 ? *packed->p++ : pb_raw_varint_slow(packed);
}

/* Appends the field ahead, one integer or a packed list of them, to to[*count]; what is beyond max is passed over. */
void pb_take_ints(struct pb *r, int64_t *to, int *count, int max);
/* How many varints the bytes hold (bytes without a continuation bit); a last byte that continues counts as a fault by
 * the reader, not here. */
size_t pb_count_varints(struct str packed);

/* The front of a message, of which more is to come: where the content of its first field of `large` bytes or more begins, `depth`
 * messages inside each other; 0: it is not there yet, or there is none. */
size_t pb_find_large(struct str front, size_t large, int depth);

static inline size_t pb_size_varint(uint64_t v)
{
    return (size_t)(70 - __builtin_clzll(v | 1)) / 7; /* ceil(bits / 7), 1 for zero */
}

static inline size_t pb_size_tag(uint32_t field)
{
    return pb_size_varint((uint64_t)field << 3);
}

/* tag, length and content */
static inline size_t pb_size_bytes(uint32_t field, size_t n)
{
    return pb_size_tag(field) + pb_size_varint(n) + n;
}

/* tag and varint; a value of 0 counts too */
static inline size_t pb_size_u64(uint32_t field, uint64_t v)
{
    return pb_size_tag(field) + pb_size_varint(v);
}

void pb_put_varint_slow(struct buf *b, uint64_t v);

static inline void pb_put_varint(struct buf *b, uint64_t v)
{
    if (v < 0x80 && b->len < b->cap && b->failed == OK)
        b->data[b->len++] = (uint8_t)v;
    else
        pb_put_varint_slow(b, v);
}

static inline void pb_put_tag(struct buf *b, uint32_t field, enum pb_wire wire)
{
    pb_put_varint(b, (uint64_t)field << 3 | (uint64_t)wire);
}

/* also int32/int64 (sign-extended) and bool */
static inline void pb_put_u64(struct buf *b, uint32_t field, uint64_t v)
{
    pb_put_tag(b, field, PB_VARINT);
    pb_put_varint(b, v);
}

/* tag and length of a sub-message of n bytes */
static inline void pb_put_begin(struct buf *b, uint32_t field, size_t n)
{
    pb_put_tag(b, field, PB_BYTES);
    pb_put_varint(b, n);
}

void pb_put_bytes(struct buf *b, uint32_t field, struct str v);
