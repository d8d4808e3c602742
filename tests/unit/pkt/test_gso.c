#include "pkt/gso.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../frame.h"
#include "flow/offload.h"
#include "flow/parse.h"
#include "random.h"

static struct frame frame;
static struct hg_pkt pkt;
static struct hg_seg segs[HG_BURST_SEGS];
static struct hg_seg slices[HG_GSO_SLICES_MAX];
static uint8_t out[HG_FRAME_BYTES_MAX];
static uint64_t dice = 21;

/* How a frame to be cut looks. */
struct shape {
    unsigned tags_n;
    bool ip6;
    bool extension;
    unsigned ip4_options;
    unsigned tcp_options;
    uint8_t flags;
    unsigned payload_bytes;
    unsigned gso_size;
    unsigned head_len;
    unsigned seg_bytes;
};

static void receive(const struct shape *s)
{
    frame_begin(&frame);
    for (unsigned i = 0; i < s->tags_n; i++)
        frame_vlan(&frame, i == 0 && s->tags_n == 2 ? HG_ETHERTYPE_STAG : HG_ETHERTYPE_CTAG, 7);
    if (s->ip6) {
        frame_ip6(&frame);
        if (s->extension)
            frame_extension(&frame, HG_IP_PROTO_DESTINATION, 16);
    } else {
        frame_ip4(&frame, s->ip4_options, HG_IP4_DF);
    }
    frame_tcp(&frame, s->tcp_options, s->flags);
    frame_payload(&frame, s->payload_bytes);
    frame_end(&frame);
    frame_scatter(&frame, &pkt, segs, s->head_len, s->seg_bytes, &dice);
    hg_parse(&pkt);
    pkt.ol = (struct hg_offload){
        .flags = HG_OL_NEEDS_CSUM,
        .gso = s->ip6 ? HG_GSO_TCP6 : HG_GSO_TCP4,
        .gso_size = (uint16_t)s->gso_size,
        .csum_start = (uint16_t)frame.l4,
        .csum_offset = HG_TCP_CSUM,
    };
    assert_true(hg_offload_valid(&pkt));
}

static void check_ip(const uint8_t *seg, unsigned len, unsigned index)
{
    const uint8_t *ip = seg + frame.l3;
    const uint8_t *original = frame.bytes + frame.l3;

    if (hg_ip4_version(ip) == 4) {
        assert_int_equal(hg_load_be16(ip + HG_IP4_TOTAL_LEN), len - frame.l3);
        assert_int_equal(hg_load_be16(ip + HG_IP4_ID),
                         (uint16_t)(hg_load_be16(original + HG_IP4_ID) + index));
        assert_int_equal(frame_reference_sum(0, ip, hg_ip4_header_bytes(ip)), 0xffff);
        assert_memory_equal(ip + HG_IP4_FRAGMENT, original + HG_IP4_FRAGMENT, 4);
        assert_memory_equal(ip + HG_IP4_SRC, original + HG_IP4_SRC, hg_ip4_header_bytes(ip) - 12);
    } else {
        assert_int_equal(hg_load_be16(ip + HG_IP6_PAYLOAD_LEN), len - frame.l3 - HG_IP6_BYTES);
        assert_memory_equal(ip, original, HG_IP6_PAYLOAD_LEN);
        assert_memory_equal(ip + HG_IP6_NEXT, original + HG_IP6_NEXT, frame.l4 - frame.l3 - 6);
    }
}

static void check_tcp(const uint8_t *seg, unsigned sent, bool first, bool last)
{
    const uint8_t *tcp = seg + frame.l4;
    const uint8_t *original = frame.bytes + frame.l4;
    uint8_t flags = original[HG_TCP_FLAGS];

    if (!first)
        flags &= (uint8_t)~HG_TCP_CWR;
    if (!last)
        flags &= (uint8_t) ~(HG_TCP_FIN | HG_TCP_PSH);
    assert_int_equal(tcp[HG_TCP_FLAGS], flags);
    assert_int_equal(hg_load_be32(tcp + HG_TCP_SEQ), hg_load_be32(original + HG_TCP_SEQ) + sent);
    assert_memory_equal(tcp, original, HG_TCP_SEQ);
    assert_memory_equal(tcp + HG_TCP_ACK, original + HG_TCP_ACK, 5);
    assert_memory_equal(tcp + HG_TCP_URGENT, original + HG_TCP_URGENT,
                        frame.payload - frame.l4 - 18);
}

/* The TCP checksum left to the receiver is the pseudo-header's sum; completed, everything sums
 * up. */
static void check_checksum(struct hg_pkt *slot)
{
    uint16_t field = hg_load_be16(slot->head + frame.l4 + HG_TCP_CSUM);
    uint16_t pseudo =
        frame_pseudo_sum(slot->head + frame.l3, HG_IP_PROTO_TCP, slot->len - frame.l4);

    assert_int_equal(field % 0xffff, pseudo % 0xffff);
    assert_int_equal(slot->ol.flags, HG_OL_NEEDS_CSUM);
    assert_int_equal(slot->ol.gso, HG_GSO_NONE);
    assert_true(hg_offload_valid(slot));
    assert_true(hg_csum_finish(slot));
    assert_int_equal(slot->ol.flags, 0);
    assert_int_equal(frame_gather(slot, out), slot->len);
    assert_int_equal(frame_reference_sum(pseudo, out + frame.l4, slot->len - frame.l4), 0xffff);
}

/* Cuts the packet and checks that the segments are the stream, byte by byte. */
static void check_cut(const struct shape *s)
{
    struct hg_pkt before = pkt;
    struct hg_gso_iter gso;
    unsigned segments_n = (s->payload_bytes + s->gso_size - 1) / s->gso_size;
    unsigned sent = 0;

    assert_true(hg_gso_begin(&gso, &pkt));
    assert_int_equal(hg_gso_left(&gso), segments_n);
    for (unsigned i = 0; i < segments_n; i++) {
        struct hg_pkt slot;
        unsigned payload_bytes = hg_min_u32(s->gso_size, s->payload_bytes - sent);

        memset(&slot, 0xee, sizeof(slot));
        assert_true(hg_gso_next(&gso, &slot, slices, HG_GSO_SLICES_MAX));
        assert_int_equal(slot.len, frame.payload + payload_bytes);
        assert_int_equal(slot.head_len, frame.payload);
        assert_int_equal(slot.flow_hash, pkt.flow_hash);
        assert_int_equal(slot.port, pkt.port);
        check_checksum(&slot);
        check_ip(out, slot.len, i);
        check_tcp(out, sent, i == 0, i == segments_n - 1);
        assert_memory_equal(out, frame.bytes, frame.l3);
        assert_memory_equal(out + frame.payload, frame.bytes + frame.payload + sent, payload_bytes);
        sent += payload_bytes;
    }
    assert_int_equal(hg_gso_left(&gso), 0);
    assert_int_equal(sent, s->payload_bytes);
    assert_memory_equal(&pkt, &before, sizeof(pkt));
}

static void cuts_a_full_tso_frame(void **state)
{
    struct shape s = {
        .flags = HG_TCP_ACKED | HG_TCP_PSH,
        .tcp_options = 12,
        .payload_bytes = 65535 - 20 - 32,
        .gso_size = 1448,
        .head_len = HG_HEAD_BYTES,
        .seg_bytes = 4096,
    };

    (void)state;
    receive(&s);
    check_cut(&s);
    s.ip6 = true;
    s.tags_n = 2;
    s.extension = true;
    receive(&s);
    check_cut(&s);
}

static void every_flag_combination_ends_where_it_belongs(void **state)
{
    (void)state;
    for (unsigned flags = 0; flags < 256; flags++) {
        struct shape s = {
            .flags = (uint8_t)flags,
            .ip6 = flags & 1,
            .payload_bytes = 300,
            .gso_size = 100,
            .head_len = HG_HEAD_BYTES,
            .seg_bytes = 50,
        };

        receive(&s);
        check_cut(&s);
    }
}

static void a_frame_of_one_segment_keeps_all_flags(void **state)
{
    struct shape s = {
        .flags = HG_TCP_ACKED | HG_TCP_PSH | HG_TCP_FIN | HG_TCP_CWR,
        .payload_bytes = 100,
        .gso_size = 100,
        .head_len = HG_HEAD_BYTES,
        .seg_bytes = 50,
    };

    (void)state;
    receive(&s);
    check_cut(&s);
    s.gso_size = 65535;
    receive(&s);
    check_cut(&s);
}

static void random_shapes_are_reassembled(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3000; round++) {
        struct shape s = {
            .tags_n = random_u32(&dice) % 3,
            .ip6 = random_u32(&dice) % 2,
            .extension = random_u32(&dice) % 2,
            .ip4_options = random_u32(&dice) % 11 * 4,
            .tcp_options = random_u32(&dice) % 11 * 4,
            .flags = (uint8_t)random_u32(&dice),
            .payload_bytes = 1 + random_u32(&dice) % (round % 10 == 0 ? 65000 : 3000),
            .gso_size = HG_GSO_SIZE_MIN + random_u32(&dice) % 3000,
            .seg_bytes = 90 + random_u32(&dice) % 4000,
        };

        s.payload_bytes = hg_min_u32(s.payload_bytes, 65535 - 60 - 60);
        s.head_len = HG_HEAD_BYTES;
        receive(&s);
        /* From a head that holds just the headers to the fullest one. */
        s.head_len = frame.payload + random_u32(&dice) % (HG_HEAD_BYTES - frame.payload + 1);
        receive(&s);
        check_cut(&s);
    }
}

static void one_byte_segments_need_the_most_slices(void **state)
{
    struct shape s = {
        .payload_bytes = 600,
        .gso_size = 600,
        .head_len = HG_HEAD_BYTES,
        .seg_bytes = 1,
    };
    struct hg_gso_iter gso;
    struct hg_pkt slot;
    const unsigned need_n = 600;

    (void)state;
    receive(&s);
    frame_scatter(&frame, &pkt, segs, frame.payload + 1, 1, NULL);
    hg_parse(&pkt);
    pkt.ol = (struct hg_offload){HG_OL_NEEDS_CSUM, HG_GSO_TCP4, 600, (uint16_t)frame.l4, 16};
    assert_true(hg_gso_begin(&gso, &pkt));
    for (unsigned n = 0; n < need_n; n++) {
        assert_false(hg_gso_next(&gso, &slot, slices, n));
        assert_int_equal(hg_gso_left(&gso), 1);
    }
    assert_true(hg_gso_next(&gso, &slot, slices, need_n));
    assert_int_equal(slot.seg_n, need_n);
    check_checksum(&slot);
    assert_memory_equal(out + frame.payload, frame.bytes + frame.payload, 600);
}

static void too_little_room_in_the_middle_loses_nothing(void **state)
{
    struct shape s = {
        .payload_bytes = 10000,
        .gso_size = 1000,
        .head_len = HG_HEAD_BYTES,
        .seg_bytes = 100,
    };
    struct hg_gso_iter gso;
    unsigned sent = 0;

    (void)state;
    receive(&s);
    assert_true(hg_gso_begin(&gso, &pkt));
    while (hg_gso_left(&gso) != 0) {
        struct hg_pkt slot;
        unsigned n = 0;

        while (!hg_gso_next(&gso, &slot, slices, n))
            n++;
        assert_int_equal(slot.seg_n, n); /* the first number that was enough */
        check_checksum(&slot);
        assert_memory_equal(out + frame.payload, frame.bytes + frame.payload + sent, 1000);
        sent += 1000;
    }
    assert_int_equal(sent, 10000);
}

static void what_cannot_be_cut_is_refused(void **state)
{
    struct shape s = {
        .payload_bytes = 1000, .gso_size = 100, .head_len = HG_HEAD_BYTES, .seg_bytes = 100};
    struct hg_gso_iter gso;
    struct hg_pkt good;

    (void)state;
    receive(&s);
    good = pkt;
    assert_true(hg_gso_begin(&gso, &pkt));
    pkt.ol.gso = HG_GSO_NONE;
    assert_false(hg_gso_begin(&gso, &pkt));
    pkt = good;
    pkt.ol.gso_size = 0;
    assert_false(hg_gso_begin(&gso, &pkt));
    pkt = good;
    pkt.parsed &= (uint16_t)~HG_PARSED_TCP;
    assert_false(hg_gso_begin(&gso, &pkt));
    pkt = good;
    pkt.parsed &= (uint16_t)~HG_PARSED_IP4;
    assert_false(hg_gso_begin(&gso, &pkt));
    pkt = good;
    pkt.len = pkt.payload_offset;
    assert_false(hg_gso_begin(&gso, &pkt));
}

static void receive_udp(unsigned payload_bytes, unsigned head_len, bool ip6)
{
    frame_begin(&frame);
    if (ip6)
        frame_ip6(&frame);
    else
        frame_ip4(&frame, 0, 0);
    frame_udp(&frame);
    frame_payload(&frame, payload_bytes);
    frame_end(&frame);
    frame_scatter(&frame, &pkt, segs, head_len, 33, &dice);
    hg_parse(&pkt);
    pkt.ol = (struct hg_offload){
        .flags = HG_OL_NEEDS_CSUM,
        .csum_start = (uint16_t)frame.l4,
        .csum_offset = HG_UDP_CSUM,
    };
}

static void finishes_a_udp_checksum_of_any_length(void **state)
{
    (void)state;
    for (unsigned n = 0; n <= 2000; n++) {
        uint16_t pseudo;

        receive_udp(n, random_u32(&dice) % 130 + 62, n & 1);
        pseudo = frame_pseudo_sum(pkt.head + frame.l3, HG_IP_PROTO_UDP, pkt.len - frame.l4);
        assert_true(hg_csum_finish(&pkt));
        assert_int_equal(pkt.ol.flags, 0);
        frame_gather(&pkt, out);
        assert_int_equal(frame_reference_sum(pseudo, out + frame.l4, pkt.len - frame.l4), 0xffff);
        memcpy(out + frame.l4 + HG_UDP_CSUM, frame.bytes + frame.l4 + HG_UDP_CSUM, 2);
        assert_memory_equal(out, frame.bytes, frame.len); /* nothing else has changed */
    }
}

static void a_checksum_of_zero_is_written_as_ones(void **state)
{
    uint16_t sum;

    (void)state;
    receive_udp(20, HG_HEAD_BYTES, false);
    /* Choose the last word so that the whole sums to 0xffff. */
    hg_store_be16(pkt.head + frame.len - 2, 0);
    sum = frame_reference_sum(0, pkt.head + frame.l4, frame.len - frame.l4);
    hg_store_be16(pkt.head + frame.len - 2, (uint16_t)(0xffff - sum));
    assert_true(hg_csum_finish(&pkt));
    assert_int_equal(hg_load_be16(pkt.head + frame.l4 + HG_UDP_CSUM), 0xffff);
}

static void finishes_an_inner_checksum_at_an_odd_place(void **state)
{
    (void)state;
    receive_udp(150, HG_HEAD_BYTES, false);
    pkt.ol.csum_start = (uint16_t)(frame.payload + 9);
    pkt.ol.csum_offset = 16;
    assert_true(hg_offload_valid(&pkt));
    assert_true(hg_csum_finish(&pkt));
    frame_gather(&pkt, out);
    assert_int_equal((uint16_t)~frame_reference_sum(0, frame.bytes + frame.payload + 9, 141),
                     hg_load_be16(out + frame.payload + 25));
}

static void refuses_a_field_behind_the_head(void **state)
{
    (void)state;
    receive_udp(1000, 100, false);
    for (unsigned start = frame.payload; start < frame.len; start++) {
        struct hg_pkt before;

        receive_udp(1000, 100, false);
        pkt.ol.csum_start = (uint16_t)start;
        before = pkt;
        if (start + HG_UDP_CSUM + 2 <= 100) {
            assert_true(hg_csum_finish(&pkt));
        } else {
            assert_false(hg_csum_finish(&pkt));
            assert_memory_equal(&pkt, &before, sizeof(pkt));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_a_full_tso_frame),
        cmocka_unit_test(every_flag_combination_ends_where_it_belongs),
        cmocka_unit_test(a_frame_of_one_segment_keeps_all_flags),
        cmocka_unit_test(random_shapes_are_reassembled),
        cmocka_unit_test(one_byte_segments_need_the_most_slices),
        cmocka_unit_test(too_little_room_in_the_middle_loses_nothing),
        cmocka_unit_test(what_cannot_be_cut_is_refused),
        cmocka_unit_test(finishes_a_udp_checksum_of_any_length),
        cmocka_unit_test(a_checksum_of_zero_is_written_as_ones),
        cmocka_unit_test(finishes_an_inner_checksum_at_an_odd_place),
        cmocka_unit_test(refuses_a_field_behind_the_head),
    };

    return cmocka_run_group_tests_name("pkt/gso", tests, NULL, NULL);
}
