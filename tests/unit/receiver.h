/*
 * A port whose queues are in memory: the mock of everything that transmits. Include after cmocka.h.
 */
#ifndef HG_TESTS_UNIT_RECEIVER_H
#define HG_TESTS_UNIT_RECEIVER_H

#include <stdint.h>
#include <string.h>

#include "frame.h"
#include "port/port.h"

/* A receiver that keeps what it gets, has room for so many frames, and insists on the contract. */
enum { KEPT_N = 400 };

struct receiver {
    struct hg_txq q;
    unsigned room;
    unsigned refill; /* the peer makes so much room before each call */
    unsigned calls_n;
    unsigned n;
    struct kept {
        const struct hg_pkt *from; /* the very packet, to see what was passed on as it is */
        struct hg_offload ol;
        unsigned len;
        uint8_t bytes[4096]; /* the beginning of longer ones */
    } kept[KEPT_N];
};

static struct receiver receivers[HG_PORT_QUEUES_MAX];
static struct hg_port port;

static inline unsigned receiver_take(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    static uint8_t bytes[HG_FRAME_BYTES_MAX];
    struct receiver *r = hg_container_of(q, struct receiver, q);
    unsigned offloads = atomic_load(&q->offloads);

    assert_true(n <= HG_BURST_N);
    assert_true(atomic_load(&q->lock.held));
    r->calls_n++;
    r->room += r->refill;
    for (unsigned i = 0; i < n; i++) {
        const struct hg_pkt *pkt = pkts[i];
        struct kept *kept = &r->kept[r->n];

        if (r->room == 0 || !atomic_load(&q->running))
            return i;
        r->room--;
        if (pkt->len == 13) { /* stands for a frame that a driver refuses */
            hg_count_add(&q->stats.drops.reason[HG_DROP_TX_NO_ROOM], 1);
            continue;
        }
        assert_true(offloads & HG_TX_CSUM || !(pkt->ol.flags & HG_OL_NEEDS_CSUM));
        assert_true(offloads & HG_TX_TSO4 || pkt->ol.gso != HG_GSO_TCP4);
        assert_true(offloads & HG_TX_TSO6 || pkt->ol.gso != HG_GSO_TCP6);
        assert_true(offloads & HG_TX_ECN || !(pkt->ol.flags & HG_OL_TCP_ECN));
        assert_true(r->n < KEPT_N);
        assert_int_equal(frame_gather(pkt, bytes), pkt->len);
        memcpy(kept->bytes, bytes, hg_min_u32(pkt->len, sizeof(kept->bytes)));
        kept->from = pkt;
        kept->ol = pkt->ol;
        kept->len = pkt->len;
        hg_count_add(&q->stats.packets, 1);
        r->n++;
    }
    return n;
}

static inline void open_port(unsigned queue_n, unsigned offloads, unsigned room)
{
    memset(&port, 0, sizeof(port));
    port.queue_n = HG_PORT_QUEUES_MAX;
    for (unsigned i = 0; i < HG_PORT_QUEUES_MAX; i++) {
        memset(&receivers[i], 0, offsetof(struct receiver, kept));
        port.txq[i] = &receivers[i].q;
        receivers[i].q.tx = receiver_take;
        receivers[i].q.port = &port;
        receivers[i].q.index = (uint16_t)i;
        receivers[i].room = room;
        atomic_store(&receivers[i].q.running, i < queue_n);
        atomic_store(&receivers[i].q.offloads, offloads);
    }
    atomic_store(&port.txq_running_n, queue_n);
}

static inline uint64_t drops(unsigned i, enum hg_drop reason)
{
    return hg_count_get(&receivers[i].q.stats.drops.reason[reason]);
}

/* frames in + segmented = packets + drops, over all queues. */
static inline void check_accounts(uint64_t given_n)
{
    uint64_t in_n = given_n;
    uint64_t out_n = 0;

    for (unsigned i = 0; i < HG_PORT_QUEUES_MAX; i++) {
        in_n += hg_count_get(&receivers[i].q.segmented);
        out_n += hg_count_get(&receivers[i].q.stats.packets);
        for (unsigned reason = 0; reason < HG_DROP_N; reason++)
            out_n += drops(i, reason);
        assert_int_equal(hg_count_get(&receivers[i].q.stats.packets), receivers[i].n);
        assert_false(atomic_load(&receivers[i].q.lock.held));
    }
    assert_int_equal(in_n, out_n);
}

#endif
