/*
 * What a front-end, or the guest behind it, may do wrong with a virtual IOMMU.
 */
#include <unistd.h>

#include "emulated.h"
#include "iommu_rig.h"

static int set_up(void **state)
{
    *state = open_rig(&(struct rig_options){.pair_n = 1, .peer_features = FEATURES});
    return 0;
}

static int set_up_required(void **state)
{
    *state = open_rig(&(struct rig_options){
        .pair_n = 1, .peer_features = FEATURES, .iommu = HG_VHOST_IOMMU_REQUIRE});
    return 0;
}

static int set_up_off(void **state)
{
    *state = open_rig(
        &(struct rig_options){.pair_n = 1, .peer_features = FEATURES, .iommu = HG_VHOST_IOMMU_OFF});
    return 0;
}

static void refuse_updates_that_cannot_be_and_go_on(void **state)
{
    static const struct hg_vhost_iotlb updates[] = {
        {.type = HG_VHOST_IOTLB_UPDATE}, /* all zero */
        {.type = HG_VHOST_IOTLB_UPDATE, .iova = 0x10000, .user_addr = PEER_USER, .perm = 3},
        {.type = HG_VHOST_IOTLB_UPDATE,
         .iova = 0x10001,
         .size = PAGE,
         .user_addr = PEER_USER,
         .perm = 3},
        {.type = HG_VHOST_IOTLB_UPDATE,
         .iova = 0x10000,
         .size = PAGE - 1,
         .user_addr = PEER_USER,
         .perm = 3},
        {.type = HG_VHOST_IOTLB_UPDATE,
         .iova = -(uint64_t)PAGE,
         .size = 2 * PAGE,
         .user_addr = PEER_USER,
         .perm = 3},
        {.type = HG_VHOST_IOTLB_UPDATE, .iova = 0x10000, .size = PAGE, .user_addr = 0, .perm = 3},
        {.type = HG_VHOST_IOTLB_UPDATE,
         .iova = 0x10000,
         .size = 2 * PAGE,
         .user_addr = PEER_USER + PEER_MEM_BYTES - PAGE,
         .perm = 3},
        {.type = HG_VHOST_IOTLB_UPDATE,
         .iova = 0x10000,
         .size = -(uint64_t)PAGE,
         .user_addr = PEER_USER,
         .perm = 3},
        {.type = HG_VHOST_IOTLB_UPDATE,
         .iova = 0x10000,
         .size = PAGE,
         .user_addr = PEER_USER,
         .perm = 4},
        {.type = HG_VHOST_IOTLB_MISS, .iova = 0x10000, .size = PAGE, .perm = 3},
        {.type = HG_VHOST_IOTLB_ACCESS_FAIL, .iova = 0x10000, .perm = 3},
        {.type = 0},
        {.type = 255},
    };
    struct rig *rig = *state;
    uint64_t entries;
    uint64_t value;

    bring_up(rig);
    entries = report(rig).entries;
    for (unsigned i = 0; i < HG_ARRAY_N(updates); i++) {
        assert_true(peer_send_iotlb(&rig->peer, updates[i]));
        assert_true(peer_iotlb_acked(&rig->peer, &value));
        assert_int_not_equal(value, 0);
    }
    assert_int_equal(report(rig).entries, entries);
    frames_pass(rig);
}

/* Pages for the device that are none in the memory: a buffer may lie anywhere, a ring may not. */
static void refuse_rings_at_odd_addresses(void **state)
{
    struct rig *rig = *state;

    begin(rig);
    assert_true(peer_map(&rig->peer, RING_IOVA, 2 * PEER_RING_BYTES, PAGE + 2, HG_VHOST_ACCESS_RW));
    assert_says(rig, "broken", "ring 0: descriptor table at 0x7700000000 is not aligned to 16");
    rig_rx(rig, 0);
    peer_hang_up(&rig->peer);
    rig_pump(rig);
    for (unsigned i = 0; i < 2; i++)
        peer_reset_ring(&rig->peer, i);
    bring_up(rig);
    frames_pass(rig);
}

/* Every page elsewhere: what cannot be had as one piece costs the process a mapping for each page,
 * and there are not many. */
static void refuse_rings_scattered_over_too_many_pages(void **state)
{
    enum { PAIRS_N = 16, PAGES_N = (2 * PAIRS_N + 1) * PEER_RING_BYTES / PAGE };
    struct rig *rig = *state;
    unsigned before;

    skip_if_emulated("no second mapping by mremap()");
    rig_close(rig);
    rig_open(rig, &(struct rig_options){.pair_n = PAIRS_N, .peer_features = FEATURES});
    rig->peer.ring_start = RING_IOVA;
    for (unsigned i = 0; i < 2 * PAIRS_N; i++)
        rig->peer.ring[i].num = 4096; /* they overlap: nobody runs them */
    begin(rig);
    before = rig_count_mappings();
    for (unsigned i = 0; i < PAGES_N; i++)
        assert_true(peer_map(&rig->peer, RING_IOVA + (uint64_t)i * PAGE, PAGE,
                             (uint64_t)(PAGES_N - 1 - i) * PAGE, HG_VHOST_ACCESS_RW));
    assert_says(rig, "broken", "rings are scattered over more than 512 pages");
    assert_in_range(rig_count_mappings() - before, 400, 512);
    peer_hang_up(&rig->peer);
    rig_pump(rig);
    assert_true(rig_count_mappings() <= before);
}

static void refuse_mappings_before_there_is_memory(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb update = {
        .type = HG_VHOST_IOTLB_UPDATE, .size = PAGE, .user_addr = PEER_USER, .perm = 3};
    uint64_t value;

    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(peer_send_iotlb(&rig->peer, update)); /* before the features, too */
    assert_true(peer_iotlb_acked(&rig->peer, &value));
    assert_int_equal(value, 1);
    assert_true(
        peer_send_u64(&rig->peer, HG_VHOST_SET_FEATURES, rig->peer.features & rig->peer.offered));
    assert_true(peer_send_iotlb(&rig->peer, update));
    assert_true(peer_iotlb_acked(&rig->peer, &value));
    assert_int_equal(value, 1);
    assert_says(rig, "waiting", "waiting for the memory table");
}

static void end_sessions_for_messages_of_a_wrong_shape(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb update = {
        .type = HG_VHOST_IOTLB_UPDATE, .size = PAGE, .user_addr = PEER_USER, .perm = 3};

    for (unsigned i = 0; i < 3; i++) {
        bring_up(rig);
        assert_true(peer_send(&rig->peer, HG_VHOST_IOTLB_MSG, 0, &update,
                              sizeof(update) - (i == 0 ? 8 : 0), &rig->peer.mem_fd,
                              i == 1 ? 1 : 0));
        if (i == 2)
            assert_true(peer_send_fd(&rig->peer, HG_VHOST_SET_BACKEND_REQ_FD, 0,
                                     rig->peer.ring[0].kick)); /* no socket */
        assert_true(peer_was_closed(&rig->peer));
        peer_reset_ring(&rig->peer, RX);
        peer_reset_ring(&rig->peer, TX);
    }
    bring_up(rig);
}

static void require_what_is_required(void **state)
{
    struct rig *rig = *state;

    rig->peer.features = RIG_FEATURES;
    rig->peer.ring_start = PEER_USER;
    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(peer_start(&rig->peer));
    assert_says(rig, "broken",
                "refused: the guest does not use the virtual IOMMU that this port requires");
    assert_int_equal(rig->port.txq_running_n, 0);
    assert_false(atomic_load(&rig->port.rxq[0]->running));

    /* Its driver sees that its features are not confirmed, and gives up: the reason remains. */
    assert_true(peer_send_u64(&rig->peer, HG_VHOST_SET_STATUS,
                              HG_VIRTIO_STATUS_ACKNOWLEDGE | HG_VIRTIO_STATUS_FAILED));
    assert_says(rig, "broken", "refused: the guest does not use the virtual IOMMU");
    assert_true(peer_send_u64(&rig->peer, HG_VHOST_SET_STATUS, 0));
    assert_true(peer_stop(&rig->peer));

    /* In the same session another driver, which does. */
    rig->peer.features = FEATURES;
    rig->peer.ring_start = RING_IOVA;
    assert_true(peer_start(&rig->peer));
    map_rings(rig);
    map_buffers(rig);
    assert_says(rig, "up", "behind a virtual IOMMU");
    frames_pass(rig);
}

static void offer_nothing_when_off(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb update = {.type = HG_VHOST_IOTLB_UPDATE};

    rig->peer.ring_start = PEER_USER;
    assert_true(rig_bring_up(rig));
    assert_int_equal(rig->peer.offered & HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM), 0);
    assert_int_equal(rig->peer.offered_protocol & HG_BIT(HG_VHOST_PROTOCOL_F_BACKEND_REQ), 0);
    assert_false(report(rig).active);
    assert_true(peer_send_iotlb(&rig->peer, update));
    assert_says(rig, "broken", "IOTLB_MSG: was not offered");
    peer_reset_ring(&rig->peer, RX);
    peer_reset_ring(&rig->peer, TX);
    assert_true(rig_bring_up(rig));
    assert_true(peer_open_channel(&rig->peer, false));
    assert_says(rig, "broken", "SET_BACKEND_REQ_FD: was not agreed on");
}

/* A channel whose other end never reads, with next to no room. */
static void clog_channel(struct rig *rig)
{
    int ends[2];
    int bytes = 1;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
    if (rig->peer.channel >= 0)
        close(rig->peer.channel);
    rig->peer.channel = ends[0];
    assert_true(peer_send(&rig->peer, HG_VHOST_SET_BACKEND_REQ_FD, 0, NULL, 0, &ends[1], 1));
    close(ends[1]);
    rig_pump(rig);
}

/* What a worker does that misses so many pages. */
static void miss_pages(struct rig *rig, uint64_t iova, unsigned n)
{
    struct hg_vhost_port *vp = rig->port.driver_data;

    for (unsigned i = 0; i < n; i++)
        hg_iotlb_ask(vp->iommu.iotlb, &vp->pair[0].rx.asks, iova + (uint64_t)i * PAGE,
                     HG_PERM_READ);
    hg_asks_flush(&vp->pair[0].rx.asks);
    rig_pump(rig);
}

static void go_on_while_nobody_reads_the_channel(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_port *vp = rig->port.driver_data;
    struct hg_vhost_iotlb miss;
    unsigned n = 0;

    bring_up(rig);
    clog_channel(rig);
    for (unsigned i = 0; i < 3; i++) {
        miss_pages(rig, UINT64_C(0x5500000000) + i * (uint64_t)HG_IOTLB_ASKS_N * PAGE,
                   HG_IOTLB_ASKS_N);
        assert_true(peer_unmap(&rig->peer, 0, PAGE)); /* what QEMU waits for, holding its lock */
        map_buffers(rig);
    }
    assert_true(vp->iommu.channel.out_bytes <= HG_VHOST_OUT_MAX);
    assert_true(hg_vhost_wants_write(&vp->iommu.channel));
    frames_pass(rig);
    while (peer_take_miss(&rig->peer, &miss)) /* it reads at last: all are there, in order */
        assert_int_equal(miss.iova, UINT64_C(0x5500000000) + (uint64_t)n++ * PAGE);
    assert_true(n >= HG_IOTLB_ASKS_N);
    assert_false(hg_vhost_wants_write(&vp->iommu.channel));
    frames_pass(rig);
}

static void live_without_a_channel_and_take_another(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_msg msg;
    unsigned fds;

    bring_up(rig);
    fds = rig_count_fds();
    for (unsigned i = 0; i < 10; i++)
        assert_true(peer_open_channel(&rig->peer, true));
    assert_int_equal(rig_count_fds(), fds); /* the one before is closed */
    close(rig->peer.channel);
    rig->peer.channel = -1;
    rig_pump(rig);
    assert_int_equal(rig_count_fds(), fds - 2);
    assert_says(rig, "up", "up");
    frames_pass(rig);
    miss_pages(rig, UINT64_C(0x5500000000), 2);
    assert_true(peer_open_channel(&rig->peer, true));
    assert_true(peer_channel_recv(&rig->peer, &msg));
    assert_int_equal(msg.hdr.request, HG_VHOST_BACKEND_IOTLB_MSG);
    assert_int_equal(msg.hdr.flags, HG_VHOST_VERSION);
    /* Nonsense on it is thrown away, or costs the channel. */
    assert_int_equal(send(rig->peer.channel, &msg.hdr, 12, 0), 12);
    assert_int_equal(send(rig->peer.channel, msg.bytes, 32, 0), 32);
    frames_pass(rig);
    msg.hdr.flags = 2;
    assert_int_equal(send(rig->peer.channel, &msg.hdr, 12, 0), 12);
    rig_pump(rig);
    assert_int_equal(rig_count_fds(), fds - 1);
    frames_pass(rig);
}

/* One eventfd for the kicks of both rings, so that what wakes the poller is a kick that wakes the
 * poller. */
static void end_kicks_that_kick(void **state)
{
    struct rig *rig = *state;
    int own = rig->peer.ring[RX].kick;

    rig->peer.ring[RX].kick = dup(rig->peer.ring[TX].kick);
    bring_up(rig);
    frames_pass(rig);
    assert_false(rig->port.rxq[0]->arm(rig->port.rxq[0]));
    peer_take_signals(rig->peer.ring[TX].kick);
    for (unsigned round = 0; round < 3; round++) {
        peer_kick(&rig->peer, TX);
        for (unsigned i = 0; i < 100; i++)
            rig_pump(rig);
        /* The guest's own and at most one of ours; the poller has not come yet. */
        assert_true(peer_take_signals(rig->peer.ring[TX].kick) <= 2);
    }
    /* The next one counts again when the poller has been there. */
    rig_rx(rig, 0);
    assert_false(rig->port.rxq[0]->arm(rig->port.rxq[0]));
    peer_kick(&rig->peer, TX);
    rig_pump(rig);
    assert_int_equal(peer_take_signals(rig->peer.ring[TX].kick), 2);
    close(own);
}

static void leave_nothing_behind(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_port *vp = rig->port.driver_data;
    unsigned mappings = rig_count_mappings();
    unsigned fds = 0;

    for (unsigned i = 0; i < 20; i++) {
        bring_up(rig);
        frames_pass(rig);
        if (i % 3 == 0)
            assert_true(peer_unmap(&rig->peer, RING_IOVA, PAGE));
        peer_hang_up(&rig->peer);
        assert_null(vp->iommu.iotlb);
        assert_int_equal(rig_count_mappings(), mappings);
        if (i == 0)
            fds = rig_count_fds();
        assert_int_equal(rig_count_fds(), fds);
        peer_reset_ring(&rig->peer, RX);
        peer_reset_ring(&rig->peer, TX);
    }
    assert_int_equal(report(rig).invalidations, 7);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(refuse_updates_that_cannot_be_and_go_on),
        CASE(refuse_rings_at_odd_addresses),
        CASE(refuse_rings_scattered_over_too_many_pages),
        CASE(refuse_mappings_before_there_is_memory),
        CASE(end_sessions_for_messages_of_a_wrong_shape),
        CASE(go_on_while_nobody_reads_the_channel),
        CASE(live_without_a_channel_and_take_another),
        CASE(end_kicks_that_kick),
        CASE(leave_nothing_behind),
        cmocka_unit_test_setup_teardown(require_what_is_required, set_up_required, tear_down),
        cmocka_unit_test_setup_teardown(offer_nothing_when_off, set_up_off, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
