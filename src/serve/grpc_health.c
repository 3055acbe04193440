/* grpc.health.v1: the service "" is the whole server; every gRPC service that it has and every model's name are services
 * too. A Watch is told its service's status, and again whenever that changes. */
#include "base/mem.h"
#include "codec/pb.h"
#include "serve/grpc.h"
#include "serve/oip.h"

#include <string.h>

enum serving {
    UNKNOWN,
    SERVING,
    NOT_SERVING,
    SERVICE_UNKNOWN,
};

struct watch {
    enum serving told;
    size_t name_bytes;
    char name[];
};

static bool is_service(struct str name)
{
    const struct grpc_method *m;
    for (size_t at = 0; (m = grpc_method_next(&at)) != NULL;)
        if (strlen(m->path) > name.n + 1 && memcmp(m->path + 1, name.p, name.n) == 0 &&
            m->path[name.n + 1] == '/')
            return true;
    return false;
}

static enum serving status_of(struct lane *lane, struct str name)
{
    bool ready = oip_server_ready(lane->server);
    if (name.n == 0 || is_service(name))
        return ready ? SERVING : NOT_SERVING;
    const struct served_model *m = table_model(lane_table(lane), name);
    if (m == NULL)
        return SERVICE_UNKNOWN;
    return ready && m->current != NULL ? SERVING : NOT_SERVING;
}

static void send_status(struct grpc_rpc *g, enum serving s)
{
    const char message[] = { 1 << 3, (char)s };
    grpc_send(g, (struct str){ message, sizeof(message) });
}

static bool read_name(struct grpc_rpc *g, struct str message, struct str *name)
{
    struct pb r;
    *name = STR("");
    for (pb_init(&r, message); pb_next(&r);) {
        if (r.field == 1 && r.wire == PB_BYTES)
            *name = pb_bytes(&r);
        else
            pb_skip(&r);
    }
    if (!pb_ok(&r))
        grpc_fail(g, MALFORMED, "the protobuf message is damaged or cut short");
    return pb_ok(&r);
}

static void check(struct grpc_rpc *g, struct str message)
{
    struct str name;
    if (!read_name(g, message, &name))
        return;
    enum serving s = status_of(g->conn->lane, name);
    if (s == SERVICE_UNKNOWN) {
        grpc_fail(g, NOT_FOUND, "no service and no model of that name");
        return;
    }
    send_status(g, s);
    grpc_end(g, GRPC_OK, "");
}

/* ---- Watch ---- */

static void watch(struct grpc_rpc *g, struct str message)
{
    struct str name;
    if (!read_name(g, message, &name))
        return;
    if (g->state != NULL || name.n > LIMIT_NAME_BYTES) {
        grpc_fail(g, INVALID, "Watch wants one message, with a name");
        return;
    }
    struct watch *w = mem_zalloc(sizeof(*w) + name.n);
    w->name_bytes = name.n;
    memcpy(w->name, name.p, name.n);
    g->state = w;
    w->told = status_of(g->conn->lane, name);
    list_push_back(&g->conn->lane->watchers, &g->node);
    send_status(g, w->told);
    if (atomic_load(&g->conn->lane->server->draining))
        grpc_end(g, GRPC_UNAVAILABLE, "the server is stopping");
}

static void watch_ended(struct grpc_rpc *g)
{
    if (g->state == NULL)
        grpc_fail(g, INVALID, "Watch wants one message, none came");
}

static void watch_closed(struct grpc_rpc *g)
{
    mem_free(g->state);
}

static void tell(struct grpc_rpc *g)
{
    struct watch *w = g->state;
    bool draining = atomic_load(&g->conn->lane->server->draining);
    enum serving now = status_of(g->conn->lane, (struct str){ w->name, w->name_bytes });
    if (now != w->told)
        send_status(g, now);
    w->told = now;
    if (draining)
        grpc_end(g, GRPC_UNAVAILABLE, "the server is stopping");
}

/* One that does not read what it was told is not told more. */
#define UNREAD_BYTES 4096

void grpc_models_changed(struct lane *lane)
{
    struct list todo;
    list_init(&todo);
    while (!list_empty(&lane->watchers)) {
        struct list *node = lane->watchers.next;
        list_remove(node);
        list_push_back(&todo, node);
    }
    while (!list_empty(&todo)) { /* sending may close any of them, which takes it off its list */
        struct grpc_rpc *g = LIST_ENTRY(todo.next, struct grpc_rpc, node);
        struct conn *c = g->conn;
        list_remove(&g->node);
        list_push_back(&lane->watchers, &g->node);
        if (h2_out_bytes(g->stream) > UNREAD_BYTES || g->stream->out_whole)
            continue;
        tell(g);
        h2_send(c);
    }
}

/* ---- List ---- */

/* map<string, HealthCheckResponse> statuses = 1 */
static void put_entry(struct buf *b, struct str name, enum serving s)
{
    const char message[] = { 1 << 3, (char)s };
    pb_put_begin(b, 1, pb_size_bytes(1, name.n) + pb_size_bytes(2, sizeof(message)));
    pb_put_bytes(b, 1, name);
    pb_put_bytes(b, 2, (struct str){ message, sizeof(message) });
}

static void list(struct grpc_rpc *g, struct str message)
{
    struct lane *lane = g->conn->lane;
    const struct table *t = lane_table(lane);
    const struct grpc_method *m;
    struct str last = STR("");
    struct buf b;
    buf_init(&b, (size_t)16 << 20);
    put_entry(&b, STR(""), status_of(lane, STR("")));
    for (size_t at = 0; (m = grpc_method_next(&at)) != NULL;) {
        struct str path = str_of(m->path + 1), service;
        str_cut(&path, '/', &service);
        if (!str_eq(service, last))
            put_entry(&b, service, status_of(lane, service));
        last = service;
    }
    for (int i = 0; i < table_count(t); i++) {
        struct str name = str_of(table_at(t, i)->name);
        put_entry(&b, name, status_of(lane, name));
    }
    grpc_reply(g, buf_view(&b));
    buf_deinit(&b);
}

// clang-format off
const struct grpc_method grpc_health[] = {
    { "/grpc.health.v1.Health/Check", ACCESS_HEALTH, false, false, check, NULL,        NULL, NULL },
    { "/grpc.health.v1.Health/Watch", ACCESS_HEALTH, true,  false, watch, watch_ended, watch_closed, NULL },
    { "/grpc.health.v1.Health/List",  ACCESS_HEALTH, false, false, list,  NULL,        NULL, NULL },
    { 0 },
};
// clang-format on
