#include "flow/trace.h"

#include "base/clock.h"
#include "base/mem.h"
#include "codec/json.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SPANS          (1u << 17)
#define NAME_MAX_BYTES 32
#define THREADS_MAX    256

struct span {
    char name[NAME_MAX_BYTES];
    const char *kind, *kernel;
    uint64_t begin_ns, end_ns, request;
    int64_t requests;
    int thread;
    /* 1 + its index once it is whole, so that a half-written one is left out */
    atomic_uint_fast64_t turn;
};

struct trace {
    atomic_bool taken, on; /* somebody looks; spans are wanted just now */
    atomic_uint_fast64_t next, limit;
    uint64_t begin_ns;
    struct span span[SPANS]; /* pages that nobody wrote take no memory */
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
    bool nobody = false;
    if (!atomic_compare_exchange_strong(&t->taken, &nobody, true))
        return false;
    t->begin_ns = clock_ns();
    return true;
}

void trace_allow(struct trace *t, double share)
{
    double n = share * SPANS;
    atomic_store(&t->limit, atomic_load(&t->next) + (n < SPANS ? (uint64_t)n : SPANS));
    atomic_store(&t->on, true);
}

void trace_stop(struct trace *t)
{
    atomic_store(&t->on, false);
}

void trace_finish(struct trace *t)
{
    atomic_store(&t->taken, false);
}

bool trace_is_on(const struct trace *t)
{
    return t != NULL && atomic_load_explicit(&t->on, memory_order_relaxed);
}

/* ---- taking ---- */

/* Asking the system each time would be a good part of what a span costs. */
static int thread_id(void)
{
    static _Thread_local int id;
    if (id == 0)
        id = gettid();
    return id;
}

void trace_put(struct trace *t, const struct trace_span *from)
{
    uint64_t i = atomic_fetch_add_explicit(&t->next, 1, memory_order_relaxed);
    if (i >= atomic_load_explicit(&t->limit, memory_order_relaxed)) {
        atomic_store_explicit(&t->on, false, memory_order_relaxed);
        return;
    }
    struct span *s = &t->span[i % SPANS];
    size_t n = strnlen(from->name, NAME_MAX_BYTES - 1);
    atomic_store_explicit(&s->turn, 0, memory_order_relaxed);
    memcpy(s->name, from->name, n);
    s->name[n] = '\0';
    s->kind = from->kind;
    s->kernel = from->kernel;
    s->begin_ns = from->begin_ns;
    s->end_ns = from->end_ns;
    s->request = from->request;
    s->requests = from->requests;
    s->thread = thread_id();
    atomic_store_explicit(&s->turn, i + 1, memory_order_release);
}

static void on_kernel(void *arg, const struct exec_step *s)
{
    trace_put(arg, &(struct trace_span){ .kind = "kernel",
                                         .name = s->op,
                                         .kernel = s->kernel,
                                         .begin_ns = s->begin_ns,
                                         .end_ns = s->end_ns });
}

void trace_enter(struct trace *t, struct exec *x)
{
    exec_watch(x, on_kernel, t);
}

void trace_leave(struct exec *x)
{
    exec_watch(x, NULL, NULL);
}

/* ---- telling ---- */

struct telling {
    struct buf *out;
    int process, thread[THREADS_MAX], thread_count;
    bool any;
};

static void put_head(struct telling *w, const struct span *s, const char *phase, uint64_t ns)
{
    buf_str(w->out, w->any ? ",\n{\"name\":" : "\n{\"name\":");
    w->any = true;
    json_put_string(w->out, str_of(s->name));
    buf_printf(w->out, ",\"cat\":\"%s\",\"ph\":\"%s\",\"ts\":%.3f,\"pid\":%d,\"tid\":%d", s->kind,
               phase, (double)ns / 1000, w->process, s->thread);
}

static void put_pair(struct telling *w, const struct span *s)
{
    for (int end = 0; end < 2; end++) {
        put_head(w, s, end ? "e" : "b", end ? s->end_ns : s->begin_ns);
        buf_printf(w->out, ",\"id\":\"%llx\"}", (unsigned long long)s->request);
    }
}

static void put_whole(struct telling *w, const struct span *s)
{
    put_head(w, s, "X", s->begin_ns);
    buf_printf(w->out, ",\"dur\":%.3f", (double)(s->end_ns - s->begin_ns) / 1000);
    if (s->requests > 0)
        buf_printf(w->out, ",\"args\":{\"requests\":%lld}", (long long)s->requests);
    if (s->kernel != NULL) {
        buf_str(w->out, ",\"args\":{\"kernel\":");
        json_put_string(w->out, str_of(s->kernel));
        buf_str(w->out, "}");
    }
    buf_str(w->out, "}");
}

static void note_thread(struct telling *w, int id)
{
    int i = 0;
    while (i < w->thread_count && w->thread[i] != id)
        i++;
    if (i == w->thread_count && i < THREADS_MAX)
        w->thread[w->thread_count++] = id;
}

/* What the system calls it, as threads named themselves ("oar-loop-0"). */
static void put_thread(struct telling *w, int id)
{
    char path[64], name[32] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", id);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return; /* it has ended */
    if (fgets(name, sizeof(name), f) != NULL)
        name[strcspn(name, "\n")] = '\0';
    fclose(f);
    buf_printf(w->out,
               "%s\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"args\":{"
               "\"name\":",
               w->any ? "," : "", w->process, id);
    json_put_string(w->out, str_of(name));
    buf_str(w->out, "}}");
    w->any = true;
}

void trace_put_json(const struct trace *t, struct buf *out)
{
    struct telling w = { .out = out, .process = getpid() };
    buf_str(out, "[");
    for (uint32_t i = 0; i < SPANS; i++) {
        const struct span *s = &t->span[i];
        if (atomic_load_explicit(&s->turn, memory_order_acquire) == 0 || s->begin_ns < t->begin_ns)
            continue;
        note_thread(&w, s->thread);
        if (s->request != 0)
            put_pair(&w, s);
        else
            put_whole(&w, s);
    }
    for (int i = 0; i < w.thread_count; i++)
        put_thread(&w, w.thread[i]);
    buf_str(out, "\n]\n");
}
