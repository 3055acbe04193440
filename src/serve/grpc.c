#include "serve/grpc.h"

#include "base/clock.h"
#include "base/mem.h"
#include "serve/note.h"

#include <stdio.h>
#include <string.h>

#define COMPRESS_FROM 512 /* bytes of a reply */
#define WORDS_MAX     2048
#define COLD_BYTES    ((size_t)16 << 20) /* of an inflated message that is no inference */

static const struct grpc_method *const tables[] = { grpc_oip, grpc_general, grpc_health,
                                                    grpc_reflection };

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

static void begin_tagged(struct h2_stream *s, compression packed, struct str variant)
{
    struct http_header head[4] = {
        { STR(":status"), STR("200") },
        { STR("content-type"), STR("application/grpc") },
    };
    int count = 2;
    if (packed != COMPRESSION_NONE)
        head[count++] =
            (struct http_header){ STR("grpc-encoding"), str_of(grpc_encoding_name(packed)) };
    if (variant.n > 0)
        head[count++] = (struct http_header){ STR("x-oar-variant"), variant };
    if (!s->answered)
        h2_answer(s, head, count, false);
}

static void begin_answer(struct h2_stream *s, compression packed)
{
    begin_tagged(s, packed, STR(""));
}

/* The status as trailers, or, where nothing was sent, as the whole answer. */
static void end_tagged(struct h2_stream *s, enum grpc_code code, const char *words,
                       struct str variant)
{
    char number[12];
    struct buf text;
    buf_init(&text, WORDS_MAX * 3);
    grpc_put_message(&text, (struct str){ words, strnlen(words, WORDS_MAX) });
    struct http_header field[5] = {
        { STR(":status"), STR("200") },
        { STR("content-type"), STR("application/grpc") },
        { STR("grpc-status"), { number, (size_t)snprintf(number, sizeof(number), "%d", code) } },
        { STR("grpc-message"), buf_view(&text) },
    };
    int tail = text.len > 0 ? 2 : 1;
    if (variant.n > 0)
        field[2 + tail++] = (struct http_header){ STR("x-oar-variant"), variant };
    if (s->answered)
        h2_finish(s, field + 2, tail);
    else
        h2_answer(s, field, 2 + tail, true);
    buf_deinit(&text);
}

static void end_answer(struct h2_stream *s, enum grpc_code code, const char *words)
{
    end_tagged(s, code, words, STR(""));
}

static void end_well(struct h2_stream *s)
{
    static const struct http_header ok = { { "grpc-status", 11 }, { "0", 1 } };
    h2_finish(s, &ok, 1);
}

void grpc_send(struct grpc_rpc *g, struct str message)
{
    uint8_t head[GRPC_HEAD_BYTES];
    begin_answer(g->stream, COMPRESSION_NONE);
    grpc_put_head(head, message.n, false);
    h2_write(g->stream, (struct str){ (char *)head, sizeof(head) });
    h2_write(g->stream, message);
}

void grpc_reply(struct grpc_rpc *g, struct str message)
{
    grpc_send(g, message);
    end_well(g->stream);
}

void grpc_end(struct grpc_rpc *g, enum grpc_code code, const char *words)
{
    if (code == GRPC_OK) {
        begin_answer(g->stream, COMPRESSION_NONE);
        end_well(g->stream);
    } else {
        end_answer(g->stream, code, words);
    }
}

void grpc_fail(struct grpc_rpc *g, status s, const char *words)
{
    end_answer(g->stream, (enum grpc_code)status_grpc(s), words);
}

/* ---- inference ---- */

/* A reply is written behind the room for its head, so that it goes out from where it was written. One that turned out too
 * small to compress has none. */
static void put_reply(struct h2_stream *s, struct call *call)
{
    struct buf *reply = &call->reply;
    bool has_room = call->compressed || call->reply_compression == COMPRESSION_NONE;
    uint8_t head[GRPC_HEAD_BYTES];
    begin_tagged(s, call->compressed ? call->reply_compression : COMPRESSION_NONE,
                 call_variant(call));
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
            end_tagged(s, (enum grpc_code)status_grpc(call->result), call->err.text,
                       call_variant(call));
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

static struct note *note_of(const struct grpc_rpc *g, struct arena *a)
{
    const struct note_source from = { .method = STR("POST"),
                                      .target = h2_field(&g->stream->head, ":path"),
                                      .request_id = h2_field(&g->stream->head, "x-request-id"),
                                      .traceparent = h2_field(&g->stream->head, "traceparent") };
    return note_new(g->conn, &from, a);
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
    if (notes_wanted(g->conn))
        call->note = note_of(g, &call->arena);
    buf_append(&call->reply, "\0\0\0\0", GRPC_HEAD_BYTES);
    return call;
}

void grpc_start(struct grpc_rpc *g, struct call *call, struct str message)
{
    net_conn_owe(g->conn->net, 1);
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
}

static void serve_unary(struct conn *c, struct h2_stream *s, const struct grpc_method *m)
{
    struct grpc_rpc g = { .conn = c, .stream = s, .method = m };
    struct str message;
    bool packed;
    const char *words = s->too_large ? "the message is larger than --max-body-size allows"
                                     : cut_one(h2_body(s), c->lane->server->options.max_body_bytes,
                                               &message, &packed);
    take_deadline(&g);
    if (words != NULL)
        grpc_fail(&g, s->too_large ? TOO_LARGE : INVALID, words);
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
    if (p.state == PARSE_MORE)
        return false;
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

void grpc_go_on(struct grpc_rpc *g)
{
    struct h2_stream *s = g->stream;
    if (g->looping) /* a call that was computed at once */
        return;
    g->looping = true;
    while (g->call == NULL && !s->out_whole && serve_next(g))
        continue;
    g->looping = false;
    if (g->call == NULL && !s->out_whole && s->ended)
        end_stream(g);
}

static void open_stream(struct conn *c, struct h2_stream *s, const struct grpc_method *m)
{
    struct grpc_rpc *g = mem_zalloc(sizeof(*g));
    list_init(&g->node);
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
    end_answer(s, GRPC_UNIMPLEMENTED, words);
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
        end_answer(s, (enum grpc_code)status_grpc(allowed), e.text);
    else if (m->streaming)
        open_stream(c, s, m);
}

void grpc_on_data(struct conn *c, struct h2_stream *s)
{
    grpc_go_on(s->user);
}

void grpc_on_end(struct conn *c, struct h2_stream *s)
{
    const struct grpc_method *m = find_method(h2_field(&s->head, ":path"));
    if (s->streaming && s->user != NULL && s->too_large)
        grpc_fail(s->user, TOO_LARGE, "a message is larger than --max-body-size allows");
    else if (s->streaming && s->user != NULL)
        grpc_go_on(s->user);
    else if (m != NULL && !s->answered)
        serve_unary(c, s, m);
}

void grpc_on_closed(struct conn *c, struct h2_stream *s)
{
    struct grpc_rpc *g = s->user;
    list_remove(&g->node);
    if (g->call != NULL) {
        g->call->exchange = NULL;
        atomic_store(&g->call->cancelled, true);
    }
    if (g->method->closed != NULL)
        g->method->closed(g);
    mem_free(g);
}
