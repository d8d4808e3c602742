/* IPv4 (RFC 791). Offsets are bytes from the IPv4 header's start. Pure, any thread. */
#ifndef HG_WIRE_IP4_H
#define HG_WIRE_IP4_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "wire/bytes.h"
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

HG_API_END

#endif
