#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "flow/compare.h"
#include "flow/record.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static const float x[4] = { 1, 2, 3, 4 };
static const int64_t offsets[3] = { 0, 1, 4 };
static struct named_tensor feed = { { "x", 1 },
                                    { "x", 1 },
                                    { DTYPE_F32, { 2, { 4, 1 } }, x, { 1, { { offsets, 3 } } } } };
static struct infer_output output = { { "infer", 5 }, &feed, 1 };

static const char *a_path(char *text)
{
    int fd = mkstemp(text);
    assert_true(fd >= 0);
    close(fd);
    return text;
}

static void put(struct recorder *r, int64_t time)
{
    struct str fetch = STR("y");
    const struct record rec = {
        .time_us = time,
        .model = STR("m"),
        .version = 3,
        .request = { .feed = &feed, .feed_count = 1, .fetch = &fetch, .fetch_count = 1 },
        .reply = { .output = &output, .output_count = 1 }
    };
    recorder_put(r, &rec);
}

static int count_whole(const char *path, status *last)
{
    struct records *rs;
    struct record rec;
    struct arena a;
    int n = 0;
    *last = records_open(path, &rs, NULL);
    if (*last != OK)
        return 0;
    arena_init(&a, 0);
    while ((*last = records_next(rs, &a, &rec, NULL)) == OK)
        n++;
    arena_deinit(&a);
    records_close(rs);
    return n;
}

static void what_was_recorded_is_read_back(void **state)
{
    char path[] = "/tmp/oar-record-XXXXXX";
    struct recorder *r;
    struct records *rs;
    struct record rec;
    struct arena a;
    assert_int_equal(
        recorder_open(&(struct recorder_options){ a_path(path), 1, 1 << 20 }, &r, NULL), OK);
    for (int i = 0; i < 10; i++)
        put(r, i);
    recorder_close(r);
    arena_init(&a, 0);
    assert_int_equal(records_open(path, &rs, NULL), OK);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(records_next(rs, &a, &rec, NULL), OK);
        assert_int_equal(rec.time_us, i);
        assert_int_equal(rec.version, 3);
        assert_true(str_is(rec.model, "m"));
        assert_true(str_is(rec.request.fetch[0], "y"));
        const struct tensor *t = &rec.request.feed[0].tensor;
        assert_true(compare_tensors(t, &feed.tensor) == 0);
        assert_memory_equal(t->lod.level[0].offset, offsets, sizeof(offsets));
        assert_true(compare_replies(&rec.reply, &(struct infer_reply){ .output = &output,
                                                                       .output_count = 1 }) == 0);
    }
    assert_int_equal(records_next(rs, &a, &rec, NULL), NOT_FOUND);
    records_close(rs);
    arena_deinit(&a);
    unlink(path);
}

static void the_file_stays_within_its_bound(void **state)
{
    char path[] = "/tmp/oar-record-XXXXXX";
    struct recorder *r;
    struct file_map *m;
    status last;
    assert_int_equal(recorder_open(&(struct recorder_options){ a_path(path), 1, 2000 }, &r, NULL),
                     OK);
    for (int i = 0; i < 100; i++)
        put(r, i);
    recorder_close(r);
    assert_in_range(count_whole(path, &last), 1, 20);
    assert_int_equal(file_map_open(path, 1 << 20, &m, NULL), OK);
    assert_true(file_map_size(m) <= 2008);
    file_map_unref(m);
    unlink(path);
}

static void a_record_that_fits_to_the_byte_is_kept(void **state)
{
    char path[] = "/tmp/oar-record-XXXXXX";
    struct recorder *r;
    struct file_map *m;
    status last;
    a_path(path);
    assert_int_equal(recorder_open(&(struct recorder_options){ path, 1, 1 << 20 }, &r, NULL), OK);
    put(r, 1);
    recorder_close(r);
    assert_int_equal(file_map_open(path, 1 << 20, &m, NULL), OK);
    size_t one = file_map_size(m) - strlen("OARREC1\n");
    file_map_unref(m);
    for (size_t less = 0; less < 2; less++) {
        assert_int_equal(
            recorder_open(&(struct recorder_options){ path, 1, 3 * one - less }, &r, NULL), OK);
        for (int i = 0; i < 5; i++)
            put(r, i);
        assert_false(recorder_wants(r));
        recorder_close(r);
        assert_int_equal(count_whole(path, &last), 3 - (int)less);
    }
    unlink(path);
}

/* A limit on the size of files stands for a disk that becomes full in the middle of a record. */
static void a_full_disk_ends_the_record_and_is_told_once(void **state)
{
    char path[] = "/tmp/oar-record-XXXXXX";
    struct recorder *r;
    struct rlimit before, full;
    status last;
    assert_int_equal(
        recorder_open(&(struct recorder_options){ a_path(path), 1, 1 << 20 }, &r, NULL), OK);
    assert_true(recorder_wants(r));
    put(r, 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    full = (struct rlimit){ 300, before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    for (int i = 0; i < 5; i++)
        put(r, i);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(recorder_wants(r));
    put(r, 7); /* not behind half a record, although there is room again */
    recorder_close(r);
    assert_int_equal(count_whole(path, &last), 1);
    assert_int_equal(last, NOT_FOUND);
    unlink(path);
}

static void a_share_is_recorded(void **state)
{
    char path[] = "/tmp/oar-record-XXXXXX";
    struct recorder *r;
    int n = 0;
    assert_int_equal(
        recorder_open(&(struct recorder_options){ a_path(path), 0.1, 1 << 20 }, &r, NULL), OK);
    for (int i = 0; i < 1000; i++)
        n += recorder_wants(r);
    assert_in_range(n, 99, 101);
    recorder_close(r);
    unlink(path);
}

/* Every cut and every flipped byte: an end or a fault, never more. */
static void damaged_files_are_an_end_or_a_fault(void **state)
{
    char path[] = "/tmp/oar-record-XXXXXX";
    struct recorder *r;
    struct file_map *m;
    status last;
    assert_int_equal(
        recorder_open(&(struct recorder_options){ a_path(path), 1, 1 << 20 }, &r, NULL), OK);
    put(r, 1);
    put(r, 2);
    recorder_close(r);
    assert_int_equal(file_map_open(path, 1 << 20, &m, NULL), OK);
    size_t n = file_map_size(m);
    uint8_t *bytes = malloc(n);
    memcpy(bytes, file_map_data(m), n);
    file_map_unref(m);
    for (size_t i = 0; i < n; i += 3) {
        assert_int_equal(file_write(path, bytes, i, NULL), OK);
        assert_true(count_whole(path, &last) < 2);
        bytes[i] ^= 0xff;
        assert_int_equal(file_write(path, bytes, n, NULL), OK);
        count_whole(path, &last);
        assert_true(last == NOT_FOUND || last == CORRUPT || last == INVALID);
        bytes[i] ^= 0xff;
    }
    free(bytes);
    unlink(path);
}

static void distances_are_relative_and_forms_count(void **state)
{
    static const float near[4] = { 1, 2, 3, 4.04f };
    const struct tensor a = { DTYPE_F32, SHAPE(4), x, { 0 } },
                        b = { DTYPE_F32, SHAPE(4), near, { 0 } };
    const struct tensor c = { DTYPE_F32, SHAPE(2, 2), x, { 0 } };
    assert_true(fabs(compare_tensors(&a, &b) - 0.04 / 4.04) < 1e-6);
    assert_true(compare_tensors(&a, &a) == 0);
    assert_true(isinf(compare_tensors(&a, &c)));
}

/* What is no number, and what is infinite, is like itself alone: a quotient of them would compare as no difference. */
static void numbers_without_end_are_like_themselves_alone(void **state)
{
    static const float values[] = { NAN, INFINITY, -INFINITY, 5 };
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        for (size_t j = 0; j < ARRAY_LEN(values); j++) {
            const struct tensor a = { DTYPE_F32, SHAPE(1), &values[i], { 0 } },
                                b = { DTYPE_F32, SHAPE(1), &values[j], { 0 } };
            assert_true(i == j ? compare_tensors(&a, &b) == 0 : isinf(compare_tensors(&a, &b)));
        }
}

static void small_integers_have_signs(void **state)
{
    static const int8_t low[1] = { -128 }, high[1] = { 127 };
    static const int16_t one[1] = { 1 }, two[1] = { 2 };
    const struct tensor a = { DTYPE_I8, SHAPE(1), low, { 0 } },
                        b = { DTYPE_I8, SHAPE(1), high, { 0 } };
    const struct tensor c = { DTYPE_I16, SHAPE(1), one, { 0 } },
                        d = { DTYPE_I16, SHAPE(1), two, { 0 } };
    assert_true(fabs(compare_tensors(&a, &b) - 255.0 / 128) < 1e-9);
    assert_true(compare_tensors(&c, &d) == 0.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_recorded_is_read_back),
        cmocka_unit_test(the_file_stays_within_its_bound),
        cmocka_unit_test(a_record_that_fits_to_the_byte_is_kept),
        cmocka_unit_test(a_full_disk_ends_the_record_and_is_told_once),
        cmocka_unit_test(a_share_is_recorded),
        cmocka_unit_test(damaged_files_are_an_end_or_a_fault),
        cmocka_unit_test(distances_are_relative_and_forms_count),
        cmocka_unit_test(numbers_without_end_are_like_themselves_alone),
        cmocka_unit_test(small_integers_have_signs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
