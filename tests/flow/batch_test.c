/* The batcher with real models: who gets which answer, whatever is joined, cut, refused or goes wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "flow/batch.h"
#include "import/program_builder.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#define HOUSES OAR_SOURCE_DIR "/tests/data/zoo/fit_a_line/pdmodel26"
#define WORDS  OAR_SOURCE_DIR "/tests/data/zoo/imdb_bow/pdmodel26"
#define ASKED  64

struct asked {
    struct batch_item item;
    struct tensor in;
    struct arena arena;
    status code;
    float *out;
    int64_t numbers;
    int order; /* which to be answered */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;
static int done_count;

static void on_done(struct batch_item *i, status s, const struct tensor *out, struct exec *x)
{
    struct asked *q = LIST_ENTRY(i, struct asked, item);
    q->code = s;
    if (s == OK) {
        q->numbers = shape_numel(&out[0].shape);
        q->out = mem_alloc((size_t)q->numbers * sizeof(float));
        memcpy(q->out, out[0].data, (size_t)q->numbers * sizeof(float));
    }
    pthread_mutex_lock(&lock);
    q->order = done_count++;
    pthread_cond_signal(&ended);
    pthread_mutex_unlock(&lock);
}

static void wait_for(int count)
{
    pthread_mutex_lock(&lock);
    while (done_count < count)
        pthread_cond_wait(&ended, &lock);
    pthread_mutex_unlock(&lock);
}

static struct model *open_model(const char *path)
{
    struct model *m;
    struct err e;
    if (model_open(path, NULL, &m, &e) != OK)
        fail_msg("%s", e.text);
    return m;
}

static void forget(struct asked *q, int count)
{
    for (int i = 0; i < count; i++) {
        mem_free(q[i].out);
        arena_deinit(&q[i].arena);
    }
    done_count = 0;
}

/* `rows` houses whose first number tells them apart from all others. */
static void ask_houses(struct asked *q, int id, int64_t rows)
{
    *q = (struct asked){ .item = { .in = &q->in, .source = (uint64_t)id, .done = on_done } };
    arena_init(&q->arena, 0);
    float *x = arena_zalloc(&q->arena, (size_t)rows * 13 * sizeof(float));
    for (int64_t r = 0; r < rows; r++)
        x[r * 13] = (float)id + (float)r / 1000;
    q->in = (struct tensor){ DTYPE_F32, SHAPE(rows, 13), x, { 0 } };
}

/* One text of `words` words. */
static void ask_words(struct asked *q, int id, int64_t words, int64_t word)
{
    *q = (struct asked){ .item = { .in = &q->in, .source = (uint64_t)id, .done = on_done } };
    arena_init(&q->arena, 0);
    int64_t *x = arena_alloc(&q->arena, (size_t)words * sizeof(*x));
    int64_t *o = arena_zalloc(&q->arena, 2 * sizeof(*o));
    o[1] = words;
    for (int64_t i = 0; i < words; i++)
        x[i] = word + i % 7;
    q->in = (struct tensor){ DTYPE_I64, SHAPE(words, 1), x, { 1, { { o, 2 } } } };
}

static void check_alone(struct model *m, const struct asked *q)
{
    struct exec *x = exec_new();
    struct tensor out[4];
    assert_int_equal(q->code, OK);
    assert_int_equal(exec_run(x, m, &q->in, out, NULL), OK);
    assert_int_equal(q->numbers, shape_numel(&out[0].shape));
    for (int64_t i = 0; i < q->numbers; i++)
        assert_true(fabsf(q->out[i] - ((const float *)out[0].data)[i]) < 1e-4f);
    exec_free(x);
}

static void everybody_gets_their_own_answer(void **state)
{
    struct model *m = open_model(HOUSES);
    struct batch_counters counters = { 0 };
    struct batcher *b = batcher_new(
        m, &(struct batch_options){ .threads = 2, .max_rows = 16, .delay_us = 2000 }, &counters);
    static struct asked q[ASKED];
    for (int i = 0; i < ASKED; i++) {
        ask_houses(&q[i], i, 1 + i % 3);
        assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
    }
    wait_for(ASKED);
    for (int i = 0; i < ASKED; i++)
        check_alone(m, &q[i]);
    assert_true(atomic_load(&counters.batches) < ASKED / 2);
    assert_int_equal(atomic_load(&counters.queued), 0);
    batcher_free(b);
    forget(q, ASKED);
    model_unref(m);
}

static void ragged_requests_are_joined_without_padding(void **state)
{
    struct model *m = open_model(WORDS);
    struct batch_counters counters = { 0 };
    struct batcher *b = batcher_new(
        m, &(struct batch_options){ .threads = 1, .max_rows = 32, .delay_us = 5000 }, &counters);
    static struct asked q[ASKED];
    for (int i = 0; i < ASKED; i++) {
        ask_words(&q[i], i, 1 + i * 7 % 90, i);
        assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
    }
    wait_for(ASKED);
    for (int i = 0; i < ASKED; i++)
        check_alone(m, &q[i]);
    assert_true(atomic_load(&counters.batches) < ASKED / 2);
    assert_int_equal(atomic_load(&counters.padding), 0);
    batcher_free(b);
    forget(q, ASKED);
    model_unref(m);
}

static void one_request_s_fault_touches_no_other(void **state)
{
    struct model *m = open_model(WORDS);
    struct batch_counters counters = { 0 };
    struct batcher *b = batcher_new(
        m, &(struct batch_options){ .threads = 1, .max_rows = 8, .delay_us = 20000 }, &counters);
    static struct asked q[8];
    for (int i = 0; i < 8; i++) {
        ask_words(&q[i], i, 5, i == 3 ? INT64_C(1) << 40 : i);
        assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
    }
    wait_for(8);
    for (int i = 0; i < 8; i++)
        if (i != 3)
            check_alone(m, &q[i]);
    assert_int_equal(q[3].code, INVALID);
    assert_int_equal(atomic_load(&counters.alone), 8);
    batcher_free(b);
    forget(q, 8);
    model_unref(m);
}

static void a_large_request_is_computed_in_pieces(void **state)
{
    struct model *m = open_model(HOUSES);
    struct batch_counters counters = { 0 };
    struct batcher *b =
        batcher_new(m, &(struct batch_options){ .threads = 2, .max_rows = 8 }, &counters);
    static struct asked q[6];
    for (int i = 0; i < 6; i++) {
        ask_houses(&q[i], i, i % 2 == 0 ? 100 : 3);
        assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
    }
    wait_for(6);
    for (int i = 0; i < 6; i++)
        check_alone(m, &q[i]);
    assert_true(atomic_load(&counters.batches) >= 38);
    batcher_free(b);
    forget(q, 6);
    model_unref(m);
}

/* A thousand of one connection are there before the one of another. */
static void connections_take_turns(void **state)
{
    enum {
        MANY = 300
    };
    struct model *m = open_model(HOUSES);
    struct batch_counters counters = { 0 };
    struct batcher *b = batcher_new(
        m, &(struct batch_options){ .threads = 1, .max_rows = 4, .delay_us = 100 }, &counters);
    static struct asked q[MANY + 1];
    for (int i = 0; i < MANY; i++) {
        ask_houses(&q[i], i, 1);
        q[i].item.source = 7;
        assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
    }
    int before = MANY - (int)atomic_load(&counters.queued);
    ask_houses(&q[MANY], 1, 1);
    q[MANY].item.source = 8;
    assert_int_equal(batcher_submit(b, &q[MANY].item, NULL), OK);
    wait_for(MANY + 1);
    assert_in_range(q[MANY].order, 0, before + 60); /* some batches may have gone meanwhile */
    batcher_free(b);
    forget(q, MANY + 1);
    model_unref(m);
}

/* Nothing is asked for but batches: where they bring nothing to so small a model, requests need not queue for them. */
static void what_joining_does_not_pay_for_passes_the_queue(void **state)
{
    struct model *m = open_model(HOUSES);
    struct batch_counters counters = { 0 };
    struct batcher *b =
        batcher_new(m, &(struct batch_options){ .threads = 1, .max_rows = 8 }, &counters);
    struct exec *x = exec_new();
    static struct asked q[ASKED];
    int passed = 0;
    for (int round = 0; round < 200 && passed < ASKED; round++) {
        int queued = 0;
        for (int i = 0; i < ASKED; i++) {
            ask_houses(&q[i], i, 1);
            if (!batcher_lets_pass(b)) {
                assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
                queued++;
                continue;
            }
            struct tensor out[4];
            uint64_t begun = batcher_begin_direct(b);
            assert_int_equal(exec_run(x, m, &q[i].in, out, NULL), OK);
            batcher_end_direct(b, begun, &q[i].in);
            passed++;
        }
        wait_for(queued);
        forget(q, ASKED);
    }
    assert_true(passed >= ASKED);
    assert_int_equal(atomic_load(&counters.direct), passed);
    batcher_free(b);
    exec_free(x);
    model_unref(m);
}

/* Who says how long requests may wait wants the queue. */
static void a_delay_that_is_asked_for_keeps_everybody_in_the_queue(void **state)
{
    struct model *m = open_model(HOUSES);
    struct batch_counters counters = { 0 };
    struct batcher *b = batcher_new(
        m, &(struct batch_options){ .threads = 1, .max_rows = 8, .delay_us = 1 }, &counters);
    static struct asked q[ASKED];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < ASKED; i++) {
            ask_houses(&q[i], i, 1);
            assert_false(batcher_lets_pass(b));
            assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
        }
        wait_for(ASKED);
        forget(q, ASKED);
    }
    batcher_free(b);
    model_unref(m);
}

static void the_urgent_ones_go_first(void **state)
{
    enum {
        MANY = 200
    };
    struct model *m = open_model(HOUSES);
    struct batch_counters counters = { 0 };
    struct batcher *b = batcher_new(
        m, &(struct batch_options){ .threads = 1, .max_rows = 1, .levels = 3 }, &counters);
    static struct asked q[MANY];
    int64_t urgent = 0, other = 0;
    for (int i = 0; i < MANY; i++) {
        ask_houses(&q[i], i, 1);
        q[i].item.level = i % 2 == 0 ? 3 : 1;
        assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
    }
    wait_for(MANY);
    for (int i = 0; i < MANY; i++)
        *(i % 2 == 0 ? &other : &urgent) += q[i].order;
    assert_true(urgent < other);
    batcher_free(b);
    forget(q, MANY);
    model_unref(m);
}

static void a_full_queue_refuses_and_an_overdue_request_is_told(void **state)
{
    struct model *m = open_model(HOUSES);
    struct batch_counters counters = { 0 };
    struct batch_options o = { .threads = 1,
                               .max_rows = 64,
                               .delay_us = 100000,
                               .all = { .queue_max = 2, .timeout_us = 20000 } };
    struct batcher *b = batcher_new(m, &o, &counters);
    static struct asked q[3];
    struct err e = { "" };
    for (int i = 0; i < 3; i++)
        ask_houses(&q[i], i, 1);
    q[1].item.deadline_ns = clock_ns() + 1000000000;
    assert_int_equal(batcher_submit(b, &q[0].item, NULL), OK);
    assert_int_equal(batcher_submit(b, &q[1].item, NULL), OK);
    assert_int_equal(batcher_submit(b, &q[2].item, &e), BUSY);
    assert_non_null(strstr(e.text, "queue size"));
    wait_for(2); /* which wait for others for longer than they may */
    assert_int_equal(q[0].code, TIMED_OUT);
    assert_int_equal(q[1].code, TIMED_OUT);
    assert_int_equal(atomic_load(&counters.overdue), 2);
    batcher_free(b);
    forget(q, 3);
    model_unref(m);
}

/* Two priorities: the first has a queue of its own, of one, whose overdue requests are computed all the same. */
static void a_priority_may_have_its_own_queue(void **state)
{
    struct model *m = open_model(HOUSES);
    struct batch_counters counters = { 0 };
    struct batch_options o = { .threads = 1,
                               .max_rows = 64,
                               .delay_us = 60000,
                               .levels = 2,
                               .all = { .queue_max = 3, .timeout_us = 10000 } };
    o.own[0] = (struct batch_policy){
        .given = true, .queue_max = 1, .timeout_us = 10000, .delay_overdue = true
    };
    struct batcher *b = batcher_new(m, &o, &counters);
    static struct asked q[5];
    for (int i = 0; i < 5; i++)
        ask_houses(&q[i], i, 1);
    q[0].item.level = q[1].item.level = 1;
    q[2].item.level = q[3].item.level = q[4].item.level = 2;
    assert_int_equal(batcher_submit(b, &q[0].item, NULL), OK);
    assert_int_equal(batcher_submit(b, &q[1].item, NULL), BUSY);
    assert_int_equal(batcher_submit(b, &q[2].item, NULL), OK);
    assert_false(batcher_refuses(b));
    assert_int_equal(batcher_submit(b, &q[3].item, NULL), OK);
    assert_true(batcher_refuses(b)); /* without a look at it */
    assert_int_equal(batcher_submit(b, &q[4].item, NULL), BUSY);
    wait_for(3);
    assert_int_equal(q[0].code, OK);
    assert_int_equal(q[2].code, TIMED_OUT);
    assert_int_equal(q[3].code, TIMED_OUT);
    assert_int_equal(atomic_load(&counters.refused), 3);
    batcher_free(b);
    forget(q, 5);
    model_unref(m);
}

static void feeds_that_the_model_does_not_take_are_refused_at_once(void **state)
{
    struct model *m = open_model(HOUSES);
    struct batch_counters counters = { 0 };
    struct batcher *b = batcher_new(m, &(struct batch_options){ .threads = 1 }, &counters);
    static struct asked q[1];
    struct err e = { "" };
    ask_houses(&q[0], 1, 1);
    q[0].in.shape.dim[1] = 12;
    assert_int_equal(batcher_submit(b, &q[0].item, &e), INVALID);
    assert_non_null(strstr(e.text, "'x'"));
    batcher_free(b);
    forget(q, 1);
    model_unref(m);
}

/* ---- dense requests of unequal length ---- */

/* relu over [-1, -1]. */
static struct model *open_relu(struct temp_dir *d)
{
    struct program_builder b;
    struct buf program;
    builder_init(&b);
    ADD_VAR(&b, "x", 5, 0, 0, -1, -1);
    ADD_VAR(&b, "y", 5, 0, 0, -1, -1);
    add_end(&b, "feed", "feed", "x", 0);
    add_op(&b, "relu", "x", "y");
    add_end(&b, "fetch", "y", "fetch", 0);
    finish_program(&b, &program);
    temp_dir_make(d);
    temp_write(d, "__model__", program.data, program.len);
    buf_deinit(&program);
    builder_deinit(&b);
    return open_model(d->path);
}

static void ask_length(struct asked *q, int id, int64_t length)
{
    *q = (struct asked){ .item = { .in = &q->in, .source = (uint64_t)id, .done = on_done } };
    arena_init(&q->arena, 0);
    float *x = arena_zalloc(&q->arena, (size_t)length * sizeof(float));
    for (int64_t i = 0; i < length; i++)
        x[i] = (float)(id * 100 + i);
    q->in = (struct tensor){ DTYPE_F32, SHAPE(1, length), x, { 0 } };
}

static void check_lengths(struct model *m, const struct batch_options *o, bool joined)
{
    struct batch_counters counters = { 0 };
    struct batcher *b = batcher_new(m, o, &counters);
    static struct asked q[16];
    for (int i = 0; i < 16; i++) {
        ask_length(&q[i], i, 1 + i % 5);
        assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
    }
    wait_for(16);
    for (int i = 0; i < 16; i++)
        check_alone(m, &q[i]); /* the length too: what was added is gone again */
    assert_int_equal(atomic_load(&counters.batches) <= 2, joined);
    assert_int_equal(atomic_load(&counters.padding) > 0, joined);
    assert_int_equal(atomic_load(&counters.alone), 0);
    batcher_free(b);
    forget(q, 16);
}

static void unequal_lengths_are_padded_where_that_is_asked_for(void **state)
{
    struct temp_dir d;
    struct model *m = open_relu(&d);
    struct batch_options o = {
        .threads = 1, .max_rows = 16, .delay_us = 100000, .preferred = { 16 }, .preferred_count = 1
    };
    o.pad[o.pad_count++] = (struct batch_pad){ .input = 0, .axis = 1, .value = -7 };
    o.trim[o.trim_count++] =
        (struct batch_trim){ .output = 0, .axis = 1, .input = 0, .input_axis = 1 };
    check_lengths(m, &o, true);
    o.pad_count = o.trim_count = 0;
    o.delay_us = 100;
    check_lengths(m, &o, false); /* only equal lengths go together */
    model_unref(m);
    temp_dir_remove(&d);
}

static void lengths_that_are_far_apart_are_not_padded_together(void **state)
{
    struct temp_dir d;
    struct model *m = open_relu(&d);
    struct batch_options o = { .threads = 1, .max_rows = 16, .delay_us = 20000 };
    struct batch_counters counters = { 0 };
    o.pad[o.pad_count++] = (struct batch_pad){ .input = 0, .axis = 1 };
    o.trim[o.trim_count++] =
        (struct batch_trim){ .output = 0, .axis = 1, .input = 0, .input_axis = 1 };
    struct batcher *b = batcher_new(m, &o, &counters);
    static struct asked q[4];
    static const int64_t length[] = { 10, 100, 12, 110 };
    for (int i = 0; i < 4; i++) {
        ask_length(&q[i], i, length[i]);
        assert_int_equal(batcher_submit(b, &q[i].item, NULL), OK);
    }
    wait_for(4);
    for (int i = 0; i < 4; i++)
        check_alone(m, &q[i]);
    assert_int_equal(atomic_load(&counters.batches), 2);
    assert_int_equal(atomic_load(&counters.padding), 2 + 10);
    batcher_free(b);
    forget(q, 4);
    model_unref(m);
    temp_dir_remove(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_gets_their_own_answer),
        cmocka_unit_test(ragged_requests_are_joined_without_padding),
        cmocka_unit_test(one_request_s_fault_touches_no_other),
        cmocka_unit_test(a_large_request_is_computed_in_pieces),
        cmocka_unit_test(connections_take_turns),
        cmocka_unit_test(what_joining_does_not_pay_for_passes_the_queue),
        cmocka_unit_test(a_delay_that_is_asked_for_keeps_everybody_in_the_queue),
        cmocka_unit_test(the_urgent_ones_go_first),
        cmocka_unit_test(a_full_queue_refuses_and_an_overdue_request_is_told),
        cmocka_unit_test(lengths_that_are_far_apart_are_not_padded_together),
        cmocka_unit_test(a_priority_may_have_its_own_queue),
        cmocka_unit_test(unequal_lengths_are_padded_where_that_is_asked_for),
        cmocka_unit_test(feeds_that_the_model_does_not_take_are_refused_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
