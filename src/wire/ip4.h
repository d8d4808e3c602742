/* IPv4 (RFC 791). Offsets are bytes from the IPv4 header's start. Pure, any thread. */
#ifndef HG_WIRE_IP4_H
#define HG_WIRE_IP4_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "wire/bytes.h"
#include "wire/csum.h"
#include "wire/ip.h"

HG_API_BEGIN

enum {
    HG_IP4_VERSION_IHL = 0,
    HG_IP4_TOTAL_LEN = 2,
    HG_IP4_ID = 4,
    HG_IP4_FRAGMENT = 6, /* 3 bits of flags, 13 bits of offset */
    HG_IP4_TTL = 8,
    HG_IP4_PROTO = 9,
    HG_IP4_CSUM = 10,
    HG_IP4_SRC = 12,
    HG_IP4_DST = 16,
    HG_IP4_BYTES = 20, /* without options */
    HG_IP4_BYTES_MAX = 60,
};

enum { /* the 16 bits at HG_IP4_FRAGMENT */
       HG_IP4_DF = 0x4000,
       HG_IP4_MF = 0x2000,
       HG_IP4_OFFSET_MASK = 0x1fff, /* in units of 8 bytes */
};

static inline unsigned hg_ip4_version(const uint8_t *p)
{
    return p[HG_IP4_VERSION_IHL] >> 4;
}

/* Bytes of the header, options included: 0 to 60, of which less than 20 is malformed. */
static inline unsigned hg_ip4_header_bytes(const uint8_t *p)
{
    return (p[HG_IP4_VERSION_IHL] & 0x0fu) * 4;
}

/* The one's complement sum over a header without options, folded: 0xffff when its checksum is
 * right. In the processor's order, which does not matter to that (RFC 1071, 2 (B)). */
static inline uint16_t hg_ip4_sum(const uint8_t *p)
{
    uint64_t first = hg_load_raw64(p);
    uint64_t second = hg_load_raw64(p + 8);
    uint64_t sum = (first & 0xffffffff) + (first >> 32) + (second & 0xffffffff) + (second >> 32) +
                   hg_load_raw32(p + 16);

    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)((sum >> 16) + sum);
}

/* What a router does to a header that it passes on (RFC 1812, 5.3.1): lowers its time to live by
 * one and updates its checksum (RFC 1624). False, and nothing is changed, when there is no time
 * left. */
static inline bool hg_ip4_age(uint8_t *p)
{
    uint16_t was =
        hg_load_be16(p + HG_IP4_TTL); /* and the protocol: the checksum is one of 16-bit words */

    if (p[HG_IP4_TTL] <= 1)
        return false;
    p[HG_IP4_TTL]--;
    hg_store_be16(p + HG_IP4_CSUM, hg_csum_update16(hg_load_be16(p + HG_IP4_CSUM), was,
                                                    hg_load_be16(p + HG_IP4_TTL)));
    return true;
}

HG_API_END

#endif
