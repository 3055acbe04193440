#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/baidu_std.h"

#include <dirent.h>
#include <stdio.h>

#define MAX_BODY ((size_t)64 << 20)
#define CAPTURES OAR_SOURCE_DIR "/tests/data/captures"

#define GENERAL_SERVICE "baidu.paddle_serving.predictor.general_model.GeneralModelService"

static struct file_map *open_capture(const char *name, struct str *bytes)
{
    char path[512];
    struct file_map *m;
    struct err e = { "" };
    snprintf(path, sizeof(path), CAPTURES "/%s.bin", name);
    if (file_map_open(path, 1 << 20, &m, &e) != OK)
        fail_msg("%s", e.text);
    *bytes = (struct str){ (const char *)file_map_data(m), file_map_size(m) };
    return m;
}

/* A copy of just n bytes on the heap, so that a sanitizer sees a read past what came. */
static struct parse parse_exact(struct str bytes, size_t max_body, struct baidu_frame *out)
{
    char *copy = mem_alloc(bytes.n + 1);
    char *at = copy + 1; /* ends where the block ends */
    memcpy(at, bytes.p, bytes.n);
    struct parse got = baidu_std_parse((struct str){ at, bytes.n }, max_body, out);
    mem_free(copy);
    return got;
}

static void a_captured_request_is_read(void **state)
{
    struct str bytes;
    struct file_map *m = open_capture("01_single.brpc_req", &bytes);
    struct baidu_frame f;
    struct parse got = baidu_std_parse(bytes, MAX_BODY, &f);
    assert_int_equal(got.state, PARSE_DONE);
    assert_int_equal(got.used, bytes.n);
    assert_true(f.meta.is_request);
    assert_false(f.meta.is_response);
    assert_true(str_is(f.meta.service, GENERAL_SERVICE));
    assert_true(str_is(f.meta.method, "inference"));
    assert_int_equal(f.meta.log_id, 0);
    assert_int_equal(f.meta.compress_type, 0);
    assert_int_equal(f.meta.correlation_id, 8589934594);
    assert_int_equal(f.payload.n, 75);
    assert_int_equal(f.attachment.n, 0);
    file_map_unref(m);
}

static void a_captured_error_is_read(void **state)
{
    struct str bytes;
    struct file_map *m = open_capture("12_rpc_error.brpc_res", &bytes);
    struct baidu_frame f;
    assert_int_equal(baidu_std_parse(bytes, MAX_BODY, &f).state, PARSE_DONE);
    assert_true(f.meta.is_response);
    assert_int_equal(f.meta.error_code, 2001);
    assert_true(str_is(f.meta.error_text, "injected"));
    assert_int_equal(f.payload.n, 0);
    file_map_unref(m);
}

static void one_byte_at_a_time(struct str bytes)
{
    struct baidu_frame f;
    for (size_t n = 0; n < bytes.n; n++) {
        struct str part = { bytes.p, n };
        assert_int_equal(parse_exact(part, MAX_BODY, &f).state, PARSE_MORE);
        assert_int_equal(baidu_std_need(part), n < BAIDU_STD_HEAD_BYTES ? 0 : bytes.n);
    }
    struct parse got = parse_exact(bytes, MAX_BODY, &f);
    assert_int_equal(got.state, PARSE_DONE);
    assert_int_equal(got.used, bytes.n);
    assert_int_equal(baidu_std_need(bytes), bytes.n);
}

/* The frame's head made anew from what was read. A capture that spells out zeros is longer by
 * those. */
static void round_trip(struct str bytes, bool to_the_byte)
{
    struct baidu_frame f, again;
    struct buf b;
    buf_init(&b, 1 << 20);
    assert_int_equal(baidu_std_parse(bytes, MAX_BODY, &f).state, PARSE_DONE);
    baidu_std_put_head(&b, &f.meta, f.payload.n);
    buf_append(&b, f.payload.p, f.payload.n);
    buf_append(&b, f.attachment.p, f.attachment.n);
    assert_int_equal(buf_check(&b), OK);
    struct parse got = baidu_std_parse(buf_view(&b), MAX_BODY, &again);
    assert_int_equal(got.state, PARSE_DONE);
    assert_int_equal(got.used, b.len);
    assert_true(str_eq(again.meta.service, f.meta.service));
    assert_true(str_eq(again.meta.error_text, f.meta.error_text));
    assert_int_equal(again.meta.error_code, f.meta.error_code);
    assert_int_equal(again.meta.correlation_id, f.meta.correlation_id);
    assert_true(str_eq(again.payload, f.payload));
    if (to_the_byte)
        assert_true(str_eq(buf_view(&b), bytes));
    buf_deinit(&b);
}

static void every_capture_whole_and_in_pieces(void **state)
{
    DIR *dir = opendir(CAPTURES);
    int frames = 0;
    assert_non_null(dir);
    for (struct dirent *d; (d = readdir(dir)) != NULL;) {
        struct str name = str_of(d->d_name), bytes;
        char stem[256];
        if (strstr(d->d_name, ".brpc_re") == NULL || !str_ends(name, ".bin"))
            continue;
        snprintf(stem, sizeof(stem), "%.*s", (int)(name.n - 4), d->d_name);
        struct file_map *m = open_capture(stem, &bytes);
        one_byte_at_a_time(bytes);
        round_trip(bytes, strstr(stem, "_res") != NULL);
        file_map_unref(m);
        frames++;
    }
    closedir(dir);
    assert_true(frames >= 20);
}

static void a_frame_is_cut_from_what_follows(void **state)
{
    struct str bytes;
    struct file_map *m = open_capture("01_single.brpc_req", &bytes);
    struct baidu_frame f;
    struct buf two;
    buf_init(&two, 1 << 20);
    buf_append(&two, bytes.p, bytes.n);
    buf_append(&two, bytes.p, bytes.n);
    struct parse got = baidu_std_parse(buf_view(&two), MAX_BODY, &f);
    assert_int_equal(got.state, PARSE_DONE);
    assert_int_equal(got.used, bytes.n);
    assert_int_equal(baidu_std_need(buf_view(&two)), bytes.n);
    buf_deinit(&two);
    file_map_unref(m);
}

static void wrong_magic_is_known_at_its_first_byte(void **state)
{
    static const char *const wrong[] = {
        "Q", "PQ", "PRQ", "PRPD", "PRI * HTTP/2.0\r\n\r\nSM", "PUT"
    };
    struct baidu_frame f;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct parse got = parse_exact(str_of(wrong[i]), MAX_BODY, &f);
        assert_int_equal(got.state, PARSE_BAD);
        assert_int_equal(got.why, INVALID);
    }
}

struct head_row {
    uint32_t body, meta;
    enum parse_state state;
    status why;
};

static void head_of(uint8_t at[BAIDU_STD_HEAD_BYTES], uint32_t body, uint32_t meta)
{
    memcpy(at, "PRPC", 4);
    for (int i = 0; i < 4; i++) {
        at[4 + i] = (uint8_t)(body >> (24 - 8 * i));
        at[8 + i] = (uint8_t)(meta >> (24 - 8 * i));
    }
}

static void hostile_sizes_are_refused_by_the_head_alone(void **state)
{
    static const struct head_row rows[] = {
        { 10, 11, PARSE_BAD, INVALID },
        { 0, 1, PARSE_BAD, INVALID },
        { 0, UINT32_MAX, PARSE_BAD, INVALID },
        { UINT32_MAX, UINT32_MAX, PARSE_BAD, TOO_LARGE },
        { UINT32_MAX, 0, PARSE_BAD, TOO_LARGE },
        { MAX_BODY + 1, 10, PARSE_BAD, TOO_LARGE },
        { MAX_BODY, LIMIT_RPC_META_BYTES + 1, PARSE_BAD, TOO_LARGE },
        { MAX_BODY, LIMIT_RPC_META_BYTES, PARSE_MORE, OK },
        { 0, 0, PARSE_DONE, OK },
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t head[BAIDU_STD_HEAD_BYTES];
        struct baidu_frame f;
        head_of(head, rows[i].body, rows[i].meta);
        struct parse got = parse_exact((struct str){ (char *)head, sizeof(head) }, MAX_BODY, &f);
        assert_int_equal(got.state, rows[i].state);
        if (got.state == PARSE_BAD)
            assert_int_equal(got.why, rows[i].why);
    }
}

/* One frame whose meta is these bytes, and 8 bytes after it. */
static struct parse with_meta(const char *meta, size_t n, struct baidu_frame *f)
{
    char frame[256];
    head_of((uint8_t *)frame, (uint32_t)n + 8, (uint32_t)n);
    memcpy(frame + BAIDU_STD_HEAD_BYTES, meta, n);
    memset(frame + BAIDU_STD_HEAD_BYTES + n, 'x', 8);
    struct parse got =
        parse_exact((struct str){ frame, BAIDU_STD_HEAD_BYTES + n + 8 }, MAX_BODY, f);
    f->payload.p = f->attachment.p = NULL; /* of a copy that is gone */
    return got;
}
#define WITH_META(literal, f) with_meta((literal), sizeof(literal) - 1, (f))

static void attachments_are_cut_off_the_end(void **state)
{
    struct baidu_frame f;
    assert_int_equal(WITH_META("\x0a\x00\x20\x01\x28\x03", &f).state, PARSE_DONE);
    assert_int_equal(f.payload.n, 5);
    assert_int_equal(f.attachment.n, 3);
    assert_int_equal(WITH_META("\x28\x08", &f).state, PARSE_DONE);
    assert_int_equal(f.payload.n, 0);
    assert_int_equal(WITH_META("\x28\x09", &f).state, PARSE_BAD);
    /* -1, and 2^31 which an int32 cannot hold either */
    assert_int_equal(WITH_META("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", &f).state,
                     PARSE_BAD);
    assert_int_equal(WITH_META("\x28\x80\x80\x80\x80\x08", &f).state, PARSE_BAD);
}

static void damaged_meta_is_refused(void **state)
{
    struct baidu_frame f;
    assert_int_equal(WITH_META("\x0a\x7f", &f).state, PARSE_BAD);         /* longer than the meta */
    assert_int_equal(WITH_META("\x0a\x02\x0a\x05", &f).state, PARSE_BAD); /* service cut off */
    assert_int_equal(WITH_META("\x12\x02\x12\x05", &f).state, PARSE_BAD);
    assert_int_equal(WITH_META("\x08\x01", &f).state, PARSE_BAD); /* request as a number */
    assert_int_equal(WITH_META("\x20", &f).state, PARSE_BAD);
    assert_int_equal(WITH_META("\x0b\x0c", &f).state, PARSE_BAD); /* groups */
}

static void unknown_fields_are_stepped_over(void **state)
{
    struct baidu_frame f;
    struct parse got = WITH_META("\x0a\x0b\x0a\x01S\x12\x01M\x20\x09\x40\xf4\x03"
                                 "\x4a\x02zz\x20\x07\x55\x01\x02\x03\x04",
                                 &f);
    assert_int_equal(got.state, PARSE_DONE);
    assert_int_equal(f.meta.service.n, 1);
    assert_int_equal(f.meta.method.n, 1);
    assert_int_equal(f.meta.timeout_ms, 500);
    assert_int_equal(f.meta.correlation_id, 7);
}

static void what_is_written_is_read_back(void **state)
{
    struct baidu_meta m = { .is_response = true,
                            .error_code = -5000,
                            .error_text = STR("[127.0.0.1:9292][E2001]no"),
                            .compress_type = COMPRESSION_GZIP,
                            .correlation_id = -3,
                            .variant = STR("tomorrow"),
                            .attachment_bytes = 4 };
    struct baidu_frame f;
    struct buf b;
    buf_init(&b, 4096);
    baidu_std_put_head(&b, &m, 3);
    buf_str(&b, "abcdefg");
    assert_int_equal(baidu_std_parse(buf_view(&b), 4096, &f).state, PARSE_DONE);
    assert_int_equal(f.meta.error_code, -5000);
    assert_true(str_eq(f.meta.error_text, m.error_text));
    assert_int_equal(f.meta.compress_type, COMPRESSION_GZIP);
    assert_int_equal(f.meta.correlation_id, -3);
    assert_true(str_is(f.meta.variant, "tomorrow"));
    assert_true(str_is(f.payload, "abc"));
    assert_true(str_is(f.attachment, "defg"));
    buf_deinit(&b);
}

static void what_the_format_cannot_hold_fails_the_buffer(void **state)
{
    struct baidu_meta m = { .is_response = true, .attachment_bytes = -1 };
    struct buf b;
    buf_init(&b, 4096);
    baidu_std_put_head(&b, &m, 3);
    assert_int_equal(buf_check(&b), TOO_LARGE);
    buf_clear(&b);
    m.attachment_bytes = 0;
    baidu_std_put_head(&b, &m, SIZE_MAX);
    assert_int_equal(buf_check(&b), TOO_LARGE);
    buf_clear(&b);
    baidu_std_put_head(&b, &m, UINT32_MAX);
    assert_int_equal(buf_check(&b), TOO_LARGE);
    assert_int_equal(b.len, 0);
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_captured_request_is_read),
        cmocka_unit_test(a_captured_error_is_read),
        cmocka_unit_test(every_capture_whole_and_in_pieces),
        cmocka_unit_test(a_frame_is_cut_from_what_follows),
        cmocka_unit_test(wrong_magic_is_known_at_its_first_byte),
        cmocka_unit_test(hostile_sizes_are_refused_by_the_head_alone),
        cmocka_unit_test(attachments_are_cut_off_the_end),
        cmocka_unit_test(damaged_meta_is_refused),
        cmocka_unit_test(unknown_fields_are_stepped_over),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(what_the_format_cannot_hold_fails_the_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
