#include "flow/route.h"

#include <string.h>

#include "wire/csum.h"
#include "wire/eth.h"
#include "wire/ip4.h"

_Static_assert(HG_BURST_N <= 32, "a bit for each packet of a burst");
_Static_assert(sizeof(struct hg_adjacency) == 16, "four adjacencies are a cache line");

const char *const hg_route_drop_names[HG_ROUTE_DROP_N] = {
    [HG_ROUTE_NOT_IP4] = "not_ip4",
    [HG_ROUTE_LINK_GROUP] = "link_group",
    [HG_ROUTE_BAD_HEADER] = "bad_header",
    [HG_ROUTE_MARTIAN] = "martian",
    [HG_ROUTE_TTL] = "ttl",
    [HG_ROUTE_NO_ROUTE] = "no_route",
};

/* 0.0.0.0/8, 127.0.0.0/8, and everything from the multicast groups on: no source of a packet
 * between networks, and no destination of one that is routed to a single next hop (RFC 1812,
 * 4.2.2.11 and 5.3.7). */
static inline bool is_martian(uint32_t address)
{
    uint32_t net = address >> 24;

    return (net == 0) | (net == 127) | (net >= 224);
}

static inline const uint8_t *ip4_of(const struct hg_pkt *pkt)
{
    return pkt->head + pkt->l3_offset;
}

static bool has_right_csum(const uint8_t *ip4)
{
    unsigned bytes = hg_ip4_header_bytes(ip4);

    return bytes == HG_IP4_BYTES ? hg_ip4_sum(ip4) == 0xffff : hg_csum(ip4, bytes) == 0;
}

static inline bool has_bad_length(const struct hg_pkt *pkt)
{
    unsigned total = hg_load_be16(ip4_of(pkt) + HG_IP4_TOTAL_LEN);

    return (total < hg_ip4_header_bytes(ip4_of(pkt))) | (total > pkt->len - pkt->l3_offset);
}

/* Why a packet is not to be forwarded, HG_ROUTE_DROP_N when it is. */
static enum hg_route_drop judge(const struct hg_pkt *pkt)
{
    const uint8_t *ip4 = ip4_of(pkt);

    /* A header of at least 20 bytes, version 4, is whole in the head: flow/parse.h. */
    if ((pkt->parsed & HG_PARSED_IP4) == 0)
        return HG_ROUTE_NOT_IP4;
    if (hg_mac_is_group(pkt->head + HG_ETH_DST))
        return HG_ROUTE_LINK_GROUP;
    if (has_bad_length(pkt) || !has_right_csum(ip4))
        return HG_ROUTE_BAD_HEADER;
    if (is_martian(hg_load_be32(ip4 + HG_IP4_SRC)) || is_martian(hg_load_be32(ip4 + HG_IP4_DST)))
        return HG_ROUTE_MARTIAN;
    return ip4[HG_IP4_TTL] > 1 ? HG_ROUTE_DROP_N : HG_ROUTE_TTL;
}

/* Whether a packet passes all of judge(), which is asked when this says no: also when there are
 * options. Without a branch, so that bad packets among good ones cost no more than themselves. What
 * is not IPv4 has other bytes in its place, which are read and do not matter. */
static inline bool is_plainly_good(const struct hg_pkt *pkt)
{
    const uint8_t *ip4 = ip4_of(pkt);
    bool bad = (pkt->parsed & HG_PARSED_IP4) == 0;

    bad |= hg_mac_is_group(pkt->head + HG_ETH_DST);
    bad |= ip4[HG_IP4_VERSION_IHL] != 0x45;
    bad |= has_bad_length(pkt);
    bad |= hg_ip4_sum(ip4) != 0xffff;
    bad |= is_martian(hg_load_be32(ip4 + HG_IP4_SRC));
    bad |= is_martian(hg_load_be32(ip4 + HG_IP4_DST));
    bad |= ip4[HG_IP4_TTL] <= 1;
    return !bad;
}

/* Moves those that are good to the front and asks for their entries of the table, which arrive
 * while the others are looked at. Returns how many. */
static inline unsigned validate(struct hg_route4 *route, struct hg_pkt **pkts, unsigned n)
{
    uint32_t good = 0; /* a bit for each packet */
    uint32_t in_doubt;
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++) {
        hg_lpm4_prefetch(route->lpm, hg_load_be32(ip4_of(pkts[i]) + HG_IP4_DST));
        good |= (uint32_t)is_plainly_good(pkts[i]) << i;
    }
    in_doubt = ~good & (uint32_t)((UINT64_C(1) << n) - 1);
    for (; in_doubt != 0; in_doubt &= in_doubt - 1) {
        unsigned i = (unsigned)__builtin_ctz(in_doubt);
        enum hg_route_drop why = judge(pkts[i]);

        if (why == HG_ROUTE_DROP_N)
            good |= UINT32_C(1) << i;
        else
            hg_count_add(&route->drops[why], 1);
    }
    for (unsigned i = 0; i < n; i++) {
        pkts[kept] = pkts[i];
        kept += good >> i & 1;
    }
    return kept;
}

unsigned hg_route4(void *router, struct hg_pkt **pkts, unsigned n)
{
    struct hg_route4 *route = router;
    unsigned kept = 0;

    n = validate(route, pkts, n);
    for (unsigned i = 0; i < n; i++) {
        struct hg_pkt *pkt = pkts[i];
        uint8_t *ip4 = pkt->head + pkt->l3_offset;
        uint16_t next_hop = hg_lpm4_lookup(route->lpm, hg_load_be32(ip4 + HG_IP4_DST));

        if (hg_unlikely(next_hop >= route->adjacency_n)) {
            hg_count_add(&route->drops[HG_ROUTE_NO_ROUTE], 1);
            continue;
        }
        hg_ip4_age(ip4);
        memcpy(pkt->head, route->adjacency[next_hop].link, sizeof(route->adjacency->link));
        pkt->out = route->adjacency[next_hop].out;
        pkts[kept++] = pkt;
    }
    return kept;
}
