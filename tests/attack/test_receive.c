/*
 * A guest that attacks through the ring on which it receives. The victim sends it frames.
 */
#include "attack/fixture.h"

#define BUFFER (PEER_HIGH + PEER_HALF_BYTES / 2)
#define TABLE  (PEER_HIGH + PEER_HALF_BYTES - 65536)
#define SPLIT  (RIG_FEATURES & ~HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF))

static const struct hg_queue_stats *attacker_stats(void)
{
    return &stage.rig[ATTACKER].port.txq[0]->stats;
}

static void victim_sends(unsigned n)
{
    uint8_t frame[1500] = {2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, 'v'};

    while (n-- > 0)
        peer_transmit(&stage.rig[VICTIM].peer, GUEST_TX, frame, sizeof(frame));
    stage_until_taken(&stage, VICTIM, GUEST_TX);
}

static void write_descs(const struct hg_desc *desc, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        peer_write_desc(attacker(), GUEST_RX, (uint16_t)i, desc[i]);
}

static void break_the_ring(const struct hg_desc *desc, unsigned n, enum hg_vring_fault fault)
{
    write_descs(desc, n);
    peer_push_avail(attacker(), GUEST_RX, 0);
    victim_sends(1);
    stage_until_broken(&stage, GUEST_RX, fault);
    stage_recover(&stage);
}

/* One frame is lost for that reason, its chain comes back, and the next frame finds its buffer. */
static void lose_the_frame(const struct hg_desc *desc, unsigned n, enum hg_drop reason)
{
    uint64_t before = stage_drops(attacker_stats(), reason);

    write_descs(desc, n);
    peer_write_desc(attacker(), GUEST_RX, 200, (struct hg_desc){BUFFER, 2048, WRITE, 0});
    peer_push_avail(attacker(), GUEST_RX, 0);
    peer_push_avail(attacker(), GUEST_RX, 200);
    victim_sends(2);
    assert_int_equal(stage_drops(attacker_stats(), reason), before + 1);
    assert_int_equal(peer_used_idx(attacker(), GUEST_RX), 2);
    assert_int_equal(*((uint8_t *)peer_at(attacker(), BUFFER) + 12 + 14), 'v');
    stage_recover(&stage);
}

static void loops_and_indices_out_of_range(void **state)
{
    (void)state;
    break_the_ring((struct hg_desc[]){{BUFFER, 64, WRITE | NEXT, 0}}, 1, HG_VRING_CHAIN_LONG);
    break_the_ring((struct hg_desc[]){{BUFFER, 64, WRITE | NEXT, 256}}, 1, HG_VRING_HEAD_RANGE);
    break_the_ring((struct hg_desc[]){{BUFFER, 2048, 0, 0}}, 1, HG_VRING_DIRECTION);
    break_the_ring((struct hg_desc[]){{BUFFER, 64, WRITE | NEXT, 1}, {BUFFER, 2048, 0, 0}}, 2,
                   HG_VRING_DIRECTION);
    break_the_ring((struct hg_desc[]){{TABLE, 17, INDIRECT, 0}}, 1, HG_VRING_INDIRECT);
    memcpy(peer_at(attacker(), TABLE), &(struct hg_desc){TABLE, 16, INDIRECT, 0}, 16);
    break_the_ring((struct hg_desc[]){{TABLE, 16, INDIRECT, 0}}, 1, HG_VRING_INDIRECT);

    peer_push_avail(attacker(), GUEST_RX, 65535);
    victim_sends(1);
    stage_until_broken(&stage, GUEST_RX, HG_VRING_HEAD_RANGE);
    stage_recover(&stage);
    peer_set_avail_idx(attacker(), GUEST_RX, PEER_RING_SIZE + 1);
    victim_sends(1);
    stage_until_broken(&stage, GUEST_RX, HG_VRING_AVAIL_JUMP);
    stage_recover(&stage);
}

static void addresses(void **state)
{
    static const struct hg_desc bad[] = {
        {PEER_HALF_BYTES, 2048, WRITE, 0},
        {PEER_HALF_BYTES - 100, 2048, WRITE, 0},
        {PEER_HIGH + PEER_HALF_BYTES - 100, 2048, WRITE, 0},
        {UINT64_MAX - 99, 2048, WRITE, 0},
        {BUFFER, 0, WRITE, 0},
        {TABLE, 0x7ffffff0, INDIRECT, 0}, /* the table's end is not the guest's, its start is */
    };
    struct hg_desc *table = peer_at(attacker(), TABLE);

    (void)state;
    *table = (struct hg_desc){PEER_USER, 2048, WRITE, 0};
    for (unsigned i = 0; i < HG_ARRAY_N(bad); i++)
        lose_the_frame(&bad[i], 1, HG_DROP_TX_BAD_BUFFER);
    lose_the_frame(
        (struct hg_desc[]){{BUFFER, 100, WRITE | NEXT, 1}, {PEER_HALF_BYTES, 2048, WRITE, 0}}, 2,
        HG_DROP_TX_BAD_BUFFER);
}

static void buffers_that_are_too_small(void **state)
{
    uint64_t before = stage_drops(attacker_stats(), HG_DROP_TX_NO_ROOM);

    (void)state;
    stage_bring_up(&stage, ATTACKER, PEER_RING_SIZE, SPLIT);
    for (uint16_t i = 0; i < 8; i++) {
        peer_write_desc(attacker(), GUEST_RX, i, (struct hg_desc){BUFFER, i * 3u + 1, WRITE, 0});
        peer_push_avail(attacker(), GUEST_RX, i);
    }
    victim_sends(8);
    assert_int_equal(stage_drops(attacker_stats(), HG_DROP_TX_NO_ROOM), before + 8);
    assert_int_equal(peer_used_idx(attacker(), GUEST_RX), 8);
    stage_recover(&stage);
}

/* QEMU's CVE-2021-3748: a frame over more buffers than anybody counts, and over the longest
 * chains. */
static void merged_buffers_without_end(void **state)
{
    enum { N = 2048 };

    (void)state;
    for (unsigned chain_n = 1; chain_n <= 1024; chain_n += 1023) {
        uint64_t before = stage_drops(attacker_stats(), HG_DROP_TX_NO_ROOM);
        uint64_t worst_ns = stage.flow_worst_ns;

        stage_bring_up(&stage, ATTACKER, N, RIG_FEATURES);
        for (unsigned i = 0; i < N; i++) {
            struct hg_desc desc = {BUFFER, 1, WRITE, 0};

            if (i % chain_n + 1 < chain_n) {
                desc.flags |= NEXT;
                desc.next = (uint16_t)(i + 1);
            }
            peer_write_desc(attacker(), GUEST_RX, (uint16_t)i, desc);
        }
        for (unsigned i = 0; i < N; i++)
            peer_push_avail(attacker(), GUEST_RX, (uint16_t)(i / chain_n * chain_n));
        victim_sends(64);
        /* Two of the long chains hold a frame; a thousand of the short ones do not. */
        assert_int_equal(stage_drops(attacker_stats(), HG_DROP_TX_NO_ROOM) - before,
                         chain_n == 1 ? 2 : 0);
        assert_true(stage.flow_worst_ns < worst_ns + UINT64_C(1000000000));
        stage_recover(&stage);
    }
}

/* Many buffers of a frame that fits: all are used, and the count is right. */
static void merged_buffers_of_single_bytes(void **state)
{
    uint8_t frame[60] = {2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, 'v'};
    uint8_t *bytes = peer_at(attacker(), BUFFER);

    (void)state;
    for (uint16_t i = 0; i < 72; i++) {
        peer_write_desc(attacker(), GUEST_RX, i, (struct hg_desc){BUFFER + i, 1, WRITE, 0});
        peer_push_avail(attacker(), GUEST_RX, i);
    }
    peer_transmit(&stage.rig[VICTIM].peer, GUEST_TX, frame, sizeof(frame));
    stage_until_taken(&stage, VICTIM, GUEST_TX);
    assert_int_equal(peer_used_idx(attacker(), GUEST_RX), 72);
    assert_int_equal(bytes[10], 72); /* num_buffers */
    assert_memory_equal(bytes + 12, frame, sizeof(frame));
    stage_recover(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_and_indices_out_of_range),
        cmocka_unit_test(addresses),
        cmocka_unit_test(buffers_that_are_too_small),
        cmocka_unit_test(merged_buffers_without_end),
        cmocka_unit_test(merged_buffers_of_single_bytes),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
