#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "port/port.h"

static void accepts_letters_digits_and_three_signs(void **state)
{
    (void)state;
    assert_true(hg_port_name_valid("vm1"));
    assert_true(hg_port_name_valid("A"));
    assert_true(hg_port_name_valid("0"));
    assert_true(hg_port_name_valid("Guest-7_eth0.100"));
    assert_true(hg_port_name_valid("z.-_"));
}

static void refuses_what_could_be_a_path_or_an_option(void **state)
{
    (void)state;
    assert_false(hg_port_name_valid(""));
    assert_false(hg_port_name_valid("."));
    assert_false(hg_port_name_valid(".."));
    assert_false(hg_port_name_valid("-v"));
    assert_false(hg_port_name_valid("_x"));
    assert_false(hg_port_name_valid("a/b"));
    assert_false(hg_port_name_valid("../x"));
}

static void accepts_no_other_byte(void **state)
{
    char name[3] = "a";

    (void)state;
    for (int c = 1; c < 256; c++) {
        name[1] = (char)c;
        assert_int_equal(
            hg_port_name_valid(name),
            strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", c) != NULL);
    }
}

static void bounds_the_length(void **state)
{
    char name[HG_PORT_NAME_MAX + 2];

    (void)state;
    memset(name, 'a', sizeof(name));
    name[HG_PORT_NAME_MAX + 1] = '\0';
    assert_false(hg_port_name_valid(name));
    name[HG_PORT_NAME_MAX] = '\0';
    assert_true(hg_port_name_valid(name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_letters_digits_and_three_signs),
        cmocka_unit_test(refuses_what_could_be_a_path_or_an_option),
        cmocka_unit_test(accepts_no_other_byte),
        cmocka_unit_test(bounds_the_length),
    };

    return cmocka_run_group_tests_name("port/name", tests, NULL, NULL);
}
