/* Messages between a server and its workers: what is written is laid out as wire.h says, what comes is checked. */
#include "crew/wire.h"

#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void put_outcome(struct buf *b, uint32_t kind, uint32_t code, const char *bytes)
{
    const struct crew_outcome_head head = { .kind = kind, .code = code, .bytes = strlen(bytes) };
    buf_append(b, &head, sizeof(head));
    buf_str(b, bytes);
    while (b->len % CREW_ALIGN != 0)
        buf_byte(b, 0);
}

static void work_is_laid_out_in_lines(void **unused)
{
    const struct crew_part part[2] = { { CREW_FROM_REQUEST, STR("/uci/prediction"), STR("body") },
                                       { 3, STR(""), STR("made by the third") } };
    const struct crew_item item = {
        .id = 7, .left_us = 9, .form = 1, .part_count = 2, .part = part
    };
    uint8_t to[1024];
    struct crew_item_head head;
    struct crew_part_head first, second;
    uint64_t n = crew_work_bytes(&item, 1);
    assert_true(n <= sizeof(to) && n % CREW_ALIGN == 0);
    memset(to, 0xee, sizeof(to));
    crew_work_put(&item, 1, to);
    memcpy(&head, to, sizeof(head));
    assert_int_equal(head.id, 7);
    assert_int_equal(head.parts, 2);
    memcpy(&first, to + sizeof(head), sizeof(first));
    assert_int_equal(first.bytes, 20);
    assert_memory_equal(to + 64, "/uci/prediction\nbody", 20);
    memcpy(&second, to + 128, sizeof(second));
    assert_int_equal(second.source, 3);
    assert_memory_equal(to + 192, "made by the third", 17);
    assert_int_equal(to[n], 0xee);
}

static void an_answer_is_read(void **unused)
{
    struct buf b;
    struct err e = { "" };
    struct crew_outcome o[2];
    buf_init(&b, 4096);
    put_outcome(&b, CREW_FINAL, 200, "{}");
    put_outcome(&b, CREW_NEXT, 0, "");
    assert_int_equal(crew_answer_read(buf_view(&b), 2, o, &e), OK);
    assert_int_equal(o[0].code, 200);
    assert_memory_equal(o[0].bytes.p, "{}", 2);
    assert_int_equal(o[1].kind, CREW_NEXT);
    assert_int_equal(crew_answer_read(buf_view(&b), 1, o, &e), INVALID);
    assert_non_null(strstr(e.text, "behind the last outcome"));
    for (size_t n = 0; n < b.len; n++) { /* every truncation; the last padding may be missing */
        status s = crew_answer_read((struct str){ (char *)b.data, n }, 2, o, &e);
        assert_true(s == INVALID || n >= CREW_ALIGN + sizeof(struct crew_outcome_head));
    }
    buf_deinit(&b);
}

static void answers_that_are_wrong(void **unused)
{
    struct crew_outcome_head head = { .kind = CREW_FINAL, .code = 999, .bytes = 0 };
    struct crew_outcome o;
    struct err e = { "" };
    struct str bytes = { (char *)&head, sizeof(head) };
    assert_int_equal(crew_answer_read(bytes, 1, &o, &e), INVALID);
    assert_non_null(strstr(e.text, "HTTP has no code 999"));
    head = (struct crew_outcome_head){ .kind = CREW_NEXT, .bytes = UINT64_MAX };
    assert_int_equal(crew_answer_read(bytes, 1, &o, &e), INVALID);
    head = (struct crew_outcome_head){ .kind = CREW_FINAL + 1 };
    assert_int_equal(crew_answer_read(bytes, 1, &o, &e), INVALID);
}

static void heads_that_are_wrong(void **unused)
{
    struct crew_head head = { .kind = CREW_ANSWER, .count = 1 }, out;
    struct err e = { "" };
    struct str bytes = { (char *)&head, sizeof(head) };
    assert_int_equal(crew_head_read(bytes, &out, &e), OK);
    for (size_t n = 0; n < sizeof(head); n++)
        assert_int_equal(crew_head_read((struct str){ bytes.p, n }, &out, &e), INVALID);
    head.bytes = 1;
    assert_int_equal(crew_head_read(bytes, &out, &e), INVALID);
    head.shared = 1;
    assert_int_equal(crew_head_read(bytes, &out, &e), OK);
    head.bytes = CREW_MESSAGE_BYTES + 1;
    assert_int_equal(crew_head_read(bytes, &out, &e), INVALID);
    head = (struct crew_head){ .kind = CREW_WORK };
    assert_int_equal(crew_head_read(bytes, &out, &e), INVALID);
    assert_non_null(strstr(e.text, "which no worker sends"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(work_is_laid_out_in_lines),
        cmocka_unit_test(an_answer_is_read),
        cmocka_unit_test(answers_that_are_wrong),
        cmocka_unit_test(heads_that_are_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
