#include "client/session.h"

#include "base/limits.h"
#include "codec/json.h"
#include "proto/baidu_std.h"
#include "proto/general_model.h"
#include "proto/grpc.h"
#include "proto/oip.h"
#include "proto/oip_pb.h"
#include "proto/tfs.h"

#include <string.h>

#define JSON_TYPE    "application/json"
#define PROTO_TYPE   "application/proto"
#define HEADER_BYTES "Inference-Header-Content-Length"
#define VARIANT      "x-oar-variant"
#define BEARER       "Bearer "

/* baidu_std over brpc
 * --------------------------------------------------------------------------------------------- */

/* The message in scratch goes behind the head in out: gaps keep their places in it. */
static void put_message(struct buf *out, const struct buf *message, struct general_gaps *gaps)
{
    for (int i = 0; i < gaps->count; i++)
        gaps->gap[i].at += out->len;
    buf_append(out, message->data, message->len);
}

static void ask_brpc(const struct session *s, const struct infer_request *r, struct buf *out,
                     struct buf *scratch, struct general_gaps *gaps)
{
    struct baidu_meta meta = {
        .is_request = true,
        .service = STR(GENERAL_MODEL_SERVICE),
        .method = STR("inference"),
        .correlation_id = (int64_t)s->id,
    };
    if (s->authorization != NULL)
        meta.authentication = str_of(s->authorization + strlen(BEARER));
    general_request_to_pb_around(r, scratch, gaps);
    baidu_std_put_head(out, &meta, scratch->len + gaps->bytes);
    put_message(out, scratch, gaps);
}

/* The error codes that other servers send besides the one number that our table gives each status
 * (brpc's errno.proto). */
static status refused_by_rpc(int code)
{
    static const struct {
        int code;
        status is;
    } rows[] = {
        { 0, OK },           { 1001, NOT_FOUND }, { 1002, NOT_FOUND }, { 1003, INVALID },
        { 1008, TIMED_OUT }, { 2003, STOPPING },  { 2004, BUSY },      { 1011, BUSY },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == code)
            return rows[i].is;
    return INTERNAL;
}

static bool known_compression(int32_t type)
{
    return type >= COMPRESSION_NONE && type <= COMPRESSION_ZLIB;
}

/* Servers of brpc put "[address][E1003]" before their words; whoever is told has the address and the code already. */
static struct str bare_words(struct str words)
{
    const char *end = words.n > 0 && words.p[0] == '[' ? memmem(words.p, words.n, "][E", 3) : NULL;
    const char *close =
        end != NULL ? memchr(end + 3, ']', (size_t)(words.p + words.n - end - 3)) : NULL;
    if (close == NULL)
        return words;
    return str_trim((struct str){ close + 1, (size_t)(words.p + words.n - close - 1) });
}

/* Frames with another correlation id belong to nobody (a proxy's leftovers, a late answer): they
 * are stepped over. */
static struct parse cut_brpc(struct session *s, struct str bytes, struct answer *out)
{
    for (;;) {
        struct str rest = { bytes.p + s->taken, bytes.n - s->taken };
        struct baidu_frame frame;
        struct parse got = baidu_std_parse(rest, LIMIT_BODY_BYTES, &frame);
        if (got.state != PARSE_DONE)
            return got;
        s->taken += got.used;
        if (frame.meta.correlation_id != (int64_t)s->id)
            continue;
        if (!known_compression(frame.meta.compress_type))
            return parse_bad(UNSUPPORTED);
        session_note_variant(s, frame.meta.variant);
        *out = (struct answer){
            .refused = refused_by_rpc(frame.meta.error_code),
            .code = frame.meta.error_code,
            .words = bare_words(frame.meta.error_text),
            .payload = frame.payload,
            .compression = (compression)frame.meta.compress_type,
            .keep_alive = true,
        };
        return parse_done(s->taken);
    }
}

/* HTTP/1.1
 * --------------------------------------------------------------------------------------------------------
 */

static void put_key(const struct session *s, struct buf *out)
{
    if (s->authorization != NULL)
        buf_printf(out, "Authorization: %s\r\n", s->authorization);
}

static void put_post(const struct session *s, const char *type, const struct buf *body,
                     struct buf *out, struct general_gaps *gaps)
{
    buf_printf(out,
               "POST /GeneralModelService/inference HTTP/1.1\r\n"
               "Host: %s\r\n"
               "Content-Type: %s\r\n"
               "Content-Length: %zu\r\n",
               s->authority, type, body->len + gaps->bytes);
    put_key(s, out);
    buf_str(out, "\r\n");
    put_message(out, body, gaps);
}

static void ask_http(const struct session *s, const struct infer_request *r, struct buf *out,
                     struct buf *scratch, struct general_gaps *gaps)
{
    general_request_to_pb_around(r, scratch, gaps);
    put_post(s, PROTO_TYPE, scratch, out, gaps);
}

static void ask_http_json(const struct session *s, const struct infer_request *r, struct buf *out,
                          struct buf *scratch, struct general_gaps *gaps)
{
    general_request_to_json(r, scratch);
    put_post(s, JSON_TYPE, scratch, out, gaps);
}

static const char *model_of(const struct session *s)
{
    return s->model != NULL ? s->model : "default";
}

static void put_post_to(const struct session *s, const char *verb_path, const char *verb,
                        const struct buf *body, struct buf *out)
{
    buf_printf(out, "POST %s%s%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %zu\r\n", verb_path,
               model_of(s), verb, s->authority, body->len);
    put_key(s, out);
}

static void ask_oip(const struct session *s, const struct infer_request *r, bool binary,
                    struct buf *out, struct buf *scratch)
{
    struct arena a;
    size_t json_bytes = 0;
    arena_init(&a, LIMIT_ARENA_BYTES);
    if (oip_request_to_json(r, binary, &a, scratch, &json_bytes, NULL) != OK)
        scratch->failed = scratch->failed != OK ? scratch->failed : NO_MEMORY;
    arena_deinit(&a);
    put_post_to(s, "/v2/models/", "/infer", scratch, out);
    if (binary)
        buf_printf(out, "Content-Type: application/octet-stream\r\n" HEADER_BYTES ": %zu\r\n",
                   json_bytes);
    else
        buf_str(out, "Content-Type: " JSON_TYPE "\r\n");
    buf_str(out, "\r\n");
    buf_append(out, scratch->data, scratch->len);
}

static void ask_kserve(const struct session *s, const struct infer_request *r, struct buf *out,
                       struct buf *scratch, struct general_gaps *gaps)
{
    ask_oip(s, r, true, out, scratch);
}

static void ask_kserve_json(const struct session *s, const struct infer_request *r, struct buf *out,
                            struct buf *scratch, struct general_gaps *gaps)
{
    ask_oip(s, r, false, out, scratch);
}

static void ask_tfs(const struct session *s, const struct infer_request *r, struct buf *out,
                    struct buf *scratch, struct general_gaps *gaps)
{
    tfs_request_to_json(r, scratch);
    put_post_to(s, "/v1/models/", ":predict", scratch, out);
    buf_str(out, "Content-Type: " JSON_TYPE "\r\n\r\n");
    buf_append(out, scratch->data, scratch->len);
}

static status refused_by_http(int code)
{
    static const struct {
        int code;
        status is;
    } rows[] = {
        { 404, NOT_FOUND }, { 405, BAD_METHOD }, { 408, TIMED_OUT }, { 413, TOO_LARGE },
        { 429, BUSY },      { 503, BUSY },       { 504, TIMED_OUT }, { 501, UNSUPPORTED },
    };
    if (code >= 200 && code < 300)
        return OK;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == code)
            return rows[i].is;
    return code >= 400 && code < 500 ? INVALID : INTERNAL;
}

static bool is_json(struct str content_type)
{
    struct str media;
    str_cut(&content_type, ';', &media);
    return str_eq_nocase(str_trim(media), STR(JSON_TYPE));
}

/* How the body ends must be told: one that ends with its connection cannot be told from one that
 * was cut off. */
static struct parse keep_head(struct session *s, const struct http_head *h, size_t used)
{
    struct str encoding = http_header_find(h, "content-encoding");
    bool empty = h->code == 204 || h->code == 304;
    if (!h->chunked && !h->has_length && !empty)
        return parse_bad(UNSUPPORTED);
    if (h->has_length && h->content_length > LIMIT_BODY_BYTES)
        return parse_bad(TOO_LARGE);
    if (encoding.n != 0 && !str_eq_nocase(encoding, STR("gzip")) &&
        !str_eq_nocase(encoding, STR("identity")))
        return parse_bad(UNSUPPORTED);
    s->head = (struct answer){
        .refused = refused_by_http(h->code),
        .code = h->code,
        .compression = str_eq_nocase(encoding, STR("gzip")) ? COMPRESSION_GZIP : COMPRESSION_NONE,
        .json = is_json(http_header_find(h, "content-type")),
        .keep_alive = h->keep_alive,
    };
    uint64_t json_bytes;
    struct str header = http_header_find(h, HEADER_BYTES);
    s->head.json_bytes = str_to_u64(header, &json_bytes) ? (size_t)json_bytes : SIZE_MAX;
    session_note_variant(s, http_header_find(h, VARIANT));
    s->chunked = h->chunked;
    s->length = empty ? 0 : h->content_length;
    s->taken = s->head_bytes = used;
    return parse_done(used);
}

/* The final head: interim ones (100 Continue) are stepped over. */
static struct parse cut_head(struct session *s, struct str bytes)
{
    for (;;) {
        struct http_head h;
        struct str rest = { bytes.p + s->taken, bytes.n - s->taken };
        struct parse got = http1_response(rest, s->seen, &h);
        if (got.state == PARSE_MORE)
            s->seen = rest.n;
        if (got.state != PARSE_DONE)
            return got;
        s->seen = 0;
        s->taken += got.used;
        if (h.code >= 200)
            return keep_head(s, &h, s->taken);
    }
}

static struct parse cut_chunks(struct session *s, struct str bytes)
{
    struct str rest = { bytes.p + s->taken, bytes.n - s->taken };
    struct parse got = http1_chunked(&s->chunks, rest, &s->body);
    if (got.state == PARSE_BAD)
        return got;
    s->taken += got.used;
    s->head.payload = buf_view(&s->body);
    return got.state == PARSE_DONE ? parse_done(s->taken) : got;
}

static struct parse cut_body(struct session *s, struct str bytes)
{
    if (s->chunked)
        return cut_chunks(s, bytes);
    if (bytes.n - s->head_bytes < s->length)
        return parse_more();
    s->head.payload = (struct str){ bytes.p + s->head_bytes, (size_t)s->length };
    return parse_done(s->head_bytes + (size_t)s->length);
}

static struct parse cut_http(struct session *s, struct str bytes, struct answer *out)
{
    if (s->head_bytes == 0) {
        struct parse head = cut_head(s, bytes);
        if (head.state != PARSE_DONE)
            return head;
    }
    struct parse body = cut_body(s, bytes);
    if (body.state != PARSE_DONE)
        return body;
    if (s->head.refused != OK && s->head.compression == COMPRESSION_NONE)
        s->head.words = s->head.payload;
    *out = s->head;
    return body;
}

/* Replies
 * -------------------------------------------------------------------------------------------------------------
 */

static status general_reply(const struct answer *answer, struct str payload, struct arena *a,
                            struct infer_reply *out, struct err *e)
{
    return answer->json ? general_reply_from_json(payload, a, out, e)
                        : general_reply_from_pb(payload, a, out, e);
}

static status oip_reply(const struct answer *answer, struct str payload, struct arena *a,
                        struct infer_reply *out, struct err *e)
{
    return oip_reply_from_json(payload, answer->json_bytes, a, out, e);
}

static status tfs_reply(const struct answer *answer, struct str payload, struct arena *a,
                        struct infer_reply *out, struct err *e)
{
    return tfs_reply_from_json(payload, a, out, e);
}

/* gRPC: `out` is the message behind its head; session_h2.c sends it
 * ------------------------------------------------------------------------------------- */

static void put_framed(struct str message, bool packed, struct buf *out)
{
    uint8_t head[GRPC_HEAD_BYTES];
    grpc_put_head(head, message.n, packed);
    buf_append(out, head, sizeof(head));
    buf_append(out, message.p, message.n);
}

static void ask_grpc(const struct session *s, const struct infer_request *r, struct buf *out,
                     struct buf *scratch, struct general_gaps *gaps)
{
    general_request_to_pb(r, scratch);
    put_framed(buf_view(scratch), false, out);
}

static void ask_kserve_grpc(const struct session *s, const struct infer_request *r, struct buf *out,
                            struct buf *scratch, struct general_gaps *gaps)
{
    oip_request_to_pb(r, str_of(model_of(s)), STR(""), scratch);
    put_framed(buf_view(scratch), false, out);
}

static status oip_pb_reply(const struct answer *answer, struct str payload, struct arena *a,
                           struct infer_reply *out, struct err *e)
{
    return oip_reply_from_pb(payload, a, out, e);
}

// clang-format off
static const struct session_protocol protocols[] = {
    { "brpc",             ask_brpc,        cut_brpc, general_reply, NULL, NULL, false },
    { "http",             ask_http,        cut_http, general_reply, NULL, "http/1.1", false },
    { "http-json",        ask_http_json,   cut_http, general_reply, NULL, "http/1.1", false },
    { "kserve-http",      ask_kserve,      cut_http, oip_reply, NULL, "http/1.1", true },
    { "kserve-http-json", ask_kserve_json, cut_http, oip_reply, NULL, "http/1.1", true },
    { "tfs",              ask_tfs,         cut_http, tfs_reply, NULL, "http/1.1", true },
    { "grpc",             ask_grpc,        session_h2_cut, general_reply,
      "/" GENERAL_MODEL_SERVICE "/inference", "h2", false },
    { "kserve-grpc",      ask_kserve_grpc, session_h2_cut, oip_pb_reply,
      "/inference.GRPCInferenceService/ModelInfer", "h2", true },
};
// clang-format on

const struct session_protocol *session_protocol_at(size_t index)
{
    return index < ARRAY_LEN(protocols) ? &protocols[index] : NULL;
}

const struct session_protocol *session_protocol_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(protocols); i++)
        if (str_is(name, protocols[i].name))
            return &protocols[i];
    return NULL;
}

void session_init(struct session *s, const struct session_protocol *p, const char *authority)
{
    *s = (struct session){ .protocol = p, .authority = authority, .path = p->path };
    buf_init(&s->body, LIMIT_BODY_BYTES);
    buf_init(&s->wire, 2 * LIMIT_BODY_BYTES);
}

void session_deinit(struct session *s)
{
    session_h2_close(s);
    buf_deinit(&s->body);
    buf_deinit(&s->wire);
}

static void forget_answer(struct session *s)
{
    s->seen = s->head_bytes = s->taken = 0;
    s->chunks = (struct http_chunked){ 0 };
    s->variant[0] = '\0';
    buf_clear(&s->body);
}

void session_note_variant(struct session *s, struct str tag)
{
    size_t n = tag.n < SESSION_VARIANT_BYTES ? tag.n : SESSION_VARIANT_BYTES;
    if (n > 0)
        memcpy(s->variant, tag.p, n);
    s->variant[n] = '\0';
}

void session_connected(struct session *s)
{
    buf_clear(&s->wire);
    if (s->protocol->path != NULL)
        session_h2_open(s);
}

void session_again(struct session *s, struct str request)
{
    forget_answer(s);
    s->sent = 0;
    if (s->protocol->path != NULL)
        session_h2_begin(s, request);
}

struct str session_output(const struct session *s, struct str request)
{
    return s->protocol->path != NULL ? buf_view(&s->wire)
                                     : (struct str){ request.p + s->sent, request.n - s->sent };
}

void session_sent(struct session *s, size_t n)
{
    if (s->protocol->path != NULL)
        buf_consume(&s->wire, n);
    else
        s->sent += n;
}

static void begin_request(struct session *s)
{
    forget_answer(s);
    s->packed = false;
    s->id++;
}

void session_ask_around(struct session *s, const struct infer_request *r, struct buf *out,
                        struct buf *scratch, struct general_gaps *gaps)
{
    begin_request(s);
    s->path = s->protocol->path;
    buf_clear(scratch);
    *gaps = (struct general_gaps){ 0 };
    s->protocol->ask(s, r, out, scratch, gaps);
}

static void put_joined(const struct buf *around, const struct general_gaps *gaps, struct buf *out)
{
    size_t done = 0;
    for (int i = 0; i < gaps->count; i++) {
        const struct general_gap *g = &gaps->gap[i];
        buf_append(out, around->data + done, g->at - done);
        buf_append(out, g->data, g->bytes);
        done = g->at;
    }
    buf_append(out, around->data + done, around->len - done);
}

void session_ask(struct session *s, const struct infer_request *r, struct buf *out,
                 struct buf *scratch)
{
    struct general_gaps gaps;
    struct buf around;
    buf_init(&around, out->max);
    session_ask_around(s, r, &around, scratch, &gaps);
    status fault = buf_check(scratch) != OK ? buf_check(scratch) : buf_check(&around);
    if (fault == OK)
        put_joined(&around, &gaps, out);
    else if (out->failed == OK) /* what is cut short must not look like a whole request */
        out->failed = fault;
    buf_deinit(&around);
}

void session_invoke(struct session *s, const char *path, struct str message, bool packed,
                    struct buf *out)
{
    begin_request(s);
    s->path = path;
    s->packed = packed;
    put_framed(message, packed, out);
}

struct parse session_cut(struct session *s, struct str bytes, struct answer *out)
{
    struct parse got = s->protocol->cut(s, bytes, out);
    if (got.state == PARSE_DONE)
        out->protocol = s->protocol;
    return got;
}

/* {"error": "words"} as its words; anything else as it is. */
static struct str plain_words(struct str words, struct arena *a)
{
    struct json j;
    struct str key, found = { NULL, 0 };
    json_init(&j, words, a);
    json_object(&j);
    while (json_key(&j, &key))
        if (str_is(key, "error") && json_peek(&j) == JSON_STRING)
            found = json_string(&j);
        else
            json_skip(&j);
    return json_end(&j, NULL) == OK && found.n > 0 ? found : words;
}

status session_payload(const struct answer *answer, struct arena *a, struct buf *inflated,
                       struct str *out, struct err *e)
{
    struct str words = answer->json ? plain_words(answer->words, a) : answer->words;
    if (answer->refused != OK)
        return err_set(e, answer->refused, "the server refused with code %d (%s)%s%.*s",
                       answer->code, status_text(answer->refused), words.n != 0 ? ": " : "",
                       STR_ARG(words));
    *out = answer->payload;
    if (answer->compression == COMPRESSION_NONE)
        return OK;
    buf_clear(inflated);
    TRY(decompress(answer->compression, answer->payload, inflated, e));
    *out = buf_view(inflated);
    return OK;
}

status session_reply(const struct answer *answer, struct arena *a, struct buf *inflated,
                     struct infer_reply *out, struct err *e)
{
    struct str payload;
    TRY(session_payload(answer, a, inflated, &payload, e));
    return answer->protocol->reply(answer, payload, a, out, e);
}
