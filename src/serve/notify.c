#include "serve/notify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void tell(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    size_t n = path != NULL ? strlen(path) : 0;
    if (n == 0 || n >= sizeof(at.sun_path))
        return;
    memcpy(at.sun_path, path, n);
    if (path[0] == '@') /* in the abstract namespace */
        at.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    ssize_t ignored = sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&at,
                             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)ignored;
    close(fd);
}

void notify_ready(const struct server *s)
{
    char state[128];
    struct table *t = repository_table(s->models);
    snprintf(state, sizeof(state), "READY=1\nSTATUS=port %d, %d model%s", s->port, table_count(t),
             table_count(t) != 1 ? "s" : "");
    table_unref(t);
    tell(state);
}

void notify_reloading(void)
{
    char state[64];
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(state, sizeof(state), "RELOADING=1\nMONOTONIC_USEC=%lld",
             (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    tell(state);
}

void notify_stopping(void)
{
    tell("STOPPING=1\nSTATUS=answering what is admitted");
}

/* ---- the watchdog ---- */

struct timespec notify_beat_every(void)
{
    const char *text = getenv("WATCHDOG_USEC"), *whose = getenv("WATCHDOG_PID");
    int64_t us = 0, pid;
    if (whose != NULL && str_to_i64(str_of(whose), &pid) && pid != getpid())
        return (struct timespec){ 0 };
    if (text == NULL || !str_to_i64(str_of(text), &us) || us < 0)
        us = 0;
    us /= 3; /* one that comes late is not the end yet */
    return (struct timespec){ us / 1000000, us % 1000000 * 1000 };
}

static void turned(struct loop_post *p)
{
    atomic_store(&LIST_ENTRY(p, struct lane, pulse)->pulse_posted, false);
}

void notify_beat(struct server *s)
{
    bool alive = true;
    for (int i = 0; i < s->lane_count; i++)
        alive = alive && !atomic_load(&s->lane[i].pulse_posted);
    if (!alive)
        return;
    tell("WATCHDOG=1");
    for (int i = 0; i < s->lane_count; i++) {
        struct lane *lane = &s->lane[i];
        atomic_store(&lane->pulse_posted, true);
        lane->pulse.fn = turned;
        loop_post(lane->loop, &lane->pulse);
    }
}
