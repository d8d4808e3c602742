/* ARP for IPv4 over Ethernet (RFC 826). Offsets are bytes from the ARP header's start. */
#ifndef HG_WIRE_ARP_H
#define HG_WIRE_ARP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "wire/bytes.h"

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
};

enum { HG_ARP_REQUEST = 1, HG_ARP_REPLY = 2, HG_RARP_REQUEST = 3 };

/* Whether the HG_ARP_BYTES at p speak of IPv4 over Ethernet. */
static inline bool hg_arp_is_ip4(const uint8_t *p)
{
    return hg_load_be32(p + HG_ARP_HARDWARE) == 0x00010800 &&
           hg_load_be16(p + HG_ARP_HARDWARE_LEN) == 0x0604;
}

HG_API_END

#endif
