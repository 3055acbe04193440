/* How an event loop finds models: it keeps the table that was the newest when it looked last, so that a request takes no
 * lock, and lets go of it soon after there is a newer one. */
#include "proto/http1.h"
#include "serve/grpc.h"
#include "serve/internal.h"

#include <stdio.h>
#include <string.h>

static void refresh(struct lane *lane)
{
    struct repository *r = lane->server->models;
    struct table *old = lane->table;
    lane->table_generation = repository_generation(r); /* first: the table is this one or newer */
    lane->table = repository_table(r);
    table_unref(old);
}

const struct table *lane_table(struct lane *lane)
{
    if (lane->table == NULL ||
        lane->table_generation != repository_generation(lane->server->models))
        refresh(lane);
    return lane->table;
}

/* ---- divided traffic ---- */

/* "127.0.0.1:53211" without what differs between two connections of one caller. */
static struct str address_of(const struct conn *c)
{
    const char *peer = c != NULL && c->net != NULL ? net_conn_peer(c->net) : "";
    const char *colon = strrchr(peer, ':');
    return (struct str){ peer, colon != NULL ? (size_t)(colon - peer) : strlen(peer) };
}

static struct str key_of(const struct lane *lane, const struct traffic *t)
{
    const char *header = traffic_sticky_header(t);
    return header != NULL && lane->asking != NULL ? http_header_find(lane->asking, header)
                                                  : (struct str){ NULL, 0 };
}

/* NULL: it is not ready. */
static struct flow *find_variant(const struct table *t, const struct traffic_variant *v,
                                 const char *name)
{
    const struct served *found;
    char version[24] = "";
    if (v->version > 0)
        snprintf(version, sizeof(version), "%lld", (long long)v->version);
    status s =
        table_find(t, str_of(v->model != NULL ? v->model : name), str_of(version), &found, NULL);
    return s == OK ? found->flow : NULL;
}

struct flow *server_variant(struct server *s, const struct traffic *t, int variant,
                            const char *name)
{
    struct table *table = repository_table(s->models);
    struct flow *f = find_variant(table, traffic_at(t, variant), name);
    if (f != NULL)
        flow_ref(f);
    table_unref(table);
    return f;
}

/* NULL: no variant is ready, and the current version answers. */
static struct flow *pick(struct lane *lane, const struct served_model *m)
{
    int i = traffic_pick(m->traffic, key_of(lane, m->traffic), address_of(lane->asker));
    struct flow *f = i >= 0 ? find_variant(lane->table, traffic_at(m->traffic, i), m->name) : NULL;
    if (f == NULL)
        return NULL;
    traffic_unref(lane->pick.traffic);
    lane->pick = (struct lane_pick){ f, traffic_ref(m->traffic), i };
    return f;
}

void lane_take_pick(struct lane *lane, struct call *c)
{
    c->traffic = NULL;
    if (lane->pick.traffic == NULL)
        return;
    if (lane->pick.flow == c->flow) {
        c->traffic = lane->pick.traffic;
        c->variant = lane->pick.variant;
    } else {
        traffic_unref(lane->pick.traffic);
    }
    lane->pick.traffic = NULL;
}

/* ---- finding ---- */

struct flow *lane_flow(struct lane *lane, struct str name, struct str version, status *code,
                       struct err *e)
{
    const struct served *found;
    const struct table *t = lane_table(lane);
    const struct served_model *m = version.n == 0 ? table_model(t, name) : NULL;
    struct flow *f = m != NULL && m->traffic != NULL ? pick(lane, m) : NULL;
    *code = OK;
    if (f != NULL)
        return f;
    *code = table_find(t, name, version, &found, e);
    return *code == OK ? found->flow : NULL;
}

struct flow *lane_first_flow(struct lane *lane, status *code, struct err *e)
{
    const struct table *t = lane_table(lane);
    const struct served *found;
    struct flow *f =
        table_count(t) > 0 && table_at(t, 0)->traffic != NULL ? pick(lane, table_at(t, 0)) : NULL;
    *code = OK;
    if (f != NULL)
        return f;
    *code = table_first(t, &found, e);
    return *code == OK ? found->flow : NULL;
}

static void on_refresh(struct loop_post *p)
{
    struct lane *lane = LIST_ENTRY(p, struct lane, refresh);
    atomic_store(&lane->refresh_posted, false); /* before it looks, so that no change is missed */
    lane_table(lane);
    grpc_models_changed(lane);
}

void lanes_refresh(void *arg)
{
    struct server *s = arg;
    for (int i = 0; s->lane != NULL && i < s->lane_count; i++) {
        struct lane *lane = &s->lane[i];
        if (atomic_exchange(&lane->refresh_posted, true))
            continue;
        lane->refresh.fn = on_refresh;
        loop_post(lane->loop, &lane->refresh);
    }
}
