/*
 * A guest that lies about what is to be done with its frames: checksums, segments, header lengths.
 */
#include "attack/fixture.h"

enum {
    CSUM = HG_NET_HDR_F_NEEDS_CSUM,
    TCP4 = HG_NET_HDR_GSO_TCPV4,
    TCP6 = HG_NET_HDR_GSO_TCPV6,
    ECN = HG_NET_HDR_GSO_ECN,
    HEADERS = 14 + 20 + 20,
};

#define BUFFER (PEER_HIGH + PEER_HALF_BYTES / 2)
/* A guest that takes no offload: whatever the attacker asks for is Headgate's to do. */
#define BARE                                                                                       \
    (HG_BIT(HG_VIRTIO_F_VERSION_1) | HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF) |                           \
     HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES))

static const struct hg_rxq *attacker_queue(void)
{
    return stage.rig[ATTACKER].port.rxq[0];
}

/* A TCP segment over IPv4 of `len` bytes in all, behind `hdr`, at BUFFER. */
static void write_tcp(struct hg_net_hdr hdr, size_t len)
{
    static const uint8_t head[HEADERS] = {
        2,    0, 0, 0, 0, 9, 2, 0, 0,  0, 0, 8, 8,    0,                       /* Ethernet */
        0x45, 0, 5, 0, 0, 1, 0, 0, 64, 6, 0, 0, 10,   0,    0, 1, 10, 0, 0, 2, /* IPv4 */
        1,    2, 3, 4, 0, 0, 0, 1, 0,  0, 0, 1, 0x50, 0x10, 1, 0, 0,  0, 0, 0, /* TCP */
    };
    uint8_t *bytes = peer_at(attacker(), BUFFER);

    memset(bytes, 't', sizeof(hdr) + len);
    memcpy(bytes, &hdr, sizeof(hdr));
    memcpy(bytes + sizeof(hdr), head, len < sizeof(head) ? len : sizeof(head));
}

static void send_tcp(struct hg_net_hdr hdr, size_t len)
{
    write_tcp(hdr, len);
    peer_write_desc(attacker(), GUEST_TX, 0,
                    (struct hg_desc){BUFFER, (uint32_t)(sizeof(hdr) + len), 0, 0});
    peer_push_avail(attacker(), GUEST_TX, 0);
    stage_until_taken(&stage, ATTACKER, GUEST_TX);
}

static void requests_that_contradict_the_frame(void **state)
{
    static const struct {
        struct hg_net_hdr hdr;
        size_t len;
    } bad[] = {
        /* DPDK's CVE-2024-11614: checksum beyond the frame, at its last byte, wrapping 16 bits. */
        {{.flags = CSUM, .csum_start = 34, .csum_offset = 65535}, 100},
        {{.flags = CSUM, .csum_start = 65535, .csum_offset = 16}, 100},
        {{.flags = CSUM, .csum_start = 65535, .csum_offset = 65535}, 100},
        {{.flags = CSUM, .csum_start = 34, .csum_offset = 65}, 100},
        /* Inside the headers that a decision was taken on. */
        {{.flags = CSUM, .csum_start = 0, .csum_offset = 0}, 100},
        {{.flags = CSUM, .csum_start = 14, .csum_offset = 10}, 100},
        {{.flags = CSUM, .csum_start = 34, .csum_offset = 0}, 100},
        /* No size, no checksum, the other IP version, an unknown kind, no payload. */
        {{.flags = CSUM, .gso_type = TCP4, .csum_start = 34, .csum_offset = 16}, 1000},
        {{.gso_type = TCP4, .gso_size = 500, .csum_start = 34, .csum_offset = 16}, 1000},
        {{.flags = CSUM, .gso_type = TCP6, .gso_size = 500, .csum_start = 34, .csum_offset = 16},
         1000},
        {{.flags = CSUM, .gso_type = 0x7f, .gso_size = 500, .csum_start = 34, .csum_offset = 16},
         1000},
        {{.flags = CSUM, .gso_type = HG_NET_HDR_GSO_UDP, .gso_size = 500}, 1000},
        {{.flags = CSUM, .gso_type = TCP4, .gso_size = 500, .csum_start = 34, .csum_offset = 16},
         HEADERS},
        {{.gso_type = ECN}, 1000},
        /* Segments of a byte. */
        {{.flags = CSUM, .gso_type = TCP4, .gso_size = 1, .csum_start = 34, .csum_offset = 16},
         1000},
    };

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(bad); i++) {
        uint64_t before = stage_drops(&attacker_queue()->stats, HG_DROP_BAD_OFFLOAD);

        peer_post(&stage.rig[VICTIM].peer, GUEST_RX, 4);
        send_tcp(bad[i].hdr, bad[i].len);
        if (bad[i].hdr.gso_type == ECN) /* asks for nothing */
            continue;
        if (stage_drops(&attacker_queue()->stats, HG_DROP_BAD_OFFLOAD) != before + 1)
            fail_msg("request %u was not refused", i);
        assert_int_equal(peer_used_idx(&stage.rig[VICTIM].peer, GUEST_RX),
                         i > 13 ? 1 : 0); /* of the one that asks for nothing */
    }
    stage_recover(&stage);
}

/* Linux's CVE-2024-43817: what hdr_len says is not passed on, but what was parsed. */
static void header_lengths(void **state)
{
    const uint16_t lies[] = {0, 1, 13, 65535};
    const struct hg_net_hdr *hdr = NULL;
    size_t len;

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(lies); i++) {
        peer_post(&stage.rig[VICTIM].peer, GUEST_RX, 1);
        send_tcp((struct hg_net_hdr){.flags = CSUM,
                                     .gso_type = TCP4,
                                     .gso_size = 500,
                                     .csum_start = 34,
                                     .csum_offset = 16,
                                     .hdr_len = lies[i]},
                 1000);
        const uint8_t *got = peer_receive(&stage.rig[VICTIM].peer, GUEST_RX, &len);

        assert_non_null(got);
        hdr = (const struct hg_net_hdr *)(const void *)(got - sizeof(*hdr));
        assert_int_equal(hdr->hdr_len, HEADERS);
        assert_int_equal(hdr->gso_type, TCP4);
        assert_int_equal(len, 1000);
    }
    stage_recover(&stage);
}

/* A frame for one segment, in more pieces than a segment may have slices, for a receiver that takes
 * none: `desc_n` descriptors, the first of 700 bytes, the others as given. */
static void send_in_pieces(unsigned desc_n, uint64_t first, struct hg_desc others)
{
    for (unsigned i = 0; i < desc_n; i++) {
        struct hg_desc desc = i == 0 ? (struct hg_desc){.addr = first, .len = 700} : others;

        desc.flags = i + 1 < desc_n ? HG_DESC_F_NEXT : 0;
        desc.next = (uint16_t)(i + 1);
        peer_write_desc(attacker(), GUEST_TX, (uint16_t)i, desc);
    }
    peer_post(&stage.rig[VICTIM].peer, GUEST_RX, 4);
    peer_push_avail(attacker(), GUEST_TX, 0);
    peer_kick(attacker(), GUEST_TX);
}

static const struct hg_net_hdr one_segment = {
    .flags = CSUM, .gso_type = TCP4, .gso_size = 4000, .csum_start = 34, .csum_offset = 16};

static void segments_of_countless_pieces(void **state)
{
    const struct hg_desc byte = {.addr = BUFFER, .len = 1};
    size_t len;

    (void)state;
    stage_bring_up(&stage, ATTACKER, 2048, RIG_FEATURES);
    stage_bring_up(&stage, VICTIM, PEER_RING_SIZE, BARE);
    write_tcp(one_segment, 700);
    send_in_pieces(1024, BUFFER, byte);
    stage_until_taken(&stage, ATTACKER, GUEST_TX);
    assert_non_null(peer_receive(&stage.rig[VICTIM].peer, GUEST_RX, &len));
    assert_int_equal(len, 700 - 12 + 1023);
    stage_recover(&stage);

    stage_bring_up(&stage, ATTACKER, 2048, RIG_FEATURES);
    stage_bring_up(&stage, VICTIM, PEER_RING_SIZE, BARE);
    write_tcp(one_segment, 700);
    send_in_pieces(1500, BUFFER, byte);
    stage_until_broken(&stage, GUEST_TX, HG_VRING_CHAIN_LONG);
    stage_recover(&stage);
}

/* As many pieces with fewer descriptors: each buffer lies in two regions, which are neighbours for
 * the guest and not for us. */
static void segments_of_countless_halves(void **state)
{
    uint64_t before = stage_drops(&attacker_queue()->stats, HG_DROP_BAD_DESCRIPTOR);
    struct hg_vhost_mem_table table = {
        .n = 2,
        .region = {{0, PEER_HALF_BYTES, PEER_USER, 0},
                   {PEER_HALF_BYTES, PEER_HALF_BYTES, PEER_USER + PEER_HALF_BYTES,
                    PEER_HALF_BYTES}},
    };
    int fds[] = {attacker()->mem_fd, attacker()->mem_fd};

    (void)state;
    stage_bring_up(&stage, ATTACKER, 1024, RIG_FEATURES);
    stage_bring_up(&stage, VICTIM, PEER_RING_SIZE, BARE);
    assert_true(peer_send(attacker(), HG_VHOST_SET_MEM_TABLE, 0, &table, 72, fds, 2));
    rig_pump(&stage.rig[ATTACKER]);
    write_tcp(one_segment, 700);
    send_in_pieces(1020, PEER_HALF_BYTES + (BUFFER - PEER_HIGH),
                   (struct hg_desc){.addr = PEER_HALF_BYTES - 1, .len = 2});
    stage_until_dropped(&stage, &attacker_queue()->stats, HG_DROP_BAD_DESCRIPTOR, before);
    stage_recover(&stage);
}

/* As many segments as can be asked for, for a receiver that takes none. */
static void segments_without_end(void **state)
{
    uint64_t worst_ns = stage.flow_worst_ns;
    struct hg_net_hdr hdr = {
        .flags = CSUM, .gso_type = TCP4, .gso_size = 8, .csum_start = 34, .csum_offset = 16};

    (void)state;
    stage_bring_up(&stage, VICTIM, PEER_RING_SIZE, BARE);
    write_tcp(hdr, 65000);
    for (unsigned round = 0; round < 4; round++) {
        peer_post(&stage.rig[VICTIM].peer, GUEST_RX, 64);
        for (uint16_t i = 0; i < 60; i++) {
            peer_write_desc(attacker(), GUEST_TX, i, (struct hg_desc){BUFFER, 65012, 0, 0});
            peer_push_avail(attacker(), GUEST_TX, i);
        }
        stage_until_taken(&stage, ATTACKER, GUEST_TX);
    }
    assert_true(stage.flow_worst_ns < worst_ns + UINT64_C(1000000000));
    stage_recover(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_contradict_the_frame),
        cmocka_unit_test(header_lengths),
        cmocka_unit_test(segments_of_countless_pieces),
        cmocka_unit_test(segments_of_countless_halves),
        cmocka_unit_test(segments_without_end),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
