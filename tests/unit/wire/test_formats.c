#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "wire/arp.h"
#include "wire/bytes.h"
#include "wire/eth.h"
#include "wire/ip4.h"
#include "wire/ip6.h"
#include "wire/tcp.h"

static void loads_and_stores_are_big_endian_at_any_alignment(void **state)
{
    uint8_t bytes[16] = {0};

    (void)state;
    for (unsigned at = 0; at < 8; at++) {
        hg_store_be32(bytes + at, 0x81828384);
        assert_int_equal(bytes[at], 0x81);
        assert_int_equal(bytes[at + 3], 0x84);
        assert_int_equal(hg_load_be32(bytes + at), 0x81828384);
        hg_store_be16(bytes + at, 0xfffe);
        assert_int_equal(bytes[at + 1], 0xfe);
        assert_int_equal(hg_load_be16(bytes + at), 0xfffe);
    }
}

static void tells_group_addresses(void **state)
{
    (void)state;
    assert_true(hg_mac_is_group((const uint8_t *)"\xff\xff\xff\xff\xff\xff"));
    assert_true(hg_mac_is_group((const uint8_t *)"\x33\x33\0\0\0\1"));
    assert_false(hg_mac_is_group((const uint8_t *)"\x02\x01\x01\x01\x01\x01"));
    assert_true(hg_mac_is_zero((const uint8_t *)"\0\0\0\0\0\0"));
    assert_false(hg_mac_is_zero((const uint8_t *)"\0\0\0\0\0\1"));
    assert_false(hg_mac_is_zero((const uint8_t *)"\0\1\0\0\0\0"));
}

static void the_reserved_groups_are_sixteen(void **state)
{
    uint8_t mac[6] = {0x01, 0x80, 0xc2, 0, 0, 0};

    (void)state;
    for (unsigned last = 0; last < 256; last++) {
        mac[5] = (uint8_t)last;
        assert_int_equal(hg_mac_is_reserved_group(mac), last < 16);
    }
    mac[5] = 0;
    mac[4] = 1;
    assert_false(hg_mac_is_reserved_group(mac));
}

static void arp_is_of_ip4_over_ethernet_only(void **state)
{
    uint8_t arp[HG_ARP_BYTES] = {0, 1, 8, 0, 6, 4, 0, HG_ARP_REQUEST};

    (void)state;
    assert_true(hg_arp_is_ip4(arp));
    for (unsigned i = 0; i < 6; i++) {
        arp[i] ^= 1;
        assert_false(hg_arp_is_ip4(arp));
        arp[i] ^= 1;
    }
}

static void header_lengths_count_their_units(void **state)
{
    uint8_t header[40] = {0x4f};

    (void)state;
    assert_int_equal(hg_ip4_version(header), 4);
    assert_int_equal(hg_ip4_header_bytes(header), HG_IP4_BYTES_MAX);
    header[HG_TCP_DATA_OFFSET] = 0xf1;
    assert_int_equal(hg_tcp_header_bytes(header), HG_TCP_BYTES_MAX);
    header[HG_IP6_EXT_LEN] = 255;
    assert_int_equal(hg_ip6_extension_bytes(HG_IP_PROTO_ROUTING, header), 2048);
    assert_int_equal(hg_ip6_extension_bytes(HG_IP_PROTO_FRAGMENT, header), 8);
    header[HG_IP6_EXT_LEN] = 4;
    assert_int_equal(hg_ip6_extension_bytes(HG_IP_PROTO_AH, header), 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loads_and_stores_are_big_endian_at_any_alignment),
        cmocka_unit_test(tells_group_addresses),
        cmocka_unit_test(the_reserved_groups_are_sixteen),
        cmocka_unit_test(arp_is_of_ip4_over_ethernet_only),
        cmocka_unit_test(header_lengths_count_their_units),
    };

    return cmocka_run_group_tests_name("wire/formats", tests, NULL, NULL);
}
