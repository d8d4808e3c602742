/*
 * The hot contract: what workers call, once per burst. The ring is whatever `live` points to at that
 * moment; between rx and done, and during tx, control waits for us (hg_qsbr_wait).
 */
#include "base/clock.h"
#include "base/raise.h"
#include "port/vhost/state.h"
#include "sync/qsbr.h"

static void notify(const struct hg_vq_dev *dev, struct hg_queue_stats *stats)
{
    if (hg_raise(dev->call_fd))
        hg_count_add(&stats->notifications, 1);
}

static struct hg_vhost_ring *rx_ring(struct hg_rxq *q)
{
    return &hg_container_of(q, struct hg_vhost_pair, rxq)->rx;
}

static unsigned rx(struct hg_rxq *q, struct hg_burst *b)
{
    struct hg_vhost_ring *ring = rx_ring(q);
    struct hg_vq_dev *dev = hg_qsbr_read(&ring->live);

    ring->in_burst = dev;
    if (hg_unlikely(dev == NULL)) {
        b->n = 0;
        b->seg_n = 0;
        return 0;
    }
    unsigned n = hg_vq_dev_rx(dev, b, &q->stats);

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
    struct hg_vq_dev *dev = rx_ring(q)->in_burst;

    if (hg_likely(dev != NULL) && hg_vq_dev_rx_done(dev))
        notify(dev, &q->stats);
}

/* A ring that is paused may hold frames already, and their kick may be past: do not sleep on it. */
static bool arm(struct hg_rxq *q)
{
    struct hg_vq_dev *dev = hg_qsbr_read(&rx_ring(q)->live);

    return dev == NULL || hg_vq_dev_arm(dev);
}

static void disarm(struct hg_rxq *q)
{
    struct hg_vq_dev *dev = hg_qsbr_read(&rx_ring(q)->live);

    if (dev != NULL)
        hg_vq_dev_disarm(dev);
}

static unsigned tx(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    struct hg_vhost_ring *ring = &hg_container_of(q, struct hg_vhost_pair, txq)->tx;
    struct hg_vq_dev *dev = hg_qsbr_read(&ring->live);
    bool wanted;

    if (hg_unlikely(dev == NULL))
        return 0;
    unsigned taken = hg_vq_dev_tx(dev, pkts, n, &q->stats, &wanted);

    if (wanted)
        notify(dev, &q->stats);
    return taken;
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
    vp->port->rxq[index] = &pair->rxq;
    vp->port->txq[index] = &pair->txq;
}
