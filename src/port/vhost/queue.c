/*
 * The hot contract: what workers call, once per burst. The ring is whatever `live` points to at
 * that moment; between rx and done, and during tx, control waits for us (hg_qsbr_wait).
 *
 * Who uses what. A pair's receive queue and its ring `rx` belong to the worker that polls them. The
 * ring `tx` belongs to whoever holds txq.lock: any worker that transmits, and the pair's own
 * poller, which does what must not wait for the next frame (tend()):
 *
 *   parked frames     sent once the translation that they wait for is there
 *   translate-ahead   buffers that the guest has posted are asked for before a frame needs them
 *   held interrupts   sent when their time has come
 *
 * The poller looks at one word, rx.chores, and takes the lock only if it is free: a receive queue
 * never waits for a transmit queue, nor, for that matter, for a translation.
 *
 * Going to sleep. A poller that is about to sleep arms what can end each kind of waiting, then
 * looks once more: the guest's kick for frames and for posted buffers, and `waiting` for answers to
 * misses, which control looks at after it has published any (hg_vhost_rings_retry()). Held
 * interrupts are sent. From then on until its next poll HG_CHORE_AWAY says that it is not there,
 * and who transmits holds nothing back and arms by himself what ends the waiting of frames that he
 * parks. (docs/memory-model.md, section 4.)
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/raise.h"
#include "base/shm.h"
#include "port/vhost/state.h"
#include "sync/qsbr.h"

enum {
    AHEAD_BURSTS_N = 1024, /* after the last miss, so long its mappings count as coming and going */
    AHEAD_IDLE_N = 8,      /* looks ahead once in so many polls in vain, then, */
    STILL_IDLE_N = 64,     /* and else */
    RESUME_BURSTS_N = 2,   /* of parked frames at once: more than a burst adds */
    REST_N = 4,            /* attempts to leave nothing undone for a poller that is away */
};

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

/* ---- the transmit queue, under its lock ---- */

static unsigned chores_of(const struct hg_vhost_pair *pair)
{
    return atomic_load_explicit(&pair->rx.chores, memory_order_relaxed);
}

/* The word lies on a line of the poller's: it is written only to change. */
static void set_chores(struct hg_vhost_pair *pair, unsigned bits, bool on)
{
    unsigned was = chores_of(pair);
    unsigned is = on ? was | bits : was & ~bits;

    if (is != was)
        atomic_store_explicit(&pair->rx.chores, is, memory_order_relaxed);
}

/* Nobody polls from now on, until a poll clears the bit. */
static void set_away(struct hg_vhost_pair *pair)
{
    atomic_store_explicit(&pair->called, false, memory_order_relaxed);
    set_chores(pair, HG_CHORE_AWAY, true);
}

static unsigned parked_n(const struct hg_vhost_pair *pair)
{
    return atomic_load_explicit(&pair->parked_now, memory_order_relaxed);
}

static void note_parked(struct hg_vhost_pair *pair)
{
    atomic_store_explicit(&pair->parked_now, pair->park->n, memory_order_relaxed);
    set_chores(pair, HG_CHORE_PARKED, pair->park->n != 0);
}

static void tx_returned(struct hg_vhost_pair *pair, unsigned n, bool wanted)
{
    struct hg_held *held = &pair->tx.held;

    if (hg_likely(held->limit_ns == 0)) {
        if (wanted)
            interrupt(&pair->tx, &pair->txq.stats);
    } else if (wanted || (held->on && n != 0)) {
        uint64_t now_ns = hg_now_ns();

        hg_held_add(held, now_ns, n, wanted);
        if (hg_held_is_due(held, now_ns) || (chores_of(pair) & HG_CHORE_AWAY) != 0)
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

/* Sends parked frames. Returns whether more of them could be sent now. */
static bool resume(struct hg_vhost_pair *pair, struct hg_vq_dev *dev)
{
    bool stopped = false;

    for (unsigned i = 0; i < RESUME_BURSTS_N && pair->park->n != 0 && !stopped; i++) {
        struct hg_pkt *pkts[HG_BURST_N];
        unsigned n = hg_park_oldest(pair->park, pkts);
        unsigned done = deliver(pair, dev, pkts, n);

        hg_park_remove(pair->park, done);
        stopped = done < n;
    }
    note_parked(pair);
    return pair->park->n != 0 && !stopped;
}

/* Keeps frames until the translation that the ring stopped at is there, behind those that wait
 * already. */
static void park(struct hg_vhost_pair *pair, struct hg_pkt *const *pkts, unsigned n)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < n && pair->park != NULL; i++)
        kept += hg_park_put(pair->park, pkts[i]);
    if (kept != 0) {
        hg_count_add(&pair->parked, kept);
        note_parked(pair);
    }
    if (kept != n)
        hg_count_add(&pair->txq.stats.drops.reason[HG_DROP_TX_PARK_FULL], n - kept);
}

/* Asks for the translations of buffers that the guest has posted, and remembers if there was
 * need. */
static void look_ahead(struct hg_vhost_pair *pair, struct hg_vq_dev *dev)
{
    if (hg_vq_dev_ahead(dev, HG_PERM_WRITE) || dev->missing)
        pair->ahead_n = AHEAD_BURSTS_N;
    set_chores(pair, HG_CHORE_AHEAD, pair->ahead_n != 0);
}

/*
 * For a poller that is not there, or is about to go: asks for every signal that can end the
 * waiting, then looks whether it was given before. True when there is something to do now.
 */
static bool rest(struct hg_vhost_pair *pair, struct hg_vq_dev *dev)
{
    /* In this order: a buffer that this look sees is tried, any later one is one to be told of. */
    look_ahead(pair, dev);
    if (parked_n(pair) != 0 && resume(pair, dev))
        return true;
    if (parked_n(pair) != 0 && !dev->missing)
        hg_vq_dev_widen(dev); /* they wait for buffers */
    pair->tx_armed = true;
    if (hg_vq_dev_arm_posted(dev))
        return true;
    if (parked_n(pair) == 0 || !dev->missing)
        return false;
    /* Pairs with hg_vhost_rings_retry(). */
    atomic_store_explicit(&pair->waiting, true, memory_order_relaxed);
    hg_shm_publish_then_look();
    return !hg_vq_dev_stalled(dev);
}

/* The same for who transmits in the poller's absence. A guest that goes on posting does not keep
 * him: then its own poller is to come. */
static void rest_or_wake(struct hg_vhost_pair *pair, struct hg_vq_dev *dev)
{
    for (unsigned i = 0; i < REST_N; i++)
        if (!rest(pair, dev))
            return;
    /* While the ring is shown in our burst, control does not change its descriptors; who shows it,
     * kicks. */
    if (hg_qsbr_read(&pair->rx.live) != NULL)
        hg_raise(pair->rx.kick_fd);
}

/* Transmits where guest addresses are translated. */
static unsigned tx_translated(struct hg_vhost_pair *pair, struct hg_vq_dev *dev,
                              struct hg_pkt *const *pkts, unsigned n)
{
    unsigned done = 0;

    if (hg_unlikely(parked_n(pair) != 0))
        resume(pair, dev);
    if (hg_likely(parked_n(pair) == 0))
        done = deliver(pair, dev, pkts, n);
    /* Where mappings come and go, buffers are away for longer than where they stand still. */
    if (hg_unlikely(done < n && (dev->missing || parked_n(pair) != 0 || pair->ahead_n != 0))) {
        park(pair, pkts + done, n - done);
        done = n;
    }
    if (hg_unlikely(dev->missing || pair->ahead_n != 0)) {
        if (pair->ahead_n != 0)
            pair->ahead_n--;
        look_ahead(pair, dev);
    }
    if (hg_unlikely(parked_n(pair) != 0) && (chores_of(pair) & HG_CHORE_AWAY) != 0)
        rest_or_wake(pair, dev);
    return done;
}

/* Transmits while the ring is taken away for a moment. Under a virtual IOMMU that may last for some
 * round trips: a guest that invalidates everything at once does so to the pages of its rings
 * too. */
static unsigned tx_paused(struct hg_vhost_pair *pair, struct hg_pkt *const *pkts, unsigned n)
{
    if (pair->park == NULL || !atomic_load_explicit(&pair->txq.running, memory_order_relaxed))
        return 0;
    park(pair, pkts, n);
    return n;
}

static unsigned tx(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    struct hg_vhost_pair *pair = hg_container_of(q, struct hg_vhost_pair, txq);
    struct hg_vq_dev *dev = hg_qsbr_read(&pair->tx.live);

    if (hg_unlikely(dev == NULL))
        return tx_paused(pair, pkts, n);
    if (dev->asks != NULL)
        return tx_translated(pair, dev, pkts, n);
    return deliver(pair, dev, pkts, n);
}

/* ---- the receive queue ---- */

/* Whether this poll does something for the transmit queue. */
static bool has_turn(struct hg_vhost_pair *pair, unsigned chores, unsigned n)
{
    if ((chores & (HG_CHORE_PARKED | HG_CHORE_HELD | HG_CHORE_AWAY)) != 0)
        return true;
    return n == 0 &&
           ++pair->idle_n % ((chores & HG_CHORE_AHEAD) != 0 ? AHEAD_IDLE_N : STILL_IDLE_N) == 0;
}

/* What a poll does for the transmit queue, unless somebody transmits just now. */
static void tend(struct hg_vhost_pair *pair)
{
    struct hg_vq_dev *dev;

    if (!hg_spin_try(&pair->txq.lock))
        return;
    set_chores(pair, HG_CHORE_AWAY, false);
    dev = hg_qsbr_read(&pair->tx.live);
    if (dev != NULL) {
        if (pair->tx_armed)
            hg_vq_dev_disarm(dev);
        pair->tx_armed = false;
        if (parked_n(pair) != 0)
            resume(pair, dev);
        if (dev->asks != NULL)
            look_ahead(pair, dev);
        if (pair->tx.held.on && hg_held_is_due(&pair->tx.held, pair->poll_ns)) {
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
        if (n == 0 && held->on && hg_held_is_due(held, pair->poll_ns))
            send_held(&pair->rx, &pair->rxq.stats);
    }
    if (hg_unlikely(chores != 0) && has_turn(pair, chores, n))
        tend(pair);
}

static unsigned rx(struct hg_rxq *q, struct hg_burst *b)
{
    struct hg_vhost_pair *pair = pair_of_rxq(q);
    struct hg_vhost_ring *ring = &pair->rx;
    struct hg_vq_dev *dev = hg_qsbr_read(&ring->live);

    ring->in_burst = dev;
    if (hg_unlikely(dev == NULL)) {
        b->n = b->seg_n = 0;
        return 0;
    }
    unsigned n = hg_vq_dev_rx(dev, b, &q->stats);

    attend(pair, n);
    if (hg_unlikely(atomic_load_explicit(&ring->discard, memory_order_relaxed))) {
        hg_count_add(&q->stats.drops.reason[HG_DROP_QUEUE_DISABLED], n);
        b->n = 0;
        return 0;
    }
    /* Pairs with the release in hg_vhost_send_rarp(): the frame is there. */
    if (hg_unlikely(atomic_load_explicit(&pair->announce.full, memory_order_acquire)))
        n = hg_vhost_announce(pair, b, n);
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
        hg_held_add(&ring->held, pair->poll_ns, pair->poll_n, wanted);
        if (ring->held.on && hg_held_is_due(&ring->held, pair->poll_ns))
            send_held(ring, &q->stats);
    }
}

/* Whether the poller has duties for its transmit queue, on which others may rely. */
static bool tends(const struct hg_vhost_pair *pair)
{
    return pair->tx.held.limit_ns != 0 || (chores_of(pair) & HG_CHORE_IOMMU) != 0;
}

/* The poller goes. With `sleep` to sleep: returns whether the transmit queue has something to
 * do. */
static bool leave(struct hg_vhost_pair *pair, bool sleep)
{
    struct hg_vq_dev *dev;
    bool work = false;

    hg_spin_lock(&pair->txq.lock);
    set_away(pair);
    hg_shm_publish_then_look(); /* pairs with hg_vhost_ring_posted() */
    dev = hg_qsbr_read(&pair->tx.live);
    if (dev != NULL) {
        send_held(&pair->tx, &pair->txq.stats);
        set_chores(pair, HG_CHORE_HELD, false);
        if (sleep && (chores_of(pair) & (HG_CHORE_AHEAD | HG_CHORE_PARKED)) != 0)
            work = rest(pair, dev);
    }
    hg_spin_unlock(&pair->txq.lock);
    return work;
}

/* A ring that is not shown may hold work already: who shows it again, kicks
 * (hg_vhost_ring_resume()). */
static bool arm(struct hg_rxq *q)
{
    struct hg_vhost_pair *pair = pair_of_rxq(q);
    struct hg_vq_dev *dev = hg_qsbr_read(&pair->rx.live);

    if (dev != NULL)
        send_held(&pair->rx, &q->stats);
    if (tends(pair) && leave(pair, true))
        return true;
    if (dev == NULL || !hg_vq_dev_arm(dev))
        return false;
    /* Frames are there. Those behind a miss are no work before it is answered. */
    if (!dev->missing)
        return true;
    /* Pairs with hg_vhost_rings_retry(). */
    atomic_store_explicit(&pair->waiting, true, memory_order_relaxed);
    hg_shm_publish_then_look();
    return !hg_vq_dev_stalled(dev);
}

/* Also by control, for a poller that has left its worker without having been armed. */
static void disarm(struct hg_rxq *q)
{
    struct hg_vhost_pair *pair = pair_of_rxq(q);
    struct hg_vq_dev *dev = hg_qsbr_read(&pair->rx.live);

    atomic_store_explicit(&pair->waiting, false, memory_order_relaxed);
    if (dev != NULL) {
        send_held(&pair->rx, &q->stats);
        hg_vq_dev_disarm(dev);
    }
    if (tends(pair) && (chores_of(pair) & HG_CHORE_AWAY) == 0)
        leave(pair, false);
}

/* ---- control ---- */

void hg_vhost_rings_retry(struct hg_vhost_port *vp)
{
    /* Answers have been published; pairs with rest() and arm(): either they see them, or we the
     * flag. */
    hg_shm_publish_then_look();
    for (unsigned i = 0; i < vp->port->queue_n; i++) {
        struct hg_vhost_pair *pair = &vp->pair[i];

        if (!atomic_load_explicit(&pair->waiting, memory_order_relaxed))
            continue;
        /* Before the kick: who sets it again later, looks again. */
        atomic_store_explicit(&pair->waiting, false, memory_order_relaxed);
        hg_raise(pair->rx.kick_fd);
    }
}

void hg_vhost_ring_posted(struct hg_vhost_ring *ring)
{
    struct hg_vhost_pair *pair = hg_container_of(ring, struct hg_vhost_pair, tx);

    /* The ring has been shown, or the guest has posted what leave() asked for: either that sees it,
     * or we see the flag. */
    hg_shm_publish_then_look();
    if ((chores_of(pair) & HG_CHORE_AWAY) == 0 ||
        atomic_load_explicit(&pair->called, memory_order_relaxed))
        return;
    /* Before the kick: who leaves again later, looks again. */
    atomic_store_explicit(&pair->called, true, memory_order_relaxed);
    hg_raise(pair->rx.kick_fd);
}

void hg_vhost_queue_begin(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    struct hg_vhost_pair *pair = &vp->pair[ring->index / 2];
    struct hg_park *park;
    struct hg_err err;

    if (ring != &pair->tx || ring->dev.asks == NULL || pair->park != NULL)
        return;
    if (hg_park_new(&park, vp->port->host, &err) != 0)
        hg_log_limited(HG_LOG_WARN, vp->log_name,
                       "ring %u: frames whose buffer is not mapped yet are lost: %s", ring->index,
                       err.text);
    hg_spin_lock(&pair->txq.lock);
    pair->park = park;
    pair->ahead_n = AHEAD_BURSTS_N;
    set_chores(pair, HG_CHORE_IOMMU | HG_CHORE_AHEAD, true);
    set_away(pair);
    hg_spin_unlock(&pair->txq.lock);
}

void hg_vhost_queue_end(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    struct hg_vhost_pair *pair = &vp->pair[ring->index / 2];
    struct hg_park *gone = pair->park;

    if (ring == &pair->rx) {
        send_held(ring, &pair->rxq.stats);
        return;
    }
    /* The lock is for the counters: workers count what they find the queue stopped for. */
    hg_spin_lock(&pair->txq.lock);
    send_held(ring, &pair->txq.stats);
    if (gone != NULL)
        hg_count_add(&pair->txq.stats.drops.reason[HG_DROP_PORT_DOWN], gone->n);
    pair->park = NULL;
    pair->ahead_n = 0;
    pair->tx_armed = false;
    atomic_store_explicit(&pair->parked_now, 0, memory_order_relaxed);
    atomic_store_explicit(&pair->called, false, memory_order_relaxed);
    atomic_store_explicit(&pair->rx.chores, HG_CHORE_AWAY, memory_order_relaxed);
    hg_spin_unlock(&pair->txq.lock);
    hg_park_free(gone);
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
    const struct hg_held held = {.limit_ns = options->coalesce_us * HG_NS_PER_US,
                                 .frames_max = options->coalesce_frames};
    struct hg_vhost_pair *pair = &vp->pair[index];

    pair->rxq = (struct hg_rxq){.rx = rx, .done = done, .arm = arm, .disarm = disarm};
    pair->rxq.fd = -1;
    pair->rxq.index = (uint16_t)index;
    pair->rxq.port = vp->port;
    pair->txq = (struct hg_txq){.tx = tx, .index = (uint16_t)index, .port = vp->port};
    init_ring(&pair->tx, 2 * index, &held);
    init_ring(&pair->rx, 2 * index + 1, &held);
    set_chores(pair, HG_CHORE_AWAY, true);
    vp->port->rxq[index] = &pair->rxq;
    vp->port->txq[index] = &pair->txq;
}
