/* GET /metrics: everything that is counted, as Prometheus' text. The names of three worlds: Paddle Serving's (pd_), Triton's
 * (nv_inference_) and our own (oar_), and those that every client library of Prometheus gives a process. */
#include "serve/metrics.h"

#include "serve/crew.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/mem.h"
#include "codec/json.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define METRICS_BYTES ((size_t)256 << 20)

/* ---- sums ---- */

static struct stats_entry *sum_for(struct stats_sums *s, const struct stats_key *key, bool whole)
{
    for (int i = 0; i < s->count; i++) {
        const struct stats_key *k = &s->entry[i]->key;
        if (k->version == key->version && strcmp(k->model, key->model) == 0 &&
            (!whole || (k->protocol == key->protocol && k->form == key->form)))
            return s->entry[i];
    }
    if (s->count == STATS_ENTRIES)
        return NULL;
    struct stats_entry *e = arena_zalloc(s->arena, sizeof(*e));
    e->key = *key;
    return s->entry[s->count++] = e;
}

void stats_gather(struct lane *lane, struct arena *a, bool by_protocol, struct stats_sums *out)
{
    const struct server *s = lane->server;
    const struct table *t = lane_table(lane);
    *out = (struct stats_sums){ .arena = a };
    out->entry = arena_alloc(a, STATS_ENTRIES * sizeof(struct stats_entry *));
    for (int i = 0; !by_protocol && i < table_count(t); i++)
        for (int k = 0; k < table_at(t, i)->version_count; k++) {
            const struct served *v = &table_at(t, i)->version[k];
            struct stats_key key = { v->name, v->version, NULL, NULL };
            if (v->flow != NULL)
                sum_for(out, &key, false);
        }
    for (int l = 0; l < s->lane_count; l++) {
        const struct stats *from = &s->lane[l].stats;
        int count = atomic_load_explicit(&from->count, memory_order_acquire);
        for (int i = 0; i < count; i++) {
            struct stats_entry *to = sum_for(out, &from->entry[i]->key, by_protocol);
            if (to != NULL)
                stats_sum(to, from->entry[i]);
        }
    }
}

uint64_t stats_failures(const struct stats_entry *e)
{
    uint64_t n = 0;
    for (int i = 1; i < STATS_STATUSES; i++)
        n += counter_get(&e->by_status[i]);
    return n;
}

uint64_t stats_model_bytes(const struct lane *lane, const struct stats_key *key)
{
    const struct served_model *m = table_model(lane->table, str_of(key->model));
    for (int i = 0; m != NULL && i < m->version_count; i++) {
        const struct served *v = &m->version[i];
        const struct model *model =
            v->version == key->version && v->flow != NULL ? flow_model(v->flow) : NULL;
        if (model != NULL)
            return model_imported(model)->param_bytes + model_pack_bytes(model);
    }
    return 0;
}

/* ---- writing ---- */

void metrics_put_head(struct buf *b, const char *name, const char *type, const char *help)
{
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value with its quotes. */
static void put_label(struct buf *b, const char *name, const char *value)
{
    buf_printf(b, "%s=\"", name);
    for (; *value != '\0'; value++) {
        if (*value == '\n')
            buf_str(b, "\\n");
        else if (*value == '"' || *value == '\\')
            buf_printf(b, "\\%c", *value);
        else
            buf_byte(b, (uint8_t)*value);
    }
    buf_byte(b, '"');
}

static void put_key(struct buf *b, const struct stats_key *k)
{
    put_label(b, "model", k->model);
    buf_printf(b, ",version=\"%lld\"", (long long)k->version);
    if (k->protocol == NULL)
        return;
    buf_byte(b, ',');
    put_label(b, "protocol", k->protocol);
    buf_byte(b, ',');
    put_label(b, "form", k->form);
}

static void put_count(struct buf *b, uint64_t n)
{
    buf_printf(b, " %llu\n", (unsigned long long)n);
}

static void put_one(struct buf *b, const char *name, const char *type, const char *help, double v)
{
    metrics_put_head(b, name, type, help);
    buf_printf(b, "%s %.17g\n", name, v);
}

/* ---- families of models, one a row ---- */

typedef uint64_t model_value(const struct stats_entry *e);

static uint64_t successes(const struct stats_entry *e)
{
    return counter_get(&e->by_status[0]);
}

static uint64_t rows(const struct stats_entry *e)
{
    return counter_get(&e->rows);
}

static uint64_t in_us(const struct stats_time *t)
{
    return counter_get(&t->sum_ns) / 1000;
}

static uint64_t total_us(const struct stats_entry *e)
{
    return in_us(&e->total);
}

static uint64_t queue_us(const struct stats_entry *e)
{
    return in_us(&e->stage[STAGE_QUEUE]) + in_us(&e->stage[STAGE_BATCH]);
}

static uint64_t parse_us(const struct stats_entry *e)
{
    return in_us(&e->stage[STAGE_PARSE]);
}

static uint64_t compute_us(const struct stats_entry *e)
{
    return in_us(&e->stage[STAGE_COMPUTE]);
}

static uint64_t encode_us(const struct stats_entry *e)
{
    return in_us(&e->stage[STAGE_ENCODE]);
}

static uint64_t bytes_in(const struct stats_entry *e)
{
    return counter_get(&e->bytes_in);
}

static uint64_t bytes_out(const struct stats_entry *e)
{
    return counter_get(&e->bytes_out);
}

// clang-format off
static const struct family {
    const char *name, *help;
    model_value *value;
} families[] = {
    { "pd_query_request_success_total", "Requests that were answered", successes },
    { "pd_query_request_failure_total", "Requests that failed", stats_failures },
    { "pd_inference_count_total", "Rows that were computed", rows },
    { "pd_query_request_duration_us_total", "Time of answered requests in microseconds", total_us },
    { "pd_inference_duration_us_total", "Time of computing in microseconds", compute_us },
    { "nv_inference_request_success", "Number of successful inference requests, all batch sizes", successes },
    { "nv_inference_request_failure", "Number of failed inference requests, all batch sizes", stats_failures },
    { "nv_inference_count", "Number of inferences performed (does not include cached requests)", rows },
    { "nv_inference_exec_count", "Number of model executions performed (does not include cached requests)", successes },
    { "nv_inference_request_duration_us", "Cumulative inference request duration in microseconds", total_us },
    { "nv_inference_queue_duration_us", "Cumulative inference queuing duration in microseconds", queue_us },
    { "nv_inference_compute_input_duration_us", "Cumulative compute input duration in microseconds", parse_us },
    { "nv_inference_compute_infer_duration_us", "Cumulative compute inference duration in microseconds", compute_us },
    { "nv_inference_compute_output_duration_us", "Cumulative inference compute output duration in microseconds", encode_us },
    { "oar_rows_total", "Rows (sequences where inputs are ragged) that were computed", rows },
    { "oar_request_bytes_total", "Bytes of bodies that came", bytes_in },
    { "oar_reply_bytes_total", "Bytes of bodies that went", bytes_out },
};
// clang-format on

static void put_families(struct buf *b, const struct stats_sums *sums, const struct crew_view *crew)
{
    for (size_t f = 0; f < ARRAY_LEN(families); f++) {
        metrics_put_head(b, families[f].name, "counter", families[f].help);
        for (int i = 0; i < sums->count; i++) {
            buf_printf(b, "%s{", families[f].name);
            put_key(b, &sums->entry[i]->key);
            buf_byte(b, '}');
            put_count(b, families[f].value(sums->entry[i]));
        }
        crew_metrics_put_sample(crew, families[f].name, b);
    }
}

/* ---- our own, by protocol ---- */

static void put_requests(struct buf *b, const struct stats_sums *sums)
{
    metrics_put_head(b, "oar_requests_total", "counter", "Requests by how they ended");
    for (int i = 0; i < sums->count; i++)
        for (int s = 0; s < STATS_STATUSES; s++) {
            uint64_t n = counter_get(&sums->entry[i]->by_status[s]);
            if (n == 0)
                continue;
            buf_str(b, "oar_requests_total{");
            put_key(b, &sums->entry[i]->key);
            buf_byte(b, ',');
            put_label(b, "result", status_text((status)-s));
            buf_byte(b, '}');
            put_count(b, n);
        }
}

static void put_histogram(struct buf *b, const char *name, const struct stats_key *key,
                          const char *stage, const struct stats_time *t)
{
    uint64_t n = 0;
    for (int i = 0; i < STATS_BUCKETS; i++) {
        n += counter_get(&t->bucket[i]);
        buf_printf(b, "%s_bucket{", name);
        put_key(b, key);
        if (stage != NULL)
            buf_printf(b, ",stage=\"%s\"", stage);
        if (i < STATS_BUCKETS - 1)
            buf_printf(b, ",le=\"%g\"}", (double)stats_bound_ns(i) / 1e9);
        else
            buf_str(b, ",le=\"+Inf\"}");
        put_count(b, n);
    }
    for (int sum = 1; sum >= 0; sum--) {
        buf_printf(b, "%s_%s{", name, sum ? "sum" : "count");
        put_key(b, key);
        if (stage != NULL)
            buf_printf(b, ",stage=\"%s\"", stage);
        buf_byte(b, '}');
        if (sum)
            buf_printf(b, " %.9f\n", (double)counter_get(&t->sum_ns) / 1e9);
        else
            put_count(b, n);
    }
}

static void put_histograms(struct buf *b, const struct stats_sums *sums)
{
    const char *name = "oar_request_duration_seconds";
    metrics_put_head(b, name, "histogram", "Time of answered requests");
    for (int i = 0; i < sums->count; i++)
        put_histogram(b, name, &sums->entry[i]->key, NULL, &sums->entry[i]->total);
    name = "oar_stage_duration_seconds";
    metrics_put_head(b, name, "histogram", "Time of answered requests in each stage");
    for (int i = 0; i < sums->count; i++)
        for (int s = 0; s < STAGE_COUNT; s++)
            put_histogram(b, name, &sums->entry[i]->key, stage_name(s), &sums->entry[i]->stage[s]);
}

/* ---- models' memory and states ---- */

static void put_memory_of(struct buf *b, const struct served *v, const char *kind, uint64_t bytes)
{
    struct stats_key key = { v->name, v->version, NULL, NULL };
    buf_str(b, "oar_model_memory_bytes{");
    put_key(b, &key);
    buf_printf(b, ",kind=\"%s\"}", kind);
    put_count(b, bytes);
}

static void put_models(struct buf *b, const struct table *t)
{
    metrics_put_head(
        b, "oar_model_memory_bytes", "gauge",
        "Bytes of a model's weights (mapped from its files) and of what was packed of them");
    for (int i = 0; i < table_count(t); i++)
        for (int k = 0; k < table_at(t, i)->version_count; k++) {
            const struct served *v = &table_at(t, i)->version[k];
            const struct model *m = v->flow != NULL ? flow_model(v->flow) : NULL;
            if (m == NULL)
                continue;
            put_memory_of(b, v, "weights", model_imported(m)->param_bytes);
            put_memory_of(b, v, "packed", model_pack_bytes(m));
        }
    metrics_put_head(b, "oar_model_ready", "gauge", "1 for a version that can be asked");
    for (int i = 0; i < table_count(t); i++)
        for (int k = 0; k < table_at(t, i)->version_count; k++) {
            const struct served *v = &table_at(t, i)->version[k];
            struct stats_key key = { v->name, v->version, NULL, NULL };
            buf_str(b, "oar_model_ready{");
            put_key(b, &key);
            buf_byte(b, '}');
            put_count(b, v->state == MODEL_READY);
        }
}

/* ---- batching and caching, by model; a reload begins them again ---- */

typedef uint64_t flow_value_fn(const struct flow *f);

#define OF_BATCH(name, field)                               \
    static uint64_t name(const struct flow *f)              \
    {                                                       \
        return atomic_load(&flow_batch_counters(f)->field); \
    }
#define OF_CACHE(name, field)                               \
    static uint64_t name(const struct flow *f)              \
    {                                                       \
        return atomic_load(&flow_cache_counters(f)->field); \
    }

OF_BATCH(batches, batches)
OF_BATCH(batched, requests)
OF_BATCH(direct, direct)
OF_BATCH(batch_rows, rows)
OF_BATCH(alone, alone)
OF_BATCH(refused, refused)
OF_BATCH(overdue, overdue)
OF_BATCH(elements, elements)
OF_BATCH(padding, padding)
OF_CACHE(hits, hits)
OF_CACHE(misses, misses)
OF_CACHE(evictions, evictions)

static uint64_t queued(const struct flow *f)
{
    int64_t n = atomic_load(&flow_batch_counters(f)->queued);
    return n > 0 ? (uint64_t)n : 0;
}

static uint64_t cache_bytes(const struct flow *f)
{
    return (uint64_t)atomic_load(&flow_cache_counters(f)->bytes);
}

static uint64_t cache_entries(const struct flow *f)
{
    return (uint64_t)atomic_load(&flow_cache_counters(f)->entries);
}

// clang-format off
static const struct flow_family {
    const char *name, *type, *help;
    bool of_cache;
    flow_value_fn *value;
} flow_families[] = {
    { "oar_batches_total", "counter", "Batches that were computed", false, batches },
    { "oar_batch_requests_total", "counter", "Requests that came to be batched", false, batched },
    { "oar_batch_rows_total", "counter", "Rows of these batches", false, batch_rows },
    { "oar_batch_alone_total", "counter", "Requests computed again by themselves since their batch failed", false, alone },
    { "oar_batch_refused_total", "counter", "Requests that found the queue full", false, refused },
    { "oar_batch_direct_total", "counter", "Requests computed at once since joining them was measured not to pay", false, direct },
    { "oar_batch_overdue_total", "counter", "Requests that waited too long", false, overdue },
    { "oar_batch_elements_total", "counter", "Elements of padded inputs, those that were added included", false, elements },
    { "oar_batch_padding_elements_total", "counter", "Elements that were added to inputs to make them equally long", false, padding },
    { "oar_batch_queue_requests", "gauge", "Requests that wait for their batch", false, queued },
    { "nv_inference_pending_request_count", "gauge", "Instantaneous number of pending requests awaiting execution per-model.", false, queued },
    { "oar_cache_hits_total", "counter", "Requests answered from the cache", true, hits },
    { "oar_cache_misses_total", "counter", "Requests that the cache could not answer", true, misses },
    { "oar_cache_evictions_total", "counter", "Answers that had to go", true, evictions },
    { "oar_cache_bytes", "gauge", "Bytes that the cache holds", true, cache_bytes },
    { "oar_cache_entries", "gauge", "Answers that the cache holds", true, cache_entries },
    { "nv_cache_num_hits_per_model", "counter", "Number of cache hits per model", true, hits },
    { "nv_cache_num_misses_per_model", "counter", "Number of cache misses per model", true, misses },
};
// clang-format on

static void put_flow(struct buf *b, const struct flow_family *family, const struct served *v)
{
    struct stats_key key = { v->name, v->version, NULL, NULL };
    bool has = v->flow != NULL &&
               (family->of_cache ? flow_cache_counters(v->flow) != NULL : flow_is_batched(v->flow));
    if (!has)
        return;
    buf_printf(b, "%s{", family->name);
    put_key(b, &key);
    buf_byte(b, '}');
    put_count(b, family->value(v->flow));
}

static void put_flows(struct buf *b, const struct table *t)
{
    for (size_t f = 0; f < ARRAY_LEN(flow_families); f++) {
        const struct flow_family *family = &flow_families[f];
        metrics_put_head(b, family->name, family->type, family->help);
        for (int i = 0; i < table_count(t); i++)
            for (int k = 0; k < table_at(t, i)->version_count; k++)
                put_flow(b, family, &table_at(t, i)->version[k]);
    }
}

/* ---- the process ---- */

/* Pages of virtual and resident memory. */
static void read_statm(uint64_t *size, uint64_t *resident)
{
    char text[128] = "";
    FILE *f = fopen("/proc/self/statm", "re");
    *size = *resident = 0;
    if (f == NULL)
        return;
    if (fgets(text, sizeof(text), f) != NULL) {
        char *at;
        *size = strtoull(text, &at, 10);
        *resident = strtoull(at, NULL, 10);
    }
    fclose(f);
}

uint64_t process_resident_bytes(void)
{
    uint64_t size, resident;
    read_statm(&size, &resident);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int open_files(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL)
        return 0;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n > 3 ? n - 3 : 0; /* ".", ".." and the directory itself */
}

static double cpu_seconds(void)
{
    struct timespec t;
    return clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0
               ? (double)t.tv_sec + (double)t.tv_nsec / 1e9
               : 0;
}

static void put_process(struct buf *b, const struct server *s)
{
    uint64_t size, resident, page = (uint64_t)sysconf(_SC_PAGESIZE);
    struct rlimit files = { 0 };
    read_statm(&size, &resident);
    getrlimit(RLIMIT_NOFILE, &files);
    put_one(b, "process_cpu_seconds_total", "counter", "User and system time", cpu_seconds());
    put_one(b, "process_resident_memory_bytes", "gauge", "Resident memory",
            (double)(resident * page));
    put_one(b, "process_virtual_memory_bytes", "gauge", "Virtual memory", (double)(size * page));
    put_one(b, "process_open_fds", "gauge", "Open file descriptors", open_files());
    put_one(b, "process_max_fds", "gauge", "Most file descriptors", (double)files.rlim_cur);
    put_one(b, "process_start_time_seconds", "gauge", "Start of the process since 1970",
            (double)s->start_us / 1e6);
    put_one(b, "oar_connections", "gauge", "Open connections", loop_group_open_conns(s->loops));
    put_one(b, "oar_calls_in_flight", "gauge", "Calls admitted and not yet answered",
            server_calls(s));
    put_one(b, "oar_bytes_in_flight", "gauge",
            "Bytes of larger bodies that are being received or answered",
            (double)atomic_load(&s->body_bytes));
    put_one(b, "oar_ready", "gauge", "1 when /v2/health/ready answers 200",
            atomic_load(&s->ready) && !atomic_load(&s->draining));
    put_one(b, "nv_cpu_memory_used_bytes", "gauge", "CPU used memory (RAM), in bytes",
            (double)(resident * page));
    metrics_put_head(b, "oar_build_info", "gauge", "Which Oar this is");
    buf_str(b, "oar_build_info{version=\"" OAR_VERSION "\"} 1\n");
}

void metrics_put(struct lane *lane, struct buf *b)
{
    struct stats_sums models, protocols;
    struct arena a;
    struct crew_view *crew = crew_metrics_look(lane->server);
    arena_init(&a, 0);
    stats_gather(lane, &a, false, &models);
    stats_gather(lane, &a, true, &protocols);
    for (int i = 0; i < models.count; i++)
        models.entry[i]->key.protocol = models.entry[i]->key.form = NULL;
    put_families(b, &models, crew);
    put_requests(b, &protocols);
    put_histograms(b, &protocols);
    put_models(b, lane_table(lane));
    put_flows(b, lane_table(lane));
    crew_metrics_put(crew, b);
    mem_free(crew);
    put_process(b, lane->server);
    arena_deinit(&a);
}

static void metrics(const struct http_request *r, const struct route_parts *parts)
{
    struct buf b;
    buf_init(&b, METRICS_BYTES);
    metrics_put(r->conn->lane, &b);
    http_answer(r,
                &(struct http_answer){ .code = 200,
                                       .content_type = "text/plain; version=0.0.4; charset=utf-8",
                                       .body = buf_view(&b) });
    buf_deinit(&b);
}

// clang-format off
const struct route metrics_routes[] = {
    { "GET", "/metrics",                       ACCESS_METRICS, metrics },
    { "GET", "/brpc_metrics",                  ACCESS_METRICS, metrics },
    { "GET", "/monitoring/prometheus/metrics", ACCESS_METRICS, metrics },
    { 0 },
};
// clang-format on
