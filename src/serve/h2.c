/* HTTP/2: the same routes as HTTP/1.1, many requests on one connection at once; gRPC on top of it (grpc.c). */
#include "serve/grpc.h"

#include "base/clock.h"
#include "base/mem.h"
#include "codec/base64.h"

#include <stdio.h>
#include <string.h>

#define HELD_BYTES \
    ((size_t)64 << 20) /* of unfinished bodies on one connection, over the largest one */
#define PUMP_BYTES ((size_t)256 << 10) /* output that is made before the socket is asked again */
#define FIELDS     24                  /* header fields of an answer */

struct h2_conn {
    struct conn *conn;
    struct h2 *h2;
    struct buf *in;      /* while it is fed */
    uint64_t ends, told; /* requests that were whole: until now, when last looked at */
    uint64_t sent,
        stalled_ns; /* h2_sent when last looked at, and since when it is so; 0: nothing waits */
    bool draining, pumping;
};

/* ---- answers ---- */

/* "Name: value\r\n" lines of an answer made for HTTP/1.1. The names are lowered by nghttp2's copy. */
static int take_lines(const char *lines, struct http_header *field, int room)
{
    struct str left = str_of(lines), line, name;
    int n = 0;
    while (n < room && left.n > 0) {
        str_cut(&left, '\n', &line);
        line = str_trim(line);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        if (!str_cut(&line, ':', &name))
            continue;
        field[n++] = (struct http_header){ name, str_trim(line) };
    }
    return n;
}

static int answer_fields(const struct http_answer *a, char code[12], char length[24],
                         struct http_header *field)
{
    int n = 0;
    field[n++] =
        (struct http_header){ STR(":status"), { code, (size_t)snprintf(code, 12, "%d", a->code) } };
    if (a->content_type != NULL)
        field[n++] = (struct http_header){ STR("content-type"), str_of(a->content_type) };
    if (a->encoding != NULL)
        field[n++] = (struct http_header){ STR("content-encoding"), str_of(a->encoding) };
    if (a->code != 204)
        field[n++] =
            (struct http_header){ STR("content-length"),
                                  { length, (size_t)snprintf(length, 24, "%zu", a->body.n) } };
    if (a->extra != NULL)
        n += take_lines(a->extra, field + n, FIELDS - n);
    return n;
}

static void put_answer(struct h2_stream *s, const struct http_answer *a)
{
    char code[12], length[24];
    struct http_header field[FIELDS];
    int n = answer_fields(a, code, length, field);
    bool body = a->body.n > 0 && !str_is(h2_field(&s->head, ":method"), "HEAD");
    h2_answer(s, field, n, !body);
    if (!body)
        return;
    h2_write(s, a->body);
    h2_finish(s, NULL, 0);
}

static void answer(const struct http_request *r, const struct http_answer *a)
{
    put_answer(r->exchange, a);
}

/* ---- inference ---- */

static void done(struct call *call)
{
    struct conn *c = call->conn;
    struct h2_stream *s = call->exchange;
    if (s != NULL) {
        struct http_answer_room room;
        buf_init(&room.body, LIMIT_HTTP_HEADER_BYTES);
        struct http_answer a = http_call_answer(call, &room);
        s->user = NULL;
        put_answer(s, &a);
        buf_deinit(&room.body);
    }
    h2_call_over(call);
    if (s != NULL)
        h2_send(c);
    call_free(call);
}

void h2_call_start(struct h2_stream *s, struct call *call, void (*when_done)(struct call *call),
                   struct str body)
{
    struct h2_conn *h = call->conn->state;
    struct buf none = { 0 };
    call->exchange = s;
    call->done = when_done;
    call->body = body;
    s->user = call;
    if (body.p != NULL && body.p >= (char *)s->body.data &&
        body.p < (char *)s->body.data + s->body.len)
        h2_give_body(s, &call->taken);
    call_start(call, h->in != NULL ? h->in : &none, 0);
}

void h2_call_over(struct call *call)
{
    struct conn *c = call->conn;
    if (c->net != NULL)
        net_conn_owe(c->net, -1);
}

static void start(const struct http_request *r, struct call *call)
{
    h2_call_start(r->exchange, call, done, r->body);
}

static const struct http_carrier carrier = { answer, start };

/* ---- events ---- */

static void refuse(struct h2_stream *s, int code, const char *words)
{
    struct buf b;
    buf_init(&b, LIMIT_HTTP_HEADER_BYTES);
    http_put_error(&b, words);
    put_answer(s, &(struct http_answer){
                      .code = code, .content_type = "application/json", .body = buf_view(&b) });
    buf_deinit(&b);
}

static void refuse_large(struct conn *c, struct h2_stream *s)
{
    char words[128];
    size_t most = c->lane->server->options.max_header_bytes;
    bool head = s->head.count == 0 || s->head.bytes.len > most / 2;
    snprintf(words, sizeof(words), "the body is larger than --max-body-size allows (%zu bytes)",
             c->lane->server->options.max_body_bytes);
    if (s->crowded)
        refuse(s, 503, BODIES_TOO_LARGE);
    else
        refuse(s, head ? 431 : 413, head ? "the request's head is too large" : words);
}

/* A length that is too large is refused before its bytes come. */
static void on_head(void *arg, struct h2_stream *s)
{
    struct h2_conn *h = arg;
    uint64_t n;
    if (grpc_is(s))
        grpc_on_head(h->conn, s);
    else if (str_to_u64(h2_field(&s->head, "content-length"), &n) &&
             n > h->conn->lane->server->options.max_body_bytes)
        refuse_large(h->conn, s);
}

static void on_data(void *arg, struct h2_stream *s)
{
    struct h2_conn *h = arg;
    grpc_on_data(h->conn, s);
}

static void on_end(void *arg, struct h2_stream *s)
{
    struct h2_conn *h = arg;
    struct http_head head;
    h->ends++;
    if (grpc_is(s)) {
        grpc_on_end(h->conn, s);
        return;
    }
    if (s->answered)
        return;
    if (s->too_large) {
        refuse_large(h->conn, s);
        return;
    }
    h2_http_head(s, &head);
    struct http_request r = { &carrier, h->conn, s, &head, h2_body(s), NULL, 0 };
    route_request(&r);
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t error)
{
    struct h2_conn *h = arg;
    struct call *call = s->user;
    if (call == NULL)
        return;
    if (s->streaming) {
        grpc_on_closed(h->conn, s);
        return;
    }
    call->exchange = NULL;
    atomic_store(&call->cancelled, true);
}

static size_t expect(void *arg, struct h2_stream *s, struct str first, size_t *pad)
{
    uint64_t n = 0;
    if (grpc_is(s))
        return grpc_expect(first, pad);
    return str_to_u64(h2_field(&s->head, "content-length"), &n) ? (size_t)n : 0;
}

static const struct h2_events events = { on_head, on_data, on_end, on_closed, expect };

/* ---- the connection ---- */

static enum sniff sniff(struct str bytes)
{
    static const char preface[] = "PRI * HTTP/2.0";
    size_t whole = sizeof(preface) - 1, n = bytes.n < whole ? bytes.n : whole;
    if (n > 0 && memcmp(bytes.p, preface, n) != 0)
        return SNIFF_NO;
    return n == whole ? SNIFF_YES : SNIFF_MORE;
}

static void *open_state(struct conn *c)
{
    struct h2_conn *h = mem_zalloc(sizeof(*h));
    size_t max = c->lane->server->options.max_body_bytes;
    struct h2_options opt = { .events = &events,
                              .arg = h,
                              .pool = &c->lane->h2_pool,
                              .max_header_bytes = c->lane->server->options.max_header_bytes,
                              .max_body_bytes = max,
                              .max_held_bytes = max + HELD_BYTES,
                              .max_streams = (uint32_t)c->lane->server->options.max_streams };
    h->conn = c;
    net_conn_read_first(c->net, 0);
    if (h2_new(&opt, &h->h2) != OK)
        conn_finish(c);
    return h;
}

static void close_state(void *state)
{
    struct h2_conn *h = state;
    h2_free(h->h2);
    mem_free(h);
}

/* Fills the output with what there is, as far as the socket takes it. */
static void fill(struct h2_conn *h)
{
    struct conn *c = h->conn;
    struct buf *out = net_conn_out(c->net);
    while (net_conn_waiting(c->net) < PUMP_BYTES) {
        h2_pump(h->h2, out, PUMP_BYTES);
        if (out->len < PUMP_BYTES)
            break;
        net_conn_flush(c->net);
    }
}

/* The same, with what streams say now that there is room: those may have been held back. */
static void pump(struct h2_conn *h)
{
    bool more = true;
    if (h->pumping)
        return;
    h->pumping = true;
    while (more) {
        struct h2_stream *s;
        fill(h);
        more = false;
        while ((s = h2_next_taken(h->h2)) != NULL) {
            grpc_on_taken(h->conn, s);
            more = net_conn_waiting(h->conn->net) < PUMP_BYTES;
        }
    }
    h->pumping = false;
    if (h2_is_over(h->h2))
        conn_finish(h->conn);
}

void h2_send(struct conn *c)
{
    struct h2_conn *h = c->state;
    if (c->net == NULL || c->feeding || h->pumping)
        return;
    pump(h);
    net_conn_flush(c->net);
}

/* A peer that opens no window holds answers back in our memory. While it says something now and then, no other timeout
 * ends that. */
static void end_if_stalled(struct h2_conn *h)
{
    uint64_t sent = h2_sent(h->h2);
    uint64_t limit_ns = (uint64_t)h->conn->lane->server->options.write_timeout_s * 1000000000;
    if (h2_unsent(h->h2) == 0 || limit_ns == 0) {
        h->stalled_ns = 0;
    } else if (h->stalled_ns == 0 || sent != h->sent) {
        h->stalled_ns = clock_ns();
        h->sent = sent;
    } else if (clock_ns() - h->stalled_ns > limit_ns) {
        net_conn_close(h->conn->net);
    }
}

/* The time of a request that is slow in coming counts from the last one that was whole. */
static void note_progress(struct h2_conn *h)
{
    end_if_stalled(h);
    if (h->ends != h->told)
        conn_set_partial(h->conn, false);
    h->told = h->ends;
    conn_set_partial(h->conn, h2_incomplete(h->h2) > 0);
}

static void drain(struct conn *c)
{
    struct h2_conn *h = c->state;
    if (h->h2 == NULL)
        return;
    if (!h->draining)
        h2_drain(h->h2);
    h->draining = true;
    h2_send(c);
}

/* Bodies that are not whole yet: what the server has room for, and on one connection never more than it should need. */
static void bound_held(struct h2_conn *h)
{
    size_t most = h->conn->lane->server->options.max_body_bytes + HELD_BYTES;
    size_t room = conn_room(h->conn) + h->conn->held + HOLD_FROM;
    h2_set_max_held(h->h2, room < most ? room : most);
}

static void feed(struct conn *c, struct buf *in)
{
    struct h2_conn *h = c->state;
    if (h->h2 == NULL)
        return;
    if (atomic_load(&c->lane->server->draining))
        drain(c);
    bound_held(h);
    h->in = in;
    h2_feed(h->h2, buf_view(in));
    h->in = NULL;
    buf_clear(in);
    pump(h);
    conn_hold(c, h2_held(h->h2));
    note_progress(h);
}

/* HTTP2-Settings is in base64's alphabet for URLs. */
static bool decode_settings(struct str text, struct buf *out)
{
    char plain[512];
    if (text.n == 0 || text.n > sizeof(plain))
        return false;
    for (size_t i = 0; i < text.n; i++)
        plain[i] = (char)(text.p[i] == '-' ? '+' : text.p[i] == '_' ? '/' : text.p[i]);
    return base64_decode((struct str){ plain, text.n }, out);
}

static bool upgrade(struct conn *c, struct h2_conn *h, const struct http_head *head,
                    struct str body)
{
    struct buf settings;
    buf_init(&settings, 1024);
    bool good = h->h2 != NULL &&
                decode_settings(http_header_find(head, "HTTP2-Settings"), &settings) &&
                h2_upgrade(h->h2, buf_view(&settings), head, body) == OK;
    buf_deinit(&settings);
    return good;
}

bool h2_take_over(struct conn *c, const struct http_head *head, struct str body)
{
    struct buf *out = net_conn_out(c->net);
    struct h2_conn *h = open_state(c);
    void *before = c->state;
    size_t out_before = out->len;
    c->state = h;
    buf_str(out, "HTTP/1.1 101 Switching Protocols\r\n"
                 "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    if (!upgrade(c, h, head, body)) {
        out->len = out_before;
        c->state = before;
        close_state(h);
        return false;
    }
    c->proto = &protocol_h2;
    return true;
}

const struct protocol protocol_h2 = {
    "HTTP/2", sniff, open_state, feed, close_state, h2_send, drain
};
