#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/proxy.h"

#include <netinet/in.h>

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const char v4[] = SIGNATURE "\x21\x11\0\x0c\xc6\x33\x64\x07\x7f\0\0\1\x12\x67\0\x50";

static void a_header_is_cut_when_it_is_whole(void **state)
{
    struct sockaddr_storage peer;
    bool told;
    struct str bytes = { v4, sizeof(v4) - 1 };
    for (size_t n = 0; n < bytes.n; n++)
        assert_int_equal(proxy_parse((struct str){ v4, n }, &peer, &told).state, PARSE_MORE);
    struct parse p = proxy_parse(bytes, &peer, &told);
    assert_true(p.state == PARSE_DONE && p.used == bytes.n && told);
    const struct sockaddr_in *at = (const struct sockaddr_in *)&peer;
    assert_int_equal(ntohl(at->sin_addr.s_addr), 0xc6336407);
    assert_int_equal(ntohs(at->sin_port), 4711);
}

static void a_proxy_that_speaks_for_itself_names_nobody(void **state)
{
    struct sockaddr_storage peer;
    bool told = true;
    assert_int_equal(proxy_parse(STR(SIGNATURE "\x20\0\0\0more"), &peer, &told).used, 16);
    assert_false(told);
    /* A family that is not known, and an address that is cut. */
    assert_int_equal(proxy_parse(STR(SIGNATURE "\x21\x31\0\2xy"), &peer, &told).used, 18);
    assert_false(told);
    assert_int_equal(proxy_parse(STR(SIGNATURE "\x21\x11\0\2xy"), &peer, &told).used, 18);
    assert_false(told);
    static const char v6[] = SIGNATURE "\x21\x21\0\x23 35 bytes, where two IPv6 peers are 36";
    struct str short_of_one = { v6, 16 + 35 };
    assert_int_equal(proxy_parse(short_of_one, &peer, &told).used, 16 + 35);
    assert_false(told);
}

static void what_is_no_header_is_told(void **state)
{
    static const struct str bad[] = {
        { "GET / HTTP/1.1", 14 },
        { "\r\n\r\n\1", 5 },
        { SIGNATURE "\x11\x11\0\0", 16 },
        { SIGNATURE "\x22\x11\0\0", 16 },
        { SIGNATURE "\x21\x11\xff\xff", 16 },
    };
    struct sockaddr_storage peer;
    bool told;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(proxy_parse(bad[i], &peer, &told).state, PARSE_BAD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_is_cut_when_it_is_whole),
        cmocka_unit_test(a_proxy_that_speaks_for_itself_names_nobody),
        cmocka_unit_test(what_is_no_header_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
