/* TCP (RFC 9293, 3.1). Offsets are bytes from the TCP header's start. Pure, any thread. */
#ifndef HG_WIRE_TCP_H
#define HG_WIRE_TCP_H

#include <stdint.h>

#include "base/api.h"
#include "wire/bytes.h"

HG_API_BEGIN

enum {
    HG_TCP_SRC_PORT = 0,
    HG_TCP_DST_PORT = 2,
    HG_TCP_SEQ = 4,
    HG_TCP_ACK = 8,
    HG_TCP_DATA_OFFSET = 12,
    HG_TCP_FLAGS = 13,
    HG_TCP_WINDOW = 14,
    HG_TCP_CSUM = 16,
    HG_TCP_URGENT = 18,
    HG_TCP_BYTES = 20, /* without options */
    HG_TCP_BYTES_MAX = 60,
};

enum { /* the byte at HG_TCP_FLAGS */
       HG_TCP_FIN = 0x01,
       HG_TCP_SYN = 0x02,
       HG_TCP_RST = 0x04,
       HG_TCP_PSH = 0x08,
       HG_TCP_ACKED = 0x10,
       HG_TCP_URG = 0x20,
       HG_TCP_ECE = 0x40,
       HG_TCP_CWR = 0x80,
};

/* Bytes of the header, options included: 0 to 60, of which less than 20 is malformed. */
static inline unsigned hg_tcp_header_bytes(const uint8_t *p)
{
    return (p[HG_TCP_DATA_OFFSET] >> 4) * 4u;
}

HG_API_END

#endif
