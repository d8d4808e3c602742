/*
 * Receiving: frames that the guest transmits become packets borrowed for a burst.
 *
 * Three passes over the burst, each of which starts the loads that the next one needs: heads, then
 * descriptors and translation (split_look_ahead()), then headers. The common frame is one readable buffer with
 * virtio_net_hdr and frame together: receive_simple(). Everything else takes receive_chain().
 *
 * Used elements are written as the heads are taken, while their line is still on its way from the
 * guest's core, and published by hg_vq_dev_rx_done(), when nothing is borrowed any more.
 */
#include <string.h>

#include "virtio/net_hdr.h"
#include "virtio/split_ring.h"

enum { ETH_HLEN = 14 };

/* Refuses a frame. Its descriptors go back with those of the burst. */
static void drop(struct hg_queue_stats *stats, enum hg_drop reason)
{
    hg_count_add(&stats->drops.reason[reason], 1);
}

/* The checks that do not need the frame's content; counts the reason when one fails. */
static bool acceptable(uint64_t frame_len, struct hg_queue_stats *stats)
{
    if (hg_likely(frame_len - ETH_HLEN <= HG_FRAME_BYTES_MAX - ETH_HLEN))
        return true;
    drop(stats, (int64_t)frame_len < ETH_HLEN ? HG_DROP_RUNT : HG_DROP_OVERSIZE);
    return false;
}

/* Turns a header, a private copy, into pkt->ol. */
static bool read_header(const struct hg_net_hdr *hdr, struct hg_pkt *pkt,
                        struct hg_queue_stats *stats)
{
    if (hg_likely(hg_net_hdr_read(hdr, false, pkt)))
        return true;
    drop(stats, HG_DROP_BAD_OFFLOAD);
    return false;
}

/* A frame that is one contiguous buffer of `len` bytes, header included. */
static bool receive_simple(struct hg_vq_dev *ring, const struct split_slot *slot,
                           struct hg_burst *b, struct hg_pkt *pkt, struct hg_queue_stats *stats)
{
    uint32_t len = slot->len - ring->hdr_len;
    const uint8_t *frame = slot->host + ring->hdr_len;
    struct hg_net_hdr hdr;

    if (!acceptable((uint64_t)slot->len - ring->hdr_len, stats))
        return false;
    /* num_buffers means nothing here, so a legacy header is read alike. */
    hg_shm_in(&hdr, slot->host, HG_NET_HDR_LEGACY_BYTES);
    pkt->len = len;
    pkt->head_len = (uint16_t)hg_min_u32(len, HG_HEAD_BYTES);
    hg_shm_in_short(pkt->head, frame, pkt->head_len);
    pkt->seg = &b->seg[b->seg_n];
    pkt->seg_n = 0;
    if (len > HG_HEAD_BYTES) {
        b->seg[b->seg_n++] = (struct hg_seg){frame + HG_HEAD_BYTES, len - HG_HEAD_BYTES};
        pkt->seg_n = 1;
    }
    return read_header(&hdr, pkt, stats);
}

/* Copies the first n bytes of the pieces to `to` and drops them from the list: *first is the index of
 * the first piece that has bytes left. The pieces hold at least n bytes. */
static void take_bytes(struct hg_seg *piece, unsigned *first, uint8_t *to, size_t n)
{
    while (n > 0) {
        struct hg_seg *p = &piece[*first];
        size_t part = p->len < n ? p->len : n;

        hg_shm_in(to, p->addr, part);
        to += part;
        n -= part;
        p->addr += part;
        p->len -= (uint32_t)part;
        if (p->len == 0)
            (*first)++;
    }
}

/* Any other frame: several descriptors, an indirect table, or a buffer across regions. */
static bool receive_chain(struct hg_vq_dev *ring, uint16_t head, struct hg_burst *b,
                          struct hg_pkt *pkt, struct hg_queue_stats *stats)
{
    struct hg_seg *piece = &b->seg[b->seg_n];
    unsigned piece_n;
    struct hg_net_hdr hdr = {0};
    unsigned first = 0;
    uint64_t bytes;

    switch (
        split_walk_chain(ring, head, HG_PERM_READ, piece, HG_CHAIN_SEGS_MAX, &piece_n, &bytes)) {
    case SPLIT_WALK_BROKEN:
        return false;
    case SPLIT_WALK_BAD_ADDRESS:
        drop(stats, HG_DROP_BAD_DESCRIPTOR);
        return false;
    case SPLIT_WALK_OK:
        break;
    }
    if (!acceptable(bytes - ring->hdr_len, stats))
        return false;
    pkt->len = (uint32_t)bytes - ring->hdr_len;
    pkt->head_len = (uint16_t)hg_min_u32(pkt->len, HG_HEAD_BYTES);
    take_bytes(piece, &first, (uint8_t *)&hdr, ring->hdr_len);
    take_bytes(piece, &first, pkt->head, pkt->head_len);
    pkt->seg = &piece[first];
    pkt->seg_n = (uint16_t)(piece_n - first);
    b->seg_n += piece_n;
    return read_header(&hdr, pkt, stats);
}

unsigned hg_vq_dev_rx(struct hg_vq_dev *ring, struct hg_burst *b, struct hg_queue_stats *stats)
{
    struct split_slot slot[HG_BURST_N];
    unsigned n = split_look_ahead(ring, slot, HG_BURST_N, HG_PERM_READ);
    unsigned frames = 0;
    uint64_t bytes = 0;
    uint64_t copied = 0;

    b->n = 0;
    b->seg_n = 0;
    for (unsigned i = 0; i < n; i++) {
        struct hg_pkt *pkt = &b->pkt[b->n];
        bool good;

        /* Always room for the longest chain: the rest waits for the next burst. */
        if (hg_unlikely(b->seg_n > HG_BURST_SEGS - HG_CHAIN_SEGS_MAX))
            break;
        good = hg_likely(slot[i].simple) ? receive_simple(ring, &slot[i], b, pkt, stats)
                                         : receive_chain(ring, slot[i].head, b, pkt, stats);
        if (hg_unlikely(split_broken(ring)))
            break;
        split_put_used(ring, slot[i].head, 0);
        ring->last_avail++;
        frames++;
        if (hg_likely(good)) {
            b->n++;
            bytes += pkt->len;
            copied += pkt->head_len;
        }
    }
    if (frames != 0) {
        hg_count_add(&stats->packets, frames);
        hg_count_add(&stats->bytes, bytes);
        hg_count_add(&stats->bytes_copied, copied);
        hg_count_add(&stats->bursts, 1);
    }
    return b->n;
}

bool hg_vq_dev_rx_done(struct hg_vq_dev *ring)
{
    return split_publish_used(ring);
}
