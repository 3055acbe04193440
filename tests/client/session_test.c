/* The client's side of each protocol: what it asks is what the server's side reads, and answers are found whole, byte by
 * byte, and among others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "client/session.h"
#include "proto/baidu_std.h"
#include "proto/general_model.h"
#include "proto/grpc.h"
#include "proto/h2.h"
#include "proto/oip.h"
#include "proto/tfs.h"

#include <stdio.h>
#include <string.h>

static const float row[3] = { 1, 2, 3 };
static const float price[1] = { 18.5f };

static struct infer_request request(void)
{
    static struct named_tensor feed;
    feed = (struct named_tensor){ STR("x"), STR("x"), { DTYPE_F32, SHAPE(1, 3), row, { 0 } } };
    return (struct infer_request){ .feed = &feed, .feed_count = 1 };
}

static void put_reply(const char *protocol, struct buf *out)
{
    struct named_tensor t = { STR("fc"), STR("price"), { DTYPE_F32, SHAPE(1, 1), price, { 0 } } };
    struct infer_output o = { STR("op"), &t, 1 };
    struct infer_reply r = { .output = &o, .output_count = 1 };
    if (strcmp(protocol, "tfs") == 0)
        assert_int_equal(tfs_reply_to_json(&(struct tfs_form){ .rows = false }, &r, out, NULL), OK);
    else
        (strcmp(protocol, "http-json") == 0 ? general_reply_to_json : general_reply_to_pb)(&r, out);
}

/* The same in the Open Inference Protocol; where its JSON ends, 0 where nothing follows it. */
static size_t put_oip_reply(bool is_binary, struct buf *out)
{
    const struct oip_model m = { .name = STR("m"), .version = STR("1") };
    const struct oip_output o = { .name = STR("price"),
                                  .dtype = DTYPE_F32,
                                  .shape = SHAPE(1, 1),
                                  .data = price,
                                  .bytes = 4,
                                  .binary = is_binary };
    size_t json_bytes;
    bool binary;
    oip_reply_to_json(&(struct oip_reply){ .model = &m, .output = &o, .output_count = 1 }, out,
                      &json_bytes, &binary);
    return binary ? json_bytes : 0;
}

static bool is_oip(const struct session *s)
{
    return str_starts(str_of(s->protocol->name), "kserve");
}

/* A whole answer, as a server frames it. */
static void put_answer(const struct session *s, struct buf *out)
{
    struct buf body;
    buf_init(&body, 1 << 20);
    char extra[64] = "";
    if (is_oip(s)) {
        size_t json_bytes = put_oip_reply(strcmp(s->protocol->name, "kserve-http") == 0, &body);
        if (json_bytes > 0)
            snprintf(extra, sizeof(extra), "Inference-Header-Content-Length: %zu\r\n", json_bytes);
    } else {
        put_reply(s->protocol->name, &body);
    }
    if (strcmp(s->protocol->name, "brpc") == 0) {
        struct baidu_meta meta = { .is_response = true, .correlation_id = (int64_t)s->id };
        baidu_std_put_head(out, &meta, body.len);
    } else {
        bool json = strcmp(s->protocol->name, "http-json") == 0;
        http1_put_reply_head(out, &(struct http_reply){ .code = 200,
                                                        .content_type = json ? "application/json"
                                                                             : "application/proto",
                                                        .extra = extra,
                                                        .body_bytes = body.len,
                                                        .keep_alive = true });
    }
    buf_append(out, body.data, body.len);
    buf_deinit(&body);
}

static void check_answer(const struct answer *a)
{
    struct arena arena;
    struct buf inflated;
    struct infer_reply r;
    struct err e = { "" };
    arena_init(&arena, 0);
    buf_init(&inflated, 1 << 20);
    assert_int_equal(session_reply(a, &arena, &inflated, &r, &e), OK);
    assert_int_equal(r.output_count, 1);
    assert_true(str_is(r.output[0].tensor[0].alias, "price") ||
                str_is(r.output[0].tensor[0].alias, "outputs"));
    const struct tensor *t = &r.output[0].tensor[0].tensor;
    assert_true(t->dtype == DTYPE_F32 ? *(const float *)t->data == 18.5f
                                      : *(const double *)t->data == 18.5);
    buf_deinit(&inflated);
    arena_deinit(&arena);
}

/* Those over HTTP/2 come last, and have a test of their own: they want to be answered before they have an answer. */
static bool speaks_alone(size_t p)
{
    return session_protocol_at(p) != NULL && session_protocol_at(p)->path == NULL;
}

struct fixture {
    struct session s;
    struct buf out, scratch, answer;
};

static void begin(struct fixture *f, size_t protocol)
{
    struct infer_request r = request();
    session_init(&f->s, session_protocol_at(protocol), "host:1");
    buf_init(&f->out, 1 << 20);
    buf_init(&f->scratch, 1 << 20);
    buf_init(&f->answer, 1 << 20);
    session_ask(&f->s, &r, &f->out, &f->scratch);
    assert_int_equal(buf_check(&f->out), OK);
    put_answer(&f->s, &f->answer);
}

static void end(struct fixture *f)
{
    session_deinit(&f->s);
    buf_deinit(&f->out);
    buf_deinit(&f->scratch);
    buf_deinit(&f->answer);
}

static void read_oip(const struct http_head *head, struct str body, struct arena *a,
                     struct infer_request *out)
{
    const struct oip_model m = { .name = STR("m") };
    struct oip_request r;
    uint64_t json = body.n;
    str_to_u64(http_header_find(head, "Inference-Header-Content-Length"), &json);
    assert_true(json <= body.n);
    struct str text = { body.p, (size_t)json }, tail = { body.p + json, body.n - (size_t)json };
    assert_int_equal(oip_request_from_json(text, tail, &m, a, &r, NULL), OK);
    out->feed = arena_zalloc(a, sizeof(*out->feed));
    out->feed_count = r.input_count;
    assert_int_equal(oip_input_tensor(&r.input[0], a, &out->feed[0].tensor, NULL), OK);
}

static void read_body(const struct session *s, const struct http_head *head, struct str body,
                      struct arena *a, struct infer_request *out)
{
    static const struct call_port x = {
        { "x", 1 }, { "x", 1 }, DTYPE_F32, false, { 2, { -1, ARRAY_LEN(row) } }
    };
    *out = (struct infer_request){ 0 };
    if (is_oip(s)) {
        read_oip(head, body, a, out);
    } else if (strcmp(s->protocol->name, "tfs") == 0) {
        struct tfs_form form = { TFS_PREDICT, false, 0 };
        assert_int_equal(
            tfs_request_from_json(body, &(struct call_ports){ &x, 1 }, a, &form, out, NULL), OK);
    } else {
        bool json = strcmp(s->protocol->name, "http-json") == 0;
        assert_int_equal(
            (json ? general_request_from_json : general_request_from_pb)(body, a, out, NULL), OK);
    }
}

static void what_is_asked_is_what_servers_read(void **state)
{
    for (size_t p = 0; speaks_alone(p); p++) {
        struct fixture f;
        struct arena a;
        struct infer_request got;
        begin(&f, p);
        arena_init(&a, 0);
        struct str bytes = buf_view(&f.out);
        if (strcmp(f.s.protocol->name, "brpc") == 0) {
            struct baidu_frame frame;
            assert_int_equal(baidu_std_parse(bytes, 1 << 20, &frame).state, PARSE_DONE);
            assert_true(str_is(frame.meta.service, GENERAL_MODEL_SERVICE));
            assert_int_equal(general_request_from_pb(frame.payload, &a, &got, NULL), OK);
        } else {
            struct http_head head;
            struct parse parse = http1_request(bytes, 0, &head);
            assert_int_equal(parse.state, PARSE_DONE);
            struct str body = { bytes.p + parse.used, bytes.n - parse.used };
            assert_int_equal(head.content_length, body.n);
            read_body(&f.s, &head, body, &a, &got);
        }
        assert_int_equal(got.feed_count, 1);
        assert_memory_equal(got.feed[0].tensor.data, row, sizeof(row));
        arena_deinit(&a);
        end(&f);
    }
}

static void answers_come_whole_or_byte_by_byte(void **state)
{
    for (size_t p = 0; speaks_alone(p); p++) {
        struct fixture f;
        struct answer a;
        begin(&f, p);
        assert_int_equal(session_cut(&f.s, buf_view(&f.answer), &a).state, PARSE_DONE);
        check_answer(&a);
        session_again(&f.s, buf_view(&f.out));
        for (size_t n = 1; n < f.answer.len; n++) {
            struct str part = { (char *)f.answer.data, n };
            assert_int_equal(session_cut(&f.s, part, &a).state, PARSE_MORE);
        }
        struct parse whole = session_cut(&f.s, buf_view(&f.answer), &a);
        assert_int_equal(whole.state, PARSE_DONE);
        assert_int_equal(whole.used, f.answer.len);
        check_answer(&a);
        end(&f);
    }
}

static void frames_of_others_are_stepped_over(void **state)
{
    struct fixture f;
    struct answer a;
    struct buf both;
    begin(&f, 0);
    assert_string_equal(f.s.protocol->name, "brpc");
    buf_init(&both, 1 << 20);
    struct baidu_meta other = { .is_response = true, .correlation_id = 777 };
    baidu_std_put_head(&both, &other, 0);
    buf_append(&both, f.answer.data, f.answer.len);
    assert_int_equal(session_cut(&f.s, buf_view(&both), &a).state, PARSE_DONE);
    check_answer(&a);
    buf_deinit(&both);
    end(&f);
}

static void refusals_keep_their_words(void **state)
{
    struct fixture f;
    struct answer a;
    struct arena arena;
    struct infer_reply r;
    struct err e = { "" };
    begin(&f, 0);
    buf_clear(&f.answer);
    struct baidu_meta meta = { .is_response = true,
                               .error_code = 1003,
                               .error_text = STR("[127.0.0.1:9292][E1003]feed 'y' is no input"),
                               .correlation_id = (int64_t)f.s.id };
    baidu_std_put_head(&f.answer, &meta, 0);
    assert_int_equal(session_cut(&f.s, buf_view(&f.answer), &a).state, PARSE_DONE);
    arena_init(&arena, 0);
    assert_int_equal(session_reply(&a, &arena, &f.scratch, &r, &e), INVALID);
    assert_string_equal(
        e.text, "the server refused with code 1003 (invalid argument): feed 'y' is no input");
    arena_deinit(&arena);
    end(&f);
}

/* JSON's error members are told as what they say. */
static void refusals_in_json_are_unpacked(void **state)
{
    static const struct {
        const char *body, *words;
    } rows[] = {
        { "{\"error\":\"no such model\"}", "(not found): no such model" },
        { "{\"error\":5}", "(not found): {\"error\":5}" },
        { "{\"error\":", "(not found): {\"error\":" },
        { "gone", "(not found): gone" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct fixture f;
        struct answer a;
        struct arena arena;
        struct infer_reply r;
        struct err e = { "" };
        begin(&f, 1);
        buf_clear(&f.answer);
        http1_put_reply_head(&f.answer, &(struct http_reply){ .code = 404,
                                                              .content_type = "application/json",
                                                              .extra = "",
                                                              .body_bytes = strlen(rows[i].body) });
        buf_str(&f.answer, rows[i].body);
        assert_int_equal(session_cut(&f.s, buf_view(&f.answer), &a).state, PARSE_DONE);
        arena_init(&arena, 0);
        assert_int_equal(session_reply(&a, &arena, &f.scratch, &r, &e), NOT_FOUND);
        assert_non_null(strstr(e.text, rows[i].words));
        arena_deinit(&arena);
        end(&f);
    }
}

static void bytes_that_are_no_answer_are_bad(void **state)
{
    for (size_t p = 0; speaks_alone(p); p++) {
        struct fixture f;
        struct answer a;
        begin(&f, p);
        assert_int_equal(session_cut(&f.s, STR("SSH-2.0-OpenSSH_9.2\r\n\r\n"), &a).state,
                         PARSE_BAD);
        end(&f);
    }
}

/* ---- gRPC, against a server's session ---- */

struct grpc_server {
    struct h2 *h2;
    struct h2_pool pool;
    struct buf out;
    bool fault;
    const char *protocol;
};

static void on_head(void *arg, struct h2_stream *s)
{
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t error)
{
}

static void on_request(void *arg, struct h2_stream *s)
{
    struct grpc_server *server = arg;
    const struct http_header head[] = { { STR(":status"), STR("200") } };
    const struct http_header good[] = { { STR("grpc-status"), STR("0") } };
    const struct http_header bad[] = { { STR(":status"), STR("200") },
                                       { STR("grpc-status"), STR("3") },
                                       { STR("grpc-message"), STR("no input%20y") } };
    struct buf body;
    uint8_t prefix[GRPC_HEAD_BYTES];
    if (server->fault) {
        h2_answer(s, bad, ARRAY_LEN(bad), true);
        return;
    }
    buf_init(&body, 1 << 20);
    put_reply(server->protocol, &body);
    grpc_put_head(prefix, body.len, false);
    h2_answer(s, head, 1, false);
    h2_write(s, (struct str){ (char *)prefix, sizeof(prefix) });
    h2_write(s, buf_view(&body));
    h2_finish(s, good, 1);
    buf_deinit(&body);
}

static struct parse converse(struct fixture *f, struct grpc_server *server, size_t piece,
                             struct answer *a)
{
    buf_clear(&f->answer);
    session_again(&f->s, buf_view(&f->out));
    for (;;) {
        struct str due = session_output(&f->s, buf_view(&f->out));
        assert_int_equal(h2_feed(server->h2, due), OK);
        session_sent(&f->s, due.n);
        buf_clear(&server->out);
        assert_int_equal(h2_pump(server->h2, &server->out, SIZE_MAX / 4), OK);
        assert_true(server->out.len > 0 || due.n > 0);
        for (size_t at = 0; at < server->out.len; at += piece) {
            size_t n = server->out.len - at < piece ? server->out.len - at : piece;
            buf_append(&f->answer, server->out.data + at, n);
            struct parse p = session_cut(&f->s, buf_view(&f->answer), a);
            if (p.state != PARSE_MORE)
                return p;
        }
    }
}

static void calls_of_grpc_are_answered(void **state)
{
    static const struct h2_events events = { on_head, on_head, on_request, on_closed, NULL };
    for (size_t p = 0; session_protocol_at(p) != NULL; p++) {
        struct grpc_server server = { .protocol = session_protocol_at(p)->name };
        struct h2_options opt = { &events, &server, &server.pool, false, 0, 1 << 20, 1 << 20, 8 };
        struct fixture f;
        struct answer a;
        if (speaks_alone(p))
            continue;
        h2_pool_init(&server.pool);
        buf_init(&server.out, 1 << 20);
        assert_int_equal(h2_new(&opt, &server.h2), OK);
        begin(&f, p);
        session_connected(&f.s);
        for (size_t piece = 1; piece < 300; piece += 98) { /* calls one after another */
            assert_int_equal(converse(&f, &server, piece, &a).state, PARSE_DONE);
            assert_int_equal(a.refused, OK);
            if (strcmp(server.protocol, "grpc") == 0)
                check_answer(&a);
        }
        server.fault = true;
        assert_int_equal(converse(&f, &server, 7, &a).state, PARSE_DONE);
        assert_int_equal(a.refused, INVALID);
        assert_true(str_is(a.words, "no input y") && a.keep_alive);
        end(&f);
        h2_free(server.h2);
        h2_pool_deinit(&server.pool);
        buf_deinit(&server.out);
    }
}

/* Fails each allocation in turn: what looks like a request is one, to the last byte. */
static void a_request_without_memory_is_never_cut_short(void **state)
{
    static float image[8192]; /* large enough to stay where it lies */
    struct named_tensor feed = { STR("x"), STR("x"), { DTYPE_F32, SHAPE(1, 8192), image, { 0 } } };
    struct infer_request r = { .feed = &feed, .feed_count = 1 };
    for (size_t p = 0; session_protocol_at(p) != NULL; p++) {
        size_t whole = 0;
        for (long n = 0;; n++) { /* 0: none fails */
            struct fixture f;
            session_init(&f.s, session_protocol_at(p), "host:1");
            buf_init(&f.out, 1 << 20);
            buf_init(&f.scratch, 1 << 20);
            mem_fail_nth(n);
            session_ask(&f.s, &r, &f.out, &f.scratch);
            bool over = n > 0 && mem_fail_left() > 0;
            mem_fail_nth(0);
            bool fine = buf_check(&f.out) == OK && buf_check(&f.scratch) == OK;
            if (n == 0)
                whole = f.out.len;
            if (fine)
                assert_int_equal(f.out.len, whole);
            else
                assert_true(n > 0);
            session_deinit(&f.s);
            buf_deinit(&f.out);
            buf_deinit(&f.scratch);
            if (over)
                break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_grpc_are_answered),
        cmocka_unit_test(what_is_asked_is_what_servers_read),
        cmocka_unit_test(answers_come_whole_or_byte_by_byte),
        cmocka_unit_test(frames_of_others_are_stepped_over),
        cmocka_unit_test(refusals_keep_their_words),
        cmocka_unit_test(refusals_in_json_are_unpacked),
        cmocka_unit_test(bytes_that_are_no_answer_are_bad),
        cmocka_unit_test(a_request_without_memory_is_never_cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
