#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/line_file.h"
#include "base/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/oar_line_file_test_XXXXXX";
static char path[64], aside[64];

static int setup(void **state)
{
    log_set_level(LOG_ERROR); /* what is told of lost lines is not for whoever runs the tests */
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof(path), "%s/log", dir);
    snprintf(aside, sizeof(aside), "%s/log.1", dir);
    return 0;
}

static int clean(void **state)
{
    unlink(path);
    unlink(aside);
    return 0;
}

static int teardown(void **state)
{
    return rmdir(dir);
}

static struct line_file *opened(void)
{
    struct line_file *f;
    struct err e = { "" };
    if (line_file_open(path, &f, &e) != OK)
        fail_msg("%s", e.text);
    return f;
}

static void put(struct line_file *f, const char *line)
{
    line_file_put(f, line, strlen(line));
}

static void assert_holds(const char *file, const char *text)
{
    struct file_map *m;
    assert_int_equal(file_map_open(file, 1 << 20, &m, NULL), OK);
    assert_int_equal(file_map_size(m), strlen(text));
    assert_memory_equal(file_map_data(m), text, strlen(text));
    file_map_unref(m);
}

static void lines_are_appended_to_what_was_there(void **state)
{
    struct line_file *f = opened();
    put(f, "a\n");
    line_file_close(f);
    f = opened();
    put(f, "b\n");
    line_file_close(f);
    assert_holds(path, "a\nb\n");
}

static void a_file_that_was_renamed_is_begun_anew(void **state)
{
    struct line_file *f = opened();
    put(f, "a\n");
    assert_int_equal(rename(path, aside), 0);
    put(f, "b\n"); /* nobody has said so yet */
    assert_int_equal(line_file_reopen(f, NULL), OK);
    put(f, "c\n");
    line_file_close(f);
    assert_holds(aside, "a\nb\n");
    assert_holds(path, "c\n");
}

static void where_it_cannot_be_opened_the_old_file_stays(void **state)
{
    struct line_file *f = opened(), *none;
    struct err e = { "" };
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(line_file_reopen(f, &e), IO_FAILED);
    assert_non_null(strstr(e.text, path));
    assert_int_equal(line_file_open(path, &none, &e), IO_FAILED);
    put(f, "a\n");
    line_file_close(f);
    rmdir(path);
    assert_holds(aside, "a\n");
}

/* A limit on the size of files stands for a disk that is full for a while. */
static void half_a_line_is_ended_before_the_next(void **state)
{
    struct line_file *f = opened();
    struct rlimit before, full;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    full = (struct rlimit){ 9, before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    put(f, "first\n");
    put(f, "second\n");
    put(f, "third\n");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    put(f, "fourth\n");
    line_file_close(f);
    assert_holds(path, "first\nsec\nfourth\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(lines_are_appended_to_what_was_there, clean),
        cmocka_unit_test_teardown(a_file_that_was_renamed_is_begun_anew, clean),
        cmocka_unit_test_teardown(where_it_cannot_be_opened_the_old_file_stays, clean),
        cmocka_unit_test_teardown(half_a_line_is_ended_before_the_next, clean),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
