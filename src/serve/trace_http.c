/* GET /debug/trace?seconds=N: what live requests did in the next N seconds, for Chrome's trace viewer. */
#include "serve/trace_http.h"

#include "base/mem.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#define SECONDS_MAX 60
#define STEP_MS     20

struct look {
    struct call *call;
    double seconds;
};

/* A thread of its own, since it does nothing but wait. A server that stops does not wait for it. */
static void *wait_and_tell(void *arg)
{
    struct look *l = arg;
    struct server *s = l->call->conn->lane->server;
    const struct timespec step = { 0, STEP_MS * 1000000 };
    double share = STEP_MS / 1000.0 / l->seconds;
    for (double at = 0; at < l->seconds && !atomic_load(&s->draining); at += STEP_MS / 1000.0) {
        trace_allow(s->trace, share);
        nanosleep(&step, NULL);
    }
    trace_stop(s->trace);
    trace_put_json(s->trace, &l->call->reply);
    trace_finish(s->trace);
    call_return(l->call);
    mem_free(l);
    return NULL;
}

static bool spawn(struct look *l)
{
    pthread_t thread;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    bool fine = pthread_create(&thread, NULL, wait_and_tell, l) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (fine)
        pthread_detach(thread);
    return fine;
}

static void begin(struct call *call)
{
    struct server *s = call->conn->lane->server;
    struct look *l = call->detour_arg;
    l->call = call;
    if (!trace_start(s->trace)) {
        call->result = err_set(&call->err, BUSY, "somebody else is tracing");
    } else if (spawn(l)) {
        return;
    } else {
        trace_finish(s->trace);
        call->result = err_set(&call->err, INTERNAL, "no thread to wait with");
    }
    mem_free(l);
    call_return(call);
}

static double seconds_of(struct str query)
{
    struct str rest = query, part, name;
    double seconds = 1;
    for (bool more = query.n > 0; more;) {
        more = str_cut(&rest, '&', &part);
        str_cut(&part, '=', &name);
        if (str_is(name, "seconds") && !str_to_double(part, &seconds))
            return -1;
    }
    return seconds;
}

void trace_live(const struct http_request *r, const struct route_parts *parts)
{
    double seconds = seconds_of(r->head->query);
    if (!(seconds > 0 && seconds <= SECONDS_MAX)) {
        http_answer_error(r, 400, "seconds: expected a number above 0, at most 60");
        return;
    }
    struct look *l = mem_zalloc(sizeof(*l));
    l->seconds = seconds;
    http_detour(r, begin, l);
}
