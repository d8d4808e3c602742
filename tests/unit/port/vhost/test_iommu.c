/*
 * Sessions behind a virtual IOMMU that go well: rings at IOVAs, misses, invalidations.
 */
#include "emulated.h"
#include "iommu_rig.h"

enum { SCATTERED = 32 * PEER_RING_BYTES };

static int set_up(void **state)
{
    *state = open_rig(&(struct rig_options){.pair_n = 1, .peer_features = FEATURES});
    return 0;
}

static void ask_for_the_pages_of_rings(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb miss;

    begin(rig);
    assert_says(rig, "waiting", "waiting for the mapping of ring 0's descriptor table");
    /* Of each ring: descriptors and available ring share no page with each other, the used ring
     * does. */
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

/* A ring's own pages are asked for by control, which would not ask a second time. */
static void ask_for_rings_although_all_was_taken_back(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_iotlb miss;

    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(peer_start(&rig->peer));
    assert_true(peer_unmap(&rig->peer, 0, 0));
    assert_true(peer_open_channel(&rig->peer, true));
    assert_true(peer_take_miss(&rig->peer, &miss));
}

/* The device's view of the ring memory is scattered: IOVA page k of ring memory is page k ^ 1
 * elsewhere. */
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

    skip_if_emulated("no second mapping by mremap()");
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
        CASE(ask_for_rings_although_all_was_taken_back),
        CASE(join_pages_that_are_scattered),
        CASE(let_go_of_a_ring_whose_page_is_taken_away),
        CASE(follow_an_update_that_moves_a_ring),
        CASE(acknowledge_invalidations_together_and_in_order),
        CASE(take_everything_away_at_once),
        CASE(forget_mappings_when_the_last_ring_stops),
        CASE(forget_mappings_with_the_memory_table),
        CASE(ask_again_for_what_nobody_answers),
        CASE(do_without_one_after_another_driver),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
