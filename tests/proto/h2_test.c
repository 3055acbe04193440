/* A client's session talks to a server's, whole and byte by byte: both sides are ours but for frames and HPACK, which are
 * nghttp2's. Real clients are in tests/e2e. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "proto/h2.h"

#define BODY_MAX ((size_t)1 << 20)

/* One side with what it saw. */
struct side {
    struct h2 *h2;
    struct h2_pool pool;
    struct buf out;
    int heads, ends, closes;
    bool large, stream;
    uint32_t error;
    struct h2_stream *newest;
    struct buf body;
    char path[64], status[8], tail[64];
};

static void keep_text(char *to, size_t size, struct str s)
{
    size_t n = s.n < size - 1 ? s.n : size - 1;
    if (n > 0)
        memcpy(to, s.p, n);
    to[n] = '\0';
}

static void on_head(void *arg, struct h2_stream *s)
{
    struct side *side = arg;
    side->heads++;
    side->newest = s;
    s->streaming = side->stream;
    keep_text(side->path, sizeof(side->path), h2_field(&s->head, ":path"));
    keep_text(side->status, sizeof(side->status), h2_field(&s->head, ":status"));
}

static void on_data(void *arg, struct h2_stream *s)
{
    struct side *side = arg;
    buf_append(&side->body, s->body.data, s->body.len);
    h2_take(s, s->body.len);
}

static void on_end(void *arg, struct h2_stream *s)
{
    struct side *side = arg;
    side->ends++;
    side->large = s->too_large;
    struct str body = h2_body(s);
    buf_append(&side->body, body.p, body.n);
    keep_text(side->tail, sizeof(side->tail), h2_field(&s->tail, "grpc-status"));
}

/* The server gives the body back, with a trailer. */
static void on_request(void *arg, struct h2_stream *s)
{
    const struct http_header head[] = { { STR(":status"), STR("200") } };
    const struct http_header tail[] = { { STR("grpc-status"), STR("7") } };
    on_end(arg, s);
    h2_answer(s, head, 1, false);
    h2_write(s, h2_body(s));
    h2_finish(s, tail, 1);
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t error)
{
    struct side *side = arg;
    side->closes++;
    side->error = error;
}

static const struct h2_events server_events = { on_head, on_data, on_request, on_closed, NULL };
static const struct h2_events client_events = { on_head, on_data, on_end, on_closed, NULL };

static void open_side(struct side *side, bool client)
{
    *side = (struct side){ 0 };
    h2_pool_init(&side->pool);
    buf_init(&side->out, SIZE_MAX / 2);
    buf_init(&side->body, SIZE_MAX / 2);
    struct h2_options opt = { .events = client ? &client_events : &server_events,
                              .arg = side,
                              .pool = &side->pool,
                              .client = client,
                              .max_body_bytes = client ? SIZE_MAX / 2 : BODY_MAX,
                              .max_held_bytes = SIZE_MAX / 2,
                              .max_streams = 8 };
    assert_int_equal(h2_new(&opt, &side->h2), OK);
}

static void close_side(struct side *side)
{
    h2_free(side->h2);
    h2_pool_deinit(&side->pool);
    buf_deinit(&side->out);
    buf_deinit(&side->body);
}

struct pair {
    struct side client, server;
};

static int setup(void **state)
{
    struct pair *p = mem_zalloc(sizeof(*p));
    open_side(&p->client, true);
    open_side(&p->server, false);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct pair *p = *state;
    close_side(&p->client);
    close_side(&p->server);
    mem_free(p);
    return 0;
}

static bool carry(struct side *from, struct side *to, size_t piece)
{
    buf_clear(&from->out);
    assert_int_equal(h2_pump(from->h2, &from->out, SIZE_MAX / 4), OK);
    for (size_t at = 0; at < from->out.len; at += piece) {
        size_t n = from->out.len - at < piece ? from->out.len - at : piece;
        assert_int_equal(h2_feed(to->h2, (struct str){ (char *)from->out.data + at, n }), OK);
    }
    return from->out.len > 0;
}

static void talk(struct pair *p, size_t piece)
{
    bool more = true;
    while (more) {
        more = carry(&p->client, &p->server, piece);
        more = carry(&p->server, &p->client, piece) || more;
    }
}

static const struct http_header post[] = {
    { STR(":method"), STR("POST") },
    { STR(":scheme"), STR("http") },
    { STR(":authority"), STR("x") },
    { STR(":path"), STR("/echo") },
};

static void echo(struct pair *p, size_t bytes, size_t piece)
{
    char *body = mem_alloc(bytes + 1);
    for (size_t i = 0; i < bytes; i++)
        body[i] = (char)(i * 7);
    struct h2_stream *s = h2_request(p->client.h2, post, ARRAY_LEN(post), false);
    assert_non_null(s);
    h2_write(s, (struct str){ body, bytes });
    h2_finish(s, NULL, 0);
    talk(p, piece);
    assert_string_equal(p->server.path, "/echo");
    assert_string_equal(p->client.status, "200");
    assert_string_equal(p->client.tail, "7");
    assert_int_equal(p->client.body.len, bytes);
    assert_memory_equal(p->client.body.data, body, bytes);
    assert_int_equal(h2_open_streams(p->server.h2), 0);
    assert_int_equal(h2_incomplete(p->server.h2), 0);
    assert_int_equal(h2_unsent(p->server.h2), 0);
    mem_free(body);
}

static void a_body_comes_back(void **state)
{
    echo(*state, 1000, SIZE_MAX / 2);
}

static void byte_by_byte(void **state)
{
    echo(*state, 1000, 1);
}

static void an_empty_body_comes_back(void **state)
{
    echo(*state, 0, SIZE_MAX / 2);
}

/* More than any window: it moves in turns. */
static void a_body_larger_than_a_frame(void **state)
{
    echo(*state, BODY_MAX, 1000);
}

static void a_body_over_the_limit_is_told(void **state)
{
    struct pair *p = *state;
    char *body = mem_zalloc(BODY_MAX + 1);
    struct h2_stream *s = h2_request(p->client.h2, post, ARRAY_LEN(post), false);
    h2_write(s, (struct str){ body, BODY_MAX + 1 });
    h2_finish(s, NULL, 0);
    talk(p, SIZE_MAX / 2);
    assert_true(p->server.large);
    assert_int_equal(p->server.body.len, 0);
    assert_string_equal(p->client.status, "200");
    mem_free(body);
}

static void a_streaming_body_comes_as_it_is_taken(void **state)
{
    struct pair *p = *state;
    p->server.stream = true;
    struct h2_stream *s = h2_request(p->client.h2, post, ARRAY_LEN(post), false);
    for (int i = 1; i <= 3; i++) {
        h2_write(s, STR("abc"));
        talk(p, SIZE_MAX / 2);
        assert_int_equal(p->server.body.len, 3 * i);
        assert_int_equal(p->server.ends, 0);
    }
    assert_int_equal(h2_incomplete(p->server.h2), 0);
    h2_finish(s, NULL, 0);
    talk(p, SIZE_MAX / 2);
    assert_int_equal(p->server.ends, 1);
    assert_string_equal(p->client.tail, "7");
}

static void a_header_over_the_limit_is_told(void **state)
{
    struct pair *p = *state;
    struct http_header many[ARRAY_LEN(post) + LIMIT_HTTP_HEADERS] = { 0 };
    memcpy(many, post, sizeof(post));
    for (size_t i = ARRAY_LEN(post); i < ARRAY_LEN(many); i++)
        many[i] = (struct http_header){ STR("a"), STR("b") };
    /* One more than is kept. */
    struct h2_stream *s = h2_request(p->client.h2, many, ARRAY_LEN(many), true);
    assert_non_null(s);
    talk(p, SIZE_MAX / 2);
    assert_false(p->server.large);
    many[10].value = (struct str){ mem_zalloc(60000), 60000 };
    memset((char *)(uintptr_t)many[10].value.p, 'x', 60000);
    many[11].value = many[10].value;
    assert_non_null(h2_request(p->client.h2, many, ARRAY_LEN(many), true));
    talk(p, SIZE_MAX / 2);
    mem_free((void *)(uintptr_t)many[10].value.p);
    assert_true(p->server.large || p->client.error != 0);
}

static void a_reset_closes_both_ends(void **state)
{
    struct pair *p = *state;
    struct h2_stream *s = h2_request(p->client.h2, post, ARRAY_LEN(post), false);
    talk(p, SIZE_MAX / 2);
    h2_reset(s, H2_CANCEL);
    talk(p, SIZE_MAX / 2);
    assert_int_equal(p->server.closes, 1);
    assert_int_equal(p->server.error, H2_CANCEL);
    assert_int_equal(h2_incomplete(p->server.h2), 0);
}

/* DATA of three bytes for stream 1, in two pieces, cut in the frame's header. */
static status late_data(struct side *server)
{
    static const char frame[] = "\0\0\3\0\0\0\0\0\1abc";
    status s = h2_feed(server->h2, (struct str){ frame, 5 });
    return s == OK ? h2_feed(server->h2, (struct str){ frame + 5, 7 }) : s;
}

static void data_of_a_stream_that_was_ended_ends_the_session(void **state)
{
    struct pair *p = *state;
    echo(p, 3, SIZE_MAX / 2);
    assert_int_equal(late_data(&p->server), INVALID);
    assert_true(h2_is_over(p->server.h2));
}

static void data_of_a_stream_that_was_reset_ends_the_session(void **state)
{
    struct pair *p = *state;
    struct h2_stream *s = h2_request(p->client.h2, post, ARRAY_LEN(post), false);
    talk(p, SIZE_MAX / 2);
    h2_reset(s, H2_CANCEL);
    talk(p, SIZE_MAX / 2);
    assert_int_equal(late_data(&p->server), INVALID);
}

static void data_of_a_stream_that_we_reset_is_passed_over(void **state)
{
    struct pair *p = *state;
    p->server.stream = true;
    struct h2_stream *s = h2_request(p->client.h2, post, ARRAY_LEN(post), false);
    h2_write(s, STR("abc"));
    talk(p, SIZE_MAX / 2);
    h2_reset(p->server.newest, H2_CANCEL);
    talk(p, SIZE_MAX / 2);
    assert_int_equal(late_data(&p->server), OK);
    assert_false(h2_is_over(p->server.h2));
}

static void a_drained_session_ends_when_its_streams_have(void **state)
{
    struct pair *p = *state;
    struct h2_stream *s = h2_request(p->client.h2, post, ARRAY_LEN(post), false);
    h2_write(s, STR("abc"));
    talk(p, SIZE_MAX / 2);
    h2_drain(p->server.h2);
    talk(p, SIZE_MAX / 2);
    assert_false(h2_is_over(p->server.h2));
    h2_finish(s, NULL, 0);
    talk(p, SIZE_MAX / 2);
    assert_string_equal(p->client.tail, "7");
    assert_true(h2_is_over(p->server.h2));
}

/* SETTINGS without content: each wants an answer and brings nothing. */
static void a_flood_of_control_frames_ends_the_session(void **state)
{
    struct pair *p = *state;
    static const char settings[9] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };
    talk(p, SIZE_MAX / 2);
    status s = OK;
    int n = 0;
    for (; n < 20000 && s == OK; n++) {
        s = h2_feed(p->server.h2, (struct str){ settings, sizeof(settings) });
        buf_clear(&p->server.out);
        if (h2_pump(p->server.h2, &p->server.out, SIZE_MAX / 4) != OK)
            break;
    }
    assert_in_range(n, 1000, 19999);
    assert_true(h2_is_over(p->server.h2));
}

/* Whatever allocation fails, nothing is leaked or touched after. */
static void memory_that_runs_out_ends_a_session_cleanly(void **state)
{
    for (long n = 1; n < 120; n++) {
        struct side server;
        struct pair *p = *state;
        struct h2 *h2 = NULL;
        server = (struct side){ 0 };
        h2_pool_init(&server.pool);
        struct h2_options opt = { .events = &server_events,
                                  .arg = &server,
                                  .pool = &server.pool,
                                  .max_body_bytes = BODY_MAX,
                                  .max_held_bytes = BODY_MAX,
                                  .max_streams = 8 };
        buf_init(&server.out, SIZE_MAX / 2);
        buf_init(&server.body, SIZE_MAX / 2);
        if (n == 1) {
            struct h2_stream *s = h2_request(p->client.h2, post, ARRAY_LEN(post), false);
            h2_write(s, STR("abcdefgh"));
            h2_finish(s, NULL, 0);
            buf_clear(&p->client.out);
            assert_int_equal(h2_pump(p->client.h2, &p->client.out, SIZE_MAX / 4), OK);
        }
        mem_fail_nth(n);
        if (h2_new(&opt, &h2) == OK && h2_feed(h2, buf_view(&p->client.out)) == OK)
            (void)(h2_pump(h2, &server.out, SIZE_MAX / 4) == OK);
        mem_fail_nth(0);
        h2_free(h2);
        h2_pool_deinit(&server.pool);
        buf_deinit(&server.out);
        buf_deinit(&server.body);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_body_comes_back),
        T(byte_by_byte),
        T(an_empty_body_comes_back),
        T(a_body_larger_than_a_frame),
        T(a_body_over_the_limit_is_told),
        T(a_streaming_body_comes_as_it_is_taken),
        T(a_header_over_the_limit_is_told),
        T(a_reset_closes_both_ends),
        T(data_of_a_stream_that_was_ended_ends_the_session),
        T(data_of_a_stream_that_was_reset_ends_the_session),
        T(data_of_a_stream_that_we_reset_is_passed_over),
        T(a_drained_session_ends_when_its_streams_have),
        T(a_flood_of_control_frames_ends_the_session),
        T(memory_that_runs_out_ends_a_session_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
