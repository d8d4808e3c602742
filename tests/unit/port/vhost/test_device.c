/*
 * What a session does beyond QEMU's everyday: packed rings, queues reset one by one, memory in
 * slots, the device status, resets, announcements.
 */
#include "fixture.h"
#include "port/vhost/state.h"

#define PACKED (RIG_FEATURES | HG_BIT(HG_VIRTIO_F_RING_PACKED) | HG_BIT(HG_VIRTIO_F_IN_ORDER))

static int set_up(void **state)
{
    *state = new_rig(&(struct rig_options){.pair_n = 1});
    return 0;
}

static int set_up_packed(void **state)
{
    struct rig *rig = new_rig(&(struct rig_options){.pair_n = 1, .peer_features = PACKED});

    peer_use_packed(&rig->peer);
    *state = rig;
    return 0;
}

/* The acknowledgement of a request; -1 when there is none. */
static int ack_of(struct rig *rig, uint32_t request, const void *payload, uint32_t size, int fd)
{
    struct hg_vhost_msg msg;

    if (!peer_send(&rig->peer, request, HG_VHOST_NEED_REPLY, payload, size, &fd, fd >= 0 ? 1 : 0) ||
        !peer_recv(&rig->peer, &msg) || msg.hdr.request != request)
        return -1;
    return (int)msg.u64;
}

static int set_status(struct rig *rig, uint64_t status)
{
    return ack_of(rig, HG_VHOST_SET_STATUS, &status, sizeof(status), -1);
}

static uint64_t get_status(struct rig *rig)
{
    uint64_t status = UINT64_MAX;

    assert_true(peer_ask_u64(&rig->peer, HG_VHOST_GET_STATUS, &status));
    return status;
}

/* --- packed rings --- */

static void carry_frames_on_packed_rings(void **state)
{
    struct rig *rig = *state;

    assert_true(rig_bring_up(rig));
    assert_non_null(strstr(rig->status.peer_features, "ring_packed"));
    for (unsigned i = 0; i < 3 * PEER_RING_SIZE; i++)
        frames_pass(rig);
}

static void hand_positions_of_packed_rings_over(void **state)
{
    struct rig *rig = *state;
    uint32_t base;

    assert_true(rig_bring_up(rig));
    for (unsigned lap = 0; lap < 3; lap++) {
        for (unsigned i = 0; i < PEER_RING_SIZE - 3; i++)
            frames_pass(rig);
        for (unsigned ring = 0; ring < 2; ring++) {
            unsigned position = rig->peer.ring[ring].avail_idx;
            unsigned wrap = position / PEER_RING_SIZE % 2 == 0 ? HG_PACKED_WRAP : 0;
            unsigned half = position % PEER_RING_SIZE | wrap;

            assert_true(peer_get_base(&rig->peer, ring, &base));
            assert_int_equal(base, half | half << 16);
        }
        assert_true(peer_start(&rig->peer));
        assert_says(rig, "up", "up: 1 queue pair");
        frames_pass(rig);
    }
}

static void refuse_positions_that_a_packed_ring_has_not(void **state)
{
    static const uint32_t bases[] = {PEER_RING_SIZE, PEER_RING_SIZE << 16, 0x7fff,
                                     0x7fff0000 | HG_PACKED_WRAP, UINT32_MAX};
    struct rig *rig = *state;

    for (unsigned i = 0; i < HG_ARRAY_N(bases); i++) {
        assert_true(rig_bring_up(rig));
        assert_true(peer_stop(&rig->peer));
        rig->peer.ring[RX].base = bases[i];
        peer_start(&rig->peer);
        assert_says(rig, "broken", "is no position in a ring of 256");
        peer_reset_ring(&rig->peer, RX);
        peer_reset_ring(&rig->peer, TX);
    }
    assert_true(rig_bring_up(rig));
    frames_pass(rig);
}

static void find_the_event_areas_of_packed_rings(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_vring_addr addr = {.index = TX, .desc = PEER_USER + 5 * PEER_RING_BYTES};

    assert_true(rig_bring_up(rig));
    for (unsigned i = 0; i < 2; i++) {
        addr.avail = addr.desc + 4096 + (i == 1 ? 2 : 0); /* aligned to 4 bytes: 2.8.10.1 */
        addr.used = addr.desc + 4100;
        assert_true(
            peer_send(&rig->peer, HG_VHOST_SET_VRING_ADDR, 0, &addr, sizeof(addr), NULL, 0));
        assert_says(rig, i == 0 ? "up" : "broken", i == 0 ? "up" : "not aligned to 4 bytes");
    }
}

/* --- queues --- */

/* VIRTIO_F_RING_RESET: QEMU stops the one ring and sets it up anew; its pair goes on. */
static void reset_one_queue_while_the_other_runs(void **state)
{
    struct rig *rig = *state;
    uint32_t base;

    assert_true(rig_bring_up(rig));
    assert_true((rig->peer.offered & HG_BIT(HG_VIRTIO_F_RING_RESET)) != 0);
    for (unsigned i = 0; i < 5; i++)
        frames_pass(rig);
    assert_true(peer_get_base(&rig->peer, TX, &base));
    assert_int_equal(rig->port.txq_running_n, 1);
    peer_reset_ring(&rig->peer, TX);
    rig->peer.ring[TX].num = 64;
    assert_true(peer_start_ring(&rig->peer, TX));
    assert_says(rig, "up", "up: 1 queue pair");
    frames_pass(rig);
}

/* --- status --- */

static void keep_a_status_as_virtio_says(void **state)
{
    struct rig *rig = *state;
    unsigned begun = HG_VIRTIO_STATUS_ACKNOWLEDGE | HG_VIRTIO_STATUS_DRIVER;
    unsigned agreed = begun | HG_VIRTIO_STATUS_FEATURES_OK;

    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_int_equal(get_status(rig), 0);
    assert_int_equal(set_status(rig, begun), 0);
    assert_int_equal(set_status(rig, agreed), 0);
    assert_int_equal(get_status(rig), begun); /* no features yet: not confirmed */
    assert_true(peer_start(&rig->peer));
    assert_int_equal(set_status(rig, agreed), 0);
    assert_int_equal(get_status(rig), agreed);
    assert_int_equal(set_status(rig, begun), 1); /* takes FEATURES_OK back */
    assert_int_equal(set_status(rig, agreed | HG_VIRTIO_STATUS_DRIVER_OK), 0);
    assert_says(rig, "up", "up");
    frames_pass(rig);
    assert_int_equal(set_status(rig, agreed | HG_VIRTIO_STATUS_DRIVER_OK | HG_VIRTIO_STATUS_FAILED),
                     0);
    assert_says(rig, "broken", "the guest's driver has given up");
    assert_int_equal(set_status(rig, 0), 0);
    assert_int_equal(get_status(rig), 0);
    assert_int_equal(rig->port.txq_running_n, 0);
    peer_reset_ring(&rig->peer, RX);
    peer_reset_ring(&rig->peer, TX);
    assert_true(peer_start(&rig->peer));
    assert_says(rig, "up", "up");
    frames_pass(rig);
    peer_send_u64(&rig->peer, HG_VHOST_SET_STATUS, 256);
    assert_says(rig, "broken", "SET_STATUS: status 0x100 has more than 8 bits");
}

static void ask_for_a_reset_when_a_ring_is_broken(void **state)
{
    struct rig *rig = *state;

    assert_true(rig_bring_up(rig));
    peer_push_avail(&rig->peer, TX, 999);
    assert_int_equal(rig_rx(rig, 0), 0);
    rig_run_ms(rig, 300);
    assert_says(rig, "broken", "ring 1 is broken");
    assert_int_equal(get_status(rig), HG_VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(set_status(rig, 0), 0);
    assert_int_equal(get_status(rig), 0);
    peer_reset_ring(&rig->peer, RX);
    peer_reset_ring(&rig->peer, TX);
    assert_true(peer_start(&rig->peer));
    frames_pass(rig);
}

static void begin_anew_after_a_reset_of_the_device(void **state)
{
    struct rig *rig = *state;

    for (unsigned i = 0; i < 3; i++) {
        assert_true(i == 0 ? rig_bring_up(rig) : peer_start(&rig->peer));
        frames_pass(rig);
        assert_int_equal(ack_of(rig, HG_VHOST_RESET_DEVICE, NULL, 0, -1), 0);
        assert_says(rig, "waiting", "waiting for the features");
        assert_false(atomic_load(&rig->port.rxq[0]->running));
        assert_int_equal(rig->port.txq_running_n, 0);
        peer_reset_ring(&rig->peer, RX);
        peer_reset_ring(&rig->peer, TX);
    }
    /* The descriptor for errors was given when the front-end connected, and stays. */
    assert_true(peer_start(&rig->peer));
    peer_push_avail(&rig->peer, TX, 999);
    rig_rx(rig, 0);
    rig_run_ms(rig, 300);
    assert_int_equal(peer_take_signals(rig->peer.ring[TX].err), 1);
}

/* --- memory in slots --- */

static struct hg_vhost_mem_reg slot_of(unsigned half)
{
    return (struct hg_vhost_mem_reg){.region = {half == 0 ? 0 : PEER_HIGH, PEER_HALF_BYTES,
                                                PEER_USER + half * PEER_HALF_BYTES,
                                                half * PEER_HALF_BYTES}};
}

static int add_slot(struct rig *rig, unsigned half)
{
    struct hg_vhost_mem_reg slot = slot_of(half);

    return ack_of(rig, HG_VHOST_ADD_MEM_REG, &slot, sizeof(slot), rig->peer.mem_fd);
}

static int remove_slot(struct rig *rig, unsigned half, int fd)
{
    struct hg_vhost_mem_reg slot = slot_of(half);

    slot.region.mmap_offset = 12345; /* not looked at */
    return ack_of(rig, HG_VHOST_REM_MEM_REG, &slot, sizeof(slot), fd);
}

static void connect_without_memory(struct rig *rig)
{
    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(
        peer_send_u64(&rig->peer, HG_VHOST_SET_FEATURES, rig->peer.features & rig->peer.offered));
    for (unsigned i = 0; i < 2; i++)
        assert_true(peer_start_ring(&rig->peer, i));
    assert_true(peer_enable_pair(&rig->peer, 0, true));
}

static void take_memory_slot_by_slot(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_port *vp = rig->port.driver_data;
    unsigned mappings = rig_count_mappings();
    uint64_t n;

    connect_without_memory(rig);
    assert_true(peer_ask_u64(&rig->peer, HG_VHOST_GET_MAX_MEM_SLOTS, &n));
    assert_int_equal(n, HG_REGIONS_MAX);
    assert_int_equal(add_slot(rig, 1), 0); /* the rings are in the other one */
    assert_says(rig, "waiting", "waiting for the memory of ring 0's descriptor table");
    for (unsigned pair = 0; pair < 3; pair++) /* QEMU says it for each queue pair */
        assert_int_equal(add_slot(rig, 0), 0);
    assert_says(rig, "up", "up");
    assert_int_equal(vp->space->n, 2);
    frames_pass(rig);

    unsigned changes = rig->changes_n;

    assert_int_equal(remove_slot(rig, 1, -1), 0);
    assert_int_equal(vp->space->n, 1);
    assert_int_equal(remove_slot(rig, 1, -1), 0); /* for the next queue pair: it is gone */
    assert_int_equal(vp->space->n, 1);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 0); /* its buffer was in that slot, as the ones before */
    assert_int_equal(rig->port.rxq[0]->stats.drops.reason[HG_DROP_BAD_DESCRIPTOR].value, 1);
    assert_int_equal(add_slot(rig, 1), 0);
    frames_pass(rig);
    assert_int_equal(remove_slot(rig, 1, rig->peer.mem_fd), 0); /* as old QEMU says it */
    assert_int_equal(rig->changes_n, changes);
    peer_hang_up(&rig->peer);
    assert_int_equal(rig_count_mappings(), mappings);
}

static void wait_when_the_slot_of_a_ring_is_removed(void **state)
{
    struct rig *rig = *state;

    connect_without_memory(rig);
    assert_int_equal(add_slot(rig, 0), 0);
    assert_int_equal(add_slot(rig, 1), 0);
    frames_pass(rig);
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    peer_post(&rig->peer, RX, 1);
    assert_int_equal(remove_slot(rig, 0, -1), 0);
    assert_says(rig, "waiting", "waiting for the memory of ring 0's descriptor table");
    assert_int_equal(rig_rx(rig, 0), 0);
    assert_false(rig_tx(rig, 0, frame, sizeof(frame)));
    assert_int_equal(add_slot(rig, 0), 0);
    assert_int_equal(rig_rx(rig, 0), 1); /* where it stood */
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
}

static void refuse_slots_that_cannot_be(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_mem_reg slot;

    for (unsigned i = 0; i < 4; i++) {
        assert_true(rig_bring_up(rig));
        slot = slot_of(0);
        if (i == 0)
            slot.region.size -= 4096; /* not a repetition, and overlaps */
        if (i == 1)
            slot.region.size = 0;
        if (i == 2)
            slot.region.mmap_offset = PEER_MEM_BYTES;
        if (i != 0) {
            slot.region.guest_addr += 2 * PEER_HIGH;
            slot.region.user_addr += 2 * PEER_HIGH;
        }
        assert_int_equal(
            ack_of(rig, HG_VHOST_ADD_MEM_REG, &slot, sizeof(slot), i == 3 ? -1 : rig->peer.mem_fd),
            1);
        assert_true(peer_was_closed(&rig->peer));
        assert_says(rig, "broken", "ADD_MEM_REG: ");
        peer_reset_ring(&rig->peer, RX);
        peer_reset_ring(&rig->peer, TX);
    }
    assert_true(rig_bring_up(rig));
}

static void bound_the_number_of_slots(void **state)
{
    struct rig *rig = *state;
    struct hg_vhost_mem_reg slot = {0};

    assert_true(rig_bring_up(rig));
    for (unsigned i = 0; i <= HG_REGIONS_MAX - 2; i++) {
        slot.region = (struct hg_vhost_region){2 * PEER_HIGH + i * UINT64_C(4096), 4096,
                                               2 * PEER_USER + i * UINT64_C(4096), 0};
        assert_int_equal(ack_of(rig, HG_VHOST_ADD_MEM_REG, &slot, sizeof(slot), rig->peer.mem_fd),
                         i == HG_REGIONS_MAX - 2 ? 1 : 0);
    }
    assert_says(rig, "broken", "ADD_MEM_REG: more than 64 memory regions");
}

/* --- announcements --- */

static void announce_a_guest_behind_what_it_has_sent(void **state)
{
    static const uint8_t mac[8] = {2, 0, 0, 0, 0, 7};
    static const uint8_t rarp[42] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 7, 0x80, 0x35, /* Ethernet */
        0,    1,    8,    0,    6,    4,    0, 3,                         /* reverse request */
        2,    0,    0,    0,    0,    7,    0, 0, 0, 0,                   /* sender */
        2,    0,    0,    0,    0,    7,    0, 0, 0, 0,                   /* target */
    };
    static const uint8_t nobody[8] = {0};
    struct rig *rig = *state;

    assert_true(rig_bring_up(rig));
    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    peer_take_signals(rig->peer.ring[TX].kick);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ack_of(rig, HG_VHOST_SEND_RARP, mac, 8, -1), 0);
    assert_true(peer_take_signals(rig->peer.ring[TX].kick) > 0); /* for a worker that sleeps */
    assert_int_equal(ack_of(rig, HG_VHOST_SEND_RARP, nobody, 8, -1), 1);
    assert_int_equal(rig_rx(rig, 0), 2);
    assert_memory_equal(rig->burst->pkt[0].head, frame, sizeof(frame));
    assert_int_equal(rig->burst->pkt[1].len, 60);
    assert_int_equal(rig->burst->pkt[1].head_len, 60);
    assert_int_equal(rig->burst->pkt[1].port, rig->port.id);
    assert_memory_equal(rig->burst->pkt[1].head, rarp, sizeof(rarp));
    assert_int_equal(peer_used_idx(&rig->peer, TX), 1); /* the guest's rings know nothing of it */
    assert_int_equal(rig_rx(rig, 0), 0);

    for (unsigned i = 0; i < HG_BURST_N; i++)
        peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(ack_of(rig, HG_VHOST_SEND_RARP, mac, 8, -1), 0);
    assert_int_equal(rig_rx(rig, 0), HG_BURST_N); /* a full burst has no room */
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_memory_equal(rig->burst->pkt[0].head, rarp, sizeof(rarp));
}

int main(void)
{
#define CASE(name)        cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define PACKED_CASE(name) cmocka_unit_test_setup_teardown(name, set_up_packed, tear_down)
    const struct CMUnitTest tests[] = {
        PACKED_CASE(carry_frames_on_packed_rings),
        PACKED_CASE(hand_positions_of_packed_rings_over),
        PACKED_CASE(refuse_positions_that_a_packed_ring_has_not),
        PACKED_CASE(find_the_event_areas_of_packed_rings),
        PACKED_CASE(reset_one_queue_while_the_other_runs),
        CASE(reset_one_queue_while_the_other_runs),
        CASE(keep_a_status_as_virtio_says),
        CASE(ask_for_a_reset_when_a_ring_is_broken),
        CASE(begin_anew_after_a_reset_of_the_device),
        CASE(take_memory_slot_by_slot),
        CASE(wait_when_the_slot_of_a_ring_is_removed),
        CASE(refuse_slots_that_cannot_be),
        CASE(bound_the_number_of_slots),
        CASE(announce_a_guest_behind_what_it_has_sent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
