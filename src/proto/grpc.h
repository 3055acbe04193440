/* gRPC over HTTP/2, as far as it is bytes: messages behind their five-byte heads, deadlines, statuses and their words
 * (specification: PROTOCOL-HTTP2.md of grpc). Pure functions. */
#pragma once

#include "base/buf.h"
#include "base/parse.h"
#include "base/str.h"
#include "codec/compress.h"

#include <stdbool.h>
#include <stdint.h>

#define GRPC_HEAD_BYTES 5

enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
};

/* Cuts one message. MORE until it is whole; BAD INVALID for flags that do not exist, TOO_LARGE above max. */
struct parse grpc_parse(struct str bytes, size_t max, struct str *message, bool *compressed);
/* Writes the head of a message of n bytes. */
void grpc_put_head(uint8_t head[GRPC_HEAD_BYTES], size_t n, bool compressed);

/* "100m": nanoseconds. false: no timeout of that form. */
bool grpc_timeout(struct str text, uint64_t *ns);

/* "gzip", "deflate" or "identity". */
bool grpc_encoding(struct str name, compression *out);
const char *grpc_encoding_name(compression c);

/* grpc-message: everything but printable ASCII, and '%', is written as %XX. */
void grpc_put_message(struct buf *out, struct str words);
/* Back; what is no code stays as it is. */
void grpc_take_message(struct buf *out, struct str text);
