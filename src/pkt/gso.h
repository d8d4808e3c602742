/*
 * Offloads in software: what a sender left undone and the receiver does not take.
 *
 * Segmentation cuts a TCP frame (IPv4 or IPv6, any VLAN tags) into frames of at most gso_size
 * payload bytes, one at a time, into slots that the caller provides. A segment is a private copy of
 * the headers, rewritten, and slices of the original's payload, which is not copied: segments are
 * as borrowed as the original and as valid. The original is read and never written.
 *
 * Per segment (RFC 9293, 3.1; RFC 3168, 6.1.2 for CWR; virtio 1.2, 5.1.6.2):
 *   IPv4 total length, identification + index, header checksum | IPv6 payload length
 *   TCP sequence number; FIN and PSH in the last segment only; CWR in the first only
 *   TCP checksum field: the sum of the pseudo-header of this length. It is the original's, adjusted
 *   by the difference in length, so it stays right where the last address is not the one in the IP
 *   header (IPv6 routing header). hg_csum_finish() makes the checksum of it, unless the receiver
 *   does.
 *
 * The packet must be parsed and have passed hg_offload_valid() (flow/offload.h).
 */
#ifndef HG_PKT_GSO_H
#define HG_PKT_GSO_H

#include <stdbool.h>
#include <stdint.h>

#include "pkt/pkt.h"

/* Slices that one segment can need at most: a piece of the head and every segment of the
 * original. */
enum { HG_GSO_SLICES_MAX = HG_CHAIN_SEGS_MAX + 1 };

/* A frame being cut. On the caller's stack; valid as long as the frame. */
struct hg_gso_iter {
    const struct hg_pkt *pkt;
    uint32_t made_n;  /* segments so far */
    uint32_t total_n; /* segments in all */
    uint32_t payload; /* bytes of payload in the segments so far */
    uint32_t seg;     /* next segment of pkt, */
    uint32_t seg_at;  /* and how many of its bytes are used up */
    uint32_t ip4_sum; /* of the IPv4 header without what differs between segments */
};

/* Begins. False when the packet is none that this can cut: no segmentation asked for, or headers
 * not parsed whole. */
bool hg_gso_begin(struct hg_gso_iter *gso, const struct hg_pkt *pkt);

/* Segments not made yet. */
static inline uint32_t hg_gso_left(const struct hg_gso_iter *gso)
{
    return gso->total_n - gso->made_n;
}

/*
 * Makes the next segment in *slot: all fields, HG_OL_NEEDS_CSUM set. Its slices go
 * to slices[0 .. slot->seg_n) and belong to the segment for its life. False, with nothing consumed,
 * when slice_n are too few; HG_GSO_SLICES_MAX always suffice. Only while hg_gso_left() is not 0.
 */
bool hg_gso_next(struct hg_gso_iter *gso, struct hg_pkt *slot, struct hg_seg *slices,
                 unsigned slice_n);

/*
 * Does what HG_OL_NEEDS_CSUM asks for: sums from csum_start to the end, over head and segments,
 * writes the checksum into the head and clears the flag. A checksum of 0 is written as 0xffff, the
 * same number in one's complement, because 0 means "none" to UDP (RFC 768). False, with nothing
 * changed, when the field is not in the head. No segmentation may be pending.
 */
bool hg_csum_finish(struct hg_pkt *pkt);

#endif
