/*
 * Frames that wait, through whole sessions: what the front-end says decides what becomes of them.
 */
#include "iommu_rig.h"

/* Throws away what the channel holds. */
static void forget_misses(struct rig *rig)
{
    struct hg_vhost_iotlb miss;

    while (peer_take_miss(&rig->peer, &miss))
        continue;
}

/* The rings are mapped and known, no buffer is; the poller is there. */
static void start(struct rig *rig)
{
    begin(rig);
    map_rings(rig);
    forget_misses(rig);
    assert_says(rig, "up", "behind a virtual IOMMU");
    assert_int_equal(rig_rx(rig, 0), 0);
}

static int set_up(void **state)
{
    *state = open_rig(&(struct rig_options){.pair_n = 1, .peer_features = FEATURES});
    start(*state);
    return 0;
}

static int set_up_packed(void **state)
{
    struct rig *rig = open_rig(&(struct rig_options){
        .pair_n = 1, .peer_features = FEATURES | HG_BIT(HG_VIRTIO_F_RING_PACKED)});

    peer_use_packed(&rig->peer);
    start(rig);
    *state = rig;
    return 0;
}

static uint64_t dropped(struct rig *rig, enum hg_drop reason)
{
    return hg_count_get(&rig->port.txq[0]->stats.drops.reason[reason]);
}

static uint64_t delivered(struct rig *rig)
{
    return hg_count_get(&rig->port.txq[0]->stats.packets);
}

/* Posts buffers that are not mapped and gives n frames. */
static void give_unmapped(struct rig *rig, unsigned n)
{
    peer_post(&rig->peer, RX, n);
    for (unsigned i = 0; i < n; i++)
        assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
    assert_int_equal(report(rig).parked_now, n);
}

/* Answers all misses, as QEMU does: page by page. Returns how many. */
static unsigned answer(struct rig *rig)
{
    struct hg_vhost_iotlb miss;
    unsigned n = 0;

    while (peer_take_miss(&rig->peer, &miss)) {
        uint64_t offset = miss.iova >= RING_IOVA ? miss.iova - RING_IOVA
                                                 : miss.iova - PEER_HIGH + PEER_HALF_BYTES;

        assert_true(peer_map(&rig->peer, miss.iova, PAGE, offset, HG_VHOST_ACCESS_RW));
        n++;
    }
    return n;
}

static unsigned received(struct rig *rig)
{
    unsigned n = 0;
    size_t len;

    while (peer_receive(&rig->peer, RX, &len) != NULL)
        n++;
    return n;
}

static uint64_t kicks(struct rig *rig)
{
    return peer_take_signals(rig->peer.ring[TX].kick);
}

static void go_on_with_the_answer(void **state)
{
    struct rig *rig = *state;

    give_unmapped(rig, 6);
    assert_int_equal(answer(rig), 3);
    assert_int_equal(rig_rx(rig, 0), 0);
    assert_int_equal(received(rig), 6);
    assert_int_equal(report(rig).parked, 6);
    assert_int_equal(report(rig).parked_now, 0);
}

static void wake_their_poller_with_the_answer(void **state)
{
    struct rig *rig = *state;
    struct hg_rxq *rxq = rig->port.rxq[0];

    give_unmapped(rig, 2);
    rig_pump(rig); /* the miss is sent */
    assert_int_equal(rig_rx(rig, 0), 0);
    assert_false(rxq->arm(rxq));
    kicks(rig);
    assert_int_equal(answer(rig), 1);
    assert_true(kicks(rig) > 0);
    rxq->disarm(rxq);
    rig_rx(rig, 0);
    assert_int_equal(received(rig), 2);
}

/* The control loop passes a kick of the other ring on to a poller that sleeps. */
static void wake_their_poller_with_new_buffers(void **state)
{
    struct rig *rig = *state;
    struct hg_rxq *rxq = rig->port.rxq[0];

    give_unmapped(rig, 2);
    answer(rig);
    rig_rx(rig, 0);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
    rig_rx(rig, 0);
    assert_int_equal(report(rig).parked_now, 1);
    assert_false(rxq->arm(rxq));
    kicks(rig);
    peer_post(&rig->peer, RX, 2);
    peer_kick(&rig->peer, RX);
    rig_pump(rig);
    assert_true(kicks(rig) > 0);
    rxq->disarm(rxq);
    rig_rx(rig, 0);
    answer(rig);
    rig_rx(rig, 0);
    assert_int_equal(received(rig), 3);
}

/* A new memory table takes all mappings with it, also those of the rings. */
static void stay_over_a_pause(void **state)
{
    struct rig *rig = *state;

    give_unmapped(rig, 4);
    assert_true(peer_send_mem_table(&rig->peer, true));
    assert_int_equal(report(rig).parked_now, 4);
    while (answer(rig) != 0)
        rig_rx(rig, 0);
    rig_rx(rig, 0);
    assert_int_equal(received(rig), 4);
}

static void end_with_the_ring(void **state)
{
    struct rig *rig = *state;
    uint32_t base;

    give_unmapped(rig, 4);
    assert_true(peer_get_base(&rig->peer, RX, &base));
    assert_int_equal(base, 0);
    assert_int_equal(dropped(rig, HG_DROP_PORT_DOWN), 4);
    assert_int_equal(report(rig).parked_now, 0);
}

static void end_with_the_queue(void **state)
{
    struct rig *rig = *state;

    give_unmapped(rig, 4);
    assert_true(peer_enable_pair(&rig->peer, 0, false));
    rig_pump(rig);
    assert_int_equal(dropped(rig, HG_DROP_PORT_DOWN), 4);
    assert_true(peer_enable_pair(&rig->peer, 0, true));
    rig_pump(rig);
    while (answer(rig) != 0)
        rig_rx(rig, 0);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
    assert_int_equal(received(rig), 1);
}

static void end_with_the_session(void **state)
{
    struct rig *rig = *state;
    unsigned fds = rig_count_fds();

    for (unsigned i = 0; i < 5; i++) {
        give_unmapped(rig, 3);
        peer_hang_up(&rig->peer);
        rig_pump(rig);
        assert_int_equal(dropped(rig, HG_DROP_PORT_DOWN), 3 * (i + 1));
        assert_int_equal(report(rig).parked_now, 0);
        peer_reset_ring(&rig->peer, RX);
        peer_reset_ring(&rig->peer, TX);
        start(rig);
    }
    assert_int_equal(delivered(rig), 0);
    assert_in_range(rig_count_fds(), 1, fds);
}

int main(void)
{
#define SPLIT(test)  cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define PACKED(test) cmocka_unit_test_setup_teardown(test, set_up_packed, tear_down)
    const struct CMUnitTest tests[] = {
        SPLIT(go_on_with_the_answer),
        PACKED(go_on_with_the_answer),
        SPLIT(wake_their_poller_with_the_answer),
        PACKED(wake_their_poller_with_the_answer),
        SPLIT(wake_their_poller_with_new_buffers),
        PACKED(wake_their_poller_with_new_buffers),
        SPLIT(stay_over_a_pause),
        PACKED(stay_over_a_pause),
        SPLIT(end_with_the_ring),
        SPLIT(end_with_the_queue),
        PACKED(end_with_the_queue),
        SPLIT(end_with_the_session),
    };

    return cmocka_run_group_tests_name("parked frames of a session", tests, NULL, NULL);
}
