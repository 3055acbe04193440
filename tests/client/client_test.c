/* The client against a listener of this test: endpoints, time limits, connections that the server has closed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/client.h"
#include "client/transport.h"
#include "proto/baidu_std.h"
#include "proto/general_model.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Answers `per_connection` requests on each connection, then closes it; 0: reads and never answers. */
struct listener {
    int fd, per_connection, connections;
    char address[96];
    pthread_t thread;
};

static void answer(int fd, const struct baidu_frame *f)
{
    struct buf out;
    buf_init(&out, 1 << 16);
    struct baidu_meta meta = { .is_response = true, .correlation_id = f->meta.correlation_id };
    baidu_std_put_head(&out, &meta, 0);
    assert_int_equal(send(fd, out.data, out.len, MSG_NOSIGNAL), (ssize_t)out.len);
    buf_deinit(&out);
}

static void serve_one(struct listener *l, int fd)
{
    char bytes[4096];
    size_t n = 0;
    for (int answered = 0; l->per_connection == 0 || answered < l->per_connection;) {
        ssize_t got = recv(fd, bytes + n, sizeof(bytes) - n, 0);
        if (got <= 0)
            return;
        n += (size_t)got;
        struct baidu_frame f;
        struct parse p = baidu_std_parse((struct str){ bytes, n }, 1 << 20, &f);
        if (p.state != PARSE_DONE || l->per_connection == 0)
            continue;
        answer(fd, &f);
        answered++;
        n = 0;
    }
}

static void *listen_thread(void *arg)
{
    struct listener *l = arg;
    int fd;
    while ((fd = accept(l->fd, NULL, NULL)) >= 0) {
        l->connections++;
        serve_one(l, fd);
        close(fd);
    }
    return NULL;
}

static void listener_start(struct listener *l, int per_connection)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(at);
    *l = (struct listener){ .fd = socket(AF_INET, SOCK_STREAM, 0),
                            .per_connection = per_connection };
    assert_int_equal(bind(l->fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(listen(l->fd, 16), 0);
    assert_int_equal(getsockname(l->fd, (struct sockaddr *)&at, &n), 0);
    snprintf(l->address, sizeof(l->address), "127.0.0.1:%d", ntohs(at.sin_port));
    assert_int_equal(pthread_create(&l->thread, NULL, listen_thread, l), 0);
}

/* The same on a unix socket: a file here, or a name where it begins with @. */
static void listener_start_unix(struct listener *l, const char *path)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    *l = (struct listener){ .fd = socket(AF_UNIX, SOCK_STREAM, 0), .per_connection = 100 };
    memcpy(at.sun_path, path, strlen(path));
    if (path[0] == '@')
        at.sun_path[0] = '\0';
    else
        unlink(path);
    assert_int_equal(bind(l->fd, (struct sockaddr *)&at, n + (path[0] != '@')), 0);
    assert_int_equal(listen(l->fd, 16), 0);
    snprintf(l->address, sizeof(l->address), "unix:%s", path);
    assert_int_equal(pthread_create(&l->thread, NULL, listen_thread, l), 0);
}

static void listener_stop(struct listener *l)
{
    shutdown(l->fd, SHUT_RDWR);
    pthread_join(l->thread, NULL);
    close(l->fd);
}

static void endpoints(void **state)
{
    static const struct {
        const char *text, *host, *port;
    } rows[] = {
        { "localhost:9292", "localhost", "9292" },
        { "127.0.0.1:1", "127.0.0.1", "1" },
        { "[::1]:65535", "::1", "65535" },
        { "localhost", NULL, NULL },
        { "localhost:0", NULL, NULL },
        { "localhost:65536", NULL, NULL },
        { "localhost:x", NULL, NULL },
        { ":80", NULL, NULL },
        { "", NULL, NULL },
        { "unix:/run/oar.sock", "/run/oar.sock", "" },
        { "unix:///run/oar.sock", "/run/oar.sock", "" },
        { "unix:oar.sock", "oar.sock", "" },
        { "unix:@oar", "@oar", "" },
        { "unix:", NULL, NULL },
        { "unix:@", NULL, NULL },
        { "unix:/", NULL, NULL },
        { "unix:/"
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
          "aaaaaaaaaaaaaaaaaaaa",
          NULL, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct endpoint at;
        struct err e = { "" };
        status s = endpoint_parse(str_of(rows[i].text), &at, &e);
        if (rows[i].host == NULL) {
            assert_int_not_equal(s, OK);
            assert_true(e.text[0] != '\0');
            continue;
        }
        assert_int_equal(s, OK);
        assert_string_equal(at.host, rows[i].host);
        assert_string_equal(at.port, rows[i].port);
    }
}

static void endpoints_as_text(void **state)
{
    static const struct {
        const char *text, *shown, *authority;
    } rows[] = {
        { "[::1]:80", "[::1]:80", "[::1]:80" },
        { "localhost:80", "localhost:80", "localhost:80" },
        { "unix:///run/x", "unix:/run/x", "localhost" },
        { "unix:@x", "unix:@x", "localhost" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct endpoint at;
        char text[ENDPOINT_TEXT_MAX];
        assert_int_equal(endpoint_parse(str_of(rows[i].text), &at, NULL), OK);
        assert_string_equal(endpoint_text(&at, text), rows[i].shown);
        assert_string_equal(endpoint_authority(&at, text), rows[i].authority);
    }
}

static status ask(struct client *c, struct err *e)
{
    struct infer_request r = { 0 };
    struct infer_reply reply;
    return client_infer(c, &r, 0, &reply, e);
}

static void connections_are_kept(void **state)
{
    struct listener l;
    struct client *c;
    struct err e = { "" };
    listener_start(&l, 100);
    assert_int_equal(client_open(str_of(l.address), STR("brpc"), &c, &e), OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(ask(c, &e), OK);
    client_close(c);
    listener_stop(&l);
    assert_int_equal(l.connections, 1);
}

static void unix_sockets_are_asked(void **state)
{
    char path[64], name[64];
    snprintf(path, sizeof(path), "client_test.%d", (int)getpid());
    snprintf(name, sizeof(name), "@client_test.%d", (int)getpid());
    const char *const at[] = { path, name };
    for (size_t i = 0; i < ARRAY_LEN(at); i++) {
        struct listener l;
        struct client *c;
        struct err e = { "" };
        listener_start_unix(&l, at[i]);
        assert_int_equal(client_open(str_of(l.address), STR("brpc"), &c, &e), OK);
        for (int k = 0; k < 3; k++)
            assert_int_equal(ask(c, &e), OK);
        client_close(c);
        listener_stop(&l);
        assert_int_equal(l.connections, 1);
    }
    unlink(path);
}

static void connections_that_the_server_closed_are_replaced(void **state)
{
    struct listener l;
    struct client *c;
    struct err e = { "" };
    listener_start(&l, 1);
    assert_int_equal(client_open(str_of(l.address), STR("brpc"), &c, &e), OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(c, &e), OK);
        usleep(20000); /* the end of the connection is on its way */
    }
    client_close(c);
    listener_stop(&l);
    assert_int_equal(l.connections, 3);
}

static void time_limits_hold(void **state)
{
    struct listener l;
    struct client *c;
    struct err e = { "" };
    listener_start(&l, 0);
    assert_int_equal(client_open(str_of(l.address), STR("brpc"), &c, &e), OK);
    client_set_timeout_ms(c, 50);
    assert_int_equal(ask(c, &e), TIMED_OUT);
    assert_non_null(strstr(e.text, l.address));
    client_close(c);
    listener_stop(&l);
}

static void nobody_listens(void **state)
{
    struct client *c;
    struct err e = { "" };
    assert_int_equal(client_open(STR("127.0.0.1:1"), STR("brpc"), &c, &e), OK);
    assert_int_not_equal(ask(c, &e), OK);
    assert_non_null(strstr(e.text, "127.0.0.1:1"));
    client_close(c);
    assert_int_equal(client_open(STR("unix:/nowhere"), STR("brpc"), &c, &e), OK);
    assert_int_equal(ask(c, &e), IO_FAILED);
    assert_string_equal(e.text, "unix:/nowhere: cannot connect: No such file or directory");
    client_close(c);
    assert_int_equal(client_open(STR("127.0.0.1:1"), STR("pigeon"), &c, &e), INVALID);
    assert_non_null(strstr(e.text, "pigeon"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(endpoints),
        cmocka_unit_test(endpoints_as_text),
        cmocka_unit_test(connections_are_kept),
        cmocka_unit_test(unix_sockets_are_asked),
        cmocka_unit_test(connections_that_the_server_closed_are_replaced),
        cmocka_unit_test(time_limits_hold),
        cmocka_unit_test(nobody_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
