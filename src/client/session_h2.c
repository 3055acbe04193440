/* A call of gRPC as a session sees it: its request is one message, which goes out in a stream of its own; what comes back may
 * want something to be sent before the answer is whole. */
#include "base/limits.h"
#include "base/mem.h"
#include "client/session.h"
#include "proto/grpc.h"
#include "proto/h2.h"

#include <stdio.h>

struct session_h2 {
    struct session *session; /* whose it is */
    struct h2 *h2;
    struct h2_pool pool;
    struct h2_stream *stream; /* the call's; NULL: it has ended */
    bool done;
    status refused;
    int code; /* grpc-status, or HTTP's where there is none */
    compression packing;
    struct buf body, words;
};

static status refused_by_grpc(int code)
{
    static const struct {
        int code;
        status is;
    } rows[] = {
        { GRPC_OK, OK },
        { GRPC_CANCELLED, CANCELLED },
        { GRPC_INVALID_ARGUMENT, INVALID },
        { GRPC_DEADLINE_EXCEEDED, TIMED_OUT },
        { GRPC_NOT_FOUND, NOT_FOUND },
        { GRPC_RESOURCE_EXHAUSTED, BUSY },
        { GRPC_UNIMPLEMENTED, UNSUPPORTED },
        { GRPC_UNAVAILABLE, STOPPING },
        { 7, FORBIDDEN },
        { 16, UNAUTHENTICATED },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (rows[i].code == code)
            return rows[i].is;
    return INTERNAL;
}

/* ---- events ---- */

static void take_status(struct session_h2 *h, const struct h2_stream *s)
{
    int64_t code;
    bool alone = h2_field(&s->tail, "grpc-status").p == NULL;
    const struct h2_fields *f = alone ? &s->head : &s->tail;
    struct str text = h2_field(f, "grpc-status");
    h->refused = OK;
    if (str_to_i64(text, &code)) {
        h->code = (int)code;
        h->refused = refused_by_grpc(h->code);
        grpc_take_message(&h->words, h2_field(f, "grpc-message"));
    } else {
        h->code = str_to_i64(h2_field(&s->head, ":status"), &code) ? (int)code : 0;
        h->refused = UNSUPPORTED;
        buf_str(&h->words, "the answer is HTTP's, not gRPC's");
    }
}

static void on_head(void *arg, struct h2_stream *s)
{
}

static void on_data(void *arg, struct h2_stream *s)
{
}

static void on_end(void *arg, struct h2_stream *s)
{
    struct session_h2 *h = arg;
    if (s != h->stream)
        return;
    h->done = true;
    session_note_variant(h->session, h2_field(&s->head, "x-oar-variant"));
    if (s->too_large) {
        h->refused = TOO_LARGE;
        return;
    }
    take_status(h, s);
    if (!grpc_encoding(h2_field(&s->head, "grpc-encoding"), &h->packing))
        h->packing = COMPRESSION_NONE;
    if (s->view.p != NULL)
        buf_append(&h->body, s->view.p, s->view.n);
    else if (s->body.len > 0)
        h2_give_body(s, &h->body);
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t error)
{
    struct session_h2 *h = arg;
    if (s != h->stream)
        return;
    h->stream = NULL;
    if (h->done)
        return;
    h->done = true;
    h->refused = error == H2_REFUSED ? BUSY : IO_FAILED;
    h->code = (int)error;
    buf_str(&h->words, "the server reset the call");
}

static const struct h2_events events = { on_head, on_data, on_end, on_closed, NULL };

/* ---- the connection ---- */

void session_h2_close(struct session *s)
{
    struct session_h2 *h = s->h2;
    if (h == NULL)
        return;
    h->stream = NULL;
    h2_free(h->h2);
    h2_pool_deinit(&h->pool);
    buf_deinit(&h->body);
    buf_deinit(&h->words);
    mem_free(h);
    s->h2 = NULL;
}

void session_h2_open(struct session *s)
{
    session_h2_close(s);
    struct session_h2 *h = mem_zalloc(sizeof(*h));
    h->session = s;
    struct h2_options opt = { .events = &events,
                              .arg = h,
                              .pool = &h->pool,
                              .client = true,
                              .max_body_bytes = LIMIT_BODY_BYTES,
                              .max_held_bytes = 2 * LIMIT_BODY_BYTES,
                              .max_streams = 0 };
    h2_pool_init(&h->pool);
    buf_init(&h->body, LIMIT_BODY_BYTES);
    buf_init(&h->words, LIMIT_HTTP_HEADER_BYTES);
    s->h2 = h;
    if (h2_new(&opt, &h->h2) != OK)
        session_h2_close(s);
}

/* ---- one call ---- */

static void drop_call(struct session_h2 *h)
{
    if (h->stream != NULL)
        h2_reset(h->stream, H2_CANCEL);
    h->stream = NULL;
    h->done = false;
    h->refused = OK;
    h->packing = COMPRESSION_NONE;
    buf_clear(&h->body);
    buf_clear(&h->words);
}

void session_h2_begin(struct session *s, struct str message)
{
    struct session_h2 *h = s->h2;
    struct http_header head[9] = {
        { STR(":method"), STR("POST") },
        { STR(":scheme"), s->secure ? STR("https") : STR("http") },
        { STR(":path"), str_of(s->path) },
        { STR(":authority"), str_of(s->authority) },
        { STR("content-type"), STR("application/grpc") },
        { STR("te"), STR("trailers") },
        { STR("grpc-accept-encoding"), STR("identity,gzip,deflate") },
    };
    int count = 7;
    if (s->packed)
        head[count++] = (struct http_header){ STR("grpc-encoding"), STR("gzip") };
    if (s->authorization != NULL)
        head[count++] = (struct http_header){ STR("authorization"), str_of(s->authorization) };
    if (h == NULL)
        return;
    drop_call(h);
    h->stream = h2_request(h->h2, head, count, false);
    if (h->stream != NULL) {
        h2_write(h->stream, message);
        h2_finish(h->stream, NULL, 0);
    }
    (void)(h2_pump(h->h2, &s->wire, SIZE_MAX / 2) ==
           OK); /* a fault shows when the answer is read */
}

static struct parse cut_message(struct session_h2 *h, struct answer *out)
{
    struct str message;
    bool packed;
    struct parse p = grpc_parse(buf_view(&h->body), LIMIT_BODY_BYTES, &message, &packed);
    if (p.state != PARSE_DONE)
        return parse_bad(p.state == PARSE_BAD ? p.why : INVALID);
    out->payload = message;
    out->compression = packed ? h->packing : COMPRESSION_NONE;
    return p;
}

struct parse session_h2_cut(struct session *s, struct str bytes, struct answer *out)
{
    struct session_h2 *h = s->h2;
    if (h == NULL || (h->stream == NULL && !h->done))
        return parse_bad(NO_MEMORY);
    struct str fresh = { bytes.p + s->taken, bytes.n - s->taken };
    status fault = h2_feed(h->h2, fresh);
    s->taken = bytes.n;
    (void)(h2_pump(h->h2, &s->wire, SIZE_MAX / 2) == OK);
    if (!h->done)
        return fault == OK ? parse_more() : parse_bad(fault);
    *out = (struct answer){ .refused = h->refused,
                            .code = h->code,
                            .words = buf_view(&h->words),
                            .keep_alive = fault == OK && !h2_is_over(h->h2) };
    if (h->refused == OK) {
        struct parse p = cut_message(h, out);
        if (p.state == PARSE_BAD)
            return p;
    }
    return parse_done(bytes.n);
}
