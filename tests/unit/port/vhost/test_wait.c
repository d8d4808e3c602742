/*
 * Queues that wait for translations: a real IOTLB, and a front-end that answers misses when a test
 * says so. How their pollers sleep is in test_wait_sleep.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "waiting.h"

/* ---- parked frames ---- */

/* The first poll asks for what is posted by then. */
static void is_asked_for_what_is_posted_at_the_start(void **state)
{
    struct shop *shop = *state;

    stop(shop, RX);
    peer_post(&shop->peer, RX, 8);
    start(shop, RX);
    poll_once(shop);
    assert_int_equal(answer(shop, UINT_MAX), 4); /* two buffers a page */
    give(shop, 8, 60);
    assert_int_equal(parked(shop), 0);
    assert_received(shop, 8);
}

static void keeps_frames_until_the_answer(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 8);
    give(shop, 4, 60);
    assert_int_equal(parked(shop), 4);
    poll_once(shop);
    assert_received(shop, 0);
    assert_int_equal(answer(shop, UINT_MAX), 4);
    poll_once(shop);
    assert_received(shop, 4);
    assert_int_equal(parked(shop), 0);
    give(shop, 4, 60);
    assert_received(shop, 4);
    assert_accounts(shop);
    assert_int_equal(drops(shop), 0);
}

/* Those that come while others wait go behind them, whoever sends them on. */
static void keeps_the_order(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 64);
    give(shop, 3, 60);
    assert_int_equal(answer(shop, 2), 2);
    give(shop, 3, 60); /* four buffers are known: sends the three, and one of these */
    assert_received(shop, 4);
    assert_int_equal(answer(shop, 1), 1);
    poll_once(shop);
    assert_received(shop, 2);
    give(shop, 40, 60);
    while (answer(shop, 3) != 0)
        give(shop, 1, 60);
    poll_once(shop);
    poll_once(shop);
    assert_accounts(shop);
    assert_int_equal(parked(shop), 0);
    assert_received(shop, shop->given - 6);
}

static void keeps_long_frames_too(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 200);
    give(shop, 3, 65000);
    assert_int_equal(parked(shop), 3);
    while (answer(shop, UINT_MAX) != 0)
        poll_once(shop);
    assert_int_equal(parked(shop), 0);
    assert_received(shop, 3);
    assert_accounts(shop);
}

static void drops_what_finds_no_room_by_name(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 1);
    give(shop, HG_PARK_FRAMES_MAX + 100, 60);
    assert_int_equal(parked(shop), HG_PARK_FRAMES_MAX);
    assert_int_equal(drop_n(shop, HG_DROP_TX_PARK_FULL), 100);
    assert_accounts(shop);
}

/* Frames whose turn has come and for which the guest has not posted enough go on waiting, in
 * order. */
static void keeps_parked_frames_for_buffers_to_come(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 2);
    give(shop, 6, 60);
    assert_int_equal(answer(shop, UINT_MAX), 1);
    poll_once(shop);
    assert_received(shop, 2);
    assert_int_equal(parked(shop), 4);
    peer_post(&shop->peer, RX, 2);
    poll_once(shop);
    assert_int_equal(answer(shop, UINT_MAX), 1);
    poll_once(shop);
    assert_received(shop, 2);
    assert_accounts(shop);
    assert_int_equal(drops(shop), 0);
}

/* Buffers that are unmapped and mapped again are away for long: frames wait for them. */
static void keeps_what_finds_no_buffer_while_mappings_change(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 2);
    give(shop, 2, 60);
    answer(shop, UINT_MAX);
    poll_once(shop);
    assert_received(shop, 2);
    give(shop, 5, 60);
    assert_int_equal(parked(shop), 5);
    peer_post(&shop->peer, RX, 6);
    poll_once(shop);
    answer(shop, UINT_MAX);
    poll_once(shop);
    assert_received(shop, 5);
    assert_int_equal(drops(shop), 0);
}

/* Of a guest whose mappings stand still, a full ring is a full ring. */
static void drops_what_finds_no_buffer_while_mappings_stand_still(void **state)
{
    struct shop *shop = *state;

    post_some(shop, PEER_RING_SIZE);
    for (unsigned i = 0; i < 64; i++) {
        poll_once(shop);
        answer(shop, UINT_MAX);
    }
    for (unsigned i = 0; i < 2000; i++) {
        give(shop, 1, 60);
        assert_received(shop, 1);
        post_some(shop, 1);
    }
    give(shop, PEER_RING_SIZE + 7, 60);
    assert_received(shop, PEER_RING_SIZE);
    assert_int_equal(drop_n(shop, HG_DROP_TX_FULL), 7);
    assert_int_equal(ever_parked(shop), 0);
}

/* A miss that nobody answers becomes a fault: its buffers go back empty, the frames take others. */
static void takes_other_buffers_after_a_fault(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 4);
    give(shop, 3, 60);
    assert_int_equal(send_misses(shop), 2);
    expire(shop);
    poll_once(shop);
    assert_received(shop, 0);
    assert_int_equal(shop->empty, 4);
    assert_int_equal(parked(shop), 3);
    peer_post(&shop->peer, RX, 4);
    poll_once(shop);
    assert_int_equal(answer(shop, UINT_MAX), 2);
    poll_once(shop);
    assert_received(shop, 3);
    assert_accounts(shop);
}

static void counts_what_is_parked_when_the_ring_stops(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 8);
    give(shop, 5, 60);
    give(shop, 1, 65000);
    stop(shop, RX);
    assert_int_equal(parked(shop), 0);
    assert_int_equal(drop_n(shop, HG_DROP_PORT_DOWN), 6);
    assert_accounts(shop);
    start(shop, RX);
    answer(shop, UINT_MAX);
    poll_once(shop);
    assert_received(shop, 0);
}

static void keeps_what_is_parked_over_a_pause(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 8);
    give(shop, 5, 60);
    hg_vhost_ring_pause(ring_of(shop, RX));
    hg_qsbr_wait();
    poll_once(shop);
    assert_int_equal(parked(shop), 5);
    hg_vhost_ring_resume(shop->vp, ring_of(shop, RX));
    answer(shop, UINT_MAX);
    poll_once(shop);
    assert_received(shop, 5);
    assert_accounts(shop);
}

/* ---- translate-ahead ---- */

static void translates_posted_buffers_in_idle_polls(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 8);
    for (unsigned i = 0; i < 64; i++)
        poll_once(shop);
    assert_int_equal(answer(shop, UINT_MAX), 4);
    give(shop, 8, 60);
    assert_received(shop, 8);
    assert_int_equal(ever_parked(shop), 0);
    assert_int_equal(hg_count_get(&ring_of(shop, RX)->dev.iommu.ahead_hits), 8);
}

/* A guest that maps each buffer anew: after the first miss, no frame meets another. Nobody
 * polls. */
static void translates_behind_each_burst_while_mappings_change(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 8);
    give(shop, 4, 60);
    assert_int_equal(answer(shop, UINT_MAX), 4);
    poll_once(shop);
    assert_received(shop, 4);
    for (unsigned i = 0; i < 60; i++) {
        peer_post(&shop->peer, RX, 4);
        give(shop, 4, 60); /* takes the buffers that are known, and has the new ones asked for */
        assert_received(shop, 4);
        assert_int_equal(answer(shop, UINT_MAX), 2);
    }
    assert_int_equal(ever_parked(shop), 4);
}

/* A guest that gives up all its mappings now and then, used or not, is asked for fewer ahead. */
static void asks_for_less_where_mappings_do_not_last(void **state)
{
    struct shop *shop = *state;
    unsigned asked_n = 0;

    post_some(shop, PEER_RING_SIZE);
    for (unsigned i = 0; i < 64; i++) {
        poll_once(shop);
        asked_n += answer(shop, UINT_MAX);
    }
    assert_int_equal(asked_n, HG_VQ_AHEAD_N / 2); /* two buffers a page */
    for (unsigned i = 0; i < 20; i++) {
        invalidate(shop);
        give(shop, 1, 60);
        asked_n = 0;
        for (unsigned k = 0; k < 4; k++) {
            asked_n += answer(shop, UINT_MAX);
            poll_once(shop);
        }
        assert_received(shop, 1);
        post_some(shop, 1);
    }
    assert_in_range(asked_n, 8, 10);
    /* When they last, more again. */
    for (unsigned i = 0; i < 2000; i++) {
        give(shop, 1, 60);
        post_some(shop, 1);
        answer(shop, UINT_MAX);
        poll_once(shop);
        receive_all(shop);
    }
    assert_int_equal(ring_of(shop, RX)->dev.ahead.window, HG_VQ_AHEAD_N);
    assert_accounts(shop);
    assert_int_equal(drops(shop), 0);
}

/* ---- all together ---- */

static void accounts_for_every_frame_whatever_happens(void **state)
{
    struct shop *shop = *state;

    srand(1);
    for (unsigned step = 0; step < 20000; step++) {
        switch (rand() % 16) {
        case 0:
            if (step % 4 == 0)
                invalidate(shop);
            break;
        case 1:
            send_misses(shop);
            if (step % 8 == 0)
                expire(shop);
            break;
        case 2:
            if (arm(shop))
                disarm(shop);
            break;
        case 3:
            disarm(shop);
            break;
        case 4:
            if (step % 8 == 0) {
                stop(shop, RX);
                start(shop, RX);
            }
            break;
        case 5:
        case 6:
        case 7:
            answer(shop, (unsigned)rand() % 8);
            break;
        case 8:
        case 9:
            post_some(shop, (unsigned)rand() % 40);
            break;
        case 10:
            give(shop, (unsigned)rand() % 40, 60);
            break;
        case 11:
            give(shop, 1, 60 + (unsigned)rand() % 65000);
            break;
        default:
            poll_once(shop);
            break;
        }
        receive_all(shop);
        assert_accounts(shop);
    }
    assert_true(shop->received > 5000);
}

int main(void)
{
#define WAITS(test) cmocka_unit_test_setup_teardown(test, open_shop, close_shop)
    const struct CMUnitTest tests[] = {
        WAITS(is_asked_for_what_is_posted_at_the_start),
        WAITS(keeps_frames_until_the_answer),
        WAITS(keeps_the_order),
        WAITS(keeps_long_frames_too),
        WAITS(drops_what_finds_no_room_by_name),
        WAITS(keeps_parked_frames_for_buffers_to_come),
        WAITS(keeps_what_finds_no_buffer_while_mappings_change),
        WAITS(drops_what_finds_no_buffer_while_mappings_stand_still),
        WAITS(takes_other_buffers_after_a_fault),
        WAITS(counts_what_is_parked_when_the_ring_stops),
        WAITS(keeps_what_is_parked_over_a_pause),
        WAITS(translates_posted_buffers_in_idle_polls),
        WAITS(translates_behind_each_burst_while_mappings_change),
        WAITS(asks_for_less_where_mappings_do_not_last),
        WAITS(accounts_for_every_frame_whatever_happens),
    };

    return cmocka_run_group_tests_name("a queue behind an IOTLB", tests, NULL, NULL);
}
