#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/mem.h"
#include "proto/http1.h"

#include <stdio.h>

typedef struct parse (*head_parser)(struct str bytes, size_t seen, struct http_head *out);

/* A copy that ends where its block ends, so that a sanitizer sees a read past what came. */
static struct parse parse_exact(head_parser parser, struct str bytes, size_t seen)
{
    static struct http_head h;
    char *copy = mem_alloc(bytes.n + 1);
    memcpy(copy + 1, bytes.p, bytes.n);
    struct parse got = parser((struct str){ copy + 1, bytes.n }, seen, &h);
    mem_free(copy);
    return got;
}

static void request(const char *text, struct http_head *h)
{
    struct parse got = http1_request(str_of(text), 0, h);
    assert_int_equal(got.state, PARSE_DONE);
    assert_int_equal(got.used, strlen(text));
}

#define ORDINARY                                                 \
    "POST /GeneralModelService/inference?x=1&y=%20 HTTP/1.1\r\n" \
    "Host: 127.0.0.1:9292\r\n"                                   \
    "content-length:  186 \t\r\n"                                \
    "Accept-Encoding: gzip, deflate\r\n"                         \
    "X-Empty:\r\n"                                               \
    "\r\n"

static void a_request_is_read(void **state)
{
    struct http_head h;
    struct parse got = http1_request(STR(ORDINARY "body"), 0, &h);
    assert_int_equal(got.state, PARSE_DONE);
    assert_int_equal(got.used, sizeof(ORDINARY) - 1);
    assert_true(str_is(h.method, "POST"));
    assert_true(str_is(h.target, "/GeneralModelService/inference?x=1&y=%20"));
    assert_true(str_is(h.path, "/GeneralModelService/inference"));
    assert_true(str_is(h.query, "x=1&y=%20"));
    assert_int_equal(h.minor, 1);
    assert_int_equal(h.header_count, 4);
    assert_true(h.keep_alive && h.has_length && !h.chunked && !h.expect_continue);
    assert_int_equal(h.content_length, 186);
    assert_true(str_is(http_header_find(&h, "ACCEPT-encoding"), "gzip, deflate"));
    struct str empty = http_header_find(&h, "x-empty");
    assert_true(empty.n == 0 && empty.p != NULL);
    assert_null(http_header_find(&h, "absent").p);
}

static void a_response_is_read(void **state)
{
    struct http_head h;
    struct str text = STR("HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: Chunked\r\n\r\n");
    assert_int_equal(http1_response(text, 0, &h).state, PARSE_DONE);
    assert_int_equal(h.code, 503);
    assert_true(h.chunked && h.keep_alive && !h.has_length);
    assert_int_equal(http1_response(STR("HTTP/1.0 204\r\n\r\n"), 0, &h).state, PARSE_DONE);
    assert_int_equal(h.code, 204);
    assert_int_equal(h.minor, 0);
    assert_false(h.keep_alive);
    assert_int_equal(http1_response(STR("HTTP/1.1 200 \r\n\r\n"), 0, &h).state, PARSE_DONE);
}

/* Byte by byte: first with what was seen before, then each length for itself. */
static void in_pieces(head_parser parser, struct str head)
{
    size_t seen = 0;
    for (size_t n = 0; n < head.n; n++) {
        assert_int_equal(parse_exact(parser, (struct str){ head.p, n }, seen).state, PARSE_MORE);
        assert_int_equal(parse_exact(parser, (struct str){ head.p, n }, 0).state, PARSE_MORE);
        seen = n;
    }
    struct parse got = parse_exact(parser, head, seen);
    assert_int_equal(got.state, PARSE_DONE);
    assert_int_equal(got.used, head.n);
}

static void heads_cut_at_each_byte_wait_for_more(void **state)
{
    in_pieces(http1_request, STR(ORDINARY));
    in_pieces(http1_request, STR("\r\nGET / HTTP/1.0\r\n\r\n"));
    in_pieces(http1_request, STR("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"));
    in_pieces(http1_response, STR("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"));
    in_pieces(http1_response, STR("HTTP/1.1 100\r\n\r\n"));
}

static struct str head_of(struct str message)
{
    const char *end = memmem(message.p, message.n, "\r\n\r\n", 4);
    return (struct str){ message.p, (size_t)(end + 4 - message.p) };
}

static void captured_messages_are_read(void **state)
{
    static const struct {
        const char *name;
        head_parser parser;
    } rows[] = {
        { "20_http_proto.http_req", http1_request },
        { "20_http_proto.http_res", http1_response },
        { "21_http_json.http_req", http1_request },
        { "21_http_json.http_res", http1_response },
        { "22_http_proto_gzip.http_req", http1_request },
        { "22_http_proto_gzip.http_res", http1_response },
        { "25_http_lod.http_req", http1_request },
        { "25_http_lod.http_res", http1_response },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char path[512];
        struct file_map *m;
        struct err e = { "" };
        struct http_head h;
        snprintf(path, sizeof(path), OAR_SOURCE_DIR "/tests/data/captures/%s.bin", rows[i].name);
        if (file_map_open(path, 1 << 20, &m, &e) != OK)
            fail_msg("%s", e.text);
        struct str bytes = { (const char *)file_map_data(m), file_map_size(m) };
        struct parse got = rows[i].parser(bytes, 0, &h);
        assert_int_equal(got.state, PARSE_DONE);
        assert_true(h.has_length && h.keep_alive);
        assert_int_equal(got.used + h.content_length, bytes.n);
        in_pieces(rows[i].parser, head_of(bytes));
        file_map_unref(m);
    }
}

static void targets_fall_into_path_and_query(void **state)
{
    static const struct {
        const char *target, *path, *query;
    } rows[] = {
        { "/", "/", "" },
        { "/a/b?c?d", "/a/b", "c?d" },
        { "/?", "/", "" },
        { "*", "*", "" },
        { "http://host:80/v2/models?x", "/v2/models", "x" },
        { "http://host", "/", "" },
        { "http://host?x", "/", "x" },
        { "/\xc3\xa4", "/\xc3\xa4", "" },
        { "//double", "//double", "" },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_head h;
        char text[256];
        snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n\r\n", rows[i].target);
        request(text, &h);
        assert_true(str_is(h.target, rows[i].target));
        assert_true(str_is(h.path, rows[i].path));
        assert_true(str_is(h.query, rows[i].query));
    }
}

static void keep_alive_follows_version_and_header(void **state)
{
    static const struct {
        const char *head;
        bool keep_alive;
    } rows[] = {
        { "GET / HTTP/1.1\r\n\r\n", true },
        { "GET / HTTP/1.0\r\n\r\n", false },
        { "GET / HTTP/1.1\r\nConnection: close\r\n\r\n", false },
        { "GET / HTTP/1.1\r\nConnection: Upgrade, CLOSE\r\n\r\n", false },
        { "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true },
        { "GET / HTTP/1.0\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", false },
        { "GET / HTTP/1.1\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false },
        { "GET / HTTP/1.1\r\nConnection: closed\r\n\r\n", true },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_head h;
        request(rows[i].head, &h);
        assert_int_equal(h.keep_alive, rows[i].keep_alive);
    }
}

static void expectations_are_noted(void **state)
{
    struct http_head h;
    request("PUT /x HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 5\r\n\r\n", &h);
    assert_true(h.expect_continue);
    request("PUT /x HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", &h);
    assert_false(h.expect_continue);
}

#define FIRST "POST /x HTTP/1.1\r\nHost: a\r\n"

static void what_could_be_read_two_ways_is_refused(void **state)
{
    static const char *const heads[] = {
        FIRST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        FIRST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        FIRST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        FIRST "Content-Length: 5, 5\r\n\r\n",
        FIRST "Content-Length: +5\r\n\r\n",
        FIRST "Content-Length: -5\r\n\r\n",
        FIRST "Content-Length: 0x5\r\n\r\n",
        FIRST "Content-Length: 5 5\r\n\r\n",
        FIRST "Content-Length:\r\n\r\n",
        FIRST "Content-Length: 18446744073709551616\r\n\r\n",
        FIRST "Content-Length : 5\r\n\r\n",
        FIRST "Transfer-Encoding : chunked\r\n\r\n",
        FIRST "Transfer-Encoding: chunked, chunked\r\n\r\n",
        FIRST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        FIRST "Transfer-Encoding: gzip, chunked\r\n\r\n",
        FIRST "Transfer-Encoding: identity\r\n\r\n",
        FIRST "Transfer-Encoding: \x0b"
              "chunked\r\n\r\n",
        FIRST "Transfer-Encoding: xchunked\r\n\r\n",
        FIRST "Transfer-Encoding:\r\n\r\n",
        "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        FIRST "Host: b\r\n\r\n",
        FIRST "X: a\r\n folded\r\n\r\n",
        FIRST " X: a\r\n\r\n",
        FIRST ": nameless\r\n\r\n",
        FIRST "no colon\r\n\r\n",
        FIRST "X: a\nContent-Length: 5\r\n\r\n",
        FIRST "X: a\rContent-Length: 5\r\n\r\n",
        FIRST "X: a\r\r\n\r\n",
        FIRST "X: a\x7f\r\n\r\n",
        FIRST "X(: a\r\n\r\n",
        "POST /x HTTP/1.1\nHost: a\r\n\r\n",
        "POST /x HTTP/1.1\r\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "\n\nGET / HTTP/1.1\r\n\r\n",
        " GET / HTTP/1.1\r\n\r\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET /  HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1 \r\n\r\n",
        "GET\t/ HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / http/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET / HTTP/1.10\r\n\r\n",
        "GET / HTTP/1.\r\n\r\n",
        "GET /a b HTTP/1.1\r\n\r\n",
        "GET /a#b HTTP/1.1\r\n\r\n",
        "GET a HTTP/1.1\r\n\r\n",
        "GET ?a HTTP/1.1\r\n\r\n",
        "GET *? HTTP/1.1\r\n\r\n",
        "CONNECT host:443 HTTP/1.1\r\n\r\n",
        "GE(T / HTTP/1.1\r\n\r\n",
        "\x16\x03\x01", /* TLS: known at its first byte */
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct parse got = parse_exact(http1_request, str_of(heads[i]), 0);
        if (got.state != PARSE_BAD || got.why != INVALID)
            fail_msg("taken: %s", heads[i]);
    }
}

static void what_is_wrong_with_a_head_is_told(void **state)
{
    static const struct {
        const char *head, *fault;
    } rows[] = {
        { "GET /\r\n\r\n", "its first line is not METHOD PATH HTTP/1.1" },
        { "GET / HTTP/1.1\nA: b\n\n", "a line ends without CR LF" },
        { "GET / HTTP/1.1\r\nA: b\n\n", "a line ends without CR LF" },
        { "GET / HTTP/1.1\r\nA\r\n\r\n", "a header's line has no colon" },
        { "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "there are two Host headers" },
        { "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
          "two Content-Lengths differ" },
    };
    static struct http_head h;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(http1_request(str_of(rows[i].head), 0, &h).state, PARSE_BAD);
        assert_string_equal(h.fault, rows[i].fault);
    }
}

static void a_zero_byte_is_refused_anywhere(void **state)
{
    char text[] = ORDINARY;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        char was = text[i];
        text[i] = '\0';
        struct parse got = parse_exact(http1_request, (struct str){ text, sizeof(text) - 1 }, 0);
        /* one that breaks the empty line leaves a head that is not at its end yet */
        assert_true(got.state == PARSE_BAD || i >= sizeof(text) - 5);
        assert_true(got.state != PARSE_DONE);
        text[i] = was;
    }
}

static void responses_that_are_none_are_refused(void **state)
{
    static const char *const heads[] = {
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "HTTP/1.x 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\nA: b\r\n\r\n",
        "PRPC",
        "x",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct parse got = parse_exact(http1_response, str_of(heads[i]), 0);
        if (got.state != PARSE_BAD || got.why != INVALID)
            fail_msg("taken: %s", heads[i]);
    }
}

static void the_same_length_twice_is_one_length(void **state)
{
    struct http_head h;
    request(FIRST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", &h);
    assert_int_equal(h.content_length, 5);
}

static struct parse with_padding(size_t bytes)
{
    struct http_head h;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_str(&b, "GET / HTTP/1.1\r\nX: ");
    while (b.len < bytes - 4)
        buf_byte(&b, 'x');
    buf_str(&b, "\r\n\r\n");
    struct parse got = http1_request(buf_view(&b), 0, &h);
    buf_deinit(&b);
    return got;
}

static void heads_are_bounded_in_bytes(void **state)
{
    struct http_head h;
    assert_int_equal(with_padding(LIMIT_HTTP_HEADER_BYTES).state, PARSE_DONE);
    assert_int_equal(with_padding(LIMIT_HTTP_HEADER_BYTES + 1).why, TOO_LARGE);
    /* one that never ends is refused at the bound */
    static char endless[LIMIT_HTTP_HEADER_BYTES];
    memset(endless, 'a', sizeof(endless));
    struct parse got = http1_request((struct str){ endless, sizeof(endless) }, 0, &h);
    assert_true(got.state == PARSE_BAD && got.why == TOO_LARGE);
    got = http1_request((struct str){ endless, sizeof(endless) - 1 }, 0, &h);
    assert_int_equal(got.state, PARSE_MORE);
}

static struct parse with_headers(int count)
{
    struct http_head h;
    struct buf b;
    buf_init(&b, 1 << 20);
    buf_str(&b, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < count; i++)
        buf_printf(&b, "x-%d: y\r\n", i);
    buf_str(&b, "\r\n");
    struct parse got = http1_request(buf_view(&b), 0, &h);
    buf_deinit(&b);
    return got;
}

static void heads_are_bounded_in_headers(void **state)
{
    assert_int_equal(with_headers(LIMIT_HTTP_HEADERS).state, PARSE_DONE);
    assert_int_equal(with_headers(LIMIT_HTTP_HEADERS + 1).state, PARSE_BAD);
    assert_int_equal(with_headers(LIMIT_HTTP_HEADERS + 1).why, TOO_LARGE);
}

static void lists_are_searched_by_token(void **state)
{
    static const struct {
        const char *value;
        bool lists;
    } rows[] = {
        { "gzip", true },
        { "deflate, GZip", true },
        { "gzip;q=0.5", true },
        { "gzip; q=0", false },
        { "gzip;Q=0.000", false },
        { "gzip;q=0.001", true },
        { "gzip;x=1;q=0", false },
        { "gzip;q=", true },
        { "xgzip", false },
        { "gzipx, deflate", false },
        { "deflate;x=gzip", false },
        { "", false },
        { ",,gzip,", true },
        { "*", false },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(http_header_lists(str_of(rows[i].value), "gzip"), rows[i].lists);
}

static void weights_are_read(void **state)
{
    static const struct {
        const char *value;
        int weight;
    } rows[] = {
        { "gzip", 1000 },      { "zstd, gzip;q=0.25", 250 }, { "gzip; q=0.001", 1 },
        { "gzip;q=1", 1000 },  { "gzip;q=1.000", 1000 },     { "gzip;q=1.5", 1000 },
        { "gzip;q=0", 0 },     { "gzip;q=.5", 1000 },        { "gzip;q=0.12345", 123 },
        { "gzip;q=-1", 1000 }, { "gzip;q=9", 1000 },         { "zstd", -1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(http_header_weight(str_of(rows[i].value), "gzip"), rows[i].weight);
}

/* Chunks */

static struct parse unwrap(const char *text, size_t piece, struct buf *body)
{
    struct http_chunked c = { 0 };
    struct parse got = parse_more();
    size_t n = strlen(text), taken = 0;
    buf_clear(body);
    while (taken < n && got.state == PARSE_MORE) {
        size_t part = n - taken < piece ? n - taken : piece;
        got = http1_chunked(&c, (struct str){ text + taken, part }, body);
        assert_true(got.state != PARSE_MORE || got.used == part);
        taken += got.used;
    }
    got.used = taken;
    return got;
}

#define CHUNKS                                                               \
    "4\r\nWiki\r\n06;name=\"v\"; x\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n" \
    "000\r\nTrailer: x\r\nAnother:\r\n\r\n"

static void chunks_are_unwrapped_however_they_are_cut(void **state)
{
    struct buf body;
    buf_init(&body, 1 << 16);
    for (size_t piece = 1; piece < sizeof(CHUNKS "next"); piece++) {
        struct parse got = unwrap(CHUNKS "next", piece, &body);
        assert_int_equal(got.state, PARSE_DONE);
        assert_int_equal(got.used, sizeof(CHUNKS) - 1);
        assert_true(str_is(buf_view(&body), "Wikipedia in \r\n\r\nchunks."));
    }
    assert_int_equal(unwrap("0\r\n\r\n", 1, &body).state, PARSE_DONE);
    assert_int_equal(body.len, 0);
    buf_deinit(&body);
}

static void chunks_cut_short_wait_for_more(void **state)
{
    struct buf body;
    char text[] = CHUNKS;
    buf_init(&body, 1 << 16);
    for (size_t n = sizeof(text) - 2; n > 0; n--) {
        text[n] = '\0';
        assert_int_equal(unwrap(text, sizeof(text), &body).state, PARSE_MORE);
    }
    buf_deinit(&body);
}

static void damaged_chunks_are_refused(void **state)
{
    static const char *const texts[] = {
        "\r\n",
        "g\r\n",
        " 4\r\nWiki\r\n0\r\n\r\n",
        "4 \r\nWiki\r\n0\r\n\r\n",
        "+4\r\nWiki\r\n0\r\n\r\n",
        "-1\r\n",
        "0x4\r\nWiki\r\n0\r\n\r\n",
        "4\nWiki\r\n0\r\n\r\n",
        "4\r\r\n",
        "4\rWiki",
        "4\r\nWikipedia\r\n0\r\n\r\n",
        "4\r\nWiki0\r\n\r\n",
        "4\r\nWiki\n0\r\n\r\n",
        "4;a\nWiki\r\n0\r\n\r\n",
        "4;\x01\r\nWiki\r\n0\r\n\r\n",
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\x02\r\n\r\n",
        "0\r\n\rX",
        "0\r\nA: b\rX",
        "10000000000000004\r\nWiki\r\n0\r\n\r\n", /* 2^64 + 4 */
    };
    struct buf body;
    buf_init(&body, 1 << 16);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        for (size_t piece = 1; piece < 40; piece += 13) {
            struct parse got = unwrap(texts[i], piece, &body);
            if (got.state != PARSE_BAD || got.why != INVALID)
                fail_msg("taken: %s", texts[i]);
        }
    buf_deinit(&body);
}

static void damage_stays_damage(void **state)
{
    struct http_chunked c = { 0 };
    struct buf body;
    buf_init(&body, 100);
    assert_int_equal(http1_chunked(&c, STR("x"), &body).state, PARSE_BAD);
    assert_int_equal(http1_chunked(&c, STR("0\r\n\r\n"), &body).state, PARSE_BAD);
    buf_deinit(&body);
}

static void a_body_above_its_bound_is_refused_by_the_size_line(void **state)
{
    struct buf body;
    buf_init(&body, 10);
    assert_int_equal(unwrap("b\r\n", 1, &body).why, TOO_LARGE);
    assert_int_equal(unwrap("ffffffffffffffff\r\n", 1, &body).why, TOO_LARGE);
    assert_int_equal(unwrap("6\r\n012345\r\n5\r\n", 99, &body).why, TOO_LARGE);
    assert_int_equal(unwrap("6\r\n012345\r\n4\r\n6789\r\n0\r\n\r\n", 99, &body).state, PARSE_DONE);
    assert_int_equal(unwrap("a\r\n", 99, &body).state, PARSE_MORE);
    buf_deinit(&body);
}

static void lines_around_chunks_are_bounded(void **state)
{
    struct buf text, body;
    struct http_chunked c = { 0 };
    buf_init(&text, 1 << 20);
    buf_init(&body, 1 << 16);
    buf_str(&text, "4;");
    for (int i = 0; i < 10000; i++)
        buf_byte(&text, 'x');
    assert_int_equal(http1_chunked(&c, buf_view(&text), &body).why, TOO_LARGE);
    buf_clear(&text);
    buf_str(&text, "0\r\n");
    for (int i = 0; i < 10000; i++)
        buf_str(&text, "a:b\r\n");
    c = (struct http_chunked){ 0 };
    assert_int_equal(http1_chunked(&c, buf_view(&text), &body).why, TOO_LARGE);
    buf_deinit(&text);
    buf_deinit(&body);
}

/* Replies */

static void reply(const struct http_reply *r, const char *wanted)
{
    struct buf b;
    buf_init(&b, 4096);
    http1_put_reply_head(&b, r);
    assert_int_equal(buf_check(&b), OK);
    buf_byte(&b, '\0');
    assert_string_equal((const char *)b.data, wanted);
    buf_deinit(&b);
}

static void replies_are_written(void **state)
{
    reply(&(struct http_reply){ .code = 200,
                                .content_type = "application/json",
                                .encoding = "gzip",
                                .extra = "X-A: b\r\nX-C: d\r\n",
                                .body_bytes = 1234567890,
                                .keep_alive = true },
          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
          "Content-Length: 1234567890\r\nX-A: b\r\nX-C: d\r\n\r\n");
    reply(&(struct http_reply){ .code = 404, .content_type = "text/plain" },
          "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n"
          "Connection: close\r\n\r\n");
    reply(&(struct http_reply){ .code = 204, .keep_alive = true, .http10 = true },
          "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n");
    reply(&(struct http_reply){ .code = 200, .http10 = true },
          "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

static void a_reply_is_read_back(void **state)
{
    struct http_head h;
    struct buf b;
    buf_init(&b, 4096);
    http1_put_reply_head(&b, &(struct http_reply){ .code = 429, .body_bytes = 10 });
    assert_int_equal(http1_response(buf_view(&b), 0, &h).state, PARSE_DONE);
    assert_int_equal(h.code, 429);
    assert_int_equal(h.content_length, 10);
    assert_false(h.keep_alive);
    buf_deinit(&b);
}

static void every_status_has_a_reason(void **state)
{
#define X(name, number, http, grpc, brpc, text) \
    assert_string_not_equal(http_reason(http), "Unknown");
    STATUS_MAP(X)
#undef X
    assert_string_equal(http_reason(299), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_read),
        cmocka_unit_test(a_response_is_read),
        cmocka_unit_test(heads_cut_at_each_byte_wait_for_more),
        cmocka_unit_test(captured_messages_are_read),
        cmocka_unit_test(targets_fall_into_path_and_query),
        cmocka_unit_test(keep_alive_follows_version_and_header),
        cmocka_unit_test(expectations_are_noted),
        cmocka_unit_test(what_could_be_read_two_ways_is_refused),
        cmocka_unit_test(a_zero_byte_is_refused_anywhere),
        cmocka_unit_test(responses_that_are_none_are_refused),
        cmocka_unit_test(the_same_length_twice_is_one_length),
        cmocka_unit_test(heads_are_bounded_in_bytes),
        cmocka_unit_test(heads_are_bounded_in_headers),
        cmocka_unit_test(lists_are_searched_by_token),
        cmocka_unit_test(weights_are_read),
        cmocka_unit_test(what_is_wrong_with_a_head_is_told),
        cmocka_unit_test(chunks_are_unwrapped_however_they_are_cut),
        cmocka_unit_test(chunks_cut_short_wait_for_more),
        cmocka_unit_test(damaged_chunks_are_refused),
        cmocka_unit_test(damage_stays_damage),
        cmocka_unit_test(a_body_above_its_bound_is_refused_by_the_size_line),
        cmocka_unit_test(lines_around_chunks_are_bounded),
        cmocka_unit_test(replies_are_written),
        cmocka_unit_test(a_reply_is_read_back),
        cmocka_unit_test(every_status_has_a_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
