#include "port/memory/queue.h"

static unsigned rx_nothing(struct hg_rxq *q, struct hg_burst *b)
{
    (void)q;
    b->n = 0;
    b->seg_n = 0;
    return 0;
}

static void done_nothing(struct hg_rxq *q)
{
    (void)q;
}

static bool arm_nothing(struct hg_rxq *q)
{
    (void)q;
    return false;
}

uint64_t hg_memory_bytes(struct hg_pkt *const *pkts, unsigned n)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < n; i++)
        bytes += pkts[i]->len;
    return bytes;
}

void hg_memory_count(struct hg_queue_stats *stats, unsigned n, uint64_t bytes)
{
    hg_count_add(&stats->packets, n);
    hg_count_add(&stats->bytes, bytes);
    hg_count_add(&stats->bursts, 1);
}

static unsigned swallow(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    hg_memory_count(&q->stats, n, hg_memory_bytes(pkts, n));
    return n;
}

void hg_memory_rxq_init(struct hg_rxq *q, struct hg_port *port, unsigned index)
{
    *q = (struct hg_rxq){
        .rx = rx_nothing,
        .done = done_nothing,
        .arm = arm_nothing,
        .disarm = done_nothing,
        .fd = -1,
        .index = (uint16_t)index,
        .port = port,
    };
    port->rxq[index] = q;
}

void hg_memory_txq_init(struct hg_txq *q, struct hg_port *port, unsigned index)
{
    *q = (struct hg_txq){
        .tx = swallow,
        .running = true,
        .offloads = HG_TX_ALL, /* nobody looks at what the frames ask for */
        .index = (uint16_t)index,
        .port = port,
    };
    port->txq[index] = q;
}

void hg_memory_start(struct hg_port *port)
{
    /* Release: pairs with the acquire in hg_port_tx(). */
    atomic_store_explicit(&port->txq_running_n, port->queue_n, memory_order_release);
}
