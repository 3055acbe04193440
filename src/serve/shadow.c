/* Shadow traffic: a request is asked again of another version, beside the loops and after its own answer is made; the two
 * answers are compared, and the shadow's is dropped. */
#include "serve/internal.h"

#include "base/mem.h"
#include "flow/compare.h"
#include "flow/rows.h"

#include <math.h>

struct shadow {
    struct job job;
    struct server *server;
    struct traffic *traffic; /* one reference */
    struct flow *flow;       /* one reference */
    struct arena arena;
    struct infer_request request;
    struct infer_reply want;
};

static struct str copy_str(struct arena *a, struct str s)
{
    return (struct str){ s.n > 0 ? arena_strndup(a, s.p, s.n) : "", s.n };
}

static bool copy_tensors(const struct named_tensor *from, int count, struct arena *a,
                         struct named_tensor **out)
{
    struct named_tensor *t = arena_zalloc(a, ((size_t)count + 1) * sizeof(*t));
    *out = t;
    for (int i = 0; i < count; i++) {
        t[i].name = copy_str(a, from[i].name);
        t[i].alias = copy_str(a, from[i].alias);
        if (rows_copy(&from[i].tensor, a, &t[i].tensor) != OK)
            return false;
    }
    return true;
}

static bool copy_call(struct shadow *s, const struct call *c)
{
    const struct infer_request *r = &c->request;
    struct infer_output *o =
        arena_zalloc(&s->arena, ((size_t)c->answer.output_count + 1) * sizeof(*o));
    s->request =
        (struct infer_request){ .feed_count = r->feed_count, .fetch_count = r->fetch_count };
    s->request.fetch = arena_zalloc(&s->arena, ((size_t)r->fetch_count + 1) * sizeof(struct str));
    for (int i = 0; i < r->fetch_count; i++)
        s->request.fetch[i] = copy_str(&s->arena, r->fetch[i]);
    bool fine = copy_tensors(r->feed, r->feed_count, &s->arena, &s->request.feed);
    s->want.output = o;
    s->want.output_count = c->answer.output_count;
    for (int i = 0; i < c->answer.output_count && fine; i++) {
        o[i].tensor_count = c->answer.output[i].tensor_count;
        fine = copy_tensors(c->answer.output[i].tensor, o[i].tensor_count, &s->arena, &o[i].tensor);
    }
    return fine;
}

static void drop(struct shadow *s)
{
    arena_deinit(&s->arena);
    flow_unref(s->flow);
    traffic_unref(s->traffic);
    mem_free(s);
}

/* ---- on a worker ---- */

static void run(struct job *j, int worker)
{
    struct shadow *s = LIST_ENTRY(j, struct shadow, job);
    struct infer_reply got;
    struct err e = { "" };
    struct flow_call c = { .request = &s->request,
                           .reply = &got,
                           .arena = &s->arena,
                           .exec = s->server->worker_exec[worker],
                           .err = &e };
    double d = flow_run(s->flow, &c) == OK ? compare_replies(&s->want, &got) : INFINITY;
    traffic_compared(s->traffic, !(d <= traffic_tolerance(s->traffic)), d);
    drop(s);
}

void shadow_start(const struct call *c)
{
    struct server *server = c->conn->lane->server;
    int variant = traffic_shadow(c->traffic);
    if (variant < 0 || variant == c->variant)
        return;
    struct flow *f = server_variant(server, c->traffic, variant, flow_name(c->flow));
    if (f == NULL)
        return;
    struct shadow *s = mem_zalloc(sizeof(*s));
    arena_init(&s->arena, 0);
    s->server = server;
    s->flow = f;
    s->traffic = traffic_ref(c->traffic);
    s->job.run = run;
    if (!copy_call(s, c) || !workers_submit(server->workers, &s->job))
        drop(s); /* a busy server has better things to do */
}
