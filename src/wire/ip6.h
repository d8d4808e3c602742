/* IPv6 and its extension headers (RFC 8200). Offsets are bytes from each header's start. Pure, any
 * thread. */
#ifndef HG_WIRE_IP6_H
#define HG_WIRE_IP6_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "wire/bytes.h"
#include "wire/ip.h"

HG_API_BEGIN

enum {
    HG_IP6_VERSION_CLASS_FLOW = 0,
    HG_IP6_PAYLOAD_LEN = 4, /* bytes behind the fixed header, extension headers included */
    HG_IP6_NEXT = 6,
    HG_IP6_HOP_LIMIT = 7,
    HG_IP6_SRC = 8,
    HG_IP6_DST = 24,
    HG_IP6_BYTES = 40,
};

enum { /* any extension header */
       HG_IP6_EXT_NEXT = 0,
       HG_IP6_EXT_LEN = 1,
       HG_IP6_EXT_BYTES_MIN = 8,
};

enum {                             /* the fragment header */
       HG_IP6_FRAGMENT_OFFSET = 2, /* 13 bits of offset, 2 reserved, 1 "more" */
       HG_IP6_FRAGMENT_BYTES = 8,
       HG_IP6_FRAGMENT_OFFSET_MASK = 0xfff8, /* read as 16 bits: the offset in bytes */
       HG_IP6_FRAGMENT_MORE = 0x0001,
};

static inline unsigned hg_ip6_version(const uint8_t *p)
{
    return p[HG_IP6_VERSION_CLASS_FLOW] >> 4;
}

static inline bool hg_ip6_is_extension(uint8_t proto)
{
    return proto == HG_IP_PROTO_HOP_BY_HOP || proto == HG_IP_PROTO_ROUTING ||
           proto == HG_IP_PROTO_FRAGMENT || proto == HG_IP_PROTO_DESTINATION ||
           proto == HG_IP_PROTO_AH;
}

/* Bytes of the extension header of type `proto` at p, 8 or more. The length field counts units of 8
 * bytes behind the first 8 (RFC 8200, 4.3); in the authentication header units of 4 behind the
 * first 8 (RFC 4302, 2.2); the fragment header has none. */
static inline unsigned hg_ip6_extension_bytes(uint8_t proto, const uint8_t *p)
{
    if (proto == HG_IP_PROTO_FRAGMENT)
        return HG_IP6_FRAGMENT_BYTES;
    if (proto == HG_IP_PROTO_AH)
        return p[HG_IP6_EXT_LEN] * 4u + 8;
    return p[HG_IP6_EXT_LEN] * 8u + 8;
}

HG_API_END

#endif
