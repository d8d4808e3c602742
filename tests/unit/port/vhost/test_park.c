/*
 * The list of frames that wait: first in, first out, bounded by frames and by bytes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "port/vhost/park.h"

static int set_up(void **state)
{
    const struct hg_port_host host = {.pages = HG_PAGES_4K};
    struct hg_park *park;
    struct hg_err err;

    if (hg_park_new(&park, &host, &err) != 0)
        fail_msg("%s", err.text);
    *state = park;
    return 0;
}

static int tear_down(void **state)
{
    hg_park_free(*state);
    return 0;
}

/* Puts a frame of `len` bytes, all of which are `mark`. */
static bool put(struct hg_park *park, uint32_t len, uint8_t mark)
{
    static uint8_t rest[HG_FRAME_BYTES_MAX];
    struct hg_seg seg = {.addr = rest};
    struct hg_pkt pkt = {.len = len, .seg = &seg};

    pkt.head_len = (uint16_t)(len < HG_HEAD_BYTES ? len : HG_HEAD_BYTES);
    seg.len = len - pkt.head_len;
    pkt.seg_n = seg.len != 0;
    memset(pkt.head, mark, sizeof(pkt.head));
    memset(rest, mark, seg.len);
    return hg_park_put(park, &pkt);
}

static void assert_first_is(struct hg_park *park, uint32_t len, uint8_t mark)
{
    struct hg_pkt *pkts[HG_BURST_N];
    uint32_t seen = 0;

    assert_true(hg_park_oldest(park, pkts) > 0);
    assert_int_equal(pkts[0]->len, len);
    for (; seen < pkts[0]->head_len; seen++)
        assert_int_equal(pkts[0]->head[seen], mark);
    for (unsigned i = 0; i < pkts[0]->seg_n; i++) {
        for (uint32_t k = 0; k < pkts[0]->seg[i].len; k++)
            assert_int_equal(pkts[0]->seg[i].addr[k], mark);
        seen += pkts[0]->seg[i].len;
    }
    assert_int_equal(seen, len);
}

static void come_out_as_they_went_in(void **state)
{
    struct hg_park *park = *state;
    const uint32_t len[] = {60, HG_FRAME_BYTES_MAX, 1514, 192, 193, 9014};
    struct hg_pkt *pkts[HG_BURST_N];

    assert_int_equal(hg_park_oldest(park, pkts), 0);
    for (unsigned i = 0; i < HG_ARRAY_N(len); i++)
        assert_true(put(park, len[i], (uint8_t)(i + 1)));
    for (unsigned i = 0; i < HG_ARRAY_N(len); i++) {
        assert_int_equal(park->n, HG_ARRAY_N(len) - i);
        assert_first_is(park, len[i], (uint8_t)(i + 1));
        hg_park_remove(park, 1);
    }
    assert_int_equal(park->n, 0);
}

static void are_bounded_in_number(void **state)
{
    struct hg_park *park = *state;

    for (unsigned i = 0; i < HG_PARK_FRAMES_MAX; i++)
        assert_true(put(park, 60, (uint8_t)i));
    assert_false(put(park, 60, 0));
    hg_park_remove(park, 2);
    assert_true(put(park, 60, 1));
    assert_true(put(park, 60, 2));
    assert_false(put(park, 60, 3));
    assert_first_is(park, 60, 2);
}

static void are_bounded_in_bytes(void **state)
{
    struct hg_park *park = *state;
    unsigned n = 0;

    while (put(park, HG_FRAME_BYTES_MAX, (uint8_t)n))
        n++;
    assert_in_range(n, 30, 31);
    hg_park_remove(park, 1);
    assert_first_is(park, HG_FRAME_BYTES_MAX, 1);
    assert_true(put(park, HG_FRAME_BYTES_MAX, 0));
    assert_false(put(park, HG_FRAME_BYTES_MAX, 0));
}

static void go_round_for_long(void **state)
{
    struct hg_park *park = *state;

    park->first = UINT32_MAX - 100; /* positions wrap */
    for (unsigned i = 0; i < 5000; i++) {
        assert_true(put(park, 60 + i % 4000, (uint8_t)i));
        if (i < 100)
            continue;
        assert_first_is(park, 60 + (i - 100) % 4000, (uint8_t)(i - 100));
        hg_park_remove(park, 1);
    }
    assert_int_equal(park->n, 100);
}

static void lie_on_no_missing_node(void **state)
{
    const struct hg_port_host host = {.pages = HG_PAGES_4K, .on_node = true, .node = 1023};
    struct hg_park *park;
    struct hg_err err = {.text = ""};

    (void)state;
    assert_int_equal(hg_park_new(&park, &host, &err), -ENODEV);
    assert_null(park);
    assert_non_null(strstr(err.text, "NUMA node 1023 is not there"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(come_out_as_they_went_in, set_up, tear_down),
        cmocka_unit_test_setup_teardown(are_bounded_in_number, set_up, tear_down),
        cmocka_unit_test_setup_teardown(are_bounded_in_bytes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(go_round_for_long, set_up, tear_down),
        cmocka_unit_test(lie_on_no_missing_node),
    };

    return cmocka_run_group_tests_name("parked frames", tests, NULL, NULL);
}
