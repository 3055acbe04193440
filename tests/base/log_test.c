#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/str.h"

#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <unistd.h>

/* What is logged between capture and captured, which is at most 1 MiB. */
static FILE *file;
static int kept_stderr;

static void capture(void)
{
    fflush(stderr);
    file = tmpfile();
    assert_non_null(file);
    kept_stderr = dup(STDERR_FILENO);
    dup2(fileno(file), STDERR_FILENO);
}

static struct str captured(void)
{
    static char text[1 << 20];
    dup2(kept_stderr, STDERR_FILENO);
    close(kept_stderr);
    rewind(file);
    size_t n = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[n] = '\0';
    return (struct str){ text, n };
}

static void a_line_has_time_level_room_and_words(void **state)
{
    regex_t form;
    assert_int_equal(regcomp(&form,
                             "^20[0-9][0-9]-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
                             "\\.[0-9]{3}Z warn serve: 3 of x\n$",
                             REG_EXTENDED | REG_NOSUB),
                     0);
    capture();
    log_line(LOG_WARN, "serve", "%d of %s", 3, "x");
    struct str line = captured();
    assert_int_equal(regexec(&form, line.p, 0, NULL, 0), 0);
    regfree(&form);
}

static size_t lines_at(log_level lowest)
{
    size_t lines = 0;
    capture();
    log_set_level(lowest);
    for (log_level level = LOG_DEBUG; level <= LOG_ERROR; level++)
        log_line(level, "test", "x");
    struct str text = captured();
    log_set_level(LOG_INFO);
    for (size_t i = 0; i < text.n; i++)
        lines += text.p[i] == '\n';
    return lines;
}

static void lines_below_the_level_are_not_written(void **state)
{
    capture();
    log_line(LOG_DEBUG, "test", "not by default");
    assert_int_equal(captured().n, 0);
    assert_int_equal(lines_at(LOG_DEBUG), 4);
    assert_int_equal(lines_at(LOG_INFO), 3);
    assert_int_equal(lines_at(LOG_ERROR), 1);
}

static void names_from_outside_forge_nothing(void **state)
{
    capture();
    log_line(LOG_INFO, "test", "%s", "a\n2026 info: \x1b[31mred\r\t\x7f ö");
    assert_true(str_ends(captured(), " test: a?2026 info: ?[31mred??? ö\n"));
}

static void long_lines_are_cut(void **state)
{
    static char words[5000];
    memset(words, 'x', sizeof(words) - 1);
    for (size_t n = 1990; n < 2030; n++) { /* about where the line is full */
        capture();
        log_line(LOG_INFO, "test", "%.*s", (int)n, words);
        struct str line = captured();
        size_t at = (size_t)(strchr(line.p, 'x') - line.p), fits = 2046 - at;
        assert_int_equal(line.n, at + (n < fits ? n : fits) + 1);
        assert_int_equal(line.p[line.n - 1], '\n');
    }
    capture();
    log_line(LOG_INFO, "test", "%s", words);
    assert_int_equal(captured().n, 2047);
}

static void machines_get_json(void **state)
{
    capture();
    log_set_format(LOG_JSON);
    log_line(LOG_WARN, "test", "a \"quoted\" \\ word\n");
    log_set_format(LOG_TEXT);
    struct str line = captured();
    assert_true(str_starts(line, "{\"time\":\"20"));
    assert_true(str_ends(
        line,
        "\"level\":\"warn\",\"room\":\"test\",\"message\":\"a \\\"quoted\\\" \\\\ word?\"}\n"));
}

#define THREADS 4
#define LINES   300

static void *log_many(void *letter)
{
    char words[65];
    memset(words, *(char *)letter, 64);
    words[64] = '\0';
    for (int i = 0; i < LINES; i++)
        log_line(LOG_INFO, "test", "%s", words);
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    pthread_t thread[THREADS];
    char letters[] = "PQRS"; /* in no other part of a line */
    capture();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, log_many, &letters[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    struct str rest = captured(), line;
    int whole = 0;
    while (str_cut(&rest, '\n', &line)) {
        size_t words = strcspn(line.p, letters);
        assert_int_equal(line.n, words + 64);
        whole += strspn(line.p + words, (char[]){ line.p[words], '\0' }) == 64;
    }
    assert_int_equal(whole, THREADS * LINES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_room_and_words),
        cmocka_unit_test(lines_below_the_level_are_not_written),
        cmocka_unit_test(names_from_outside_forge_nothing),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(machines_get_json),
        cmocka_unit_test(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
