/* Memory that runs out: for every n, the n-th allocation whose size comes from outside fails once, somewhere in the life of a server: start, load,
 * requests over each protocol, a reload, the end. Nothing may crash or leak (the sanitizers' build says so), what fails says why, and what comes
 * behind it is served. OAR_SWEEP=N tries every N-th only; 1 is all of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "serve/server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MODEL OAR_SOURCE_DIR "/tests/data/uci_housing"
#define STEP  3 /* of a quick run */
#define MOST  100000

#define ROW                                                                                        \
    "0.0137,-0.1136,0.2553,-0.0692,0.0582,-0.0727,-0.1583,-0.0584,0.6283,0.4919,0.1856,0.0795,-0." \
    "0332"
#define OIP \
    "{\"inputs\":[{\"name\":\"x\",\"shape\":[1,13],\"datatype\":\"FP32\",\"data\":[" ROW "]}]}"
#define PADDLE \
    "{\"tensor\":[{\"float_data\":[" ROW "],\"elem_type\":1,\"name\":\"x\",\"shape\":[1,13]}]}"

static const struct {
    const char *path, *body; /* body NULL: GET */
} requests[] = {
    { "/v2/models/uci/infer", OIP },
    { "/v1/models/uci:predict", "{\"instances\":[[" ROW "]]}" },
    { "/GeneralModelService/inference", PADDLE },
    { "/uci/prediction", "{\"feed\":[{\"x\":[" ROW "]}],\"fetch\":[\"price\"]}" },
    { "/v2/models/uci", NULL },
    { "/metrics", NULL },
    { "/v2/repository/models/uci/load", "{}" },
    { "/v2/models/uci/infer", OIP },
};

/* HTTP's code; 0: the connection ended without an answer. */
static int ask(int port, const char *path, const char *body)
{
    char text[4096], answer[1024];
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)port) };
    const struct timeval limit = { .tv_sec = 20 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    int n = snprintf(text, sizeof(text),
                     "%s %s HTTP/1.1\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                     body != NULL ? "POST" : "GET", path, body != NULL ? strlen(body) : 0,
                     body != NULL ? body : "");
    ssize_t sent = send(fd, text, (size_t)n, MSG_NOSIGNAL);
    ssize_t got = sent == n ? recv(fd, answer, sizeof(answer) - 1, 0) : 0;
    close(fd);
    return got > 12 ? atoi(answer + 9) : 0;
}

/* A call of gRPC, whatever comes of it: the preface, a head, a message. */
static void ask_h2(int port)
{
    static const char bytes[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                "\0\0\0\x04\0\0\0\0\0"
                                "\0\0\x47\x01\x04\0\0\0\x01\x83\x86\x41\x01x"
                                "\0\x05:path\x1f/grpc.health.v1.Health/Check.xyz"
                                "\0\x0c"
                                "content-type\x04"
                                "grpc"
                                "\0\0\x05\0\x01\0\0\0\x01\0\0\0\0\0";
    char answer[4096];
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0 &&
        send(fd, bytes, sizeof(bytes) - 1, MSG_NOSIGNAL) > 0) {
        struct pollfd p = { fd, POLLIN, 0 };
        ssize_t ignored = poll(&p, 1, 200) > 0 ? recv(fd, answer, sizeof(answer), 0) : 0;
        (void)ignored;
    }
    close(fd);
}

static bool is_told(int code)
{
    return code == 0 || code == 200 || code == 404 || code == 500 || code == 503 || code == 507;
}

/* One life with the n-th failing; false: there were not so many. */
static bool live(long n)
{
    static const struct server_model model = { .name = "uci", .path = MODEL };
    const struct server_options o = {
        .model = &model, .model_count = 1, .host = "127.0.0.1", .threads = 1, .quiet = true
    };
    struct server *s;
    struct err e = { "" };
    mem_fail_nth(n);
    if (server_start(&o, &s, &e) != OK) {
        mem_fail_nth(0);
        assert_true(e.text[0] != '\0');
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        int code = ask(server_port(s), requests[i].path, requests[i].body);
        if (!is_told(code))
            fail_msg("n %ld: %s answers %d", n, requests[i].path, code);
    }
    ask_h2(server_port(s));
    bool struck = mem_fail_left() <= 0;
    mem_fail_nth(0);
    assert_int_equal(ask(server_port(s), "/v2/models/uci/infer", OIP), 200);
    server_free(s);
    return struck;
}

static void no_allocation_that_fails_is_the_end(void **state)
{
    const char *text = getenv("OAR_SWEEP");
    long step = text != NULL && atoi(text) > 0 ? atoi(text) : STEP, n = 1, tried = 0;
    log_set_level(LOG_ERROR);
    while (n < MOST && live(n)) {
        n += step;
        tried++;
    }
    print_message("%ld allocations, one in %ld failed: %ld lives, each without a crash\n", n, step,
                  tried);
    assert_true(tried > 5 && n < MOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(no_allocation_that_fails_is_the_end) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
