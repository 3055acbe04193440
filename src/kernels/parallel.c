#include "kernels/parallel.h"

#include "kernels/dnnl/library.h"

#include <stdatomic.h>

struct team {
    parallel_fn fn;
    void *arg;
    int parts;
    atomic_int next; /* the part to take: a team may have fewer threads than were asked for */
};

static void work(void *arg)
{
    struct team *t = arg;
    for (int part = atomic_fetch_add(&t->next, 1); part < t->parts;
         part = atomic_fetch_add(&t->next, 1))
        t->fn(t->arg, part);
}

void parallel_run(int parts, parallel_fn fn, void *arg)
{
    struct team t = { .fn = fn, .arg = arg, .parts = parts };
    atomic_init(&t.next, 0);
    if (parts > 1 && dnnl_library()->run_team != NULL)
        dnnl_library()->run_team(work, &t, (unsigned)parts, 0);
    else
        work(&t);
}
