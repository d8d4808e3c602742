/*
 * Cycles per packet of hg_parse_burst(), by kind of frame, over bursts whose heads are in the cache
 * as they are after a receive. Prints one line per kind; takes about a second.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "flow/parse.h"
#include "sample.h"
#include "wire/arp.h"
#include "wire/eth.h"
#include "wire/ip4.h"
#include "wire/ip6.h"
#include "wire/tcp.h"
#include "wire/udp.h"

enum { ROUNDS_N = 7, BURSTS_N = 50000 };

static struct hg_burst burst;

/* Appends a header of n bytes, all zero, and returns where it starts. */
static uint8_t *append(struct hg_pkt *pkt, unsigned n)
{
    uint8_t *p = pkt->head + pkt->head_len;

    pkt->head_len = (uint16_t)(pkt->head_len + n);
    pkt->len = pkt->head_len;
    return p;
}

static void make_link(struct hg_pkt *pkt, uint16_t type)
{
    uint8_t *p = append(pkt, HG_ETH_BYTES);

    p[HG_ETH_DST] = p[HG_ETH_SRC] = 2;
    hg_store_be16(p + HG_ETH_TYPE, type);
}

static void make_ip4(struct hg_pkt *pkt, unsigned i, uint8_t proto)
{
    uint8_t *p = append(pkt, HG_IP4_BYTES);

    p[HG_IP4_VERSION_IHL] = 0x45;
    p[HG_IP4_PROTO] = proto;
    hg_store_be32(p + HG_IP4_SRC, 0x0a000001);
    hg_store_be32(p + HG_IP4_DST, 0x0a000100 + i);
}

static void make_ip6(struct hg_pkt *pkt, unsigned i, uint8_t next)
{
    uint8_t *p = append(pkt, HG_IP6_BYTES);

    p[HG_IP6_VERSION_CLASS_FLOW] = 0x60;
    p[HG_IP6_NEXT] = next;
    hg_store_be32(p + HG_IP6_DST + 12, i);
}

static void make_transport(struct hg_pkt *pkt, unsigned i, uint8_t proto)
{
    uint8_t *p = append(pkt, 32);

    hg_store_be16(p + HG_TCP_SRC_PORT, (uint16_t)(1024 + i));
    hg_store_be16(p + HG_TCP_DST_PORT, 80);
    if (proto == HG_IP_PROTO_TCP)
        p[HG_TCP_DATA_OFFSET] = 0x80;
}

static void udp4(struct hg_pkt *pkt, unsigned i)
{
    make_link(pkt, HG_ETHERTYPE_IP4);
    make_ip4(pkt, i, HG_IP_PROTO_UDP);
    make_transport(pkt, i, HG_IP_PROTO_UDP);
}

static void tcp4(struct hg_pkt *pkt, unsigned i)
{
    make_link(pkt, HG_ETHERTYPE_IP4);
    make_ip4(pkt, i, HG_IP_PROTO_TCP);
    make_transport(pkt, i, HG_IP_PROTO_TCP);
}

static void tcp6(struct hg_pkt *pkt, unsigned i)
{
    make_link(pkt, HG_ETHERTYPE_IP6);
    make_ip6(pkt, i, HG_IP_PROTO_TCP);
    make_transport(pkt, i, HG_IP_PROTO_TCP);
}

static void vlan_tcp4(struct hg_pkt *pkt, unsigned i)
{
    uint8_t *p;

    make_link(pkt, HG_ETHERTYPE_CTAG);
    p = append(pkt, HG_VLAN_BYTES);
    hg_store_be16(p, (uint16_t)(1 + i));
    hg_store_be16(p + 2, HG_ETHERTYPE_IP4);
    make_ip4(pkt, i, HG_IP_PROTO_TCP);
    make_transport(pkt, i, HG_IP_PROTO_TCP);
}

static void options6(struct hg_pkt *pkt, unsigned i)
{
    uint8_t *p;

    make_link(pkt, HG_ETHERTYPE_IP6);
    make_ip6(pkt, i, HG_IP_PROTO_HOP_BY_HOP);
    p = append(pkt, 8);
    p[HG_IP6_EXT_NEXT] = HG_IP_PROTO_DESTINATION;
    p = append(pkt, 8);
    p[HG_IP6_EXT_NEXT] = HG_IP_PROTO_UDP;
    make_transport(pkt, i, HG_IP_PROTO_UDP);
}

static void arp(struct hg_pkt *pkt, unsigned i)
{
    uint8_t *p;

    make_link(pkt, HG_ETHERTYPE_ARP);
    p = append(pkt, 46);
    hg_store_be16(p + HG_ARP_HARDWARE, 1);
    hg_store_be16(p + HG_ARP_PROTOCOL, HG_ETHERTYPE_IP4);
    p[HG_ARP_HARDWARE_LEN] = 6;
    p[HG_ARP_PROTOCOL_LEN] = 4;
    hg_store_be32(p + HG_ARP_TARGET_IP, i);
}

/* Every kind by turns: what the branch predictor makes of it. */
static void mixed(struct hg_pkt *pkt, unsigned i)
{
    static void (*const make[])(struct hg_pkt *, unsigned) = {udp4, tcp4, tcp6, vlan_tcp4, arp};

    make[(i * 2654435761u >> 16) % HG_ARRAY_N(make)](pkt, i);
}

static void measure(const char *name, void (*make)(struct hg_pkt *, unsigned))
{
    double cycles[ROUNDS_N];
    double median;
    uint32_t seen = 0;

    memset(&burst, 0, sizeof(burst));
    burst.n = HG_BURST_N;
    for (unsigned i = 0; i < burst.n; i++)
        make(&burst.pkt[i], i);
    for (unsigned r = 0; r < ROUNDS_N; r++) {
        uint64_t start = hg_cycles();

        for (unsigned i = 0; i < BURSTS_N; i++) {
            hg_parse_burst(&burst);
            seen += burst.pkt[i % HG_BURST_N].flow_hash;
        }
        cycles[r] = (double)(hg_cycles() - start) / ((double)BURSTS_N * HG_BURST_N);
    }
    median = sample_median(cycles, ROUNDS_N);
    printf("%-28s %6.1f cycles/packet  (best %.1f, worst %.1f; hash sum %08" PRIx32 ")\n", name,
           median, cycles[0], cycles[ROUNDS_N - 1], seen);
}

int main(void)
{
    measure("IPv4 UDP", udp4);
    measure("IPv4 TCP", tcp4);
    measure("IPv6 TCP", tcp6);
    measure("VLAN IPv4 TCP", vlan_tcp4);
    measure("IPv6, two extensions, UDP", options6);
    measure("ARP", arp);
    measure("five kinds mixed", mixed);
    return 0;
}
