#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/html.h"

static void markup_becomes_text(void **state)
{
    struct buf b;
    buf_init(&b, 1000);
    html_put_text(&b, STR("<a href=\"x\" id='y'>R&D</a>"));
    assert_true(
        str_is(buf_view(&b), "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;R&amp;D&lt;/a&gt;"));
    buf_deinit(&b);
}

static void other_bytes_stay(void **state)
{
    struct buf b;
    struct str text = STR("plain, \xc3\xbc\0\n");
    buf_init(&b, 1000);
    html_put_text(&b, text);
    assert_true(str_eq(buf_view(&b), text));
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(markup_becomes_text),
        cmocka_unit_test(other_bytes_stay),
    };
    return cmocka_run_group_tests_name("codec/html", tests, NULL, NULL);
}
