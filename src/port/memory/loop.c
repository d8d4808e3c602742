/*
 * The port type `loop`: a wire from its transmit queue to its receive queue.
 *
 * What is sent is copied into buffers of the port's own, which are then received as borrowed frames
 * are: the head is copied, the rest lies where it is until the burst is done with. Requests
 * (checksums, segmentation) travel along. A frame that finds no buffer or no slot is the sender's
 * to count, as tx_full.
 */
#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/shm.h"
#include "pkt/handoff.h"
#include "pkt/own.h"
#include "pkt/pool.h"
#include "port/memory/memory.h"
#include "port/memory/queue.h"

enum { DEPTH, QUEUES, OPTION_N };

enum {
    CACHES_N = 2, /* of the pool, by each pair: one for each side */
};

static const struct hg_port_option options[] = {
    [DEPTH] = {.name = "depth",
               .type = HG_OPTION_UINT,
               .min = 64,
               .max = 65536,
               .preset = 1024,
               .help = "Frames that each queue holds; a power of two."},
    [QUEUES] = {.name = "queues",
                .type = HG_OPTION_UINT,
                .min = 1,
                .max = HG_PORT_QUEUES_MAX,
                .preset = 1,
                .help = "Queue pairs; what is sent on one is received on the same."},
};

_Static_assert(HG_ARRAY_N(options) == OPTION_N, "every option has its entry");

struct loop_pair {
    /* The receiving worker's. */
    alignas(HG_CACHE_LINE_BYTES) struct hg_rxq rxq;
    struct hg_pool_cache *rx_cache;
    unsigned lent_n;
    struct hg_owned *lent[HG_BURST_N]; /* until done() */
    struct hg_handoff *handoff;        /* constant */
    /* Under the transmit queue's lock. */
    alignas(HG_CACHE_LINE_BYTES) struct hg_txq txq;
    struct hg_pool_cache *tx_cache;
};

struct loop {
    struct hg_arena *arena;
    struct hg_pool *pool;
    unsigned pair_n;
    struct loop_pair *pair;
};

static void receive(struct hg_burst *b, const struct hg_owned *owned, uint16_t port)
{
    struct hg_pkt *pkt = &b->pkt[b->n++];

    memcpy(pkt, &owned->pkt, offsetof(struct hg_pkt, head));
    hg_shm_copy_short(pkt->head, owned->pkt.head, owned->pkt.head_len);
    pkt->port = port;
}

static unsigned rx(struct hg_rxq *q, struct hg_burst *b)
{
    struct loop_pair *pair = hg_container_of(q, struct loop_pair, rxq);
    unsigned n = hg_handoff_take(pair->handoff, pair->lent);
    uint64_t bytes = 0, copied = 0;

    b->n = 0;
    b->seg_n = 0;
    pair->lent_n = n;
    for (unsigned i = 0; i < n; i++) {
        receive(b, pair->lent[i], q->port->id);
        bytes += pair->lent[i]->pkt.len;
        copied += pair->lent[i]->pkt.head_len;
    }
    if (n != 0) {
        hg_memory_count(&q->stats, n, bytes);
        hg_count_add(&q->stats.bytes_copied, copied);
    }
    return n;
}

static void done(struct hg_rxq *q)
{
    struct loop_pair *pair = hg_container_of(q, struct loop_pair, rxq);

    for (unsigned i = 0; i < pair->lent_n; i++)
        hg_owned_free(pair->rx_cache, pair->lent[i]);
    pair->lent_n = 0;
}

static bool arm(struct hg_rxq *q)
{
    struct loop_pair *pair = hg_container_of(q, struct loop_pair, rxq);

    return hg_handoff_arm(pair->handoff);
}

static void disarm(struct hg_rxq *q)
{
    struct loop_pair *pair = hg_container_of(q, struct loop_pair, rxq);

    hg_handoff_disarm(pair->handoff);
}

static unsigned tx(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    struct loop_pair *pair = hg_container_of(q, struct loop_pair, txq);
    struct hg_owned *owned[HG_BURST_N];
    uint64_t bytes = 0;
    unsigned made = 0;
    unsigned sent;

    while (made < n && (owned[made] = hg_pkt_own(pair->tx_cache, pkts[made])) != NULL)
        made++;
    sent = hg_handoff_put(pair->handoff, pair->tx_cache, owned, made);
    if (sent == 0)
        return 0;
    bytes = hg_memory_bytes(pkts, sent);
    hg_memory_count(&q->stats, sent, bytes);
    hg_count_add(&q->stats.bytes_copied, bytes);
    return sent;
}

/* Control. */

static int check_values(const union hg_port_value *values, unsigned *option, struct hg_err *err)
{
    *option = DEPTH;
    if (!hg_is_power_of_two(values[DEPTH].uint))
        return hg_err_set(err, EINVAL,
                          "depth: found '%u'; expected a power of two from 64 to 65536",
                          (unsigned)values[DEPTH].uint);
    return 0;
}

static void free_pair(struct loop_pair *pair)
{
    struct hg_owned *left[HG_BURST_N];
    unsigned n;

    while (pair->handoff != NULL && (n = hg_handoff_take(pair->handoff, left)) != 0)
        for (unsigned i = 0; i < n; i++)
            hg_owned_free(pair->rx_cache, left[i]);
    hg_handoff_free(pair->handoff);
    if (pair->rx_cache != NULL)
        hg_pool_cache_free(pair->rx_cache);
    if (pair->tx_cache != NULL)
        hg_pool_cache_free(pair->tx_cache);
}

static void close_port(struct hg_port *port)
{
    struct loop *loop = port->driver_data;

    for (unsigned i = 0; i < port->queue_n; i++)
        free_pair(&loop->pair[i]);
    if (loop->pool != NULL)
        hg_pool_free(loop->pool);
    if (loop->arena != NULL)
        hg_arena_free(loop->arena);
    free(loop->pair);
    free(loop);
    port->driver_data = NULL;
    port->queue_n = 0;
}

/* A buffer for each slot, and those that are lent or hide in a cache. */
static int make_pool(struct loop *loop, const struct hg_port *port, uint32_t depth,
                     struct hg_err *err)
{
    const struct hg_pool_options frames = {
        .name = "frames",
        .object_bytes = HG_OWN_BUF_BYTES,
        .n = loop->pair_n * (depth + HG_BURST_N + CACHES_N * HG_POOL_CACHE_N),
    };
    const struct hg_arena_options arena = {
        .name = port->name,
        .bytes = hg_pool_bytes(&frames),
        .pages = port->host->pages,
        .on_node = port->host->on_node,
        .node = port->host->node,
    };
    int rc = hg_arena_new(&loop->arena, &arena, err);

    return rc < 0 ? rc : hg_pool_new(&loop->pool, loop->arena, &frames, err);
}

static int start_pair(struct hg_port *port, unsigned index, uint32_t depth, struct hg_err *err)
{
    struct loop *loop = port->driver_data;
    struct loop_pair *pair = &loop->pair[index];
    int rc;

    hg_memory_rxq_init(&pair->rxq, port, index);
    hg_memory_txq_init(&pair->txq, port, index);
    pair->rxq.rx = rx;
    pair->rxq.done = done;
    pair->rxq.arm = arm;
    pair->rxq.disarm = disarm;
    pair->txq.tx = tx;
    port->queue_n = index + 1;
    if ((rc = hg_handoff_new(&pair->handoff, depth, err)) < 0 ||
        (rc = hg_pool_cache_new(&pair->rx_cache, loop->pool, "receive", err)) < 0 ||
        (rc = hg_pool_cache_new(&pair->tx_cache, loop->pool, "transmit", err)) < 0)
        return rc;
    pair->rxq.fd = hg_handoff_fd(pair->handoff);
    atomic_store_explicit(&pair->rxq.running, true, memory_order_relaxed);
    return 0;
}

static int open_port(struct hg_port *port, const union hg_port_value *values, struct hg_err *err)
{
    uint32_t depth = (uint32_t)values[DEPTH].uint;
    unsigned pair_n = (unsigned)values[QUEUES].uint;
    struct loop *loop = calloc(1, sizeof(*loop));
    int rc;

    if (loop != NULL) {
        loop->pair_n = pair_n;
        loop->pair = aligned_alloc(alignof(struct loop_pair), pair_n * sizeof(*loop->pair));
    }
    if (loop == NULL || loop->pair == NULL) {
        free(loop);
        return hg_err_set(err, ENOMEM, "no memory for port '%s'", port->name);
    }
    memset(loop->pair, 0, pair_n * sizeof(*loop->pair));
    port->driver_data = loop;
    rc = make_pool(loop, port, depth, err);
    for (unsigned i = 0; rc == 0 && i < pair_n; i++)
        rc = start_pair(port, i, depth, err);
    if (rc < 0)
        close_port(port);
    else
        hg_memory_start(port);
    return rc;
}

static void get_status(const struct hg_port *port, struct hg_port_status *status)
{
    const struct loop *loop = port->driver_data;
    unsigned waiting = 0;

    for (unsigned i = 0; i < port->queue_n; i++)
        waiting += hg_handoff_count(loop->pair[i].handoff);
    *status = (struct hg_port_status){.state = "up", .queue_pairs = port->queue_n};
    snprintf(status->text, sizeof(status->text), "up: %u frames wait to be received", waiting);
}

const struct hg_port_driver hg_loop_driver = {
    .type = "loop",
    .help = "Receives what is sent to it, in order.",
    .options = options,
    .option_n = OPTION_N,
    .check = check_values,
    .open = open_port,
    .close = close_port,
    .status = get_status,
};
