/*
 * Interrupts held back: by number, by time, and never for longer than somebody is there to send
 * them.
 */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "peer/rig.h"
#include "sync/qsbr.h"

enum { RX = 0, TX = 1 }; /* rings as the guest sees them */
enum { FRAMES = 8, LONG_US = 10000 };

static const uint8_t frame[60] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};

static int set_up_with(void **state, uint64_t us, uint64_t frames)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    rig_open(rig, &(struct rig_options){.pair_n = 1, .coalesce_us = us, .coalesce_frames = frames});
    assert_true(rig_bring_up(rig));
    /* The start of a ring interrupts once. */
    peer_take_signals(rig->peer.ring[RX].call);
    peer_take_signals(rig->peer.ring[TX].call);
    *state = rig;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, LONG_US, FRAMES);
}

static int set_up_off(void **state)
{
    return set_up_with(state, 0, FRAMES);
}

static int tear_down(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

static uint64_t signals(struct rig *rig, unsigned ring)
{
    return peer_take_signals(rig->peer.ring[ring].call);
}

static void give(struct rig *rig, unsigned n)
{
    peer_post(&rig->peer, RX, n);
    for (unsigned i = 0; i < n; i++)
        assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
}

static const struct hg_queue_stats *stats_of(struct rig *rig, unsigned ring)
{
    return ring == RX ? &rig->port.txq[0]->stats : &rig->port.rxq[0]->stats;
}

static void assert_counts(struct rig *rig, unsigned ring, uint64_t sent, uint64_t saved)
{
    assert_int_equal(hg_count_get(&stats_of(rig, ring)->notifications), sent);
    assert_int_equal(hg_count_get(&stats_of(rig, ring)->notifications_saved), saved);
}

static void are_sent_at_once_when_off(void **state)
{
    struct rig *rig = *state;

    rig_rx(rig, 0);
    for (unsigned i = 0; i < 3; i++) {
        give(rig, 1);
        assert_int_equal(signals(rig, RX), 1);
        peer_transmit(&rig->peer, TX, frame, sizeof(frame));
        assert_int_equal(rig_rx(rig, 0), 1);
        assert_int_equal(signals(rig, TX), 1);
    }
    assert_counts(rig, RX, 3, 0);
    assert_counts(rig, TX, 3, 0);
}

static void go_out_after_so_many_frames(void **state)
{
    struct rig *rig = *state;
    uint64_t begin_ns;

    rig_rx(rig, 0);
    begin_ns = hg_now_ns();
    give(rig, FRAMES - 1);
    /* A machine that stood still for so long may have sent it, rightly. */
    if (hg_now_ns() - begin_ns < LONG_US * HG_NS_PER_US)
        assert_int_equal(signals(rig, RX), 0);
    give(rig, 1);
    assert_int_equal(signals(rig, RX), 1);
    assert_counts(rig, RX, 1, FRAMES - 1);
}

static void go_out_after_so_many_frames_taken(void **state)
{
    struct rig *rig = *state;

    for (unsigned i = 0; i < FRAMES; i++)
        peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), FRAMES);
    assert_int_equal(signals(rig, TX), 1);
    assert_counts(rig, TX, 1, 0);
}

/* Polls until the other side is told; fails when it takes far too long. */
static void assert_told_in_time(struct rig *rig, unsigned ring, uint64_t begin_ns)
{
    while (signals(rig, ring) == 0) {
        assert_true(hg_now_ns() - begin_ns < 100 * LONG_US * HG_NS_PER_US);
        assert_int_equal(rig_rx(rig, 0), 0);
    }
    assert_true(hg_now_ns() - begin_ns >= LONG_US * HG_NS_PER_US);
}

static void go_out_after_some_time(void **state)
{
    struct rig *rig = *state;
    uint64_t begin_ns;

    rig_rx(rig, 0);
    begin_ns = hg_now_ns();
    give(rig, 1);
    assert_told_in_time(rig, RX, begin_ns);
    begin_ns = hg_now_ns();
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_told_in_time(rig, TX, begin_ns);
    assert_counts(rig, RX, 1, 0);
    assert_counts(rig, TX, 1, 0);
}

static void go_out_before_the_poller_sleeps(void **state)
{
    struct rig *rig = *state;
    struct hg_rxq *rxq = rig->port.rxq[0];

    rig_rx(rig, 0);
    give(rig, 2);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_false(rxq->arm(rxq));
    assert_int_equal(signals(rig, RX), 1);
    assert_int_equal(signals(rig, TX), 1);
    /* Nobody polls now. */
    give(rig, 1);
    assert_int_equal(signals(rig, RX), 1);
    rxq->disarm(rxq);
    give(rig, 1);
    assert_int_equal(signals(rig, RX), 1);
    assert_counts(rig, RX, 3, 1);
}

static void go_out_when_the_poller_leaves(void **state)
{
    struct rig *rig = *state;
    struct hg_rxq *rxq = rig->port.rxq[0];

    rig_rx(rig, 0);
    give(rig, 2);
    rxq->disarm(rxq); /* as control does for a poller that its worker has let go of */
    assert_int_equal(signals(rig, RX), 1);
    give(rig, 1);
    assert_int_equal(signals(rig, RX), 1);
}

static void go_out_when_a_ring_stops(void **state)
{
    struct rig *rig = *state;
    uint32_t base;

    rig_rx(rig, 0);
    give(rig, 2);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_true(peer_get_base(&rig->peer, RX, &base));
    assert_int_equal(signals(rig, RX), 1);
    assert_true(peer_get_base(&rig->peer, TX, &base));
    assert_int_equal(signals(rig, TX), 1);
}

static void survive_a_pause(void **state)
{
    struct rig *rig = *state;

    rig_rx(rig, 0);
    give(rig, FRAMES - 1);
    assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_VRING_CALL, RX, rig->peer.ring[RX].call));
    rig_pump(rig);
    give(rig, 1);
    assert_true(signals(rig, RX) >= 1);
}

/* A guest that wants to hear of everything and has not heard of these would sleep for ever. */
static void assert_nothing_untold(struct rig *rig, uint16_t told[2])
{
    for (unsigned ring = RX; ring <= TX; ring++) {
        uint16_t used = peer_used_idx(&rig->peer, ring);

        if (used != told[ring])
            assert_true(signals(rig, ring) >= 1);
        told[ring] = used;
    }
}

static void are_never_lost_whatever_the_order(void **state)
{
    struct rig *rig = *state;
    struct hg_rxq *rxq = rig->port.rxq[0];
    uint16_t told[2] = {0, 0};
    bool away = true;
    size_t len;

    srand(1);
    for (unsigned step = 0; step < 20000; step++) {
        switch (rand() % 8) {
        case 0:
            if (rxq->arm(rxq))
                rxq->disarm(rxq);
            away = true;
            break;
        case 1:
            rxq->disarm(rxq);
            away = true;
            break;
        case 2:
        case 3:
            if ((uint16_t)(rig->peer.ring[TX].avail_idx - peer_used_idx(&rig->peer, TX)) < 100)
                peer_transmit(&rig->peer, TX, frame, sizeof(frame));
            break;
        case 4:
        case 5:
            rig_rx(rig, 0);
            away = false;
            break;
        default:
            give(rig, 1 + (unsigned)rand() % 3);
            break;
        }
        while (peer_receive(&rig->peer, RX, &len) != NULL)
            assert_int_equal(len, sizeof(frame));
        if (away)
            assert_nothing_untold(rig, told);
    }
}

/* Three threads: one transmits, one polls the pair's other half and sleeps now and then, and the
 * guest sleeps until it is told of each frame. */
struct trio {
    struct rig *rig;
    atomic_bool stop;
    _Atomic unsigned wanted; /* frames that the guest waits for */
};

static void *poll_and_sleep(void *ctx)
{
    struct trio *trio = ctx;
    struct hg_rxq *rxq = trio->rig->port.rxq[0];

    hg_qsbr_register();
    for (unsigned turn = 1; !atomic_load(&trio->stop); turn++) {
        rig_rx(trio->rig, 0);
        if (turn % 16 == 0) {
            if (!rxq->arm(rxq)) {
                hg_qsbr_offline();
                usleep(100);
                hg_qsbr_online();
            }
            rxq->disarm(rxq);
        }
        hg_qsbr_quiescent();
        sched_yield();
    }
    hg_qsbr_unregister();
    return NULL;
}

static void *transmit(void *ctx)
{
    struct trio *trio = ctx;
    struct hg_txq *txq = trio->rig->port.txq[0];
    struct hg_pkt pkt = {.len = sizeof(frame), .head_len = sizeof(frame)};
    struct hg_pkt *pkts[] = {&pkt};
    unsigned sent = 0;

    hg_qsbr_register();
    while (!atomic_load(&trio->stop)) {
        if (atomic_load(&trio->wanted) != sent) {
            hg_spin_lock(&txq->lock);
            sent += txq->tx(txq, pkts, 1);
            hg_spin_unlock(&txq->lock);
        }
        hg_qsbr_quiescent();
        sched_yield();
    }
    hg_qsbr_unregister();
    return NULL;
}

static void wake_a_guest_that_sleeps(void **state)
{
    struct trio trio = {.rig = *state};
    struct pollfd call = {.fd = trio.rig->peer.ring[RX].call, .events = POLLIN};
    pthread_t poller, transmitter;
    size_t len;

    assert_int_equal(pthread_create(&poller, NULL, poll_and_sleep, &trio), 0);
    assert_int_equal(pthread_create(&transmitter, NULL, transmit, &trio), 0);
    for (unsigned i = 0; i < 300; i++) {
        peer_post(&trio.rig->peer, RX, 1);
        atomic_fetch_add(&trio.wanted, 1);
        while (peer_receive(&trio.rig->peer, RX, &len) == NULL) {
            assert_int_equal(poll(&call, 1, 5000), 1);
            signals(trio.rig, RX);
        }
    }
    atomic_store(&trio.stop, true);
    pthread_join(poller, NULL);
    pthread_join(transmitter, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(are_sent_at_once_when_off, set_up_off, tear_down),
        cmocka_unit_test_setup_teardown(go_out_after_so_many_frames, set_up, tear_down),
        cmocka_unit_test_setup_teardown(go_out_after_so_many_frames_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(go_out_after_some_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(go_out_before_the_poller_sleeps, set_up, tear_down),
        cmocka_unit_test_setup_teardown(go_out_when_the_poller_leaves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(go_out_when_a_ring_stops, set_up, tear_down),
        cmocka_unit_test_setup_teardown(survive_a_pause, set_up, tear_down),
        cmocka_unit_test_setup_teardown(are_never_lost_whatever_the_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wake_a_guest_that_sleeps, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("interrupts held back", tests, NULL, NULL);
}
