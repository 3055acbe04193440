/* What answers have in common, whichever version of HTTP carries them. */
#include "serve/http.h"

#include "codec/json.h"

#include <stdio.h>
#include <string.h>

#define COMPRESS_FROM 512 /* bytes of a reply's body, as brpc has it */

void http_answer(const struct http_request *r, const struct http_answer *a)
{
    r->carrier->answer(r, a);
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

/* The original's clients read the words as plain text and the code from a header; everybody else reads JSON. */
static struct http_answer fault_answer(const struct call *call, struct http_answer_room *room)
{
    bool json = call->format->json_faults;
    snprintf(room->extra, sizeof(room->extra), "x-bd-error-code: %d\r\n",
             status_brpc(call->result));
    if (json)
        http_put_error(&room->body, call->err.text);
    else
        buf_str(&room->body, call->err.text);
    return (struct http_answer){ .code = http_code(call->conn->lane->server, call->result),
                                 .content_type = json ? "application/json" : "text/plain",
                                 .extra = room->extra,
                                 .body = buf_view(&room->body) };
}

struct http_answer http_call_answer(const struct call *call, struct http_answer_room *room)
{
    if (call->result != OK)
        return fault_answer(call, room);
    return (struct http_answer){ .code = 200,
                                 .content_type = call->content_type,
                                 .encoding = call->compressed ? "gzip" : NULL,
                                 .extra = call->headers,
                                 .body = buf_view(&call->reply) };
}

/* How the body is packed; false: in a way that we do not know. */
static bool body_compression(const struct http_head *head, compression *out)
{
    struct str name = http_header_find(head, "Content-Encoding");
    *out = COMPRESSION_NONE;
    if (name.n == 0 || str_eq_nocase(name, STR("identity")))
        return true;
    *out = COMPRESSION_GZIP;
    if (str_eq_nocase(name, STR("gzip")) || str_eq_nocase(name, STR("x-gzip")))
        return true;
    *out = COMPRESSION_ZLIB;
    return str_eq_nocase(name, STR("deflate"));
}

struct call *http_begin(const struct http_request *r, struct flow *flow,
                        const struct call_format *format, const char *content_type)
{
    compression packed;
    if (!body_compression(r->head, &packed)) {
        http_answer_error(r, 415, "Content-Encoding: expected gzip, deflate or identity");
        return NULL;
    }
    struct call *call = call_new(r->conn);
    call->format = format;
    call->flow = flow_ref(flow);
    call->body = r->body;
    call->body_compression = packed;
    call->reply_compression =
        http_header_lists(http_header_find(r->head, "Accept-Encoding"), "gzip") ? COMPRESSION_GZIP
                                                                                : COMPRESSION_NONE;
    call->compress_from = COMPRESS_FROM;
    call->content_type = content_type;
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
