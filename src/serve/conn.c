/* Between net's connections and the protocols: sniffing, flushing once, and who still needs a connection. */
#include "base/clock.h"
#include "base/mem.h"
#include "serve/internal.h"

static void *on_open(struct net_conn *net, void *arg)
{
    struct server *s = arg;
    if (s->options.max_connections > 0 &&
        loop_group_open_conns(s->loops) > s->options.max_connections)
        return NULL;
    struct conn *c = mem_zalloc(sizeof(*c));
    c->net = net;
    /* Who says nothing is as slow as who says little; but a drain does not wait for it, unlike with conn_set_partial. */
    net_conn_set_partial(net, true);
    c->lane = &s->lane[loop_index(net_conn_loop(net))];
    list_push_back(&c->lane->conns, &c->node);
    return c;
}

static void free_if_gone(struct conn *c)
{
    if (c->net != NULL || c->calls > 0)
        return;
    list_remove(&c->node);
    mem_free(c);
}

static void on_close(struct net_conn *net, void *state)
{
    struct conn *c = state;
    conn_hold(c, 0);
    if (c->proto != NULL)
        c->proto->close(c->state);
    c->net = NULL;
    atomic_store(&c->gone, true);
    free_if_gone(c);
}

/* false: not known yet, or nothing that we speak (the connection is then ended). */
static bool sniff(struct conn *c, struct str bytes)
{
    bool more = false;
    const struct protocol *p;
    for (size_t i = 0; (p = protocol_at(i)) != NULL; i++) {
        enum sniff found = p->sniff(bytes);
        more = more || found == SNIFF_MORE;
        if (found != SNIFF_YES)
            continue;
        c->proto = p;
        c->state = p->open(c);
        return true;
    }
    if (!more)
        net_conn_close(c->net);
    else
        conn_set_partial(c, true);
    return false;
}

static bool owes_nothing(const struct conn *c)
{
    return c->calls == 0 && !c->partial;
}

static void on_data(struct net_conn *net, void *state, struct buf *in)
{
    struct conn *c = state;
    if (c->proto == NULL && !sniff(c, buf_view(in)))
        return;
    struct trace *t = c->lane->server->trace;
    bool traced = trace_is_on(t);
    uint64_t begin = traced ? clock_ns() : 0;
    c->feeding = true;
    c->lane->asker = c;
    c->proto->feed(c, in);
    c->lane->asker = NULL;
    c->feeding = false;
    net_conn_flush(net);
    if (traced)
        trace_put(t, &(struct trace_span){ .kind = "loop",
                                           .name = c->proto->name,
                                           .begin_ns = begin,
                                           .end_ns = clock_ns() });
    if (c->closing)
        net_conn_close_after_flush(net);
    else if (atomic_load(&c->lane->server->draining))
        conn_drain(c);
}

static void on_drained(struct net_conn *net, void *state)
{
    struct conn *c = state;
    if (c->proto != NULL && c->proto->drained != NULL)
        c->proto->drained(c);
}

const struct net_handler conn_handler = {
    .open = on_open,
    .data = on_data,
    .close = on_close,
    .drained = on_drained,
    .idle_ms = 0,
    .head_ms = 30000,
};

bool conn_hold(struct conn *c, size_t bytes)
{
    struct server *s = c->lane->server;
    size_t most = s->options.max_bytes_in_flight;
    if (bytes < HOLD_FROM || most == 0)
        bytes = 0;
    if (bytes > c->held &&
        atomic_fetch_add(&s->body_bytes, bytes - c->held) + (bytes - c->held) > most) {
        atomic_fetch_sub(&s->body_bytes, bytes);
        c->held = 0;
        return false;
    }
    if (bytes < c->held)
        atomic_fetch_sub(&s->body_bytes, c->held - bytes);
    c->held = bytes;
    return true;
}

size_t conn_room(const struct conn *c)
{
    const struct server *s = c->lane->server;
    size_t most = s->options.max_bytes_in_flight, now = atomic_load(&s->body_bytes);
    return most == 0 ? SIZE_MAX / 2 : most > now ? most - now : 0;
}

void conn_set_partial(struct conn *c, bool partial)
{
    c->partial = partial;
    net_conn_set_partial(c->net, partial);
}

void conn_flush(struct conn *c)
{
    if (c->net != NULL && !c->feeding)
        net_conn_flush(c->net);
}

void conn_finish(struct conn *c)
{
    c->closing = true;
    if (c->net != NULL && !c->feeding)
        net_conn_close_after_flush(c->net);
}

void conn_call_done(struct conn *c)
{
    c->calls--;
    if (c->net == NULL)
        free_if_gone(c);
    else if (!c->feeding && atomic_load(&c->lane->server->draining))
        conn_drain(c);
}

void conn_drain(struct conn *c)
{
    if (c->net == NULL || c->closing)
        return;
    if (c->proto != NULL && c->proto->drain != NULL)
        c->proto->drain(c);
    else if (owes_nothing(c))
        conn_finish(c);
}
