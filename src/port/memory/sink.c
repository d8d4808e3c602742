/*
 * The port type `sink`.
 *
 * Its one transmit queue counts what it is given, and checks the frames that a generator of this
 * process has made: that the headers agree with each other and that the numbers of each stream come
 * one by one. So a program in between is known to have delivered everything, once, in order and
 * unspoilt, at the cost of some cycles a frame. A sink that is sent only a part of a stream counts
 * the rest as missing.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/memory/memory.h"
#include "port/memory/queue.h"
#include "port/memory/stamp.h"

/* The checks. Written under the queue's lock, read by control. */
struct sink {
    struct hg_rxq rxq;
    alignas(HG_CACHE_LINE_BYTES) struct hg_txq txq;
    struct hg_count missing; /* numbers that were passed over */
    struct hg_count late; /* frames with a number below one that was here: out of order, or twice */
    struct hg_count spoilt;  /* headers that contradict each other or the frame's length */
    struct hg_count foreign; /* frames of nobody's stream */
    uint64_t next[HG_STAMP_STREAMS_N]; /* number, by stream */
};

static inline bool is_stamped(const struct hg_pkt *pkt)
{
    return pkt->head_len >= HG_STAMP_END && hg_load_raw32(pkt->head + HG_STAMP_MARK) == HG_STAMP;
}

static inline bool is_whole(const struct hg_pkt *pkt)
{
    const uint8_t *ip4 = pkt->head + HG_STAMP_IP4;
    uint32_t ip4_len = pkt->len - HG_STAMP_IP4;

    return hg_load_be16(pkt->head + HG_ETH_TYPE) == HG_ETHERTYPE_IP4 &&
           ip4[HG_IP4_VERSION_IHL] == 0x45 && hg_load_be16(ip4 + HG_IP4_TOTAL_LEN) == ip4_len &&
           hg_load_be16(pkt->head + HG_STAMP_UDP + HG_UDP_LEN) == ip4_len - HG_IP4_BYTES &&
           hg_ip4_sum(ip4) == 0xffff;
}

static inline void check(struct sink *sink, const struct hg_pkt *pkt)
{
    uint16_t stream;
    uint64_t number;
    uint64_t *next;

    if (hg_unlikely(!is_stamped(pkt))) {
        hg_count_add(&sink->foreign, 1);
        return;
    }
    if (hg_unlikely(!is_whole(pkt))) {
        hg_count_add(&sink->spoilt, 1);
        return;
    }
    memcpy(&stream, pkt->head + HG_STAMP_STREAM, sizeof(stream));
    memcpy(&number, pkt->head + HG_STAMP_NUMBER, sizeof(number));
    if (hg_unlikely(stream >= HG_STAMP_STREAMS_N)) {
        hg_count_add(&sink->spoilt, 1);
        return;
    }
    next = &sink->next[stream];
    if (hg_unlikely(number < *next)) {
        hg_count_add(&sink->late, 1);
        return;
    }
    if (hg_unlikely(number != *next))
        hg_count_add(&sink->missing, number - *next);
    *next = number + 1;
}

static unsigned tx(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    struct sink *sink = hg_container_of(q, struct sink, txq);
    uint64_t bytes = 0;

    for (unsigned i = 0; i < n; i++) {
        check(sink, pkts[i]);
        bytes += pkts[i]->len;
    }
    hg_memory_count(&q->stats, n, bytes);
    return n;
}

static int open_port(struct hg_port *port, const union hg_port_value *values, struct hg_err *err)
{
    struct sink *sink = aligned_alloc(alignof(struct sink), sizeof(*sink));

    (void)values;
    if (sink == NULL)
        return hg_err_set(err, ENOMEM, "no memory for port '%s'", port->name);
    memset(sink, 0, sizeof(*sink));
    port->driver_data = sink;
    port->queue_n = 1;
    hg_memory_rxq_init(&sink->rxq, port, 0);
    hg_memory_txq_init(&sink->txq, port, 0);
    sink->txq.tx = tx;
    hg_memory_start(port);
    return 0;
}

static void close_port(struct hg_port *port)
{
    free(port->driver_data);
    port->driver_data = NULL;
    port->queue_n = 0;
}

static void get_status(const struct hg_port *port, struct hg_port_status *status)
{
    const struct sink *sink = port->driver_data;

    *status = (struct hg_port_status){.state = "up", .ended = true, .queue_pairs = 1};
    snprintf(status->text, sizeof(status->text),
             "up: %" PRIu64 " frames, %" PRIu64 " missing, %" PRIu64 " late, %" PRIu64
             " spoilt, %" PRIu64 " of no generator",
             hg_count_get(&sink->txq.stats.packets), hg_count_get(&sink->missing),
             hg_count_get(&sink->late), hg_count_get(&sink->spoilt), hg_count_get(&sink->foreign));
}

const struct hg_port_driver hg_sink_driver = {
    .type = "sink",
    .help =
        "Counts what is sent to it, and checks the frames of generators for loss, order and damage.",
    .open = open_port,
    .close = close_port,
    .status = get_status,
};
