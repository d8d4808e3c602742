#include "flow/acl_key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../frame.h"
#include "flow/parse.h"

static struct frame frame;
static struct hg_pkt pkt;
static struct hg_seg segs[HG_BURST_SEGS];

static void parse_head(unsigned head_len)
{
    frame_end(&frame);
    frame_scatter(&frame, &pkt, segs, head_len, 1000, NULL);
    hg_parse(&pkt);
}

static void tcp_over_ip4_in_a_vlan(void **state)
{
    struct hg_acl_key4 key;
    struct hg_acl_key6 other;

    (void)state;
    frame_begin(&frame);
    frame_vlan(&frame, 0x8100, 0xe064); /* priority 7, VLAN 100 */
    frame_ip4(&frame, 8, 0);
    frame_tcp(&frame, 0, HG_TCP_SYN);
    parse_head(HG_HEAD_BYTES);
    assert_true(hg_acl_key4_of(&pkt, &key));
    assert_int_equal(key.src, 0xc0a80001);
    assert_int_equal(key.dst, 0xc0a80002);
    assert_int_equal(key.src_port, 40000);
    assert_int_equal(key.dst_port, 5201);
    assert_int_equal(key.proto, 6);
    assert_int_equal(key.tcp_flags, HG_TCP_SYN);
    assert_int_equal(key.vlan, 100);
    assert_false(hg_acl_key6_of(&pkt, &other));
}

static void udp_over_ip6(void **state)
{
    struct hg_acl_key4 other;
    struct hg_acl_key6 key;

    (void)state;
    frame_begin(&frame);
    frame_ip6(&frame);
    frame_udp(&frame);
    parse_head(HG_HEAD_BYTES);
    assert_true(hg_acl_key6_of(&pkt, &key));
    assert_memory_equal(key.src, frame.bytes + frame.l3 + HG_IP6_SRC, 16);
    assert_memory_equal(key.dst, frame.bytes + frame.l3 + HG_IP6_DST, 16);
    assert_int_equal(key.src_port, 40000);
    assert_int_equal(key.dst_port, 53);
    assert_int_equal(key.proto, 17);
    assert_int_equal(key.tcp_flags, 0);
    assert_int_equal(key.vlan, 0);
    assert_false(hg_acl_key4_of(&pkt, &other));
}

static void a_later_fragment_has_no_ports(void **state)
{
    struct hg_acl_key4 key;

    (void)state;
    frame_begin(&frame);
    frame_ip4(&frame, 0, 100);
    frame_transport(&frame, 6, 40);
    parse_head(HG_HEAD_BYTES);
    assert_true(hg_acl_key4_of(&pkt, &key));
    assert_int_equal(key.proto, 6);
    assert_int_equal(key.src_port, 0);
    assert_int_equal(key.dst_port, 0);
    assert_int_equal(key.tcp_flags, 0);
}

static void a_header_that_is_not_whole_has_no_key(void **state)
{
    struct hg_acl_key4 key;

    (void)state;
    frame_begin(&frame);
    frame_ip4(&frame, 0, 0);
    frame_udp(&frame);
    parse_head(frame.l3 + HG_IP4_BYTES - 1);
    assert_false(hg_acl_key4_of(&pkt, &key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tcp_over_ip4_in_a_vlan),
        cmocka_unit_test(udp_over_ip6),
        cmocka_unit_test(a_later_fragment_has_no_ports),
        cmocka_unit_test(a_header_that_is_not_whole_has_no_key),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
