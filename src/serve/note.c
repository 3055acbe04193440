#include "serve/note.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define ID_MAX 128

/* What a client calls its request goes into logs and headers: visible ASCII alone. */
static bool is_good_id(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '\\')
            return false;
    return s.n > 0 && s.n <= ID_MAX;
}

/* Unique in this process and, by the time it began, likely on this machine. */
static struct str new_id(struct lane *lane, struct arena *a)
{
    return str_of(arena_printf(a, "%llx-%x-%llx", (unsigned long long)lane->server->start_us,
                               loop_index(lane->loop), (unsigned long long)++lane->last_id));
}

/* xorshift64*: ids of spans must differ, not be secret. */
static uint64_t next_random(struct lane *lane)
{
    uint64_t x = lane->random != 0 ? lane->random
                                   : ((uint64_t)clock_wall_us() << 20 ^ clock_ns()) |
                                         (uint64_t)(loop_index(lane->loop) + 1) << 60 | 1;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    lane->random = x;
    return x * 0x2545f4914f6cdd1d;
}

static bool read_hex(struct str s, uint8_t *out, size_t bytes)
{
    static const char digits[] = "0123456789abcdef";
    bool zero = true;
    for (size_t i = 0; i < 2 * bytes; i++) {
        const char *at = i < s.n && s.p[i] != '\0' ? strchr(digits, s.p[i]) : NULL;
        if (at == NULL)
            return false;
        out[i / 2] = (uint8_t)(out[i / 2] << 4 | (at - digits));
        zero = zero && at == digits;
    }
    return !zero;
}

/* W3C trace context: "00-32 digits-16 digits-flags". */
static bool read_traceparent(struct str s, struct note *n, bool *sampled)
{
    uint8_t flags = 0;
    if (s.n < 55 || s.p[2] != '-' || s.p[35] != '-' || s.p[52] != '-' || str_starts(s, "ff"))
        return false;
    if (!read_hex((struct str){ s.p + 3, 32 }, n->trace_id, TRACE_ID_BYTES) ||
        !read_hex((struct str){ s.p + 36, 16 }, n->parent_id, SPAN_ID_BYTES))
        return false;
    read_hex((struct str){ s.p + 53, 2 }, &flags, 1);
    *sampled = flags & 1;
    return true;
}

static void trace(struct lane *lane, struct note *n, struct str traceparent)
{
    struct tracer *t = lane->server->tracer;
    bool sampled = false;
    n->has_parent = traceparent.p != NULL && read_traceparent(traceparent, n, &sampled);
    n->traced = t != NULL && tracer_wants(t, n->has_parent, sampled);
    if (!n->traced)
        return;
    uint64_t r[3] = { next_random(lane), next_random(lane), next_random(lane) };
    memcpy(n->span_id, r, SPAN_ID_BYTES);
    if (!n->has_parent)
        memcpy(n->trace_id, r + 1, TRACE_ID_BYTES);
}

struct note *note_new(struct conn *c, const struct note_source *from, struct arena *a)
{
    struct lane *lane = c->lane;
    const struct server *s = lane->server;
    bool own_id = is_good_id(from->request_id), timing = from->timing || s->options.server_timing;
    if (s->access == NULL && s->tracer == NULL && !own_id && !timing)
        return NULL;
    struct note *n = arena_zalloc(a, sizeof(*n));
    n->request_id = own_id ? (struct str){ arena_strndup(a, from->request_id.p, from->request_id.n),
                                           from->request_id.n }
                           : new_id(lane, a);
    n->timing = timing;
    if (!from->plain)
        trace(lane, n, from->traceparent);
    if (s->access == NULL && !n->traced)
        return n;
    n->begin_us = clock_wall_us();
    n->method = (struct str){ arena_strndup(a, from->method.p, from->method.n), from->method.n };
    n->target = (struct str){ arena_strndup(a, from->target.p, from->target.n), from->target.n };
    snprintf(n->peer, sizeof(n->peer), "%s", net_conn_peer(c->net));
    return n;
}

/* "00-TRACE-SPAN-01" */
static struct str trace_text(const struct note *n, struct note_room *room)
{
    char *to = room->trace;
    to += snprintf(to, 4, "00-");
    for (int i = 0; i < TRACE_ID_BYTES; i++)
        to += snprintf(to, 3, "%02x", n->trace_id[i]);
    *to++ = '-';
    for (int i = 0; i < SPAN_ID_BYTES; i++)
        to += snprintf(to, 3, "%02x", n->span_id[i]);
    to += snprintf(to, 4, "-01");
    return (struct str){ room->trace, (size_t)(to - room->trace) };
}

/* As RFC 9110's Server-Timing has it, in milliseconds. */
static struct str timing_text(const struct call *c, struct note_room *room)
{
    size_t n = 0, size = sizeof(room->timing);
    for (int i = 0; i < STAGE_COUNT; i++)
        n += (size_t)snprintf(room->timing + n, size - n, "%s%s;dur=%.3f", i > 0 ? ", " : "",
                              stage_name(i), (double)c->stage_ns[i] / 1e6);
    return (struct str){ room->timing, n };
}

int note_fields(const struct note *n, const struct call *call, struct note_room *room,
                struct http_header out[NOTE_FIELDS])
{
    int count = 0;
    if (n == NULL)
        return 0;
    out[count++] = (struct http_header){ STR("X-Request-Id"), n->request_id };
    if (n->traced)
        out[count++] = (struct http_header){ STR("traceresponse"), trace_text(n, room) };
    if (n->timing && call != NULL)
        out[count++] = (struct http_header){ STR("Server-Timing"), timing_text(call, room) };
    return count;
}

/* A call that failed, in the server's log: by our own fault always, else for who wants to know more. */
static void log_fault(const struct call *c)
{
    int code = status_http(c->result);
    log_level level = code >= 500 && code != 503 && code != 504 ? LOG_ERROR : LOG_DEBUG;
    if (level < log_get_level())
        return;
    struct str id = c->note != NULL ? c->note->request_id : STR("-");
    log_line(level, "serve", "request %.*s to '%s' over %s: %s: %s", STR_ARG(id),
             c->flow != NULL ? flow_name(c->flow) : "", c->conn->proto->name,
             status_text(c->result), c->err.text);
}

void note_call(const struct call *c)
{
    const struct server *s = c->conn->lane->server;
    if (c->result != OK)
        log_fault(c);
    if (c->note == NULL)
        return;
    if (c->note->traced)
        tracer_add(s->tracer, c->note, c);
    if (!access_log_wants(s->access, c->result != OK))
        return;
    access_log_write(s->access, &(struct access_line){ .note = c->note,
                                                       .call = c,
                                                       .protocol = c->conn->proto->name,
                                                       .code = status_http(c->result),
                                                       .result = status_text(c->result),
                                                       .bytes_in = c->body.n,
                                                       .bytes_out = c->reply.len,
                                                       .total_ns = clock_ns() - c->begin_ns });
}

void note_answer(struct conn *c, const struct note *n, int code, size_t bytes, uint64_t begin_ns)
{
    struct access_log *log = c->lane->server->access;
    if (n == NULL || !access_log_wants(log, code >= 400))
        return;
    access_log_write(log, &(struct access_line){ .note = n,
                                                 .protocol = c->proto->name,
                                                 .code = code,
                                                 .result = code < 400 ? "ok" : "refused",
                                                 .bytes_out = bytes,
                                                 .total_ns = clock_ns() - begin_ns });
}
