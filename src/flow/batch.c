#include "flow/batch_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "flow/rows.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_ROWS  32
#define QUEUE_MAX 4096
#define KEEP_EXEC ((size_t)256 << 20) /* of a thread's working memory between two batches */

/* The outputs of some of a request's rows, kept until all of them are there. */
struct piece {
    struct list node;
    int64_t begin;
    struct arena arena;
    struct tensor *out;
};

/* ---- computing ---- */

static void forget_pieces(struct batch_item *i)
{
    while (!list_empty(&i->pieces)) {
        struct piece *p = LIST_ENTRY(i->pieces.next, struct piece, node);
        list_remove(&p->node);
        arena_deinit(&p->arena);
        mem_free(p);
    }
}

static int by_begin(const void *a, const void *b)
{
    const struct piece *x = *(struct piece *const *)a, *y = *(struct piece *const *)b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* All pieces are there: one behind the other they are the answer. */
static status join_pieces(const struct batcher *b, struct batch_item *i, struct arena *a,
                          struct tensor *out)
{
    int count = 0, k = 0;
    for (struct list *n = i->pieces.next; n != &i->pieces; n = n->next)
        count++;
    struct piece **piece = arena_zalloc(a, (size_t)count * sizeof(struct piece *));
    const struct tensor **t = arena_zalloc(a, (size_t)count * sizeof(*t));
    for (struct list *n = i->pieces.next; n != &i->pieces; n = n->next)
        piece[k++] = LIST_ENTRY(n, struct piece, node);
    qsort(piece, (size_t)count, sizeof(struct piece *), by_begin);
    for (int o = 0; o < b->outputs; o++) {
        for (k = 0; k < count; k++) {
            t[k] = &piece[k]->out[o];
            if (!rows_joinable(t[0], t[k]))
                return err_set(&i->err, TOO_LARGE,
                               "the request has %lld rows, more than fit into one batch, and the "
                               "model's outputs cannot be put together from several",
                               (long long)i->rows);
        }
        TRY(rows_join(t, count, a, &out[o]));
    }
    return OK;
}

static void finish_pieces(struct batcher *b, struct batch_item *i, struct exec *x)
{
    struct arena a;
    arena_init(&a, 0);
    struct tensor *out = arena_zalloc(&a, ((size_t)b->outputs + 1) * sizeof(*out));
    status s = i->failed != OK ? i->failed : join_pieces(b, i, &a, out);
    forget_pieces(i);
    i->done(i, s, s == OK ? out : NULL, x);
    arena_deinit(&a);
}

static status copy_piece(const struct batcher *b, const struct tensor *out, struct piece *p)
{
    for (int o = 0; o < b->outputs; o++) {
        const struct tensor *t = &out[o];
        TRY(rows_join(&t, 1, &p->arena, &p->out[o]));
    }
    return OK;
}

/* Some rows of a larger request are ready, or failed. */
static void end_piece(struct batcher *b, const struct unit *u, status s, const struct tensor *out,
                      const struct err *e, struct exec *x)
{
    struct batch_item *i = u->item;
    struct piece *p = mem_zalloc(sizeof(*p));
    arena_init(&p->arena, 0);
    p->begin = u->begin;
    p->out = arena_zalloc(&p->arena, ((size_t)b->outputs + 1) * sizeof(*p->out));
    if (s == OK)
        s = copy_piece(b, out, p);
    pthread_mutex_lock(&b->lock);
    list_push_back(&i->pieces, &p->node);
    if (s != OK && i->failed == OK) {
        i->failed = s;
        i->err = *e;
    }
    i->finished += u->end - u->begin;
    bool all = i->finished == i->rows;
    pthread_mutex_unlock(&b->lock);
    if (all)
        finish_pieces(b, i, x);
}

static void end_unit(struct batcher *b, const struct unit *u, status s, const struct tensor *out,
                     const struct err *e, struct exec *x)
{
    struct batch_item *i = u->item;
    if (u->end - u->begin != i->rows) {
        end_piece(b, u, s, out, e, x);
        return;
    }
    i->err = *e;
    i->done(i, s, s == OK ? out : NULL, x);
}

static struct tensor *unit_inputs(const struct batcher *b, const struct unit *u, struct arena *a)
{
    const struct batch_item *i = u->item;
    if (u->end - u->begin == i->rows)
        return (struct tensor *)i->in;
    struct tensor *in = arena_zalloc(a, ((size_t)b->inputs + 1) * sizeof(*in));
    for (int k = 0; k < b->inputs; k++)
        in[k] = rows_slice(&i->in[k], u->begin, u->end, a);
    return in;
}

/* Processor time of this thread: others may have it off the processor. 0 where nobody asks. */
static uint64_t spent(const struct batcher *b)
{
    struct timespec t = { 0, 0 };
    if (b->measures)
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void compute_alone(struct batcher *b, struct batch *t, const struct unit *u, struct exec *x)
{
    struct arena *a = &t->arena;
    struct err e = { "" };
    struct tensor *out = arena_zalloc(a, ((size_t)b->outputs + 1) * sizeof(*out));
    uint64_t begin = spent(b);
    status s = exec_run(x, b->model, unit_inputs(b, u, a), out, &e);
    t->spent_ns += spent(b) - begin;
    end_unit(b, u, s, out, &e, x);
}

/* ---- joining ---- */

static int64_t longest(const struct batch *t, const struct batch_pad *p)
{
    int64_t n = 0;
    for (int k = 0; k < t->count; k++) {
        int64_t dim = t->unit[k].item->in[p->input].shape.dim[p->axis];
        n = dim > n ? dim : n;
    }
    return n;
}

static int64_t numel(const struct tensor *t)
{
    return shape_numel(&t->shape);
}

/* Replaces the units' own tensors by padded ones where their axis is shorter than the batch's. */
static status pad_units(struct batcher *b, struct batch *t, struct tensor **in)
{
    for (int n = 0; n < b->options.pad_count; n++) {
        const struct batch_pad *p = &b->options.pad[n];
        const struct rows_pad pad = { p->axis, longest(t, p), p->value };
        for (int k = 0; k < t->count; k++) {
            struct tensor *x = &in[k][p->input], longer = *x;
            if (x->shape.dim[p->axis] != pad.length)
                TRY(rows_pad(x, &pad, &t->arena, &longer));
            atomic_fetch_add(&b->counters->padding, (uint64_t)(numel(&longer) - numel(x)));
            atomic_fetch_add(&b->counters->elements, (uint64_t)numel(&longer));
            *x = longer;
        }
    }
    return OK;
}

static status join_inputs(struct batcher *b, struct batch *t, struct tensor *joined)
{
    size_t inputs = (size_t)b->inputs + 1;
    struct tensor **in = arena_zalloc(&t->arena, (size_t)t->count * sizeof(*in));
    const struct tensor **one = arena_zalloc(&t->arena, (size_t)t->count * sizeof(*one));
    for (int k = 0; k < t->count; k++) {
        in[k] = arena_alloc(&t->arena, inputs * sizeof(**in));
        memcpy(in[k], unit_inputs(b, &t->unit[k], &t->arena), (inputs - 1) * sizeof(**in));
    }
    TRY(pad_units(b, t, in));
    for (int i = 0; i < b->inputs; i++) {
        for (int k = 0; k < t->count; k++)
            one[k] = &in[k][i];
        TRY(rows_join(one, t->count, &t->arena, &joined[i]));
    }
    return OK;
}

static bool is_separable(struct batcher *b, const struct batch *t, const struct tensor *out)
{
    int count;
    const struct port *port = model_outputs(b->model, &count);
    for (int o = 0; o < b->outputs; o++) {
        if (rows_count(&out[o]) == t->rows)
            continue;
        if (!atomic_exchange(&b->inseparable, true))
            log_line(LOG_WARN, "flow",
                     "batching is off: output '%s' has %lld rows for a batch of %lld, so that it "
                     "cannot be told what belongs to whom",
                     port[o].alias, (long long)rows_count(&out[o]), (long long)t->rows);
        return false;
    }
    return true;
}

static status trim_outputs(const struct batcher *b, const struct batch_item *i, struct arena *a,
                           struct tensor *out)
{
    for (int n = 0; n < b->options.trim_count; n++) {
        const struct batch_trim *t = &b->options.trim[n];
        int64_t want = i->in[t->input].shape.dim[t->input_axis];
        struct tensor *o = &out[t->output];
        const struct tensor whole = *o;
        if (t->axis < whole.shape.rank && whole.shape.dim[t->axis] > want)
            TRY(rows_trim(&whole, t->axis, want, a, o));
    }
    return OK;
}

static void hand_out(struct batcher *b, struct batch *t, const struct tensor *out, struct exec *x)
{
    int64_t row = 0;
    for (int k = 0; k < t->count; k++) {
        const struct unit *u = &t->unit[k];
        struct err e = { "" };
        int64_t n = u->end - u->begin;
        struct tensor *mine = arena_zalloc(&t->arena, ((size_t)b->outputs + 1) * sizeof(*mine));
        for (int o = 0; o < b->outputs; o++)
            mine[o] = rows_slice(&out[o], row, row + n, &t->arena);
        row += n;
        status s = trim_outputs(b, u->item, &t->arena, mine);
        if (s != OK)
            err_set(&e, s, "no memory for the outputs");
        end_unit(b, u, s, mine, &e, x);
    }
}

static bool compute_joined(struct batcher *b, struct batch *t, struct exec *x)
{
    struct tensor *in = arena_zalloc(&t->arena, ((size_t)b->inputs + 1) * sizeof(*in));
    struct tensor *out = arena_zalloc(&t->arena, ((size_t)b->outputs + 1) * sizeof(*out));
    uint64_t begin = spent(b);
    bool fine = join_inputs(b, t, in) == OK && exec_run(x, b->model, in, out, NULL) == OK;
    t->spent_ns += spent(b) - begin;
    if (!fine || !is_separable(b, t, out))
        return false;
    hand_out(b, t, out, x);
    return true;
}

static void compute_batch(struct batcher *b, struct batch *t, struct exec *x)
{
    struct batch_counters *c = b->counters;
    atomic_fetch_add(&c->batches, 1);
    atomic_fetch_add(&c->requests, (uint64_t)t->count);
    atomic_fetch_add(&c->rows, (uint64_t)t->rows);
    if (t->count > 1 && compute_joined(b, t, x))
        return;
    if (t->count > 1)
        atomic_fetch_add(&c->alone, (uint64_t)t->count);
    for (int k = 0; k < t->count; k++)
        compute_alone(b, t, &t->unit[k], x);
}

static double elements_of(const struct unit *u)
{
    const struct batch_item *i = u->item;
    double all = (double)numel(&i->in[0]);
    return i->rows > 0 ? all * (double)(u->end - u->begin) / (double)i->rows : all;
}

/* What the batch is asked for, to be known when its requests are answered and gone. */
static struct worth_cost asked(const struct batcher *b, const struct batch *t)
{
    struct worth_cost c = { 0, 0, t->count };
    for (int k = 0; k < t->count && b->inputs > 0; k++)
        c.elements += elements_of(&t->unit[k]);
    return c;
}

/* With the lock: what those look at who have none. */
static void publish(struct batcher *b)
{
    const struct worth *w = &b->worth;
    atomic_store_explicit(&b->is_trial, w->trial_until_ns > w->apart_until_ns,
                          memory_order_relaxed);
    atomic_store_explicit(&b->pass_until_ns, worth_passes_until(w), memory_order_relaxed);
}

static void learn(struct batcher *b, const struct batch *t, struct worth_cost cost)
{
    struct worth *w = &b->worth;
    uint64_t now = clock_ns();
    cost.ns = (double)t->spent_ns;
    pthread_mutex_lock(&b->lock);
    if (t->compared)
        worth_note_alone(w, cost);
    else
        worth_note_queued(w, cost, now);
    publish(b);
    pthread_mutex_unlock(&b->lock);
}

static void compute(struct batcher *b, struct batch *t, struct exec *x)
{
    bool traced = trace_is_on(b->options.trace);
    uint64_t begin = traced ? clock_ns() : 0;
    int count = t->count;
    const struct worth_cost cost = b->measures ? asked(b, t) : (struct worth_cost){ 0 };
    if (traced)
        trace_enter(b->options.trace, x);
    t->spent_ns = 0;
    compute_batch(b, t, x);
    if (b->measures)
        learn(b, t, cost);
    if (!traced)
        return;
    trace_leave(x);
    trace_put(b->options.trace, &(struct trace_span){ .kind = "batch",
                                                      .name = b->options.name,
                                                      .begin_ns = begin,
                                                      .end_ns = clock_ns(),
                                                      .requests = count });
}

static void *work(void *arg)
{
    struct batch_thread *self = arg;
    struct batcher *b = self->batcher;
    struct exec *x = exec_new();
    struct batch t = { 0 };
    uint64_t swept = 0;
    arena_init(&t.arena, 0);
    while (batch_take(b, &t, &swept)) {
        if (t.count > 0)
            compute(b, &t, x);
        t.count = 0;
        t.rows = 0;
        arena_reset(&t.arena);
        exec_trim(x, KEEP_EXEC);
    }
    arena_deinit(&t.arena);
    mem_free(t.unit);
    exec_free(x);
    return NULL;
}

/* ---- life ---- */
/* ---- life ---- */

static void init_lock(struct batcher *b)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&b->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->there, &attr);
    pthread_condattr_destroy(&attr);
}

static void start_threads(struct batcher *b)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    b->thread = mem_zalloc((size_t)b->options.threads * sizeof(*b->thread));
    for (int i = 0; i < b->options.threads; i++) {
        struct batch_thread *t = &b->thread[i];
        t->batcher = b;
        t->started = pthread_create(&t->thread, NULL, work, t) == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* Nothing says that requests are to wait, or which of them. */
static bool is_free(const struct batch_options *o)
{
    bool own = false;
    for (int i = 0; i < BATCH_LEVELS_MAX; i++)
        own = own || o->own[i].given;
    return !own && o->delay_us <= 0 && o->preferred_count == 0 && o->levels <= 1 &&
           o->all.timeout_us <= 0;
}

struct batcher *batcher_new(struct model *m, const struct batch_options *o,
                            struct batch_counters *counters)
{
    struct batcher *b = mem_zalloc(sizeof(*b));
    b->model = model_ref(m);
    b->options = *o;
    b->counters = counters;
    if (b->options.max_rows <= 0)
        b->options.max_rows = MAX_ROWS;
    if (b->options.all.queue_max <= 0)
        b->options.all.queue_max = QUEUE_MAX;
    model_inputs(m, &b->inputs);
    model_outputs(m, &b->outputs);
    b->measures = is_free(o) && b->options.max_rows > 1 && model_graph(m) != NULL;
    batch_queue_init(b);
    init_lock(b);
    start_threads(b);
    return b;
}

void batcher_free(struct batcher *b)
{
    if (b == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_broadcast(&b->there);
    pthread_mutex_unlock(&b->lock);
    for (int i = 0; i < b->options.threads; i++)
        if (b->thread[i].started)
            pthread_join(b->thread[i].thread, NULL);
    batch_queue_deinit(b);
    pthread_cond_destroy(&b->there);
    pthread_mutex_destroy(&b->lock);
    model_unref(b->model);
    mem_free(b->thread);
    mem_free(b);
}
bool batcher_lets_pass(const struct batcher *b)
{
    uint64_t until = atomic_load_explicit(&b->pass_until_ns, memory_order_relaxed);
    return until != 0 && clock_ns() < until;
}

/* Asking for the time of a thread costs as much as a small model does. */
#define DIRECT_EACH 16

/* 0: this one is not measured. */
uint64_t batcher_begin_direct(struct batcher *b)
{
    uint64_t turn = atomic_fetch_add_explicit(&b->counters->direct, 1, memory_order_relaxed);
    bool tried = atomic_load_explicit(&b->is_trial, memory_order_relaxed);
    return tried || turn % DIRECT_EACH == 0 ? spent(b) : 0;
}

void batcher_end_direct(struct batcher *b, uint64_t begun, const struct tensor *in)
{
    if (begun == 0 || b->inputs == 0)
        return;
    struct worth_cost cost = { (double)(spent(b) - begun), (double)numel(&in[0]), 1 };
    pthread_mutex_lock(&b->lock);
    worth_note_direct(&b->worth, cost, clock_ns());
    publish(b);
    pthread_mutex_unlock(&b->lock);
}
