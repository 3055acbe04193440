/* How an event loop finds models: it keeps the table that was the newest when it looked last, so that a request takes no
 * lock, and lets go of it soon after there is a newer one. */
#include "serve/internal.h"

static void refresh(struct lane *lane)
{
    struct repository *r = lane->server->models;
    struct table *old = lane->table;
    lane->table_generation = repository_generation(r); /* first: the table is this one or newer */
    lane->table = repository_table(r);
    table_unref(old);
}

const struct table *lane_table(struct lane *lane)
{
    if (lane->table == NULL ||
        lane->table_generation != repository_generation(lane->server->models))
        refresh(lane);
    return lane->table;
}

struct flow *lane_flow(struct lane *lane, struct str name, struct str version, status *code,
                       struct err *e)
{
    const struct served *found;
    *code = table_find(lane_table(lane), name, version, &found, e);
    return *code == OK ? found->flow : NULL;
}

struct flow *lane_first_flow(struct lane *lane, status *code, struct err *e)
{
    const struct served *found;
    *code = table_first(lane_table(lane), &found, e);
    return *code == OK ? found->flow : NULL;
}

static void on_refresh(struct loop_post *p)
{
    struct lane *lane = LIST_ENTRY(p, struct lane, refresh);
    atomic_store(&lane->refresh_posted, false); /* before it looks, so that no change is missed */
    lane_table(lane);
}

void lanes_refresh(void *arg)
{
    struct server *s = arg;
    for (int i = 0; s->lane != NULL && i < s->lane_count; i++) {
        struct lane *lane = &s->lane[i];
        if (atomic_exchange(&lane->refresh_posted, true))
            continue;
        lane->refresh.fn = on_refresh;
        loop_post(lane->loop, &lane->refresh);
    }
}
