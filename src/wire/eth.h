/*
 * Ethernet (IEEE 802.3) and VLAN tags (IEEE 802.1Q). Offsets are bytes from the frame's start, in
 * the tag from its type field. Pure, any thread.
 */
#ifndef HG_WIRE_ETH_H
#define HG_WIRE_ETH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "wire/bytes.h"

HG_API_BEGIN

enum {
    HG_MAC_BYTES = 6,
    HG_ETH_DST = 0,
    HG_ETH_SRC = 6,
    HG_ETH_TYPE = 12,
    HG_ETH_BYTES = 14,
};

enum { /* the type field; a value below HG_ETHERTYPE_MIN is an 802.3 length */
       HG_ETHERTYPE_MIN = 0x0600,
       HG_ETHERTYPE_IP4 = 0x0800,
       HG_ETHERTYPE_ARP = 0x0806,
       HG_ETHERTYPE_RARP = 0x8035,
       HG_ETHERTYPE_CTAG = 0x8100, /* customer VLAN tag */
       HG_ETHERTYPE_IP6 = 0x86dd,
       HG_ETHERTYPE_STAG = 0x88a8, /* service VLAN tag, the outer one of two */
};

enum {
    HG_VLAN_TCI = 2, /* priority 3 bits, drop eligible 1 bit, VLAN id 12 bits */
    HG_VLAN_BYTES = 4,
    HG_VLAN_TAGS_MAX = 2, /* that we look behind */
    HG_VLAN_ID_MASK = 0x0fff,
};

static inline bool hg_ethertype_is_vlan(uint16_t type)
{
    return type == HG_ETHERTYPE_CTAG || type == HG_ETHERTYPE_STAG;
}

/* Broadcast or multicast: the bit sent first is set. */
static inline bool hg_mac_is_group(const uint8_t *mac)
{
    return (mac[0] & 1) != 0;
}

static inline bool hg_mac_is_zero(const uint8_t *mac)
{
    return hg_load_raw32(mac) == 0 && (mac[4] | mac[5]) == 0;
}

/* 01-80-C2-00-00-00 to -0F: groups whose frames end at the next bridge (IEEE 802.1Q, 8.6.3). */
static inline bool hg_mac_is_reserved_group(const uint8_t *mac)
{
    return hg_load_be32(mac) == 0x0180c200 && mac[4] == 0 && (mac[5] & 0xf0) == 0;
}

HG_API_END

#endif
