/*
 * Receiving: frames that the guest transmits become packets borrowed for a burst.
 *
 * Passes over the burst, each of which starts the loads that the next one needs: descriptors and
 * translation (vq_look_ahead()), then headers. The common frame is one readable buffer with
 * virtio_net_hdr and frame together: receive_simple(). Everything else takes receive_chain().
 *
 * What is taken is returned by hg_vq_dev_rx_done(), when nothing is borrowed any more. With
 * IN_ORDER the guest hears of a burst by its last frame alone: reading a buffer leaves nothing else
 * to say of it.
 */
#include <string.h>

#include "virtio/net_hdr.h"
#include "virtio/vq_ring.h"

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
static bool receive_simple(struct hg_vq_dev *ring, const struct vq_slot *slot, struct hg_burst *b,
                           struct hg_pkt *pkt, struct hg_queue_stats *stats)
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

/* Copies the first n bytes of the pieces to `to` and drops them from the list: *first is the index
 * of the first piece that has bytes left. The pieces hold at least n bytes. */
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

/* What has become of an entry. */
enum outcome {
    RECEIVED,
    REFUSED, /* counted; it goes back with those of the burst */
    FAULTED, /* the same, because of the IOTLB */
    STUCK,   /* not taken: the ring is broken, or a translation is missing */
};

/* Any other frame: several descriptors, an indirect table, or a buffer across regions. Sets what is
 * needed to return it. */
static enum outcome receive_chain(struct hg_vq_dev *ring, struct vq_slot *slot, struct hg_burst *b,
                                  struct hg_pkt *pkt, struct hg_queue_stats *stats)
{
    struct hg_seg *piece = &b->seg[b->seg_n];
    struct vq_chain chain = {
        .piece = piece,
        .room = HG_CHAIN_SEGS_MAX,
        .need = (uint64_t)ring->hdr_len + HG_FRAME_BYTES_MAX,
    };
    enum outcome refusal = REFUSED;
    struct hg_net_hdr hdr = {0};
    unsigned first = 0;

    switch (vq_walk(ring, ring->last_avail, HG_PERM_READ, &chain)) {
    case VQ_BROKEN:
        return STUCK;
    case VQ_MISSING:
        ring->missing = true;
        return STUCK;
    case VQ_FAULTED:
        hg_count_add(&ring->iommu.faults[chain.fault], 1);
        drop(stats, HG_DROP_IOMMU_FAULT);
        refusal = FAULTED;
        break;
    case VQ_BAD:
        drop(stats, HG_DROP_BAD_DESCRIPTOR);
        break;
    case VQ_GOOD:
        break;
    }
    slot->id = chain.id;
    slot->desc_n = chain.desc_n;
    if (chain.verdict != VQ_GOOD || !acceptable(chain.bytes - ring->hdr_len, stats))
        return refusal;
    pkt->len = (uint32_t)chain.bytes - ring->hdr_len;
    pkt->head_len = (uint16_t)hg_min_u32(pkt->len, HG_HEAD_BYTES);
    take_bytes(piece, &first, (uint8_t *)&hdr, ring->hdr_len);
    take_bytes(piece, &first, pkt->head, pkt->head_len);
    pkt->seg = &piece[first];
    pkt->seg_n = (uint16_t)(chain.piece_n - first);
    b->seg_n += chain.piece_n;
    return read_header(&hdr, pkt, stats) ? RECEIVED : REFUSED;
}

VQ_SPECIALISED unsigned receive(struct hg_vq_dev *ring, bool packed, struct hg_burst *b,
                                struct hg_queue_stats *stats)
{
    const bool in_order = ring->in_order;
    const uint16_t from = ring->last_avail;
    struct vq_slot slot[HG_BURST_N];
    unsigned n = vq_look_ahead(ring, packed, slot, HG_BURST_N, HG_PERM_READ);
    unsigned frames = 0;
    unsigned faults = 0;
    uint64_t bytes = 0;
    uint64_t copied = 0;

    for (; frames < n; frames++) {
        struct vq_slot *s = &slot[frames];
        struct hg_pkt *pkt = &b->pkt[b->n];
        enum outcome outcome;

        /* Always room for the longest chain: the rest waits for the next burst. */
        if (hg_unlikely(b->seg_n > HG_BURST_SEGS - HG_CHAIN_SEGS_MAX))
            break;
        if (hg_likely(s->simple))
            outcome = receive_simple(ring, s, b, pkt, stats) ? RECEIVED : REFUSED;
        else
            outcome = receive_chain(ring, s, b, pkt, stats);
        if (hg_unlikely(outcome == STUCK))
            break;
        ring->last_avail = (uint16_t)(ring->last_avail + s->desc_n);
        if (!in_order)
            vq_put_used(ring, packed, s->id, s->desc_n, 0);
        if (hg_likely(outcome == RECEIVED)) {
            b->n++;
            bytes += pkt->len;
            copied += pkt->head_len;
        } else if (outcome == FAULTED) {
            faults++;
        }
    }
    if (frames != 0) {
        if (in_order)
            vq_put_used(ring, packed, slot[frames - 1].id, (uint16_t)(ring->last_avail - from), 0);
        hg_count_add(&stats->packets, frames);
        hg_count_add(&stats->bytes, bytes);
        hg_count_add(&stats->bytes_copied, copied);
        hg_count_add(&stats->bursts, 1);
    }
    vq_end(ring, HG_PERM_READ, from, frames - faults);
    return b->n;
}

unsigned hg_vq_dev_rx(struct hg_vq_dev *ring, struct hg_burst *b, struct hg_queue_stats *stats)
{
    b->n = 0;
    b->seg_n = 0;
    if (!vq_begin(ring))
        return 0;
    return ring->packed ? receive(ring, true, b, stats) : receive(ring, false, b, stats);
}

bool hg_vq_dev_rx_done(struct hg_vq_dev *ring)
{
    return ring->packed ? packed_publish_used(ring) : split_publish_used(ring);
}
