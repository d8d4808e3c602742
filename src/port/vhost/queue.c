/*
 * The hot contract: what workers call, once per burst. The ring is whatever `live` points to at that
 * moment; between rx and done, and during tx, control waits for us (hg_qsbr_wait).
 *
 * Who uses what. A pair's receive queue and its ring `rx` belong to the worker that polls them. The
 * ring `tx` belongs to whoever holds txq.lock: any worker that transmits, and the pair's own poller, which
 * does what must not wait for the next frame (tend()): it sends held interrupts when their time has come.
 *
 * The poller looks at one word, rx.chores, and takes the lock only if it is free: a receive queue never
 * waits for a transmit queue. From the moment at which it arms to go to sleep, to its next poll,
 * HG_CHORE_AWAY says that it is not there, and who transmits holds nothing back.
 */
#include "base/clock.h"
#include "base/raise.h"
#include "port/vhost/state.h"
#include "sync/qsbr.h"

static struct hg_vhost_pair *pair_of_rxq(struct hg_rxq *q)
{
    return hg_container_of(q, struct hg_vhost_pair, rxq);
}

/* ---- interrupts ---- */

static void interrupt(const struct hg_vhost_ring *ring, struct hg_queue_stats *stats)
{
    if (hg_raise(ring->dev.call_fd))
        hg_count_add(&stats->notifications, 1);
}

static void send_held(struct hg_vhost_ring *ring, struct hg_queue_stats *stats)
{
    if (!ring->held.on)
        return;
    ring->held.on = false;
    hg_count_add(&stats->notifications_saved, ring->held.bursts_n - 1);
    interrupt(ring, stats);
}

/* Notes frames that have been returned, of which the guest wants to hear or not. */
static void hold(struct hg_held *held, uint64_t now_ns, uint32_t frames_n, bool wanted)
{
    if (!held->on) {
        if (!wanted)
            return;
        held->on = true;
        held->since_ns = now_ns;
        held->frames_n = held->bursts_n = 0;
    }
    held->frames_n += frames_n;
    held->bursts_n++;
}

/* Whether a held interrupt may not be held any longer. The time may be a little before the first frame. */
static bool is_due(const struct hg_held *held, uint64_t now_ns)
{
    return held->frames_n >= held->frames_max ||
           (int64_t)(now_ns - held->since_ns) >= (int64_t)held->limit_ns;
}

/* ---- the transmit queue, under its lock ---- */

static unsigned chores_of(const struct hg_vhost_pair *pair)
{
    return atomic_load_explicit(&pair->rx.chores, memory_order_relaxed);
}

/* Sets or clears bits. The word lies on a line of the poller's: it is written only to change. */
static void set_chores(struct hg_vhost_pair *pair, unsigned bits, bool on)
{
    unsigned was = chores_of(pair);
    unsigned is = on ? was | bits : was & ~bits;

    if (is != was)
        atomic_store_explicit(&pair->rx.chores, is, memory_order_relaxed);
}

static void tx_returned(struct hg_vhost_pair *pair, unsigned n, bool wanted)
{
    struct hg_held *held = &pair->tx.held;

    if (hg_likely(held->limit_ns == 0)) {
        if (wanted)
            interrupt(&pair->tx, &pair->txq.stats);
    } else if (wanted || (held->on && n != 0)) {
        uint64_t now_ns = hg_now_ns();

        hold(held, now_ns, n, wanted);
        if (is_due(held, now_ns) || (chores_of(pair) & HG_CHORE_AWAY) != 0)
            send_held(&pair->tx, &pair->txq.stats);
        set_chores(pair, HG_CHORE_HELD, held->on);
    }
}

/* Writes frames to the guest as far as it goes. */
static unsigned deliver(struct hg_vhost_pair *pair, struct hg_vq_dev *dev,
                        struct hg_pkt *const *pkts, unsigned n)
{
    bool wanted;
    unsigned done = hg_vq_dev_tx(dev, pkts, n, &pair->txq.stats, &wanted);

    tx_returned(pair, done, wanted);
    return done;
}

static unsigned tx(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    struct hg_vhost_pair *pair = hg_container_of(q, struct hg_vhost_pair, txq);
    struct hg_vq_dev *dev = hg_qsbr_read(&pair->tx.live);

    if (hg_unlikely(dev == NULL))
        return 0;
    return deliver(pair, dev, pkts, n);
}

/* ---- the receive queue ---- */

/* What a poll does for the transmit queue, unless somebody transmits just now. */
static void tend(struct hg_vhost_pair *pair)
{
    struct hg_vq_dev *dev;

    if (!hg_spin_try(&pair->txq.lock))
        return;
    set_chores(pair, HG_CHORE_AWAY, false);
    dev = hg_qsbr_read(&pair->tx.live);
    if (dev != NULL) {
        if (pair->tx.held.on && is_due(&pair->tx.held, pair->poll_ns)) {
            send_held(&pair->tx, &pair->txq.stats);
            set_chores(pair, HG_CHORE_HELD, false);
        }
    }
    hg_spin_unlock(&pair->txq.lock);
}

/* The part of a poll that comes behind the receiving. */
static void attend(struct hg_vhost_pair *pair, unsigned n)
{
    struct hg_held *held = &pair->rx.held;
    unsigned chores = chores_of(pair);

    if (hg_unlikely(held->limit_ns != 0)) {
        pair->poll_ns = hg_now_ns();
        pair->poll_n = n;
        /* With frames, done() decides. */
        if (n == 0 && held->on && is_due(held, pair->poll_ns))
            send_held(&pair->rx, &pair->rxq.stats);
    }
    if (hg_unlikely(chores != 0))
        tend(pair);
}

static unsigned rx(struct hg_rxq *q, struct hg_burst *b)
{
    struct hg_vhost_pair *pair = pair_of_rxq(q);
    struct hg_vhost_ring *ring = &pair->rx;
    struct hg_vq_dev *dev = hg_qsbr_read(&ring->live);

    ring->in_burst = dev;
    if (hg_unlikely(dev == NULL)) {
        b->n = 0;
        b->seg_n = 0;
        return 0;
    }
    unsigned n = hg_vq_dev_rx(dev, b, &q->stats);

    attend(pair, n);
    if (hg_unlikely(atomic_load_explicit(&ring->discard, memory_order_relaxed))) {
        hg_count_add(&q->stats.drops.reason[HG_DROP_QUEUE_DISABLED], n);
        b->n = 0;
        return 0;
    }
    for (unsigned i = 0; i < n; i++)
        b->pkt[i].port = q->port->id;
    return n;
}

static void done(struct hg_rxq *q)
{
    struct hg_vhost_pair *pair = pair_of_rxq(q);
    struct hg_vhost_ring *ring = &pair->rx;
    struct hg_vq_dev *dev = ring->in_burst;
    bool wanted;

    if (hg_unlikely(dev == NULL))
        return;
    wanted = hg_vq_dev_rx_done(dev);
    if (hg_likely(ring->held.limit_ns == 0)) {
        if (wanted)
            interrupt(ring, &q->stats);
    } else if (pair->poll_n != 0 || wanted) {
        hold(&ring->held, pair->poll_ns, pair->poll_n, wanted);
        if (ring->held.on && is_due(&ring->held, pair->poll_ns))
            send_held(ring, &q->stats);
    }
}

/* Whether the poller has duties for its transmit queue, on which others may rely. */
static bool tends(const struct hg_vhost_pair *pair)
{
    return pair->tx.held.limit_ns != 0;
}

/* The poller goes. */
static void leave(struct hg_vhost_pair *pair)
{
    hg_spin_lock(&pair->txq.lock);
    set_chores(pair, HG_CHORE_AWAY, true);
    if (hg_qsbr_read(&pair->tx.live) != NULL) {
        send_held(&pair->tx, &pair->txq.stats);
        set_chores(pair, HG_CHORE_HELD, false);
    }
    hg_spin_unlock(&pair->txq.lock);
}

/* A ring that is paused may hold frames already, and their kick may be past: do not sleep on it. */
static bool arm(struct hg_rxq *q)
{
    struct hg_vhost_pair *pair = pair_of_rxq(q);
    struct hg_vq_dev *dev = hg_qsbr_read(&pair->rx.live);

    if (dev == NULL)
        return true;
    send_held(&pair->rx, &q->stats);
    if (tends(pair))
        leave(pair);
    return hg_vq_dev_arm(dev);
}

/* Also by control, for a poller that has left its worker without having been armed. */
static void disarm(struct hg_rxq *q)
{
    struct hg_vhost_pair *pair = pair_of_rxq(q);
    struct hg_vq_dev *dev = hg_qsbr_read(&pair->rx.live);

    if (dev != NULL) {
        send_held(&pair->rx, &q->stats);
        hg_vq_dev_disarm(dev);
    }
    if (tends(pair) && (chores_of(pair) & HG_CHORE_AWAY) == 0)
        leave(pair);
}

/* ---- control ---- */

void hg_vhost_queue_end(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    struct hg_vhost_pair *pair = &vp->pair[ring->index / 2];

    if (ring == &pair->rx) {
        send_held(ring, &pair->rxq.stats);
        return;
    }
    /* The lock is for the counters: workers count what they find the queue stopped for. */
    hg_spin_lock(&pair->txq.lock);
    send_held(ring, &pair->txq.stats);
    set_chores(pair, HG_CHORE_AWAY, true);
    set_chores(pair, ~(unsigned)HG_CHORE_AWAY, false);
    hg_spin_unlock(&pair->txq.lock);
}

static void init_ring(struct hg_vhost_ring *ring, unsigned index, const struct hg_held *held)
{
    ring->index = (uint16_t)index;
    ring->kick_fd = ring->call_fd = ring->err_fd = -1;
    ring->held = *held;
}

void hg_vhost_pair_init(struct hg_vhost_port *vp, unsigned index,
                        const struct hg_vhost_port_options *options)
{
    const struct hg_held held = {
        .limit_ns = options->coalesce_us * HG_NS_PER_US,
        .frames_max = options->coalesce_frames,
    };
    struct hg_vhost_pair *pair = &vp->pair[index];

    pair->rxq = (struct hg_rxq){
        .rx = rx,
        .done = done,
        .arm = arm,
        .disarm = disarm,
        .fd = -1,
        .index = (uint16_t)index,
        .port = vp->port,
    };
    pair->txq = (struct hg_txq){
        .tx = tx,
        .index = (uint16_t)index,
        .port = vp->port,
    };
    init_ring(&pair->tx, 2 * index, &held);
    init_ring(&pair->rx, 2 * index + 1, &held);
    set_chores(pair, HG_CHORE_AWAY, true);
    vp->port->rxq[index] = &pair->rxq;
    vp->port->txq[index] = &pair->txq;
}
