/* ARP for IPv4 over Ethernet (RFC 826). Offsets are bytes from the ARP header's start. */
#ifndef HG_WIRE_ARP_H
#define HG_WIRE_ARP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/api.h"
#include "wire/bytes.h"
#include "wire/eth.h"

HG_API_BEGIN

enum {
    HG_ARP_HARDWARE = 0,
    HG_ARP_PROTOCOL = 2,
    HG_ARP_HARDWARE_LEN = 4,
    HG_ARP_PROTOCOL_LEN = 5,
    HG_ARP_OPERATION = 6,
    HG_ARP_SENDER_MAC = 8,
    HG_ARP_SENDER_IP = 14,
    HG_ARP_TARGET_MAC = 18,
    HG_ARP_TARGET_IP = 24,
    HG_ARP_BYTES = 28,
    HG_ARP_FRAME_BYTES = 60, /* of the shortest Ethernet frame, in which it is padded */
};

enum { HG_ARP_REQUEST = 1, HG_ARP_REPLY = 2, HG_RARP_REQUEST = 3 };

/* Whether the HG_ARP_BYTES at p speak of IPv4 over Ethernet. */
static inline bool hg_arp_is_ip4(const uint8_t *p)
{
    return hg_load_be32(p + HG_ARP_HARDWARE) == 0x00010800 &&
           hg_load_be16(p + HG_ARP_HARDWARE_LEN) == 0x0604;
}

/*
 * Writes the HG_ARP_FRAME_BYTES of an Ethernet frame that carries ARP for IPv4: addresses in host
 * order, `operation` one of those above. target_mac NULL: not known, so the frame goes to all. The
 * pieces may not overlap the frame.
 */
static inline void hg_arp_write(uint8_t *frame, uint16_t operation, const uint8_t *sender_mac,
                                uint32_t sender_ip, const uint8_t *target_mac, uint32_t target_ip)
{
    uint8_t *arp = frame + HG_ETH_BYTES;

    memset(frame, 0, HG_ARP_FRAME_BYTES);
    memset(frame + HG_ETH_DST, 0xff, HG_MAC_BYTES);
    if (target_mac) {
        memcpy(frame + HG_ETH_DST, target_mac, HG_MAC_BYTES);
        memcpy(arp + HG_ARP_TARGET_MAC, target_mac, HG_MAC_BYTES);
    }
    memcpy(frame + HG_ETH_SRC, sender_mac, HG_MAC_BYTES);
    hg_store_be16(frame + HG_ETH_TYPE, HG_ETHERTYPE_ARP);
    hg_store_be32(arp + HG_ARP_HARDWARE, 0x00010800);
    hg_store_be16(arp + HG_ARP_HARDWARE_LEN, 0x0604);
    hg_store_be16(arp + HG_ARP_OPERATION, operation);
    memcpy(arp + HG_ARP_SENDER_MAC, sender_mac, HG_MAC_BYTES);
    hg_store_be32(arp + HG_ARP_SENDER_IP, sender_ip);
    hg_store_be32(arp + HG_ARP_TARGET_IP, target_ip);
}

HG_API_END

#endif
