/* The framework's own recordings: every form of every model that ships with the tests, every
 * recorded input set, with the fast kernels and with ref alone. Tolerance: 1e-5 of the output's
 * largest magnitude. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "exec/exec.h"
#include "zoo.h"

#include <dirent.h>

#define ZOO       OAR_SOURCE_DIR "/tests/data/zoo"
#define TOLERANCE 1e-5

static void run_case(struct exec *x, struct model *m, const char *dir, struct zoo_case *c)
{
    struct err e = { "" };
    int inputs, outputs;
    const struct port *port = model_inputs(m, &inputs);
    model_outputs(m, &outputs);
    struct tensor in[64], out[16], want;
    assert_true(inputs <= 64 && outputs <= 16);
    for (int i = 0; i < inputs; i++)
        assert_true(zoo_tensor(&c->in, "in", port[i].value, &in[i]));
    if (exec_run(x, m, in, out, &e) != OK)
        fail_msg("%s: %s", dir, e.text);
    for (int i = 0; i < outputs; i++) {
        assert_true(zoo_tensor(&c->out, "out", i, &want));
        double error = zoo_error(&out[i], &want);
        if (!(error <= TOLERANCE))
            fail_msg("%s: output %d differs by %g", dir, i, error);
    }
}

static void run_form(const char *dir, const struct model_options *opt, int *cases)
{
    struct err e = { "" };
    struct model *m = NULL;
    if (model_open(dir, opt, &m, &e) != OK)
        fail_msg("%s: %s", dir, e.text);
    struct exec *x = exec_new();
    for (int n = 0;; n++) {
        struct arena a;
        struct zoo_case c;
        arena_init(&a, 0);
        bool there = zoo_case_open(dir, n, &a, &c);
        if (there) {
            run_case(x, m, dir, &c);
            zoo_case_close(&c);
            ++*cases;
        }
        arena_deinit(&a);
        if (!there)
            break;
    }
    exec_free(x);
    model_unref(m);
}

static void run_model(const char *model, const struct model_options *opt, int *cases)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", ZOO, model);
    DIR *d = opendir(path);
    if (d == NULL)
        fail_msg("%s is missing", path);
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        if (f->d_name[0] == '.')
            continue;
        char form[2048];
        snprintf(form, sizeof(form), "%s/%s", path, f->d_name);
        run_form(form, opt, cases);
    }
    closedir(d);
}

static const char *const models[] = { "fit_a_line",     "lenet_digits",  "imdb_bow",
                                      "imdb_cnn",       "imdb_lstm",     "wide_deep",
                                      "ops_array_loop", "ops_rank_table" };

static void run_all(const struct model_options *opt)
{
    int cases = 0;
    for (size_t i = 0; i < ARRAY_LEN(models); i++)
        run_model(models[i], opt, &cases);
    assert_true(cases >= 30);
}

static void fast_kernels(void **state)
{
    run_all(NULL);
}

static void ref_kernels(void **state)
{
    run_all(&(struct model_options){ .ref_only = true });
}

static void without_passes(void **state)
{
    run_all(&(struct model_options){ .no_fuse = true });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fast_kernels),
        cmocka_unit_test(ref_kernels),
        cmocka_unit_test(without_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
