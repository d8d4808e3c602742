/*
 * Transmitting: packets of a burst are written into buffers that the guest has posted.
 *
 * As in vq_rx.c the descriptors of a burst are loaded before the first copy, and the destination's
 * lines are asked for in writable state, so that their transfers overlap. A slot is one entry of
 * the ring. The common packet fits the one writable buffer of its slot, contiguous here:
 * transmit_simple(). With mergeable buffers (virtio 1.2, 5.1.6.4) a longer one takes several slots,
 * otherwise it must fit the chain of one: transmit_pieces().
 *
 * A packet for which the guest has not posted enough takes nothing, nor does one whose buffers lack
 * a translation: the caller keeps it. Buffers that the IOTLB refuses go back empty and the packet
 * takes the next ones: that a driver posts what it has not mapped is its own mistake, or one
 * mapping's end; the sender cannot know, and the good buffers behind it are not worth less. What a
 * driver can make us skip in one call has a bound, behind which packets are lost.
 */
#include <assert.h>
#include <string.h>

#include "virtio/net_hdr.h"
#include "virtio/vq_ring.h"

enum { SKIPPED_MAX = HG_BURST_N }; /* refused buffers in one call that cost no packet */

/* The slots ahead of last_avail that have been looked at. */
struct window {
    struct vq_slot slot[HG_BURST_N];
    unsigned n;
    unsigned next;
};

/* One slot that a packet takes. */
struct taken {
    uint32_t len; /* bytes that it holds */
    uint16_t id;
    uint16_t desc_n;
};

/* Room for the buffers of one packet. */
struct gather {
    struct hg_seg piece[2 * HG_CHAIN_SEGS_MAX];
    unsigned piece_n;
    struct taken slot[HG_CHAIN_SEGS_MAX];
    unsigned slot_n;
    unsigned desc_n; /* positions of the ring */
    uint64_t bytes;
};

/* One call of hg_vq_dev_tx(). */
struct call {
    struct hg_vq_dev *ring;
    struct hg_queue_stats *stats;
    unsigned used_n; /* slots that packets have taken */
    unsigned skipped_n;
};

VQ_SPECIALISED void look_ahead(struct hg_vq_dev *ring, bool packed, struct window *w, unsigned want)
{
    w->next = 0;
    w->n = vq_look_ahead(ring, packed, w->slot, want, HG_PERM_WRITE);
}

/* The header for a frame that fills n buffers. */
static void make_header(const struct hg_vq_dev *ring, const struct hg_pkt *pkt, uint16_t n,
                        struct hg_net_hdr *hdr)
{
    hg_net_hdr_write(hdr, pkt, n);
    if (hg_unlikely(!ring->csum_ok))
        hdr->flags = 0;
}

VQ_SPECIALISED void transmit_simple(struct hg_vq_dev *ring, bool packed, const struct vq_slot *slot,
                                    const struct hg_pkt *pkt)
{
    uint8_t *to = slot->host;
    struct hg_net_hdr hdr;

    make_header(ring, pkt, 1, &hdr);
    if (hg_likely(ring->hdr_len == HG_NET_HDR_BYTES))
        hg_shm_out(to, &hdr, HG_NET_HDR_BYTES);
    else
        hg_shm_out(to, &hdr, HG_NET_HDR_LEGACY_BYTES);
    to += ring->hdr_len;
    hg_shm_out_short(to, pkt->head, pkt->head_len);
    to += pkt->head_len;
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        hg_shm_through(to, pkt->seg[i].addr, pkt->seg[i].len);
        to += pkt->seg[i].len;
    }
    vq_put_used(ring, packed, slot->id, slot->desc_n, ring->hdr_len + pkt->len);
    ring->last_avail = (uint16_t)(ring->last_avail + slot->desc_n);
}

enum outcome {
    SENT,
    REFUSED, /* counted; its slots are returned */
    FULL, /* nothing taken: not enough is posted, the ring is broken, or a translation is missing */
};

/* Returns the gathered slots, with `total` bytes in them from the first one on. */
static void put_gathered(struct call *call, const struct gather *g, uint64_t total)
{
    for (unsigned i = 0; i < g->slot_n; i++) {
        uint32_t part = (uint32_t)hg_min_u64(g->slot[i].len, total);

        vq_put_used(call->ring, call->ring->packed, g->slot[i].id, g->slot[i].desc_n, part);
        total -= part;
    }
    call->ring->last_avail = (uint16_t)(call->ring->last_avail + g->desc_n);
}

static enum outcome refuse(struct call *call, const struct gather *g, enum hg_drop reason)
{
    put_gathered(call, g, 0);
    hg_count_add(&call->stats->drops.reason[reason], 1);
    return REFUSED;
}

/* Adds the next slot of the ring to the gather, translated as far as a packet of `total` bytes
 * needs. Behind an IOTLB as far as any frame needs, which is what was asked for ahead: a buffer
 * that was used and unmapped while a question about its rest is on its way makes a fault in the
 * guest's log. */
static enum vq_verdict gather_slot(struct hg_vq_dev *ring, struct gather *g, uint64_t total)
{
    uint64_t whole = (uint64_t)ring->hdr_len + HG_FRAME_BYTES_MAX;
    struct vq_chain chain = {
        .piece = &g->piece[g->piece_n],
        .room = (unsigned)HG_ARRAY_N(g->piece) - g->piece_n,
        .need = ring->space->iotlb != NULL ? whole : total - g->bytes,
    };
    enum vq_verdict verdict =
        vq_walk(ring, (uint16_t)(ring->last_avail + g->desc_n), HG_PERM_WRITE, &chain);

    if (verdict == VQ_MISSING)
        ring->missing = true;
    if (verdict == VQ_FAULTED)
        hg_count_add(&ring->iommu.faults[chain.fault], 1);
    if (verdict == VQ_MISSING || verdict == VQ_BROKEN)
        return verdict;
    g->slot[g->slot_n++] = (struct taken){
        .len = (uint32_t)hg_min_u64(chain.bytes, UINT32_MAX),
        .id = chain.id,
        .desc_n = chain.desc_n,
    };
    g->desc_n += chain.desc_n;
    g->piece_n += chain.piece_n;
    g->bytes += chain.bytes;
    return verdict;
}

static void start_gather(struct gather *g)
{
    g->piece_n = g->slot_n = g->desc_n = 0;
    g->bytes = 0;
}

/* Gathers slots until they hold `total` bytes: SENT when they do. */
static enum outcome gather(struct call *call, struct gather *g, uint64_t total)
{
    struct hg_vq_dev *ring = call->ring;

    start_gather(g);
    while (g->bytes < total) {
        if (g->slot_n == HG_CHAIN_SEGS_MAX || (g->slot_n > 0 && !ring->mergeable))
            return refuse(call, g, HG_DROP_TX_NO_ROOM);
        /* A ring of which all is posted can never hold the frame. */
        if (g->desc_n >= ring->num)
            return refuse(call, g, HG_DROP_TX_NO_ROOM);
        if (vq_broken(ring) || !vq_available(ring, ring->packed, g->desc_n))
            return FULL;
        switch (gather_slot(ring, g, total)) {
        case VQ_GOOD:
            break;
        case VQ_BAD:
            return refuse(call, g, HG_DROP_TX_BAD_BUFFER);
        case VQ_FAULTED:
            if (call->skipped_n >= SKIPPED_MAX) /* it grows by several */
                return refuse(call, g, HG_DROP_TX_IOMMU_FAULT);
            call->skipped_n += g->slot_n;
            put_gathered(call, g, 0);
            start_gather(g);
            break;
        case VQ_MISSING:
        case VQ_BROKEN:
            return FULL;
        }
    }
    return SENT;
}

/* Copies n bytes into the pieces from *at on: piece index and offset, which it advances. */
static void scatter(const struct gather *g, unsigned *index, uint32_t *offset, const uint8_t *from,
                    size_t n)
{
    while (n > 0) {
        /* The pieces hold the whole packet: transmit_pieces() has gathered until they did. */
        assert(*index < g->piece_n);
        const struct hg_seg *p = &g->piece[*index];
        size_t part = hg_min_u64(p->len - *offset, n);

        /* The pieces are the receiver's writable buffers. */
        hg_shm_through((uint8_t *)(uintptr_t)p->addr + *offset, from, part);
        from += part;
        n -= part;
        *offset += (uint32_t)part;
        if (*offset == p->len) {
            (*index)++;
            *offset = 0;
        }
    }
}

static enum outcome transmit_pieces(struct call *call, const struct hg_pkt *pkt)
{
    struct hg_vq_dev *ring = call->ring;
    uint64_t total = (uint64_t)ring->hdr_len + pkt->len;
    struct hg_net_hdr hdr;
    struct gather g;
    unsigned index = 0;
    uint32_t offset = 0;
    enum outcome outcome = gather(call, &g, total);

    if (outcome != SENT)
        return outcome;
    make_header(ring, pkt, (uint16_t)g.slot_n, &hdr);
    scatter(&g, &index, &offset, (const uint8_t *)&hdr, ring->hdr_len);
    scatter(&g, &index, &offset, pkt->head, pkt->head_len);
    for (unsigned i = 0; i < pkt->seg_n; i++)
        scatter(&g, &index, &offset, pkt->seg[i].addr, pkt->seg[i].len);
    put_gathered(call, &g, total);
    call->used_n += g.slot_n;
    return SENT;
}

VQ_SPECIALISED unsigned transmit(struct hg_vq_dev *ring, bool packed, struct hg_pkt *const *pkts,
                                 unsigned n, struct hg_queue_stats *stats)
{
    struct call call = {.ring = ring, .stats = stats};
    const uint16_t from = ring->last_avail;
    struct window w;
    unsigned done = 0;
    unsigned sent = 0;
    uint64_t bytes = 0;

    look_ahead(ring, packed, &w, n);
    for (; done < n; done++) {
        const struct hg_pkt *pkt = pkts[done];
        enum outcome outcome = SENT;

        if (hg_likely(w.next < w.n && w.slot[w.next].simple &&
                      w.slot[w.next].len >= ring->hdr_len + pkt->len)) {
            transmit_simple(ring, packed, &w.slot[w.next++], pkt);
            call.used_n++;
        } else {
            outcome = transmit_pieces(&call, pkt);
            if (outcome == FULL)
                break;
            look_ahead(ring, packed, &w, n - done - 1);
        }
        if (outcome == SENT) {
            sent++;
            bytes += pkt->len;
        }
    }
    if (sent != 0) {
        hg_count_add(&stats->packets, sent);
        hg_count_add(&stats->bytes, bytes);
        hg_count_add(&stats->bytes_copied, bytes);
        hg_count_add(&stats->bursts, 1);
    }
    vq_end(ring, HG_PERM_WRITE, from, call.used_n);
    return done;
}

unsigned hg_vq_dev_tx(struct hg_vq_dev *ring, struct hg_pkt *const *pkts, unsigned n,
                      struct hg_queue_stats *stats, bool *notify)
{
    unsigned done = 0;

    *notify = false;
    if (!vq_begin(ring))
        return 0;
    if (ring->packed) {
        done = transmit(ring, true, pkts, n, stats);
        *notify = packed_publish_used(ring);
    } else {
        done = transmit(ring, false, pkts, n, stats);
        *notify = split_publish_used(ring);
    }
    return done;
}
