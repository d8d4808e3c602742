/*
 * How pollers sleep while their queues wait for translations, and what wakes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "waiting.h"

/* ---- a worker with a clock of its own ---- */

struct napping {
    struct shop *shop;
    struct hg_worker *worker;
    struct hg_poller poller;
    uint64_t now_ns;
    bool asleep;
};

static unsigned nap_poll(struct hg_poller *poller)
{
    return poll_once(hg_container_of(poller, struct napping, poller)->shop);
}

static bool nap_arm(struct hg_poller *poller)
{
    return arm(hg_container_of(poller, struct napping, poller)->shop);
}

static void nap_disarm(struct hg_poller *poller)
{
    disarm(hg_container_of(poller, struct napping, poller)->shop);
}

static uint64_t nap_now_ns(void *ctx)
{
    return ((struct napping *)ctx)->now_ns += 100 * HG_NS_PER_US;
}

static int nap_wait(void *ctx, int epoll_fd)
{
    (void)epoll_fd;
    ((struct napping *)ctx)->asleep = true;
    return 0;
}

static void nap_begin(struct napping *nap, struct shop *shop)
{
    const struct hg_worker_options options = {
        .cpu = -1, .sleep = true, .idle_ns = 50 * HG_NS_PER_US};
    const struct hg_worker_env env = {.now_ns = nap_now_ns, .wait = nap_wait, .ctx = nap};
    struct hg_poller *pollers[] = {&nap->poller};
    struct hg_err err;

    *nap = (struct napping){
        .shop = shop,
        .poller = {.poll = nap_poll,
                   .arm = nap_arm,
                   .disarm = nap_disarm,
                   .fd = shop->peer.ring[TX].kick},
    };
    assert_int_equal(hg_worker_new(&nap->worker, &options, &env, &err), 0);
    assert_int_equal(hg_worker_set(nap->worker, pollers, 1, &err), 0);
    hg_qsbr_register();
}

/* Turns until the worker goes to sleep, which it must do soon. */
static void nap_until_asleep(struct napping *nap)
{
    nap->asleep = false;
    for (unsigned turns = 0; !nap->asleep; turns++) {
        assert_true(turns < 1000);
        hg_worker_turn(nap->worker);
    }
}

static void nap_end(struct napping *nap)
{
    struct hg_err err;

    hg_qsbr_unregister();
    assert_int_equal(hg_worker_set(nap->worker, NULL, 0, &err), 0);
    hg_worker_free(nap->worker);
}

/* ---- sleep ---- */

static void sleeps_while_it_waits(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 8);
    give(shop, 4, 60);
    poll_once(shop);
    assert_int_equal(send_misses(shop), 4);
    poll_once(shop);
    assert_false(arm(shop));
    assert_int_equal(kicks(shop), 0);
    answer_sent(shop, UINT_MAX);
    assert_int_equal(kicks(shop), 1);
    disarm(shop);
    poll_once(shop);
    assert_received(shop, 4);
    assert_accounts(shop);
}

static void sleeps_while_what_it_receives_waits(void **state)
{
    struct shop *shop = *state;

    peer_transmit(&shop->peer, TX, frame_of(0), 60);
    assert_int_equal(poll_once(shop), 0);
    assert_int_equal(send_misses(shop), 1);
    assert_int_equal(poll_once(shop), 0);
    assert_false(arm(shop));
    answer_sent(shop, UINT_MAX);
    assert_int_equal(kicks(shop), 1);
    disarm(shop);
    assert_int_equal(poll_once(shop), 1);
}

/* The answer comes before the poller says that it waits: nobody kicks it, and it need not be
 * kicked. */
static void does_not_sleep_on_an_answer(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 8);
    give(shop, 4, 60);
    poll_once(shop);
    answer(shop, UINT_MAX);
    assert_false(arm(shop));
    assert_received(shop, 4);
    disarm(shop);
    peer_transmit(&shop->peer, TX, frame_of(0), 60);
    assert_int_equal(poll_once(shop), 0);
    answer(shop, UINT_MAX);
    assert_true(arm(shop));
    assert_int_equal(kicks(shop), 0);
}

/* Whoever parks frames for a poller that sleeps has it woken by the answer, and by buffers. */
static void wakes_a_poller_for_frames_that_others_park(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 2);
    poll_once(shop);
    answer(shop, UINT_MAX);
    poll_once(shop);
    assert_false(arm(shop)); /* looks ahead */
    answer(shop, UINT_MAX);
    invalidate(shop);
    give(shop, 4, 60);
    assert_int_equal(parked(shop), 4);
    send_misses(shop);
    give(shop, 1, 60);
    kicks(shop);
    answer_sent(shop, UINT_MAX);
    assert_int_equal(kicks(shop), 1);
    disarm(shop);
    poll_once(shop);
    assert_received(shop, 2);
    assert_int_equal(parked(shop), 3);
    /* Now they wait for buffers. */
    assert_false(arm(shop));
    assert_true(asked_for_kicks(shop));
    peer_post(&shop->peer, RX, 3);
    disarm(shop); /* its kick, which control passes on */
    poll_once(shop);
    assert_false(asked_for_kicks(shop));
    assert_false(arm(shop));
    answer(shop, UINT_MAX);
    assert_int_equal(kicks(shop), 1);
    disarm(shop);
    poll_once(shop);
    assert_received(shop, 3);
    assert_accounts(shop);
}

/* A ring that is paused, perhaps for long, keeps nobody awake. */
static void sleeps_while_its_rings_are_paused(void **state)
{
    struct shop *shop = *state;

    peer_post(&shop->peer, RX, 2);
    give(shop, 2, 60);
    hg_vhost_ring_pause(ring_of(shop, RX));
    hg_vhost_ring_pause(ring_of(shop, TX));
    peer_transmit(&shop->peer, TX, frame_of(0), 60);
    poll_once(shop);
    assert_false(arm(shop));
    answer(shop, UINT_MAX);
    kicks(shop);
    hg_vhost_ring_resume(shop->vp, ring_of(shop, RX));
    assert_int_equal(kicks(shop), 1);
    hg_vhost_ring_resume(shop->vp, ring_of(shop, TX));
    assert_int_equal(kicks(shop), 1);
    disarm(shop);
    poll_once(shop);
    assert_received(shop, 2);
}

/* A guest whose misses nobody answers costs one wake-up for each time-out. */
static void costs_nothing_while_nobody_answers(void **state)
{
    struct shop *shop = *state;
    struct napping nap;

    peer_post(&shop->peer, RX, 8);
    peer_transmit(&shop->peer, TX, frame_of(0), 60);
    give(shop, 4, 60);
    nap_begin(&nap, shop);
    for (unsigned i = 0; i < 10; i++) {
        nap_until_asleep(&nap); /* fails when it does not */
        send_misses(shop);
        nap_until_asleep(&nap);
        expire(shop);
    }
    nap_end(&nap);
    assert_int_equal(parked(shop), 4);
    assert_accounts(shop);
}

/* A buffer that contradicts itself is nothing to look at before its turn, and what nobody looks at
 * keeps nobody awake. The ring breaks when a frame comes to it. */
static void sleeps_behind_a_buffer_that_is_none(void **state)
{
    struct shop *shop = *state;
    struct napping nap;

    peer_post(&shop->peer, RX, 2);
    peer_write_desc(&shop->peer, RX, 2, (struct hg_desc){PEER_HIGH, PAGE, 0, 0}); /* read-only */
    peer_push_avail(&shop->peer, RX, 2);
    nap_begin(&nap, shop);
    nap_until_asleep(&nap);
    assert_int_equal(answer(shop, UINT_MAX), 1); /* both are in one page */
    nap_until_asleep(&nap);
    assert_int_equal(atomic_load(&ring_of(shop, RX)->dev.fault), HG_VRING_OK);
    give(shop, 3, 60);
    assert_int_equal(atomic_load(&ring_of(shop, RX)->dev.fault), HG_VRING_DIRECTION);
    nap_until_asleep(&nap);
    nap_end(&nap);
    assert_received(shop, 2);
    assert_accounts(shop);
}

/* A frame that takes more buffers than are looked at where mappings do not last: the one that is
 * still wanting wakes the poller. */
static void wakes_for_more_than_it_looks_at(void **state)
{
    enum { LEN = 60000, NEEDED = LEN / PEER_BUFFER_BYTES + 1, POSTED = NEEDED - 3 };
    struct shop *shop = *state;
    unsigned turns = 0;

    peer_post(&shop->peer, RX, POSTED);
    while (poll_once(shop), answer(shop, UINT_MAX) != 0 || turns < 100)
        turns++;
    ring_of(shop, RX)->dev.ahead.window = POSTED / 2;
    give(shop, 1, LEN);
    assert_int_equal(parked(shop), 1);
    for (turns = 0; turns < 100 && arm(shop); turns++) {
        disarm(shop);
        poll_once(shop);
        answer(shop, UINT_MAX);
    }
    assert_true(turns < 100);
    assert_true(asked_for_kicks(shop));
    peer_post(&shop->peer, RX, 3);
    disarm(shop); /* its kick */
    for (turns = 0; turns < 100 && parked(shop) != 0; turns++) {
        poll_once(shop);
        answer(shop, UINT_MAX);
    }
    assert_received(shop, 1);
    assert_accounts(shop);
}

int main(void)
{
#define SLEEPS(test) cmocka_unit_test_setup_teardown(test, open_shop, close_shop)
    const struct CMUnitTest tests[] = {
        SLEEPS(sleeps_while_it_waits),
        SLEEPS(sleeps_while_what_it_receives_waits),
        SLEEPS(does_not_sleep_on_an_answer),
        SLEEPS(wakes_a_poller_for_frames_that_others_park),
        SLEEPS(sleeps_while_its_rings_are_paused),
        SLEEPS(costs_nothing_while_nobody_answers),
        SLEEPS(sleeps_behind_a_buffer_that_is_none),
        SLEEPS(wakes_for_more_than_it_looks_at),
    };

    return cmocka_run_group_tests_name("pollers behind an IOTLB", tests, NULL, NULL);
}
