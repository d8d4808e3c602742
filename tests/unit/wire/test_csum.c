#include "wire/csum.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../frame.h"
#include "base/bits.h"
#include "random.h"
#include "wire/csum_kernel.h"

enum { BYTES_N = 70000 };

static uint8_t bytes[BYTES_N];

static void fill_random(uint64_t seed)
{
    for (unsigned i = 0; i < BYTES_N; i++)
        bytes[i] = (uint8_t)random_u32(&seed);
}

/* 0 and 0xffff are the same number in one's complement. */
static void assert_same_sum(uint16_t a, uint16_t b)
{
    assert_int_equal(a % 0xffff, b % 0xffff);
}

static void sums_the_example_of_rfc_1071(void **state)
{
    static const uint8_t example[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
    struct hg_csum csum = {0};

    (void)state;
    hg_csum_add(&csum, example, sizeof(example));
    assert_int_equal(hg_csum_fold(&csum), 0xddf2);
    assert_int_equal(hg_csum(example, sizeof(example)), (uint16_t)~0xddf2);
}

static void the_sum_of_nothing_is_zero(void **state)
{
    struct hg_csum csum = {0};

    (void)state;
    hg_csum_add(&csum, bytes, 0);
    assert_int_equal(hg_csum_fold(&csum), 0);
    assert_false(csum.odd);
}

static void equals_the_reference_at_every_length_and_alignment(void **state)
{
    (void)state;
    fill_random(1);
    for (unsigned n = 0; n <= 600; n++) {
        for (unsigned at = 0; at < 32; at++) {
            struct hg_csum csum = {0};

            hg_csum_add(&csum, bytes + at, n);
            assert_same_sum(hg_csum_fold(&csum), frame_reference_sum(0, bytes + at, n));
        }
    }
}

static void every_kernel_equals_the_reference(void **state)
{
    unsigned usable_n = 0;

    (void)state;
    fill_random(2);
    for (unsigned k = 0; k < hg_csum_kernel_n; k++) {
        if (!hg_csum_kernels[k].usable())
            continue;
        usable_n++;
        for (unsigned n = 0; n <= 600; n++) {
            struct hg_csum csum = {.sum = hg_csum_kernels[k].sum(bytes + n % 32, n)};
            uint16_t native = hg_csum_fold(&csum);
            uint8_t stored[2];

            memcpy(stored, &native, sizeof(stored));
            assert_same_sum(hg_load_be16(stored), frame_reference_sum(0, bytes + n % 32, n));
        }
    }
    assert_true(usable_n >= 1);
}

static void carries_nothing_away_over_64_kib_of_ones(void **state)
{
    (void)state;
    memset(bytes, 0xff, sizeof(bytes));
    for (unsigned n = 65500; n <= 65557; n++) {
        struct hg_csum csum = {0};

        hg_csum_add(&csum, bytes, n);
        hg_csum_add(&csum, bytes, n & 1); /* to an even place, where words may be added */
        hg_csum_add16(&csum, 0xffff);
        assert_int_equal(hg_csum_fold(&csum), frame_reference_sum(0, bytes, n + (n & 1)));
    }
}

static void a_split_anywhere_changes_nothing(void **state)
{
    (void)state;
    fill_random(3);
    for (unsigned first = 0; first <= 130; first++) {
        for (unsigned second = 0; second <= 130; second += 3) {
            struct hg_csum csum = {0};

            hg_csum_add(&csum, bytes, first);
            hg_csum_add(&csum, bytes + first, second);
            hg_csum_add(&csum, bytes + first + second, 17);
            assert_same_sum(hg_csum_fold(&csum),
                            frame_reference_sum(0, bytes, first + second + 17));
        }
    }
}

static void many_random_pieces_add_up(void **state)
{
    uint64_t random = 4;

    (void)state;
    fill_random(5);
    for (unsigned round = 0; round < 300; round++) {
        unsigned total = random_u32(&random) % 65557;
        unsigned longest = 1 + random_u32(&random) % 3000;
        struct hg_csum csum = {0};
        unsigned n;

        for (unsigned at = 0; at < total; at += n) {
            n = hg_min_u32(random_u32(&random) % (longest + 1), total - at);
            hg_csum_add(&csum, bytes + at, n);
        }
        assert_int_equal(csum.odd, total & 1);
        assert_same_sum(hg_csum_fold(&csum), frame_reference_sum(0, bytes, total));
    }
}

static void a_block_with_its_checksum_sums_to_zero(void **state)
{
    /* An IPv4 header as captured; its checksum is b861. */
    uint8_t header[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11,
                        0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};

    (void)state;
    assert_int_equal(hg_csum(header, sizeof(header)), 0);
    hg_store_be16(header + HG_IP4_CSUM, 0);
    assert_int_equal(hg_csum(header, sizeof(header)), 0xb861);
}

static void pseudo_headers_equal_their_written_form(void **state)
{
    uint8_t pseudo4[12];
    uint8_t pseudo6[40];
    struct hg_csum csum4 = {0};
    struct hg_csum csum6 = {0};

    (void)state;
    fill_random(6);
    memcpy(pseudo4, bytes, 8);
    hg_store_be16(pseudo4 + 8, HG_IP_PROTO_UDP);
    hg_store_be16(pseudo4 + 10, 0xfedc);
    hg_csum_add_pseudo4(&csum4, bytes, bytes + 4, HG_IP_PROTO_UDP, 0xfedc);
    assert_same_sum(hg_csum_fold(&csum4), frame_reference_sum(0, pseudo4, sizeof(pseudo4)));

    memcpy(pseudo6, bytes, 32);
    hg_store_be32(pseudo6 + 32, 0x1fedc);
    hg_store_be32(pseudo6 + 36, HG_IP_PROTO_TCP);
    hg_csum_add_pseudo6(&csum6, bytes, bytes + 16, HG_IP_PROTO_TCP, 0x1fedc);
    assert_same_sum(hg_csum_fold(&csum6), frame_reference_sum(0, pseudo6, sizeof(pseudo6)));
}

static void an_update_equals_a_new_sum(void **state)
{
    uint64_t random = 7;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        unsigned at = 2 * (random_u32(&random) % 32);
        uint16_t before;
        uint16_t was;
        uint16_t is = (uint16_t)random_u32(&random);

        if (round % 1000 == 0)
            fill_random(round + 8);
        before = hg_csum(bytes, 64);
        was = hg_load_be16(bytes + at);
        hg_store_be16(bytes + at, is);
        assert_same_sum(hg_csum_update16(before, was, is), hg_csum(bytes, 64));
    }
}

static void an_update_keeps_the_zero_of_rfc_1624(void **state)
{
    /* The case that RFC 1624, section 4, takes as its example. */
    (void)state;
    assert_int_equal(hg_csum_update16(0xdd2f, 0x5555, 0x3285), 0x0000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_the_example_of_rfc_1071),
        cmocka_unit_test(the_sum_of_nothing_is_zero),
        cmocka_unit_test(equals_the_reference_at_every_length_and_alignment),
        cmocka_unit_test(every_kernel_equals_the_reference),
        cmocka_unit_test(carries_nothing_away_over_64_kib_of_ones),
        cmocka_unit_test(a_split_anywhere_changes_nothing),
        cmocka_unit_test(many_random_pieces_add_up),
        cmocka_unit_test(a_block_with_its_checksum_sums_to_zero),
        cmocka_unit_test(pseudo_headers_equal_their_written_form),
        cmocka_unit_test(an_update_equals_a_new_sum),
        cmocka_unit_test(an_update_keeps_the_zero_of_rfc_1624),
    };

    return cmocka_run_group_tests_name("wire/csum", tests, NULL, NULL);
}
