/* Spans as OTLP/JSON, to a file or to a collector over HTTP. Loops append spans to one buffer under a lock that is held for
 * the append alone; a thread takes the buffer away once a second and delivers it. What a collector does not take in time
 * is dropped and said so once: tracing never holds a request up. */
#include "base/clock.h"
#include "base/line_file.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/json.h"
#include "serve/note.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SPANS_BYTES ((size_t)8 << 20) /* that wait for delivery; more are dropped */
#define FLUSH_S     1
#define COLLECTOR_S 2 /* for each step of talking to it */

struct tracer {
    struct line_file *file; /* NULL: none */
    char host[256], port[8];
    const char *path; /* of the collector; NULL: none */
    char *endpoint;   /* our copy: path points into it */
    atomic_bool on;
    atomic_int rate;
    atomic_int left; /* traces before it stops; negative: it does not */
    atomic_uint seen;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct buf spans; /* guarded by lock */
    bool stopping;    /* guarded by lock */
    bool failing;     /* the thread's: said once */
};

/* Counts one trace; false: there have been as many as were asked for. */
static bool take_one(struct tracer *t)
{
    int left = atomic_load_explicit(&t->left, memory_order_relaxed);
    while (left > 0 && !atomic_compare_exchange_weak(&t->left, &left, left - 1))
        continue;
    return left != 0;
}

bool tracer_wants(struct tracer *t, bool brought, bool sampled)
{
    if (!tracer_is_on(t))
        return false;
    int rate = tracer_rate(t);
    bool turn = brought ? sampled : rate > 0 && atomic_fetch_add(&t->seen, 1) % (unsigned)rate == 0;
    return turn && take_one(t);
}

bool tracer_is_on(const struct tracer *t)
{
    return atomic_load_explicit(&t->on, memory_order_relaxed);
}

int tracer_rate(const struct tracer *t)
{
    return atomic_load_explicit(&t->rate, memory_order_relaxed);
}

int tracer_count(const struct tracer *t)
{
    return atomic_load_explicit(&t->left, memory_order_relaxed);
}

void tracer_set(struct tracer *t, bool on, int rate, int count)
{
    atomic_store(&t->on, on);
    atomic_store(&t->rate, rate);
    atomic_store(&t->left, count);
}

/* ---- spans ---- */

static void put_hex(struct buf *b, const char *name, const uint8_t *bytes, size_t n)
{
    buf_printf(b, "\"%s\":\"", name);
    for (size_t i = 0; i < n; i++) {
        buf_byte(b, "0123456789abcdef"[bytes[i] >> 4]);
        buf_byte(b, "0123456789abcdef"[bytes[i] & 15]);
    }
    buf_byte(b, '"');
}

static void put_attribute(struct buf *b, const char *key, struct str value)
{
    buf_printf(b, "{\"key\":\"%s\",\"value\":{\"stringValue\":", key);
    json_put_string(b, value);
    buf_str(b, "}},");
}

static void put_number(struct buf *b, const char *key, uint64_t value, const char *end)
{
    buf_printf(b, "{\"key\":\"%s\",\"value\":{\"intValue\":\"%llu\"}}%s", key,
               (unsigned long long)value, end);
}

static void put_attributes(struct buf *b, const struct note *n, const struct call *c)
{
    static const char *const keys[] = { "oar.parse_us", "oar.queue_us", "oar.batch_us",
                                        "oar.compute_us", "oar.encode_us" };
    put_attribute(b, "oar.request_id", n->request_id);
    put_attribute(b, "oar.protocol", str_of(c->conn->proto->name));
    put_attribute(b, "client.address", str_of(n->peer));
    if (c->flow != NULL) {
        put_attribute(b, "oar.form", str_of(c->format->name));
        put_attribute(b, "oar.model", str_of(flow_name(c->flow)));
        put_number(b, "oar.model_version", (uint64_t)flow_version(c->flow), ",");
    }
    for (int i = 0; i < STAGE_COUNT; i++)
        put_number(b, keys[i], c->stage_ns[i] / 1000, ",");
    put_number(b, "oar.rows", (uint64_t)c->rows, "");
}

static void put_span(struct buf *b, const struct note *n, const struct call *c)
{
    uint64_t begin_ns = (uint64_t)n->begin_us * 1000, end_ns = begin_ns + clock_ns() - c->begin_ns;
    char name[512];
    snprintf(name, sizeof(name), "%.*s %.*s", STR_ARG(n->method),
             (int)(n->target.n < 400 ? n->target.n : 400), n->target.p != NULL ? n->target.p : "");
    buf_byte(b, '{');
    put_hex(b, "traceId", n->trace_id, TRACE_ID_BYTES);
    buf_byte(b, ',');
    put_hex(b, "spanId", n->span_id, SPAN_ID_BYTES);
    buf_byte(b, ',');
    if (n->has_parent) {
        put_hex(b, "parentSpanId", n->parent_id, SPAN_ID_BYTES);
        buf_byte(b, ',');
    }
    buf_str(b, "\"name\":");
    json_put_string(b, str_of(name));
    buf_printf(b,
               ",\"kind\":2,\"startTimeUnixNano\":\"%llu\",\"endTimeUnixNano\":\"%llu\","
               "\"attributes\":[",
               (unsigned long long)begin_ns, (unsigned long long)end_ns);
    put_attributes(b, n, c);
    buf_printf(b, "],\"status\":{\"code\":%d", c->result == OK ? 1 : 2);
    if (c->result != OK) {
        buf_str(b, ",\"message\":");
        json_put_string(b, str_of(c->err.text));
    }
    buf_str(b, "}}");
}

/* Written beside the others first, in the loop's own buffer. */
void tracer_add(struct tracer *t, const struct note *n, const struct call *c)
{
    struct buf *span = &c->conn->lane->span;
    buf_clear(span);
    put_span(span, n, c);
    if (buf_check(span) != OK)
        return; /* no memory for it: dropped */
    pthread_mutex_lock(&t->lock);
    size_t before = t->spans.len;
    if (before > 0)
        buf_byte(&t->spans, ',');
    buf_append(&t->spans, span->data, span->len);
    if (buf_check(&t->spans) != OK) { /* full: this one is dropped */
        t->spans.failed = OK;
        t->spans.len = before;
    }
    pthread_mutex_unlock(&t->lock);
}

/* ---- delivery ---- */

static bool send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

static int dial(const struct tracer *t)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    const struct timeval limit = { .tv_sec = COLLECTOR_S };
    int fd = -1;
    if (getaddrinfo(t->host, t->port, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            continue;
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static bool post(const struct tracer *t, const struct buf *body)
{
    char head[1024], answer[16] = "";
    int n = snprintf(head, sizeof(head),
                     "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                     t->path, t->host, t->port, body->len);
    int fd = dial(t);
    if (fd < 0)
        return false;
    bool sent = send_all(fd, head, (size_t)n) && send_all(fd, (char *)body->data, body->len);
    bool good = sent && recv(fd, answer, sizeof(answer) - 1, 0) > 9 && answer[9] == '2';
    close(fd);
    return good;
}

static void deliver(struct tracer *t, const struct buf *spans)
{
    struct buf body;
    buf_init(&body, SPANS_BYTES + 4096);
    buf_str(&body, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[{\"key\":\"service.name\","
                   "\"value\":{\"stringValue\":\"oar\"}},{\"key\":\"service.version\",\"value\":"
                   "{\"stringValue\":\"" OAR_VERSION "\"}}]},\"scopeSpans\":[{\"scope\":{\"name\":"
                   "\"oar\"},\"spans\":[");
    buf_append(&body, spans->data, spans->len);
    buf_str(&body, "]}]}]}");
    bool good = t->path == NULL || post(t, &body);
    if (!good && !t->failing)
        log_line(LOG_WARN, "trace", "no good answer from %s: its spans are dropped until there is",
                 t->endpoint);
    t->failing = !good;
    buf_byte(&body, '\n');
    if (t->file != NULL && buf_check(&body) == OK)
        line_file_put(t->file, body.data, body.len);
    buf_deinit(&body);
}

static void *run(void *arg)
{
    struct tracer *t = arg;
    struct buf taken;
    buf_init(&taken, SPANS_BYTES);
    bool stopping = false;
    while (!stopping) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += FLUSH_S;
        pthread_mutex_lock(&t->lock);
        while (!t->stopping && pthread_cond_timedwait(&t->wake, &t->lock, &until) == 0)
            continue;
        stopping = t->stopping;
        buf_swap(&t->spans, &taken);
        pthread_mutex_unlock(&t->lock);
        if (taken.len > 0)
            deliver(t, &taken);
        buf_clear(&taken);
    }
    buf_deinit(&taken);
    return NULL;
}

/* ---- life ---- */

static status read_endpoint(struct tracer *t, const char *endpoint, struct err *e)
{
    struct str rest = str_of(endpoint), authority, port;
    if (!str_starts(rest, "http://"))
        return err_set(e, INVALID, "--trace-endpoint: '%s' does not begin with http://", endpoint);
    t->endpoint = mem_strdup(endpoint);
    const char *from = t->endpoint + strlen("http://"), *slash = strchr(from, '/');
    t->path = slash != NULL ? slash : "/v1/traces";
    authority = (struct str){ from, slash != NULL ? (size_t)(slash - from) : strlen(from) };
    port = authority;
    str_cut(&port, ':', &authority);
    snprintf(t->host, sizeof(t->host), "%.*s", STR_ARG(authority));
    snprintf(t->port, sizeof(t->port), "%.*s", STR_ARG(port.n > 0 ? port : STR("4318")));
    return authority.n > 0 ? OK
                           : err_set(e, INVALID, "--trace-endpoint: '%s' names no host", endpoint);
}

static status open_targets(struct tracer *t, const struct trace_options *o, struct err *e)
{
    if (o->endpoint != NULL)
        TRY(read_endpoint(t, o->endpoint, e));
    if (o->file == NULL)
        return OK;
    status s = line_file_open(o->file, &t->file, e);
    return s == OK ? OK : err_prefix(e, s, "--trace-file: ");
}

static void release(struct tracer *t)
{
    line_file_close(t->file);
    buf_deinit(&t->spans);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->wake);
    mem_free(t->endpoint);
    mem_free(t);
}

/* By a clock that does not jump: the time of day set back by an hour would hold spans for as long. */
static void init_wake(pthread_cond_t *wake)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(wake, &attr);
    pthread_condattr_destroy(&attr);
}

status tracer_open(const struct trace_options *o, struct tracer **out, struct err *e)
{
    *out = NULL;
    if (o->file == NULL && o->endpoint == NULL)
        return OK;
    struct tracer *t = mem_zalloc(sizeof(*t));
    atomic_init(&t->rate, o->rate);
    atomic_init(&t->on, true);
    atomic_init(&t->left, -1);
    buf_init(&t->spans, SPANS_BYTES);
    pthread_mutex_init(&t->lock, NULL);
    init_wake(&t->wake);
    status s = open_targets(t, o, e);
    if (s == OK && pthread_create(&t->thread, NULL, run, t) != 0)
        s = err_set(e, IO_FAILED, "no thread for tracing");
    if (s != OK)
        release(t);
    else
        *out = t;
    return s;
}

status tracer_reopen(struct tracer *t, struct err *e)
{
    return t != NULL && t->file != NULL ? line_file_reopen(t->file, e) : OK;
}

void tracer_close(struct tracer *t)
{
    if (t == NULL)
        return;
    pthread_mutex_lock(&t->lock);
    t->stopping = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    pthread_join(t->thread, NULL);
    release(t);
}
