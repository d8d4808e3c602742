/*
 * Guests whose rings lie across the edges of memory regions, change while they are read, or lie
 * about when they want to be told. What is allowed must work, byte by byte; what is not hurts
 * nobody else.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "attack/fixture.h"

#define EDGE ((uint64_t)PEER_HALF_BYTES) /* where the second region begins, for the guest */

/* Two regions that are neighbours for the guest, and lie in the file the other way round with a
 * page between them, so that they are no neighbours for us. The rings stay where they are. */
static void split_memory(void)
{
    enum { UPPER_BYTES = PEER_HALF_BYTES - 4096 };
    struct hg_vhost_mem_table table = {
        .n = 2,
        .region = {{0, EDGE, PEER_USER, 0}, {EDGE, UPPER_BYTES, PEER_USER + EDGE, EDGE + 4096}},
    };
    int fds[] = {attacker()->mem_fd, attacker()->mem_fd};

    assert_true(peer_send(attacker(), HG_VHOST_SET_MEM_TABLE, 0, &table, 72, fds, 2));
    rig_pump(&stage.rig[ATTACKER]);
}

/* Where the guest's address lies in the peer's mapping of the file. */
static uint8_t *at(uint64_t addr)
{
    return attacker()->mem + addr + (addr >= EDGE ? 4096 : 0);
}

static void write_at(uint64_t addr, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        *at(addr + i) = ((const uint8_t *)bytes)[i];
}

static void make_frame(uint8_t *frame, size_t len, uint8_t from)
{
    for (size_t i = 14; i < len; i++)
        frame[i] = (uint8_t)(i * 7 + len);
    memcpy(frame, (uint8_t[14]){2, 0, 0, 0, 0, from ^ 1u, 2, 0, 0, 0, 0, from, 0x88, 0xb5}, 14);
}

/* A frame that crosses the edge in its header, in the head that is copied, and in the rest. */
static void transmit_across_the_edge(void **state)
{
    static const uint16_t before[] = {1, 5, 11, 12, 13, 60, 203, 204, 205, 700};
    uint8_t frame[900];

    (void)state;
    make_frame(frame, sizeof(frame), 8);
    split_memory();
    for (unsigned i = 0; i < HG_ARRAY_N(before); i++) {
        static const struct hg_net_hdr none;
        uint64_t addr = EDGE - before[i];
        const uint8_t *got;
        size_t len;

        write_at(addr, &none, sizeof(none));
        write_at(addr + sizeof(none), frame, sizeof(frame));
        peer_post(victim(), GUEST_RX, 1);
        peer_write_desc(attacker(), GUEST_TX, (uint16_t)i,
                        (struct hg_desc){addr, sizeof(none) + sizeof(frame), 0, 0});
        peer_push_avail(attacker(), GUEST_TX, (uint16_t)i);
        stage_until_taken(&stage, ATTACKER, GUEST_TX);
        got = peer_receive(victim(), GUEST_RX, &len);
        assert_non_null(got);
        assert_int_equal(len, sizeof(frame));
        assert_memory_equal(got, frame, len);
    }
    stage_recover(&stage);
}

/* Received likewise, and nothing is written beside the buffer. */
static void receive_across_the_edge(void **state)
{
    static const uint16_t before[] = {1, 11, 12, 13, 203, 204, 205, 700};
    uint8_t frame[900];

    (void)state;
    make_frame(frame, sizeof(frame), 9);
    split_memory();
    memset(attacker()->mem + EDGE - 1000, 0xee, 1000 + 4096 + 2000);
    for (unsigned i = 0; i < HG_ARRAY_N(before); i++) {
        uint64_t addr = EDGE - before[i];

        for (size_t k = 0; k < 2000; k++)
            *at(EDGE - 1000 + k) = 0xee;
        peer_write_desc(attacker(), GUEST_RX, (uint16_t)i,
                        (struct hg_desc){addr, HG_NET_HDR_BYTES + sizeof(frame), WRITE, 0});
        peer_push_avail(attacker(), GUEST_RX, (uint16_t)i);
        peer_transmit(victim(), GUEST_TX, frame, sizeof(frame));
        stage_until_taken(&stage, VICTIM, GUEST_TX);
        for (size_t k = 0; k < sizeof(frame); k++)
            assert_int_equal(*at(addr + HG_NET_HDR_BYTES + k), frame[k]);
        assert_int_equal(*at(addr - 1), 0xee);
        assert_int_equal(*at(addr + HG_NET_HDR_BYTES + sizeof(frame)), 0xee);
        assert_int_equal(attacker()->mem[EDGE], 0xee); /* the page between the regions */
        assert_int_equal(attacker()->mem[EDGE + 4095], 0xee);
    }
    stage_recover(&stage);
}

/* An indirect table of which an entry lies half in either region. */
static void tables_across_the_edge(void **state)
{
    static const struct hg_net_hdr none;
    const struct hg_desc table[] = {{4096 * 256, 12, NEXT, 1}, {4096 * 256 + 12, 300, 0, 0}};
    uint8_t frame[300];

    (void)state;
    make_frame(frame, sizeof(frame), 8);
    split_memory();
    write_at(4096 * 256, &none, sizeof(none));
    write_at(4096 * 256 + 12, frame, sizeof(frame));
    for (uint16_t before = 1; before < 32; before++) {
        const uint8_t *got;
        size_t len;

        write_at(EDGE - before, table, sizeof(table));
        peer_post(victim(), GUEST_RX, 1);
        peer_write_desc(attacker(), GUEST_TX, before,
                        (struct hg_desc){EDGE - before, sizeof(table), INDIRECT, 0});
        peer_push_avail(attacker(), GUEST_TX, before);
        stage_until_taken(&stage, ATTACKER, GUEST_TX);
        got = peer_receive(victim(), GUEST_RX, &len);
        assert_non_null(got);
        assert_int_equal(len, sizeof(frame));
        assert_memory_equal(got, frame, len);
    }
    stage_recover(&stage);
}

/* One buffer offered many times: it is filled and returned as often. */
static void buffers_that_are_in_flight_already(void **state)
{
    uint8_t frame[60];

    (void)state;
    make_frame(frame, sizeof(frame), 9);
    peer_write_desc(attacker(), GUEST_RX, 7, (struct hg_desc){PEER_HIGH, 2048, WRITE, 0});
    for (unsigned i = 0; i < 64; i++)
        peer_push_avail(attacker(), GUEST_RX, 7);
    for (unsigned i = 0; i < 64; i++)
        peer_transmit(victim(), GUEST_TX, frame, sizeof(frame));
    stage_until_taken(&stage, VICTIM, GUEST_TX);
    assert_int_equal(peer_used_idx(attacker(), GUEST_RX), 64);
    stage_recover(&stage);
}

struct vandal {
    pthread_t thread;
    atomic_bool stop;
};

/* Rewrites the buffers to receive into, their table and the available ring while a worker uses
 * them. */
static void *vandalise(void *ctx)
{
    static const uint32_t lens[] = {2048, 12, 0, 1, 1514, UINT32_MAX, 16, 64};
    static const uint16_t flags[] = {WRITE, WRITE | NEXT,    WRITE, INDIRECT,
                                     0,     INDIRECT | NEXT, WRITE};
    struct vandal *vandal = ctx;

    for (uint32_t turn = 1; !atomic_load(&vandal->stop); turn++) {
        uint32_t index = turn * 2654435761u >> 24;
        struct hg_desc desc = {turn % 11 == 0 ? EDGE - 8 : PEER_HIGH + index * 64, lens[turn % 8],
                               flags[turn % 7], (uint16_t)(turn * 7 % 260)};

        peer_write_desc(attacker(), GUEST_RX, (uint16_t)(index % PEER_RING_SIZE), desc);
        memcpy(peer_at(attacker(), PEER_HIGH + index * 64), &desc, sizeof(desc));
    }
    return NULL;
}

static void buffers_changed_between_two_reads(void **state)
{
    struct vandal vandal = {.stop = false};
    uint8_t frame[1400];

    (void)state;
    make_frame(frame, sizeof(frame), 9);
    for (unsigned round = 0; round < 20; round++) {
        atomic_store(&vandal.stop, false);
        assert_int_equal(pthread_create(&vandal.thread, NULL, vandalise, &vandal), 0);
        for (unsigned i = 0; i < 50; i++) {
            for (unsigned k = 0; k < 20; k++)
                peer_push_avail(attacker(), GUEST_RX, (uint16_t)(k * 13 % PEER_RING_SIZE));
            for (unsigned k = 0; k < 8; k++)
                peer_transmit(victim(), GUEST_TX, frame, sizeof(frame));
            peer_kick(victim(), GUEST_TX);
            stage_flow(&stage);
        }
        atomic_store(&vandal.stop, true);
        pthread_join(vandal.thread, NULL);
        stage_recover(&stage);
    }
}

/* Event indices of any value, and flags where there should be indices: frames pass in any case,
 * since an index only decides about signals. */
static void event_indices_that_lie(void **state)
{
    static const uint16_t lies[] = {0, 1, 255, 256, 32767, 32768, 65534, 65535};
    uint8_t frame[60];

    (void)state;
    make_frame(frame, sizeof(frame), 8);
    stage_bring_up(&stage, ATTACKER, PEER_RING_SIZE, RIG_FEATURES | HG_BIT(HG_VIRTIO_F_EVENT_IDX));
    for (unsigned i = 0; i < 64; i++) {
        for (unsigned ring = 0; ring < 2; ring++) {
            uint8_t *avail =
                attacker()->mem + attacker()->ring[ring].at + HG_DESC_BYTES(PEER_RING_SIZE);

            memcpy(avail, &lies[i % HG_ARRAY_N(lies)], 2); /* flags */
            memcpy(avail + HG_AVAIL_BYTES(PEER_RING_SIZE) - 2,
                   &lies[(i / 8 + i) % HG_ARRAY_N(lies)], 2); /* used_event */
        }
        peer_post(victim(), GUEST_RX, 1);
        peer_post(attacker(), GUEST_RX, 1);
        peer_transmit(attacker(), GUEST_TX, frame, sizeof(frame));
        stage_until_taken(&stage, ATTACKER, GUEST_TX);
        peer_transmit(victim(), GUEST_TX, frame, sizeof(frame));
        stage_until_taken(&stage, VICTIM, GUEST_TX);
    }
    stage_recover(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transmit_across_the_edge),
        cmocka_unit_test(receive_across_the_edge),
        cmocka_unit_test(tables_across_the_edge),
        cmocka_unit_test(buffers_that_are_in_flight_already),
        cmocka_unit_test(buffers_changed_between_two_reads),
        cmocka_unit_test(event_indices_that_lie),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
