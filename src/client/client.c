#include "client/client.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "client/remote.h"
#include "client/session.h"
#include "client/transport.h"

#include <string.h>

/* A body at its limit, with the head before it. */
#define MESSAGE_BYTES (LIMIT_BODY_BYTES + LIMIT_HTTP_HEADER_BYTES)

/* Memory kept between calls; a larger answer gives the rest back. */
#define KEEP_BYTES ((size_t)1 << 20)

struct client {
    struct endpoint at;
    char text[ENDPOINT_TEXT_MAX], authority[ENDPOINT_TEXT_MAX]; /* of at */
    int64_t timeout_ms;
    int code; /* of the last answer */
    struct transport to;
    struct remote_link link;
    struct session session;
    struct buf out, in, scratch, inflated;
    struct general_gaps
        gaps;           /* of out: the caller's elements, which are sent from where they lie */
    struct arena arena; /* of the last reply */
};

static const struct session_protocol *find_protocol(struct str name, struct err *e)
{
    const struct session_protocol *p = session_protocol_find(name);
    if (p != NULL)
        return p;
    struct buf names;
    buf_init(&names, ERR_TEXT_MAX);
    for (size_t i = 0; session_protocol_at(i) != NULL; i++)
        buf_printf(&names, "%s%s", i != 0 ? ", " : "", session_protocol_at(i)->name);
    err_set(e, INVALID, "no protocol '%.*s'; there are: %.*s", STR_ARG(name), (int)names.len,
            (const char *)names.data);
    buf_deinit(&names);
    return NULL;
}

static struct buf new_buf(size_t max)
{
    struct buf b;
    buf_init(&b, max);
    return b;
}

status client_open(struct str endpoint, struct str protocol, struct client **out, struct err *e)
{
    struct endpoint at;
    TRY(endpoint_parse(endpoint, &at, e));
    const struct session_protocol *p = find_protocol(protocol, e);
    if (p == NULL)
        return INVALID;
    struct client *c = mem_zalloc(sizeof(*c));
    c->at = at;
    c->to = TRANSPORT_NONE;
    c->timeout_ms = CLIENT_TIMEOUT_MS;
    endpoint_text(&at, c->text);
    session_init(&c->session, p, endpoint_authority(&at, c->authority));
    c->out = new_buf(MESSAGE_BYTES);
    c->in = new_buf(MESSAGE_BYTES);
    c->scratch = new_buf(LIMIT_BODY_BYTES);
    c->inflated = new_buf(LIMIT_INFLATED_BYTES);
    arena_init(&c->arena, LIMIT_ARENA_BYTES);
    *out = c;
    return OK;
}

bool client_names_model(const struct client *c)
{
    return c->session.protocol->names_model;
}

void client_set_model(struct client *c, const char *model)
{
    c->session.model = model;
}

static void disconnect(struct client *c)
{
    transport_close(&c->to);
}

status client_set_remote(struct client *c, const struct remote *r, struct err *e)
{
    struct remote_link fresh;
    TRY(remote_open(r, &fresh, e));
    disconnect(c);
    remote_close(&c->link);
    c->link = fresh;
    c->session.authorization = fresh.authorization;
    c->session.secure = fresh.tls != NULL;
    return OK;
}

void client_close(struct client *c)
{
    if (c == NULL)
        return;
    disconnect(c);
    remote_close(&c->link);
    session_deinit(&c->session);
    buf_deinit(&c->out);
    buf_deinit(&c->in);
    buf_deinit(&c->scratch);
    buf_deinit(&c->inflated);
    arena_deinit(&c->arena);
    mem_free(c);
}

static int64_t timeout_or(int64_t timeout_ms, int64_t otherwise)
{
    return timeout_ms > 0 && timeout_ms < INT32_MAX ? timeout_ms : otherwise;
}

void client_set_timeout_ms(struct client *c, int64_t timeout_ms)
{
    c->timeout_ms = timeout_or(timeout_ms, CLIENT_TIMEOUT_MS);
}

const char *client_variant(const struct client *c)
{
    return c->session.variant;
}

int client_code(const struct client *c)
{
    return c->code;
}

/* What the last call left goes. */
static void begin(struct client *c)
{
    struct buf *all[] = { &c->out, &c->in, &c->scratch, &c->inflated };
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        buf_clear(all[i]);
        buf_shrink(all[i], KEEP_BYTES);
    }
    arena_reset(&c->arena);
    c->gaps = (struct general_gaps){ 0 };
    c->code = 0;
}

static status check_built(struct client *c, struct err *e)
{
    status s = buf_check(&c->scratch) != OK ? buf_check(&c->scratch) : buf_check(&c->out);
    if (s == OK && c->out.len + c->gaps.bytes > c->out.max)
        s = TOO_LARGE;
    return s == OK ? OK : err_set(e, s, "the request does not fit into %zu bytes", c->out.max);
}

static status send_request(struct client *c, uint64_t deadline_ns, struct err *e)
{
    struct iovec piece[2 * GENERAL_GAPS + 1];
    size_t done = 0;
    int count = 0;
    for (int i = 0; i < c->gaps.count; i++) {
        const struct general_gap *g = &c->gaps.gap[i];
        piece[count++] = (struct iovec){ c->out.data + done, g->at - done };
        piece[count++] = (struct iovec){ (void *)(uintptr_t)g->data, g->bytes };
        done = g->at;
    }
    piece[count++] = (struct iovec){ c->out.data + done, c->out.len - done };
    return transport_send_pieces(&c->to, piece, count, deadline_ns, e);
}

static status send_due(struct client *c, uint64_t deadline_ns, struct err *e)
{
    struct str due = session_output(&c->session, buf_view(&c->out));
    if (due.n > 0)
        TRY(transport_send(&c->to, due, deadline_ns, e));
    session_sent(&c->session, due.n);
    return OK;
}

/* The request, with what it left where it lies; over HTTP/2, which copies, in frames. */
static status send_first(struct client *c, uint64_t deadline_ns, struct err *e)
{
    if (c->session.protocol->path != NULL)
        return send_due(c, deadline_ns, e);
    session_sent(&c->session, c->out.len);
    return send_request(c, deadline_ns, e);
}

static status connect_to(struct client *c, uint64_t deadline_ns, struct err *e)
{
    const struct transport_options opt = { c->link.tls, c->session.protocol->alpn };
    TRY(transport_connect(&c->at, &opt, deadline_ns, &c->to, e));
    session_connected(&c->session);
    return OK;
}

/* Sends the request that is built and cuts its answer, on the connection that is there or a new
 * one. */
static status exchange(struct client *c, uint64_t deadline_ns, struct answer *answer, struct err *e)
{
    if (c->to.fd < 0)
        TRY(connect_to(c, deadline_ns, e));
    buf_clear(&c->in);
    session_again(&c->session, buf_view(&c->out));
    TRY(send_first(c, deadline_ns, e));
    TRY(transport_wait(&c->to, deadline_ns, e)); /* nothing can be there yet */
    for (;;) {
        TRY(send_due(c, deadline_ns, e));
        TRY(transport_receive(&c->to, &c->in, deadline_ns, e));
        struct parse got = session_cut(&c->session, buf_view(&c->in), answer);
        if (got.state == PARSE_BAD)
            return err_set(e, got.why, "the answer is not one of protocol %s (%s)",
                           c->session.protocol->name, status_text(got.why));
        if (got.state == PARSE_DONE)
            return send_due(c, deadline_ns, e);
    }
}

/* The answer to the request that is built. A connection that was closed while it was idle is replaced. */
static status converse(struct client *c, int64_t timeout_ms, struct answer *answer, struct err *e)
{
    bool kept = c->to.fd >= 0;
    uint64_t deadline_ns = clock_ns() + (uint64_t)timeout_or(timeout_ms, c->timeout_ms) * 1000000;
    TRY(check_built(c, e));
    status s = exchange(c, deadline_ns, answer, e);
    if (s == IO_FAILED && kept && c->in.len == 0) {
        disconnect(c);
        s = exchange(c, deadline_ns, answer, e);
    }
    if (s != OK || !answer->keep_alive)
        disconnect(c);
    if (s == OK && answer->refused != OK)
        c->code = answer->code;
    return s;
}

status client_infer(struct client *c, const struct infer_request *r, int64_t timeout_ms,
                    struct infer_reply *out, struct err *e)
{
    struct answer answer;
    begin(c);
    session_ask_around(&c->session, r, &c->out, &c->scratch, &c->gaps);
    status s = converse(c, timeout_ms, &answer, e);
    if (s == OK)
        s = session_reply(&answer, &c->arena, &c->inflated, out, e);
    if (s == OK)
        out->variant = str_of(c->session.variant);
    return s == OK ? OK : err_prefix(e, s, "%s: ", c->text);
}

status client_invoke(struct client *c, const char *method, struct str message, bool gzip,
                     int64_t timeout_ms, struct str *reply, struct err *e)
{
    struct answer answer;
    status s = OK;
    if (c->session.protocol->path == NULL)
        return err_set(e, INVALID, "%s: methods are called over gRPC, not over %s", c->text,
                       c->session.protocol->name);
    begin(c);
    if (gzip) {
        s = compress_bytes(COMPRESSION_GZIP, message, &c->scratch, e);
        message = buf_view(&c->scratch);
    }
    session_invoke(&c->session, method, message, gzip, &c->out);
    if (s == OK)
        s = converse(c, timeout_ms, &answer, e);
    if (s == OK)
        s = session_payload(&answer, &c->arena, &c->inflated, reply, e);
    return s == OK ? OK : err_prefix(e, s, "%s: ", c->text);
}
