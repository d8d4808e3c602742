/*
 * The frames of the load generator: Ethernet, IPv4 and UDP, or TCP with a segmentation request of
 * 64 KiB. Both carry a sequence number and its complement, next to each other, so that the checksum
 * is the same for every number. With a verified payload each byte depends on the sequence number
 * and its place, and the checksum is computed anew.
 *
 * A frame is written in two steps. frame_prepare() fills a buffer once, at start, with everything
 * that is the same in each frame of a stream. frame_write() puts in what is not: the virtio header,
 * the two addresses and the sequence number - 32 bytes, all in the buffer's first cache line.
 */
#ifndef BENCH_LOADGEN_FRAME_H
#define BENCH_LOADGEN_FRAME_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bits.h"
#include "base/shm.h"
#include "virtio/virtio.h"

enum {
    FRAME_BYTES_MIN = 60,
    FRAME_BYTES_MAX = 9216,   /* without segmentation */
    TSO_SEGMENT_BYTES = 1460, /* an MTU of 1500 without headers: OVS puts this into every request */
    TSO_SEGMENTS_N = 44,
    TSO_HEADER_BYTES = 14 + 20 + 20,
    TSO_FRAME_BYTES = TSO_HEADER_BYTES + TSO_SEGMENTS_N * TSO_SEGMENT_BYTES,

    UDP_SEQ_AT = 14 + 20 + 8, /* first bytes of the payload */
    TCP_SEQ_AT = 14 + 20 + 4, /* TCP's own sequence and acknowledgement numbers */
    MACS_MAX = 65536,

    FIRST_BYTES = HG_CACHE_LINE_BYTES, /* of a buffer: virtio header and frame up to the number */
};

/* What the frames of one direction have in common. */
struct frame_kind {
    uint32_t bytes; /* of the frame, without virtio header */
    uint32_t seq_at;
    bool tso;
    bool verify;
    unsigned from; /* side that sends: 0 or 1 */
    struct hg_net_hdr hdr;
    uint8_t first[FIRST_BYTES]; /* of a buffer: virtio header and frame */
};

enum frame_verdict {
    FRAME_OK,
    FRAME_FOREIGN, /* not from the other side: the switch or somebody else sent it */
    FRAME_CORRUPT,
};

void frame_kind_init(struct frame_kind *kind, uint32_t bytes, bool tso, bool verify, unsigned from);

/* Fills a whole buffer, the virtio header included. */
void frame_prepare(const struct frame_kind *kind, uint8_t *buf);

/* Fills the payload for one sequence number, and the checksum over it, behind frame_write(). */
void frame_write_payload(const struct frame_kind *kind, uint8_t *buf, uint32_t seq);

/* A frame that is being received, perhaps in pieces: whether each byte is the one that was sent. */
bool frame_check_piece(const struct frame_kind *kind, uint32_t seq, const uint8_t *piece,
                       uint32_t at, uint32_t len);

/* Whether both addresses of a received frame are a pair that is sent. */
bool frame_check_macs(const struct frame_kind *kind, const uint8_t *first, uint32_t mac_n);

/* What to say of a frame whose fixed bytes are not the expected ones. */
enum frame_verdict frame_blame(const struct frame_kind *kind, const uint8_t *first);

/* The six bytes of address `index` on a side, as the low bytes of a little-endian word. Locally
 * administered, unicast. */
static inline uint64_t frame_mac(unsigned side, uint32_t index)
{
    return UINT64_C(0x474802) | (uint64_t)side << 24 |
           (uint64_t)__builtin_bswap16((uint16_t)index) << 32;
}

/* The index in the destination address of a received frame; anything when it is not one of ours. */
static inline uint32_t frame_mac_index(const uint8_t *first)
{
    return (uint32_t)first[HG_NET_HDR_BYTES + 4] << 8 | first[HG_NET_HDR_BYTES + 5];
}

static inline void frame_write(const struct frame_kind *kind, uint8_t *buf, uint32_t seq,
                               uint32_t mac_index)
{
    uint64_t src = frame_mac(kind->from, mac_index);
    uint64_t macs_low = frame_mac(1 - kind->from, mac_index) | src << 48;
    uint32_t macs_high = (uint32_t)(src >> 16);
    uint64_t numbers = (uint64_t)~seq << 32 | seq;

    hg_shm_out(buf, &kind->hdr, sizeof(kind->hdr));
    hg_shm_out(buf + HG_NET_HDR_BYTES, &macs_low, sizeof(macs_low));
    hg_shm_out(buf + HG_NET_HDR_BYTES + 8, &macs_high, sizeof(macs_high));
    hg_shm_out(buf + HG_NET_HDR_BYTES + kind->seq_at, &numbers, sizeof(numbers));
}

/* Looks at a private copy of the first line of a received buffer, and takes the sequence number out
 * of it. `bytes` is the length of the frame as the device told it. */
static inline enum frame_verdict frame_read(const struct frame_kind *kind, const uint8_t *first,
                                            uint32_t bytes, uint32_t *seq)
{
    /* Behind the addresses, up to and including the ports of UDP or TCP. */
    enum { FIXED_AT = HG_NET_HDR_BYTES + 12, FIXED_BYTES = 2 + 20 + 4 };
    uint32_t numbers[2];

    memcpy(numbers, first + HG_NET_HDR_BYTES + kind->seq_at, sizeof(numbers));
    *seq = numbers[0];
    if (hg_unlikely(bytes != kind->bytes || numbers[1] != ~numbers[0] ||
                    memcmp(first + FIXED_AT, kind->first + FIXED_AT, FIXED_BYTES) != 0 ||
                    first[1] != kind->hdr.gso_type ||
                    memcmp(first + 4, kind->first + 4, sizeof(uint16_t)) != 0))
        return frame_blame(kind, first);
    return FRAME_OK;
}

#endif
