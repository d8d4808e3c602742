/*
 * Transmitting: packets of a burst are written into buffers that the guest has posted.
 *
 * As in vq_rx.c the descriptors of a burst are loaded before the first copy, and the destination's
 * lines are asked for in writable state, so that their transfers overlap. A slot is one entry of the
 * available ring. The common packet fits the one writable buffer of its slot, contiguous here:
 * transmit_simple(). With mergeable buffers (virtio 1.2, 5.1.6.4) a longer one takes several slots,
 * otherwise it must fit the chain of one: transmit_pieces().
 *
 * A packet for which the guest has not posted enough takes nothing: the caller keeps it.
 */
#include <assert.h>
#include <string.h>

#include "virtio/net_hdr.h"
#include "virtio/split_ring.h"

/* The slots ahead of last_avail that have been looked at. */
struct window {
    struct split_slot slot[HG_BURST_N];
    unsigned n;
    unsigned next;
};

/* Room for the buffers of one packet. */
struct gather {
    struct hg_seg piece[2 * HG_CHAIN_SEGS_MAX];
    unsigned piece_n;
    uint16_t head[HG_CHAIN_SEGS_MAX]; /* one per slot taken */
    uint32_t len[HG_CHAIN_SEGS_MAX];  /* bytes that the slot's chain holds, then bytes written */
    unsigned slot_n;
    uint64_t bytes;
};

static void look_ahead(struct hg_vq_dev *ring, struct window *w, unsigned want)
{
    w->next = 0;
    w->n = split_look_ahead(ring, w->slot, want, HG_PERM_WRITE);
}

/* The header for a frame that fills n buffers. */
static void make_header(const struct hg_vq_dev *ring, const struct hg_pkt *pkt, uint16_t n,
                        struct hg_net_hdr *hdr)
{
    hg_net_hdr_write(hdr, pkt, n);
    if (hg_unlikely(!ring->csum_ok))
        hdr->flags = 0;
}

static void transmit_simple(struct hg_vq_dev *ring, const struct split_slot *slot,
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
    split_put_used(ring, slot->head, ring->hdr_len + pkt->len);
    ring->last_avail++;
}

enum outcome {
    SENT,
    REFUSED, /* counted; its slots are returned */
    FULL,    /* nothing taken */
};

static enum outcome refuse(struct hg_vq_dev *ring, const struct gather *g, enum hg_drop reason,
                           struct hg_queue_stats *stats)
{
    for (unsigned i = 0; i < g->slot_n; i++)
        split_put_used(ring, g->head[i], 0);
    ring->last_avail = (uint16_t)(ring->last_avail + g->slot_n);
    hg_count_add(&stats->drops.reason[reason], 1);
    return REFUSED;
}

/* Adds the next slot of the available ring to the gather. */
static enum split_walk gather_slot(struct hg_vq_dev *ring, struct gather *g)
{
    uint16_t head = split_load_head(ring, (uint16_t)(ring->last_avail + g->slot_n));
    unsigned piece_n;
    uint64_t bytes;
    enum split_walk walk =
        split_walk_chain(ring, head, HG_PERM_WRITE, &g->piece[g->piece_n],
                         (unsigned)HG_ARRAY_N(g->piece) - g->piece_n, &piece_n, &bytes);

    if (walk == SPLIT_WALK_BROKEN)
        return walk;
    g->head[g->slot_n] = head;
    g->len[g->slot_n] = (uint32_t)hg_min_u64(bytes, UINT32_MAX);
    g->slot_n++;
    if (walk == SPLIT_WALK_OK) {
        g->piece_n += piece_n;
        g->bytes += bytes;
    }
    return walk;
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

/* Returns the slots with the number of bytes that each of them got of `total`. */
static void put_gathered(struct hg_vq_dev *ring, const struct gather *g, uint64_t total)
{
    for (unsigned i = 0; i < g->slot_n; i++) {
        uint32_t part = (uint32_t)hg_min_u64(g->len[i], total);

        split_put_used(ring, g->head[i], part);
        total -= part;
    }
    ring->last_avail = (uint16_t)(ring->last_avail + g->slot_n);
}

static enum outcome transmit_pieces(struct hg_vq_dev *ring, const struct hg_pkt *pkt,
                                    struct hg_queue_stats *stats)
{
    uint64_t total = (uint64_t)ring->hdr_len + pkt->len;
    struct hg_net_hdr hdr;
    struct gather g;
    unsigned index = 0;
    uint32_t offset = 0;

    g.piece_n = g.slot_n = 0;
    g.bytes = 0;
    while (g.bytes < total) {
        if (g.slot_n == HG_CHAIN_SEGS_MAX || (g.slot_n > 0 && !ring->mergeable))
            return refuse(ring, &g, HG_DROP_TX_NO_ROOM, stats);
        if (split_available(ring, g.slot_n + 1) <= g.slot_n) {
            /* A ring of which all is posted can never hold the frame. */
            if (g.slot_n == ring->num)
                return refuse(ring, &g, HG_DROP_TX_NO_ROOM, stats);
            return FULL;
        }
        switch (gather_slot(ring, &g)) {
        case SPLIT_WALK_OK:
            break;
        case SPLIT_WALK_BAD_ADDRESS:
            return refuse(ring, &g, HG_DROP_TX_BAD_BUFFER, stats);
        case SPLIT_WALK_BROKEN:
            return FULL;
        }
    }
    make_header(ring, pkt, (uint16_t)g.slot_n, &hdr);
    scatter(&g, &index, &offset, (const uint8_t *)&hdr, ring->hdr_len);
    scatter(&g, &index, &offset, pkt->head, pkt->head_len);
    for (unsigned i = 0; i < pkt->seg_n; i++)
        scatter(&g, &index, &offset, pkt->seg[i].addr, pkt->seg[i].len);
    put_gathered(ring, &g, total);
    return SENT;
}

unsigned hg_vq_dev_tx(struct hg_vq_dev *ring, struct hg_pkt *const *pkts, unsigned n,
                      struct hg_queue_stats *stats, bool *notify)
{
    struct window w;
    unsigned done = 0;
    unsigned sent = 0;
    uint64_t bytes = 0;

    look_ahead(ring, &w, n);
    for (; done < n; done++) {
        const struct hg_pkt *pkt = pkts[done];
        enum outcome outcome = SENT;

        if (hg_likely(w.next < w.n && w.slot[w.next].simple &&
                      w.slot[w.next].len >= ring->hdr_len + pkt->len)) {
            transmit_simple(ring, &w.slot[w.next++], pkt);
        } else {
            outcome = transmit_pieces(ring, pkt, stats);
            if (outcome == FULL)
                break;
            look_ahead(ring, &w, n - done - 1);
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
    *notify = split_publish_used(ring);
    return done;
}
