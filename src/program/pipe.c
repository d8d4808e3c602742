/*
 * The hot path: what a worker does with a burst of a pipe, from the receive queue or the ring
 * before it to the port or the ring behind it.
 */
#include <string.h>

#include "base/shm.h"
#include "flow/parse.h"
#include "program/state.h"

static void count(struct stage *stage, unsigned got, unsigned kept)
{
    hg_count_add(&stage->packets, got);
    if (kept != got)
        hg_count_add(&stage->dropped, got - kept);
}

/* Transmits to the ports that the packets name, in the order of the first packet for each. Returns
 * how many named one. */
static unsigned transmit_by_packet(struct hg_program *program, struct hg_pkt **pkts, unsigned n)
{
    unsigned sent = 0;

    while (n != 0) {
        struct hg_pkt *chosen[HG_BURST_N];
        uint16_t out = pkts[0]->out;
        unsigned chosen_n = 0;
        unsigned left = 0;

        for (unsigned i = 0; i < n; i++) {
            if (pkts[i]->out == out)
                chosen[chosen_n++] = pkts[i];
            else
                pkts[left++] = pkts[i];
        }
        if (hg_likely(out < program->port_n)) {
            hg_port_tx(program->port[out], chosen, chosen_n);
            sent += chosen_n;
        }
        n = left;
    }
    return sent;
}

/* Hands copies of the packets over. Returns for how many there were buffers, if there was room. */
static unsigned hand_over(struct leg *leg, struct hg_pkt *const *pkts, unsigned n)
{
    struct hg_owned *owned[HG_BURST_N];
    unsigned made = 0;

    for (unsigned i = 0; i < n; i++) {
        owned[made] = hg_pkt_own(leg->slot->cache, pkts[i]);
        made += owned[made] != NULL;
    }
    return hg_handoff_put(leg->out, leg->slot->cache, owned, made);
}

/* Stages, then the end. */
static void carry(struct leg *leg, struct hg_pkt **pkts, unsigned n)
{
    unsigned kept = n;

    for (unsigned i = 0; i < leg->stage_n && n != 0; i++) {
        struct stage *stage = &leg->stage[i];

        kept = stage->fn(stage->ctx, pkts, n);
        count(stage, n, kept);
        n = kept;
    }
    if (n == 0)
        return;
    if (leg->out != NULL)
        kept = hand_over(leg, pkts, n);
    else if (leg->to != NULL)
        hg_port_tx(leg->to, pkts, n);
    else
        kept = transmit_by_packet(leg->program, pkts, n);
    count(&leg->end, n, kept);
}

/* A slot still holds what a stage wrote about the packet that was in it before. */
static void forget_the_last(const struct leg *leg, struct hg_pkt *pkt)
{
    pkt->out = HG_OUT_NONE;
    if (!leg->parses) {
        pkt->parsed = 0;
        pkt->l4_offset = 0;
        pkt->payload_offset = 0;
        pkt->flow_hash = 0;
    }
}

static unsigned poll_port(struct hg_poller *poller)
{
    struct leg *leg = hg_container_of(poller, struct leg, poller);
    struct hg_burst *burst = leg->slot->burst;
    struct hg_pkt *pkts[HG_BURST_N];
    unsigned n;

    if ((leg->out != NULL && !hg_handoff_has_room(leg->out)) ||
        !atomic_load_explicit(&leg->program->receiving, memory_order_relaxed))
        return 0;
    n = leg->rxq->rx(leg->rxq, burst);
    for (unsigned i = 0; i < n; i++) {
        pkts[i] = &burst->pkt[i];
        forget_the_last(leg, pkts[i]);
    }
    if (n != 0)
        carry(leg, pkts, n);
    leg->rxq->done(leg->rxq);
    return n;
}

static bool arm_port(struct hg_poller *poller)
{
    struct leg *leg = hg_container_of(poller, struct leg, poller);

    return leg->rxq->arm(leg->rxq);
}

static void disarm_port(struct hg_poller *poller)
{
    struct leg *leg = hg_container_of(poller, struct leg, poller);

    leg->rxq->disarm(leg->rxq);
}

static unsigned poll_handoff(struct hg_poller *poller)
{
    struct leg *leg = hg_container_of(poller, struct leg, poller);
    struct hg_owned *owned[HG_BURST_N];
    struct hg_pkt *pkts[HG_BURST_N];
    unsigned n;

    if (leg->out != NULL && !hg_handoff_has_room(leg->out))
        return 0;
    n = hg_handoff_take(leg->in, owned);
    for (unsigned i = 0; i < n; i++) {
        hg_shm_expect_read(owned[i]);
        hg_shm_expect_read(owned[i]->pkt.head);
        pkts[i] = &owned[i]->pkt;
    }
    if (n != 0)
        carry(leg, pkts, n);
    for (unsigned i = 0; i < n; i++)
        hg_owned_free(leg->slot->cache, owned[i]);
    return n;
}

static bool arm_handoff(struct hg_poller *poller)
{
    return hg_handoff_arm(hg_container_of(poller, struct leg, poller)->in);
}

static void disarm_handoff(struct hg_poller *poller)
{
    hg_handoff_disarm(hg_container_of(poller, struct leg, poller)->in);
}

void leg_init_poller(struct leg *leg)
{
    static const struct hg_poller from_port = {
        .poll = poll_port, .arm = arm_port, .disarm = disarm_port, .fd = -1};
    static const struct hg_poller from_handoff = {
        .poll = poll_handoff, .arm = arm_handoff, .disarm = disarm_handoff, .fd = -1};

    leg->poller = leg->in != NULL ? from_handoff : from_port;
    leg->poller.fd = leg->in != NULL ? hg_handoff_fd(leg->in) : leg->rxq->fd;
    leg->parses = leg->stage_n != 0 && leg->stage[0].fn == hg_stage_parse;
}

unsigned hg_stage_parse(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    (void)ctx;
    for (unsigned i = 0; i < n; i++)
        hg_parse(pkts[i]);
    return n;
}
