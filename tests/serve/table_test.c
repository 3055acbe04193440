#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "exec/model.h"
#include "serve/policy.h"
#include "serve/table.h"

#define MODEL OAR_SOURCE_DIR "/tests/data/uci_housing"

static int disposed;

static void on_dispose(struct flow *f, void *arg)
{
    disposed++;
    flow_destroy(f);
}

static struct flow *flow_of(const char *name, int64_t version)
{
    const struct flow_options o = { .name = name, .version = version, .dispose = on_dispose };
    struct model *m;
    struct flow *f;
    assert_int_equal(model_open(MODEL, NULL, &m, NULL), OK);
    assert_int_equal(flow_for_model(m, &o, &f, NULL), OK);
    model_unref(m);
    return f;
}

/* "houses" with 3 loading and 2 ready, called stable; "empty" with nothing. The flow is the table's alone. */
static struct table *make(void)
{
    struct flow *f = flow_of("houses", 2);
    const struct served v[] = {
        { "houses", "/h/3", 3, MODEL_LOADING, "", NULL, NULL },
        { "houses", "/h/2", 2, MODEL_READY, "", f, NULL },
    };
    const struct served_label label = { "stable", 2 };
    const struct served_model m[] = {
        { .name = "houses",
          .version = v,
          .version_count = 2,
          .current = &v[1],
          .label = &label,
          .label_count = 1 },
        { .name = "empty" },
    };
    struct table *t = table_new(m, 2, "alias");
    flow_unref(f);
    return t;
}

static void a_version_is_found_by_number_and_label_and_by_default(void **state)
{
    static const char *const versions[] = { "", "2", "stable" };
    struct table *t = make();
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        const struct served *s;
        assert_int_equal(table_find(t, STR("houses"), str_of(versions[i]), &s, NULL), OK);
        assert_int_equal(s->version, 2);
        assert_int_equal(flow_version(s->flow), 2);
        assert_string_equal(flow_name(s->flow), "houses");
    }
    const struct served *s;
    assert_int_equal(table_first(t, &s, NULL), OK);
    assert_int_equal(table_find(t, STR("alias"), STR(""), &s, NULL), OK);
    table_unref(t);
}

static void a_new_version_has_the_one_before_behind_it(void **state)
{
    struct flow *f = flow_of("houses", 2), *old = flow_of("houses", 1);
    const struct served v = { "houses", "/h/2", 2, MODEL_READY, "", f, old };
    const struct served_model m = {
        .name = "houses", .version = &v, .version_count = 1, .current = &v
    };
    struct table *t = table_new(&m, 1, NULL);
    flow_unref(f);
    flow_unref(old);
    disposed = 0;
    assert_ptr_equal(table_before(t, f), old);
    assert_null(table_before(t, old));
    table_unref(t);
    assert_int_equal(disposed, 2);
}

static void what_is_not_found_is_told(void **state)
{
    struct table *t = make();
    const struct served *s;
    struct err e;
    assert_int_equal(table_find(t, STR("house"), STR(""), &s, &e), NOT_FOUND);
    assert_string_equal(e.text,
                        "Request for unknown model: 'house' is not found; did you mean 'houses'?");
    assert_int_equal(table_find(t, STR("houses"), STR("7"), &s, &e), NOT_FOUND);
    assert_string_equal(e.text, "Request for unknown model: 'houses' version 7 is not found");
    assert_int_equal(table_find(t, STR("houses"), STR("canary"), &s, &e), NOT_FOUND);
    assert_int_equal(table_find(t, STR("houses"), STR("3"), &s, &e), BUSY);
    assert_int_equal(table_find(t, STR("empty"), STR(""), &s, &e), NOT_FOUND);
    assert_string_equal(e.text, "Request for unknown model: 'empty' has no available versions");
    assert_null(s);
    table_unref(t);
}

static void the_last_holder_disposes_of_a_flow(void **state)
{
    struct table *t = make();
    struct flow *f = flow_ref(table_at(t, 0)->current->flow);
    disposed = 0;
    table_unref(t);
    assert_int_equal(disposed, 0);
    flow_unref(f);
    assert_int_equal(disposed, 1);
}

static void policies_are_read(void **state)
{
    struct version_policy p;
    struct err e;
    assert_int_equal(policy_parse(STR("latest"), &p, &e), OK);
    assert_true(policy_wants(&p, 9, 0));
    assert_false(policy_wants(&p, 8, 1));
    assert_int_equal(policy_parse(STR("latest:2"), &p, &e), OK);
    assert_true(policy_wants(&p, 8, 1));
    assert_int_equal(policy_parse(STR("all"), &p, &e), OK);
    assert_true(policy_wants(&p, 1, 1000));
    assert_int_equal(policy_parse(STR("specific:1, 3"), &p, &e), OK);
    assert_true(policy_wants(&p, 3, 0));
    assert_false(policy_wants(&p, 2, 0));
}

static void what_is_no_policy_is_refused(void **state)
{
    static const char *const bad[] = { "",           "newest",        "latest:0",
                                       "latest:x",   "all:1",         "specific",
                                       "specific:",  "specific:1,,2", "specific:-1",
                                       "latest:1001" };
    struct version_policy p;
    struct err e;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(policy_parse(str_of(bad[i]), &p, &e), INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_is_found_by_number_and_label_and_by_default),
        cmocka_unit_test(a_new_version_has_the_one_before_behind_it),
        cmocka_unit_test(what_is_not_found_is_told),
        cmocka_unit_test(the_last_holder_disposes_of_a_flow),
        cmocka_unit_test(policies_are_read),
        cmocka_unit_test(what_is_no_policy_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
