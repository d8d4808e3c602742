/*
 * The hot contract: what workers call, once per burst. The ring is whatever `live` points to at
 * that moment; between rx and done, and during tx, control waits for us (hg_qsbr_wait).
 *
 * Receiving lends the frames where they lie: the virtio header and the head are copied, each by
 * itself (docs/decisions/0002-borrowed-packets.md says why), the rest becomes segments. Used chains
 * are free in the ring as soon as they are reaped, but nobody adds them again before done(), so the
 * buffers stay ours for the burst.
 *
 * Transmitting copies into our buffers: one for most frames, a chain of them for a long one.
 */
#include <string.h>

#include "base/raise.h"
#include "base/shm.h"
#include "port/virtio_user/state.h"
#include "sync/qsbr.h"
#include "virtio/net_hdr.h"
#include "wire/eth.h"

_Static_assert((int)HG_VU_BUF_BYTES >= (int)HG_NET_HDR_BYTES + (int)HG_HEAD_BYTES,
               "the head fits into the first buffer");

static void kick(const struct hg_vu_side *side, struct hg_queue_stats *stats)
{
    if (hg_raise(side->kick_fd))
        hg_count_add(&stats->notifications, 1);
}

static void drop(struct hg_queue_stats *stats, enum hg_drop reason)
{
    hg_count_add(&stats->drops.reason[reason], 1);
}

/* Used chains of a burst, taken from the ring as they are needed. */
struct reaped {
    struct hg_drv_used used[HG_BURST_N];
    unsigned n;
    unsigned next;
};

static bool reap(const struct hg_vu_side *side, struct hg_drv *drv, struct reaped *r, unsigned want)
{
    r->next = 0;
    r->n = hg_drv_reap(drv, r->used, hg_min_u32(want, HG_BURST_N));
    for (unsigned i = 0; i < r->n; i++) {
        hg_shm_expect_read(hg_vu_buf(side, r->used[i].id));
        hg_shm_expect_read(hg_vu_buf(side, r->used[i].id) + HG_CACHE_LINE_BYTES);
    }
    return r->n != 0;
}

static void lend(struct hg_burst *b, struct hg_pkt *pkt, const uint8_t *addr, uint32_t len)
{
    b->seg[b->seg_n++] = (struct hg_seg){addr, len};
    pkt->seg_n++;
}

/* Adds the buffers of a merged frame behind its first (virtio 1.2, 5.1.6.4). False when the device
 * has not used as many as it said: the ring is broken then. */
static bool lend_merged(struct hg_vu_side *side, struct hg_drv *drv, struct reaped *r, unsigned n,
                        struct hg_burst *b, struct hg_pkt *pkt)
{
    for (unsigned i = 0; i < n; i++) {
        if (r->next == r->n && !reap(side, drv, r, n - i)) {
            hg_drv_break(drv, HG_DRV_NUM_BUFFERS, n + 1);
            return false;
        }
        const struct hg_drv_used *used = &r->used[r->next++];

        if (used->len != 0)
            lend(b, pkt, hg_vu_buf(side, used->id), used->len);
        pkt->len += used->len;
    }
    return true;
}

/* Why a frame that has arrived cannot be passed on, or HG_DROP_N. Fills pkt->ol. */
static enum hg_drop judge(const struct hg_net_hdr *hdr, bool short_first, struct hg_pkt *pkt)
{
    if (pkt->len < HG_ETH_BYTES)
        return HG_DROP_RUNT;
    if (pkt->len > HG_FRAME_BYTES_MAX)
        return HG_DROP_OVERSIZE;
    /* All buffers but the last are full (5.1.6.4), so that the head is whole. */
    if (short_first)
        return HG_DROP_BAD_DESCRIPTOR;
    if (!hg_net_hdr_read(hdr, true, pkt))
        return HG_DROP_BAD_OFFLOAD;
    return HG_DROP_N;
}

/* Takes the next frame. Returns whether it is good; a bad one is counted. */
static bool receive(struct hg_vu_side *side, struct hg_drv *drv, struct reaped *r,
                    struct hg_burst *b, struct hg_pkt *pkt, struct hg_queue_stats *stats)
{
    struct hg_drv_used used = r->used[r->next++];
    const uint8_t *buf = hg_vu_buf(side, used.id);
    const uint8_t *frame = buf + HG_NET_HDR_BYTES;
    struct hg_net_hdr hdr;

    if (hg_unlikely(used.len < sizeof(hdr))) {
        drop(stats, HG_DROP_RUNT);
        return false;
    }
    hg_shm_in(&hdr, buf, sizeof(hdr));
    pkt->len = used.len - (uint32_t)sizeof(hdr);
    pkt->head_len = (uint16_t)hg_min_u32(pkt->len, HG_HEAD_BYTES);
    hg_shm_in_short(pkt->head, frame, pkt->head_len);
    pkt->seg = &b->seg[b->seg_n];
    pkt->seg_n = 0;
    if (pkt->len > pkt->head_len)
        lend(b, pkt, frame + pkt->head_len, pkt->len - pkt->head_len);
    if (hg_unlikely(hdr.num_buffers > 1) &&
        !lend_merged(side, drv, r, hdr.num_buffers - 1u, b, pkt)) {
        drop(stats, HG_DROP_BAD_DESCRIPTOR);
        return false;
    }

    enum hg_drop reason = judge(&hdr, hdr.num_buffers > 1 && used.len < HG_VU_BUF_BYTES, pkt);

    if (hg_likely(reason == HG_DROP_N))
        return true;
    drop(stats, reason);
    return false;
}

static struct hg_vu_side *rx_side(struct hg_rxq *q)
{
    return &hg_container_of(q, struct hg_vu_pair, rxq)->rx;
}

static unsigned rx(struct hg_rxq *q, struct hg_burst *b)
{
    struct hg_vu_side *side = rx_side(q);
    struct hg_drv *drv = hg_qsbr_read(&side->live);
    struct reaped r;
    uint64_t frames = 0, bytes = 0, copied = 0;

    b->n = 0;
    b->seg_n = 0;
    side->in_burst = drv;
    if (hg_unlikely(drv == NULL) || !reap(side, drv, &r, HG_BURST_N))
        return 0;
    while (r.next < r.n) {
        struct hg_pkt *pkt = &b->pkt[b->n];

        frames++;
        if (hg_likely(receive(side, drv, &r, b, pkt, &q->stats))) {
            pkt->port = q->port->id;
            bytes += pkt->len;
            copied += pkt->head_len;
            b->n++;
        }
    }
    hg_count_add(&q->stats.packets, frames);
    hg_count_add(&q->stats.bytes, bytes);
    hg_count_add(&q->stats.bytes_copied, copied);
    hg_count_add(&q->stats.bursts, 1);
    return b->n;
}

/* Posts the next n free buffers. */
static void post(struct hg_vu_side *side, struct hg_drv *drv, unsigned n)
{
    struct hg_drv_buf bufs[HG_BURST_N];

    for (unsigned i = 0; i < n; i++)
        bufs[i] = (struct hg_drv_buf){
            .addr = side->bufs_addr + (uint64_t)hg_drv_id(drv, i) * HG_VU_BUF_BYTES,
            .len = HG_VU_BUF_BYTES,
            .flags = HG_DESC_F_WRITE,
        };
    hg_drv_add(drv, bufs, n);
}

static void post_free(struct hg_vu_side *side, struct hg_drv *drv)
{
    while (drv->free_n != 0)
        post(side, drv, hg_min_u32(drv->free_n, HG_BURST_N));
}

static void done(struct hg_rxq *q)
{
    struct hg_vu_side *side = rx_side(q);
    struct hg_drv *drv = side->in_burst;

    if (hg_unlikely(drv == NULL))
        return;
    post_free(side, drv);
    if (hg_drv_publish(drv))
        kick(side, &q->stats);
}

/* A queue that is about to start or stop: do not sleep on it. */
static bool arm(struct hg_rxq *q)
{
    struct hg_drv *drv = hg_qsbr_read(&rx_side(q)->live);

    return drv == NULL || hg_drv_arm(drv);
}

static void disarm(struct hg_rxq *q)
{
    struct hg_drv *drv = hg_qsbr_read(&rx_side(q)->live);

    if (drv != NULL)
        hg_drv_disarm(drv);
}

/* Where the next byte of a frame goes, over a run of free buffers. */
struct cursor {
    const struct hg_vu_side *side;
    const struct hg_drv *drv;
    unsigned k;      /* buffer of the run */
    uint32_t offset; /* in it */
};

static void append(struct cursor *to, const uint8_t *from, uint32_t len)
{
    while (len != 0) {
        uint32_t part = hg_min_u32(len, HG_VU_BUF_BYTES - to->offset);
        uint8_t *buf = hg_vu_buf(to->side, hg_drv_id(to->drv, to->k));

        hg_shm_through(buf + to->offset, from, part);
        from += part;
        len -= part;
        to->offset += part;
        if (to->offset == HG_VU_BUF_BYTES) {
            to->offset = 0;
            to->k++;
        }
    }
}

/* Copies a frame into the next n free buffers and adds them as a chain. */
static void transmit(struct hg_vu_side *side, struct hg_drv *drv, const struct hg_pkt *pkt,
                     unsigned n)
{
    struct cursor to = {.side = side, .drv = drv};
    struct hg_net_hdr hdr;
    struct hg_drv_buf bufs[HG_VU_QUEUE_SIZE_MIN];
    uint32_t left = HG_NET_HDR_BYTES + pkt->len;

    /* A driver does not vouch for checksums (5.1.6.2.1), and num_buffers is not its field. */
    hg_net_hdr_write(&hdr, pkt, 0);
    hdr.flags &= HG_NET_HDR_F_NEEDS_CSUM;
    append(&to, (const uint8_t *)&hdr, sizeof(hdr));
    append(&to, pkt->head, pkt->head_len);
    for (unsigned i = 0; i < pkt->seg_n; i++)
        append(&to, pkt->seg[i].addr, pkt->seg[i].len);
    for (unsigned i = 0; i < n; i++) {
        uint32_t part = hg_min_u32(left, HG_VU_BUF_BYTES);

        bufs[i] = (struct hg_drv_buf){
            .addr = side->bufs_addr + (uint64_t)hg_drv_id(drv, i) * HG_VU_BUF_BYTES,
            .len = part,
        };
        left -= part;
    }
    if (hg_likely(n == 1))
        hg_drv_add(drv, bufs, 1);
    else
        hg_drv_add_chain(drv, bufs, n, 0);
}

static unsigned tx(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    struct hg_vu_side *side = &hg_container_of(q, struct hg_vu_pair, txq)->tx;
    struct hg_drv *drv = hg_qsbr_read(&side->live);
    uint64_t bytes = 0;
    unsigned sent = 0;

    if (hg_unlikely(drv == NULL))
        return 0;
    for (; sent < n; sent++) {
        const struct hg_pkt *pkt = pkts[sent];
        unsigned buf_n = (HG_NET_HDR_BYTES + pkt->len + HG_VU_BUF_BYTES - 1) / HG_VU_BUF_BYTES;

        if (drv->free_n < buf_n)
            hg_drv_reclaim(drv, drv->num);
        if (drv->free_n < buf_n)
            break;
        transmit(side, drv, pkt, buf_n);
        bytes += pkt->len;
    }
    if (sent == 0)
        return 0;
    if (hg_drv_publish(drv))
        kick(side, &q->stats);
    hg_count_add(&q->stats.packets, sent);
    hg_count_add(&q->stats.bytes, bytes);
    hg_count_add(&q->stats.bytes_copied, bytes);
    hg_count_add(&q->stats.bursts, 1);
    return sent;
}

void hg_vu_post_all(struct hg_vu_side *side)
{
    post_free(side, &side->drv);
    if (hg_drv_publish(&side->drv))
        hg_raise(side->kick_fd);
}

void hg_vu_pair_init(struct hg_vu_port *vu, unsigned index)
{
    struct hg_vu_pair *pair = &vu->pair[index];

    pair->rxq = (struct hg_rxq){
        .rx = rx,
        .done = done,
        .arm = arm,
        .disarm = disarm,
        .fd = -1,
        .index = (uint16_t)index,
        .port = vu->port,
    };
    pair->txq = (struct hg_txq){
        .tx = tx,
        .index = (uint16_t)index,
        .port = vu->port,
    };
    pair->rx.kick_fd = pair->rx.call_fd = pair->tx.kick_fd = pair->tx.call_fd = -1;
    vu->port->rxq[index] = &pair->rxq;
    vu->port->txq[index] = &pair->txq;
}
