/* What the framework answered for each operator over attributes, shapes and dtypes (tools/op_recordings), with the fast
 * kernels and with ref alone. Tolerance: 1e-5 of the output's largest magnitude; integers are equal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "exec/exec.h"
#include "zoo.h"

#include <dirent.h>

#define OPS       OAR_SOURCE_DIR "/tests/data/ops"
#define TOLERANCE 1e-5

static bool same_lod(const struct tensor *got, const struct tensor *want)
{
    if (got->lod.levels != want->lod.levels)
        return false;
    for (int l = 0; l < want->lod.levels; l++) {
        const struct lod_level *a = &got->lod.level[l], *b = &want->lod.level[l];
        if (a->count != b->count ||
            memcmp(a->offset, b->offset, (size_t)a->count * sizeof(int64_t)) != 0)
            return false;
    }
    return true;
}

static void compare(const struct zoo_case *c, const struct port *port, const struct tensor *got,
                    int count, const char *dir)
{
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    struct tensor want;
    for (int i = 0; i < count; i++) {
        if (!zoo_tensor(&c->out, "out", i, &want))
            fail_msg("%s: no answer for output %d", dir, i);
        double error = zoo_error(&got[i], &want);
        if (!(error <= TOLERANCE) || !same_lod(&got[i], &want))
            fail_msg("%s: output %d (%s), %s %s, differs by %g from %s %s", dir, i, port[i].name,
                     dtype_name(got[i].dtype), shape_text(&got[i].shape, a, sizeof(a)), error,
                     dtype_name(want.dtype), shape_text(&want.shape, b, sizeof(b)));
    }
}

static void run_case(struct model *m, const struct zoo_case *c, const char *dir)
{
    struct err e = { "" };
    int inputs, outputs;
    const struct port *in_port = model_inputs(m, &inputs), *out_port = model_outputs(m, &outputs);
    struct tensor *in = mem_zalloc((size_t)inputs * sizeof(*in) + 1);
    struct tensor *out = mem_zalloc((size_t)outputs * sizeof(*out) + 1);
    struct exec *x = exec_new();
    for (int i = 0; i < inputs; i++)
        assert_true(zoo_tensor(&c->in, "in", in_port[i].value, &in[i]));
    if (exec_run(x, m, in, out, &e) != OK)
        fail_msg("%s: %s", dir, e.text);
    compare(c, out_port, out, outputs, dir);
    exec_free(x);
    mem_free(in);
    mem_free(out);
}

static void run_form(const char *dir, const struct model_options *opt)
{
    struct err e = { "" };
    struct model *m = NULL;
    struct arena a;
    struct zoo_case c;
    arena_init(&a, 0);
    if (model_open(dir, opt, &m, &e) != OK)
        fail_msg("%s: %s", dir, e.text);
    assert_true(zoo_case_open(dir, 0, &a, &c));
    run_case(m, &c, dir);
    zoo_case_close(&c);
    model_unref(m);
    arena_deinit(&a);
}

/* Calls fn for each entry of a directory. */
static int each(const char *path, void (*fn)(const char *path, void *arg), void *arg)
{
    char child[2048];
    int count = 0;
    DIR *d = opendir(path);
    if (d == NULL)
        fail_msg("%s is missing", path);
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        if (f->d_name[0] == '.')
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, f->d_name);
        fn(child, arg);
        count++;
    }
    closedir(d);
    return count;
}

static void on_form(const char *path, void *opt)
{
    run_form(path, opt);
}

static void on_family(const char *path, void *opt)
{
    assert_true(each(path, on_form, opt) >= 1);
}

static void fast_kernels(void **state)
{
    assert_true(each(OPS, on_family, NULL) >= 1);
}

static void ref_kernels(void **state)
{
    each(OPS, on_family, &(struct model_options){ .ref_only = true });
}

static void without_passes(void **state)
{
    each(OPS, on_family, &(struct model_options){ .no_fuse = true });
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
