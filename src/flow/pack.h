/* Tensors as bytes, for files and for processes of our own: numbers little-endian, strings and arrays behind their length
 * (8 bytes). What is read is not believed: every length and shape is checked. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "tensor/call.h"

void pack_i64(struct buf *b, int64_t v);
void pack_bytes(struct buf *b, const void *p, size_t n);
void pack_tensor(struct buf *b, const struct named_tensor *t);

/* Each takes from the front of s; false: it is not there, or cannot be. */
bool unpack_i64(struct str *s, int64_t *out);
bool unpack_bytes(struct str *s, struct arena *a,
                  struct str *out); /* a copy, aligned for any element */
bool unpack_tensor(struct str *s, struct arena *a, struct named_tensor *out);
bool unpack_tensors(struct str *s, int64_t count, struct arena *a, struct named_tensor **out);
