#include "flow/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../frame.h"
#include "flow/parse.h"
#include "mem/arena.h"
#include "random.h"
#include "wire/csum.h"

enum {
    TO_A = 0x0a000001,
    TO_B = 0x0a010001,
    NOWHERE = 0x0b000000,
    ADJACENCIES_N = 2,
    HOP_NONE = 7
};

static const struct hg_adjacency adjacency[ADJACENCIES_N] = {
    {.link = {2, 0xa, 0xa, 0xa, 0xa, 0xa, 2, 1, 1, 1, 1, 1}, .out = 3},
    {.link = {2, 0xb, 0xb, 0xb, 0xb, 0xb, 2, 2, 2, 2, 2, 2}, .out = 4},
};

static struct hg_arena *arena;
static struct hg_route4 router;
static struct hg_burst burst;
static struct hg_pkt *pkts[HG_BURST_N];
static uint64_t random_state = 88172645463325252;

static int begin(void **state)
{
    struct hg_lpm4_options options = {.routes_max = 16, .groups_max = 4};
    struct hg_arena_options memory = {.name = "test", .bytes = hg_lpm4_bytes(&options)};
    struct hg_lpm4 *lpm;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &memory, NULL), 0);
    assert_int_equal(hg_lpm4_new(&lpm, arena, &options, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0x0a000000, 16, 0, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0x0a010000, 16, 1, NULL), 0);
    assert_int_equal(hg_lpm4_add(lpm, 0x0a020000, 16, HOP_NONE, NULL), 0);
    router = (struct hg_route4){.lpm = lpm, .adjacency = adjacency, .adjacency_n = ADJACENCIES_N};
    return 0;
}

static int end(void **state)
{
    (void)state;
    hg_arena_free(arena);
    return 0;
}

static uint8_t *ip4_of(struct hg_pkt *pkt)
{
    return pkt->head + pkt->l3_offset;
}

static void set_csum(struct hg_pkt *pkt)
{
    uint8_t *ip4 = ip4_of(pkt);

    hg_store_be16(ip4 + HG_IP4_CSUM, 0);
    hg_store_be16(ip4 + HG_IP4_CSUM, hg_csum(ip4, hg_ip4_header_bytes(ip4)));
}

/* Puts a UDP packet with a right checksum into slot i of the burst, parsed. */
static struct hg_pkt *make(unsigned i, uint32_t dst, unsigned option_bytes, bool tagged)
{
    static struct frame frame;
    struct hg_pkt *pkt = &burst.pkt[i];
    uint8_t *ip4;

    frame_begin(&frame);
    if (tagged)
        frame_vlan(&frame, HG_ETHERTYPE_CTAG, 5);
    frame_ip4(&frame, option_bytes, 0);
    frame_udp(&frame);
    frame_append(&frame, 18);
    ip4 = frame.bytes + frame.l3;
    hg_store_be16(ip4 + HG_IP4_TOTAL_LEN, (uint16_t)(frame.len - frame.l3));
    hg_store_be32(ip4 + HG_IP4_DST, dst);
    *pkt = (struct hg_pkt){.len = frame.len, .head_len = (uint16_t)frame.len};
    memcpy(pkt->head, frame.bytes, frame.len);
    hg_parse(pkt);
    set_csum(pkt);
    pkts[i] = pkt;
    return pkt;
}

static void forwards_as_a_router_does(void **state)
{
    struct hg_pkt before;

    (void)state;
    for (unsigned options = 0; options <= 40; options += 4) {
        for (unsigned tagged = 0; tagged <= 1; tagged++) {
            struct hg_pkt *pkt = make(0, TO_B, options, tagged);

            before = *pkt;
            assert_int_equal(hg_route4(&router, pkts, 1), 1);
            assert_ptr_equal(pkts[0], pkt);
            assert_int_equal(pkt->out, 4);
            assert_memory_equal(pkt->head, adjacency[1].link, 12);
            assert_int_equal(ip4_of(pkt)[HG_IP4_TTL], 63);
            assert_int_equal(hg_csum(ip4_of(pkt), HG_IP4_BYTES + options), 0);
            /* And nothing else has changed. */
            memcpy(before.head, pkt->head, 12);
            before.head[before.l3_offset + HG_IP4_TTL] = 63;
            memcpy(before.head + before.l3_offset + HG_IP4_CSUM, ip4_of(pkt) + HG_IP4_CSUM, 2);
            assert_memory_equal(before.head, pkt->head, sizeof(before.head));
        }
    }
}

static void updates_every_checksum_as_computed_anew(void **state)
{
    (void)state;
    make(0, TO_A, 0, false);
    for (unsigned id = 0; id <= 0xffff; id++) {
        struct hg_pkt *pkt = make(0, TO_A, 0, false);
        uint16_t csum;

        hg_store_be16(ip4_of(pkt) + HG_IP4_ID, (uint16_t)id);
        set_csum(pkt);
        assert_int_equal(hg_route4(&router, pkts, 1), 1);
        csum = hg_load_be16(ip4_of(pkt) + HG_IP4_CSUM);
        set_csum(pkt);
        assert_int_equal(csum, hg_load_be16(ip4_of(pkt) + HG_IP4_CSUM));
    }
}

/* Makes a packet bad for one reason, without being so for an earlier one. */
static void spoil(struct hg_pkt *pkt, enum hg_route_drop why)
{
    static const uint32_t martian[] = {0x00000001, 0x7f000001, 0xe0000001, 0xffffffff, 0xf0000000};
    uint8_t *ip4 = ip4_of(pkt);
    uint32_t choice = random_u32(&random_state);

    switch (why) {
    case HG_ROUTE_NOT_IP4:
        hg_store_be16(pkt->head + pkt->l3_offset - 2, HG_ETHERTYPE_ARP);
        hg_parse(pkt);
        break;
    case HG_ROUTE_LINK_GROUP:
        pkt->head[0] |= 1;
        break;
    case HG_ROUTE_BAD_HEADER:
        if (choice % 3 == 0) {
            ip4[choice >> 8 & 15] ^= 0xff; /* the version, too: then it is parsed no more */
            ip4[0] = (uint8_t)(0x40 | (ip4[0] & 0xf));
        } else {
            hg_store_be16(ip4 + HG_IP4_TOTAL_LEN,
                          choice % 3 == 1 ? 19 : (uint16_t)(pkt->len - pkt->l3_offset + 1));
            set_csum(pkt);
        }
        break;
    case HG_ROUTE_MARTIAN:
        hg_store_be32(ip4 + (choice & 1 ? HG_IP4_SRC : HG_IP4_DST), martian[choice / 2 % 5]);
        set_csum(pkt);
        break;
    case HG_ROUTE_TTL:
        ip4[HG_IP4_TTL] = choice & 1;
        set_csum(pkt);
        break;
    case HG_ROUTE_NO_ROUTE:
        hg_store_be32(ip4 + HG_IP4_DST, choice & 1 ? NOWHERE : 0x0a020003);
        set_csum(pkt);
        break;
    case HG_ROUTE_DROP_N:
        break;
    }
}

/* Bursts of good and bad packets in any order: the good ones go on in order, each bad one is
 * counted once, under its name, and is not changed. */
static void drops_what_is_bad_and_says_why(void **state)
{
    uint64_t expected[HG_ROUTE_DROP_N] = {0};

    (void)state;
    for (unsigned round = 0; round < 3000; round++) {
        static struct hg_pkt before[HG_BURST_N];
        unsigned n = random_u32(&random_state) % (HG_BURST_N + 1);
        unsigned bad_of = 1 + random_u32(&random_state) % 8;
        enum hg_route_drop why[HG_BURST_N];
        unsigned good = 0;
        unsigned kept;

        for (unsigned i = 0; i < n; i++) {
            uint32_t choice = random_u32(&random_state);

            make(i, choice & 1 ? TO_A : TO_B, choice / 2 % 4 == 0 ? 8 : 0, choice / 8 % 2);
            why[i] = choice / 16 % bad_of == 0 ? choice / 256 % HG_ROUTE_DROP_N : HG_ROUTE_DROP_N;
            spoil(pkts[i], why[i]);
            before[i] = *pkts[i];
            if (why[i] != HG_ROUTE_DROP_N)
                expected[why[i]]++;
        }
        kept = hg_route4(&router, pkts, n);
        for (unsigned i = 0; i < n; i++) {
            if (why[i] == HG_ROUTE_DROP_N)
                assert_ptr_equal(pkts[good++], &burst.pkt[i]);
            else
                assert_memory_equal(burst.pkt[i].head, before[i].head, HG_HEAD_BYTES);
        }
        assert_int_equal(kept, good);
    }
    for (unsigned i = 0; i < HG_ROUTE_DROP_N; i++) {
        assert_int_equal(hg_count_get(&router.drops[i]), expected[i]);
        assert_true(expected[i] > 100);
        assert_non_null(hg_route_drop_names[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(forwards_as_a_router_does, begin, end),
        cmocka_unit_test_setup_teardown(updates_every_checksum_as_computed_anew, begin, end),
        cmocka_unit_test_setup_teardown(drops_what_is_bad_and_says_why, begin, end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
