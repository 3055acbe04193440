#include "flow/flow.h"

#include "base/clock.h"
#include "base/mem.h"
#include "flow/build.h"
#include "flow/node.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* A node that takes longer than this is worth a thread of its own: handing over costs some 10 us. */
#define SPAWN_NS 50000

/* One call on its way through the graph. */
struct flow_run {
    struct flow *flow;
    struct flow_call *call;
    uint64_t begin_ns;
    int64_t begin_us;
    struct str key;   /* for the cache, when the answer is to be kept in it */
    int count;        /* of steps */
    uint64_t busy_ns; /* of a graph without branches */
    /* A graph with branches: */
    atomic_int left;   /* nodes that have not ended, and the starter */
    atomic_int failed; /* status of the first fault */
    struct flow_step step[];
};

/* ---- what is learnt ---- */

/* A moving average over about eight calls. Two threads may lose an update to each other: it is a hint. */
static void learn(atomic_uint_fast64_t *typical, uint64_t ns)
{
    uint64_t old = atomic_load_explicit(typical, memory_order_relaxed);
    uint64_t now = old == 0 ? ns : old - old / 8 + ns / 8;
    atomic_store_explicit(typical, now > 0 ? now : 1, memory_order_relaxed);
}

/* ---- what operators may ask ---- */

const struct flow_call *flow_step_call(const struct flow_step *s)
{
    return s->run->call;
}

const char *flow_step_source(const struct flow_step *s, int k)
{
    return s->run->flow->node[s->node->edge[k].node].name;
}

bool flow_step_must_copy(const struct flow_step *s)
{
    return s->run->flow->copies || s->run->call->keep;
}

/* Branches wait side by side: what they waited does not add up, and is counted as computing. */
void flow_step_waited(struct flow_step *s, uint64_t ns)
{
    if (s->run->flow->linear)
        s->run->call->waited_ns += ns;
}

static struct flow_value one_of(const struct flow_value *v, const struct flow_edge *edge,
                                struct arena *a)
{
    for (int i = 0; i < v->count; i++) {
        const struct named_tensor *t = &v->tensor[i];
        if (edge->tensor != NULL && !str_is(t->alias, edge->tensor) &&
            !str_is(t->name, edge->tensor))
            continue;
        struct named_tensor *own = arena_alloc(a, sizeof(*own));
        *own = *t;
        if (edge->rename != NULL)
            own->name = own->alias = str_of(edge->rename);
        return (struct flow_value){ own, 1, false };
    }
    return (struct flow_value){ NULL, 0, v->skipped };
}

struct flow_value flow_step_input(struct flow_step *s, int k)
{
    const struct flow_edge *edge = &s->node->edge[k];
    const struct flow_value *v = &s->run->step[edge->node].out;
    return edge->tensor == NULL && edge->rename == NULL ? *v : one_of(v, edge, s->arena);
}

uint64_t flow_step_deadline(const struct flow_step *s)
{
    uint64_t deadline = s->run->call->deadline_ns;
    if (s->node->timeout_ms <= 0)
        return deadline;
    uint64_t own = s->begin_ns + (uint64_t)s->node->timeout_ms * 1000000;
    return deadline != 0 && deadline < own ? deadline : own;
}

/* ---- one node ---- */

static bool is_skipped(struct flow_step *s)
{
    const struct flow_node *n = s->node;
    bool all = n->edge_count > 0, any = false;
    if (n->when != NULL &&
        !flow_when_holds(n->when, &s->run->step[n->when->edge.node].out, s->run->call->request))
        return true;
    for (int k = 0; k < n->edge_count; k++) {
        bool skipped = s->run->step[n->edge[k].node].out.skipped;
        all = all && skipped;
        any = any || skipped;
    }
    return (all && !n->op->answers) || (any && !n->op->takes_skipped);
}

static status late(const struct flow_step *s, struct err *e)
{
    return err_set(e, TIMED_OUT, "node '%s' took longer than its timeout_ms of %lld", s->node->name,
                   (long long)s->node->timeout_ms);
}

/* A node that cannot be interrupted is found late when it has ended. */
static bool is_late(const struct flow_step *s)
{
    return s->node->timeout_ms > 0 &&
           clock_ns() - s->begin_ns > (uint64_t)s->node->timeout_ms * 1000000;
}

static bool wants_stamps(const struct flow_run *r)
{
    return r->call->request->profile;
}

static status run_untraced(struct flow_step *s, struct exec *x, struct err *e)
{
    if (wants_stamps(s->run))
        s->begin_us = clock_wall_us();
    if (s->node->timeout_ms > 0)
        s->begin_ns = clock_ns();
    if (s->node->may_skip && is_skipped(s)) {
        s->out = (struct flow_value){ .skipped = true };
        return OK;
    }
    status code = s->node->op->run(s, x, e);
    if (code == FLOW_LATER)
        return code;
    if (wants_stamps(s->run))
        s->end_us = clock_wall_us();
    return code == OK && is_late(s) ? late(s, e) : code;
}

static status run_step(struct flow_step *s, struct exec *x, struct err *e)
{
    const struct flow_env *env = s->run->flow->env;
    if (env == NULL || !trace_is_on(env->trace))
        return run_untraced(s, x, e);
    struct trace *trace = env->trace;
    uint64_t begin = clock_ns();
    char name[32]; /* s, and its flow with it, may be gone afterwards */
    snprintf(name, sizeof(name), "%s", s->node->name);
    trace_enter(trace, x);
    status code = run_untraced(s, x, e);
    trace_leave(x);
    trace_put(trace, &(struct trace_span){
                         .kind = "node", .name = name, .begin_ns = begin, .end_ns = clock_ns() });
    return code;
}

/* ---- the end of a call ---- */

static void keep_answer(struct flow_run *r, status s)
{
    if (s == OK && r->key.n > 0)
        cache_put(r->flow->cache, r->key, r->call->reply);
}

bool flow_is_at_fault(status s)
{
    return status_http(s) == 500 || status_http(s) == 501;
}

static void count_end(struct flow *f, status s)
{
    if (s == OK)
        atomic_fetch_add_explicit(&f->good, 1, memory_order_relaxed);
    else if (flow_is_at_fault(s))
        atomic_fetch_add_explicit(&f->bad, 1, memory_order_relaxed);
}

/* The last moment of a call. Stamps of operators are looked up one by one, and so are then its begin and its end: rounded otherwise than
 * they are, these might come to lie between them. */
static void put_stamps(struct flow_run *r, uint64_t now_ns)
{
    struct infer_reply *reply = r->call->reply;
    int n = wants_stamps(r) ? r->flow->node_count : 0;
    r->call->now_ns = now_ns;
    reply->stamp_us = arena_alloc(r->call->arena, (2 * (size_t)n + 2) * sizeof(int64_t));
    reply->stamp_count = 0;
    for (int i = 0; i < n; i++) {
        reply->stamp_us[reply->stamp_count++] = r->step[i].begin_us;
        reply->stamp_us[reply->stamp_count++] = r->step[i].end_us;
    }
    reply->stamp_us[reply->stamp_count++] = r->begin_us;
    reply->stamp_us[reply->stamp_count++] =
        n > 0 ? clock_wall_us() : r->begin_us + (int64_t)(now_ns - r->begin_ns) / 1000;
}

/* ---- a graph without branches: node after node, on one thread at a time ---- */

static uint64_t fed_bytes(const struct infer_request *q)
{
    uint64_t bytes = 0;
    for (int i = 0; i < q->feed_count; i++)
        bytes += (uint64_t)tensor_bytes(&q->feed[i].tensor);
    return bytes;
}

static status walk(struct flow_run *r, int from, uint64_t begin_ns, struct exec *x)
{
    struct flow *f = r->flow;
    status s = OK;
    for (int i = from; i < f->node_count && s == OK; i++)
        s = run_step(&r->step[f->order[i]], x, r->call->err);
    if (s == FLOW_LATER)
        return s; /* r may be gone */
    uint64_t now = clock_ns();
    r->busy_ns += now - begin_ns;
    learn(&f->typical_ns, r->busy_ns);
    learn(&f->typical_bytes, fed_bytes(r->call->request));
    keep_answer(r, s);
    count_end(r->flow, s);
    put_stamps(r, now);
    return s;
}

static int place_of(const struct flow *f, int node)
{
    int i = 0;
    while (f->order[i] != node)
        i++;
    return i;
}

static void walk_on(struct flow_step *s, struct exec *x)
{
    struct flow_run *r = s->run;
    struct flow_call *c = r->call;
    status code = walk(r, place_of(r->flow, (int)(s - r->step)) + 1, clock_ns(), x);
    if (code != FLOW_LATER)
        c->finished(c, code);
}

/* ---- a graph with branches ---- */

static void run_from(struct flow_step *s, struct exec *x);

static void branch_job(struct job *j, int worker)
{
    struct flow_step *s = LIST_ENTRY(j, struct flow_step, job);
    run_from(s, s->run->flow->env->worker_exec[worker]);
}

static bool spawn(struct flow_step *s, void (*run)(struct job *j, int worker))
{
    const struct flow_env *env = s->run->flow->env;
    s->job.run = run;
    return env != NULL && env->workers != NULL && workers_submit(env->workers, &s->job);
}

static bool is_slow(const struct flow_node *n)
{
    uint64_t ns = atomic_load_explicit(&n->typical_ns, memory_order_relaxed);
    bool here = n->batcher == NULL || batcher_lets_pass(n->batcher);
    return here && (ns == 0 || ns > SPAWN_NS);
}

static void note_fault(struct flow_run *r, status code, const struct err *e)
{
    int none = OK;
    if (atomic_compare_exchange_strong(&r->failed, &none, code))
        *r->call->err = *e;
}

static status finish(struct flow_run *r)
{
    status s = (status)atomic_load(&r->failed);
    keep_answer(r, s);
    count_end(r->flow, s);
    put_stamps(r, clock_ns());
    return s;
}

/* One node less, or the starter: the last one ends the call. */
static bool leave(struct flow_run *r)
{
    return atomic_fetch_sub(&r->left, 1) == 1;
}

/* Ends a node: those that waited for it alone are ready. All but one are given away or run, that one is returned. */
static struct flow_step *complete(struct flow_step *s, struct exec *x)
{
    struct flow_run *r = s->run;
    struct flow_step *mine = NULL;
    for (int i = 0; i < s->node->next_count; i++) {
        struct flow_step *next = &r->step[s->node->next[i]];
        if (atomic_fetch_sub(&next->waits, 1) != 1)
            continue;
        if (mine == NULL)
            mine = next;
        else if (!is_slow(next->node) || !spawn(next, branch_job))
            run_from(next, x);
    }
    return mine;
}

static status run_branch_step(struct flow_step *s, struct exec *x, struct err *e)
{
    uint64_t begin = clock_ns();
    const struct flow_node *n = s->node;
    status code = run_step(s, x, e);
    if (code != FLOW_LATER)
        learn((atomic_uint_fast64_t *)&n->typical_ns, clock_ns() - begin);
    return code;
}

/* Runs a node that is ready, and what becomes ready by it; after a fault the rest is only counted. */
static void run_from(struct flow_step *s, struct exec *x)
{
    while (s != NULL) {
        struct flow_run *r = s->run;
        struct flow_call *c = r->call;
        struct err e = { "" };
        status code = atomic_load(&r->failed) == OK ? run_branch_step(s, x, &e) : OK;
        if (code == FLOW_LATER)
            return;
        if (code != OK)
            note_fault(r, code, &e);
        s = complete(s, x);
        if (leave(r)) {
            c->finished(c, finish(r));
            return;
        }
    }
}

static status run_branches(struct flow_run *r, struct exec *x)
{
    struct flow *f = r->flow;
    for (int i = 0; i < f->node_count; i++)
        if (f->node[i].wait_count == 0)
            run_from(&r->step[i], x);
    return leave(r) ? finish(r) : FLOW_LATER;
}

/* ---- nodes that end later ---- */

static void go_on(struct flow_step *s, struct exec *x)
{
    struct flow_run *r = s->run;
    struct flow_call *c = r->call;
    if (r->flow->linear) {
        walk_on(s, x);
        return;
    }
    struct flow_step *next = complete(s, x);
    if (leave(r))
        c->finished(c, finish(r));
    else if (next != NULL)
        run_from(next, x);
}

static void go_on_job(struct job *j, int worker)
{
    struct flow_step *s = LIST_ENTRY(j, struct flow_step, job);
    go_on(s, s->run->flow->env->worker_exec[worker]);
}

/* Where the thread has no exec, or one whose workspace holds what others still want to read. */
static void go_on_elsewhere(struct flow_step *s)
{
    if (spawn(s, go_on_job))
        return;
    struct exec *x = exec_new();
    go_on(s, x);
    exec_free(x);
}

void flow_step_done(struct flow_step *s, status code, struct exec *x, const struct err *e)
{
    struct flow_run *r = s->run;
    if (wants_stamps(r))
        s->end_us = clock_wall_us();
    if (code != OK && r->flow->linear) {
        *r->call->err = *e;
        count_end(r->flow, code);
        put_stamps(r, clock_ns());
        r->call->finished(r->call, code);
        return;
    }
    if (code != OK)
        note_fault(r, code, e);
    if (x == NULL || r->flow->copies)
        go_on_elsewhere(s);
    else
        go_on(s, x);
}

/* ---- starting ---- */

static void drop_arenas(void *arg)
{
    struct flow_run *r = arg;
    for (int i = 0; i < r->count; i++) /* the flow may be gone by now */
        arena_deinit(&r->step[i].own);
}

static struct flow_run *new_run(struct flow *f, struct flow_call *c)
{
    size_t bytes = sizeof(struct flow_run) + (size_t)f->node_count * sizeof(struct flow_step);
    struct flow_run *r = arena_alloc(c->arena, bytes);
    r->flow = f;
    r->call = c;
    r->key = (struct str){ NULL, 0 };
    r->count = f->node_count;
    r->busy_ns = 0;
    r->begin_ns = c->now_ns != 0 ? c->now_ns : clock_ns();
    r->begin_us = c->begin_us != 0 && !wants_stamps(r) ? c->begin_us : clock_wall_us();
    for (int i = 0; i < f->node_count; i++) {
        struct flow_step *s = &r->step[i];
        s->run = r;
        s->node = &f->node[i];
        s->out = (struct flow_value){ 0 };
        s->arena = c->arena;
        s->begin_us = s->end_us = r->begin_us;
    }
    return r;
}

static void prepare_branches(struct flow_run *r)
{
    atomic_init(&r->left, r->flow->node_count + 1);
    atomic_init(&r->failed, OK);
    for (int i = 0; i < r->flow->node_count; i++) {
        struct flow_step *s = &r->step[i];
        atomic_init(&s->waits, s->node->wait_count);
        arena_init(&s->own, 0);
        s->arena = &s->own;
    }
    arena_defer(r->call->arena, drop_arenas, r);
}

/* A caller that wants stamps of every operator wants them run. */
static bool was_asked_before(struct flow_run *r)
{
    struct flow_call *c = r->call;
    if (r->flow->cache == NULL || c->request->profile)
        return false;
    struct str key = cache_key(r->flow->cache, c->request, c->arena);
    if (key.n == 0)
        return false;
    if (cache_get(r->flow->cache, key, c->arena, c->reply))
        return true;
    r->key = key;
    return false;
}

status flow_start(struct flow *f, struct flow_call *c)
{
    struct flow_run *r = new_run(f, c);
    c->run = r;
    *c->reply = (struct infer_reply){ 0 };
    c->err->text[0] = '\0';
    if (was_asked_before(r)) {
        put_stamps(r, clock_ns());
        return OK;
    }
    if (f->linear)
        return walk(r, 0, r->begin_ns, c->exec);
    prepare_branches(r);
    return run_branches(r, c->exec);
}

void flow_ends(const struct flow *f, uint64_t *good, uint64_t *bad)
{
    *good = atomic_load_explicit(&f->good, memory_order_relaxed);
    *bad = atomic_load_explicit(&f->bad, memory_order_relaxed);
}

/* ---- starting and waiting ---- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    bool done;
    status code;
};

static void wake(struct flow_call *c, status s)
{
    struct waiter *w = (struct waiter *)(uintptr_t)c->source;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    w->code = s;
    pthread_cond_signal(&w->ended);
    pthread_mutex_unlock(&w->lock);
}

status flow_run(struct flow *f, struct flow_call *c)
{
    struct waiter w = { .done = false };
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.ended, NULL);
    c->source = (uint64_t)(uintptr_t)&w;
    c->finished = wake;
    c->keep = true; /* a batch's thread goes on once `finished` returned */
    c->now_ns = 0;
    status s = flow_start(f, c);
    if (s == FLOW_LATER) {
        pthread_mutex_lock(&w.lock);
        while (!w.done)
            pthread_cond_wait(&w.ended, &w.lock);
        s = w.code;
        pthread_mutex_unlock(&w.lock);
    }
    pthread_cond_destroy(&w.ended);
    pthread_mutex_destroy(&w.lock);
    return s;
}
