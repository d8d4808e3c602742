/*
 * The packet's way through the bridge, one burst at a time:
 *
 *   receive -> parse -> admit -> learn and look up -> group by output -> transmit -> give back
 *
 * forward() is its table of contents. A verdict is the id of the port that a packet goes to, or one
 * of the two below. Every packet received leaves by one verdict: transmitted (hg_port_tx() counts
 * what the receiver had no room for) or dropped with a reason, in the statistics of the queue it
 * came from.
 *
 * Groups keep the order of the burst, so packets of a flow stay in order.
 */
#include <string.h>

#include "bridge/internal.h"
#include "flow/offload.h"
#include "flow/parse.h"
#include "wire/eth.h"

enum verdict {
    VERDICT_DROPPED = -2,
    VERDICT_FLOOD = -1,
    /* 0 and up: a port's id */
};

/* A worker's scratch memory. */
struct hg_path {
    struct hg_burst burst;
    int verdict[HG_BURST_N];
    uint64_t key[HG_BURST_N];
    unsigned output_n;             /* ports that have packets in this burst */
    uint16_t output[HG_PORTS_MAX]; /* their ids, in the order of their first packet */
    uint8_t group_n[HG_PORTS_MAX]; /* by port id; 0 between bursts */
    struct hg_pkt *group[HG_PORTS_MAX][HG_BURST_N];
};

static void drop(struct hg_path *path, unsigned i, struct hg_rxq *rxq, enum hg_drop reason)
{
    path->verdict[i] = VERDICT_DROPPED;
    hg_count_add(&rxq->stats.drops.reason[reason], 1);
}

/* Decides which packets may enter the bridge at all, and makes their keys. */
static void admit(struct hg_path *path, struct hg_rxq *rxq)
{
    for (unsigned i = 0; i < path->burst.n; i++) {
        const struct hg_pkt *pkt = &path->burst.pkt[i];

        path->verdict[i] = VERDICT_FLOOD;
        if (hg_unlikely(hg_mac_is_group(pkt->head + HG_ETH_SRC) ||
                        hg_mac_is_zero(pkt->head + HG_ETH_SRC)))
            drop(path, i, rxq, HG_DROP_BAD_SOURCE);
        else if (hg_unlikely(hg_mac_is_reserved_group(pkt->head + HG_ETH_DST)))
            drop(path, i, rxq, HG_DROP_RESERVED_GROUP);
        else if (hg_unlikely((pkt->ol.flags | pkt->ol.gso) != 0) && !hg_offload_valid(pkt))
            drop(path, i, rxq, HG_DROP_BAD_OFFLOAD);
    }
}

static uint16_t vlan_id(const struct hg_pkt *pkt)
{
    return pkt->vlan_tci & HG_VLAN_ID_MASK;
}

/* Learns the sources of the admitted packets. */
static void learn(struct hg_path *path, struct hg_bridge *bridge, struct hg_rxq *rxq)
{
    unsigned n = 0;

    for (unsigned i = 0; i < path->burst.n; i++) {
        const struct hg_pkt *pkt = &path->burst.pkt[i];

        if (hg_likely(path->verdict[i] != VERDICT_DROPPED))
            path->key[n++] = hg_fdb_key(pkt->head + HG_ETH_SRC, vlan_id(pkt));
    }
    hg_fdb_learn(bridge->fdb, path->key, n, rxq->port->id);
}

/* Finds the output of each admitted packet. Group addresses are never sources, so never found. */
static void look_up(struct hg_path *path, struct hg_bridge *bridge, struct hg_rxq *rxq)
{
    int port[HG_BURST_N];

    for (unsigned i = 0; i < path->burst.n; i++) {
        const struct hg_pkt *pkt = &path->burst.pkt[i];

        path->key[i] = hg_fdb_key(pkt->head + HG_ETH_DST, vlan_id(pkt));
    }
    hg_fdb_lookup(bridge->fdb, path->key, port, path->burst.n);
    for (unsigned i = 0; i < path->burst.n; i++) {
        if (hg_unlikely(path->verdict[i] == VERDICT_DROPPED || port[i] == HG_FDB_UNKNOWN))
            continue;
        if (hg_unlikely(port[i] == rxq->port->id))
            drop(path, i, rxq, HG_DROP_SAME_PORT);
        else
            path->verdict[i] = port[i];
    }
}

static void append(struct hg_path *path, uint16_t id, struct hg_pkt *pkt)
{
    if (path->group_n[id] == 0)
        path->output[path->output_n++] = id;
    path->group[id][path->group_n[id]++] = pkt;
}

static void flood(struct hg_path *path, unsigned i, const struct hg_members *members,
                  struct hg_rxq *rxq)
{
    unsigned copies = 0;

    for (unsigned m = 0; m < members->n; m++) {
        if (members->port[m] == rxq->port)
            continue;
        append(path, members->port[m]->id, &path->burst.pkt[i]);
        copies++;
    }
    if (copies == 0)
        drop(path, i, rxq, HG_DROP_NO_OTHER_PORT);
    else
        hg_count_add(&rxq->replicated, copies - 1);
}

static void group(struct hg_path *path, const struct hg_members *members, struct hg_rxq *rxq)
{
    path->output_n = 0;
    for (unsigned i = 0; i < path->burst.n; i++) {
        int verdict = path->verdict[i];

        if (hg_unlikely(verdict == VERDICT_DROPPED))
            continue;
        /* A port that has just left the bridge is unknown, whatever the table still says. */
        if (hg_unlikely(verdict == VERDICT_FLOOD || members->by_id[verdict] == NULL))
            flood(path, i, members, rxq);
        else
            append(path, (uint16_t)verdict, &path->burst.pkt[i]);
    }
}

static void transmit(struct hg_path *path, const struct hg_members *members)
{
    for (unsigned o = 0; o < path->output_n; o++) {
        uint16_t id = path->output[o];

        hg_port_tx(members->by_id[id], path->group[id], path->group_n[id]);
        path->group_n[id] = 0;
    }
}

static unsigned forward(struct hg_poller *poller)
{
    struct hg_lane *lane = hg_container_of(poller, struct hg_lane, poller);
    struct hg_rxq *rxq = lane->rxq;
    struct hg_path *path = lane->path;
    unsigned n = rxq->rx(rxq, &path->burst);

    if (n != 0) {
        const struct hg_members *members = hg_qsbr_read(&lane->bridge->members);

        hg_parse_burst(&path->burst);
        admit(path, rxq);
        learn(path, lane->bridge, rxq);
        look_up(path, lane->bridge, rxq);
        group(path, members, rxq);
        transmit(path, members);
    }
    rxq->done(rxq);
    return n;
}

static bool arm(struct hg_poller *poller)
{
    struct hg_rxq *rxq = hg_container_of(poller, struct hg_lane, poller)->rxq;

    return rxq->arm(rxq);
}

static void disarm(struct hg_poller *poller)
{
    struct hg_rxq *rxq = hg_container_of(poller, struct hg_lane, poller)->rxq;

    rxq->disarm(rxq);
}

void hg_lane_init(struct hg_lane *lane, struct hg_bridge *bridge, struct hg_rxq *rxq,
                  struct hg_path *path)
{
    *lane = (struct hg_lane){
        .poller = {.poll = forward, .arm = arm, .disarm = disarm, .fd = rxq->fd},
        .rxq = rxq,
        .bridge = bridge,
        .path = path,
    };
}

int hg_path_new(struct hg_path **path, struct hg_err *err)
{
    *path = aligned_alloc(alignof(struct hg_path), sizeof(struct hg_path));
    if (*path == NULL)
        return hg_err_set(err, ENOMEM, "no memory for a worker's burst");
    memset(*path, 0, sizeof(**path));
    return 0;
}

void hg_path_free(struct hg_path *path)
{
    free(path);
}
