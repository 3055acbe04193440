/* What the files of net share: the loop itself, and how a connection comes to it. Everything here
 * is for the loop's own thread but what says so. */
#pragma once

#include "net/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <uv.h>

#define LOOPS_MAX 1024
/* Timeouts are looked at this often, or oftener where a handler's are short. */
#define TICK_MS 1000
#define REST_MS \
    400 /* of loop 0: what nobody wanted for so long goes back to the system within a second */

struct loop {
    uv_loop_t uv;
    struct loop_group *group;
    int index;
    pthread_t thread;
    uv_async_t wake;
    uv_timer_t tick;
    uint64_t ticked_ms; /* when the tick last came */
    uv_idle_t again;    /* active while `kicked` has members: makes the loop come round at once */
    struct list conns, kicked; /* of struct net_conn */
    struct buf room;           /* what the next read of a connection without input goes into */
    uint64_t told_short_ms;    /* when the log was last told of a want of memory */
    bool stopping;

    pthread_mutex_t lock;
    struct list posts; /* guarded by lock */
    bool deaf;         /* guarded by lock: wake is closed */
};

struct loop_group {
    atomic_int open_conns;
    atomic_int closed_conns; /* since loop 0 last looked */
    bool many_closed;        /* loop 0: and it waits for them to be all */
    int next;                /* which loop the next connection is dealt to; loop 0 */
    /* loop 0; freed when the group ends, since connections use their handlers */
    struct list listeners;
    int count;
    struct loop loop[];
};

/* Makes `to` a list of all that is in `from`, which is empty then. */
static inline void list_move(struct list *to, struct list *from)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    list_init(from);
}

/* Runs fn(arg) on the loop and waits until it is done. From any thread that is no loop. */
void loop_call(struct loop *l, void (*fn)(void *arg), void *arg);
/* Has conns_run_kicked called soon, without waiting for an event. */
void loop_come_round(struct loop *l);
/* Looks at timeouts at least this often from now on. */
void loop_tick_within(struct loop *l, uint64_t ms);

/* Loop 0. Takes fd, which it closes where it cannot be served, and sends it to loop l as a
 * connection. */
void conn_deal(struct loop *l, int fd, const struct sockaddr_storage *peer,
               const struct net_handler *h);
void conns_tick(struct loop *l);
void conns_run_kicked(struct loop *l);
void conns_close_all(struct loop *l);

/* Loop 0. */
void listeners_close(struct loop_group *g);
/* After the threads have ended. */
void listeners_free(struct loop_group *g);

/* "127.0.0.1:9292", "[::1]:9292", "unix:/run/oar.sock" (a peer: "unix"); an IPv4 address in IPv6 clothes is written as what it is. */
#define ADDRESS_TEXT_MAX 128
void address_text(const struct sockaddr_storage *a, char out[ADDRESS_TEXT_MAX]);
