/*
 * Frames through the whole path: parsed, admitted, learned, looked up, grouped and transmitted, with any offload
 * request, to receivers that take all of it, some of it or nothing. The sender has passed frames on as a driver
 * does: lengths and pieces are sound, everything inside is the input's.
 *
 * Input: records of a frame each. 1 byte: where it comes in and, from bit 4 on, how full the receivers' rings are;
 * 1 byte of head length, 1 byte of segment length, 2 bytes of frame length, 8 bytes of request, 1 byte of
 * addresses (destination in the low half, 15: as in the frame), then 64 bytes of frame, repeated to its length
 * with a count in them. Up to a burst of records with the same first byte are received together.
 *
 * What must hold: no receiver is given what it did not ask for, or a request that contradicts its frame; pieces
 * add up; and all frames are accounted for.
 */
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/bridge.h"
#include "flow/offload.h"

enum { PORTS_N = 4, RECORD_BYTES = 14, PATTERN_BYTES = 64, STATIONS_N = 12, AS_IS = 15 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *at;
    size_t left;
};

struct station { /* a port whose queues are in memory */
    struct hg_port port;
    struct hg_rxq rxq;
    struct hg_txq txq;
    struct hg_lane lane;
    unsigned room;
};

static struct {
    struct hg_bridge *bridge;
    struct hg_path *path;
    struct station station[PORTS_N];
    struct input *in; /* what the next receive takes its frames from */
    uint8_t frame[HG_BURST_N][HG_FRAME_BYTES_MAX];
    uint8_t sink[HG_FRAME_BYTES_MAX];
} world;

static void require(bool condition)
{
    if (!condition)
        abort();
}

/* ---- receiving ---- */

static void set_addresses(uint8_t *frame, uint8_t choice)
{
    static const uint8_t group[4][6] = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
                                        {0x01, 0x80, 0xc2, 0, 0, 0x0e},
                                        {0x33, 0x33, 0, 0, 0, 1}};
    uint8_t to = choice % 16;
    uint8_t from = choice / 16;

    if (to < STATIONS_N)
        memcpy(frame, (uint8_t[6]){2, 0, 0, 0, 0, to}, 6);
    else if (to < AS_IS)
        memcpy(frame, group[to - STATIONS_N], 6);
    if (from != AS_IS)
        memcpy(frame + 6, (uint8_t[6]){2, 0, 0, 0, 0, from}, 6);
}

/* Lays a record out as a packet of the burst. False when there is no room for its pieces. */
static bool make_packet(struct input *in, struct hg_burst *b)
{
    struct hg_pkt *pkt = &b->pkt[b->n];
    uint8_t *frame = world.frame[b->n];
    uint8_t pattern[PATTERN_BYTES] = {0};
    uint32_t len = (uint32_t)(in->at[3] << 8 | in->at[4]);
    uint32_t head_len = hg_min_u32(in->at[1], HG_HEAD_BYTES);
    uint32_t seg_bytes;

    len = len < 14 ? 14 : hg_min_u32(len, HG_FRAME_BYTES_MAX);
    /* A driver fills the head before it borrows. */
    head_len = hg_min_u32(head_len < 64 ? HG_HEAD_BYTES : head_len, len);
    seg_bytes = 1 + in->at[2] * 8u + len / (HG_CHAIN_SEGS_MAX / 8);
    if (b->seg_n + (len - head_len) / seg_bytes + 1 > HG_BURST_SEGS)
        return false;
    memcpy(pattern, in->at + RECORD_BYTES, hg_min_u64(in->left - RECORD_BYTES, sizeof(pattern)));
    for (uint32_t at = 0; at < len; at++)
        frame[at] = (uint8_t)(pattern[at % PATTERN_BYTES] + at / PATTERN_BYTES);
    set_addresses(frame, in->at[13]);

    memset(pkt, 0, offsetof(struct hg_pkt, head));
    pkt->len = len;
    pkt->head_len = (uint16_t)head_len;
    memcpy(&pkt->ol, in->at + 5, sizeof(pkt->ol));
    memcpy(pkt->head, frame, head_len);
    pkt->seg = &b->seg[b->seg_n];
    for (uint32_t at = head_len; at < len; at += pkt->seg[pkt->seg_n++].len)
        b->seg[b->seg_n++] = (struct hg_seg){frame + at, hg_min_u32(seg_bytes, len - at)};
    return true;
}

static unsigned receive(struct hg_rxq *q, struct hg_burst *b)
{
    struct input *in = world.in;
    uint8_t first = in->at[0];

    b->n = b->seg_n = 0;
    while (b->n < HG_BURST_N && in->left > RECORD_BYTES && in->at[0] == first &&
           make_packet(in, b)) {
        size_t n = hg_min_u64(in->left, RECORD_BYTES + PATTERN_BYTES);

        b->pkt[b->n++].port = q->port->id;
        in->at += n;
        in->left -= n;
    }
    hg_count_add(&q->stats.packets, b->n);
    return b->n;
}

static void done(struct hg_rxq *q)
{
    (void)q;
}

/* ---- transmitting ---- */

static void check_packet(const struct hg_pkt *pkt, unsigned offloads)
{
    size_t len = pkt->head_len;

    require(pkt->head_len <= HG_HEAD_BYTES && pkt->len <= HG_FRAME_BYTES_MAX);
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        require(pkt->seg[i].len > 0 && pkt->seg[i].len <= sizeof(world.sink) - len);
        memcpy(world.sink + len, pkt->seg[i].addr, pkt->seg[i].len);
        len += pkt->seg[i].len;
    }
    require(len == pkt->len);
    require((offloads & HG_TX_CSUM) != 0 || (pkt->ol.flags & HG_OL_NEEDS_CSUM) == 0);
    require((offloads & HG_TX_TSO4) != 0 || pkt->ol.gso != HG_GSO_TCP4);
    require((offloads & HG_TX_TSO6) != 0 || pkt->ol.gso != HG_GSO_TCP6);
    require((offloads & HG_TX_ECN) != 0 || (pkt->ol.flags & HG_OL_TCP_ECN) == 0);
    if ((pkt->ol.flags & HG_OL_NEEDS_CSUM) != 0)
        require((uint32_t)pkt->ol.csum_start + pkt->ol.csum_offset + 2 <= pkt->len);
    if (pkt->ol.gso != HG_GSO_NONE)
        require(pkt->ol.gso_size >= HG_GSO_SIZE_MIN && hg_offload_valid(pkt));
}

static unsigned transmit(struct hg_txq *q, struct hg_pkt *const *pkts, unsigned n)
{
    struct station *station = hg_container_of(q, struct station, txq);

    require(n <= HG_BURST_N);
    for (unsigned i = 0; i < n; i++) {
        if (station->room == 0)
            return i;
        station->room--;
        check_packet(pkts[i], atomic_load(&q->offloads));
        hg_count_add(&q->stats.packets, 1);
    }
    return n;
}

/* ---- life ---- */

static void add_station(unsigned i)
{
    static const unsigned offloads[PORTS_N] = {HG_TX_CSUM | HG_TX_TSO4 | HG_TX_TSO6 | HG_TX_ECN, 0,
                                               HG_TX_CSUM, HG_TX_CSUM | HG_TX_TSO4};
    struct station *station = &world.station[i];

    memset(station, 0, sizeof(*station));
    station->port.id = (uint16_t)i;
    station->port.queue_n = 1;
    station->port.rxq[0] = &station->rxq;
    station->port.txq[0] = &station->txq;
    station->rxq.rx = receive;
    station->rxq.done = done;
    station->rxq.fd = -1;
    station->rxq.port = station->txq.port = &station->port;
    station->txq.tx = transmit;
    atomic_store(&station->txq.running, true);
    atomic_store(&station->txq.offloads, offloads[i]);
    atomic_store(&station->port.txq_running_n, 1);
    require(hg_bridge_add(world.bridge, &station->port, NULL) == 0);
    hg_lane_init(&station->lane, world.bridge, &station->rxq, world.path);
}

static void check_accounts(void)
{
    uint64_t in_n = 0;
    uint64_t out_n = 0;

    for (unsigned i = 0; i < PORTS_N; i++) {
        const struct station *station = &world.station[i];

        in_n += hg_count_get(&station->rxq.stats.packets) + hg_count_get(&station->rxq.replicated) +
                hg_count_get(&station->txq.segmented);
        out_n += hg_count_get(&station->txq.stats.packets);
        for (unsigned reason = 0; reason < HG_DROP_N; reason++)
            out_n += hg_count_get(&station->rxq.stats.drops.reason[reason]) +
                     hg_count_get(&station->txq.stats.drops.reason[reason]);
    }
    require(in_n == out_n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct hg_bridge_options options = {
        .fdb_age_s = 300, .fdb_max = 16, .fdb_port_max = 4};
    struct input in = {data, size};

    if (world.path == NULL)
        require(hg_path_new(&world.path, NULL) == 0);
    require(hg_bridge_new(&world.bridge, "br0", &options, NULL) == 0);
    for (unsigned i = 0; i < PORTS_N; i++)
        add_station(i);
    world.in = &in;
    while (in.left > RECORD_BYTES) {
        struct hg_poller *poller = &world.station[in.at[0] % PORTS_N].lane.poller;

        for (unsigned i = 0; i < PORTS_N; i++)
            world.station[i].room = in.at[0] >= 0xf0 ? 3 : UINT32_MAX;
        require(poller->poll(poller) > 0);
    }
    check_accounts();
    for (unsigned i = 0; i < PORTS_N; i++)
        hg_bridge_remove(world.bridge, &world.station[i].port);
    hg_bridge_free(world.bridge);
    return 0;
}
