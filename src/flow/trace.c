#include "flow/trace.h"

#include "base/clock.h"
#include "base/mem.h"
#include "codec/json.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#define SPANS          (1u << 16) /* the oldest are overwritten */
#define NAME_MAX_BYTES 32

struct span {
    char name[NAME_MAX_BYTES];
    const char *kind;
    uint64_t begin_ns, end_ns;
    int64_t number;
    int thread;
    atomic_uint_fast64_t
        turn; /* 1 + its index once it is whole, so that a half-written one is left out */
};

struct trace {
    atomic_bool on;
    atomic_uint_fast64_t next;
    uint64_t begin_ns;
    struct span span[SPANS];
};

struct trace *trace_new(void)
{
    return mem_zalloc(sizeof(struct trace));
}

void trace_free(struct trace *t)
{
    mem_free(t);
}

bool trace_start(struct trace *t)
{
    bool off = false;
    if (!atomic_compare_exchange_strong(&t->on, &off, true))
        return false;
    t->begin_ns = clock_ns();
    return true;
}

void trace_stop(struct trace *t)
{
    atomic_store(&t->on, false);
}

bool trace_is_on(const struct trace *t)
{
    return t != NULL && atomic_load_explicit(&t->on, memory_order_relaxed);
}

void trace_span(struct trace *t, const char *kind, const char *name, uint64_t begin_ns,
                uint64_t end_ns, int64_t number)
{
    uint64_t i = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
    struct span *s = &t->span[i % SPANS];
    atomic_store_explicit(&s->turn, 0, memory_order_relaxed);
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->kind = kind;
    s->begin_ns = begin_ns;
    s->end_ns = end_ns;
    s->number = number;
    s->thread = gettid();
    atomic_store_explicit(&s->turn, i + 1, memory_order_release);
}

static void put_span(const struct span *s, bool *first, int process, struct buf *out)
{
    buf_str(out, *first ? "\n" : ",\n");
    *first = false;
    buf_str(out, "{\"name\":");
    json_put_string(out, str_of(s->name));
    buf_printf(out, ",\"cat\":\"%s\",\"ph\":\"X\",\"ts\":%.3f,\"dur\":%.3f,\"pid\":%d,\"tid\":%d",
               s->kind, (double)s->begin_ns / 1000, (double)(s->end_ns - s->begin_ns) / 1000,
               process, s->thread);
    if (s->number > 0)
        buf_printf(out, ",\"args\":{\"requests\":%lld}", (long long)s->number);
    buf_str(out, "}");
}

void trace_put_json(const struct trace *t, struct buf *out)
{
    bool first = true;
    int process = getpid();
    buf_str(out, "[");
    for (uint32_t i = 0; i < SPANS; i++) {
        const struct span *s = &t->span[i];
        if (atomic_load_explicit(&s->turn, memory_order_acquire) > 0 && s->begin_ns >= t->begin_ns)
            put_span(s, &first, process, out);
    }
    buf_str(out, "\n]\n");
}
