#include "serve/grpc.h"

#include "base/clock.h"
#include "base/mem.h"
#include "codec/pb.h"
#include "serve/note.h"

#include <stdio.h>
#include <string.h>

#define COMPRESS_FROM 512 /* bytes of a reply */
#define WORDS_MAX     2048
#define COLD_BYTES    ((size_t)16 << 20) /* of an inflated message that is no inference */
#define LARGE_FIELD   ((size_t)32 << 10)
#define STREAM_CALLS  32 /* of one stream that are on their way at once */
#define UNREAD_BYTES \
    ((size_t)1 << 20) /* answers that wait in a stream: no more are made meanwhile */

/* Those of one service are neighbours. */
static const struct grpc_method *const tables[] = { grpc_oip,      grpc_oip_more, grpc_general,
                                                    grpc_pipeline, grpc_health,   grpc_reflection };

const struct grpc_method *grpc_method_next(size_t *at)
{
    size_t left = *at;
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct grpc_method *m = tables[t]; m->path != NULL; m++)
            if (left-- == 0) {
                ++*at;
                return m;
            }
    return NULL;
}

static const struct grpc_method *find_method(struct str path)
{
    for (size_t t = 0; t < ARRAY_LEN(tables); t++)
        for (const struct grpc_method *m = tables[t]; m->path != NULL; m++)
            if (str_is(path, m->path))
                return m;
    return NULL;
}

bool grpc_is(const struct h2_stream *s)
{
    struct str type = h2_field(&s->head, "content-type");
    return str_starts(type, "application/grpc") &&
           (type.n == 16 || type.p[16] == '+' || type.p[16] == ';');
}

/* ---- what goes out ---- */

#define FIELDS_MAX (5 + NOTE_FIELDS)

/* What every answer says first, and what there is to say of the call that it is of (or NULL); as many as this are filled. */
static int put_fields(struct http_header *field, const struct call *call, struct note_room *room)
{
    field[0] = (struct http_header){ STR(":status"), STR("200") };
    field[1] = (struct http_header){ STR("content-type"), STR("application/grpc") };
    if (call == NULL)
        return 2;
    int n = 2 + note_fields(call->note, call, room, field + 2);
    struct str variant = call_variant(call);
    if (variant.n > 0)
        field[n++] = (struct http_header){ STR("x-oar-variant"), variant };
    return n;
}

static void begin_answer(struct h2_stream *s, compression packed, const struct call *call)
{
    struct http_header field[FIELDS_MAX];
    struct note_room room;
    if (s->answered)
        return;
    int n = put_fields(field, call, &room);
    if (packed != COMPRESSION_NONE)
        field[n++] =
            (struct http_header){ STR("grpc-encoding"), str_of(grpc_encoding_name(packed)) };
    h2_answer(s, field, n, false);
}

/* The status as trailers, or, where nothing was sent, as the whole answer. */
static void end_answer(struct h2_stream *s, enum grpc_code code, const char *words,
                       const struct call *call)
{
    char number[12];
    struct note_room room;
    struct http_header field[FIELDS_MAX];
    struct buf text;
    buf_init(&text, WORDS_MAX * 3);
    grpc_put_message(&text, (struct str){ words, strnlen(words, WORDS_MAX) });
    int n = s->answered ? 0 : put_fields(field, call, &room);
    field[n++] =
        (struct http_header){ STR("grpc-status"),
                              { number, (size_t)snprintf(number, sizeof(number), "%d", code) } };
    if (text.len > 0)
        field[n++] = (struct http_header){ STR("grpc-message"), buf_view(&text) };
    if (s->answered)
        h2_finish(s, field, n);
    else
        h2_answer(s, field, n, true);
    buf_deinit(&text);
}

static void end_well(struct h2_stream *s)
{
    static const struct http_header ok = { { "grpc-status", 11 }, { "0", 1 } };
    h2_finish(s, &ok, 1);
}

void grpc_send(struct grpc_rpc *g, struct str message)
{
    uint8_t head[GRPC_HEAD_BYTES];
    begin_answer(g->stream, COMPRESSION_NONE, NULL);
    grpc_put_head(head, message.n, false);
    h2_write(g->stream, (struct str){ (char *)head, sizeof(head) });
    h2_write(g->stream, message);
}

/* NULL: nothing is to be noted of it. */
static struct note *note_of(const struct grpc_rpc *g, bool plain, struct arena *a)
{
    struct note_source from = { .method = STR("POST"), .plain = plain };
    struct http_header f;
    for (size_t at = 0; h2_field_next(&g->stream->head, &at, &f);) {
        if (str_is(f.name, ":path"))
            from.target = f.value;
        else if (str_is(f.name, "x-request-id"))
            from.request_id = f.value;
        else if (str_is(f.name, "x-want-timing"))
            from.timing = true;
        else if (str_is(f.name, "traceparent"))
            from.traceparent = f.value;
    }
    return note_new(g->conn, &from, a);
}

/* A line of the access log for an answer that needed no call. */
static void note_plain(struct grpc_rpc *g, status s, size_t bytes)
{
    struct lane *lane = g->conn->lane;
    if (lane->server->access == NULL || g->method->streaming)
        return;
    note_answer(g->conn, note_of(g, true, &lane->scratch), status_http(s), bytes, g->begin_ns);
}

void grpc_reply(struct grpc_rpc *g, struct str message)
{
    grpc_send(g, message);
    end_well(g->stream);
    note_plain(g, OK, message.n);
}

void grpc_end(struct grpc_rpc *g, enum grpc_code code, const char *words)
{
    if (code == GRPC_OK) {
        begin_answer(g->stream, COMPRESSION_NONE, NULL);
        end_well(g->stream);
    } else {
        end_answer(g->stream, code, words, NULL);
    }
}

void grpc_fail(struct grpc_rpc *g, status s, const char *words)
{
    end_answer(g->stream, (enum grpc_code)status_grpc(s), words, NULL);
    note_plain(g, s, 0);
}

/* ---- inference ---- */

/* A reply is written behind the room for its head, so that it goes out from where it was written. One that turned out too
 * small to compress has none. */
static void put_reply(struct h2_stream *s, struct call *call)
{
    struct buf *reply = &call->reply;
    bool has_room = call->compressed || call->reply_compression == COMPRESSION_NONE;
    uint8_t head[GRPC_HEAD_BYTES];
    begin_answer(s, call->compressed ? call->reply_compression : COMPRESSION_NONE, call);
    if (has_room) {
        grpc_put_head(reply->data, reply->len - GRPC_HEAD_BYTES, call->compressed);
    } else {
        grpc_put_head(head, reply->len, false);
        h2_write(s, (struct str){ (char *)head, sizeof(head) });
    }
    h2_write_buf(s, reply);
    end_well(s);
}

static void done(struct call *call)
{
    struct conn *c = call->conn;
    struct h2_stream *s = call->exchange;
    if (s != NULL) {
        s->user = NULL;
        if (call->result == OK)
            put_reply(s, call);
        else
            end_answer(s, (enum grpc_code)status_grpc(call->result), call->err.text, call);
    }
    h2_call_over(call);
    if (s != NULL)
        h2_send(c);
    call_free(call);
}

/* The reply is packed as the request was, where the client can read that. */
static compression reply_packing(const struct h2_stream *s)
{
    compression packed = COMPRESSION_NONE;
    struct str name = h2_field(&s->head, "grpc-encoding");
    if (name.n == 0 || !grpc_encoding(name, &packed) || packed == COMPRESSION_NONE)
        return COMPRESSION_NONE;
    return http_header_lists(h2_field(&s->head, "grpc-accept-encoding"), grpc_encoding_name(packed))
               ? packed
               : COMPRESSION_NONE;
}

struct call *grpc_call(struct grpc_rpc *g, struct flow *flow, const struct call_format *format)
{
    struct call *call = call_new(g->conn);
    call->format = format;
    call->flow = flow != NULL ? flow_ref(flow) : NULL;
    call->body_compression = g->packing;
    call->reply_compression = reply_packing(g->stream);
    call->compress_from = COMPRESS_FROM;
    call->deadline_ns = g->deadline_ns;
    call->note = note_of(g, false, &call->arena);
    buf_append(&call->reply, "\0\0\0\0", GRPC_HEAD_BYTES);
    return call;
}

static void go_on(struct grpc_rpc *g);

static void done_in_stream(struct call *call)
{
    struct h2_stream *s = call->exchange;
    if (s != NULL) {
        call->ended = true;
        go_on(s->user);
    } else {
        h2_call_over(call);
        call_free(call);
    }
}

/* The message is copied: the stream's buffer goes on. */
static void start_in_stream(struct grpc_rpc *g, struct call *call, struct str message)
{
    struct buf none = { 0 };
    buf_clear(&call->reply); /* grpc_send writes the head */
    call->reply_compression = COMPRESSION_NONE;
    buf_append(&call->taken, message.p, message.n);
    call->body = buf_view(&call->taken);
    call->exchange = g->stream;
    call->done = done_in_stream;
    call->ended = false;
    list_push_back(&g->calls, &call->node);
    g->call_count++;
    call_start(call, &none, 0);
}

void grpc_start(struct grpc_rpc *g, struct call *call, struct str message)
{
    net_conn_owe(g->conn->net, 1);
    if (g->method->streaming)
        start_in_stream(g, call, message);
    else
        h2_call_start(g->stream, call, done, message);
}

/* ---- unary calls ---- */

static void take_deadline(struct grpc_rpc *g)
{
    uint64_t ns;
    struct str text = h2_field(&g->stream->head, "grpc-timeout");
    if (text.n > 0 && grpc_timeout(text, &ns))
        g->deadline_ns = clock_ns() + ns;
}

/* The one message of a call. Words, or NULL. */
static const char *cut_one(struct str body, size_t max, struct str *message, bool *packed)
{
    struct parse p = grpc_parse(body, max, message, packed);
    if (p.state == PARSE_BAD)
        return p.why == TOO_LARGE ? "the message is larger than --max-body-size allows"
                                  : "no gRPC message: its first byte is neither 0 nor 1";
    if (p.state == PARSE_MORE)
        return body.n == 0 ? "the call wants one message, none came"
                           : "the message is shorter than its length says";
    return p.used == body.n ? NULL : "the call wants one message, more came";
}

static status take_packing(struct grpc_rpc *g, struct err *e)
{
    struct str name = h2_field(&g->stream->head, "grpc-encoding");
    g->packing = COMPRESSION_NONE;
    if (name.n > 0 && !grpc_encoding(name, &g->packing))
        return err_set(e, UNSUPPORTED,
                       "grpc-encoding '%.*s' is not known; expected gzip, deflate or identity",
                       STR_ARG(name));
    if (g->packing == COMPRESSION_NONE)
        return err_set(e, INVALID, "a compressed message without grpc-encoding");
    return OK;
}

static void serve_inflated(struct grpc_rpc *g, struct str message)
{
    struct err e = { "" };
    struct buf plain;
    buf_init(&plain, COLD_BYTES);
    status s = decompress(g->packing, message, &plain, &e);
    if (s == OK)
        g->method->serve(g, buf_view(&plain));
    else
        grpc_fail(g, s, e.text);
    buf_deinit(&plain);
}

static void serve_message(struct grpc_rpc *g, struct str message, bool packed)
{
    struct err e = { "" };
    struct lane *lane = g->conn->lane;
    struct http_head head;
    g->packing = COMPRESSION_NONE;
    status s = packed ? take_packing(g, &e) : OK;
    h2_http_head(g->stream, &head);
    lane->asking = &head;
    if (s != OK)
        grpc_fail(g, s, e.text);
    else if (packed && !g->method->takes_packed)
        serve_inflated(g, message);
    else
        g->method->serve(g, message);
    lane->asking = NULL;
    arena_reset(&lane->scratch);
}

static void serve_unary(struct conn *c, struct h2_stream *s, const struct grpc_method *m)
{
    struct grpc_rpc g = { .conn = c, .stream = s, .method = m };
    struct str message;
    bool packed;
    const char *words =
        s->crowded ? BODIES_TOO_LARGE
        : s->too_large
            ? "the message is larger than --max-body-size allows"
            : cut_one(h2_body(s), c->lane->server->options.max_body_bytes, &message, &packed);
    take_deadline(&g);
    if (c->lane->server->access != NULL)
        g.begin_ns = clock_ns();
    if (words != NULL)
        grpc_fail(&g, s->crowded ? BUSY : s->too_large ? TOO_LARGE : INVALID, words);
    else
        serve_message(&g, message, packed);
}

/* ---- streaming calls ---- */

/* true: a message was served, or the call has ended. */
static bool serve_next(struct grpc_rpc *g)
{
    struct h2_stream *s = g->stream;
    struct str message;
    bool packed;
    struct parse p = grpc_parse(buf_view(&s->body), s->body.max, &message, &packed);
    if (p.state == PARSE_MORE) {
        h2_want_more(s); /* of a message that may be larger than the stream's window */
        return false;
    }
    if (p.state == PARSE_BAD) {
        grpc_fail(g, p.why, "no gRPC message, or one larger than --max-body-size allows");
        return true;
    }
    serve_message(g, message, packed);
    h2_take(s, p.used);
    return true;
}

static void end_stream(struct grpc_rpc *g)
{
    if (g->stream->body.len > 0)
        grpc_fail(g, INVALID, "the stream ends within a message");
    else if (g->method->ended != NULL)
        g->method->ended(g);
    else
        grpc_end(g, GRPC_OK, "");
}

/* Answers those calls that have ended and before which none is on its way; they move to *answered. */
static void answer_ended(struct grpc_rpc *g, struct list *answered)
{
    while (!list_empty(&g->calls)) {
        struct call *call = LIST_ENTRY(g->calls.next, struct call, node);
        if (!call->ended)
            return;
        list_remove(&call->node);
        list_push_back(answered, &call->node);
        g->call_count--;
        if (!g->stream->out_whole)
            g->method->answer(g, call);
    }
}

/* A client that asks and does not read what it is told is not told more. */
static bool has_room(const struct grpc_rpc *g)
{
    return g->call_count < STREAM_CALLS && !g->stream->out_whole &&
           h2_out_bytes(g->stream) < UNREAD_BYTES;
}

/* Serves what messages there are. g may have gone behind it, except where its stream's events are being told. */
static void go_on(struct grpc_rpc *g)
{
    struct h2_stream *s = g->stream;
    struct conn *c = g->conn;
    struct list answered;
    bool more = true;
    list_init(&answered);
    if (g->looping) /* a call that was computed at once: the loop below sees that it has ended */
        return;
    g->looping = true;
    while (more) {
        answer_ended(g, &answered);
        more = has_room(g) && serve_next(g);
    }
    g->looping = false;
    if (g->call_count == 0 && has_room(g) && s->ended)
        end_stream(g);
    for (struct list *l = answered.next; l != &answered; l = l->next)
        h2_call_over(LIST_ENTRY(l, struct call, node));
    h2_send(c);
    while (!list_empty(&answered)) {
        struct call *call = LIST_ENTRY(answered.next, struct call, node);
        list_remove(&call->node);
        call_free(call);
    }
}

static void open_stream(struct conn *c, struct h2_stream *s, const struct grpc_method *m)
{
    struct grpc_rpc *g = mem_zalloc(sizeof(*g));
    list_init(&g->node);
    list_init(&g->calls);
    g->conn = c;
    g->stream = s;
    g->method = m;
    take_deadline(g);
    s->user = g;
    s->streaming = true;
}

/* ---- events ---- */

static void fail_unknown(struct h2_stream *s, struct str path)
{
    char words[ERR_TEXT_MAX];
    snprintf(words, sizeof(words), "no method '%.*s'; grpc.reflection lists what there is",
             STR_ARG(path));
    end_answer(s, GRPC_UNIMPLEMENTED, words, NULL);
}

static status check_access(struct conn *c, struct h2_stream *s, const struct grpc_method *m,
                           struct err *e)
{
    struct str key =
        access_key(h2_field(&s->head, "authorization"), h2_field(&s->head, "x-api-key"));
    return access_check(c, m->group, key, e);
}

void grpc_on_head(struct conn *c, struct h2_stream *s)
{
    struct str path = h2_field(&s->head, ":path");
    const struct grpc_method *m = find_method(path);
    struct err e = { "" };
    status allowed = m != NULL ? check_access(c, s, m, &e) : OK;
    if (m == NULL)
        fail_unknown(s, path);
    else if (allowed != OK)
        end_answer(s, (enum grpc_code)status_grpc(allowed), e.text, NULL);
    else if (m->streaming)
        open_stream(c, s, m);
}

void grpc_on_data(struct conn *c, struct h2_stream *s)
{
    go_on(s->user);
}

void grpc_on_taken(struct conn *c, struct h2_stream *s)
{
    struct grpc_rpc *g = s->user;
    if (g != NULL && (s->body.len > 0 || s->ended))
        go_on(g);
}

size_t grpc_expect(struct str first, size_t *pad)
{
    if (first.n < GRPC_HEAD_BYTES)
        return 0;
    const uint8_t *p = (const uint8_t *)first.p;
    size_t n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    struct str message = { first.p + GRPC_HEAD_BYTES, first.n - GRPC_HEAD_BYTES };
    /* raw_input_contents lie in the message itself. */
    size_t data = pb_find_large(message, LARGE_FIELD, 0);
    *pad = data > 0 ? -(GRPC_HEAD_BYTES + data) % CACHE_LINE : 0;
    return n + GRPC_HEAD_BYTES;
}

void grpc_on_end(struct conn *c, struct h2_stream *s)
{
    const struct grpc_method *m = find_method(h2_field(&s->head, ":path"));
    if (s->streaming && s->user != NULL && s->too_large)
        grpc_fail(s->user, s->crowded ? BUSY : TOO_LARGE,
                  s->crowded ? BODIES_TOO_LARGE
                             : "a message is larger than --max-body-size allows");
    else if (s->streaming && s->user != NULL)
        go_on(s->user);
    else if (m != NULL && !s->answered)
        serve_unary(c, s, m);
}

void grpc_on_closed(struct conn *c, struct h2_stream *s)
{
    struct grpc_rpc *g = s->user;
    list_remove(&g->node);
    while (!list_empty(&g->calls)) {
        struct call *call = LIST_ENTRY(g->calls.next, struct call, node);
        list_remove(&call->node);
        call->exchange = NULL;
        atomic_store(&call->cancelled, true);
        if (call->ended) /* it only waited for others */
            done_in_stream(call);
    }
    if (g->method->closed != NULL)
        g->method->closed(g);
    mem_free(g);
}
