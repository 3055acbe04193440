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

void pb_init(struct pb *r, struct str bytes);
bool pb_next(struct pb *r); /* false at the end or at a fault; group wire types are a fault */
bool pb_ok(const struct pb *r);

/* Each expects the wire type it names, and sets bad on any other. */
uint64_t pb_varint(struct pb *r);
uint32_t pb_fixed32(struct pb *r);
uint64_t pb_fixed64(struct pb *r);
struct str pb_bytes(struct pb *r); /* a view; also strings and sub-messages */
float pb_float(struct pb *r);
double pb_double(struct pb *r);
void pb_skip(struct pb *r);

/* A repeated scalar field may come packed (PB_BYTES) or one by one; readers accept both, as the specification asks.
 * A struct pb over the packed bytes has no fields: take its values with these until pb_more is false. */
bool pb_more(const struct pb *packed);
uint64_t pb_raw_varint(struct pb *packed);
/* Appends the field ahead, one integer or a packed list of them, to to[*count]; what is beyond max is passed over. */
void pb_take_ints(struct pb *r, int64_t *to, int *count, int max);
/* How many varints the bytes hold (bytes without a continuation bit); a last byte that continues counts as a fault by
 * the reader, not here. */
size_t pb_count_varints(struct str packed);

/* The front of a message, of which more is to come: where the content of its first field of `large` bytes or more begins, `depth`
 * messages inside each other; 0: it is not there yet, or there is none. */
size_t pb_find_large(struct str front, size_t large, int depth);

size_t pb_size_varint(uint64_t v);
size_t pb_size_tag(uint32_t field);
size_t pb_size_bytes(uint32_t field, size_t n); /* tag, length and content */
size_t pb_size_u64(uint32_t field, uint64_t v); /* tag and varint; a value of 0 counts too */

void pb_put_varint(struct buf *b, uint64_t v);
void pb_put_tag(struct buf *b, uint32_t field, enum pb_wire wire);
void pb_put_u64(struct buf *b, uint32_t field,
                uint64_t v); /* also int32/int64 (sign-extended) and bool */
void pb_put_bytes(struct buf *b, uint32_t field, struct str v);
void pb_put_begin(struct buf *b, uint32_t field,
                  size_t n); /* tag and length of a sub-message of n bytes */
