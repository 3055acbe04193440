#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"

#include <limits.h>
#include <string.h>

static void every_status_has_its_numbers(void **state)
{
    static const struct {
        status s;
        int http, grpc, brpc;
        const char *text;
    } rows[] = {
        { OK, 200, 0, 0, "ok" },
        { INVALID, 400, 3, 1003, "invalid argument" },
        { NOT_FOUND, 404, 5, 1002, "not found" },
        { BUSY, 503, 8, 2004, "overloaded" },
        { INTERNAL, 500, 13, 2001, "internal error" },
        { TOO_LARGE, 413, 8, 1003, "larger than the limit" },
        { TIMED_OUT, 504, 4, 1008, "deadline passed" },
        { CONFLICT, 400, 9, 2001, "contradiction" },
        { MALFORMED, 400, 3, 1003, "malformed message" },
        { CANCELLED, 499, 1, 2005, "the caller has gone" },
        { UNAUTHENTICATED, 401, 16, 1004, "not authenticated" },
        { UNREACHABLE, 502, 14, 1009,
          "another server not reached" }, /* the last: the rows are in order of number */
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(status_http(rows[i].s), rows[i].http);
        assert_int_equal(status_grpc(rows[i].s), rows[i].grpc);
        assert_int_equal(status_brpc(rows[i].s), rows[i].brpc);
        assert_string_equal(status_text(rows[i].s), rows[i].text);
    }
}

static void a_number_that_is_no_status_reads_as_internal(void **state)
{
    static const int strange[] = { 1, 7, -19, -1000, INT_MAX, INT_MIN };
    for (size_t i = 0; i < ARRAY_LEN(strange); i++) {
        assert_int_equal(status_http((status)strange[i]), 500);
        assert_string_equal(status_text((status)strange[i]), "internal error");
    }
}

static void words_are_put_in_front(void **state)
{
    struct err e = { "" };
    assert_int_equal(err_set(&e, INVALID, "axis %d of %s", 3, "[2, 2]"), INVALID);
    assert_string_equal(e.text, "axis 3 of [2, 2]");
    assert_int_equal(err_prefix(&e, CORRUPT, "model '%s': ", "uci"), CORRUPT);
    assert_string_equal(e.text, "model 'uci': axis 3 of [2, 2]");
    err_set(&e, INVALID, "again");
    assert_string_equal(e.text, "again");
}

static void nobody_has_to_want_the_words(void **state)
{
    struct err empty = { "" };
    assert_int_equal(err_set(NULL, BUSY, "%d", 1), BUSY);
    assert_int_equal(err_prefix(NULL, BUSY, "%d", 1), BUSY);
    assert_int_equal(err_prefix(&empty, BUSY, "model: "), BUSY);
    assert_string_equal(empty.text, "");
}

static void long_sentences_are_cut_and_terminated(void **state)
{
    struct err e;
    char long_name[2 * ERR_TEXT_MAX];
    memset(long_name, 'x', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    err_set(&e, INVALID, "%s", long_name);
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
    err_prefix(&e, INVALID, "in front: ");
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
    assert_memory_equal(e.text, "in front: xxx", 13);
    err_set(&e, INVALID, "short");
    err_prefix(&e, INVALID, "%s", long_name); /* leaves no room for what was there */
    assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
}

static status steps(int *done, status second)
{
    ++*done;
    TRY(second);
    ++*done;
    return OK;
}

static void try_returns_the_first_failure(void **state)
{
    int done = 0;
    assert_int_equal(steps(&done, OK), OK);
    assert_int_equal(done, 2);
    assert_int_equal(steps(&done, TIMED_OUT), TIMED_OUT);
    assert_int_equal(done, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_has_its_numbers),
        cmocka_unit_test(a_number_that_is_no_status_reads_as_internal),
        cmocka_unit_test(words_are_put_in_front),
        cmocka_unit_test(nobody_has_to_want_the_words),
        cmocka_unit_test(long_sentences_are_cut_and_terminated),
        cmocka_unit_test(try_returns_the_first_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
