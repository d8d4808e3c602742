#include "flow/parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../frame.h"
#include "random.h"
#include "wire/arp.h"

static struct frame frame;
static struct hg_pkt pkt;
static struct hg_seg segs[HG_BURST_SEGS];

/* Parses twice, with different bytes behind the head, and wants the same: what is not in the head
 * has no influence. */
static void parse_head(unsigned head_len)
{
    static struct hg_pkt other;

    frame_scatter(&frame, &pkt, segs, head_len, 1000, NULL);
    other = pkt;
    memset(pkt.head + pkt.head_len, 0x00, HG_HEAD_BYTES - pkt.head_len);
    memset(other.head + other.head_len, 0xff, HG_HEAD_BYTES - other.head_len);
    pkt.parsed = 0xffff; /* as a slot used before */
    pkt.l4_offset = pkt.payload_offset = pkt.ip_proto = 99;
    pkt.vlan_tci = 99;
    hg_parse(&pkt);
    hg_parse(&other);
    assert_memory_equal(&pkt, &other, offsetof(struct hg_pkt, head));
}

static void parse_whole(void)
{
    parse_head(HG_HEAD_BYTES);
}

static void a_runt_has_no_layers(void **state)
{
    (void)state;
    frame_begin(&frame);
    for (unsigned n = 0; n < HG_ETH_BYTES; n++) {
        parse_head(n);
        assert_int_equal(pkt.parsed, 0);
        assert_int_equal(pkt.ether_type, 0);
        assert_int_equal(pkt.l3_offset, 0);
        assert_int_equal(pkt.l4_offset, 0);
        assert_int_equal(pkt.vlan_tci, 0);
    }
}

static void an_unknown_type_has_an_ethernet_header(void **state)
{
    (void)state;
    frame_begin(&frame);
    hg_store_be16(frame.bytes + HG_ETH_TYPE, 0x88cc);
    parse_whole();
    assert_int_equal(pkt.parsed, 0);
    assert_int_equal(pkt.ether_type, 0x88cc);
    assert_int_equal(pkt.l3_offset, HG_ETH_BYTES);
    assert_int_not_equal(pkt.flow_hash, 0);
}

static void arp_needs_all_its_bytes_and_ethernet(void **state)
{
    uint8_t *p;

    (void)state;
    frame_begin(&frame);
    hg_store_be16(frame.bytes + HG_ETH_TYPE, HG_ETHERTYPE_ARP);
    p = frame_append(&frame, HG_ARP_BYTES);
    hg_store_be32(p + HG_ARP_HARDWARE, 0x00010800);
    hg_store_be32(p + HG_ARP_HARDWARE_LEN, 0x06040001);
    for (unsigned n = HG_ETH_BYTES; n <= frame.len; n++) {
        parse_head(n);
        assert_int_equal(pkt.parsed, n == frame.len ? HG_PARSED_ARP : 0);
    }
    p[HG_ARP_HARDWARE_LEN] = 8;
    parse_whole();
    assert_int_equal(pkt.parsed, 0);
    assert_int_equal(pkt.ether_type, HG_ETHERTYPE_ARP);
}

/* One way to stack headers. */
struct stack {
    unsigned tags_n;
    bool ip6;
    unsigned ip4_options;
    unsigned extensions_n;
    uint8_t proto;
    unsigned tcp_options;
};

static const uint8_t extensions[] = {HG_IP_PROTO_HOP_BY_HOP, HG_IP_PROTO_DESTINATION,
                                     HG_IP_PROTO_ROUTING, HG_IP_PROTO_AH};

static void build(const struct stack *s)
{
    frame_begin(&frame);
    if (s->tags_n == 2)
        frame_vlan(&frame, HG_ETHERTYPE_STAG, 0x2fff);
    if (s->tags_n != 0)
        frame_vlan(&frame, HG_ETHERTYPE_CTAG, 0x6064);
    if (s->ip6) {
        frame_ip6(&frame);
        for (unsigned i = 0; i < s->extensions_n; i++)
            frame_extension(&frame, extensions[i % 4], i % 4 == 3 ? 12 : 8 + 8 * (i & 1));
    } else {
        frame_ip4(&frame, s->ip4_options, HG_IP4_DF);
    }
    if (s->proto == HG_IP_PROTO_TCP)
        frame_tcp(&frame, s->tcp_options, HG_TCP_ACKED);
    else if (s->proto == HG_IP_PROTO_UDP)
        frame_udp(&frame);
    else
        frame_transport(&frame, s->proto, HG_ICMP_BYTES);
    frame_payload(&frame, 30);
    frame_end(&frame);
}

static unsigned transport_bit(uint8_t proto)
{
    switch (proto) {
    case HG_IP_PROTO_TCP:
        return HG_PARSED_TCP;
    case HG_IP_PROTO_UDP:
        return HG_PARSED_UDP;
    case HG_IP_PROTO_ICMP:
    case HG_IP_PROTO_ICMP6:
        return HG_PARSED_ICMP;
    default:
        return 0;
    }
}

/* A layer's bit is set exactly when its last byte is in the head. */
static void check_cut(const struct stack *s, unsigned head_len)
{
    unsigned l3_bytes = s->ip6 ? HG_IP6_BYTES : HG_IP4_BYTES + s->ip4_options;
    unsigned want = 0;
    bool transport;

    if (s->tags_n != 0 && head_len >= HG_ETH_BYTES + HG_VLAN_BYTES)
        want |= HG_PARSED_VLAN;
    if (head_len >= frame.l3 + l3_bytes)
        want |= s->ip6 ? HG_PARSED_IP6 : HG_PARSED_IP4;
    transport = head_len >= frame.payload && transport_bit(s->proto) != 0;
    if (transport)
        want |= transport_bit(s->proto);

    parse_head(head_len);
    assert_int_equal(pkt.parsed, want);
    assert_int_equal(pkt.l4_offset, transport ? frame.l4 : 0);
    assert_int_equal(pkt.payload_offset, transport ? frame.payload : 0);
    if (want & HG_PARSED_VLAN)
        assert_int_equal(pkt.vlan_tci, s->tags_n == 2 ? 0x2fff : 0x6064);
    if (want & (HG_PARSED_IP4 | HG_PARSED_IP6)) {
        assert_int_equal(pkt.l3_offset, frame.l3);
        assert_int_equal(pkt.ether_type, s->ip6 ? HG_ETHERTYPE_IP6 : HG_ETHERTYPE_IP4);
    }
    if (transport)
        assert_int_equal(pkt.ip_proto, s->proto);
}

static void every_stack_is_parsed_as_far_as_the_head_goes(void **state)
{
    static const uint8_t protos[] = {HG_IP_PROTO_TCP, HG_IP_PROTO_UDP, HG_IP_PROTO_ICMP,
                                     HG_IP_PROTO_SCTP};

    (void)state;
    for (unsigned i = 0; i < 3 * 2 * 3 * 4 * 3; i++) {
        struct stack s = {
            .tags_n = i % 3,
            .ip6 = i / 3 % 2,
            .ip4_options = i / 6 % 3 * 20,
            .extensions_n = i / 6 % 3 * 2,
            .proto = protos[i / 18 % 4],
            .tcp_options = i / 72 * 20,
        };

        if (s.ip6 && s.proto == HG_IP_PROTO_ICMP)
            s.proto = HG_IP_PROTO_ICMP6;
        build(&s);
        for (unsigned n = HG_ETH_BYTES; n <= hg_min_u32(frame.len, HG_HEAD_BYTES); n++)
            check_cut(&s, n);
    }
}

static void the_other_version_s_icmp_is_unknown(void **state)
{
    struct stack s = {.ip6 = true, .proto = HG_IP_PROTO_ICMP};

    (void)state;
    build(&s);
    parse_whole();
    assert_int_equal(pkt.parsed, HG_PARSED_IP6);
    s = (struct stack){.proto = HG_IP_PROTO_ICMP6};
    build(&s);
    parse_whole();
    assert_int_equal(pkt.parsed, HG_PARSED_IP4);
}

static void a_third_tag_ends_the_parse(void **state)
{
    (void)state;
    frame_begin(&frame);
    frame_vlan(&frame, HG_ETHERTYPE_STAG, 1);
    frame_vlan(&frame, HG_ETHERTYPE_CTAG, 2);
    frame_vlan(&frame, HG_ETHERTYPE_CTAG, 3);
    frame_ip4(&frame, 0, 0);
    frame_udp(&frame);
    frame_end(&frame);
    parse_whole();
    assert_int_equal(pkt.parsed, HG_PARSED_VLAN);
    assert_int_equal(pkt.vlan_tci, 1);
    assert_int_equal(pkt.ether_type, HG_ETHERTYPE_CTAG);
}

static void malformed_network_headers_are_not_set(void **state)
{
    struct stack s = {.proto = HG_IP_PROTO_UDP};

    (void)state;
    for (unsigned first = 0; first < 256; first++) {
        unsigned bytes = (first & 15) * 4;

        build(&s);
        frame.bytes[frame.l3] = (uint8_t)first;
        parse_whole();
        assert_int_equal((pkt.parsed & HG_PARSED_IP4) != 0,
                         first >> 4 == 4 && bytes >= 20 && frame.l3 + bytes <= frame.len);
        assert_false(pkt.parsed & HG_PARSED_IP6);
        if (!(pkt.parsed & HG_PARSED_IP4))
            assert_int_equal(pkt.l4_offset, 0);
    }
    s.ip6 = true;
    build(&s);
    frame.bytes[frame.l3] = 0x40;
    parse_whole();
    assert_int_equal(pkt.parsed, 0);
}

static void a_malformed_tcp_header_is_not_set_but_its_ports_count(void **state)
{
    struct stack s = {.proto = HG_IP_PROTO_TCP};
    uint32_t hash;

    (void)state;
    build(&s);
    parse_whole();
    hash = pkt.flow_hash;
    for (unsigned offset = 0; offset < 16; offset++) {
        frame.bytes[frame.l4 + HG_TCP_DATA_OFFSET] = (uint8_t)(offset << 4);
        parse_whole();
        assert_int_equal((pkt.parsed & HG_PARSED_TCP) != 0,
                         offset >= 5 && frame.l4 + offset * 4 <= frame.len);
        assert_int_equal(pkt.flow_hash, hash);
        assert_int_equal(pkt.ip_proto, HG_IP_PROTO_TCP);
    }
}

static void fragments_of_ip4_hash_on_addresses_alone(void **state)
{
    uint32_t first;

    (void)state;
    frame_begin(&frame);
    frame_ip4(&frame, 0, HG_IP4_MF);
    frame_udp(&frame);
    frame_payload(&frame, 64);
    frame_end(&frame);
    parse_whole();
    assert_int_equal(pkt.parsed, HG_PARSED_IP4 | HG_PARSED_UDP | HG_PARSED_FIRST_FRAGMENT);
    assert_int_equal(pkt.l4_offset, frame.l4);
    first = pkt.flow_hash;

    for (unsigned more = 0; more < 2; more++) {
        hg_store_be16(frame.bytes + frame.l3 + HG_IP4_FRAGMENT,
                      (uint16_t)(9 | (more ? HG_IP4_MF : 0)));
        frame.bytes[frame.l4] ^= 0x55; /* payload where the ports were */
        parse_whole();
        assert_int_equal(pkt.parsed, HG_PARSED_IP4 | HG_PARSED_FRAGMENT);
        assert_int_equal(pkt.l4_offset, 0);
        assert_int_equal(pkt.payload_offset, 0);
        assert_int_equal(pkt.ip_proto, HG_IP_PROTO_UDP);
        assert_int_equal(pkt.flow_hash, first);
    }
}

static void fragments_of_ip6_hash_on_addresses_alone(void **state)
{
    uint8_t *p;
    uint32_t first;
    uint32_t whole;

    (void)state;
    frame_begin(&frame);
    frame_ip6(&frame);
    p = frame_extension(&frame, HG_IP_PROTO_FRAGMENT, HG_IP6_FRAGMENT_BYTES);
    frame_udp(&frame);
    frame_payload(&frame, 64);
    frame_end(&frame);
    parse_whole(); /* a datagram in one fragment is whole */
    assert_int_equal(pkt.parsed, HG_PARSED_IP6 | HG_PARSED_UDP);
    whole = pkt.flow_hash;

    hg_store_be16(p + HG_IP6_FRAGMENT_OFFSET, HG_IP6_FRAGMENT_MORE);
    parse_whole();
    assert_int_equal(pkt.parsed, HG_PARSED_IP6 | HG_PARSED_UDP | HG_PARSED_FIRST_FRAGMENT);
    first = pkt.flow_hash;
    assert_int_not_equal(first, whole);

    hg_store_be16(p + HG_IP6_FRAGMENT_OFFSET, 72);
    frame.bytes[frame.l4] ^= 0x55;
    parse_whole();
    assert_int_equal(pkt.parsed, HG_PARSED_IP6 | HG_PARSED_FRAGMENT);
    assert_int_equal(pkt.l4_offset, 0);
    assert_int_equal(pkt.flow_hash, first);

    /* What a later fragment says that it carries is not even an extension header any more. */
    p[HG_IP6_EXT_NEXT] = HG_IP_PROTO_DESTINATION;
    parse_whole();
    assert_int_equal(pkt.parsed, HG_PARSED_IP6 | HG_PARSED_FRAGMENT);
    assert_int_equal(pkt.flow_hash, first);
}

static void too_many_extensions_end_the_parse(void **state)
{
    (void)state;
    for (unsigned n = 0; n <= HG_IP6_EXTENSIONS_MAX + 2; n++) {
        frame_begin(&frame);
        frame_ip6(&frame);
        for (unsigned i = 0; i < n; i++)
            frame_extension(&frame, HG_IP_PROTO_DESTINATION, 8);
        frame_udp(&frame);
        frame_end(&frame);
        parse_whole();
        assert_int_equal((pkt.parsed & HG_PARSED_UDP) != 0, n <= HG_IP6_EXTENSIONS_MAX);
        assert_true(pkt.parsed & HG_PARSED_IP6);
    }
}

static uint32_t hash_of(void)
{
    parse_whole();
    return pkt.flow_hash;
}

/* Flips every bit of a range and counts how often the hash stays. */
static unsigned insensitive_bits(unsigned from, unsigned bytes)
{
    uint32_t hash = hash_of();
    unsigned same_n = 0;

    for (unsigned bit = 0; bit < bytes * 8; bit++) {
        uint8_t *p = &frame.bytes[from + bit / 8];

        *p ^= (uint8_t)(1u << bit % 8);
        same_n += hash_of() == hash;
        *p ^= (uint8_t)(1u << bit % 8);
    }
    return same_n;
}

static void the_hash_depends_on_the_flow_and_nothing_else(void **state)
{
    struct stack s = {.proto = HG_IP_PROTO_TCP, .tags_n = 1};

    (void)state;
    build(&s);
    assert_int_equal(insensitive_bits(frame.l3 + HG_IP4_SRC, 8), 0);
    assert_int_equal(insensitive_bits(frame.l4, 4), 0);
    assert_int_equal(insensitive_bits(0, 12), 12 * 8);                       /* MACs */
    assert_int_equal(insensitive_bits(14, 2), 2 * 8);                        /* tag */
    assert_int_equal(insensitive_bits(frame.l3 + 1, 5), 5 * 8);              /* TOS, len, id */
    assert_int_equal(insensitive_bits(frame.l3 + HG_IP4_TTL, 1), 8);         /* TTL */
    assert_int_equal(insensitive_bits(frame.l4 + HG_TCP_SEQ, 8), 64);        /* seq, ack */
    assert_int_equal(insensitive_bits(frame.l4 + HG_TCP_FLAGS, 27), 27 * 8); /* rest, payload */

    s.ip6 = true;
    build(&s);
    assert_int_equal(insensitive_bits(frame.l3 + HG_IP6_SRC, 32), 0);
    assert_int_equal(insensitive_bits(frame.l4, 4), 0);
    assert_int_equal(insensitive_bits(frame.l3 + 1, 5), 5 * 8); /* flow label, length */
}

static void the_hash_spreads_neighbours_evenly(void **state)
{
    enum { FLOWS_N = 1 << 14, QUEUES_N = 16 };
    unsigned in_queue[2][QUEUES_N] = {{0}};
    struct stack s = {.proto = HG_IP_PROTO_UDP};

    (void)state;
    for (unsigned i = 0; i < FLOWS_N; i++) {
        build(&s);
        hg_store_be32(frame.bytes + frame.l3 + HG_IP4_DST, 0x0a000000 + i);
        in_queue[0][(uint64_t)hash_of() * QUEUES_N >> 32]++;
        build(&s);
        hg_store_be16(frame.bytes + frame.l4 + HG_UDP_SRC_PORT, (uint16_t)i);
        in_queue[1][(uint64_t)hash_of() * QUEUES_N >> 32]++;
    }
    for (unsigned q = 0; q < 2 * QUEUES_N; q++)
        assert_in_range(in_queue[q / QUEUES_N][q % QUEUES_N], FLOWS_N / QUEUES_N * 3 / 4,
                        FLOWS_N / QUEUES_N * 5 / 4);
}

static void random_heads_keep_the_invariants(void **state)
{
    uint64_t random = 11;

    (void)state;
    for (unsigned round = 0; round < 200000; round++) {
        struct stack s = {
            .tags_n = random_u32(&random) % 3,
            .ip6 = random_u32(&random) % 2,
            .extensions_n = random_u32(&random) % 4,
            .proto = random_u32(&random) % 2 ? HG_IP_PROTO_TCP : HG_IP_PROTO_UDP,
        };

        build(&s);
        for (unsigned i = random_u32(&random) % 6; i > 0; i--)
            frame.bytes[random_u32(&random) % frame.len] = (uint8_t)random_u32(&random);
        parse_head(random_u32(&random) % (HG_HEAD_BYTES + 1));
        assert_true(pkt.l4_offset <= pkt.payload_offset);
        assert_true(pkt.payload_offset <= pkt.head_len);
        assert_true(pkt.l3_offset <= pkt.head_len);
        if (pkt.parsed & (HG_PARSED_TCP | HG_PARSED_UDP | HG_PARSED_ICMP)) {
            assert_true(pkt.parsed & (HG_PARSED_IP4 | HG_PARSED_IP6));
            assert_false(pkt.parsed & HG_PARSED_FRAGMENT);
            assert_true(pkt.l4_offset >= pkt.l3_offset + HG_IP4_BYTES);
        } else {
            assert_int_equal(pkt.l4_offset, 0);
        }
    }
}

static void a_burst_is_its_packets(void **state)
{
    static struct hg_burst burst;
    struct stack s = {.proto = HG_IP_PROTO_UDP};

    (void)state;
    burst.n = 3;
    for (unsigned i = 0; i < 4; i++) {
        s.tags_n = i % 3;
        build(&s);
        frame_scatter(&frame, &burst.pkt[i], segs, HG_HEAD_BYTES, 1000, NULL);
    }
    hg_parse_burst(&burst);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(burst.pkt[i].l3_offset, HG_ETH_BYTES + i * HG_VLAN_BYTES);
    assert_int_equal(burst.pkt[3].parsed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_runt_has_no_layers),
        cmocka_unit_test(an_unknown_type_has_an_ethernet_header),
        cmocka_unit_test(arp_needs_all_its_bytes_and_ethernet),
        cmocka_unit_test(every_stack_is_parsed_as_far_as_the_head_goes),
        cmocka_unit_test(the_other_version_s_icmp_is_unknown),
        cmocka_unit_test(a_third_tag_ends_the_parse),
        cmocka_unit_test(malformed_network_headers_are_not_set),
        cmocka_unit_test(a_malformed_tcp_header_is_not_set_but_its_ports_count),
        cmocka_unit_test(fragments_of_ip4_hash_on_addresses_alone),
        cmocka_unit_test(fragments_of_ip6_hash_on_addresses_alone),
        cmocka_unit_test(too_many_extensions_end_the_parse),
        cmocka_unit_test(the_hash_depends_on_the_flow_and_nothing_else),
        cmocka_unit_test(the_hash_spreads_neighbours_evenly),
        cmocka_unit_test(random_heads_keep_the_invariants),
        cmocka_unit_test(a_burst_is_its_packets),
    };

    return cmocka_run_group_tests_name("flow/parse", tests, NULL, NULL);
}
