#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INPUT_MAX   ((size_t)32 << 20)
#define LARGE       ((size_t)8 << 20)
#define PATIENCE_MS 10000 /* far more than anything takes, sanitizers included */

/* The server: one handler whose data function each test chooses. */

struct server {
    struct loop_group *g;
    struct net_handler handler;
    int port;
    void (*data)(struct net_conn *c, struct server *s, struct buf *in);
    bool refuse;
    atomic_int opened, closed, calls, on_loop[4];
    struct buf kept; /* of the one connection of some tests */
};

static void *on_open(struct net_conn *c, void *arg)
{
    struct server *s = arg;
    if (s->refuse)
        return NULL;
    s->on_loop[loop_index(net_conn_loop(c))]++;
    s->opened++;
    return s;
}

static void on_data(struct net_conn *c, void *state, struct buf *in)
{
    struct server *s = state;
    s->calls++;
    s->data(c, s, in);
}

static void on_close(struct net_conn *c, void *state)
{
    struct server *s = state;
    s->closed++;
}

static void server_init(struct server *s,
                        void (*data)(struct net_conn *c, struct server *s, struct buf *in))
{
    *s = (struct server){ .data = data };
    s->handler = (struct net_handler){
        .open = on_open, .data = on_data, .close = on_close, .max_input_bytes = INPUT_MAX
    };
    s->handler.arg = s;
    buf_init(&s->kept, INPUT_MAX);
}

static void server_start(struct server *s, int loops, const char *host)
{
    struct err e = { "" };
    if (loop_group_start(loops, &s->g, &e) != OK ||
        loop_group_listen(s->g, host, 0, &s->handler, &s->port, &e) != OK)
        fail_msg("%s", e.text);
}

static void server_stop(struct server *s)
{
    loop_group_stop(s->g);
    assert_int_equal(s->opened, s->closed);
    buf_deinit(&s->kept);
}

/* The client: blocking sockets that give up after a while. */

static int connect_to(const struct server *s)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)s->port) };
    struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool send_all(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n != 0) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

static bool receive_all(int fd, void *p, size_t n)
{
    char *at = p;
    while (n != 0) {
        ssize_t got = recv(fd, at, n, 0);
        if (got <= 0)
            return false;
        at += got;
        n -= (size_t)got;
    }
    return true;
}

static bool expect(int fd, const char *text)
{
    char got[256] = "";
    return receive_all(fd, got, strlen(text)) && strcmp(got, text) == 0;
}

static bool at_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    return n == 0 || (n < 0 && errno == ECONNRESET);
}

static void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL);
}

static uint64_t passed_ms(uint64_t since_ns)
{
    return (clock_ns() - since_ns) / 1000000;
}

static bool soon(atomic_int *counter, int wanted)
{
    for (int i = 0; i < PATIENCE_MS && *counter != wanted; i++)
        sleep_ms(1);
    return *counter == wanted;
}

static bool all_gone_soon(const struct server *s)
{
    for (int i = 0; i < PATIENCE_MS && loop_group_open_conns(s->g) != 0; i++)
        sleep_ms(1);
    return loop_group_open_conns(s->g) == 0;
}

static void fill(uint8_t *p, size_t n)
{
    uint32_t x = 12345;
    for (size_t i = 0; i < n; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (uint8_t)(x >> 24);
    }
}

/* Echo */

static void echo(struct net_conn *c, struct server *s, struct buf *in)
{
    buf_append(net_conn_out(c), in->data, in->len);
    buf_consume(in, in->len);
    net_conn_flush(c);
}

static void bytes_come_and_go(void **state)
{
    struct server s;
    server_init(&s, echo);
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    for (int i = 0; i < 50; i++) {
        assert_true(send_all(fd, "hello", 5));
        assert_true(expect(fd, "hello"));
    }
    close(fd);
    assert_true(soon(&s.closed, 1));
    assert_int_equal(s.opened, 1);
    server_stop(&s);
}

static void tell_peer(struct net_conn *c, struct server *s, struct buf *in)
{
    buf_consume(in, in->len);
    buf_printf(net_conn_out(c), "%s %s", net_conn_peer(c), net_conn_local(c));
    net_conn_flush(c);
}

static void both_ends_have_names(void **state)
{
    struct server s;
    char wanted[160];
    struct sockaddr_in own;
    socklen_t size = sizeof(own);
    server_init(&s, tell_peer);
    server_start(&s, 1, "::"); /* takes IPv4 too, and calls it by its name */
    int fd = connect_to(&s);
    getsockname(fd, (struct sockaddr *)&own, &size);
    assert_true(send_all(fd, "x", 1));
    snprintf(wanted, sizeof(wanted), "127.0.0.1:%d 127.0.0.1:%d", ntohs(own.sin_port), s.port);
    assert_true(expect(fd, wanted));
    close(fd);
    server_stop(&s);
}

static void many_connections_are_dealt_round(void **state)
{
    enum {
        COUNT = 200
    };
    struct server s;
    int fd[COUNT];
    char text[32];
    server_init(&s, echo);
    server_start(&s, 2, "127.0.0.1");
    for (int i = 0; i < COUNT; i++)
        assert_true((fd[i] = connect_to(&s)) >= 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            snprintf(text, sizeof(text), "%d of %d", i, round);
            assert_true(send_all(fd[i], text, strlen(text)));
        }
        for (int i = 0; i < COUNT; i++) {
            snprintf(text, sizeof(text), "%d of %d", i, round);
            assert_true(expect(fd[i], text));
        }
    }
    assert_int_equal(loop_group_open_conns(s.g), COUNT);
    assert_int_equal(s.on_loop[0], COUNT / 2);
    assert_int_equal(s.on_loop[1], COUNT / 2);
    for (int i = 0; i < COUNT; i++)
        close(fd[i]);
    assert_true(all_gone_soon(&s));
    assert_int_equal(s.closed, COUNT);
    server_stop(&s);
}

/* Large bodies */

/* Answers a whole large body with a head and that body, through flush_with. */
static void answer_large(struct net_conn *c, struct server *s, struct buf *in)
{
    if (in->len < LARGE)
        return;
    buf_str(net_conn_out(c), "head");
    net_conn_flush_with(c, in->data, LARGE);
    buf_consume(in, LARGE);
}

struct sending {
    int fd;
    const uint8_t *p;
    size_t n;
};

static void *send_in_thread(void *arg)
{
    struct sending *job = arg;
    return send_all(job->fd, job->p, job->n) ? job : NULL;
}

static void receive_slowly(int fd, uint8_t *p, size_t n)
{
    for (size_t at = 0, turn = 0; at < n; turn++) {
        size_t part = n - at < 65536 ? n - at : 65536;
        assert_true(receive_all(fd, p + at, part));
        at += part;
        if (turn % 8 == 0)
            sleep_ms(1);
    }
}

static void large_bodies_go_both_ways_past_a_slow_reader(void **state)
{
    struct server s;
    uint8_t *sent = mem_alloc(2 * LARGE), *got = mem_alloc(2 * LARGE + 8);
    server_init(&s, answer_large);
    server_start(&s, 1, "127.0.0.1");
    fill(sent, 2 * LARGE);
    int fd = connect_to(&s);
    pthread_t thread;
    struct sending job = { fd, sent, 2 * LARGE };
    void *fine;
    pthread_create(&thread, NULL, send_in_thread, &job);
    receive_slowly(fd, got, 2 * LARGE + 8);
    pthread_join(thread, &fine);
    assert_non_null(fine);
    assert_memory_equal(got, "head", 4);
    assert_memory_equal(got + 4, sent, LARGE);
    assert_memory_equal(got + 4 + LARGE, "head", 4);
    assert_memory_equal(got + 8 + LARGE, sent + LARGE, LARGE);
    close(fd);
    server_stop(&s);
    mem_free(sent);
    mem_free(got);
}

/* What a peer that never reads can send before it has to wait. */
static size_t send_until_full(int fd, const uint8_t *p, size_t n)
{
    size_t sent = 0;
    while (sent < n) {
        struct pollfd ready = { .fd = fd, .events = POLLOUT };
        if (poll(&ready, 1, 200) <= 0)
            break;
        ssize_t part =
            send(fd, p + sent, n - sent < 65536 ? n - sent : 65536, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (part < 0 && errno != EAGAIN)
            break;
        sent += part > 0 ? (size_t)part : 0;
    }
    return sent;
}

static void a_peer_that_does_not_read_is_not_read_from(void **state)
{
    const size_t n = (size_t)64 << 20;
    struct server s;
    uint8_t *bytes = mem_alloc(n), *got = mem_alloc(n);
    server_init(&s, echo);
    server_start(&s, 1, "127.0.0.1");
    fill(bytes, n);
    int fd = connect_to(&s);
    size_t sent = send_until_full(fd, bytes, n);
    assert_true(sent < n);
    /* and when it reads again, nothing is lost */
    receive_slowly(fd, got, sent);
    assert_memory_equal(got, bytes, sent);
    assert_true(send_all(fd, "more", 4));
    assert_true(expect(fd, "more"));
    close(fd);
    server_stop(&s);
    mem_free(bytes);
    mem_free(got);
}

/* Flushes while an earlier write is still under way. */
static void answer_in_parts(struct net_conn *c, struct server *s, struct buf *in)
{
    buf_consume(in, in->len);
    net_conn_flush_with(c, s->kept.data, s->kept.len);
    for (int i = 0; i < 4; i++) {
        buf_printf(net_conn_out(c), "<%d>", i);
        net_conn_flush(c);
        net_conn_flush_with(c, s->kept.data, 100000);
    }
}

static void output_keeps_its_order(void **state)
{
    struct server s;
    server_init(&s, answer_in_parts);
    s.kept.len = 0;
    fill(buf_reserve(&s.kept, LARGE), LARGE);
    s.kept.len = LARGE;
    server_start(&s, 1, "127.0.0.1");
    size_t n = LARGE + 4 * 100003;
    uint8_t *got = mem_alloc(n), *at = got + LARGE;
    int fd = connect_to(&s);
    assert_true(send_all(fd, "x", 1));
    sleep_ms(20);
    receive_slowly(fd, got, n);
    assert_memory_equal(got, s.kept.data, LARGE);
    for (int i = 0; i < 4; i++, at += 100003) {
        assert_true(at[0] == '<' && at[1] == '0' + i && at[2] == '>');
        assert_memory_equal(at + 3, s.kept.data, 100000);
    }
    close(fd);
    server_stop(&s);
    mem_free(got);
}

/* Pausing */

struct answer_post {
    struct loop_post post;
    struct net_conn *c;
};

static void answer_now(struct loop_post *p)
{
    struct answer_post *a = LIST_ENTRY(p, struct answer_post, post);
    buf_str(net_conn_out(a->c), "answer ");
    net_conn_flush(a->c);
    net_conn_resume(a->c);
    mem_free(a);
}

static void *answer_later(void *arg)
{
    struct answer_post *a = arg;
    sleep_ms(20);
    loop_post(net_conn_loop(a->c), &a->post);
    return NULL;
}

static void in_a_thread(void *(*fn)(void *), struct net_conn *c, void (*post)(struct loop_post *))
{
    struct answer_post *a = mem_zalloc(sizeof(*a));
    pthread_t thread;
    a->c = c;
    a->post.fn = post;
    pthread_create(&thread, NULL, fn, a);
    pthread_detach(thread);
}

/* Takes one byte, and no more until the answer is there. */
static void one_at_a_time(struct net_conn *c, struct server *s, struct buf *in)
{
    buf_consume(in, 1);
    net_conn_pause(c);
    in_a_thread(answer_later, c, answer_now);
}

static void paused_connections_are_left_alone(void **state)
{
    struct server s;
    server_init(&s, one_at_a_time);
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    assert_true(send_all(fd, "a", 1));
    sleep_ms(5);
    assert_true(send_all(fd, "bc", 2)); /* while paused: b and c wait */
    sleep_ms(5);
    assert_int_equal(s.calls, 1);
    assert_true(expect(fd, "answer answer answer "));
    assert_int_equal(s.calls, 3);
    assert_true(send_all(fd, "d", 1));
    assert_true(expect(fd, "answer "));
    close(fd);
    server_stop(&s);
}

static void a_half_closed_peer_gets_its_answers(void **state)
{
    struct server s;
    server_init(&s, one_at_a_time);
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    assert_true(send_all(fd, "abc", 3));
    shutdown(fd, SHUT_WR);
    assert_true(expect(fd, "answer answer answer "));
    assert_true(at_end(fd));
    close(fd);
    assert_true(all_gone_soon(&s));
    server_stop(&s);
}

struct held {
    struct loop_post post;
    struct net_conn *c;
    struct buf *in, before;
};

static void check_held(struct loop_post *p)
{
    struct held *h = LIST_ENTRY(p, struct held, post);
    bool same = h->in->data == h->before.data && h->in->len == h->before.len;
    buf_consume(h->in, h->in->len);
    buf_str(net_conn_out(h->c), same ? "same" : "moved");
    net_conn_flush(h->c);
    net_conn_resume(h->c);
    mem_free(h);
}

static void *check_held_later(void *arg)
{
    struct held *h = arg;
    sleep_ms(30);
    loop_post(net_conn_loop(h->c), &h->post);
    return NULL;
}

static void hold_input(struct net_conn *c, struct server *s, struct buf *in)
{
    if (s->calls > 1) {
        buf_consume(in, in->len);
        return;
    }
    struct held *h = mem_zalloc(sizeof(*h));
    pthread_t thread;
    *h = (struct held){ .post.fn = check_held, .c = c, .in = in, .before = *in };
    net_conn_pause(c);
    pthread_create(&thread, NULL, check_held_later, h);
    pthread_detach(thread);
}

static void input_does_not_move_while_paused(void **state)
{
    struct server s;
    server_init(&s, hold_input);
    server_start(&s, 1, "127.0.0.1");
    uint8_t *bytes = mem_zalloc(LARGE);
    int fd = connect_to(&s);
    assert_true(send_all(fd, "x", 1));
    sleep_ms(5);
    assert_true(send_all(fd, bytes, 100000));
    assert_true(expect(fd, "same"));
    close(fd);
    server_stop(&s);
    mem_free(bytes);
}

static void pay_now(struct loop_post *p)
{
    struct answer_post *a = LIST_ENTRY(p, struct answer_post, post);
    buf_str(net_conn_out(a->c), "paid ");
    net_conn_flush(a->c);
    net_conn_owe(a->c, -1);
    mem_free(a);
}

static void owe_each_byte(struct net_conn *c, struct server *s, struct buf *in)
{
    for (; in->len != 0; buf_consume(in, 1)) {
        net_conn_owe(c, 1);
        in_a_thread(answer_later, c, pay_now);
    }
}

static void a_half_closed_peer_gets_what_is_owed(void **state)
{
    struct server s;
    server_init(&s, owe_each_byte);
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    assert_true(send_all(fd, "abc", 3));
    shutdown(fd, SHUT_WR);
    assert_true(expect(fd, "paid paid paid "));
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
}

static void a_half_closed_peer_gets_all_of_a_large_answer(void **state)
{
    struct server s;
    uint8_t *sent = mem_alloc(LARGE), *got = mem_alloc(LARGE);
    server_init(&s, answer_large);
    server_start(&s, 1, "127.0.0.1");
    fill(sent, LARGE);
    int fd = connect_to(&s);
    assert_true(send_all(fd, sent, LARGE));
    shutdown(fd, SHUT_WR);
    sleep_ms(20);
    assert_true(expect(fd, "head"));
    receive_slowly(fd, got, LARGE);
    assert_memory_equal(got, sent, LARGE);
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
    mem_free(sent);
    mem_free(got);
}

static void take(struct net_conn *c, struct server *s, struct buf *in)
{
    if (in->len < 5)
        return;
    buf_deinit(&s->kept);
    net_conn_take_input(c, &s->kept);
    if (in->len != 0 || in->data != NULL)
        s->kept.len = 0; /* what was left is not empty: shows as a wrong echo */
    net_conn_flush_with(c, s->kept.data, s->kept.len);
}

static void the_input_can_be_taken_whole(void **state)
{
    struct server s;
    server_init(&s, take);
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    for (int i = 0; i < 3; i++) {
        assert_true(send_all(fd, "he", 2));
        sleep_ms(2);
        assert_true(send_all(fd, "llo", 3));
        assert_true(expect(fd, "hello"));
    }
    close(fd);
    server_stop(&s);
}

static void keep_and_tell(struct net_conn *c, struct server *s, struct buf *in)
{
    if (in->len == in->max) {
        buf_str(net_conn_out(c), "full");
        net_conn_flush(c);
    }
}

static void input_is_bounded(void **state)
{
    struct server s;
    uint8_t *bytes = mem_zalloc(LARGE);
    server_init(&s, keep_and_tell);
    s.handler.max_input_bytes = 100000;
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    size_t sent = send_until_full(fd, bytes, LARGE);
    assert_true(sent >= 100000);
    assert_true(expect(fd, "full"));
    close(fd);
    server_stop(&s);
    mem_free(bytes);
}

/* Closing */

static void close_at_once(struct net_conn *c, struct server *s, struct buf *in)
{
    net_conn_close(c);
    net_conn_close(c);
    buf_str(net_conn_out(c), "never seen");
    net_conn_flush(c);
    net_conn_flush_with(c, in->data, in->len);
    net_conn_resume(c);
    net_conn_close_after_flush(c);
    buf_consume(in, in->len);
}

static void handlers_may_close_inside_data(void **state)
{
    struct server s;
    server_init(&s, close_at_once);
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    assert_true(send_all(fd, "x", 1));
    assert_true(at_end(fd));
    close(fd);
    assert_true(soon(&s.closed, 1));
    assert_int_equal(s.calls, 1);
    server_stop(&s);
}

static void refuse_body(struct net_conn *c, struct server *s, struct buf *in)
{
    buf_str(net_conn_out(c), "too large");
    net_conn_close_after_flush(c);
    net_conn_close_after_flush(c);
}

/* The peer is still sending when it is refused: no reset may take the refusal from it. */
static void the_last_answer_reaches_a_peer_that_still_sends(void **state)
{
    struct server s;
    uint8_t *bytes = mem_zalloc(LARGE);
    server_init(&s, refuse_body);
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    assert_true(send_all(fd, bytes, LARGE));
    assert_true(expect(fd, "too large"));
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    assert_int_equal(s.calls, 1);
    close(fd);
    assert_true(all_gone_soon(&s));
    server_stop(&s);
    mem_free(bytes);
}

static void connections_may_be_refused(void **state)
{
    struct server s;
    server_init(&s, echo);
    s.refuse = true;
    server_start(&s, 2, "127.0.0.1");
    for (int i = 0; i < 4; i++) {
        int fd = connect_to(&s);
        assert_true(at_end(fd));
        close(fd);
    }
    assert_true(all_gone_soon(&s));
    assert_int_equal(s.closed, 0);
    server_stop(&s);
}

static void flood(struct net_conn *c, struct server *s, struct buf *in)
{
    buf_consume(in, in->len);
    for (int i = 0; i < 8; i++)
        net_conn_flush_with(c, s->kept.data, LARGE);
}

static void peers_that_vanish_do_no_harm(void **state)
{
    struct server s;
    server_init(&s, flood);
    memset(buf_reserve(&s.kept, LARGE), 'x', LARGE);
    server_start(&s, 2, "127.0.0.1");
    for (int i = 0; i < 8; i++) {
        struct linger reset = { .l_onoff = 1 };
        int fd = connect_to(&s);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        assert_true(send_all(fd, "x", 1));
        sleep_ms(i);
        close(fd);
    }
    assert_true(all_gone_soon(&s));
    server_stop(&s);
}

/* Timeouts */

static void idle_connections_are_closed(void **state)
{
    struct server s;
    server_init(&s, echo);
    s.handler.idle_ms = 120;
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    uint64_t began = clock_ns();
    for (int i = 0; i < 4; i++) { /* each byte is a sign of life */
        sleep_ms(60);
        assert_true(send_all(fd, "x", 1));
        assert_true(expect(fd, "x"));
    }
    uint64_t last = clock_ns();
    assert_true(passed_ms(began) >= 200);
    assert_true(at_end(fd));
    assert_true(passed_ms(last) >= 100 && passed_ms(last) < 5000);
    close(fd);
    server_stop(&s);
}

/* 64 MiB that go out in one long write: reading some of it is a sign of life, reading none is none.
 */
static void slow_readers_live_and_dead_ones_do_not(void **state)
{
    struct server s;
    uint8_t *got = mem_alloc(LARGE);
    server_init(&s, flood);
    memset(buf_reserve(&s.kept, LARGE), 'x', LARGE);
    s.handler.idle_ms = 250;
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    assert_true(send_all(fd, "x", 1));
    uint64_t began = clock_ns();
    while (passed_ms(began) < 500) {
        assert_true(receive_all(fd, got, 1 << 20));
        sleep_ms(20);
    }
    assert_int_equal(s.closed, 0);
    assert_true(soon(&s.closed, 1));
    close(fd);
    server_stop(&s);
    mem_free(got);
}

static void be_busy(struct net_conn *c, struct server *s, struct buf *in)
{
    bool long_one = in->data[0] == 'l';
    echo(c, s, in);
    if (long_one)
        sleep_ms(400);
}

/* What a loop that computes cannot see is not held against its peers. */
static void a_busy_loop_closes_nobody(void **state)
{
    struct server s;
    server_init(&s, be_busy);
    s.handler.idle_ms = 200;
    server_start(&s, 1, "127.0.0.1");
    int busy = connect_to(&s), other = connect_to(&s);
    assert_true(send_all(other, "x", 1));
    assert_true(expect(other, "x"));
    assert_true(send_all(busy, "l", 1));
    sleep_ms(100);
    assert_true(send_all(other, "y", 1));
    assert_true(expect(other, "y"));
    assert_true(expect(busy, "l"));
    close(busy);
    close(other);
    server_stop(&s);
}

static void wait_for_more(struct net_conn *c, struct server *s, struct buf *in)
{
    net_conn_set_partial(c, true);
}

static void heads_that_drip_are_closed(void **state)
{
    struct server s;
    server_init(&s, wait_for_more);
    s.handler.idle_ms = 5000;
    s.handler.head_ms = 120;
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    uint64_t began = clock_ns();
    while (send(fd, "x", 1, MSG_NOSIGNAL) == 1 && passed_ms(began) < 4000)
        sleep_ms(10);
    assert_true(passed_ms(began) >= 100 && passed_ms(began) < 4000);
    close(fd);
    server_stop(&s);
}

static void whole_requests_are_not_too_slow(void **state)
{
    struct server s;
    server_init(&s, echo);
    s.handler.head_ms = 50;
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    sleep_ms(200);
    assert_true(send_all(fd, "x", 1));
    assert_true(expect(fd, "x"));
    close(fd);
    server_stop(&s);
}

static void answer_after_long(struct net_conn *c, struct server *s, struct buf *in)
{
    buf_consume(in, in->len);
    net_conn_pause(c);
    in_a_thread(answer_later, c, answer_now);
}

static void computing_is_not_idling(void **state)
{
    struct server s;
    server_init(&s, answer_after_long); /* 20 ms */
    s.handler.idle_ms = 8;
    server_start(&s, 1, "127.0.0.1");
    int fd = connect_to(&s);
    assert_true(send_all(fd, "x", 1));
    assert_true(expect(fd, "answer "));
    assert_true(at_end(fd));
    close(fd);
    server_stop(&s);
}

/* Listening */

static void a_port_in_use_is_named(void **state)
{
    struct server s;
    struct err e = { "" };
    int port = -1;
    char words[32];
    server_init(&s, echo);
    server_start(&s, 1, "127.0.0.1");
    assert_int_equal(loop_group_listen(s.g, "127.0.0.1", s.port, &s.handler, &port, &e), BUSY);
    snprintf(words, sizeof(words), "port %d", s.port);
    assert_non_null(strstr(e.text, words));
    assert_non_null(strstr(e.text, "127.0.0.1"));
    assert_non_null(strstr(e.text, "in use"));
    assert_int_equal(port, -1);
    server_stop(&s);
}

static void addresses_that_are_none_are_refused(void **state)
{
    static const struct {
        const char *host;
        int port;
    } rows[] = {
        { "nonsense", 80 }, { "", 80 }, { "1.2.3", 80 }, { "127.0.0.1", 65536 }, { "::", -1 }
    };
    struct server s;
    server_init(&s, echo);
    server_start(&s, 1, "127.0.0.1");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = { "" };
        assert_int_equal(loop_group_listen(s.g, rows[i].host, rows[i].port, &s.handler, NULL, &e),
                         INVALID);
        assert_true(e.text[0] != '\0');
    }
    /* an address of another machine */
    struct err e = { "" };
    assert_int_equal(loop_group_listen(s.g, "192.0.2.1", 0, &s.handler, NULL, &e), IO_FAILED);
    assert_non_null(strstr(e.text, "192.0.2.1"));
    server_stop(&s);
}

static void listening_ends_and_connections_go_on(void **state)
{
    struct server s;
    server_init(&s, echo);
    server_start(&s, 2, "127.0.0.1");
    int fd = connect_to(&s), late;
    loop_group_stop_listening(s.g);
    loop_group_stop_listening(s.g);
    for (int i = 0; i < PATIENCE_MS && (late = connect_to(&s)) >= 0; i++) {
        close(late);
        sleep_ms(1);
    }
    assert_true(late < 0);
    assert_true(send_all(fd, "still", 5));
    assert_true(expect(fd, "still"));
    struct err e;
    int port;
    assert_int_equal(loop_group_listen(s.g, "127.0.0.1", 0, &s.handler, &port, &e), OK);
    s.port = port;
    int again = connect_to(&s);
    assert_true(again >= 0 && send_all(again, "again", 5) && expect(again, "again"));
    close(again);
    close(fd);
    server_stop(&s);
}

static uint64_t cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* Sockets first, then no more descriptors: the kernel still completes the connections, accept
 * fails. */
static void running_out_of_files_does_not_spin(void **state)
{
    enum {
        COUNT = 8
    };
    struct server s;
    struct rlimit before, none;
    int fd[COUNT];
    server_init(&s, echo);
    server_start(&s, 2, "127.0.0.1");
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)s.port) };
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < COUNT; i++)
        fd[i] = socket(AF_INET, SOCK_STREAM, 0);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = (rlim_t)fd[COUNT - 1] + 1;
    setrlimit(RLIMIT_NOFILE, &none);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(connect(fd[i], (struct sockaddr *)&at, sizeof(at)), 0);
    sleep_ms(20);
    uint64_t cpu = cpu_ms();
    sleep_ms(300);
    assert_true(cpu_ms() - cpu < 100);
    assert_int_equal(s.opened, 0);
    setrlimit(RLIMIT_NOFILE, &before);
    for (int i = 0; i < COUNT; i++) {
        assert_true(send_all(fd[i], "late", 4));
        assert_true(expect(fd[i], "late"));
        close(fd[i]);
    }
    server_stop(&s);
}

/* Posts */

enum {
    POSTERS = 4,
    POSTS = 2000
};

struct counted_post {
    struct loop_post post;
    struct poster *by;
    int number;
};

struct poster {
    struct loop *loop;
    struct counted_post post[POSTS];
    int next; /* on the loop alone */
    bool in_order;
    atomic_int done;
};

static void count_post(struct loop_post *p)
{
    struct counted_post *c = LIST_ENTRY(p, struct counted_post, post);
    struct poster *by = c->by;
    if (c->number != by->next++)
        by->in_order = false;
    by->done++;
}

static void *post_all(void *arg)
{
    struct poster *by = arg;
    for (int i = 0; i < POSTS; i++) {
        by->post[i] = (struct counted_post){ .post.fn = count_post, .by = by, .number = i };
        loop_post(by->loop, &by->post[i].post);
    }
    return NULL;
}

static void posts_from_many_threads_run_in_order(void **state)
{
    struct loop_group *g;
    pthread_t thread[POSTERS];
    struct poster *by = mem_zalloc(POSTERS * sizeof(*by));
    assert_int_equal(loop_group_start(2, &g, NULL), OK);
    for (int i = 0; i < POSTERS; i++) {
        by[i].loop = loop_group_at(g, i % 2);
        by[i].in_order = true;
        pthread_create(&thread[i], NULL, post_all, &by[i]);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(thread[i], NULL);
    loop_group_stop(g); /* runs what was posted before */
    for (int i = 0; i < POSTERS; i++) {
        assert_int_equal(by[i].done, POSTS);
        assert_true(by[i].in_order);
    }
    mem_free(by);
}

struct name_post {
    struct loop_post post;
    char name[16];
    bool pipe_blocked;
    atomic_int done;
};

static void tell_name(struct loop_post *p)
{
    struct name_post *n = LIST_ENTRY(p, struct name_post, post);
    sigset_t set;
    pthread_getname_np(pthread_self(), n->name, sizeof(n->name));
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    n->pipe_blocked = sigismember(&set, SIGPIPE) && sigismember(&set, SIGTERM);
    n->done = 1;
}

static void loops_have_names_and_no_signals(void **state)
{
    struct loop_group *g;
    struct name_post n = { .post.fn = tell_name };
    assert_int_equal(loop_group_start(3, &g, NULL), OK);
    assert_int_equal(loop_group_count(g), 3);
    loop_post(loop_group_at(g, 2), &n.post);
    assert_true(soon(&n.done, 1));
    assert_string_equal(n.name, "oar-loop-2");
    assert_true(n.pipe_blocked);
    loop_group_stop(g);
}

static void a_group_of_no_loops_is_refused(void **state)
{
    struct loop_group *g;
    struct err e = { "" };
    assert_int_equal(loop_group_start(0, &g, &e), INVALID);
    assert_true(e.text[0] != '\0');
}

static void stopping_closes_what_is_open(void **state)
{
    enum {
        COUNT = 40
    };
    struct server s;
    int fd[COUNT];
    server_init(&s, flood); /* with output under way */
    memset(buf_reserve(&s.kept, LARGE), 'x', LARGE);
    server_start(&s, 2, "127.0.0.1");
    for (int i = 0; i < COUNT; i++) {
        fd[i] = connect_to(&s);
        if (i % 10 == 0)
            assert_true(send_all(fd[i], "x", 1));
    }
    server_stop(&s); /* some may not even be accepted yet */
    assert_int_equal(s.opened, s.closed);
    for (int i = 0; i < COUNT; i++)
        close(fd[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_and_go),
        cmocka_unit_test(both_ends_have_names),
        cmocka_unit_test(many_connections_are_dealt_round),
        cmocka_unit_test(large_bodies_go_both_ways_past_a_slow_reader),
        cmocka_unit_test(a_peer_that_does_not_read_is_not_read_from),
        cmocka_unit_test(output_keeps_its_order),
        cmocka_unit_test(paused_connections_are_left_alone),
        cmocka_unit_test(input_does_not_move_while_paused),
        cmocka_unit_test(a_half_closed_peer_gets_its_answers),
        cmocka_unit_test(a_half_closed_peer_gets_what_is_owed),
        cmocka_unit_test(a_half_closed_peer_gets_all_of_a_large_answer),
        cmocka_unit_test(the_input_can_be_taken_whole),
        cmocka_unit_test(input_is_bounded),
        cmocka_unit_test(handlers_may_close_inside_data),
        cmocka_unit_test(the_last_answer_reaches_a_peer_that_still_sends),
        cmocka_unit_test(connections_may_be_refused),
        cmocka_unit_test(peers_that_vanish_do_no_harm),
        cmocka_unit_test(idle_connections_are_closed),
        cmocka_unit_test(slow_readers_live_and_dead_ones_do_not),
        cmocka_unit_test(a_busy_loop_closes_nobody),
        cmocka_unit_test(heads_that_drip_are_closed),
        cmocka_unit_test(whole_requests_are_not_too_slow),
        cmocka_unit_test(computing_is_not_idling),
        cmocka_unit_test(a_port_in_use_is_named),
        cmocka_unit_test(addresses_that_are_none_are_refused),
        cmocka_unit_test(listening_ends_and_connections_go_on),
        cmocka_unit_test(running_out_of_files_does_not_spin),
        cmocka_unit_test(posts_from_many_threads_run_in_order),
        cmocka_unit_test(loops_have_names_and_no_signals),
        cmocka_unit_test(a_group_of_no_loops_is_refused),
        cmocka_unit_test(stopping_closes_what_is_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
