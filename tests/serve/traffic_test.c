#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "serve/traffic.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct traffic *parse(const char *json)
{
    struct traffic *t;
    struct err e = { "" };
    if (traffic_parse(str_of(json), &t, &e) != OK)
        fail_msg("%s", e.text);
    return t;
}

#define TWO(rest)                                                                              \
    "{\"variants\":[{\"tag\":\"a\",\"version\":1,\"weight\":75},{\"tag\":\"b\",\"version\":2," \
    "\"weight\":25}]" rest "}"

static void weights_are_kept(void **state)
{
    struct traffic *t = parse(TWO(""));
    int b = 0;
    for (int i = 0; i < 40000; i++)
        b += traffic_pick(t, STR(""), STR("")) == 1;
    assert_in_range(b, 9700, 10300); /* 3.5 deviations of 87 */
    traffic_unref(t);
}

static void a_key_keeps_its_variant(void **state)
{
    struct traffic *t = parse(TWO(",\"sticky\":\"header:x-user\""));
    int b = 0;
    assert_string_equal(traffic_sticky_header(t), "x-user");
    for (int i = 0; i < 4000; i++) {
        char key[16];
        int n = snprintf(key, sizeof(key), "user%d", i);
        int first = traffic_pick(t, (struct str){ key, (size_t)n }, STR("x"));
        for (int k = 0; k < 3; k++)
            assert_int_equal(traffic_pick(t, (struct str){ key, (size_t)n }, STR("y")), first);
        b += first;
    }
    assert_in_range(b, 900, 1100);
    traffic_unref(t);
}

/* A request of one tensor of two numbers, and a log id. */
static int pick_for(struct traffic *t, int64_t user, int64_t noise, uint64_t log_id)
{
    int64_t data[2] = { user, noise };
    struct named_tensor feed[] = {
        { STR("x"), STR("noise"), { .dtype = DTYPE_I64, .shape = SHAPE(1), .data = &data[1] } },
        { STR("u"), STR("user"), { .dtype = DTYPE_I64, .shape = SHAPE(1), .data = &data[0] } },
    };
    struct infer_request r = { .feed = feed, .feed_count = 2, .log_id = log_id };
    return traffic_pick_by_body(t, &r);
}

static void a_key_in_the_body_keeps_its_variant(void **state)
{
    struct traffic *t = parse(TWO(",\"sticky\":\"feed:user\""));
    int b = 0;
    assert_true(traffic_sticky_body(t));
    for (int i = 0; i < 4000; i++) {
        int first = pick_for(t, i, 1, 0);
        assert_int_equal(pick_for(t, i, i + 2, (uint64_t)i), first);
        b += first;
    }
    assert_in_range(b, 900, 1100);
    traffic_unref(t);
    t = parse(TWO(",\"sticky\":\"log_id\""));
    b = 0;
    for (int i = 1; i <= 4000; i++) {
        int first = pick_for(t, 1, 1, (uint64_t)i);
        assert_int_equal(pick_for(t, 2, i, (uint64_t)i), first);
        b += first;
    }
    assert_in_range(b, 900, 1100);
    traffic_unref(t);
}

static void a_body_without_the_key_goes_by_chance(void **state)
{
    struct traffic *t = parse(TWO(",\"sticky\":\"feed:nobody\""));
    int b = 0;
    for (int i = 0; i < 4000; i++)
        b += pick_for(t, 1, 1, 1);
    assert_in_range(b, 900, 1100);
    traffic_unref(t);
}

static void a_variant_without_weight_gets_nothing(void **state)
{
    struct traffic *t =
        parse("{\"variants\":[{\"tag\":\"a\",\"weight\":0},{\"tag\":\"b\",\"weight\":1},"
              "{\"tag\":\"c\",\"weight\":0}]}");
    for (int i = 0; i < 1000; i++)
        assert_int_equal(traffic_pick(t, STR(""), STR("")), 1);
    traffic_unref(t);
    t = parse("{\"variants\":[{\"tag\":\"a\",\"weight\":0}]}");
    assert_int_equal(traffic_pick(t, STR(""), STR("")), -1);
    traffic_unref(t);
}

static void what_is_no_traffic_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"variants\":[]}",
        "{\"variants\":[{\"tag\":\"a\"},{\"tag\":\"a\"}]}",
        "{\"variants\":[{\"wieght\":1}]}",
        "{\"variants\":[{\"weight\":-1}]}",
        TWO(",\"sticky\":\"hedaer:x\""),
        TWO(",\"sticky\":\"feed:\""),
        "{\"variants\":[{\"tag\":\"a\\r\\nx: y\"}]}",
        "{\"variants\":[{\"tag\":\"\"}]}",
        TWO(",\"shadow\":{\"tag\":\"c\"}"),
        TWO(",\"rollback\":{\"errors\":1}"),
        TWO(",\"more\":1"),
    };
    struct traffic *t;
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(traffic_parse(str_of(bad[i]), &t, &e), INVALID);
}

static void ask(struct traffic *t, int variant, int count, int errors, uint64_t ms, double score)
{
    for (int i = 0; i < count; i++)
        traffic_ended(t, variant, i >= errors, ms * 1000000, score + 0.01 * (i % 3 - 1));
}

static void check_rule(const char *rules, int errors, uint64_t ms, double score, const char *words)
{
    struct err e = { "" };
    struct traffic *t = parse(rules);
    ask(t, 0, 200, 0, 10, 0.5);
    ask(t, 1, 49, errors, ms, score);
    assert_false(traffic_check(t, &e)); /* too few to tell */
    ask(t, 1, 151, errors, ms, score);
    assert_int_equal(traffic_check(t, &e), words != NULL);
    if (words != NULL)
        assert_non_null(strstr(e.text, words));
    for (int i = 0; i < 200; i++)
        assert_true(words == NULL || traffic_pick(t, STR(""), STR("")) == 0);
    traffic_unref(t);
}

static void rules_take_a_bad_variant_back(void **state)
{
    static const char rate[] = TWO(",\"rollback\":{\"min_requests\":50,\"error_rate\":0.05}");
    static const char p99[] = TWO(",\"rollback\":{\"min_requests\":50,\"p99_ms\":50}");
    static const char ratio[] = TWO(",\"rollback\":{\"min_requests\":50,\"p99_ratio\":2}");
    static const char drift[] = TWO(",\"rollback\":{\"min_requests\":50,\"drift\":3}");
    check_rule(rate, 40, 10, 0.5, "errors, at most 5.00 %");
    check_rule(rate, 1, 10, 0.5, NULL);
    check_rule(p99, 0, 100, 0.5, "at most 50.00 ms");
    check_rule(p99, 0, 30, 0.5, NULL);
    check_rule(ratio, 0, 100, 0.5, "at most 2.00 of 'a'");
    check_rule(ratio, 0, 12, 0.5, NULL);
    check_rule(drift, 0, 10, 0.6, "deviations");
    check_rule(drift, 0, 10, 0.505, NULL);
}

static void counts_are_told(void **state)
{
    struct buf b;
    struct traffic *t = parse(TWO(",\"shadow\":{\"tag\":\"b\",\"fraction\":0.5}"));
    int shadows = 0;
    buf_init(&b, 1 << 16);
    ask(t, 0, 10, 1, 10, NAN);
    traffic_outcome(t, 0, 1);
    traffic_outcome(t, 0, 0);
    traffic_compared(t, true, 0.25);
    traffic_put_json(t, "m", &b);
    buf_byte(&b, 0);
    assert_non_null(strstr((char *)b.data, "\"requests\":10,\"errors\":1,\"outcomes\":2"));
    assert_non_null(strstr((char *)b.data, "\"outcome_mean\":0.5"));
    assert_non_null(strstr((char *)b.data, "\"compared\":1,\"different\":1,\"worst\":0.25"));
    for (int i = 0; i < 2000; i++)
        shadows += traffic_shadow(t) == 1;
    assert_in_range(shadows, 900, 1100);
    buf_deinit(&b);
    traffic_unref(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_kept),
        cmocka_unit_test(a_key_keeps_its_variant),
        cmocka_unit_test(a_key_in_the_body_keeps_its_variant),
        cmocka_unit_test(a_body_without_the_key_goes_by_chance),
        cmocka_unit_test(a_variant_without_weight_gets_nothing),
        cmocka_unit_test(what_is_no_traffic_is_refused),
        cmocka_unit_test(rules_take_a_bad_variant_back),
        cmocka_unit_test(counts_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
