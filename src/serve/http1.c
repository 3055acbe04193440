/* HTTP/1.1: one request at a time on a connection; further ones wait in its buffer. */
#include "serve/h2.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define ALIGN_FROM ((size_t)64 << 10) /* bodies below it are copied sooner than they are placed */

enum phase {
    PHASE_HEAD,
    PHASE_LENGTH,
    PHASE_CHUNKS,
};

struct http {
    enum phase phase;
    size_t seen;       /* bytes of an unfinished head that were looked at */
    size_t head_bytes; /* PHASE_LENGTH: that are still in front of the body */
    uint64_t length;
    struct buf head; /* the head's bytes, where they were put aside */
    struct buf body; /* PHASE_CHUNKS: what came so far */
    struct http_chunked chunks;
    bool busy; /* a call is on its way */
};

/* ---- which bytes are HTTP ---- */

static const char *const methods[] = { "GET ",    "POST ",    "HEAD ",  "PUT ",
                                       "DELETE ", "OPTIONS ", "PATCH ", NULL };

#define ODD_LINE_MAX ((size_t)256)

/* A line that ends as one of HTTP/1 does, whatever its method: whoever sends it is told that nothing here has it. */
static enum sniff sniff_line(struct str bytes)
{
    struct str rest = bytes, line;
    if (bytes.n > 0 && ((bytes.p[0] | 0x20) < 'a' || (bytes.p[0] | 0x20) > 'z'))
        return SNIFF_NO;
    if (memchr(bytes.p, '\n', bytes.n) == NULL)
        return bytes.n < ODD_LINE_MAX ? SNIFF_MORE : SNIFF_NO;
    str_cut(&rest, '\n', &line);
    return str_ends(line, " HTTP/1.1\r") || str_ends(line, " HTTP/1.0\r") ? SNIFF_YES : SNIFF_NO;
}

static enum sniff sniff(struct str bytes)
{
    if (bytes.n == 0)
        return SNIFF_MORE;
    if (bytes.p[0] == '\r' || bytes.p[0] == '\n') /* an empty line may come first */
        return SNIFF_YES;
    for (size_t i = 0; methods[i] != NULL; i++)
        if (str_starts(bytes, methods[i]))
            return SNIFF_YES;
    return sniff_line(bytes);
}

static void *open_state(struct conn *c)
{
    struct http *h = mem_zalloc(sizeof(*h));
    net_conn_read_first(c->net, FIRST_READ_BYTES);
    buf_init(&h->head, LIMIT_HTTP_HEADER_BYTES);
    buf_init(&h->body, c->lane->server->options.max_body_bytes);
    return h;
}

static void close_state(void *state)
{
    struct http *h = state;
    buf_deinit(&h->head);
    buf_deinit(&h->body);
    mem_free(h);
}

/* ---- answers ---- */

static bool stays_open(const struct conn *c, const struct http_head *head)
{
    return head->keep_alive && !atomic_load(&c->lane->server->draining);
}

/* A stream of events has no length that is known when it begins. */
static bool is_stream(const struct http_answer *a)
{
    return a->content_type != NULL && str_starts(str_of(a->content_type), "text/event-stream");
}

static void put_chunks(struct buf *out, struct str body)
{
    if (body.n > 0)
        http1_put_chunk(out, body);
    http1_put_chunk(out, STR(""));
}

static void put_answer(struct conn *c, const struct http_answer *a, bool keep_alive, bool http10,
                       bool head_only)
{
    bool chunked = !http10 && is_stream(a);
    struct buf *out = net_conn_out(c->net);
    http1_put_reply_head(out, &(struct http_reply){ .code = a->code,
                                                    .content_type = a->content_type,
                                                    .encoding = a->encoding,
                                                    .extra = a->extra,
                                                    .body_bytes = a->body.n,
                                                    .keep_alive = keep_alive,
                                                    .http10 = http10,
                                                    .chunked = chunked });
    if (chunked && !head_only)
        put_chunks(out, a->body);
    else if (!head_only && a->body.n >= LARGE_REPLY)
        net_conn_flush_with(c->net, a->body.p, a->body.n);
    else if (!head_only)
        buf_append(out, a->body.p, a->body.n);
    conn_flush(c);
    if (!keep_alive)
        conn_finish(c);
}

static void answer(const struct http_request *r, const struct http_answer *a)
{
    put_answer(r->conn, a, stays_open(r->conn, r->head), r->head->minor == 0,
               str_is(r->head->method, "HEAD"));
    buf_consume(r->in, r->used);
}

/* The connection cannot go on: where the next request begins is not known. */
static void refuse(struct conn *c, int code, const char *words)
{
    struct buf b;
    conn_hold(c, 0); /* before the peer hears of it and comes again */
    buf_init(&b, LIMIT_HTTP_HEADER_BYTES);
    http_put_error(&b, words);
    put_answer(c,
               &(struct http_answer){ .code = code,
                                      .content_type = "application/json",
                                      .extra = code == 503 ? "Retry-After: 1\r\n" : NULL,
                                      .body = buf_view(&b) },
               false, false, false);
    buf_deinit(&b);
}

static void refuse_busy(struct conn *c)
{
    refuse(c, 503, BODIES_TOO_LARGE);
}

/* ---- inference ---- */

static void answer_call(struct conn *c, const struct call *call)
{
    struct http_answer_room room;
    buf_init(&room.body, LIMIT_HTTP_HEADER_BYTES);
    struct http_answer a = http_call_answer(call, &room);
    put_answer(c, &a, call->keep_alive, call->http10, false);
    buf_deinit(&room.body);
}

static void done(struct call *call)
{
    struct conn *c = call->conn;
    if (c->net != NULL) {
        answer_call(c, call);
        net_conn_owe(c->net, -1);
        ((struct http *)c->state)->busy = false;
        if (!c->feeding)
            net_conn_resume(c->net);
    }
    call_free(call);
}

/* A body that came in chunks lies in the protocol's buffer, which goes along. */
static void adopt_chunks(struct http *h, struct call *call, size_t max)
{
    if (h->phase != PHASE_CHUNKS)
        return;
    buf_deinit(&call->taken);
    call->taken = h->body;
    buf_init(&h->body, max);
}

static void start(const struct http_request *r, struct call *call)
{
    struct http *h = r->exchange;
    call->keep_alive = stays_open(r->conn, r->head);
    call->http10 = r->head->minor == 0;
    call->done = done;
    adopt_chunks(h, call, r->conn->lane->server->options.max_body_bytes);
    h->busy = true;
    conn_hold(r->conn, 0); /* the call counts it from here on */
    call_start(call, r->in, r->used);
}

static const struct http_carrier carrier = { answer, start };

/* ---- receiving ---- */

static bool asks_for_h2(const struct http_head *head)
{
    return http_header_lists(http_header_find(head, "Upgrade"), "h2c") &&
           http_header_lists(http_header_find(head, "Connection"), "HTTP2-Settings");
}

/* false: the connection is HTTP/2's from here on, and h is gone. */
static bool serve(struct conn *c, struct http *h, const struct http_head *head, struct str body,
                  struct buf *in, size_t used)
{
    struct http_request r = { &carrier, c, h, head, body, in, used };
    conn_set_partial(c, false);
    if (asks_for_h2(head) && h2_take_over(c, head, body)) {
        close_state(h);
        buf_consume(in, used);
        return false;
    }
    route_request(&r);
    conn_hold(c, 0);
    if (h->phase == PHASE_CHUNKS)
        net_conn_read_first(c->net, FIRST_READ_BYTES);
    h->phase = PHASE_HEAD;
    h->seen = 0;
    buf_clear(&h->head);
    buf_clear(&h->body);
    return true;
}

static bool step_length(struct conn *c, struct http *h, struct buf *in)
{
    struct http_head head;
    if (in->len - h->head_bytes < h->length)
        return false;
    /* Again: the buffer may have moved. */
    http1_request(h->head.len > 0 ? buf_view(&h->head) : buf_view(in), 0, &head);
    struct str body = { (const char *)in->data + h->head_bytes, (size_t)h->length };
    return serve(c, h, &head, body, in, h->head_bytes + (size_t)h->length);
}

static bool step_chunks(struct conn *c, struct http *h, struct buf *in)
{
    struct http_head head;
    struct parse p = http1_chunked(&h->chunks, buf_view(in), &h->body);
    if (p.state == PARSE_BAD) {
        refuse(c, status_http(p.why),
               p.why == TOO_LARGE ? "the body is larger than --max-body-size allows"
                                  : "the body's chunks are malformed");
        return false;
    }
    buf_consume(in, p.state == PARSE_MORE ? in->len : p.used);
    if (!conn_hold(c, h->body.len)) {
        refuse_busy(c);
        return false;
    }
    if (p.state == PARSE_MORE)
        return false;
    http1_request(buf_view(&h->head), 0, &head);
    return serve(c, h, &head, buf_view(&h->body), in, 0);
}

static void say_continue(struct conn *c, const struct http_head *head)
{
    if (!head->expect_continue)
        return;
    buf_str(net_conn_out(c->net), "HTTP/1.1 100 Continue\r\n\r\n");
    net_conn_flush(c->net);
}

/* A large body is placed so that tensors which follow a JSON header, whose length the head tells, begin at a whole cache
 * line: they can then be used where they lie. Of the head only so many bytes stay in front of it. */
static void align_body(struct http *h, const struct http_head *head, struct buf *in, size_t used)
{
    uint64_t json = 0;
    str_to_u64(http_header_find(head, "Inference-Header-Content-Length"), &json);
    size_t front = (size_t)(-json % CACHE_LINE);
    if (front > used)
        return;
    buf_append(&h->head, in->data, used);
    buf_consume(in, used - front);
    h->head_bytes = front;
    /* At once what the body is said to need, instead of growing to it: but no more than a peer may cost us by words alone. */
    size_t whole =
        front + (size_t)(h->length < LIMIT_PROMISED_BYTES ? h->length : LIMIT_PROMISED_BYTES);
    if (whole > in->len)
        buf_reserve(in, whole - in->len);
}

static bool begin_body(struct conn *c, struct http *h, const struct http_head *head, struct buf *in,
                       size_t used)
{
    if (head->content_length > c->lane->server->options.max_body_bytes) {
        char words[128];
        snprintf(words, sizeof(words), "the body has %llu bytes, --max-body-size allows %zu",
                 (unsigned long long)head->content_length, c->lane->server->options.max_body_bytes);
        refuse(c, status_http(TOO_LARGE), words);
        return false;
    }
    if (!conn_hold(c, (size_t)head->content_length)) {
        refuse_busy(c);
        return false;
    }
    if (!head->chunked && in->len - used >= head->content_length) { /* it is whole already */
        struct str body = { (const char *)in->data + used, (size_t)head->content_length };
        return serve(c, h, head, body, in, used + body.n);
    }
    say_continue(c, head);
    h->head_bytes = used;
    h->length = head->content_length;
    h->phase = head->chunked ? PHASE_CHUNKS : PHASE_LENGTH;
    if (head->chunked) {
        buf_append(&h->head, in->data, used);
        buf_consume(in, used);
        h->chunks = (struct http_chunked){ 0 };
        net_conn_read_first(c->net, 0);
    } else if (h->length >= ALIGN_FROM) {
        align_body(h, head, in, used);
    }
    return true;
}

static void refuse_head(struct conn *c, status why, const char *fault)
{
    char words[256];
    if (why == TOO_LARGE && fault == NULL)
        snprintf(words, sizeof(words),
                 "the request's head is larger than --max-header-size allows, which is %zu bytes",
                 c->lane->server->options.max_header_bytes);
    else if (why == TOO_LARGE)
        snprintf(words, sizeof(words), "the request's head has more than %d headers",
                 LIMIT_HTTP_HEADERS);
    else
        snprintf(words, sizeof(words), "the request's head is malformed: %s", fault);
    refuse(c, why == TOO_LARGE ? 431 : 400, words);
}

static bool step_head(struct conn *c, struct http *h, struct buf *in)
{
    struct http_head head;
    struct parse p = http1_request(buf_view(in), h->seen, &head);
    conn_set_partial(c, in->len > 0);
    h->seen = in->len;
    if (in->len > c->lane->server->options.max_header_bytes &&
        (p.state == PARSE_MORE || p.used > c->lane->server->options.max_header_bytes)) {
        p = parse_bad(TOO_LARGE);
        head.fault = NULL;
    }
    if (p.state == PARSE_MORE)
        return false;
    if (p.state == PARSE_BAD) {
        refuse_head(c, p.why, head.fault);
        return false;
    }
    return begin_body(c, h, &head, in, p.used);
}

static void feed(struct conn *c, struct buf *in)
{
    static bool (*const step[])(struct conn *, struct http *, struct buf *) = {
        [PHASE_HEAD] = step_head, [PHASE_LENGTH] = step_length, [PHASE_CHUNKS] = step_chunks
    };
    struct http *h = c->state;
    const struct protocol *self = c->proto;
    while (c->proto == self && !c->closing && !h->busy && step[h->phase](c, h, in))
        continue;
    if (c->proto != self)
        c->proto->feed(c, in);
    else if (h->busy) /* what else is there waits for the answer */
        net_conn_pause(c->net);
}

const struct protocol protocol_http1 = { "HTTP/1.1",  sniff, open_state, feed,
                                         close_state, NULL,  NULL };
