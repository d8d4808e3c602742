/*
 * Routing: the stage that makes a router out of a pipe. What RFC 1812 asks of forwarding an IPv4
 * packet, for a burst:
 *
 *   validate   header whole, version, lengths, checksum (5.2.2); addresses that are nobody's
 *              (5.3.7); not from a link-layer broadcast (5.3.4)
 *   TTL        more than 1, then one less, with the checksum updated (5.3.1; RFC 1624)
 *   look up    the longest prefix (5.2.4.3), for all packets of the burst together
 *   rewrite    Ethernet addresses, and the port to go out at, from the next hop's adjacency
 *
 * What is not forwarded falls out of the burst and is counted under one reason. A router that
 * answers with ICMP, or has addresses of its own, looks at packets in a stage before this one. VLAN
 * tags stay as they are.
 */
#ifndef HG_FLOW_ROUTE_H
#define HG_FLOW_ROUTE_H

#include "base/api.h"
#include "base/count.h"
#include "pkt/pkt.h"
#include "table/lpm4.h"

HG_API_BEGIN

enum hg_route_drop {
    HG_ROUTE_NOT_IP4,    /* not an IPv4 packet, or its header is not whole */
    HG_ROUTE_LINK_GROUP, /* came as a broadcast or multicast of the link */
    HG_ROUTE_BAD_HEADER, /* lengths that contradict each other or the frame, or a wrong checksum */
    HG_ROUTE_MARTIAN,    /* from, or to, an address that must not be on a wire between networks */
    HG_ROUTE_TTL,        /* has made all its hops */
    HG_ROUTE_NO_ROUTE,   /* no prefix matches, or its next hop is none */
    HG_ROUTE_DROP_N
};

/* The name of each reason: lower case, underscores. Static storage; any thread. */
extern const char *const hg_route_drop_names[HG_ROUTE_DROP_N];

/* What a next hop is on its link. */
struct hg_adjacency {
    uint8_t link[12]; /* the neighbour's Ethernet address, then ours, as they stand in a frame */
    uint16_t out;     /* the port that the link is behind: hg_pkt.out */
    uint16_t unused;
};

/* A router's context, one for each worker that runs it, because it counts. Tables may be shared. */
struct hg_route4 {
    const struct hg_lpm4 *lpm;
    /* By next hop. One that routes name stays as it is, unless the one worker that uses it changes
     * it, between bursts. */
    const struct hg_adjacency *adjacency;
    uint32_t adjacency_n;
    struct hg_count drops[HG_ROUTE_DROP_N];
};

/*
 * Routes n parsed packets (flow/parse.h), n <= HG_BURST_N: what is forwarded is changed as said
 * above and moved to the front, in order. Returns how many. A stage of a program
 * (program/program.h) with the router as its context; the router's worker, a reader in the sense of
 * sync/qsbr.h.
 */
unsigned hg_route4(void *router, struct hg_pkt **pkts, unsigned n);

HG_API_END

#endif
