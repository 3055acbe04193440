#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/grpc.h"

static void a_message_is_cut_when_it_is_whole(void **state)
{
    const char bytes[] = "\0\0\0\0\3abc\1\0\0\0\0";
    struct str message;
    bool packed = true;
    for (size_t n = 0; n < 8; n++)
        assert_int_equal(grpc_parse((struct str){ bytes, n }, 100, &message, &packed).state,
                         PARSE_MORE);
    struct parse p = grpc_parse((struct str){ bytes, 13 }, 100, &message, &packed);
    assert_int_equal(p.state, PARSE_DONE);
    assert_int_equal(p.used, 8);
    assert_true(str_is(message, "abc") && !packed);
    p = grpc_parse((struct str){ bytes + 8, 5 }, 100, &message, &packed);
    assert_int_equal(p.used, 5);
    assert_true(message.n == 0 && packed);
}

static void what_is_no_message_is_told(void **state)
{
    struct str message;
    bool packed;
    struct parse p = grpc_parse(STR("\2\0\0\0\0"), 100, &message, &packed);
    assert_true(p.state == PARSE_BAD && p.why == INVALID);
    p = grpc_parse(STR("\0\0\0\0\x65"), 100, &message, &packed);
    assert_true(p.state == PARSE_BAD && p.why == TOO_LARGE);
    p = grpc_parse(STR("\0\xff\xff\xff\xff"), SIZE_MAX / 2, &message, &packed);
    assert_int_equal(p.state, PARSE_MORE);
}

static void heads_are_read_as_written(void **state)
{
    uint8_t head[GRPC_HEAD_BYTES];
    struct str message;
    bool packed;
    grpc_put_head(head, 0x01020304, true);
    assert_memory_equal(head, "\1\1\2\3\4", 5);
    grpc_put_head(head, 0, true);
    struct parse p = grpc_parse((struct str){ (char *)head, 5 }, 0, &message, &packed);
    assert_true(p.state == PARSE_DONE && packed);
}

static void timeouts_have_a_unit(void **state)
{
    static const struct {
        const char *text;
        uint64_t ns;
    } good[] = { { "1n", 1 },
                 { "100m", 100000000 },
                 { "99999999u", 99999999000 },
                 { "3S", 3000000000 },
                 { "99999999H", 0 } };
    static const char *const bad[] = { "", "5", "S", "5s", "999999999S", "-1S", "1.5S", "1 S" };
    uint64_t ns;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {

        if (grpc_timeout(str_of(good[i].text), &ns))
            assert_true(ns == good[i].ns);
        else
            assert_string_equal(good[i].text, "99999999H"); /* more than 64 bits hold */
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_false(grpc_timeout(str_of(bad[i]), &ns));
}

static void words_survive_the_header(void **state)
{
    static const char words[] = "100 % of 'f\xc3\xbcr'\n\x7f";
    struct buf coded, back;
    buf_init(&coded, 1024);
    buf_init(&back, 1024);
    grpc_put_message(&coded, STR(words));
    assert_true(str_is(buf_view(&coded), "100 %25 of 'f%C3%BCr'%0A%7F"));
    grpc_take_message(&back, buf_view(&coded));
    assert_true(str_is(buf_view(&back), words));
    buf_clear(&back);
    grpc_take_message(&back, STR("50% %4 %zz"));
    assert_true(str_is(buf_view(&back), "50% %4 %zz"));
    buf_deinit(&coded);
    buf_deinit(&back);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_cut_when_it_is_whole),
        cmocka_unit_test(what_is_no_message_is_told),
        cmocka_unit_test(heads_are_read_as_written),
        cmocka_unit_test(timeouts_have_a_unit),
        cmocka_unit_test(words_survive_the_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
