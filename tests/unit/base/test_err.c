#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void returns_the_negative_number_and_fills_the_sentence(void **state)
{
    struct hg_err e;

    (void)state;
    assert_int_equal(hg_err_set(&e, EINVAL, "queue size %u is not a power of two", 3u), -EINVAL);
    assert_string_equal(e.text, "queue size 3 is not a power of two");
}

static void accepts_nobody_to_tell(void **state)
{
    (void)state;
    assert_int_equal(hg_err_set(NULL, ENOMEM, "%d", 1), -ENOMEM);
}

static void cuts_what_does_not_fit(void **state)
{
    struct hg_err e;
    char long_name[sizeof(e.text) * 2];

    (void)state;
    memset(long_name, 'x', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    assert_int_equal(hg_err_set(&e, ENAMETOOLONG, "%s", long_name), -ENAMETOOLONG);
    assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

static void lets_a_caller_prefix_what_the_callee_said(void **state)
{
    struct hg_err e;

    (void)state;
    hg_err_set(&e, EACCES, "cannot open");
    hg_err_set(&e, EACCES, "port vm1: %s", e.text);
    assert_string_equal(e.text, "port vm1: cannot open");
}

static void keeps_errno(void **state)
{
    struct hg_err e;

    (void)state;
    errno = EPIPE;
    hg_err_set(&e, EINVAL, "no");
    assert_int_equal(errno, EPIPE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(returns_the_negative_number_and_fills_the_sentence),
        cmocka_unit_test(accepts_nobody_to_tell),
        cmocka_unit_test(cuts_what_does_not_fit),
        cmocka_unit_test(lets_a_caller_prefix_what_the_callee_said),
        cmocka_unit_test(keeps_errno),
    };

    return cmocka_run_group_tests_name("base/err", tests, NULL, NULL);
}
