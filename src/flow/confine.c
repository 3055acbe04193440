/* A custom operator in a process of its own: tensors go over a socket, and when the process ends, by whatever it did to
 * itself, the request that it worked on gets an error and the next one a new process.
 *
 * A message is its length (8 bytes), then a number (4 bytes: how many tensors, or in an answer a status below 0, which words
 * follow), then the tensors as pack.h writes them. */
#include "flow/confine.h"

#include "base/buf.h"
#include "base/mem.h"
#include "flow/op_plugin.h"
#include "flow/pack.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_MAX ((uint64_t)2 << 30)
#define TENSORS_MAX 64
#define ANSWER_S    60 /* a process that takes longer is given up */

extern char **environ;

struct confined {
    pthread_mutex_t lock; /* one request at a time */
    pid_t pid;            /* 0: there is none */
    int fd;
    char **argv; /* of the process, from the third word on its own */
    int argc;
};

/* ---- messages ---- */

static void begin_message(struct buf *b, int32_t number)
{
    const uint64_t length = 0;
    buf_clear(b);
    buf_append(b, &length, sizeof(length));
    buf_append(b, &number, sizeof(number));
}

static bool send_all(int fd, struct buf *b)
{
    uint64_t length = b->len - sizeof(length);
    if (buf_check(b) != OK || b->len < sizeof(length))
        return false;
    memcpy(b->data, &length, sizeof(length));
    for (size_t at = 0; at < b->len;) {
        ssize_t n = send(fd, b->data + at, b->len - at, MSG_NOSIGNAL);
        if (n <= 0 && errno != EINTR)
            return false;
        at += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static bool receive_n(int fd, void *to, size_t n)
{
    for (size_t at = 0; at < n;) {
        ssize_t got = recv(fd, (char *)to + at, n - at, 0);
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        at += got > 0 ? (size_t)got : 0;
    }
    return true;
}

/* The message behind its length, in the arena. */
static bool receive(int fd, struct arena *a, struct str *out)
{
    uint64_t length;
    if (!receive_n(fd, &length, sizeof(length)) || length < sizeof(int32_t) || length > MESSAGE_MAX)
        return false;
    char *p = arena_try(a, (size_t)length, 64);
    *out = (struct str){ p, (size_t)length };
    return p != NULL && receive_n(fd, p, (size_t)length);
}

/* ---- the process ---- */

/* A terminal, or systemd, sends them to every process there is: the operator's works on until the server, which answers what it
 * has, closes its socket. */
static void servers_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGHUP);
    sigaddset(set, SIGUSR1);
}

static status start(struct confined *c, struct err *e)
{
    int pair[2];
    char number[16];
    const struct timeval limit = { .tv_sec = ANSWER_S };
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t blocked;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return err_set(e, INTERNAL, "no socket for a confined operator: %s", strerror(errno));
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    snprintf(number, sizeof(number), "%d", 3);
    c->argv[2] = number;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], 3);
    posix_spawnattr_init(&attr);
    servers_signals(&blocked);
    posix_spawnattr_setsigmask(&attr, &blocked);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    int code = posix_spawn(&c->pid, "/proc/self/exe", &actions, &attr, c->argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    close(pair[1]);
    c->argv[2] = NULL;
    c->fd = pair[0];
    if (code == 0)
        return OK;
    close(pair[0]);
    c->pid = 0;
    return err_set(e, INTERNAL, "no process for a confined operator: %s", strerror(code));
}

/* How it ended, in words. */
static void end(struct confined *c, char *words, size_t size)
{
    int how = 0;
    words[0] = '\0';
    if (c->pid == 0)
        return;
    close(c->fd);
    if (waitpid(c->pid, &how, WNOHANG) ==
        0) { /* it lives, and does not answer in a way that we know */
        kill(c->pid, SIGKILL);
        waitpid(c->pid, &how, 0);
    }
    c->pid = 0;
    if (WIFSIGNALED(how))
        snprintf(words, size, "signal %d (%s)", WTERMSIG(how), strsignal(WTERMSIG(how)));
    else
        snprintf(words, size, "exit status %d", WEXITSTATUS(how));
}

status confined_open(const char *path, const struct setting *s, int count, struct confined **out,
                     struct err *e)
{
    struct confined *c = mem_zalloc(sizeof(*c));
    pthread_mutex_init(&c->lock, NULL);
    c->argc = 4 + count;
    c->argv = mem_zalloc(((size_t)c->argc + 1) * sizeof(*c->argv));
    c->argv[0] = mem_strdup("oar");
    c->argv[1] = mem_strdup("op-host");
    c->argv[3] = mem_strdup(path);
    for (int i = 0; i < count; i++) {
        size_t n = strlen(s[i].name) + strlen(s[i].value) + 2;
        c->argv[4 + i] = mem_zalloc(n);
        snprintf(c->argv[4 + i], n, "%s=%s", s[i].name, s[i].value);
    }
    *out = c;
    return start(c, e);
}

void confined_close(struct confined *c)
{
    char words[64];
    if (c == NULL)
        return;
    end(c, words, sizeof(words));
    for (int i = 0; i < c->argc; i++)
        mem_free(c->argv[i]);
    mem_free(c->argv);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
}

static bool talk(struct confined *c, struct plugin_io *io, struct str *answer)
{
    struct buf b;
    buf_init(&b, MESSAGE_MAX);
    begin_message(&b, io->in_count);
    for (int i = 0; i < io->in_count; i++)
        pack_tensor(&b, &io->in[i]);
    bool fine = send_all(c->fd, &b) && receive(c->fd, io->arena, answer);
    buf_deinit(&b);
    return fine;
}

static status read_answer(struct str answer, struct plugin_io *io, struct err *e)
{
    int32_t number;
    if (!str_take(&answer, &number, sizeof(number)))
        return err_set(e, INTERNAL, "the confined operator's answer is empty");
    if (number < 0)
        return err_set(e, number == INVALID ? INVALID : INTERNAL, "%.*s", STR_ARG(answer));
    if (number > TENSORS_MAX || !unpack_tensors(&answer, number, io->arena, &io->out))
        return err_set(e, INTERNAL, "the confined operator's answer cannot be read");
    io->out_count = number;
    return OK;
}

status confined_run(struct confined *c, struct plugin_io *io, struct err *e)
{
    struct str answer;
    char words[64];
    pthread_mutex_lock(&c->lock);
    status s = c->pid == 0 ? start(c, e) : OK;
    if (s == OK && !talk(c, io, &answer)) {
        end(c, words, sizeof(words));
        s = err_set(
            e, INTERNAL,
            "the confined operator's process ended with %s; the next request gets a new one",
            words);
    }
    pthread_mutex_unlock(&c->lock);
    return s == OK ? read_answer(answer, io, e) : s;
}

/* ---- in the process ---- */

static void put_answer(struct buf *b, status s, const struct plugin_io *io, const struct err *e)
{
    begin_message(b, s == OK ? io->out_count : s);
    if (s != OK)
        buf_str(b, e->text);
    for (int i = 0; s == OK && i < io->out_count; i++)
        pack_tensor(b, &io->out[i]);
}

static bool serve_one(int fd, const struct plugin *p, struct arena *a, struct buf *b)
{
    struct str message;
    struct err e = { "" };
    struct plugin_io io = { .arena = a };
    struct named_tensor *in;
    int32_t count;
    if (!receive(fd, a, &message) || !str_take(&message, &count, sizeof(count)) || count < 0 ||
        count > TENSORS_MAX || !unpack_tensors(&message, count, a, &in))
        return false;
    io.in = in;
    io.in_count = count;
    status s = plugin_run(p, &io, &e);
    put_answer(b, s, &io, &e);
    return send_all(fd, b);
}

int confined_serve(int fd, const char *library, const char *const *setting, int count)
{
    struct plugin p;
    struct arena a;
    struct buf b;
    struct err e;
    arena_init(&a, 0);
    struct setting *s = arena_zalloc(&a, ((size_t)count + 1) * sizeof(*s));
    for (int i = 0; i < count; i++) {
        struct str value = str_of(setting[i]), name;
        str_cut(&value, '=', &name);
        s[i] = (struct setting){ arena_strndup(&a, name.p, name.n), value.p };
    }
    if (plugin_open(library, s, count, &p, &e) != OK) {
        arena_deinit(&a);
        return 1;
    }
    buf_init(&b, MESSAGE_MAX);
    for (bool more = true; more;) {
        struct arena call;
        arena_init(&call, 0);
        more = serve_one(fd, &p, &call, &b);
        arena_deinit(&call);
    }
    buf_deinit(&b);
    plugin_close(&p);
    arena_deinit(&a);
    return 0;
}
