/* Damaged model files: every truncation of fit_a_line and seeded bit flips of lenet_digits are
 * refused with words or give a model that runs without harm. Run under the sanitizers, this is what
 * says "never a crash".
 *
 * OAR_FLIPS sets the number of flips, for a longer run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "exec/exec.h"
#include "zoo.h"

#include <unistd.h>

#define ZOO OAR_SOURCE_DIR "/tests/data/zoo"

static char dir[64];

static void put(const char *name, const uint8_t *data, size_t n)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static struct file_map *get(const char *model, const char *name)
{
    char path[512];
    struct err e = { "" };
    struct file_map *m = NULL;
    snprintf(path, sizeof(path), "%s/%s/%s", ZOO, model, name);
    if (file_map_open(path, 1 << 24, &m, &e) != OK)
        fail_msg("%s", e.text);
    return m;
}

/* Opens and, where it opens, runs on rows of zeros. Returns whether it opened; a refusal must have
 * words. */
static bool open_and_run(struct exec *x)
{
    struct err e = { "" };
    struct model *m = NULL;
    if (model_open(dir, NULL, &m, &e) != OK) {
        assert_true(e.text[0] != '\0');
        return false;
    }
    static float zeros[28 * 28];
    struct tensor in[8], out[8];
    int inputs, outputs;
    const struct port *port = model_inputs(m, &inputs);
    model_outputs(m, &outputs);
    bool fits = inputs <= 8 && outputs <= 8;
    for (int i = 0; fits && i < inputs; i++) {
        in[i] = (struct tensor){ .dtype = port[i].dtype, .shape = port[i].shape, .data = zeros };
        for (int d = 0; d < in[i].shape.rank; d++)
            if (in[i].shape.dim[d] < 0)
                in[i].shape.dim[d] = 1;
        int64_t bytes = tensor_bytes(&in[i]);
        fits = bytes >= 0 && (size_t)bytes <= sizeof(zeros);
    }
    if (fits && exec_run(x, m, in, out, &e) != OK)
        assert_true(e.text[0] != '\0');
    model_unref(m);
    return true;
}

static int make_dir(void **state)
{
    snprintf(dir, sizeof(dir), "/tmp/oar-damage-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static void clear_dir(void)
{
    static const char *const names[] = { "inference.pdmodel", "inference.pdiparams" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
}

static int remove_dir(void **state)
{
    clear_dir();
    return rmdir(dir);
}

static const char *const files[] = { "inference.pdmodel", "inference.pdiparams" };

static void every_truncation_is_refused(void **state)
{
    struct exec *x = exec_new();
    for (int cut = 0; cut < 2; cut++) {
        struct file_map *f[2];
        for (int i = 0; i < 2; i++) {
            f[i] = get("fit_a_line/pdmodel26", files[i]);
            put(files[i], file_map_data(f[i]), file_map_size(f[i]));
        }
        assert_true(open_and_run(x));
        for (size_t n = 0; n < file_map_size(f[cut]); n++) {
            put(files[cut], file_map_data(f[cut]), n);
            if (open_and_run(x)) /* a program may end between two fields that nothing needs */
                assert_int_equal(cut, 0);
        }
        file_map_unref(f[0]);
        file_map_unref(f[1]);
    }
    exec_free(x);
}

static uint64_t random_next(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return *s >> 20;
}

static void bit_flips_do_no_harm(void **state)
{
    const char *asked = getenv("OAR_FLIPS");
    int flips = asked != NULL ? (int)strtol(asked, NULL, 10) : 10000, opened = 0;
    uint64_t seed = 20261124;
    struct exec *x = exec_new();
    struct file_map *f[2];
    for (int i = 0; i < 2; i++) {
        f[i] = get("lenet_digits/pdmodel26", files[i]);
        put(files[i], file_map_data(f[i]), file_map_size(f[i]));
    }
    for (int i = 0; i < flips; i++) {
        int which = i % 4 == 3; /* the program holds the structure: most flips go there */
        size_t n = file_map_size(f[which]);
        uint8_t *copy = malloc(n);
        memcpy(copy, file_map_data(f[which]), n);
        uint64_t bit = random_next(&seed) % (n * 8);
        if (which == 1 && i % 8 == 3)
            bit %= 400; /* and half of the rest into the first tensor's head */
        copy[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        put(files[which], copy, n);
        opened += open_and_run(x);
        put(files[which], file_map_data(f[which]), n);
        free(copy);
    }
    print_message("%d of %d damaged files still loaded\n", opened, flips);
    file_map_unref(f[0]);
    file_map_unref(f[1]);
    exec_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_truncation_is_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(bit_flips_do_no_harm, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
