/* Pages for people and for brpc's tools, in a plain form: what brpc's /status, /vars and /connections are asked for most. */
#include "base/clock.h"
#include "serve/metrics.h"

#include <string.h>

#define PAGE_BYTES ((size_t)64 << 20)

static void answer_text(const struct http_request *r, struct buf *b)
{
    http_answer(r, &(struct http_answer){ .code = 200,
                                          .content_type = "text/plain; charset=utf-8",
                                          .body = buf_view(b) });
    buf_deinit(b);
}

/* The bound of the bucket in which the q-th part of the calls lies, in microseconds. */
static uint64_t quantile_us(const struct stats_time *t, double q)
{
    uint64_t total = stats_calls(t), below = 0;
    for (int i = 0; i < STATS_BUCKETS - 1; i++) {
        below += counter_get(&t->bucket[i]);
        if ((double)below >= q * (double)total)
            return stats_bound_ns(i) / 1000;
    }
    return stats_bound_ns(STATS_BUCKETS - 2) / 1000;
}

static void put_status(struct buf *b, const struct stats_entry *e)
{
    uint64_t good = counter_get(&e->by_status[0]);
    buf_printf(b, "%s version %lld, %s %s\n", e->key.model, (long long)e->key.version,
               e->key.protocol, e->key.form);
    buf_printf(b, "  count: %llu\n  error: %llu\n  rows: %llu\n", (unsigned long long)good,
               (unsigned long long)stats_failures(e), (unsigned long long)counter_get(&e->rows));
    if (good == 0)
        return;
    buf_printf(b, "  latency_avg_us: %.1f\n",
               (double)counter_get(&e->total.sum_ns) / (double)good / 1000);
    buf_printf(b, "  latency_50_us: <= %llu\n  latency_99_us: <= %llu\n  latency_999_us: <= %llu\n",
               (unsigned long long)quantile_us(&e->total, 0.5),
               (unsigned long long)quantile_us(&e->total, 0.99),
               (unsigned long long)quantile_us(&e->total, 0.999));
    for (int s = 0; s < STAGE_COUNT; s++)
        buf_printf(b, "  %s_avg_us: %.1f\n", stage_name(s),
                   (double)counter_get(&e->stage[s].sum_ns) / (double)good / 1000);
}

static void status_page(const struct http_request *r, const struct route_parts *parts)
{
    struct lane *lane = r->conn->lane;
    struct stats_sums sums;
    struct buf b;
    buf_init(&b, PAGE_BYTES);
    stats_gather(lane, &lane->scratch, true, &sums);
    buf_printf(&b, "version: oar " OAR_VERSION "\nuptime_s: %lld\nconnections: %d\ncalls: %d\n\n",
               (long long)((clock_wall_us() - lane->server->start_us) / 1000000),
               loop_group_open_conns(lane->server->loops), server_calls(lane->server));
    for (int i = 0; i < sums.count; i++)
        put_status(&b, sums.entry[i]);
    answer_text(r, &b);
}

/* "name : value", as brpc writes its variables: the exposition without its comments. */
static void vars_page(const struct http_request *r, const struct route_parts *parts)
{
    struct buf all, b;
    buf_init(&all, PAGE_BYTES);
    buf_init(&b, PAGE_BYTES);
    metrics_put(r->conn->lane, &all);
    struct str rest = buf_view(&all), line;
    while (rest.n > 0) {
        str_cut(&rest, '\n', &line);
        size_t n = line.n;
        while (n > 0 && line.p[n - 1] != ' ')
            n--;
        if (line.n == 0 || line.p[0] == '#' || n == 0)
            continue;
        buf_append(&b, line.p, n);
        buf_str(&b, ": ");
        buf_append(&b, line.p + n, line.n - n);
        buf_byte(&b, '\n');
    }
    buf_deinit(&all);
    answer_text(r, &b);
}

/* Those of the loop that answers: others' are not to be looked at from here. */
static void connections_page(const struct http_request *r, const struct route_parts *parts)
{
    struct lane *lane = r->conn->lane;
    struct buf b;
    buf_init(&b, PAGE_BYTES);
    buf_printf(&b, "connections: %d, of which on this loop (%d of %d):\n",
               loop_group_open_conns(lane->server->loops), loop_index(lane->loop) + 1,
               lane->server->lane_count);
    for (struct list *l = lane->conns.next; l != &lane->conns; l = l->next) {
        struct conn *c = LIST_ENTRY(l, struct conn, node);
        if (c->net != NULL)
            buf_printf(&b, "%s %s calls=%d\n", net_conn_peer(c->net),
                       c->proto != NULL ? c->proto->name : "unknown", c->calls);
    }
    answer_text(r, &b);
}

static void health_page(const struct http_request *r, const struct route_parts *parts)
{
    http_answer(
        r, &(struct http_answer){ .code = 200, .content_type = "text/plain", .body = STR("OK\n") });
}

static void version_page(const struct http_request *r, const struct route_parts *parts)
{
    http_answer(r, &(struct http_answer){ .code = 200,
                                          .content_type = "text/plain",
                                          .body = STR("oar " OAR_VERSION "\n") });
}

// clang-format off
const struct route page_routes[] = {
    { "GET", "/health",      ACCESS_HEALTH,   health_page },
    { "GET", "/version",     ACCESS_METADATA, version_page },
    { "GET", "/status",      ACCESS_METRICS,  status_page },
    { "GET", "/vars",        ACCESS_METRICS,  vars_page },
    { "GET", "/connections", ACCESS_METRICS,  connections_page },
    { 0 },
};
// clang-format on
