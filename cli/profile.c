#include "profile.h"

#include "base/mem.h"
#include "codec/json.h"
#include "exec/model.h"
#include "graph/op.h"
#include "kernels/kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One place in the sequence of steps that a run takes. */
struct row {
    const char *name, *op, *kernel;
    uint64_t begin_ns, end_ns; /* of the last run */
    uint64_t total_ns;
    double flops; /* of one run */
    int steps;    /* joined in this row */
};

#define ROWS_MAX \
    100000 /* a loop of the model may take any number of steps: the later ones are not told apart */

struct profile {
    struct row *row;
    int count, cap;
    int at; /* the next step of this run */
    uint64_t runs;
};

static void grow(struct profile *p)
{
    int cap = p->cap == 0 ? 256 : p->cap * 2;
    struct row *bigger = mem_zalloc((size_t)cap * sizeof(*bigger));
    if (p->count > 0)
        memcpy(bigger, p->row, (size_t)p->count * sizeof(*bigger));
    mem_free(p->row);
    p->row = bigger;
    p->cap = cap;
}

static void on_step(void *arg, const struct exec_step *s)
{
    struct profile *p = arg;
    if (p->at >= ROWS_MAX)
        return;
    if (p->at == p->cap)
        grow(p);
    struct row *r = &p->row[p->at++];
    if (p->at > p->count)
        p->count = p->at;
    r->name = s->node->name;
    r->op = s->op;
    r->kernel = s->kernel != NULL ? s->kernel : "graphs";
    r->begin_ns = s->begin_ns;
    r->end_ns = s->end_ns;
    r->total_ns += s->end_ns - s->begin_ns;
    r->flops = s->flops;
    r->steps = 1;
}

static void free_rows(void *profile)
{
    mem_free(((struct profile *)profile)->row);
}

struct profile *profile_new(struct arena *a, struct exec *x)
{
    struct profile *p = arena_zalloc(a, sizeof(*p));
    arena_defer(a, free_rows, p);
    exec_watch(x, on_step, p);
    return p;
}

void profile_end_run(struct profile *p)
{
    p->at = 0;
    p->runs++;
}

/* ---- tables ---- */

static int by_time(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return (x->total_ns < y->total_ns) - (x->total_ns > y->total_ns);
}

static struct row *find_kind(struct row *kind, int count, const struct row *r)
{
    for (int i = 0; i < count; i++)
        if (strcmp(kind[i].op, r->op) == 0 && strcmp(kind[i].kernel, r->kernel) == 0)
            return &kind[i];
    return NULL;
}

static int join_kinds(const struct profile *p, struct row *kind)
{
    int count = 0;
    for (int i = 0; i < p->count; i++) {
        const struct row *r = &p->row[i];
        struct row *k = find_kind(kind, count, r);
        if (k == NULL) {
            kind[count++] = *r;
            continue;
        }
        k->total_ns += r->total_ns;
        k->flops += r->flops;
        k->steps++;
    }
    return count;
}

struct scale {
    double runs, total_ms, peak; /* peak: operations a second */
};

static void put_row(const struct row *r, const struct scale *s, const char *name, struct buf *out)
{
    double ms = (double)r->total_ns / 1e6 / s->runs;
    buf_printf(out, "%9.4f %5.1f %%", ms, s->total_ms > 0 ? 100 * ms / s->total_ms : 0);
    if (r->flops > 0 && ms > 0)
        buf_printf(out, " %9.2f %5.1f %%", r->flops / ms / 1e6, r->flops / ms * 1e5 / s->peak);
    else
        buf_printf(out, " %9s %7s", "", "");
    buf_printf(out, "  %-22s %s\n", r->kernel, name);
}

static void put_table(struct row *row, int count, const struct scale *s, bool kinds,
                      struct buf *out)
{
    qsort(row, (size_t)count, sizeof(*row), by_time);
    buf_printf(out, "\n%9s %7s %9s %7s  %-22s %s\n", "ms", "time", "GFLOP/s", "peak", "kernel",
               kinds ? "operator" : "node");
    for (int i = 0; i < count; i++) {
        char name[128];
        snprintf(name, sizeof(name), "%s (%d)", row[i].op, row[i].steps);
        put_row(&row[i], s, kinds ? name : row[i].name, out);
    }
}

void profile_put(const struct profile *p, int threads, struct buf *out)
{
    struct row *row = mem_zalloc(((size_t)p->count + 1) * sizeof(*row));
    struct scale s = { .runs = p->runs > 0 ? (double)p->runs : 1,
                       .peak = kernel_peak_flops(threads) };
    double flops = 0;
    for (int i = 0; i < p->count; i++) {
        s.total_ms += (double)p->row[i].total_ns / 1e6 / s.runs;
        flops += p->row[i].flops;
    }
    buf_printf(out,
               "%.4f ms in %d steps; %.3f GFLOP, %.2f GFLOP/s of %.2f that this machine does\n",
               s.total_ms, p->count, flops / 1e9, s.total_ms > 0 ? flops / s.total_ms / 1e6 : 0,
               s.peak / 1e9);
    put_table(row, join_kinds(p, row), &s, true, out);
    if (p->count > 0)
        memcpy(row, p->row, (size_t)p->count * sizeof(*row));
    put_table(row, p->count, &s, false, out);
    mem_free(row);
}

/* ---- trace ---- */

static void put_event(const struct row *r, uint64_t origin, bool last, struct buf *out)
{
    buf_str(out, "{\"name\":");
    json_put_string(out, str_of(r->op));
    buf_str(out, ",\"cat\":");
    json_put_string(out, str_of(r->kernel));
    buf_printf(out,
               ",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":%.3f,\"dur\":%.3f,\"args\":{\"node\":",
               (double)(r->begin_ns - origin) / 1e3, (double)(r->end_ns - r->begin_ns) / 1e3);
    json_put_string(out, str_of(r->name));
    buf_printf(out, ",\"gflop\":%.6g}}%s\n", r->flops / 1e9, last ? "" : ",");
}

status profile_write_trace(const struct profile *p, const char *path, struct err *e)
{
    struct buf text;
    buf_init(&text, (size_t)1 << 30);
    buf_str(&text, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    for (int i = 0; i < p->count; i++)
        put_event(&p->row[i], p->row[0].begin_ns, i + 1 == p->count, &text);
    buf_str(&text, "]}\n");
    FILE *f = fopen(path, "w");
    bool wrote = f != NULL && fwrite(text.data, 1, text.len, f) == text.len;
    bool closed = f == NULL || fclose(f) == 0;
    buf_deinit(&text);
    return wrote && closed ? OK : err_set(e, IO_FAILED, "%s: cannot be written", path);
}
