/*
 * Cycles of hg_port_tx() itself, in front of a driver that takes everything and does nothing: what
 * queue selection, software checksums and segmentation cost. Takes about a second.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "flow/parse.h"
#include "port/port.h"
#include "sample.h"
#include "wire/eth.h"
#include "wire/ip4.h"
#include "wire/tcp.h"

enum { ROUNDS_N = 7, QUEUES_N = 4 };

static struct hg_port port;
static struct hg_txq txqs[QUEUES_N];
static struct hg_burst burst;
static struct hg_pkt *pkts[HG_BURST_N];
static uint8_t payload[65536];
static uint64_t taken_n;

static unsigned take(struct hg_txq *q, struct hg_pkt *const *taken, unsigned n)
{
    (void)q;
    (void)taken;
    taken_n += n;
    return n;
}

/* A burst of TCP frames of `flows` flows, each borrowing all its payload in 4 KiB pieces. */
static void make_burst(unsigned flows, uint32_t payload_bytes, struct hg_offload ol)
{
    memset(&burst, 0, sizeof(burst));
    burst.n = HG_BURST_N;
    for (unsigned i = 0; i < burst.n; i++) {
        struct hg_pkt *pkt = &burst.pkt[i];
        uint8_t *ip = pkt->head + HG_ETH_BYTES;
        uint8_t *tcp = ip + HG_IP4_BYTES;

        hg_store_be16(pkt->head + HG_ETH_TYPE, HG_ETHERTYPE_IP4);
        ip[HG_IP4_VERSION_IHL] = 0x45;
        ip[HG_IP4_PROTO] = HG_IP_PROTO_TCP;
        hg_store_be16(tcp + HG_TCP_SRC_PORT, (uint16_t)(i % flows));
        tcp[HG_TCP_DATA_OFFSET] = 0x50;
        pkt->head_len = HG_ETH_BYTES + HG_IP4_BYTES + HG_TCP_BYTES;
        pkt->len = pkt->head_len + payload_bytes;
        pkt->seg = &burst.seg[burst.seg_n];
        for (uint32_t at = 0; at < payload_bytes; at += 4096, pkt->seg_n++)
            burst.seg[burst.seg_n++] =
                (struct hg_seg){payload + at, hg_min_u32(4096, payload_bytes - at)};
        pkt->ol = ol;
        pkts[i] = pkt;
    }
    hg_parse_burst(&burst);
}

static void measure(const char *name, unsigned queue_n, unsigned offloads, unsigned bursts_n)
{
    double cycles[ROUNDS_N];
    uint64_t per_round_n = 0;

    for (unsigned q = 0; q < QUEUES_N; q++)
        atomic_store(&txqs[q].offloads, offloads);
    atomic_store(&port.txq_running_n, queue_n);
    for (unsigned r = 0; r < ROUNDS_N; r++) {
        uint64_t start = hg_cycles();

        taken_n = 0;
        for (unsigned i = 0; i < bursts_n; i++)
            hg_port_tx(&port, pkts, burst.n);
        per_round_n = taken_n / bursts_n;
        cycles[r] = (double)(hg_cycles() - start) / (double)taken_n;
    }
    printf("%-44s %8.1f cycles per frame out (%u in, %u out)\n", name,
           sample_median(cycles, ROUNDS_N), burst.n, (unsigned)per_round_n);
}

int main(void)
{
    const uint16_t l4 = HG_ETH_BYTES + HG_IP4_BYTES;
    const struct hg_offload plain = {0};
    const struct hg_offload csum = {HG_OL_NEEDS_CSUM, HG_GSO_NONE, 0, l4, HG_TCP_CSUM};
    const struct hg_offload tso = {HG_OL_NEEDS_CSUM, HG_GSO_TCP4, 1460, l4, HG_TCP_CSUM};

    for (unsigned q = 0; q < QUEUES_N; q++) {
        txqs[q].tx = take;
        atomic_store(&txqs[q].running, true);
        port.txq[q] = &txqs[q];
    }
    make_burst(8, 1460, plain);
    measure("plain, one queue, receiver takes all offloads", 1, HG_TX_ALL, 50000);
    measure("plain, one queue, receiver takes none", 1, 0, 50000);
    measure("plain, four queues, 8 flows", QUEUES_N, 0, 50000);
    make_burst(1, 1460, plain);
    measure("plain, four queues, 1 flow", QUEUES_N, 0, 50000);
    make_burst(1, 64, csum);
    measure("checksum of 64 bytes in software", 1, 0, 5000);
    make_burst(1, 1460, csum);
    measure("checksum of 1460 bytes in software", 1, 0, 2000);
    make_burst(1, 61320, tso);
    measure("segmentation into 1460 bytes", 1, HG_TX_CSUM, 100);
    measure("segmentation into 1460 bytes, and checksum", 1, 0, 100);
    return 0;
}
