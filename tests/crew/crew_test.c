/* A crew with workers of its own: a zygote in C, forked here, whose workers answer by what the request says. */
#include "crew/crew.h"

#include "base/clock.h"
#include "crew/wire.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define BIG 40000

/* ---- a worker ---- */

static void say(int fd, struct crew_head head, const void *payload)
{
    struct iovec iov[2] = { { &head, sizeof(head) }, { (void *)(uintptr_t)payload, head.bytes } };
    struct msghdr m = { .msg_iov = iov, .msg_iovlen = head.shared ? 1 : 2 };
    char room[CMSG_SPACE(sizeof(int))] = { 0 };
    if (head.shared) {
        int area = memfd_create("test", MFD_ALLOW_SEALING);
        fcntl(area, F_ADD_SEALS, F_SEAL_SHRINK);
        assert_int_equal(write(area, payload, head.bytes), head.bytes);
        m.msg_control = room;
        m.msg_controllen = sizeof(room);
        struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
        cm->cmsg_level = SOL_SOCKET;
        cm->cmsg_type = SCM_RIGHTS;
        cm->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cm), &area, sizeof(area));
    }
    if (sendmsg(fd, &m, MSG_NOSIGNAL) < 0)
        _exit(0);
}

/* Answers one item by a word in its last part, and with it. */
static void answer(int fd, const struct crew_head *work, const char *word, size_t n, bool first)
{
    static char room[BIG + 256];
    struct crew_outcome_head o = { .kind = CREW_FINAL, .code = 200, .bytes = n };
    struct crew_head head = { .kind = CREW_ANSWER, .count = 1, .number = work->number };
    bool ended = false;
    if (memmem(word, n, "die", 3) != NULL)
        _exit(3);
    if (memmem(word, n, "rubbish", 7) != NULL)
        head.number++;
    if (memmem(word, n, "sleep", 5) != NULL)
        ended = recv(fd, room, sizeof(room), 0) >= 0; /* for ever: until the other side goes */
    if (ended)
        _exit(0);
    if (!first && memmem(word, n, "nap", 3) != NULL)
        usleep(20000);
    if (first && memmem(word, n, "next", 4) != NULL)
        o.kind = CREW_NEXT;
    if (memmem(word, n, "big", 3) != NULL)
        o.bytes = BIG;
    memcpy(room, &o, sizeof(o));
    memset(room + sizeof(o), 'x', BIG);
    memcpy(room + sizeof(o), word, n);
    head.bytes = sizeof(o) + o.bytes;
    head.shared = head.bytes > CREW_INLINE_BYTES;
    say(fd, head, room);
}

static void work(int fd)
{
    static char packet[sizeof(struct crew_head) + CREW_INLINE_BYTES];
    struct crew_head head;
    struct crew_item_head item;
    struct crew_part_head part;
    say(fd, (struct crew_head){ .kind = CREW_READY }, NULL);
    while (recv(fd, packet, sizeof(packet), 0) > 0) {
        memcpy(&head, packet, sizeof(head));
        memcpy(&item, packet + sizeof(head), sizeof(item));
        memcpy(&part, packet + sizeof(head) + sizeof(item), sizeof(part));
        answer(fd, &head, packet + sizeof(head) + CREW_ALIGN, part.bytes,
               part.source == CREW_FROM_REQUEST);
    }
}

static int take_fd(int control, uint32_t message[3])
{
    char room[CMSG_SPACE(sizeof(int))];
    struct iovec iov = { message, 3 * sizeof(*message) };
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)
    };
    int fd = -1;
    if (recvmsg(control, &m, 0) <= 0)
        _exit(0);
    if (CMSG_FIRSTHDR(&m) != NULL)
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
    return fd;
}

static void zygote(int control)
{
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        uint32_t message[3];
        int fd = take_fd(control, message);
        pid_t pid = message[0] == 'S' ? fork() : 0;
        if (message[0] == 'K') {
            kill((pid_t)message[1], SIGKILL);
            continue;
        }
        if (pid == 0) {
            close(control);
            work(fd);
            _exit(0);
        }
        close(fd);
        uint32_t told[3] = { 'P', message[1], (uint32_t)pid };
        send(control, told, sizeof(told), 0);
    }
}

/* ---- the server's side ---- */

static struct crew *crew;

static struct crew *open_crew(const char *conf)
{
    int pair[2];
    struct crew *c = NULL;
    struct err e = { "" };
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        assert_true(send(pair[1], conf, strlen(conf), 0) > 0);
        zygote(pair[1]);
    }
    close(pair[1]);
    status s = crew_open(pair[0], &c, &e);
    crew = c;
    assert_string_equal(e.text, "");
    assert_int_equal(s, OK);
    return c;
}

struct asked {
    struct crew_task task;
    struct buf reply;
    bool done;
};

static void on_done(struct crew_task *t)
{
    LIST_ENTRY(t, struct asked, task)->done = true;
}

static void ask(struct crew *c, struct asked *a, const char *word, uint64_t deadline_ns)
{
    *a = (struct asked){ .done = false };
    buf_init(&a->reply, 1 << 20);
    a->task = (struct crew_task){ .form = CREW_HTTP,
                                  .head = STR("/x"),
                                  .body = str_of(word),
                                  .deadline_ns = deadline_ns,
                                  .reply = &a->reply,
                                  .done = on_done };
    assert_int_equal(crew_submit(c, &a->task), OK);
}

static void wait_for(struct asked *a)
{
    struct pollfd p = { .fd = crew_poll_fd(crew), .events = POLLIN };
    while (!a->done) {
        uint64_t next = crew_turn(crew), now = clock_ns();
        if (!a->done)
            poll(&p, 1,
                 next == UINT64_MAX ? -1
                 : next > now       ? (int)((next - now) / 1000000) + 1
                                    : 0);
    }
}

static void expect(struct crew *c, const char *word, status want, const char *text, size_t n)
{
    struct asked a;
    ask(c, &a, word, 0);
    wait_for(&a);
    assert_int_equal(a.task.result, want);
    if (want == OK)
        assert_int_equal(a.reply.len, n);
    assert_non_null(memmem(want == OK ? (char *)a.reply.data : a.task.err.text,
                           want == OK ? a.reply.len : strlen(a.task.err.text), text, strlen(text)));
    buf_deinit(&a.reply);
}

#define ONE                                                                                      \
    "{\"operators\":[{\"name\":\"op\",\"inputs\":[-1]}],\"processes\":[[0],[0]],\"timeout_ms\":" \
    "60000,\"in_flight\":3}"
#define TWO                                                                              \
    "{\"operators\":[{\"name\":\"a\",\"inputs\":[-1]},{\"name\":\"b\",\"inputs\":[0]}]," \
    "\"processes\":[[0],[1]]}"

#define TWO_NARROW                                                                     \
    "{\"operators\":[{\"name\":\"a\",\"inputs\":[-1]},{\"name\":\"b\",\"inputs\":[0]," \
    "\"channel_size\":1}],\"processes\":[[0],[1]]}"

static void requests_are_answered(void **unused)
{
    struct crew *c = open_crew(ONE);
    expect(c, "hello", OK, "/x\nhello", 8);
    expect(c, "big", OK, "/x\nbigxxx", BIG);
    expect(c, "big", OK, "/x\nbigxxx", BIG);
    crew_close(c);
    c = open_crew(TWO);
    expect(c, "next", OK, "/x\nnext", 7);
    crew_close(c);
}

static void a_worker_that_ends_fails_its_own_request(void **unused)
{
    struct crew *c = open_crew(ONE);
    struct crew_view *v = calloc(1, sizeof(*v));
    for (int i = 0; i < 3; i++) {
        expect(c, "die", BUSY, "ended; send it again", 0);
        expect(c, "hello", OK, "hello", 8);
    }
    expect(c, "rubbish", BUSY, "ended; send it again", 0);
    expect(c, "hello", OK, "hello", 8);
    crew_look(c, false, v);
    assert_int_equal(v->restarts, 4);
    assert_int_equal(v->answered, 4);
    assert_int_equal(v->failed, 4);
    free(v);
    crew_close(c);
}

static void time_runs_out_and_too_many_are_refused(void **unused)
{
    struct crew *c = open_crew(ONE);
    struct asked a[3], more;
    uint64_t begin = clock_ns();
    for (int i = 0; i < 3; i++)
        ask(c, &a[i], "sleep", begin + 100000000);
    more = a[0];
    assert_int_equal(crew_submit(c, &more.task), BUSY);
    for (int i = 0; i < 3; i++) {
        wait_for(&a[i]);
        assert_int_equal(a[i].task.result, TIMED_OUT);
        buf_deinit(&a[i].reply);
    }
    assert_true(clock_ns() - begin < 2000000000);
    crew_close(c);
}

/* How many requests waited in front of the second of two operators, which is slow, at most. */
static int most_that_waited(const char *conf)
{
    struct crew *c = open_crew(conf);
    struct crew_view *v = calloc(1, sizeof(*v));
    struct asked a[6];
    expect(c, "next", OK, "next", 7); /* all are ready */
    for (int i = 0; i < 6; i++)
        ask(c, &a[i], "next nap", 0);
    for (int i = 0; i < 6; i++) {
        wait_for(&a[i]);
        assert_int_equal(a[i].task.result, OK);
        buf_deinit(&a[i].reply);
    }
    crew_look(c, false, v);
    int most = v->op[1].queued_most;
    free(v);
    crew_close(c);
    return most;
}

static void a_full_channel_holds_up_the_operators_before_it(void **unused)
{
    assert_in_range(most_that_waited(TWO), 3, 6);
    assert_int_equal(most_that_waited(TWO_NARROW), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_answered),
        cmocka_unit_test(a_worker_that_ends_fails_its_own_request),
        cmocka_unit_test(time_runs_out_and_too_many_are_refused),
        cmocka_unit_test(a_full_channel_holds_up_the_operators_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
