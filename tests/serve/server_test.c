/* The whole server in this process, for the sanitizers' sake: callers on many threads, both protocols, calls on workers and
 * on loops, peers that vanish, a drain under load. What is said over the wire is tested end to end (tests/e2e). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "proto/baidu_std.h"
#include "proto/general_model.h"
#include "serve/server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODEL OAR_SOURCE_DIR "/tests/data/uci_housing"
#define PRICE 18.901152f

static const float row[13] = { 0.0137f,  -0.1136f, 0.2553f, -0.0692f, 0.0582f, -0.0727f, -0.1583f,
                               -0.0584f, 0.6283f,  0.4919f, 0.1856f,  0.0795f, -0.0332f };

static struct server *start(int threads)
{
    static const struct server_model model = { .name = "uci", .path = MODEL };
    struct server_options o = {
        .model = &model, .model_count = 1, .host = "127.0.0.1", .threads = threads, .quiet = true
    };
    struct server *s;
    struct err e = { "" };
    if (server_start(&o, &s, &e) != OK)
        fail_msg("%s", e.text);
    return s;
}

static int dial(int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void put_frame(struct buf *out, int64_t id)
{
    struct named_tensor feed = { STR("x"), STR("x"), { DTYPE_F32, SHAPE(1, 13), row, { 0 } } };
    struct infer_request r = { .feed = &feed, .feed_count = 1 };
    struct baidu_meta meta = { .is_request = true,
                               .service = STR(GENERAL_MODEL_SERVICE),
                               .method = STR("inference"),
                               .correlation_id = id };
    struct buf body;
    buf_init(&body, 1 << 16);
    general_request_to_pb(&r, &body);
    baidu_std_put_head(out, &meta, body.len);
    buf_append(out, body.data, body.len);
    buf_deinit(&body);
}

static bool answer_is_right(const struct baidu_frame *f, int64_t id)
{
    struct arena a;
    struct infer_reply r;
    struct err e;
    arena_init(&a, 0);
    bool right = f->meta.correlation_id == id && f->meta.error_code == 0 &&
                 general_reply_from_pb(f->payload, &a, &r, &e) == OK && r.output_count == 1 &&
                 fabsf(((const float *)r.output[0].tensor[0].tensor.data)[0] - PRICE) < 1e-4f;
    arena_deinit(&a);
    return right;
}

struct caller {
    pthread_t thread;
    int port, calls;
    int right, wrong; /* whole answers */
};

static void *call_often(void *arg)
{
    struct caller *c = arg;
    int fd = dial(c->port);
    struct buf out, in;
    buf_init(&out, 1 << 16);
    buf_init(&in, 1 << 16);
    for (int64_t id = 1; fd >= 0 && id <= c->calls; id++) {
        struct baidu_frame f;
        struct parse p = { .state = PARSE_MORE };
        buf_clear(&out);
        buf_clear(&in);
        put_frame(&out, id);
        if (send(fd, out.data, out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
            break;
        while (p.state == PARSE_MORE) {
            ssize_t n = recv(fd, buf_reserve(&in, 4096), 4096, 0);
            if (n <= 0)
                break;
            in.len += (size_t)n;
            p = baidu_std_parse(buf_view(&in), 1 << 16, &f);
        }
        if (p.state != PARSE_DONE)
            break;
        *(answer_is_right(&f, id) ? &c->right : &c->wrong) += 1;
    }
    buf_deinit(&out);
    buf_deinit(&in);
    if (fd >= 0)
        close(fd);
    return NULL;
}

#define CALLERS 8

static void start_callers(struct caller *c, int port, int calls)
{
    for (int i = 0; i < CALLERS; i++) {
        c[i] = (struct caller){ .port = port, .calls = calls };
        assert_int_equal(pthread_create(&c[i].thread, NULL, call_often, &c[i]), 0);
    }
}

static void many_callers_at_once(void **state)
{
    struct server *s = start(2);
    struct caller c[CALLERS];
    start_callers(c, server_port(s), 100);
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(c[i].thread, NULL);
        assert_int_equal(c[i].right, 100);
        assert_int_equal(c[i].wrong, 0);
    }
    server_free(s);
}

/* Listening ends on the loop that listens, soon behind the drain's beginning, which callers of other loops may outrun. */
static bool refuses_soon(int port)
{
    for (int ms = 0; ms < 5000; ms += 10) {
        int fd = dial(port);
        if (fd < 0)
            return true;
        close(fd);
        usleep(10000);
    }
    return false;
}

static void a_drain_under_load_gives_no_wrong_answer(void **state)
{
    struct server *s = start(2);
    struct caller c[CALLERS];
    start_callers(c, server_port(s), 1000000);
    usleep(100000);
    server_drain(s);
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(c[i].thread, NULL); /* they end, since their connections do */
        assert_int_equal(c[i].wrong, 0);
        assert_true(c[i].right > 0);
    }
    assert_true(refuses_soon(server_port(s)));
    server_free(s);
}

static void peers_that_vanish_leave_nothing_behind(void **state)
{
    struct server *s = start(2);
    struct buf out;
    buf_init(&out, 1 << 16);
    for (int i = 0; i < 20; i++)
        put_frame(&out, i);
    for (int i = 0; i < 50; i++) { /* twenty calls on their way, and the peer is gone */
        int fd = dial(server_port(s));
        struct linger reset = { 1, 0 };
        assert_true(fd >= 0);
        assert_true(send(fd, out.data, out.len - (size_t)i, MSG_NOSIGNAL) > 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
    }
    buf_deinit(&out);
    struct caller c = { .port = server_port(s), .calls = 10 };
    call_often(&c);
    assert_int_equal(c.right, 10);
    server_free(s);
}

static void a_server_may_be_freed_with_calls_under_way(void **state)
{
    for (int i = 0; i < 10; i++) {
        struct server *s = start(2);
        struct buf out;
        buf_init(&out, 1 << 16);
        put_frame(&out, 1);
        int fd = dial(server_port(s));
        assert_true(send(fd, out.data, out.len, MSG_NOSIGNAL) > 0);
        server_free(s);
        close(fd);
        buf_deinit(&out);
    }
}

/* ---- models that change under load ---- */

static void copy_file(const char *from, const char *to)
{
    struct file_map *m;
    assert_int_equal(file_map_open(from, 1 << 20, &m, NULL), OK);
    assert_int_equal(file_write(to, file_map_data(m), file_map_size(m), NULL), OK);
    file_map_unref(m);
}

/* The model in a directory of the test's own, with a file whose touching says "load me again". */
static const char *own_model(char *dir, struct arena *a)
{
    DIR *d = opendir(MODEL);
    assert_non_null(mkdtemp(dir));
    for (struct dirent *f; (f = readdir(d)) != NULL;)
        if (f->d_name[0] != '.')
            copy_file(arena_printf(a, MODEL "/%s", f->d_name),
                      arena_printf(a, "%s/%s", dir, f->d_name));
    closedir(d);
    const char *time = arena_printf(a, "%s/fluid_time_file", dir);
    assert_int_equal(file_write(time, "", 0, NULL), OK);
    return time;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

/* Batches, a cache, and a new version every few milliseconds: nobody gets a wrong answer, or none. */
static void models_are_loaded_again_under_load(void **state)
{
    char dir[] = "/tmp/oar-server-test-XXXXXX";
    struct arena a;
    struct server *s;
    struct err e = { "" };
    struct caller c[CALLERS];
    arena_init(&a, 0);
    const char *time = own_model(dir, &a);
    const struct server_model model = { .name = "uci", .path = dir };
    const struct server_options o = { .model = &model,
                                      .model_count = 1,
                                      .host = "127.0.0.1",
                                      .threads = 2,
                                      .quiet = true,
                                      .settle_ms = 1,
                                      .cache_bytes = 100000,
                                      .batch = { .threads = 2, .max_rows = 4 } };
    log_set_level(LOG_WARN);
    if (server_start(&o, &s, &e) != OK)
        fail_msg("%s", e.text);
    start_callers(c, server_port(s), 300);
    for (int i = 0; i < 10; i++) {
        usleep(20000);
        assert_int_equal(utimensat(AT_FDCWD, time, NULL, 0), 0);
    }
    for (int i = 0; i < CALLERS; i++) {
        pthread_join(c[i].thread, NULL);
        assert_int_equal(c[i].right, 300);
        assert_int_equal(c[i].wrong, 0);
    }
    server_free(s);
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_callers_at_once),
        cmocka_unit_test(models_are_loaded_again_under_load),
        cmocka_unit_test(a_drain_under_load_gives_no_wrong_answer),
        cmocka_unit_test(peers_that_vanish_leave_nothing_behind),
        cmocka_unit_test(a_server_may_be_freed_with_calls_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
