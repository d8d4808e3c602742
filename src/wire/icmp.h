/* ICMP (RFC 792) and ICMPv6 (RFC 4443). Offsets are bytes from the message's start. The first eight
 * bytes of every message of both have this shape; the last four depend on the type. */
#ifndef HG_WIRE_ICMP_H
#define HG_WIRE_ICMP_H

#include "base/api.h"

HG_API_BEGIN

enum {
    HG_ICMP_TYPE = 0,
    HG_ICMP_CODE = 1,
    HG_ICMP_CSUM = 2,
    HG_ICMP_ID = 4,       /* of an echo */
    HG_ICMP_SEQUENCE = 6, /* of an echo */
    HG_ICMP_BYTES = 8,
};

enum {
    HG_ICMP_ECHO_REPLY = 0,
    HG_ICMP_ECHO = 8,
    HG_ICMP6_ECHO = 128,
    HG_ICMP6_ECHO_REPLY = 129,
};

HG_API_END

#endif
