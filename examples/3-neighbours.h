/*
 * The neighbours of a router: which Ethernet address its next hops have. Part of example 3.
 *
 * Port i is 10.0.i.1 with 02:00:00:00:00:0i, and one neighbour is behind it. Two stages with the
 * router between them: meet() answers ARP (RFC 826) and learns from it, reach() asks. A neighbour
 * whose address is not known yet has zeros in its place; packets for it are lost, but make us ask.
 */
#include <errno.h>
#include <headgate/headgate.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PORTS_N = 2 };

struct neighbours {
    struct hg_program *program;
    uint32_t address[PORTS_N];              /* of the neighbour behind each port */
    struct hg_adjacency adjacency[PORTS_N]; /* what the router writes into packets for it */
};

static inline uint32_t our_address(uint16_t port)
{
    return 0x0a000001 + port * 256u;
}

static inline void introduce(struct neighbours *all, uint16_t port, const uint8_t *mac)
{
    memcpy(all->adjacency[port].link + HG_ETH_DST, mac, HG_MAC_BYTES);
}

/* A stage may send on its own. To `mac`, or to all on the link when it is NULL. */
static inline void send_arp(const struct neighbours *all, uint16_t port, uint16_t operation,
                            const uint8_t *mac, uint32_t address)
{
    struct hg_pkt pkt = {.len = HG_ARP_FRAME_BYTES, .head_len = HG_ARP_FRAME_BYTES};
    struct hg_pkt *pkts[] = {&pkt};
    const uint8_t *our_mac = all->adjacency[port].link + HG_ETH_SRC;

    hg_arp_write(pkt.head, operation, our_mac, our_address(port), mac, address);
    hg_port_tx(hg_program_port(all->program, port), pkts, 1);
}

static inline void hear(struct neighbours *all, uint16_t port, const uint8_t *arp)
{
    const uint8_t *mac = arp + HG_ARP_SENDER_MAC;
    uint32_t sender = hg_load_be32(arp + HG_ARP_SENDER_IP);

    if (sender == all->address[port])
        introduce(all, port, mac);
    if (hg_load_be16(arp + HG_ARP_OPERATION) == HG_ARP_REQUEST &&
        hg_load_be32(arp + HG_ARP_TARGET_IP) == our_address(port))
        send_arp(all, port, HG_ARP_REPLY, mac, sender);
}

/* The stage before the router: ARP ends here. */
static inline unsigned meet(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++)
        if ((pkts[i]->parsed & (HG_PARSED_ARP | HG_PARSED_VLAN)) == HG_PARSED_ARP)
            hear(ctx, pkts[i]->port, pkts[i]->head + HG_ETH_BYTES);
        else
            pkts[kept++] = pkts[i];
    return kept;
}

/* The stage behind the router: packets go on to whom we know. */
static inline unsigned reach(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    const struct neighbours *all = ctx;
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++)
        if (hg_mac_is_zero(pkts[i]->head + HG_ETH_DST))
            send_arp(all, pkts[i]->out, HG_ARP_REQUEST, NULL, all->address[pkts[i]->out]);
        else
            pkts[kept++] = pkts[i];
    return kept;
}
