#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/oar_file_test_XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[64];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static int setup(void **state)
{
    return mkdtemp(dir) != NULL ? 0 : -1;
}

/* Unlinks what is in the directory; returns how many entries that were. */
static int empty_dir(void)
{
    DIR *d = opendir(dir);
    int count = 0;
    for (struct dirent *entry; (entry = readdir(d)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        count++;
        if (unlink(in_dir(entry->d_name)) != 0)
            rmdir(in_dir(entry->d_name));
    }
    closedir(d);
    return count;
}

static int clean(void **state)
{
    empty_dir();
    return 0;
}

static int teardown(void **state)
{
    return rmdir(dir);
}

static struct file_map *opened(const char *name)
{
    struct file_map *m;
    assert_int_equal(file_map_open(in_dir(name), 100, &m, NULL), OK);
    return m;
}

static void assert_holds(const struct file_map *m, const char *text)
{
    struct str bytes = { (const char *)file_map_data(m), file_map_size(m) };
    assert_true(str_is(bytes, text));
}

static void what_was_written_is_mapped(void **state)
{
    assert_int_equal(file_write(in_dir("a"), "content", 7, NULL), OK);
    struct file_map *m = opened("a");
    assert_holds(m, "content");
    assert_int_equal((uintptr_t)file_map_data(m) % 4096, 0);
    file_map_unref(m);
    file_map_unref(NULL);
}

static void an_empty_file_has_data(void **state)
{
    assert_int_equal(file_write(in_dir("empty"), NULL, 0, NULL), OK);
    struct file_map *m = opened("empty");
    assert_int_equal(file_map_size(m), 0);
    assert_non_null(file_map_data(m));
    file_map_unref(m);
}

static void refusals_name_the_path(void **state)
{
    static const struct {
        const char *name;
        size_t max;
        status s;
        const char *words; /* behind the path */
    } rows[] = {
        { "seven", 7, OK, NULL },
        { "seven", 6, TOO_LARGE, ": 7 bytes, at most 6 are read" },
        { "missing", 7, NOT_FOUND, ": No such file or directory" },
        { "seven/below", 7, NOT_FOUND, ": Not a directory" },
        { ".", 7, INVALID, ": expected a file, it is a directory or device" },
        { "fifo", 7, INVALID, ": expected a file, it is a directory or device" },
    };
    assert_int_equal(file_write(in_dir("seven"), "1234567", 7, NULL), OK);
    assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0); /* nobody writes to it: must not wait */
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct err e = { "" };
        struct file_map *m = NULL;
        char want[ERR_TEXT_MAX] = "";
        if (rows[i].words != NULL)
            snprintf(want, sizeof(want), "%s%s", in_dir(rows[i].name), rows[i].words);
        assert_int_equal(file_map_open(in_dir(rows[i].name), rows[i].max, &m, &e), rows[i].s);
        assert_string_equal(e.text, want);
        file_map_unref(m);
    }
}

static void files_and_directories_are_told_apart(void **state)
{
    assert_int_equal(file_write(in_dir("a"), "", 0, NULL), OK);
    assert_true(file_exists(in_dir("a")) && !file_is_dir(in_dir("a")));
    assert_true(file_is_dir(dir) && !file_exists(dir));
    assert_false(file_exists(in_dir("b")) || file_is_dir(in_dir("b")));
}

static void a_reader_keeps_the_file_that_it_opened(void **state)
{
    assert_int_equal(file_write(in_dir("a"), "old", 3, NULL), OK);
    struct file_map *old = opened("a");
    assert_int_equal(file_write(in_dir("a"), "newer", 5, NULL), OK);
    struct file_map *newer = opened("a");
    assert_holds(old, "old");
    assert_holds(newer, "newer");
    file_map_unref(old);
    file_map_unref(newer);
    assert_int_equal(empty_dir(), 1); /* no temporary neighbour is left */
}

static void what_cannot_be_written_leaves_nothing(void **state)
{
    struct err e = { "" };
    assert_int_equal(mkdir(in_dir("taken"), 0700), 0);
    assert_int_equal(file_write(in_dir("taken"), "x", 1, &e), IO_FAILED);
    assert_non_null(strstr(e.text, in_dir("taken")));
    assert_int_equal(file_write(in_dir("no/where"), "x", 1, &e), IO_FAILED);
    assert_non_null(strstr(e.text, in_dir("no/where")));
    char endless[5000];
    memset(endless, 'x', sizeof(endless));
    endless[sizeof(endless) - 1] = '\0';
    assert_int_equal(file_write(endless, "x", 1, &e), INVALID);
    assert_int_equal(empty_dir(), 1);
}

#define THREADS    4
#define FILE_BYTES 50000

static char raced_path[64];

/* Writes the file full of its own letter, many times. */
static void *write_over(void *letter)
{
    static _Thread_local char bytes[FILE_BYTES];
    status s = OK;
    memset(bytes, *(char *)letter, sizeof(bytes));
    for (int i = 0; i < 20 && s == OK; i++)
        s = file_write(raced_path, bytes, sizeof(bytes), NULL);
    return s == OK ? NULL : letter;
}

static void writers_at_once_never_mix(void **state)
{
    pthread_t thread[THREADS];
    char letters[THREADS] = { 'a', 'b', 'c', 'd' };
    snprintf(raced_path, sizeof(raced_path), "%s", in_dir("raced"));
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, write_over, &letters[i]), 0);
    int mixed = 0;
    for (int i = 0; i < 100; i++) {
        struct file_map *m;
        if (file_map_open(raced_path, FILE_BYTES, &m, NULL) != OK)
            continue; /* not there yet */
        const uint8_t *p = file_map_data(m);
        mixed += file_map_size(m) != FILE_BYTES || memcmp(p, p + 1, FILE_BYTES - 1) != 0;
        file_map_unref(m);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        assert_null(failed);
    }
    assert_int_equal(mixed, 0);
}

static void *use_and_drop(void *m)
{
    for (int i = 0; i < 1000; i++) {
        struct file_map *mine = file_map_ref(m);
        if (file_map_data(mine)[0] != 'x')
            return m;
        file_map_unref(mine);
    }
    file_map_unref(m);
    return NULL;
}

static void the_last_of_any_thread_unmaps(void **state)
{
    pthread_t thread[THREADS];
    assert_int_equal(file_write(in_dir("a"), "x", 1, NULL), OK);
    struct file_map *m = opened("a");
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, use_and_drop, file_map_ref(m)), 0);
    file_map_unref(m);
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(thread[i], &failed);
        assert_null(failed);
    }
}

static void a_name_from_outside_stays_below_its_directory(void **state)
{
    static const char *const good[] = { "a", "a/b", "a//b", "./a", "..a", "a..", "a/...", "a/" };
    static const char *const bad[] = { "", "/", "/a", "..", "../a", "a/..", "a/../b", "./.." };
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_true(file_stays_below(str_of(good[i])));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(file_stays_below(str_of(bad[i])));
    assert_false(file_stays_below((struct str){ "a\0b", 3 }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(what_was_written_is_mapped, clean),
        cmocka_unit_test_teardown(an_empty_file_has_data, clean),
        cmocka_unit_test_teardown(refusals_name_the_path, clean),
        cmocka_unit_test_teardown(files_and_directories_are_told_apart, clean),
        cmocka_unit_test_teardown(a_reader_keeps_the_file_that_it_opened, clean),
        cmocka_unit_test_teardown(what_cannot_be_written_leaves_nothing, clean),
        cmocka_unit_test_teardown(writers_at_once_never_mix, clean),
        cmocka_unit_test_teardown(the_last_of_any_thread_unmaps, clean),
        cmocka_unit_test(a_name_from_outside_stays_below_its_directory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
