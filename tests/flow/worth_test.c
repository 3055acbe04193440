/* What is decided about joining requests, by what they are said to cost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/err.h"
#include "flow/worth.h"

#define MS UINT64_C(1000000)

/* A model whose requests have 10 elements each; what a batch of eight of them costs, one in the queue, one that passes it. */
struct model_cost {
    double batch_us, alone_us, direct_us;
};

/* Keeps a busy server of it going for so many milliseconds; how many of its requests passed the queue. */
static int serve(struct worth *w, const struct model_cost *m, uint64_t *now, int ms, int *apart)
{
    int direct = 0;
    *apart = 0;
    for (uint64_t end = *now + (uint64_t)ms * MS; *now < end;) {
        if (*now < worth_passes_until(w)) {
            worth_note_direct(w, (struct worth_cost){ m->direct_us * 1000, 10, 1 }, *now);
            *now += (uint64_t)(m->direct_us * 1000);
            direct++;
            continue;
        }
        bool is_apart = worth_is_apart(w, *now), one = is_apart || worth_compares(w);
        struct worth_cost cost = { (one ? m->alone_us : m->batch_us) * 1000, one ? 10 : 80,
                                   one ? 1 : 8 };
        *now += (uint64_t)cost.ns;
        *apart += is_apart;
        if (one && !is_apart)
            worth_note_alone(w, cost);
        else
            worth_note_queued(w, cost, *now);
    }
    return direct;
}

static void a_tiny_model_is_computed_by_whoever_has_the_request(void **state)
{
    struct worth w = { 0 };
    uint64_t now = MS;
    int apart;
    int direct = serve(&w, &(struct model_cost){ 24, 4, 3 }, &now, 1000, &apart);
    assert_in_range(direct, 1000 * 1000 / 3 * 8 / 10, 1000 * 1000); /* most of the time */
}

static void what_joining_makes_cheaper_is_joined(void **state)
{
    struct worth w = { 0 };
    uint64_t now = MS;
    int apart;
    int direct = serve(&w, &(struct model_cost){ 8 * 90, 190, 170 }, &now, 3000, &apart);
    assert_int_equal(apart, 0);
    assert_in_range(direct, 1, 200); /* now and then, to know */
}

/* A model that is not quick stays in the queue, since a loop must not be kept by it. */
static void a_slow_model_that_gains_nothing_stays_apart_in_the_queue(void **state)
{
    struct worth w = { 0 };
    uint64_t now = MS;
    int apart;
    assert_int_equal(serve(&w, &(struct model_cost){ 8 * 1010, 1000, 1000 }, &now, 3000, &apart),
                     0);
    assert_in_range(apart, 1500, 3000);
}

static void the_other_way_is_tried_again(void **state)
{
    struct worth w = { 0 };
    uint64_t now = MS;
    int apart;
    serve(&w, &(struct model_cost){ 8 * 1010, 1000, 1000 }, &now, 3000, &apart);
    serve(&w, &(struct model_cost){ 8 * 300, 1000, 1000 }, &now, 5000,
          &apart); /* longer than it stays apart */
    assert_int_equal(serve(&w, &(struct model_cost){ 8 * 300, 1000, 1000 }, &now, 1000, &apart), 0);
    assert_int_equal(apart, 0);
}

static void a_run_that_was_held_up_decides_nothing(void **state)
{
    struct worth w = { 0 };
    uint64_t now = MS;
    int apart;
    const struct model_cost m = { 8 * 500, 1000, 1000 };
    serve(&w, &m, &now, 500, &apart);
    worth_note_queued(&w, (struct worth_cost){ 1e9, 80, 8 }, now); /* made a plan, a second long */
    serve(&w, &m, &now, 500, &apart);
    assert_int_equal(apart, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tiny_model_is_computed_by_whoever_has_the_request),
        cmocka_unit_test(what_joining_makes_cheaper_is_joined),
        cmocka_unit_test(a_slow_model_that_gains_nothing_stays_apart_in_the_queue),
        cmocka_unit_test(the_other_way_is_tried_again),
        cmocka_unit_test(a_run_that_was_held_up_decides_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
