/*
 * Four at once: a worker that transmits, the pair's poller, which sleeps whenever it may, a guest
 * that posts and unmaps buffers, and the front-end that answers. Nothing is lost without a name,
 * nothing comes in another order, and when the transmitter ends the rest is delivered: no wake-up
 * was lost.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "waiting.h"

enum { FRAMES = 20000, AFLOAT = 400 };

static struct {
    struct shop *shop;
    atomic_bool stop;
    _Atomic uint32_t received; /* as the transmitter sees it */
    atomic_bool transmitted;
    unsigned sleeps; /* of the poller */
} crew;

static void *poll_and_sleep(void *ctx)
{
    struct pollfd kick = {.fd = crew.shop->peer.ring[TX].kick, .events = POLLIN};

    (void)ctx;
    hg_qsbr_register();
    while (!atomic_load(&crew.stop)) {
        poll_once(crew.shop);
        if (!arm(crew.shop)) {
            hg_qsbr_offline();
            while (!atomic_load(&crew.stop) && poll(&kick, 1, 20) == 0)
                continue;
            kicks(crew.shop);
            hg_qsbr_online();
            crew.sleeps++;
        }
        disarm(crew.shop);
        hg_qsbr_quiescent();
    }
    hg_qsbr_unregister();
    return NULL;
}

static void *transmit(void *ctx)
{
    unsigned seed = 1;

    (void)ctx;
    hg_qsbr_register();
    while (crew.shop->given < FRAMES) {
        if (crew.shop->given - atomic_load(&crew.received) < AFLOAT)
            give(crew.shop, 1 + (unsigned)rand_r(&seed) % 8,
                 rand_r(&seed) % 64 == 0 ? 9000 : 60 + (unsigned)rand_r(&seed) % 1000);
        hg_qsbr_quiescent();
        sched_yield();
    }
    hg_qsbr_unregister();
    atomic_store(&crew.transmitted, true);
    return NULL;
}

/* A turn of the guest and its front-end. */
static void serve(struct shop *shop, unsigned turn)
{
    struct hg_queue_stats *stats = &shop->port.txq[0]->stats;

    if (post_some(shop, 1 + turn % 13) != 0 && asked_for_kicks(shop))
        peer_kick(&shop->peer, TX); /* as the session passes it on */
    answer(shop, turn % 5);
    if (turn % 64 == 0)
        invalidate(shop);
    if (turn % 256 == 0)
        expire(shop);
    receive_all(shop);
    atomic_store(&crew.received, (uint32_t)(hg_count_get(&stats->packets) + drops(shop)));
}

static void loses_nothing_and_wakes_up(void **state)
{
    struct shop *shop = *state;
    pthread_t poller, transmitter;
    uint64_t deadline_ns = hg_now_ns() + 40 * HG_NS_PER_S;
    unsigned turn = 0;

    crew.shop = shop;
    atomic_store(&crew.stop, false);
    assert_int_equal(pthread_create(&poller, NULL, poll_and_sleep, NULL), 0);
    assert_int_equal(pthread_create(&transmitter, NULL, transmit, NULL), 0);
    while (!atomic_load(&crew.transmitted) || parked(shop) != 0) {
        assert_true(hg_now_ns() < deadline_ns);
        serve(shop, turn++);
    }
    pthread_join(transmitter, NULL);
    atomic_store(&crew.stop, true);
    pthread_join(poller, NULL);
    receive_all(shop);
    assert_accounts(shop);
    assert_int_equal(hg_count_get(&shop->port.txq[0]->stats.packets), shop->received);
    assert_true(ever_parked(shop) > 0);
    assert_true(crew.sleeps > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(loses_nothing_and_wakes_up, open_shop, close_shop),
    };

    return cmocka_run_group_tests_name("queues behind an IOTLB, in parallel", tests, NULL, NULL);
}
