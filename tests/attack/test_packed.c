/*
 * A guest that attacks through packed rings (virtio 1.2, 2.8). What the ring's format has no part
 * in, lengths, addresses and offloads, is attacked on split rings.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "attack/fixture.h"

enum { AVAIL = HG_PACKED_DESC_F_AVAIL, USED = HG_PACKED_DESC_F_USED, NUM = PEER_RING_SIZE };

#define FEATURES (RIG_FEATURES | HG_BIT(HG_VIRTIO_F_RING_PACKED))
#define BUFFER   (PEER_HIGH + PEER_HALF_BYTES / 2)
#define TABLE    (PEER_HIGH + PEER_HALF_BYTES - 65536)

static const uint8_t to_victim[60] = {2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8, 0x88, 0xb5};
static const uint8_t to_attacker[60] = {2, 0, 0, 0, 0, 8, 2, 0, 0, 0, 0, 9, 0x88, 0xb5, 'v'};

static void begin(uint16_t num, uint64_t features)
{
    peer_use_packed(attacker());
    stage_bring_up(&stage, ATTACKER, num, features);
    memset(peer_at(attacker(), BUFFER), 0, HG_NET_HDR_BYTES);
    memcpy((uint8_t *)peer_at(attacker(), BUFFER) + HG_NET_HDR_BYTES, to_victim, sizeof(to_victim));
}

static void end(void)
{
    attacker()->packed = false;
    stage_recover(&stage);
}

static bool has_arrived(struct stage *s, void *ctx)
{
    size_t len;

    (void)s;
    (void)ctx;
    return peer_receive(victim(), GUEST_RX, &len) != NULL;
}

/* A sound frame passes: the ring has not been hurt. */
static void pass_a_frame(void)
{
    struct hg_packed_desc desc = {.addr = BUFFER, .len = 72, .id = 1};

    peer_post(victim(), GUEST_RX, 1);
    peer_push_packed(attacker(), GUEST_TX, &desc, 1);
    peer_kick(attacker(), GUEST_TX);
    stage_until(&stage, has_arrived, NULL, "a frame on a packed ring");
}

/* Descriptors as they stand, from position 0 on, owner flags added. */
static void break_ring(unsigned ring, const struct hg_packed_desc *desc, unsigned n,
                       enum hg_vring_fault fault)
{
    begin(NUM, FEATURES);
    peer_push_packed(attacker(), ring, desc, n);
    peer_kick(attacker(), ring);
    if (ring == GUEST_RX) {
        peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
        peer_kick(victim(), GUEST_TX);
    }
    stage_until_broken(&stage, ring, fault);
    end();
}

static void buffer_ids_out_of_range(void **state)
{
    (void)state;
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{BUFFER, 72, NUM, 0}}, 1, HG_VRING_ID_RANGE);
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{BUFFER, 72, 65535, 0}}, 1, HG_VRING_ID_RANGE);
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{BUFFER, 40, 1, NEXT}, {BUFFER, 40, NUM, 0}}, 2,
               HG_VRING_ID_RANGE);
    break_ring(GUEST_RX, (struct hg_packed_desc[]){{BUFFER, 2048, NUM, WRITE}}, 1,
               HG_VRING_ID_RANGE);
}

/* A list that goes on in a descriptor that is not available, and one that goes round the ring. */
static void lists_that_do_not_end(void **state)
{
    static struct hg_packed_desc all[NUM];

    (void)state;
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{BUFFER, 40, 1, NEXT}}, 1, HG_VRING_CHAIN_CUT);
    break_ring(GUEST_RX, (struct hg_packed_desc[]){{BUFFER, 2048, 1, WRITE | NEXT}}, 1,
               HG_VRING_CHAIN_CUT);
    for (unsigned i = 0; i < NUM; i++)
        all[i] = (struct hg_packed_desc){BUFFER, 1, 1, NEXT};
    break_ring(GUEST_TX, all, NUM, HG_VRING_CHAIN_LONG);
    break_ring(GUEST_TX, all, NUM / 2, HG_VRING_CHAIN_CUT);
}

static void indirect_tables(void **state)
{
    const struct hg_packed_desc nested[] = {{BUFFER, 40, 0, 0}, {BUFFER, 40, 0, 0}};
    static struct hg_packed_desc long_table[2048];

    (void)state;
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{TABLE, 24, 1, INDIRECT}}, 1, HG_VRING_INDIRECT);
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{TABLE, 0, 1, INDIRECT}}, 1, HG_VRING_INDIRECT);
    break_ring(GUEST_TX,
               (struct hg_packed_desc[]){{TABLE, 16, 1, INDIRECT | NEXT}, {BUFFER, 40, 1, 0}}, 2,
               HG_VRING_INDIRECT);
    /* A table of the wrong direction; one without end; one that is nobody's memory. */
    memcpy(peer_at(attacker(), TABLE), nested, sizeof(nested));
    ((struct hg_packed_desc *)peer_at(attacker(), TABLE))[1].flags = WRITE;
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{TABLE, 32, 1, INDIRECT}}, 1,
               HG_VRING_DIRECTION);
    for (unsigned i = 0; i < HG_ARRAY_N(long_table); i++)
        long_table[i] = (struct hg_packed_desc){BUFFER, 1, 0, 0};
    memcpy(peer_at(attacker(), TABLE), long_table, sizeof(long_table));
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{TABLE, sizeof(long_table), 1, INDIRECT}}, 1,
               HG_VRING_CHAIN_LONG);
}

static void directions(void **state)
{
    (void)state;
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{BUFFER, 72, 1, WRITE}}, 1, HG_VRING_DIRECTION);
    break_ring(GUEST_TX, (struct hg_packed_desc[]){{BUFFER, 40, 1, NEXT}, {BUFFER, 40, 1, WRITE}},
               2, HG_VRING_DIRECTION);
    break_ring(GUEST_RX, (struct hg_packed_desc[]){{BUFFER, 2048, 1, 0}}, 1, HG_VRING_DIRECTION);
}

static void addresses(void **state)
{
    static const struct hg_packed_desc bad[] = {
        {PEER_HALF_BYTES, 100, 1, 0},
        {PEER_HALF_BYTES - 50, 100, 1, 0},
        {UINT64_MAX - 49, 100, 1, 0},
        {PEER_USER, 100, 1, 0},
        {BUFFER, 0, 1, 0},
        {PEER_HALF_BYTES, 16, 1, INDIRECT},
    };
    const struct hg_queue_stats *stats = &stage.rig[ATTACKER].port.rxq[0]->stats;

    (void)state;
    begin(NUM, FEATURES);
    for (unsigned i = 0; i < HG_ARRAY_N(bad); i++) {
        uint64_t before = stage_drops(stats, HG_DROP_BAD_DESCRIPTOR);

        peer_push_packed(attacker(), GUEST_TX, &bad[i], 1);
        peer_kick(attacker(), GUEST_TX);
        stage_until_dropped(&stage, stats, HG_DROP_BAD_DESCRIPTOR, before);
        pass_a_frame();
    }
    end();
}

/* Owner flags of another lap, of nobody and of both: not available, whatever the rest says. */
static void wrong_wrap_bits(void **state)
{
    (void)state;
    begin(8, FEATURES);
    for (uint16_t lap = 0; lap < 40; lap++) {
        uint16_t position = attacker()->ring[GUEST_TX].avail_idx;
        uint16_t right = peer_packed_avail(attacker(), GUEST_TX, position, 0);
        const uint16_t wrong[] = {0, AVAIL | USED, right ^ (AVAIL | USED)};

        for (unsigned i = 0; i < HG_ARRAY_N(wrong); i++) {
            struct hg_packed_desc desc = {BUFFER, 72, 60000, wrong[i]};

            peer_write_packed(attacker(), GUEST_TX, position, desc);
            peer_kick(attacker(), GUEST_TX);
            stage_flow(&stage);
        }
        rig_status(&stage.rig[ATTACKER]);
        assert_string_equal(stage.rig[ATTACKER].status.state, "up");
        pass_a_frame();
    }
    end();
}

/* The same id for everything that is in flight, on both rings. */
static void ids_that_are_in_flight_already(void **state)
{
    struct hg_packed_desc desc = {BUFFER, 72, 3, 0};
    struct hg_packed_desc buffer = {BUFFER + 4096, 2048, 3, WRITE};
    struct hg_packed_desc used;

    (void)state;
    begin(NUM, FEATURES);
    for (unsigned i = 0; i < 64; i++)
        peer_push_packed(attacker(), GUEST_RX, &buffer, 1);
    for (unsigned i = 0; i < 63; i++)
        peer_push_packed(attacker(), GUEST_TX, &desc, 1);
    pass_a_frame();
    for (unsigned i = 0; i < 64; i++)
        peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
    stage_until_taken(&stage, VICTIM, GUEST_TX);
    for (unsigned i = 0; i < 64; i++) {
        assert_true(peer_take_packed(attacker(), GUEST_RX, 1, &used));
        assert_int_equal(used.id, 3);
    }
    end();
}

struct vandal {
    pthread_t thread;
    atomic_bool stop;
};

/* Offers lists, and rewrites descriptors and their owner flags, in the middle of lists too. */
static void *vandalise(void *ctx)
{
    static const uint32_t lens[] = {60, 72, 0, 1, 1514, UINT32_MAX, 65000, 16};
    static const uint16_t flags[] = {0, NEXT, WRITE, INDIRECT, AVAIL, USED, AVAIL | USED | NEXT};
    struct vandal *vandal = ctx;

    for (uint32_t turn = 1; !atomic_load(&vandal->stop); turn++) {
        uint32_t place = turn * 2654435761u >> 24;
        unsigned ring = place % 2;
        struct hg_packed_desc desc = {turn % 5 == 0 ? TABLE : BUFFER, lens[turn % 8],
                                      (uint16_t)(turn * 7 % 258), flags[turn % 7]};

        if (turn % 16 == 0) {
            uint16_t write = ring == GUEST_RX ? WRITE : 0;
            const struct hg_packed_desc list[] = {{BUFFER, 40, 1, NEXT | write},
                                                  {BUFFER, 40, 1, NEXT | write},
                                                  {BUFFER, 40, 1, write}};

            peer_push_packed(attacker(), ring, list, 3);
        }
        peer_write_packed(attacker(), ring, (uint16_t)(place / 2), desc);
        memcpy((uint8_t *)peer_at(attacker(), TABLE) + place * 16, &desc, sizeof(desc));
    }
    return NULL;
}

static void everything_changed_between_two_reads(void **state)
{
    struct vandal vandal = {.stop = false};

    (void)state;
    for (unsigned round = 0; round < 20; round++) {
        begin(NUM, FEATURES);
        atomic_store(&vandal.stop, false);
        assert_int_equal(pthread_create(&vandal.thread, NULL, vandalise, &vandal), 0);
        for (unsigned i = 0; i < 40; i++) {
            for (unsigned k = 0; k < 8; k++)
                peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
            peer_post(victim(), GUEST_RX, 4);
            peer_kick(victim(), GUEST_TX);
            peer_kick(attacker(), GUEST_TX);
            stage_flow(&stage);
        }
        atomic_store(&vandal.stop, true);
        pthread_join(vandal.thread, NULL);
        end();
    }
}

/* Event structures of any content only decide about signals. */
static void event_structures_that_lie(void **state)
{
    static const uint16_t words[] = {0, 1, 2, 3, 7, 255, 256, 32767, 32768, 33000, 65535};

    (void)state;
    begin(8, FEATURES | HG_BIT(HG_VIRTIO_F_EVENT_IDX));
    for (unsigned i = 0; i < 121; i++) {
        for (unsigned ring = 0; ring < 2; ring++) {
            uint8_t *events = attacker()->mem + attacker()->ring[ring].at +
                              HG_DESC_BYTES(attacker()->ring[ring].num);

            memcpy(events, &words[i % 11], 2);
            memcpy(events + 2, &words[i / 11], 2);
        }
        pass_a_frame();
    }
    end();
}

/* Where a ring is said to stand: laps and places that contradict each other, or lie outside. */
static void bases_that_make_no_sense(void **state)
{
    static const uint32_t bases[] = {0,          0xffffffff, 0x7fff7fff, 0x8000,
                                     0x80000000, 0x00070003, 0x80078003, 0x12345678};

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(bases); i++) {
        begin(NUM, FEATURES);
        peer_hang_up(attacker());
        attacker()->ring[GUEST_TX].base = attacker()->ring[GUEST_RX].base = bases[i];
        (void)rig_bring_up(&stage.rig[ATTACKER]);
        for (unsigned k = 0; k < 20; k++) {
            struct hg_packed_desc desc = {BUFFER, 72, 1, 0};

            peer_push_packed(attacker(), GUEST_TX, &desc, 1);
            peer_kick(attacker(), GUEST_TX);
            peer_transmit(victim(), GUEST_TX, to_attacker, sizeof(to_attacker));
            peer_kick(victim(), GUEST_TX);
            stage_flow(&stage);
        }
        end();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_ids_out_of_range),
        cmocka_unit_test(lists_that_do_not_end),
        cmocka_unit_test(indirect_tables),
        cmocka_unit_test(directions),
        cmocka_unit_test(addresses),
        cmocka_unit_test(wrong_wrap_bits),
        cmocka_unit_test(ids_that_are_in_flight_already),
        cmocka_unit_test(everything_changed_between_two_reads),
        cmocka_unit_test(event_structures_that_lie),
        cmocka_unit_test(bases_that_make_no_sense),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
