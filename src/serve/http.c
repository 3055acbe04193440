/* What answers have in common, whichever version of HTTP carries them. */
#include "serve/http.h"

#include "base/clock.h"
#include "codec/json.h"
#include "serve/note.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COMPRESS_FROM 512 /* bytes of a reply's body, as brpc has it */

/* ---- content codings, the cheapest to make first ---- */

static const struct coding {
    const char *name;
    compression is;
} codings[] = {
    { "zstd", COMPRESSION_ZSTD },
    { "gzip", COMPRESSION_GZIP },
    { "x-gzip", COMPRESSION_GZIP },
    { "deflate", COMPRESSION_ZLIB },
};

static const char *coding_name(compression c)
{
    for (size_t i = 0; i < ARRAY_LEN(codings); i++)
        if (codings[i].is == c)
            return codings[i].name;
    return NULL;
}

/* How the body is packed; false: in a way that we do not know. */
static bool body_compression(const struct http_head *head, compression *out)
{
    struct str name = http_header_find(head, "Content-Encoding");
    *out = COMPRESSION_NONE;
    if (name.n == 0 || str_eq_nocase(name, STR("identity")))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(codings); i++)
        if (str_eq_nocase(name, str_of(codings[i].name))) {
            *out = codings[i].is;
            return true;
        }
    return false;
}

/* What is wanted most; among equals what is cheapest to make. */
static compression reply_compression(const struct http_head *head)
{
    struct str accept = http_header_find(head, "Accept-Encoding");
    compression best = COMPRESSION_NONE;
    int most = 0;
    for (size_t i = 0; accept.n > 0 && i < ARRAY_LEN(codings); i++) {
        int weight = http_header_weight(accept, codings[i].name);
        if (weight > most) {
            most = weight;
            best = codings[i].is;
        }
    }
    return best;
}

/* ---- header lines that any answer may carry ---- */

struct lines {
    char *to;
    size_t room, n;
};

/* Whole lines or nothing. */
static void __attribute__((format(printf, 2, 3))) put_line(struct lines *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(l->to + l->n, l->room - l->n, fmt, ap);
    va_end(ap);
    if (n > 0 && (size_t)n < l->room - l->n)
        l->n += (size_t)n;
    l->to[l->n] = '\0';
}

static void put_cors(struct lines *l, const struct server *s)
{
    if (s->options.cors_origin != NULL)
        put_line(l, "Access-Control-Allow-Origin: %s\r\n", s->options.cors_origin);
}

static void put_note(struct lines *l, const struct note *n, const struct call *c)
{
    struct note_room room;
    struct http_header field[NOTE_FIELDS];
    int count = note_fields(n, c, &room, field);
    for (int i = 0; i < count; i++)
        put_line(l, "%.*s: %.*s\r\n", STR_ARG(field[i].name), STR_ARG(field[i].value));
}

static struct note *note_of(const struct http_request *r, bool plain, struct arena *a)
{
    const struct server *s = r->conn->lane->server;
    struct note_source from = { .method = r->head->method,
                                .target = r->head->target,
                                .plain = plain };
    from.request_id = http_header_find(r->head, "X-Request-Id");
    from.timing = http_header_find(r->head, "X-Want-Timing").p != NULL;
    if (s->tracer != NULL)
        from.traceparent = http_header_find(r->head, "traceparent");
    return note_new(r->conn, &from, a);
}

static void answer_plain(const struct http_request *r, const struct http_answer *a)
{
    struct lane *lane = r->conn->lane;
    const struct note *note = note_of(r, true, &lane->scratch);
    if (note == NULL && lane->server->options.cors_origin == NULL) {
        r->carrier->answer(r, a);
        return;
    }
    char text[1024];
    struct lines l = { text, sizeof(text), 0 };
    struct http_answer more = *a;
    put_line(&l, "%s", a->extra != NULL ? a->extra : "");
    put_cors(&l, lane->server);
    put_note(&l, note, NULL);
    more.extra = text;
    note_answer(r->conn, note, a->code, a->body.n, lane->route_ns);
    r->carrier->answer(r, &more);
}

void http_answer(const struct http_request *r, const struct http_answer *a)
{
    struct http_answer packed = *a;
    compression how = a->body.n >= COMPRESS_FROM && a->encoding == NULL ? reply_compression(r->head)
                                                                        : COMPRESSION_NONE;
    if (how == COMPRESSION_NONE) {
        answer_plain(r, a);
        return;
    }
    struct buf body;
    struct err e;
    buf_init(&body, LIMIT_ARENA_BYTES);
    if (compress_bytes(how, a->body, &body, &e) == OK && buf_check(&body) == OK) {
        packed.body = buf_view(&body);
        packed.encoding = coding_name(how);
    }
    answer_plain(r, &packed);
    buf_deinit(&body);
}

void http_put_error(struct buf *b, const char *words)
{
    buf_str(b, "{\"error\":");
    json_put_string(b, str_of(words));
    buf_str(b, "}");
}

void http_answer_error(const struct http_request *r, int code, const char *words)
{
    struct buf b;
    buf_init(&b, LIMIT_HTTP_HEADER_BYTES);
    http_put_error(&b, words);
    http_answer(r, &(struct http_answer){
                       .code = code, .content_type = "application/json", .body = buf_view(&b) });
    buf_deinit(&b);
}

void http_answer_json(const struct http_request *r, int code, const struct buf *json)
{
    http_answer(r, &(struct http_answer){
                       .code = code, .content_type = "application/json", .body = buf_view(json) });
}

struct str http_media_type(const struct http_head *head)
{
    struct str type = http_header_find(head, "Content-Type"), first;
    str_cut(&type, ';', &first);
    return str_trim(first);
}

static int hex(char c)
{
    const char *digits = "0123456789abcdef", *at = c != '\0' ? strchr(digits, c | 0x20) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

struct str http_decoded(const struct http_request *r, struct str part)
{
    if (memchr(part.p, '%', part.n) == NULL)
        return part;
    char *text = arena_alloc(&r->conn->lane->scratch, part.n), *to = text;
    for (size_t i = 0; i < part.n; i++) {
        int high = part.p[i] == '%' && i + 2 < part.n ? hex(part.p[i + 1]) : -1;
        int low = high >= 0 ? hex(part.p[i + 2]) : -1;
        *to++ = low >= 0 ? (char)(high << 4 | low) : part.p[i];
        i += low >= 0 ? 2 : 0;
    }
    return (struct str){ text, (size_t)(to - text) };
}

int http_code(const struct server *s, status fault)
{
    return fault == MALFORMED && s->options.triton_codes ? 500 : status_http(fault);
}

/* Milliseconds from now in a header of ours, or as gRPC writes them ("100m"). */
static uint64_t deadline_of(const struct http_head *head)
{
    struct str value = http_header_find(head, "X-Request-Timeout-Ms");
    uint64_t ms;
    if (value.p == NULL || !str_to_u64(value, &ms) || ms > 86400000)
        return 0;
    return clock_ns() + ms * 1000000;
}

/* What a reply's headers say besides what the call itself put there; NULL: nothing. */
static const char *call_lines(const struct call *call, struct http_answer_room *room)
{
    const struct server *s = call->conn->lane->server;
    struct lines l = { room->extra, sizeof(room->extra), 0 };
    if (call->note == NULL && s->options.cors_origin == NULL && call->result == OK &&
        call->traffic == NULL)
        return call->headers;
    put_line(&l, "%s", call->headers != NULL && call->result == OK ? call->headers : "");
    if (call->traffic != NULL)
        put_line(&l, "x-oar-variant: %s\r\n", call_variant(call).p);
    if (call->result != OK)
        put_line(&l, "x-bd-error-code: %d\r\n", status_brpc(call->result));
    if (status_http(call->result) == 503)
        put_line(&l, "Retry-After: 1\r\n");
    put_cors(&l, s);
    put_note(&l, call->note, call);
    return room->extra;
}

/* The original's clients read the words as plain text and the code from a header; everybody else reads JSON. */
static struct http_answer fault_answer(const struct call *call, struct http_answer_room *room)
{
    bool json = call->format->json_faults;
    if (json)
        http_put_error(&room->body, call->err.text);
    else
        buf_str(&room->body, call->err.text);
    return (struct http_answer){ .code = http_code(call->conn->lane->server, call->result),
                                 .content_type = json ? "application/json" : "text/plain",
                                 .extra = call_lines(call, room),
                                 .body = buf_view(&room->body) };
}

struct http_answer http_call_answer(const struct call *call, struct http_answer_room *room)
{
    if (call->result != OK)
        return fault_answer(call, room);
    return (struct http_answer){ .code = call->code != 0 ? call->code : 200,
                                 .content_type = call->content_type,
                                 .encoding =
                                     call->compressed ? coding_name(call->reply_compression) : NULL,
                                 .extra = call_lines(call, room),
                                 .body = buf_view(&call->reply) };
}

struct call *http_begin(const struct http_request *r, struct flow *flow,
                        const struct call_format *format, const char *content_type)
{
    compression packed;
    if (!body_compression(r->head, &packed)) {
        http_answer(
            r, &(struct http_answer){
                   .code = 415,
                   .content_type = "application/json",
                   .extra = "Accept-Encoding: gzip, deflate, zstd\r\n",
                   .body =
                       STR("{\"error\":\"Unsupported compression type: Content-Encoding is none of "
                           "gzip, deflate, zstd and identity\"}") });
        return NULL;
    }
    struct call *call = call_new(r->conn);
    call->format = format;
    call->flow = flow != NULL ? flow_ref(flow) : NULL;
    call->body = r->body;
    call->body_compression = packed;
    call->reply_compression = reply_compression(r->head);
    call->compress_from = COMPRESS_FROM;
    call->content_type = content_type;
    call->deadline_ns = deadline_of(r->head);
    call->note = note_of(r, false, &call->arena);
    return call;
}

void http_start(const struct http_request *r, struct call *call)
{
    net_conn_owe(r->conn->net, 1);
    r->carrier->start(r, call);
}

void http_detour(const struct http_request *r, void (*detour)(struct call *c), void *arg)
{
    struct call *call = call_new(r->conn);
    call->format = &format_predict; /* whose faults are JSON */
    call->body = r->body;
    call->content_type = "application/json";
    call->detour = detour;
    call->detour_arg = arg;
    net_conn_owe(r->conn->net, 1);
    r->carrier->start(r, call);
}

void http_infer(const struct http_request *r, struct flow *flow, const struct call_format *format,
                const char *content_type)
{
    struct call *call = http_begin(r, flow, format, content_type);
    if (call != NULL)
        http_start(r, call);
}
