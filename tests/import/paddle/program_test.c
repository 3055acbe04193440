#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "import/paddle/program.h"
#include "import/program_builder.h"

#include <string.h>

#define FIT_A_LINE OAR_SOURCE_DIR "/tests/data/zoo/fit_a_line/pdmodel26/inference.pdmodel"

static void a_program_of_paddle_decodes(void **state)
{
    struct arena a;
    struct program p;
    struct file_map *map;
    arena_init(&a, PROGRAM_ARENA_MAX);
    assert_int_equal(program_decode(read_all(FIT_A_LINE, &map), &a, &p, NULL), OK);
    assert_int_equal(p.version, 2006002);
    assert_int_equal(p.block_count, 1);
    const struct block_desc *b = &p.block[0];
    assert_int_equal(b->op_count, 5);
    assert_true(str_is(b->op[0].type, "feed"));
    assert_true(str_is(b->op[1].type, "mul"));
    const struct slot_desc *x = op_slot_in(&b->op[1], "X");
    assert_int_equal(x->arg_count, 1);
    assert_true(str_is(x->arg[0], "x"));
    assert_int_equal(op_attr(&b->op[1], "x_num_col_dims")->i, 1);
    assert_null(op_attr(&b->op[1], "colour"));
    int params = 0;
    for (int i = 0; i < b->var_count; i++) {
        params += var_is_param(&b->var[i]);
        if (str_is(b->var[i].name, "x"))
            assert_true(shape_eq(&b->var[i].shape, &SHAPE(-1, 13)));
    }
    assert_int_equal(params, 2); /* feed and fetch are persistable, but no parameters */
    arena_deinit(&a);
    file_map_unref(map);
}

static bool same_ops(const struct program *a, const struct program *b)
{
    return a->block_count == b->block_count && a->block[0].op_count == b->block[0].op_count &&
           a->block[0].var_count == b->block[0].var_count;
}

/* Only what stands behind the one block (the version) may be missing. */
static void every_truncation_is_refused_or_equal(void **state)
{
    struct file_map *map;
    struct arena a;
    struct program whole, cut;
    struct str bytes = read_all(FIT_A_LINE, &map);
    arena_init(&a, PROGRAM_ARENA_MAX);
    assert_int_equal(program_decode(bytes, &a, &whole, NULL), OK);
    int accepted = 0;
    for (size_t n = 0; n < bytes.n; n++) {
        struct err e = { "" };
        char *copy = memcpy(mem_alloc(n + 1), bytes.p, n);
        status s = program_decode((struct str){ copy, n }, &a, &cut, &e);
        accepted += s == OK;
        if (s == OK)
            assert_true(same_ops(&whole, &cut));
        else
            assert_int_equal(s, CORRUPT);
        assert_int_equal(e.text[0] == '\0', s == OK);
        mem_free(copy);
    }
    assert_in_range(accepted, 1, 3);
    arena_deinit(&a);
    file_map_unref(map);
}

static void dimensions_may_be_packed(void **state)
{
    /* one block, one variable "v", type LOD_TENSOR, float32, dims [-1, 300] packed */
    static const char bytes[] = "\x0a\x24\x1a\x22\x0a\x01v\x12\x1d\x08\x07\x1a\x19\x0a\x15\x08\x05"
                                "\x12\x11\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\xac\x02\x03\x04"
                                "\x05\x06\x07\x10\x01";
    struct arena a;
    struct program p;
    struct err e = { "" };
    arena_init(&a, 0);
    status s = program_decode((struct str){ bytes, sizeof(bytes) - 1 }, &a, &p, &e);
    if (s != OK)
        fail_msg("%s", e.text);
    assert_int_equal(p.block[0].var_count, 1);
    assert_true(shape_eq(&p.block[0].var[0].shape, &SHAPE(-1, 300, 3, 4, 5, 6, 7)));
    assert_int_equal(p.block[0].var[0].lod_level, 1);
    arena_deinit(&a);
}

static void refuse(struct program_builder *b, status want, const char *words)
{
    struct arena a;
    struct program p;
    struct buf bytes;
    struct err e = { "" };
    arena_init(&a, 0);
    finish_program(b, &bytes);
    status s = program_decode(buf_view(&bytes), &a, &p, &e);
    if (s != want || strstr(e.text, words) == NULL)
        fail_msg("wanted '%s', got %s: %s", words, status_text(s), e.text);
    buf_deinit(&bytes);
    arena_deinit(&a);
    builder_deinit(b);
}

static void what_cannot_be_is_refused_with_words(void **state)
{
    struct arena a;
    struct program p;
    struct err e = { "" };
    struct program_builder b;
    arena_init(&a, 0);
    assert_int_equal(program_decode((struct str){ "", 0 }, &a, &p, &e), CORRUPT);
    assert_non_null(strstr(e.text, "no block"));
    assert_int_equal(program_decode(STR("{\"json\": 1}"), &a, &p, &e), CORRUPT);
    arena_deinit(&a);

    builder_init(&b);
    ADD_VAR(&b, "v", 5, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
    refuse(&b, UNSUPPORTED, "more than 8 dimensions");
    builder_init(&b);
    ADD_VAR(&b, "", 5, 0, 0, 1);
    refuse(&b, CORRUPT, "the name of a variable");
    builder_init(&b);
    add_op(&b, "", "x", "y");
    refuse(&b, CORRUPT, "the name of an operator's type");
    builder_init(&b);
    pb_put_u64(&b.block, 4, 1);                /* an operator that is a number */
    refuse(&b, CORRUPT, "an operator's type"); /* its bytes are none */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_of_paddle_decodes),
        cmocka_unit_test(every_truncation_is_refused_or_equal),
        cmocka_unit_test(dimensions_may_be_packed),
        cmocka_unit_test(what_cannot_be_is_refused_with_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
