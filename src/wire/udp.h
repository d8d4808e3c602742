/* UDP (RFC 768). Offsets are bytes from the UDP header's start. */
#ifndef HG_WIRE_UDP_H
#define HG_WIRE_UDP_H

#include "base/api.h"

HG_API_BEGIN

enum {
    HG_UDP_SRC_PORT = 0,
    HG_UDP_DST_PORT = 2,
    HG_UDP_LEN = 4,
    HG_UDP_CSUM = 6, /* 0: the sender computed none */
    HG_UDP_BYTES = 8,
};

HG_API_END

#endif
