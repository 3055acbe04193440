#include "proto/baidu_std.h"

#include "base/limits.h"
#include "base/mem.h"
#include "codec/pb.h"

#include <string.h>

/* Field numbers of brpc's baidu_rpc_meta.proto. */
enum {
    META_REQUEST = 1,
    META_RESPONSE = 2,
    META_COMPRESS_TYPE = 3,
    META_CORRELATION_ID = 4,
    META_ATTACHMENT_SIZE = 5,
    META_AUTHENTICATION = 7,
    META_USER_FIELDS = 9, /* a map: each entry a message */

    REQUEST_SERVICE = 1,
    REQUEST_METHOD = 2,
    REQUEST_LOG_ID = 3,
    REQUEST_TIMEOUT_MS = 8,

    RESPONSE_ERROR_CODE = 1,
    RESPONSE_ERROR_TEXT = 2,

    ENTRY_KEY = 1,
    ENTRY_VALUE = 2,
};

static const char magic[4] = { 'P', 'R', 'P', 'C' };

static uint32_t big_endian(const char *p)
{
    const uint8_t *u = (const uint8_t *)p;
    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

size_t baidu_std_need(struct str bytes)
{
    return bytes.n < BAIDU_STD_HEAD_BYTES ? 0
                                          : BAIDU_STD_HEAD_BYTES + (size_t)big_endian(bytes.p + 4);
}

size_t baidu_std_payload_at(struct str bytes)
{
    return bytes.n < BAIDU_STD_HEAD_BYTES ? 0
                                          : BAIDU_STD_HEAD_BYTES + (size_t)big_endian(bytes.p + 8);
}

/* Reading */

/* Protobuf's int32: sent as 64 bits, of which the lower half counts. */
static int32_t read_i32(struct pb *r)
{
    return (int32_t)(uint32_t)pb_varint(r);
}

static bool read_request(struct str bytes, struct baidu_meta *out)
{
    struct pb r;
    out->is_request = true;
    for (pb_init(&r, bytes); pb_next(&r);) {
        switch (r.field) {
        case REQUEST_SERVICE: out->service = pb_bytes(&r); break;
        case REQUEST_METHOD: out->method = pb_bytes(&r); break;
        case REQUEST_LOG_ID: out->log_id = (int64_t)pb_varint(&r); break;
        case REQUEST_TIMEOUT_MS: out->timeout_ms = read_i32(&r); break;
        default: pb_skip(&r);
        }
    }
    return pb_ok(&r);
}

static bool read_response(struct str bytes, struct baidu_meta *out)
{
    struct pb r;
    out->is_response = true;
    for (pb_init(&r, bytes); pb_next(&r);) {
        switch (r.field) {
        case RESPONSE_ERROR_CODE: out->error_code = read_i32(&r); break;
        case RESPONSE_ERROR_TEXT: out->error_text = pb_bytes(&r); break;
        default: pb_skip(&r);
        }
    }
    return pb_ok(&r);
}

/* Fields of others may hold what they like. */
static void read_user_field(struct str bytes, struct baidu_meta *out)
{
    struct pb r;
    struct str key = { NULL, 0 }, value = { NULL, 0 };
    for (pb_init(&r, bytes); pb_next(&r);) {
        switch (r.field) {
        case ENTRY_KEY: key = pb_bytes(&r); break;
        case ENTRY_VALUE: value = pb_bytes(&r); break;
        default: pb_skip(&r);
        }
    }
    if (pb_ok(&r) && str_is(key, BAIDU_VARIANT_KEY))
        out->variant = value;
}

static bool read_meta(struct str bytes, struct baidu_meta *out)
{
    struct pb r;
    bool parts_ok = true;
    *out = (struct baidu_meta){ 0 };
    for (pb_init(&r, bytes); pb_next(&r) && parts_ok;) {
        switch (r.field) {
        case META_REQUEST: parts_ok = read_request(pb_bytes(&r), out); break;
        case META_RESPONSE: parts_ok = read_response(pb_bytes(&r), out); break;
        case META_COMPRESS_TYPE: out->compress_type = read_i32(&r); break;
        case META_CORRELATION_ID: out->correlation_id = (int64_t)pb_varint(&r); break;
        case META_ATTACHMENT_SIZE: out->attachment_bytes = read_i32(&r); break;
        case META_AUTHENTICATION: out->authentication = pb_bytes(&r); break;
        case META_USER_FIELDS: read_user_field(pb_bytes(&r), out); break;
        default: pb_skip(&r);
        }
    }
    return pb_ok(&r) && parts_ok;
}

struct parse baidu_std_parse(struct str bytes, size_t max_body, struct baidu_frame *out)
{
    size_t seen = bytes.n < sizeof(magic) ? bytes.n : sizeof(magic);
    if (seen != 0 && memcmp(bytes.p, magic, seen) != 0)
        return parse_bad(INVALID);
    if (bytes.n < BAIDU_STD_HEAD_BYTES)
        return parse_more();
    size_t body_bytes = big_endian(bytes.p + 4), meta_bytes = big_endian(bytes.p + 8);
    if (meta_bytes > body_bytes)
        return parse_bad(INVALID);
    if (body_bytes > max_body || meta_bytes > LIMIT_RPC_META_BYTES)
        return parse_bad(TOO_LARGE);
    if (bytes.n - BAIDU_STD_HEAD_BYTES < body_bytes)
        return parse_more();
    const char *meta = bytes.p + BAIDU_STD_HEAD_BYTES;
    if (!read_meta((struct str){ meta, meta_bytes }, &out->meta))
        return parse_bad(INVALID);
    size_t rest = body_bytes - meta_bytes;
    int64_t attached = out->meta.attachment_bytes;
    if (attached < 0 || (uint64_t)attached > rest)
        return parse_bad(INVALID);
    size_t payload_bytes = rest - (size_t)attached;
    out->payload = (struct str){ meta + meta_bytes, payload_bytes };
    out->attachment = (struct str){ meta + meta_bytes + payload_bytes, (size_t)attached };
    return parse_done(BAIDU_STD_HEAD_BYTES + body_bytes);
}

/* Writing: sizes first, since each length stands before what it measures. Zeros are left out, as
 * protobuf does; what proto2 calls required is always there. */

static uint64_t widen(int32_t v)
{
    return (uint64_t)(int64_t)v;
}

static size_t size_nonzero(uint32_t field, uint64_t v)
{
    return v != 0 ? pb_size_u64(field, v) : 0;
}

static void put_nonzero(struct buf *out, uint32_t field, uint64_t v)
{
    if (v != 0)
        pb_put_u64(out, field, v);
}

static size_t request_size(const struct baidu_meta *m)
{
    return pb_size_bytes(REQUEST_SERVICE, m->service.n) +
           pb_size_bytes(REQUEST_METHOD, m->method.n) +
           size_nonzero(REQUEST_LOG_ID, (uint64_t)m->log_id) +
           size_nonzero(REQUEST_TIMEOUT_MS, widen(m->timeout_ms));
}

static void put_request(struct buf *out, const struct baidu_meta *m)
{
    pb_put_begin(out, META_REQUEST, request_size(m));
    pb_put_bytes(out, REQUEST_SERVICE, m->service);
    pb_put_bytes(out, REQUEST_METHOD, m->method);
    put_nonzero(out, REQUEST_LOG_ID, (uint64_t)m->log_id);
    put_nonzero(out, REQUEST_TIMEOUT_MS, widen(m->timeout_ms));
}

static size_t response_size(const struct baidu_meta *m)
{
    size_t text = m->error_text.n != 0 ? pb_size_bytes(RESPONSE_ERROR_TEXT, m->error_text.n) : 0;
    return size_nonzero(RESPONSE_ERROR_CODE, widen(m->error_code)) + text;
}

static void put_response(struct buf *out, const struct baidu_meta *m)
{
    pb_put_begin(out, META_RESPONSE, response_size(m));
    put_nonzero(out, RESPONSE_ERROR_CODE, widen(m->error_code));
    if (m->error_text.n != 0)
        pb_put_bytes(out, RESPONSE_ERROR_TEXT, m->error_text);
}

static size_t entry_size(const struct baidu_meta *m)
{
    return pb_size_bytes(ENTRY_KEY, strlen(BAIDU_VARIANT_KEY)) +
           pb_size_bytes(ENTRY_VALUE, m->variant.n);
}

static void put_variant(struct buf *out, const struct baidu_meta *m)
{
    pb_put_begin(out, META_USER_FIELDS, entry_size(m));
    pb_put_bytes(out, ENTRY_KEY, STR(BAIDU_VARIANT_KEY));
    pb_put_bytes(out, ENTRY_VALUE, m->variant);
}

static size_t meta_size(const struct baidu_meta *m)
{
    size_t request = m->is_request ? pb_size_bytes(META_REQUEST, request_size(m)) : 0;
    size_t response = m->is_response ? pb_size_bytes(META_RESPONSE, response_size(m)) : 0;
    return request + response + size_nonzero(META_COMPRESS_TYPE, widen(m->compress_type)) +
           pb_size_u64(META_CORRELATION_ID, (uint64_t)m->correlation_id) +
           size_nonzero(META_ATTACHMENT_SIZE, (uint64_t)m->attachment_bytes) +
           (m->authentication.n != 0 ? pb_size_bytes(META_AUTHENTICATION, m->authentication.n)
                                     : 0) +
           (m->variant.n != 0 ? pb_size_bytes(META_USER_FIELDS, entry_size(m)) : 0);
}

static void put_big_endian(struct buf *out, uint32_t v)
{
    const uint8_t bytes[4] = { (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8),
                               (uint8_t)v };
    buf_append(out, bytes, sizeof(bytes));
}

void baidu_std_put_head(struct buf *out, const struct baidu_meta *meta, size_t payload_bytes)
{
    size_t meta_bytes = meta_size(meta), body_bytes;
    if (!mem_add(meta_bytes, payload_bytes, &body_bytes) || meta->attachment_bytes < 0 ||
        meta->attachment_bytes > INT32_MAX ||
        !mem_add(body_bytes, (size_t)meta->attachment_bytes, &body_bytes) ||
        body_bytes > UINT32_MAX) {
        out->failed = TOO_LARGE;
        return;
    }
    buf_append(out, magic, sizeof(magic));
    put_big_endian(out, (uint32_t)body_bytes);
    put_big_endian(out, (uint32_t)meta_bytes);
    if (meta->is_request)
        put_request(out, meta);
    if (meta->is_response)
        put_response(out, meta);
    put_nonzero(out, META_COMPRESS_TYPE, widen(meta->compress_type));
    pb_put_u64(out, META_CORRELATION_ID, (uint64_t)meta->correlation_id);
    put_nonzero(out, META_ATTACHMENT_SIZE, (uint64_t)meta->attachment_bytes);
    if (meta->authentication.n != 0)
        pb_put_bytes(out, META_AUTHENTICATION, meta->authentication);
    if (meta->variant.n != 0)
        put_variant(out, meta);
}
