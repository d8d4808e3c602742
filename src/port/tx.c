/*
 * Transmitting to a port: which queue, and what software has to do first.
 *
 *   hg_port_tx --one queue---------------------------> to_queue --nothing to do--> hand_over
 *              --several: a stable partition by hash-> to_queue --else--> prepare --> hand_over
 *
 * The common case adds nothing to the driver's own work but one look at each packet's offload
 * flags, and not even that where the receiver takes everything.
 *
 * A frame that asks for what its receiver does not take is prepared in a scratch slot: a private
 * copy of the head, or the segments cut from it, with the payload still borrowed. The frame itself
 * stays as it is, because it may be flooded to others. Prepared and plain frames go out in one
 * sequence, in the order given.
 *
 * Accounts, per queue and exactly: frames given + segmented = stats.packets + all of stats.drops +
 * those that the driver keeps for now. When the receiver runs full, the rest of the call is lost as
 * tx_full at once and nothing more is prepared for it: a sender that asks for tiny segments cannot
 * make us cut more than its receiver takes.
 */
#include <stddef.h>
#include <string.h>

#include "pkt/gso.h"
#include "port/port.h"

/* Frames on their way to the driver, and those of them that had to be prepared. */
struct scratch {
    struct hg_txq *q;
    bool full; /* the receiver is: do not try again in this call */
    unsigned out_n;
    unsigned slot_n;
    unsigned slice_n;
    struct hg_pkt *out[HG_BURST_N];
    struct hg_pkt slot[HG_BURST_N];
    struct hg_seg slice[HG_GSO_SLICES_MAX];
};

static void drop(struct hg_txq *q, enum hg_drop reason, uint64_t n)
{
    if (n != 0)
        hg_count_add(&q->stats.drops.reason[reason], n);
}

/* Gives n frames to the driver and counts those for which there was no room. */
static bool hand_over(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    unsigned dealt_n = q->tx(q, pkts, n);

    if (hg_likely(dealt_n == n))
        return true;
    /* A queue that has stopped meanwhile accepts nothing. */
    drop(q,
         atomic_load_explicit(&q->running, memory_order_relaxed) ? HG_DROP_TX_FULL
                                                                 : HG_DROP_PORT_DOWN,
         n - dealt_n);
    return false;
}

/* HG_TX_* that a frame asks its receiver for. */
static inline unsigned wanted(const struct hg_offload *ol)
{
    unsigned want = ol->flags & HG_OL_NEEDS_CSUM ? HG_TX_CSUM : 0;

    if (hg_unlikely(ol->gso != HG_GSO_NONE)) {
        want |= ol->gso == HG_GSO_TCP4 ? HG_TX_TSO4 : HG_TX_TSO6;
        want |= ol->flags & HG_OL_TCP_ECN ? HG_TX_ECN : 0;
    }
    return want;
}

static void flush(struct scratch *s)
{
    if (s->out_n != 0 && !hand_over(s->q, s->out, s->out_n))
        s->full = true;
    s->out_n = 0;
    s->slot_n = 0;
    s->slice_n = 0;
}

static void put(struct scratch *s, struct hg_pkt *pkt)
{
    s->out[s->out_n++] = pkt;
    if (s->out_n == HG_BURST_N)
        flush(s);
}

/* Cuts a frame. The receiver may take checksums while it does not take segmentation. */
static void put_segments(struct scratch *s, const struct hg_pkt *pkt, unsigned offloads)
{
    struct hg_gso_iter gso;

    if (!hg_gso_begin(&gso, pkt)) {
        drop(s->q, HG_DROP_TX_NO_OFFLOAD, 1);
        return;
    }
    hg_count_add(&s->q->segmented, hg_gso_left(&gso) - 1);
    while (hg_gso_left(&gso) != 0 && !s->full) {
        struct hg_pkt *slot = &s->slot[s->slot_n];

        if (!hg_gso_next(&gso, slot, s->slice + s->slice_n, HG_GSO_SLICES_MAX - s->slice_n)) {
            flush(s); /* then there is room: any segment fits into all the slices */
            continue;
        }
        s->slot_n++;
        s->slice_n += slot->seg_n;
        if (!(offloads & HG_TX_CSUM))
            hg_csum_finish(slot); /* cannot fail: the TCP header is in the head */
        put(s, slot);
    }
    drop(s->q, HG_DROP_TX_FULL, hg_gso_left(&gso));
}

static void put_summed(struct scratch *s, const struct hg_pkt *pkt)
{
    struct hg_pkt *slot = &s->slot[s->slot_n];

    memcpy(slot, pkt, offsetof(struct hg_pkt, head));
    memcpy(slot->head, pkt->head, pkt->head_len);
    if (!hg_csum_finish(slot)) {
        drop(s->q, HG_DROP_TX_NO_OFFLOAD, 1);
        return;
    }
    s->slot_n++;
    put(s, slot);
}

/* The slow way: at least one of the frames has to be prepared. Not inlined, because its scratch
 * takes 27 KiB of stack that the fast way should not have to reserve. */
static __attribute__((noinline)) void prepare(struct hg_txq *q, unsigned offloads,
                                              struct hg_pkt *const *pkts, unsigned n)
{
    struct scratch s;

    s.q = q;
    s.full = false;
    s.out_n = s.slot_n = s.slice_n = 0;
    for (unsigned i = 0; i < n; i++) {
        unsigned lacking = wanted(&pkts[i]->ol) & ~offloads;

        if (s.full)
            drop(q, HG_DROP_TX_FULL, 1);
        else if (lacking == 0)
            put(&s, pkts[i]);
        else if (pkts[i]->ol.gso != HG_GSO_NONE)
            put_segments(&s, pkts[i], offloads);
        else
            put_summed(&s, pkts[i]);
    }
    flush(&s);
}

static void to_queue(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    unsigned offloads = atomic_load_explicit(&q->offloads, memory_order_relaxed);
    unsigned want = 0;

    if (offloads != HG_TX_ALL) {
        for (unsigned i = 0; i < n; i++)
            want |= wanted(&pkts[i]->ol);
    }
    hg_spin_lock(&q->lock);
    if (hg_likely((want & ~offloads) == 0))
        hand_over(q, pkts, n);
    else
        prepare(q, offloads, pkts, n);
    hg_spin_unlock(&q->lock);
}

/* A stable partition: what goes to one queue keeps its order. */
static void spread(struct hg_port *port, struct hg_pkt *const *pkts, unsigned n, unsigned queue_n)
{
    uint8_t queue_of[HG_BURST_N];
    unsigned used = 0; /* a bit per queue */

    for (unsigned i = 0; i < n; i++) {
        queue_of[i] = (uint8_t)((uint64_t)pkts[i]->flow_hash * queue_n >> 32);
        used |= 1u << queue_of[i];
    }
    for (; used != 0; used &= used - 1) {
        unsigned q = (unsigned)__builtin_ctz(used);
        struct hg_pkt *chosen[HG_BURST_N];
        unsigned chosen_n = 0;

        for (unsigned i = 0; i < n; i++) {
            if (queue_of[i] == q)
                chosen[chosen_n++] = pkts[i];
        }
        to_queue(port->txq[q], chosen, chosen_n);
    }
}

void hg_port_tx(struct hg_port *port, struct hg_pkt *const *pkts, unsigned n)
{
    /* Acquire: pairs with the driver's release after it has set the queues up. */
    unsigned queue_n = atomic_load_explicit(&port->txq_running_n, memory_order_acquire);

    if (hg_likely(queue_n == 1)) {
        to_queue(port->txq[0], pkts, n);
    } else if (queue_n > 1) {
        spread(port, pkts, n, queue_n);
    } else {
        hg_spin_lock(&port->txq[0]->lock);
        drop(port->txq[0], HG_DROP_PORT_DOWN, n);
        hg_spin_unlock(&port->txq[0]->lock);
    }
}
