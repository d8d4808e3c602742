#include "flow/offload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../frame.h"
#include "flow/parse.h"

static struct frame frame;
static struct hg_pkt pkt;
static struct hg_seg segs[HG_BURST_SEGS];

static void receive(void)
{
    frame_end(&frame);
    frame_scatter(&frame, &pkt, segs, HG_HEAD_BYTES, 1000, NULL);
    hg_parse(&pkt);
}

static void receive_tcp(bool ip6, unsigned payload_bytes)
{
    frame_begin(&frame);
    if (ip6)
        frame_ip6(&frame);
    else
        frame_ip4(&frame, 0, 0);
    frame_tcp(&frame, 12, HG_TCP_ACKED);
    frame_payload(&frame, payload_bytes);
    receive();
}

static void receive_udp(unsigned payload_bytes)
{
    frame_begin(&frame);
    frame_ip4(&frame, 0, 0);
    frame_udp(&frame);
    frame_payload(&frame, payload_bytes);
    receive();
}

static bool valid(struct hg_offload ol)
{
    pkt.ol = ol;
    return hg_offload_valid(&pkt);
}

static struct hg_offload csum_at(unsigned start, unsigned offset)
{
    return (struct hg_offload){
        .flags = HG_OL_NEEDS_CSUM,
        .csum_start = (uint16_t)start,
        .csum_offset = (uint16_t)offset,
    };
}

static struct hg_offload tso(unsigned gso, unsigned gso_size)
{
    struct hg_offload ol = csum_at(frame.l4, HG_TCP_CSUM);

    ol.gso = (uint8_t)gso;
    ol.gso_size = (uint16_t)gso_size;
    return ol;
}

static void asking_for_nothing_is_valid(void **state)
{
    (void)state;
    receive_udp(10);
    assert_true(valid((struct hg_offload){0}));
    assert_true(valid((struct hg_offload){.flags = HG_OL_CSUM_OK}));
}

static void of_tcp_only_its_own_checksum(void **state)
{
    (void)state;
    receive_tcp(false, 100);
    for (unsigned start = 0; start <= frame.len; start++) {
        for (unsigned offset = 0; offset <= 40; offset++)
            assert_int_equal(valid(csum_at(start, offset)), start == frame.l4 && offset == 16);
    }
}

static void of_udp_its_own_or_one_inside(void **state)
{
    (void)state;
    receive_udp(100);
    for (unsigned start = 0; start <= frame.len; start++) {
        for (unsigned offset = 0; offset <= 40; offset++) {
            bool own = start == frame.l4 && offset == 6;
            bool inside = start >= frame.payload && start + offset + 2 <= frame.len;

            assert_int_equal(valid(csum_at(start, offset)), own || inside);
        }
    }
}

static void of_the_unknown_anything_behind_the_headers(void **state)
{
    (void)state;
    frame_begin(&frame);
    frame_ip4(&frame, 0, 0);
    frame_transport(&frame, HG_IP_PROTO_GRE, 40);
    receive();
    for (unsigned start = 0; start <= frame.len; start++) {
        for (unsigned offset = 0; offset <= 60; offset++)
            assert_int_equal(valid(csum_at(start, offset)),
                             start >= frame.l4 && start + offset + 2 <= frame.len);
    }
    frame_begin(&frame); /* nothing but a link header */
    frame_payload(&frame, 20);
    receive();
    assert_true(valid(csum_at(HG_ETH_BYTES, 0)));
    assert_false(valid(csum_at(HG_ETH_BYTES - 1, 0)));
    assert_false(valid(csum_at(frame.len, 0)));
}

static void sums_of_16_bit_numbers_do_not_wrap(void **state)
{
    (void)state;
    receive_udp(100);
    assert_false(valid(csum_at(0xffff, 0xffff)));
    assert_false(valid(csum_at(0xfffe, 0)));
    assert_false(valid(csum_at(frame.payload, 0xffff)));
}

static void a_runt_can_have_no_checksum(void **state)
{
    (void)state;
    frame_begin(&frame);
    frame.len = 8;
    receive();
    assert_false(valid(csum_at(0, 0)));
    assert_false(valid(csum_at(4, 2)));
}

static void tcp_is_segmented_in_its_own_family(void **state)
{
    (void)state;
    for (unsigned ip6 = 0; ip6 < 2; ip6++) {
        receive_tcp(ip6, 5000);
        assert_int_equal(valid(tso(HG_GSO_TCP4, 1448)), !ip6);
        assert_int_equal(valid(tso(HG_GSO_TCP6, 1448)), ip6);
        for (unsigned gso = HG_GSO_TCP6 + 1; gso < 256; gso++)
            assert_false(valid(tso(gso, 1448)));
    }
}

static void segments_have_a_size_and_a_payload(void **state)
{
    (void)state;
    receive_tcp(false, 5000);
    for (unsigned size = 0; size < HG_GSO_SIZE_MIN; size++)
        assert_false(valid(tso(HG_GSO_TCP4, size)));
    assert_true(valid(tso(HG_GSO_TCP4, HG_GSO_SIZE_MIN)));
    assert_true(valid(tso(HG_GSO_TCP4, 65535)));
    receive_tcp(false, 1);
    assert_true(valid(tso(HG_GSO_TCP4, 1448)));
    receive_tcp(false, 0);
    assert_false(valid(tso(HG_GSO_TCP4, 1448)));
}

static void segmentation_needs_the_checksum(void **state)
{
    struct hg_offload ol;

    (void)state;
    receive_tcp(false, 5000);
    ol = tso(HG_GSO_TCP4, 1448);
    ol.flags = 0;
    assert_false(valid(ol));
    ol.flags = HG_OL_CSUM_OK;
    assert_false(valid(ol));
    ol.flags = HG_OL_NEEDS_CSUM | HG_OL_TCP_ECN;
    assert_true(valid(ol));
    ol.csum_start++;
    assert_false(valid(ol));
}

static void ecn_belongs_to_segmentation(void **state)
{
    struct hg_offload ol;

    (void)state;
    receive_tcp(false, 100);
    ol = csum_at(frame.l4, HG_TCP_CSUM);
    ol.flags |= HG_OL_TCP_ECN;
    assert_false(valid(ol));
}

static void what_is_not_tcp_is_not_segmented(void **state)
{
    (void)state;
    receive_udp(5000);
    pkt.ol = csum_at(frame.l4, HG_UDP_CSUM);
    pkt.ol.gso = HG_GSO_TCP4;
    pkt.ol.gso_size = 1000;
    assert_false(hg_offload_valid(&pkt));

    for (unsigned first = 0; first < 2; first++) { /* fragments */
        frame_begin(&frame);
        frame_ip4(&frame, 0, first ? HG_IP4_MF : 100);
        frame_tcp(&frame, 0, HG_TCP_ACKED);
        frame_payload(&frame, 5000);
        receive();
        assert_false(valid(tso(HG_GSO_TCP4, 1448)));
    }
}

static void a_header_cut_off_by_the_head_is_not_segmented(void **state)
{
    (void)state;
    receive_tcp(false, 5000);
    for (unsigned n = 0; n <= frame.payload; n++) {
        frame_scatter(&frame, &pkt, segs, n, 1000, NULL);
        hg_parse(&pkt);
        assert_int_equal(valid(tso(HG_GSO_TCP4, 1448)), n == frame.payload);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asking_for_nothing_is_valid),
        cmocka_unit_test(of_tcp_only_its_own_checksum),
        cmocka_unit_test(of_udp_its_own_or_one_inside),
        cmocka_unit_test(of_the_unknown_anything_behind_the_headers),
        cmocka_unit_test(sums_of_16_bit_numbers_do_not_wrap),
        cmocka_unit_test(a_runt_can_have_no_checksum),
        cmocka_unit_test(tcp_is_segmented_in_its_own_family),
        cmocka_unit_test(segments_have_a_size_and_a_payload),
        cmocka_unit_test(segmentation_needs_the_checksum),
        cmocka_unit_test(ecn_belongs_to_segmentation),
        cmocka_unit_test(what_is_not_tcp_is_not_segmented),
        cmocka_unit_test(a_header_cut_off_by_the_head_is_not_segmented),
    };

    return cmocka_run_group_tests_name("flow/offload", tests, NULL, NULL);
}
