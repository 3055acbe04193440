/* baidu_std, the RPC framing of brpc (specification: brpc's docs/en/baidu_std.md): "PRPC", two big-endian lengths, an
 * RpcMeta protobuf, a payload and an attachment. Pure functions of bytes; no sockets; both directions, since server and
 * client use the same ones. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/parse.h"
#include "base/str.h"
#include "codec/compress.h"

#include <stdint.h>

#define BAIDU_STD_HEAD_BYTES 12
#define BAIDU_VARIANT_KEY    "x-oar-variant"

struct baidu_meta {
    bool is_request, is_response;
    struct str service, method; /* requests */
    int64_t log_id;
    int32_t timeout_ms; /* 0: none */
    int32_t error_code; /* responses; 0: fine */
    struct str error_text;
    int32_t compress_type; /* enum compression, unchecked */
    int64_t correlation_id;
    int64_t attachment_bytes;
    struct str variant; /* responses: user_fields[BAIDU_VARIANT_KEY]; empty: it is not there */
    struct str authentication; /* authentication_data; of a connection's first request */
};

struct baidu_frame {
    struct baidu_meta meta; /* strings are views of the bytes given */
    struct str payload;     /* still compressed */
    struct str attachment;
};

/* Cuts one frame from the front of bytes. MORE until it is whole (see baidu_std_need); BAD INVALID when the bytes are no
 * frame (magic, meta larger than the body, unreadable meta, attachment larger than what is left), TOO_LARGE when the body is above
 * max_body or the meta above LIMIT_RPC_META_BYTES: the connection cannot go on after either. */
struct parse baidu_std_parse(struct str bytes, size_t max_body, struct baidu_frame *out);
/* Bytes of the whole frame, as soon as its head is there; 0 before that. */
size_t baidu_std_need(struct str bytes);
/* Where its payload begins, on the same terms. */
size_t baidu_std_payload_at(struct str bytes);

/* Appends head and meta; the caller then appends payload_bytes of payload and meta->attachment_bytes. out fails (TOO_LARGE)
 * when the frame would be above the format's 4 GiB. */
void baidu_std_put_head(struct buf *out, const struct baidu_meta *meta, size_t payload_bytes);
