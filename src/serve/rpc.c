/* baidu_std: many requests on one connection at once, each answered under its correlation id, in any order. */
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/pb.h"
#include "proto/baidu_std.h"
#include "proto/general_model.h"
#include "serve/note.h"

#include <stdio.h>
#include <string.h>

static enum sniff sniff(struct str bytes)
{
    size_t n = bytes.n < 4 ? bytes.n : 4;
    if (n == 0 || memcmp(bytes.p, "PRPC", n) != 0)
        return n == 0 ? SNIFF_MORE : SNIFF_NO;
    return n < 4 ? SNIFF_MORE : SNIFF_YES;
}

/* What is known of a large frame that is not whole. */
struct rpc {
    bool placed; /* there is room for all of it */
    size_t pad;  /* bytes in front of it, which are none of it */
};

static void *open_state(struct conn *c)
{
    net_conn_read_first(c->net, FIRST_READ_BYTES);
    return mem_zalloc(sizeof(struct rpc));
}

static void close_state(void *state)
{
    mem_free(state);
}

/* ---- answers ---- */

static void answer_fault(struct conn *c, int64_t correlation_id, int code, const char *words,
                         struct str variant)
{
    char text[ERR_TEXT_MAX + 128];
    int n = snprintf(text, sizeof(text), "[%s][E%d]%s", net_conn_local(c->net), code, words);
    struct baidu_meta meta = { .is_response = true,
                               .error_code = code,
                               .error_text = { text, (size_t)n },
                               .variant = variant,
                               .correlation_id = correlation_id };
    baidu_std_put_head(net_conn_out(c->net), &meta, 0);
}

static void answer(struct conn *c, const struct call *call)
{
    struct baidu_meta meta = { .is_response = true,
                               .compress_type =
                                   call->compressed ? (int32_t)call->reply_compression : 0,
                               .correlation_id = call->correlation_id,
                               .variant = call_variant(call),
                               .attachment_bytes = (int64_t)call->attachment.n };
    struct buf *out = net_conn_out(c->net);
    baidu_std_put_head(out, &meta, call->reply.len);
    if (call->reply.len < LARGE_REPLY)
        buf_append(out, call->reply.data, call->reply.len);
    else
        net_conn_flush_with(c->net, call->reply.data, call->reply.len);
    buf_append(out, call->attachment.p, call->attachment.n);
}

static void done(struct call *call)
{
    struct conn *c = call->conn;
    if (c->net != NULL) {
        if (call->result == OK)
            answer(c, call);
        else
            answer_fault(c, call->correlation_id, status_brpc(call->result), call->err.text,
                         call_variant(call));
        conn_flush(c);
        net_conn_owe(c->net, -1);
    }
    call_free(call);
}

/* ---- requests ---- */

static bool is_our_service(struct str name)
{
    return str_is(name, GENERAL_MODEL_SERVICE) || str_is(name, "GeneralModelService");
}

static bool is_our_method(struct str name)
{
    return str_is(name, "inference") || str_is(name, "debug");
}

static uint64_t deadline_of(const struct baidu_meta *m)
{
    return m->timeout_ms > 0 ? clock_ns() + (uint64_t)m->timeout_ms * 1000000 : 0;
}

/* What came with a request goes back with its answer, untouched. */
static struct str keep_attachment(struct call *call, struct str attachment)
{
    char *copy = attachment.n > 0 ? arena_try(&call->arena, attachment.n, 1) : NULL;
    if (copy == NULL)
        return (struct str){ "", 0 };
    memcpy(copy, attachment.p, attachment.n);
    return (struct str){ copy, attachment.n };
}

static struct note *note_of(struct conn *c, const struct baidu_meta *m, struct arena *a)
{
    struct note_source from = { .method = STR("RPC") };
    from.target = str_of(arena_printf(a, "%.*s/%.*s", STR_ARG(m->service), STR_ARG(m->method)));
    if (m->log_id != 0)
        from.request_id = str_of(arena_printf(a, "%lld", (long long)m->log_id));
    return note_new(c, &from, a);
}

static void start(struct conn *c, const struct baidu_frame *f, struct buf *in, size_t used)
{
    struct err e = { "" };
    status code;
    struct flow *flow = lane_first_flow(c->lane, &code, &e);
    if (flow == NULL) {
        answer_fault(c, f->meta.correlation_id, status_brpc(code), e.text, STR(""));
        buf_consume(in, used);
        return;
    }
    struct call *call = call_new(c);
    call->format = &format_general_pb;
    call->flow = flow_ref(flow);
    call->body = f->payload;
    call->body_compression = call->reply_compression = (compression)f->meta.compress_type;
    call->compress_from = 0;
    call->in_place = f->meta.compress_type == COMPRESSION_NONE;
    call->deadline_ns = deadline_of(&f->meta);
    call->correlation_id = f->meta.correlation_id;
    call->attachment = keep_attachment(call, f->attachment);
    if (notes_wanted(c))
        call->note = note_of(c, &f->meta, &call->arena);
    call->done = done;
    net_conn_owe(c->net, 1);
    call_start(call, in, used);
}

/* Authentication data comes with a connection's first request, and speaks for all that follow. */
static bool is_known(struct conn *c, struct str authentication, struct err *e)
{
    if (!c->known)
        c->known = access_check(c, ACCESS_INFER, authentication, e) == OK;
    return c->known;
}

/* NULL: the frame can be served. *code: of brpc. */
static const char *objection(struct conn *c, const struct baidu_frame *f, int *code, char *words,
                             size_t size)
{
    const struct baidu_meta *m = &f->meta;
    struct err e = { "" };
    *code = 0;
    if (!m->is_request || !is_our_service(m->service) || !is_our_method(m->method)) {
        *code = status_brpc(NOT_FOUND);
        snprintf(words, size,
                 "Fail to find method=%.*s/%.*s; the methods are " GENERAL_MODEL_SERVICE
                 "/inference and /debug",
                 STR_ARG(m->service), STR_ARG(m->method));
    } else if (!is_known(c, m->authentication, &e)) {
        *code = status_brpc(UNAUTHENTICATED);
        snprintf(words, size, "%s, or as authentication_data of the connection's first request",
                 e.text);
    } else if (c->calls > 0 && atomic_load(&c->lane->server->draining)) {
        /* One that owes nothing is served once more, and closed: that hurts nobody. */
        *code = status_brpc(STOPPING);
        snprintf(words, size, "the server is stopping; ask another one");
    } else if (m->compress_type < COMPRESSION_NONE || m->compress_type > COMPRESSION_LZ4) {
        *code = status_brpc(INVALID);
        snprintf(words, size,
                 "compress_type %d is not known; expected 0 (none), 1 (snappy), 2 (gzip), 3 "
                 "(zlib) or 4 (lz4)",
                 (int)m->compress_type);
    }
    return *code != 0 ? words : NULL;
}

static void serve_frame(struct conn *c, const struct baidu_frame *f, struct buf *in, size_t used)
{
    char words[ERR_TEXT_MAX];
    int code;
    if (objection(c, f, &code, words, sizeof(words)) == NULL) {
        start(c, f, in, used);
        return;
    }
    answer_fault(c, f->meta.correlation_id, code, words, STR(""));
    buf_consume(in, used);
}

/* The frame behind the first `at` bytes, which were served; the result: how many were served then. One that is all there is
 * may take the buffer along. */
static size_t serve_next(struct conn *c, struct buf *in, size_t at, bool *more)
{
    struct baidu_frame f;
    struct str bytes = { (const char *)in->data + at, in->len - at };
    struct parse p = baidu_std_parse(bytes, c->lane->server->options.max_body_bytes, &f);
    *more = p.state == PARSE_DONE;
    if (p.state == PARSE_BAD) { /* where the next frame begins is not known any more */
        log_line(LOG_WARN, "serve", "%s: a bad baidu_std frame (%s); the connection is closed",
                 net_conn_peer(c->net), status_text(p.why));
        conn_finish(c);
        return at;
    }
    conn_set_partial(c, p.state == PARSE_MORE && bytes.n > 0);
    if (!conn_hold(c, p.state == PARSE_MORE ? bytes.n : 0)) {
        log_line(LOG_WARN, "serve", "%s: closed: " BODIES_TOO_LARGE, net_conn_peer(c->net));
        conn_finish(c);
        return at;
    }
    if (p.state == PARSE_MORE)
        return at;
    struct rpc *r = c->state;
    bool all = at == r->pad && at + p.used == in->len;
    if (all)
        *r = (struct rpc){ 0 };
    serve_frame(c, &f, in, all ? in->len : 0);
    return all ? 0 : at + p.used;
}

#define FLUSH_CALLS \
    32 /* answers go out after so many: their caller can go on while the rest is computed */
#define PLACE_FROM ((size_t)64 << 10)

/* A large frame gets its room at once, and begins where its tensor's elements come to lie at a cache line: they are used as they
 * lie. */
static void place(struct rpc *r, struct buf *in)
{
    struct str bytes = buf_view(in);
    size_t need = baidu_std_need(bytes), payload = baidu_std_payload_at(bytes);
    if (r->placed || need < PLACE_FROM || in->len >= need || in->len < payload)
        return;
    size_t data =
        pb_find_large((struct str){ bytes.p + payload, bytes.n - payload }, PLACE_FROM / 2, 1);
    size_t pad = data > 0 ? -(payload + data) % CACHE_LINE : 0;
    size_t most = in->max - pad < LIMIT_PROMISED_BYTES ? in->max - pad : LIMIT_PROMISED_BYTES;
    if (data == 0 && in->len < FIRST_READ_BYTES / 2)
        return; /* more will tell */
    r->placed = true;
    if (buf_reserve(in, (need < most ? need : most) + pad - in->len) == NULL)
        return;
    memmove(in->data + pad, in->data, in->len);
    in->len += pad;
    r->pad = pad;
}

/* What was served is dropped once, at the end: many small frames come in one read. */
static void feed(struct conn *c, struct buf *in)
{
    struct rpc *r = c->state;
    size_t at = r->pad;
    bool more = true;
    for (int n = 1; more && !c->closing; n++) {
        at = serve_next(c, in, at, &more);
        if (more && n % FLUSH_CALLS == 0)
            net_conn_flush(c->net);
    }
    if (at == r->pad && r->pad > 0) /* still not whole */
        return;
    buf_consume(in, at);
    if (at > 0)
        *r = (struct rpc){ 0 };
    if (in->len > 0 && !c->closing)
        place(r, in);
}

const struct protocol protocol_baidu_std = { "baidu_std", sniff, open_state, feed,
                                             close_state, NULL,  NULL };
