#include "ask.h"

#include "base/clock.h"
#include "client/transport.h"
#include "codec/json.h"
#include "proto/http1.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static void put_request(const struct ask *q, const struct endpoint *at, const char *authorization,
                        struct buf *out)
{
    char host[ENDPOINT_TEXT_MAX];
    buf_printf(
        out,
        "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Content-Length: %zu\r\n",
        q->method, q->path, endpoint_authority(at, host), q->body.n);
    if (authorization != NULL)
        buf_printf(out, "Authorization: %s\r\n", authorization);
    buf_str(out, "\r\n");
    buf_append(out, q->body.p, q->body.n);
}

/* The whole body, or MORE; chunked bodies are joined in `out`. */
static struct parse cut(struct str bytes, struct buf *out, int *code)
{
    struct http_head head;
    struct http_chunked chunks = { 0 };
    struct parse p = http1_response(bytes, 0, &head);
    if (p.state != PARSE_DONE)
        return p;
    struct str rest = { bytes.p + p.used, bytes.n - p.used };
    *code = head.code;
    buf_clear(out);
    if (head.chunked)
        return http1_chunked(&chunks, rest, out);
    if (rest.n < head.content_length)
        return parse_more();
    buf_append(out, rest.p, head.content_length);
    return buf_check(out) == OK ? parse_done(bytes.n) : parse_bad(TOO_LARGE);
}

static status talk(const struct ask *q, const struct endpoint *at, const char *authorization,
                   struct transport *to, uint64_t deadline_ns, struct buf *out, int *code,
                   struct err *e)
{
    struct buf bytes;
    struct parse p = parse_more();
    buf_init(&bytes, LIMIT_BODY_BYTES);
    put_request(q, at, authorization, &bytes);
    status s = transport_send(to, buf_view(&bytes), deadline_ns, e);
    buf_clear(&bytes);
    while (s == OK && p.state == PARSE_MORE) {
        s = transport_receive(to, &bytes, deadline_ns, e);
        if (s == OK)
            p = cut(buf_view(&bytes), out, code);
    }
    if (s == OK && p.state == PARSE_BAD)
        s = err_set(e, INVALID, "%s does not answer in HTTP", q->at);
    buf_deinit(&bytes);
    return s;
}

const char *ask_part(const char *name, struct arena *a)
{
    char *out = arena_alloc(a, 3 * strlen(name) + 1), *to = out;
    bool dots = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
    for (const char *p = name; *p != '\0'; p++) {
        bool plain =
            isalnum((unsigned char)*p) || strchr("-_~", *p) != NULL || (*p == '.' && !dots);
        to += plain ? snprintf(to, 2, "%c", *p) : snprintf(to, 4, "%%%02X", (unsigned char)*p);
    }
    *to = '\0';
    return out;
}

status ask_http(const struct ask *q, struct buf *out, int *code, struct err *e)
{
    struct endpoint at;
    struct transport to;
    struct remote_link link;
    uint64_t deadline_ns =
        clock_ns() + (uint64_t)(q->timeout_ms > 0 ? q->timeout_ms : 600000) * 1000000;
    TRY(endpoint_parse(str_of(q->at), &at, e));
    TRY(remote_open(q->remote, &link, e));
    const struct transport_options opt = { link.tls, "http/1.1" };
    status s = transport_connect(&at, &opt, deadline_ns, &to, e);
    if (s != OK)
        s = err_prefix(e, s, "%s: ", q->at);
    else
        s = talk(q, &at, link.authorization, &to, deadline_ns, out, code, e);
    transport_close(&to);
    remote_close(&link);
    return s;
}

static struct str words_of(struct str body, struct arena *a)
{
    struct json j;
    struct str key, words = body;
    json_init(&j, body, a);
    json_object(&j);
    while (json_key(&j, &key))
        if (str_is(key, "error"))
            words = json_string(&j);
        else
            json_skip(&j);
    return words;
}

status ask_fine(const struct ask *q, struct buf *out, struct err *e)
{
    struct arena a;
    int code = 0;
    TRY(ask_http(q, out, &code, e));
    if (code == 200)
        return OK;
    arena_init(&a, 0);
    struct str words = words_of(buf_view(out), &a);
    err_set(e, INVALID, "%s answers %d: %.*s", q->at, code, STR_ARG(words));
    arena_deinit(&a);
    return INVALID;
}
