#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/npz.h"

#include "base/file.h"

#include <string.h>

static struct arena arena;

static int setup(void **state)
{
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    arena_deinit(&arena);
    return 0;
}

/* A file that numpy wrote: np.savez, np.savez_compressed and np.save of small arrays. */
static struct str numpy_wrote(const char *name)
{
    struct file_map *m;
    const char *path = arena_printf(&arena, "%s/tests/fuzz/corpus/npz/%s", OAR_SOURCE_DIR, name);
    assert_int_equal(file_map_open(path, 1 << 20, &m, NULL), OK);
    struct str s = { arena_strndup(&arena, (const char *)file_map_data(m), file_map_size(m)),
                     file_map_size(m) };
    file_map_unref(m);
    return s;
}

static const struct tensor *find(const struct npz *z, const char *name)
{
    const struct tensor *t = npz_find(z, str_of(name));
    assert_non_null(t);
    return t;
}

static void assert_a(const struct tensor *t)
{
    assert_int_equal(t->dtype, DTYPE_F32);
    assert_true(shape_eq(&t->shape, &SHAPE(2, 3)));
    for (int i = 0; i < 6; i++)
        assert_true(((const float *)t->data)[i] == (float)i);
}

static void stored_arrays_of_numpy_are_read(void **state)
{
    struct npz z;
    assert_int_equal(npz_read(numpy_wrote("stored.npz"), "f", &arena, &z, NULL), OK);
    assert_int_equal(z.count, 2);
    assert_a(find(&z, "a"));
    const struct tensor *b = find(&z, "b");
    assert_int_equal(b->dtype, DTYPE_I64);
    assert_int_equal(((const int64_t *)b->data)[1], -2);
    assert_null(npz_find(&z, STR("c")));
}

static void deflated_arrays_of_numpy_are_read(void **state)
{
    struct npz z;
    assert_int_equal(npz_read(numpy_wrote("deflated.npz"), "f", &arena, &z, NULL), OK);
    assert_a(find(&z, "a"));
    assert_int_equal(find(&z, "u")->dtype, DTYPE_U8);
}

static void fortran_order_empty_and_scalar_arrays_are_read(void **state)
{
    struct npz z;
    assert_int_equal(npz_read(numpy_wrote("fortran.npz"), "f", &arena, &z, NULL), OK);
    assert_a(find(&z, "f"));
    assert_true(shape_eq(&find(&z, "empty")->shape, &SHAPE(0, 4)));
    assert_int_equal(find(&z, "scalar")->shape.rank, 0);
    assert_true(*(const double *)find(&z, "scalar")->data == 2.5);
}

static void a_single_npy_is_read(void **state)
{
    struct tensor t;
    assert_int_equal(npy_read(numpy_wrote("one.npy"), "f", &arena, &t, NULL), OK);
    assert_a(&t);
}

static void pickled_objects_are_refused(void **state)
{
    struct npz z;
    struct err e;
    assert_int_equal(npz_read(numpy_wrote("object.npz"), "f", &arena, &z, &e), UNSUPPORTED);
    assert_non_null(strstr(e.text, "'o.npy'"));
}

static void what_is_written_is_read_again(void **state)
{
    static const float a[6] = { 0, 1, 2, 3, 4, 5 };
    static const int64_t b[1] = { 7 };
    struct npz_array arrays[] = { { STR("a"), { DTYPE_F32, SHAPE(2, 3), a, { 0 } } },
                                  { STR("b"), { DTYPE_I64, SHAPE(1), b, { 0 } } } };
    struct buf out;
    struct npz z;
    buf_init(&out, 1 << 20);
    npz_write(arrays, 2, &out);
    assert_int_equal(buf_check(&out), OK);
    assert_int_equal(npz_read(buf_view(&out), "f", &arena, &z, NULL), OK);
    assert_int_equal(z.count, 2);
    assert_a(find(&z, "a"));
    assert_int_equal(*(const int64_t *)find(&z, "b")->data, 7);
    buf_deinit(&out);
}

static void every_truncation_is_refused(void **state)
{
    struct str whole = numpy_wrote("stored.npz");
    for (size_t n = 0; n < whole.n; n++) {
        struct npz z;
        struct err e = { "" };
        assert_int_not_equal(npz_read((struct str){ whole.p, n }, "f", &arena, &z, &e), OK);
        assert_true(e.text[0] == 'f');
    }
}

static void a_flipped_byte_of_an_array_is_seen(void **state)
{
    struct str whole = numpy_wrote("stored.npz");
    char *bytes = arena_strndup(&arena, whole.p, whole.n);
    struct npz z;
    struct err e;
    assert_int_equal(npz_read((struct str){ bytes, whole.n }, "f", &arena, &z, NULL), OK);
    char *a = memmem(bytes, whole.n, find(&z, "a")->data, 6 * sizeof(float));
    assert_non_null(a);
    a[5] ^= 0x10;
    assert_int_equal(npz_read((struct str){ bytes, whole.n }, "f", &arena, &z, &e), CORRUPT);
    assert_non_null(strstr(e.text, "CRC-32"));
}

static void a_shape_larger_than_the_file_is_refused(void **state)
{
    static const char head[] = "\x93NUMPY\x01\x00\x4a\x00{'descr': '<f4', 'fortran_order': False, "
                               "'shape': (4611686018427387904, 8), }\n";
    struct tensor t;
    struct err e;
    assert_int_equal(npy_read((struct str){ head, 10 + 74 }, "f", &arena, &t, &e), INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(stored_arrays_of_numpy_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(deflated_arrays_of_numpy_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(fortran_order_empty_and_scalar_arrays_are_read, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_single_npy_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(pickled_objects_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_written_is_read_again, setup, teardown),
        cmocka_unit_test_setup_teardown(every_truncation_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flipped_byte_of_an_array_is_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(a_shape_larger_than_the_file_is_refused, setup, teardown),
    };
    return cmocka_run_group_tests_name("codec/npz", tests, NULL, NULL);
}
