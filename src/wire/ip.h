/* What IPv4 and IPv6 share: protocol numbers of the IANA registry. */
#ifndef HG_WIRE_IP_H
#define HG_WIRE_IP_H

#include "base/api.h"

HG_API_BEGIN

enum {
    HG_IP_PROTO_HOP_BY_HOP = 0, /* IPv6 extension header */
    HG_IP_PROTO_ICMP = 1,
    HG_IP_PROTO_TCP = 6,
    HG_IP_PROTO_UDP = 17,
    HG_IP_PROTO_IP6 = 41,
    HG_IP_PROTO_ROUTING = 43,  /* IPv6 extension header */
    HG_IP_PROTO_FRAGMENT = 44, /* IPv6 extension header */
    HG_IP_PROTO_GRE = 47,
    HG_IP_PROTO_AH = 51, /* authentication; an extension header to IPv6 */
    HG_IP_PROTO_ICMP6 = 58,
    HG_IP_PROTO_NONE = 59,
    HG_IP_PROTO_DESTINATION = 60, /* IPv6 extension header */
    HG_IP_PROTO_SCTP = 132,
};

HG_API_END

#endif
