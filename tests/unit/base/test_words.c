/* Numbers and words of others. */
#include "base/number.h"
#include "base/quote.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void parses_numbers_and_nothing_else(void **state)
{
    uint64_t n = 0;

    (void)state;
    assert_int_equal(hg_parse_uint("0", 0, 9, &n), 0);
    assert_int_equal(hg_parse_uint("0017", 0, 17, &n), 0);
    assert_int_equal(n, 17);
    assert_int_equal(hg_parse_uint("18", 0, 17, &n), -EINVAL);
    assert_int_equal(hg_parse_uint("1", 2, 17, &n), -EINVAL);
    assert_int_equal(hg_parse_uint("", 0, 9, &n), -EINVAL);
    assert_int_equal(hg_parse_uint("-1", 0, UINT64_MAX, &n), -EINVAL);
    assert_int_equal(hg_parse_uint("+1", 0, 9, &n), -EINVAL);
    assert_int_equal(hg_parse_uint(" 1", 0, 9, &n), -EINVAL);
    assert_int_equal(hg_parse_uint("1 ", 0, 9, &n), -EINVAL);
    assert_int_equal(hg_parse_uint("0x1", 0, 9, &n), -EINVAL);
    assert_int_equal(hg_parse_uint("18446744073709551617", 0, UINT64_MAX, &n), -EINVAL);
}

static void quotes_what_others_wrote(void **state)
{
    (void)state;
    assert_string_equal(hg_quote("br0").text, "'br0'");
    assert_string_equal(hg_quote("").text, "''");
    assert_string_equal(hg_quote("\033[31m\n\xff").text, "'?[31m?\?'");
    assert_string_equal(hg_quote("0123456789012345678901234567890123456789012345678").text,
                        "'012345678901234567890123456789012345678901...'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses_numbers_and_nothing_else),
        cmocka_unit_test(quotes_what_others_wrote),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
