/*
 * Histograms: every value has one bucket, and quantiles are right within the width of one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/hist.h"

static void is_empty_at_first(void **state)
{
    struct hg_hist hist = {0};

    (void)state;
    assert_int_equal(hg_hist_quantile(&hist, 500), 0);
    assert_int_equal(hg_hist_quantile(&hist, 1000), 0);
}

static void takes_every_value(void **state)
{
    const uint64_t values[] = {0, 1, 7, 8, 9, 15, 16, 17, 1000, UINT64_MAX - 1, UINT64_MAX};

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(values); i++) {
        struct hg_hist hist = {0};

        hg_hist_add(&hist, values[i]);
        assert_int_equal(hg_hist_quantile(&hist, 0), values[i]);
        assert_int_equal(hg_hist_quantile(&hist, 500), values[i]);
        assert_int_equal(hg_hist_quantile(&hist, 1000), values[i]);
    }
    for (unsigned bit = 0; bit < 64; bit++) { /* the ends of the buckets at every power of two */
        struct hg_hist hist = {0};
        uint64_t value = UINT64_C(1) << bit;

        hg_hist_add(&hist, value - 1);
        hg_hist_add(&hist, value);
        assert_int_equal(hg_hist_quantile(&hist, 500), value - 1);
        assert_int_equal(hg_hist_quantile(&hist, 1000), value);
    }
}

static void finds_quantiles_within_an_eighth(void **state)
{
    static struct hg_hist hist;

    (void)state;
    for (uint64_t i = 1; i <= 100000; i++)
        hg_hist_add(&hist, i * 1000);
    for (unsigned permille = 1; permille <= 1000; permille++) {
        uint64_t exact = permille * UINT64_C(100000);
        uint64_t found = hg_hist_quantile(&hist, permille);

        assert_true(found >= exact);
        assert_true(found <= exact + exact / 8);
    }
    assert_int_equal(hg_hist_quantile(&hist, 1000), 100000000);
}

static void tells_the_rare_from_the_common(void **state)
{
    static struct hg_hist hist;

    (void)state;
    for (unsigned i = 0; i < 990; i++)
        hg_hist_add(&hist, 5);
    for (unsigned i = 0; i < 10; i++)
        hg_hist_add(&hist, 4000);
    assert_int_equal(hg_hist_quantile(&hist, 500), 5);
    assert_int_equal(hg_hist_quantile(&hist, 990), 5);
    assert_int_equal(hg_hist_quantile(&hist, 991), 4000);
    assert_int_equal(hist.max, 4000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_empty_at_first),
        cmocka_unit_test(takes_every_value),
        cmocka_unit_test(finds_quantiles_within_an_eighth),
        cmocka_unit_test(tells_the_rare_from_the_common),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
