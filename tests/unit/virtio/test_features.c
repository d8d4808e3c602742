#include "virtio/features.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "virtio/virtio.h"

static void names_what_it_knows_and_numbers_the_rest(void **state)
{
    char text[64];

    (void)state;
    hg_virtio_features_text(0, text, sizeof(text));
    assert_string_equal(text, "");
    hg_virtio_features_text(HG_BIT(HG_VIRTIO_F_VERSION_1) | HG_BIT(HG_VIRTIO_NET_F_CSUM), text,
                            sizeof(text));
    assert_string_equal(text, "csum version_1");
    hg_virtio_features_text(HG_BIT(63) | HG_BIT(50), text, sizeof(text));
    assert_string_equal(text, "bit_50 bit_63");
}

static void cuts_to_fit(void **state)
{
    char text[16] = "";

    (void)state;
    memset(text + 10, 'x', 5);
    hg_virtio_features_text(UINT64_MAX, text, 10);
    assert_string_equal(text, "csum gues");
    assert_memory_equal(text + 10, "xxxxx", 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_what_it_knows_and_numbers_the_rest),
        cmocka_unit_test(cuts_to_fit),
    };

    return cmocka_run_group_tests_name("virtio/features", tests, NULL, NULL);
}
