/*
 * Sessions behind a virtual IOMMU: rings at IOVAs, misses, invalidations, and what a front-end may do wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "peer/rig.h"
#include "port/vhost/state.h"

enum { RX = 0, TX = 1, PAGE = 4096, SCATTERED = 32 * PEER_RING_BYTES };

/* Where the rings are for the device. Buffers have the addresses that the peer gives them. */
#define RING_IOVA UINT64_C(0x7700000000)

#define FEATURES (RIG_FEATURES | HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM))

static const uint8_t frame[64] = {2, 0, 0, 0, 0,   2,   2,   0,   0,  0,
                                  0, 1, 8, 0, 'h', 'e', 'l', 'l', 'o'};

static struct rig *open_rig(const struct rig_options *options)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    rig_open(rig, options);
    rig->peer.ring_start = RING_IOVA;
    return rig;
}

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

static int tear_down(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

static void assert_says(struct rig *rig, const char *state, const char *text)
{
    if (strstr(rig_status(rig), text) == NULL)
        fail_msg("'%s' does not contain '%s'", rig->status.text, text);
    assert_string_equal(rig->status.state, state);
}

static struct hg_port_iommu report(struct rig *rig)
{
    struct hg_port_iommu iommu = {0};

    hg_vhost_user_driver.iommu(&rig->port, &iommu);
    return iommu;
}

/* Connects with a channel and says all that QEMU says; nothing is mapped yet. */
static void begin(struct rig *rig)
{
    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(peer_open_channel(&rig->peer, true));
    assert_true(peer_start(&rig->peer));
}

static void map_rings(struct rig *rig)
{
    assert_true(peer_map(&rig->peer, RING_IOVA, 2 * PEER_RING_BYTES, 0, HG_VHOST_ACCESS_RW));
}

static void map_buffers(struct rig *rig)
{
    assert_true(peer_map(&rig->peer, 0, PEER_HALF_BYTES, 0, HG_VHOST_ACCESS_RW));
    assert_true(
        peer_map(&rig->peer, PEER_HIGH, PEER_HALF_BYTES, PEER_HALF_BYTES, HG_VHOST_ACCESS_RW));
}

static void bring_up(struct rig *rig)
{
    uint8_t asked[1024];

    begin(rig);
    map_rings(rig);
    map_buffers(rig);
    while (recv(rig->peer.channel, asked, sizeof(asked), MSG_DONTWAIT) > 0)
        continue;
    assert_says(rig, "up", "up: 1 queue pair, behind a virtual IOMMU");
}

static void no_miss_waits(struct rig *rig)
{
    struct hg_vhost_msg msg;

    rig_pump(rig);
    assert_int_equal(recv(rig->peer.channel, &msg, sizeof(msg), MSG_DONTWAIT), -1);
}

static void frames_pass(struct rig *rig)
{
    const uint8_t *got;
    size_t len;

    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_memory_equal(rig->burst->pkt[0].head, frame, sizeof(frame));
    peer_post(&rig->peer, RX, 1);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
    got = peer_receive(&rig->peer, RX, &len);
    assert_non_null(got);
    assert_memory_equal(got, frame, sizeof(frame));
}

static void ask_for_the_pages_of_rings(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb miss;

    begin(rig);
    assert_says(rig, "waiting", "waiting for the mapping of ring 0's descriptor table");
    /* Of each ring: descriptors and available ring share no page with each other, the used ring does. */
    for (unsigned ring = 0; ring < 2; ring++)
        for (unsigned page = 0; page < 3; page++) {
            unsigned at = ring * PEER_RING_BYTES;

            if (page == 2 && !peer_take_miss(&rig->peer, &miss))
                break;
            if (page < 2)
                assert_true(peer_take_miss(&rig->peer, &miss));
            at = (unsigned)(miss.iova - RING_IOVA);
            assert_int_equal(at % PAGE, 0);
            assert_int_equal(miss.size, PAGE);
            assert_true(miss.perm >= HG_VHOST_ACCESS_RO && miss.perm <= HG_VHOST_ACCESS_RW);
            assert_true(peer_map(&rig->peer, miss.iova, PAGE, at, HG_VHOST_ACCESS_RW));
        }
    while (strcmp(rig->status.state, "up") != 0) {
        if (peer_take_miss(&rig->peer, &miss))
            assert_true(
                peer_map(&rig->peer, miss.iova, PAGE, miss.iova - RING_IOVA, HG_VHOST_ACCESS_RW));
        rig_status(rig);
    }
    no_miss_waits(rig);
    assert_true(report(rig).active);
    assert_true(report(rig).misses >= 4);
    map_buffers(rig);
    frames_pass(rig);
}

static void start_at_once_with_mappings_that_come_before(void **state)
{
    struct rig *rig = *state;

    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(
        peer_send_u64(&rig->peer, HG_VHOST_SET_FEATURES, rig->peer.features & rig->peer.offered));
    assert_true(peer_send_mem_table(&rig->peer, true));
    map_rings(rig);
    map_buffers(rig);
    for (unsigned i = 0; i < 2; i++)
        assert_true(peer_start_ring(&rig->peer, i));
    assert_true(peer_enable_pair(&rig->peer, 0, true));
    assert_says(rig, "up", "behind a virtual IOMMU");
    frames_pass(rig);
}

static void say_when_there_is_nobody_to_ask(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb miss;

    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(peer_start(&rig->peer));
    assert_says(rig, "waiting", "descriptor table, with no channel to ask for it");
    assert_true(peer_open_channel(&rig->peer, true));
    assert_true(peer_take_miss(&rig->peer, &miss)); /* what waited is sent */
}

/* The device's view of the ring memory is scattered: IOVA page k of ring memory is page k ^ 1 elsewhere. */
static void exchange(struct rig *rig, unsigned ring, bool to_device)
{
    uint8_t *peers = rig->peer.mem + rig->peer.ring[ring].at;
    uint8_t *devices = rig->peer.mem + SCATTERED + rig->peer.ring[ring].at;

    for (unsigned page = 0; page < PEER_RING_BYTES / PAGE; page++) {
        uint8_t *here = peers + (size_t)page * PAGE;
        uint8_t *there = devices + (size_t)(page ^ 1) * PAGE;

        memcpy(to_device ? there : here, to_device ? here : there, PAGE);
    }
}

static void join_pages_that_are_scattered(void **state)
{
    struct rig *rig = *state;
    unsigned mappings;

    for (unsigned i = 0; i < 2; i++) {
        rig->peer.ring[i].num = 1024;
        exchange(rig, i, true);
    }
    begin(rig);
    map_buffers(rig);
    mappings = rig_count_mappings();
    for (unsigned page = 0; page < 2 * PEER_RING_BYTES / PAGE; page++)
        assert_true(peer_map(&rig->peer, RING_IOVA + (uint64_t)page * PAGE, PAGE,
                             SCATTERED + (uint64_t)(page ^ 1) * PAGE, HG_VHOST_ACCESS_RW));
    assert_says(rig, "up", "behind a virtual IOMMU");
    assert_true(rig_count_mappings() > mappings);

    for (unsigned i = 0; i < 2000; i++) { /* round the ring, over all of its pages */
        peer_transmit(&rig->peer, TX, frame, sizeof(frame));
        exchange(rig, TX, true);
        assert_int_equal(rig_rx(rig, 0), 1);
        assert_memory_equal(rig->burst->pkt[0].head, frame, sizeof(frame));
        exchange(rig, TX, false);
        assert_int_equal(peer_used_idx(&rig->peer, TX), i + 1);
    }
    /* Its pages go one by one; the whole ring waits until they are back. */
    assert_true(peer_unmap(&rig->peer, RING_IOVA + PEER_RING_BYTES + 3 * PAGE, PAGE));
    assert_says(rig, "waiting", "waiting for the mapping of ring 1's descriptor table");
    assert_true(peer_map(&rig->peer, RING_IOVA + PEER_RING_BYTES + 3 * PAGE, PAGE,
                         SCATTERED + PEER_RING_BYTES + 2 * PAGE, HG_VHOST_ACCESS_RW));
    assert_says(rig, "up", "behind a virtual IOMMU");
    peer_hang_up(&rig->peer);
    assert_int_equal(rig_count_mappings(), mappings - 2);
}

static void let_go_of_a_ring_whose_page_is_taken_away(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb miss;

    bring_up(rig);
    frames_pass(rig);
    assert_true(peer_unmap(&rig->peer, RING_IOVA + PEER_RING_BYTES, PAGE));
    assert_null(((struct hg_vhost_port *)rig->port.driver_data)->pair[0].rx.part[0].host);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 0);
    assert_true(peer_take_miss(&rig->peer, &miss));
    assert_int_equal(miss.iova, RING_IOVA + PEER_RING_BYTES);
    peer_take_signals(rig->peer.ring[TX].kick);
    assert_true(peer_map(&rig->peer, miss.iova, PAGE, PEER_RING_BYTES, HG_VHOST_ACCESS_RW));
    assert_true(peer_take_signals(rig->peer.ring[TX].kick) > 0); /* for a worker that sleeps */
    assert_int_equal(rig_rx(rig, 0), 1);
    frames_pass(rig);
    assert_int_equal(report(rig).invalidations, 1);
}

/* The ring's memory is copied elsewhere and the mapping follows, without an invalidation. */
static void follow_an_update_that_moves_a_ring(void **state)
{
    struct rig *rig = *state;
    uint8_t *old;

    bring_up(rig);
    frames_pass(rig);
    old = rig->peer.mem + PEER_RING_BYTES;
    memcpy(rig->peer.mem + 8 * PEER_RING_BYTES, old, PEER_RING_BYTES);
    assert_true(peer_map(&rig->peer, RING_IOVA + PEER_RING_BYTES, PEER_RING_BYTES,
                         8 * PEER_RING_BYTES, HG_VHOST_ACCESS_RW));
    memset(old, 0xff, PEER_RING_BYTES);
    rig->peer.ring[TX].at = UINT64_C(8) * PEER_RING_BYTES;
    frames_pass(rig);
    /* Saying the same again moves nothing. */
    unsigned changes = rig->changes_n;

    assert_true(peer_map(&rig->peer, RING_IOVA + PEER_RING_BYTES, PEER_RING_BYTES,
                         8 * PEER_RING_BYTES, HG_VHOST_ACCESS_RW));
    no_miss_waits(rig);
    assert_int_equal(rig->changes_n, changes);
    frames_pass(rig);
}

static void acknowledge_invalidations_together_and_in_order(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb invalidate = {.type = HG_VHOST_IOTLB_INVALIDATE, .size = PAGE};
    struct hg_vhost_iotlb bad = {.type = HG_VHOST_IOTLB_UPDATE, .iova = 1, .size = PAGE};
    uint64_t value;

    bring_up(rig);
    /* What QEMU leaves undefined is not looked at. */
    invalidate.user_addr = UINT64_MAX;
    invalidate.perm = 0xee;
    for (unsigned i = 0; i < 40; i++) {
        invalidate.iova = i * (uint64_t)PAGE;
        assert_true(peer_send_iotlb(&rig->peer, i == 20 ? bad : invalidate));
    }
    for (unsigned i = 0; i < 40; i++) {
        assert_true(peer_iotlb_acked(&rig->peer, &value));
        assert_int_equal(value, i == 20 ? 1 : 0);
    }
    assert_int_equal(report(rig).invalidations, 39);
    assert_true(report(rig).ack_median_ns > 0);
    assert_true(report(rig).ack_max_ns >= report(rig).ack_p99_ns);
    assert_says(rig, "up", "up");
}

static void take_everything_away_at_once(void **state)
{
    struct rig *rig = *state;

    bring_up(rig);
    assert_true(report(rig).entries > 0);
    assert_true(peer_unmap(&rig->peer, 0, 0));
    assert_int_equal(report(rig).entries, 0);
    assert_says(rig, "waiting", "waiting for the mapping of ring 0");
    map_rings(rig);
    map_buffers(rig);
    assert_true(peer_unmap(&rig->peer, PAGE, UINT64_MAX)); /* saturates */
    assert_says(rig, "waiting", "waiting for the mapping of ring 0");
    map_rings(rig);
    map_buffers(rig);
    assert_true(peer_unmap(&rig->peer, UINT64_MAX, UINT64_MAX)); /* touches nothing */
    frames_pass(rig);
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

static void forget_mappings_when_the_last_ring_stops(void **state)
{
    struct rig *rig = *state;
    uint32_t base;

    bring_up(rig);
    assert_true(peer_get_base(&rig->peer, RX, &base));
    assert_true(report(rig).entries > 0);
    assert_true(peer_get_base(&rig->peer, TX, &base));
    assert_int_equal(report(rig).entries, 0);
    assert_true(peer_start(&rig->peer));
    assert_says(rig, "waiting", "waiting for the mapping of ring 0");
    map_rings(rig);
    map_buffers(rig);
    assert_says(rig, "up", "up");
    frames_pass(rig);
}

static void forget_mappings_with_the_memory_table(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb miss;

    bring_up(rig);
    frames_pass(rig);
    assert_true(peer_send_mem_table(&rig->peer, true));
    assert_int_equal(report(rig).entries, 0);
    assert_true(peer_take_miss(&rig->peer, &miss));
    map_rings(rig);
    map_buffers(rig);
    frames_pass(rig);
}

static void ask_again_for_what_nobody_answers(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb miss;
    uint64_t before;

    begin(rig);
    rig_pump(rig);
    before = report(rig).misses;
    while (peer_take_miss(&rig->peer, &miss))
        continue;
    rig_run_ms(rig, 1200);
    assert_int_equal(report(rig).misses, before); /* refused by silence, for a while */
    rig_run_ms(rig, 1200);
    assert_true(report(rig).misses > before);
    assert_true(peer_take_miss(&rig->peer, &miss));
    map_rings(rig);
    assert_says(rig, "up", "up");
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

static void do_without_one_after_another_driver(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_port *vp = rig->port.driver_data;

    bring_up(rig);
    assert_true(peer_stop(&rig->peer));
    rig->peer.features = RIG_FEATURES;
    rig->peer.ring_start = PEER_USER;
    assert_true(peer_start(&rig->peer));
    assert_null(vp->iommu.iotlb);
    assert_says(rig, "up", "up: 1 queue pair");
    assert_false(report(rig).active);
    frames_pass(rig);
    assert_true(peer_stop(&rig->peer));
    rig->peer.features = FEATURES;
    rig->peer.ring_start = RING_IOVA;
    assert_true(peer_start(&rig->peer));
    map_rings(rig);
    map_buffers(rig);
    assert_says(rig, "up", "behind a virtual IOMMU");
    frames_pass(rig);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(ask_for_the_pages_of_rings),
        CASE(start_at_once_with_mappings_that_come_before),
        CASE(say_when_there_is_nobody_to_ask),
        CASE(join_pages_that_are_scattered),
        CASE(let_go_of_a_ring_whose_page_is_taken_away),
        CASE(follow_an_update_that_moves_a_ring),
        CASE(acknowledge_invalidations_together_and_in_order),
        CASE(take_everything_away_at_once),
        CASE(refuse_updates_that_cannot_be_and_go_on),
        CASE(refuse_mappings_before_there_is_memory),
        CASE(end_sessions_for_messages_of_a_wrong_shape),
        CASE(forget_mappings_when_the_last_ring_stops),
        CASE(forget_mappings_with_the_memory_table),
        CASE(ask_again_for_what_nobody_answers),
        CASE(go_on_while_nobody_reads_the_channel),
        CASE(live_without_a_channel_and_take_another),
        CASE(leave_nothing_behind),
        CASE(do_without_one_after_another_driver),
        cmocka_unit_test_setup_teardown(require_what_is_required, set_up_required, tear_down),
        cmocka_unit_test_setup_teardown(offer_nothing_when_off, set_up_off, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
