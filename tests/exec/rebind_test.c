/* Plans for lengths never seen, made out of others, give what plans of their own give. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "exec/exec.h"
#include "exec/internal.h"
#include "zoo.h"

#define ROWS_MAX 600

struct text {
    int64_t words[ROWS_MAX], offset[9];
    struct tensor in[2];
};

/* `rows` words in `parts` sentences. */
static void make_text(struct text *t, int64_t rows, int parts)
{
    for (int64_t i = 0; i < rows; i++)
        t->words[i] = 1 + (i * 131 + rows * 17 + parts) % 90;
    for (int i = 0; i <= parts; i++)
        t->offset[i] = rows * i / parts;
    t->in[0] = (struct tensor){ .dtype = DTYPE_I64, .shape = SHAPE(rows, 1), .data = t->words };
    t->in[0].lod = (struct lod){ 1, { { t->offset, parts + 1 } } };
}

/* `parts` texts of one length, and how long each of them really is. */
static void make_padded(struct text *t, int64_t rows, int parts)
{
    int64_t length = rows / parts;
    make_text(t, rows, parts);
    for (int i = 0; i < parts; i++)
        t->offset[i] = 1 + (i * 7 + rows) % length;
    t->in[0] =
        (struct tensor){ .dtype = DTYPE_I64, .shape = SHAPE(parts, length), .data = t->words };
    t->in[1] = (struct tensor){ .dtype = DTYPE_I64, .shape = SHAPE(parts), .data = t->offset };
}

static struct model *open_model(const char *name)
{
    char path[256];
    struct err e = { "" };
    struct model *m;
    snprintf(path, sizeof(path), OAR_SOURCE_DIR "/tests/data/zoo/%s/pdmodel26", name);
    if (model_open(path, NULL, &m, &e) != OK)
        fail_msg("%s", e.text);
    return m;
}

static void run(struct exec *x, struct model *m, struct text *t, struct tensor *out)
{
    struct err e = { "" };
    if (exec_run(x, m, t->in, out, &e) != OK)
        fail_msg("%s", e.text);
}

static int count_rebound(struct model *m)
{
    int n = 0;
    for (struct list *l = m->plans.next; l != &m->plans; l = l->next)
        n += LIST_ENTRY(l, struct plan, node)->base != NULL;
    return n;
}

static void compare(const char *name, void (*make)(struct text *t, int64_t rows, int parts),
                    int least)
{
    static struct text t;
    struct model *m = open_model(name);
    struct exec *x = exec_new();
    for (int i = 0; i < 120; i++) {
        int64_t rows = 8 + i * 53 % 500;
        struct tensor got[4], want[4];
        make(&t, rows, 1 + i % 8);
        run(x, m, &t, got);
        struct model *fresh = open_model(name); /* has no other plan */
        struct exec *y = exec_new();
        run(y, fresh, &t, want);
        assert_true(shape_eq(&got[0].shape, &want[0].shape));
        assert_memory_equal(got[0].data, want[0].data, (size_t)tensor_bytes(&want[0]));
        exec_free(y);
        model_unref(fresh);
    }
    assert_true(count_rebound(m) >= least);
    exec_free(x);
    model_unref(m);
}

static void texts_of_any_length(void **state)
{
    compare("imdb_bow", make_text, 60);
    compare("imdb_cnn", make_text, 60);
    compare("imdb_lstm", make_text, 60);
}

/* What follows from shapes alone, here the states that a layer begins with, is computed while planning, and anew. */
static void texts_that_are_padded(void **state)
{
    compare("text_rnn_tanh", make_padded, 60);
}

/* More lengths than plans are kept: bases go, and what was made out of them serves on. */
static void bases_that_are_dropped(void **state)
{
    static struct text t;
    struct model *m = open_model("imdb_bow");
    struct exec *x = exec_new(), *y = exec_new();
    for (int i = 0; i < 3000; i++) {
        struct tensor out[4];
        make_text(&t, 8 + i * 7 % 590, 1 + i % 7);
        run(i % 3 == 0 ? y : x, m, &t, out);
    }
    assert_true(m->plan_count <= 512);
    exec_free(x);
    model_unref(m);
    exec_free(y); /* outlives the model: what it remembered is gone with that */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_of_any_length),
        cmocka_unit_test(texts_that_are_padded),
        cmocka_unit_test(bases_that_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
