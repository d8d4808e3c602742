/*
 * What a generator writes into its frames for a sink to find: behind Ethernet, IPv4 and UDP headers
 *
 *   42  2  stream: which receive queue of which port made it
 *   44  4  a mark that tells these frames from others
 *   48  8  the frame's number in its stream, from 0 on
 *
 * in the processor's own order, because both ends are in this process. Everything that differs
 * between two frames of a stream lies in their first cache line.
 */
#ifndef HG_PORT_MEMORY_STAMP_H
#define HG_PORT_MEMORY_STAMP_H

#include "base/bits.h"
#include "port/port.h"
#include "wire/eth.h"
#include "wire/ip4.h"
#include "wire/udp.h"

enum {
    HG_STAMP_IP4 = HG_ETH_BYTES,
    HG_STAMP_UDP = HG_STAMP_IP4 + HG_IP4_BYTES,
    HG_STAMP_STREAM = HG_STAMP_UDP + HG_UDP_BYTES,
    HG_STAMP_MARK = HG_STAMP_STREAM + 2,
    HG_STAMP_NUMBER = HG_STAMP_MARK + 4,
    HG_STAMP_END = HG_STAMP_NUMBER + 8,
    HG_STAMP_FRAME_MIN = 60, /* bytes of the shortest Ethernet frame, without its check sequence */
    HG_STAMP_STREAMS_N = HG_PORTS_MAX * HG_PORT_QUEUES_MAX,
};

#define HG_STAMP UINT32_C(0x64614867)

_Static_assert((int)HG_STAMP_END <= (int)HG_CACHE_LINE_BYTES, "in the first line");
_Static_assert((int)HG_STAMP_END <= (int)HG_STAMP_FRAME_MIN, "in the shortest frame");

static inline uint16_t hg_stamp_stream(const struct hg_rxq *q)
{
    return (uint16_t)(q->port->id * HG_PORT_QUEUES_MAX + q->index);
}

/* The one's complement sum over an IPv4 header without options, folded, in the processor's order:
 * 0xffff when its checksum is right (RFC 1071, 2 (A) and (B): order does not matter to it). */
static inline uint16_t hg_stamp_sum(const uint8_t *ip4)
{
    uint64_t sum = hg_load_raw32(ip4);

    for (unsigned at = 4; at < HG_IP4_BYTES; at += 4)
        sum += hg_load_raw32(ip4 + at);
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)((sum >> 16) + (sum & 0xffff));
}

#endif
