/*
 * A guest that attacks through the ring on which it transmits.
 */
#include <pthread.h>

#include "attack/fixture.h"

#define BUFFER (PEER_HIGH + PEER_HALF_BYTES / 2) /* where no script puts frames */
#define TABLE  (PEER_HIGH + PEER_HALF_BYTES - 65536)

static const struct hg_queue_stats *attacker_stats(void)
{
    return &stage.rig[ATTACKER].port.rxq[0]->stats;
}

/* Descriptors from 0 on, as they stand; then head 0 is made available. */
static void post(const struct hg_desc *desc, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        peer_write_desc(attacker(), GUEST_TX, (uint16_t)i, desc[i]);
    peer_push_avail(attacker(), GUEST_TX, 0);
    peer_kick(attacker(), GUEST_TX);
}

static void break_the_ring(const struct hg_desc *desc, unsigned n, enum hg_vring_fault fault)
{
    post(desc, n);
    stage_until_broken(&stage, GUEST_TX, fault);
    stage_recover(&stage);
}

static void lose_the_frame(const struct hg_desc *desc, unsigned n, enum hg_drop reason)
{
    uint64_t before = stage_drops(attacker_stats(), reason);

    post(desc, n);
    stage_until_dropped(&stage, attacker_stats(), reason, before);
    rig_status(&stage.rig[ATTACKER]);
    assert_string_equal(stage.rig[ATTACKER].status.state, "up");
    assert_int_equal(stage_drops(attacker_stats(), reason), before + 1);
    assert_int_equal(peer_used_idx(attacker(), GUEST_TX), attacker()->ring[GUEST_TX].avail_idx);
    stage_recover(&stage);
}

static void write_table(const struct hg_desc *desc, unsigned n)
{
    memcpy(peer_at(attacker(), TABLE), desc, n * sizeof(*desc));
}

static void loops_and_indices_out_of_range(void **state)
{
    (void)state;
    /* CVE-2019-9547: a loop of one, a loop of two. */
    break_the_ring((struct hg_desc[]){{BUFFER, 64, NEXT, 0}}, 1, HG_VRING_CHAIN_LONG);
    break_the_ring((struct hg_desc[]){{BUFFER, 64, NEXT, 1}, {BUFFER, 0, NEXT, 0}}, 2,
                   HG_VRING_CHAIN_LONG);
    break_the_ring((struct hg_desc[]){{BUFFER, 64, NEXT, PEER_RING_SIZE}}, 1, HG_VRING_HEAD_RANGE);
    break_the_ring((struct hg_desc[]){{BUFFER, 64, NEXT, 65535}}, 1, HG_VRING_HEAD_RANGE);

    peer_push_avail(attacker(), GUEST_TX, PEER_RING_SIZE);
    peer_kick(attacker(), GUEST_TX);
    stage_until_broken(&stage, GUEST_TX, HG_VRING_HEAD_RANGE);
    stage_recover(&stage);

    peer_set_avail_idx(attacker(), GUEST_TX, PEER_RING_SIZE + 1);
    peer_kick(attacker(), GUEST_TX);
    stage_until_broken(&stage, GUEST_TX, HG_VRING_AVAIL_JUMP);
    stage_recover(&stage);
    peer_set_avail_idx(attacker(), GUEST_TX, 65535); /* backwards */
    peer_kick(attacker(), GUEST_TX);
    stage_until_broken(&stage, GUEST_TX, HG_VRING_AVAIL_JUMP);
    stage_recover(&stage);
}

/* What was good before the bad entry arrives, what was refused before it is counted once. */
static void bad_heads_behind_other_frames(void **state)
{
    uint8_t frame[60] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};
    uint64_t runts = stage_drops(attacker_stats(), HG_DROP_RUNT);
    size_t len;

    (void)state;
    peer_post(&stage.rig[VICTIM].peer, GUEST_RX, 2);
    peer_transmit(attacker(), GUEST_TX, frame, 5);
    peer_transmit(attacker(), GUEST_TX, frame, sizeof(frame));
    peer_push_avail(attacker(), GUEST_TX, 999);
    peer_kick(attacker(), GUEST_TX);
    stage_until_broken(&stage, GUEST_TX, HG_VRING_HEAD_RANGE);
    assert_int_equal(stage_drops(attacker_stats(), HG_DROP_RUNT), runts + 1);
    assert_int_equal(peer_used_idx(attacker(), GUEST_TX), 2);
    assert_non_null(peer_receive(&stage.rig[VICTIM].peer, GUEST_RX, &len));
    assert_int_equal(len, sizeof(frame));
    stage_recover(&stage);
}

static void indirect_tables(void **state)
{
    struct hg_desc long_table[PEER_RING_SIZE + 1];

    (void)state;
    write_table((struct hg_desc[]){{TABLE, 16, INDIRECT, 0}}, 1);
    break_the_ring((struct hg_desc[]){{TABLE, 16, INDIRECT, 0}}, 1, HG_VRING_INDIRECT);
    break_the_ring((struct hg_desc[]){{TABLE, 24, INDIRECT, 0}}, 1, HG_VRING_INDIRECT);
    break_the_ring((struct hg_desc[]){{TABLE, 0, INDIRECT, 0}}, 1, HG_VRING_INDIRECT);
    break_the_ring((struct hg_desc[]){{TABLE, 16, INDIRECT | NEXT, 1}, {BUFFER, 64, 0, 0}}, 2,
                   HG_VRING_INDIRECT);
    write_table((struct hg_desc[]){{BUFFER, 64, NEXT, 1}}, 1);
    break_the_ring((struct hg_desc[]){{TABLE, 16, INDIRECT, 0}}, 1, HG_VRING_HEAD_RANGE);

    /* A table longer than the ring (2.7.5.3.1). */
    for (unsigned i = 0; i <= PEER_RING_SIZE; i++)
        long_table[i] = (struct hg_desc){BUFFER, 1, NEXT, (uint16_t)(i + 1)};
    long_table[PEER_RING_SIZE].flags = 0;
    write_table(long_table, PEER_RING_SIZE + 1);
    break_the_ring((struct hg_desc[]){{TABLE, sizeof(long_table), INDIRECT, 0}}, 1,
                   HG_VRING_CHAIN_LONG);

    /* A table that begins in one region and ends in none; one that wraps the address space. */
    lose_the_frame((struct hg_desc[]){{PEER_HALF_BYTES - 8, 16, INDIRECT, 0}}, 1,
                   HG_DROP_BAD_DESCRIPTOR);
    lose_the_frame((struct hg_desc[]){{UINT64_MAX - 7, 16, INDIRECT, 0}}, 1,
                   HG_DROP_BAD_DESCRIPTOR);
}

static void lengths(void **state)
{
    (void)state;
    /* QEMU's CVE-2016-6490 and its relatives. */
    lose_the_frame((struct hg_desc[]){{BUFFER, 0, 0, 0}}, 1, HG_DROP_BAD_DESCRIPTOR);
    lose_the_frame((struct hg_desc[]){{BUFFER, 72, NEXT, 1}, {BUFFER, 0, 0, 0}}, 2,
                   HG_DROP_BAD_DESCRIPTOR);
    /* DPDK's CVE-2022-2132: the chain ends inside the header. */
    lose_the_frame((struct hg_desc[]){{BUFFER, 11, 0, 0}}, 1, HG_DROP_RUNT);
    lose_the_frame((struct hg_desc[]){{BUFFER, 6, NEXT, 1}, {BUFFER, 5, 0, 0}}, 2, HG_DROP_RUNT);
    lose_the_frame((struct hg_desc[]){{BUFFER, 12, 0, 0}}, 1, HG_DROP_RUNT);
    /* Linux's CVE-2024-41090: shorter than an Ethernet header. */
    lose_the_frame((struct hg_desc[]){{BUFFER, 25, 0, 0}}, 1, HG_DROP_RUNT);
    lose_the_frame((struct hg_desc[]){{BUFFER, 12, NEXT, 1}, {BUFFER, 13, 0, 0}}, 2, HG_DROP_RUNT);
    lose_the_frame((struct hg_desc[]){{PEER_HIGH, PEER_HALF_BYTES, 0, 0}}, 1, HG_DROP_OVERSIZE);
    lose_the_frame((struct hg_desc[]){{PEER_HIGH, UINT32_MAX, 0, 0}}, 1, HG_DROP_OVERSIZE);
    lose_the_frame((struct hg_desc[]){{BUFFER, HG_FRAME_BYTES_MAX + 13, 0, 0}}, 1,
                   HG_DROP_OVERSIZE);
}

/* 1,023 times 4 MiB and what is missing to 2^32 and a small frame: a sum of 32 bits would be 72. */
static void lengths_that_wrap_32_bits(void **state)
{
    enum { N = 1024 };
    static struct hg_desc desc[N];

    (void)state;
    stage_bring_up(&stage, ATTACKER, 2 * N, RIG_FEATURES);
    for (unsigned i = 0; i < N; i++)
        desc[i] = (struct hg_desc){PEER_HIGH, PEER_HALF_BYTES, NEXT, (uint16_t)(i + 1)};
    desc[N - 2].len = PEER_HALF_BYTES / 2 + 72;
    desc[N - 1] = (struct hg_desc){PEER_HIGH, PEER_HALF_BYTES / 2, 0, 0};
    desc[0].len = PEER_HALF_BYTES;
    lose_the_frame(desc, N, HG_DROP_OVERSIZE);
}

static void addresses(void **state)
{
    static const struct hg_desc bad[] = {
        {PEER_HALF_BYTES, 100, 0, 0},                  /* in the hole */
        {PEER_HALF_BYTES - 50, 100, 0, 0},             /* from a region into the hole */
        {PEER_HIGH - 50, 100, 0, 0},                   /* from the hole into a region */
        {PEER_HIGH + PEER_HALF_BYTES - 50, 100, 0, 0}, /* over the end */
        {UINT64_MAX - 49, 100, 0, 0},                  /* over the end of the address space */
        {PEER_USER, 100, 0, 0},                        /* of the front-end's process */
    };

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(bad); i++)
        lose_the_frame(&bad[i], 1, HG_DROP_BAD_DESCRIPTOR);
    lose_the_frame((struct hg_desc[]){{BUFFER, 100, NEXT, 1}, {PEER_HALF_BYTES, 100, 0, 0}}, 2,
                   HG_DROP_BAD_DESCRIPTOR);
}

static void directions(void **state)
{
    (void)state;
    break_the_ring((struct hg_desc[]){{BUFFER, 100, WRITE, 0}}, 1, HG_VRING_DIRECTION);
    break_the_ring((struct hg_desc[]){{BUFFER, 100, NEXT, 1}, {BUFFER, 100, WRITE, 0}}, 2,
                   HG_VRING_DIRECTION);
    write_table((struct hg_desc[]){{BUFFER, 100, WRITE, 0}}, 1);
    break_the_ring((struct hg_desc[]){{TABLE, 16, INDIRECT, 0}}, 1, HG_VRING_DIRECTION);
}

static void count_arrivals(unsigned n, size_t want_len)
{
    size_t len;

    for (unsigned i = 0; i < n; i++) {
        assert_non_null(peer_receive(&stage.rig[VICTIM].peer, GUEST_RX, &len));
        assert_int_equal(len, want_len);
    }
}

/* cloud-hypervisor's CVE-2026-45782: one head many times. It is returned as often as it was
 * given. */
static void heads_that_are_in_flight_already(void **state)
{
    uint8_t frame[60] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};

    (void)state;
    peer_post(&stage.rig[VICTIM].peer, GUEST_RX, 100);
    peer_transmit(attacker(), GUEST_TX, frame, sizeof(frame));
    for (unsigned i = 0; i < 99; i++)
        peer_push_avail(attacker(), GUEST_TX, 0);
    stage_until_taken(&stage, ATTACKER, GUEST_TX);
    count_arrivals(100, sizeof(frame));
    stage_recover(&stage);
}

/* Every byte in a descriptor of its own, header included. */
static void frames_in_single_bytes(void **state)
{
    enum { N = 12 + 100 };
    static struct hg_desc desc[N];
    uint8_t *bytes = peer_at(attacker(), BUFFER);
    const uint8_t *got;
    size_t len;

    (void)state;
    memset(bytes, 0, 12);
    for (unsigned i = 0; i < N; i++) {
        if (i >= 12)
            bytes[i] = (uint8_t)(i * 2);
        desc[i] = (struct hg_desc){BUFFER + i, 1, i + 1 < N ? NEXT : 0, (uint16_t)(i + 1)};
    }
    peer_post(&stage.rig[VICTIM].peer, GUEST_RX, 1);
    post(desc, N);
    stage_until_taken(&stage, ATTACKER, GUEST_TX);
    got = peer_receive(&stage.rig[VICTIM].peer, GUEST_RX, &len);
    assert_non_null(got);
    assert_int_equal(len, N - 12);
    assert_memory_equal(got, bytes + 12, len);
    stage_recover(&stage);
}

/* The longest rings full of the longest chains of nothing: each burst would cost a million
 * steps. */
static void chains_that_cost_time(void **state)
{
    enum { N = 2048 };
    uint64_t worst_before_ns = stage.flow_worst_ns;

    (void)state;
    for (uint32_t len = 0; len <= 1; len++) {
        stage_bring_up(&stage, ATTACKER, N, RIG_FEATURES);
        for (unsigned i = 0; i < N; i++) {
            struct hg_desc desc = {BUFFER, len, i + 1 < N ? NEXT : 0, (uint16_t)(i + 1)};

            peer_write_desc(attacker(), GUEST_TX, (uint16_t)i, desc);
        }
        for (unsigned i = 0; i < N; i++)
            peer_push_avail(attacker(), GUEST_TX, 0);
        peer_kick(attacker(), GUEST_TX);
        stage_until_broken(&stage, GUEST_TX, HG_VRING_CHAIN_LONG);
        stage_recover(&stage);
    }
    assert_true(stage.flow_worst_ns < worst_before_ns + UINT64_C(1000000000));
}

static void kicks_without_end(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 50; i++) {
        for (unsigned k = 0; k < 2000; k++)
            peer_kick(attacker(), GUEST_TX);
        stage_flow(&stage);
    }
    stage_recover(&stage);
}

/* Rewrites descriptors, frames and headers while the worker reads them. */
struct vandal {
    pthread_t thread;
    atomic_bool stop;
};

static void *vandalise(void *ctx)
{
    static const uint32_t lens[] = {60, 72, 0, 1, 1514, UINT32_MAX, 65000, 8};
    static const uint16_t flags[] = {0, NEXT, 0, INDIRECT, 0, NEXT | INDIRECT, 0};
    struct vandal *vandal = ctx;
    uint8_t *bytes = peer_at(attacker(), BUFFER);

    for (uint32_t turn = 1; !atomic_load(&vandal->stop); turn++) {
        uint32_t index = turn * 2654435761u >> 24;

        peer_write_desc(attacker(), GUEST_TX, (uint16_t)(index % PEER_RING_SIZE),
                        (struct hg_desc){turn % 5 == 0 ? TABLE : BUFFER, lens[turn % 8],
                                         flags[turn % 7], (uint16_t)(turn * 7 % 260)});
        for (unsigned i = 0; i < 12; i++)
            bytes[i] = (uint8_t)(turn >> (i % 4));
        bytes[index % 60] = (uint8_t)turn;
        memcpy((uint8_t *)peer_at(attacker(), TABLE) + index % 32 * 16, bytes, 16);
    }
    return NULL;
}

static void everything_changed_between_two_reads(void **state)
{
    struct vandal vandal = {.stop = false};

    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        atomic_store(&vandal.stop, false);
        assert_int_equal(pthread_create(&vandal.thread, NULL, vandalise, &vandal), 0);
        for (unsigned i = 0; i < 50; i++) {
            for (unsigned k = 0; k < 20; k++)
                peer_push_avail(attacker(), GUEST_TX, (uint16_t)(k * 13 % PEER_RING_SIZE));
            peer_kick(attacker(), GUEST_TX);
            peer_post(&stage.rig[VICTIM].peer, GUEST_RX, 4);
            stage_flow(&stage);
        }
        atomic_store(&vandal.stop, true);
        pthread_join(vandal.thread, NULL);
        stage_recover(&stage);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_and_indices_out_of_range),
        cmocka_unit_test(bad_heads_behind_other_frames),
        cmocka_unit_test(indirect_tables),
        cmocka_unit_test(lengths),
        cmocka_unit_test(lengths_that_wrap_32_bits),
        cmocka_unit_test(addresses),
        cmocka_unit_test(directions),
        cmocka_unit_test(heads_that_are_in_flight_already),
        cmocka_unit_test(frames_in_single_bytes),
        cmocka_unit_test(chains_that_cost_time),
        cmocka_unit_test(kicks_without_end),
        cmocka_unit_test(everything_changed_between_two_reads),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
