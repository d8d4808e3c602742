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

#endif
