/*
 * The neighbours of a router: which Ethernet address its next hops have. Part of example 3.
 *
 * Port i is 10.0.i.1 with 02:00:00:00:00:0i. ARP (RFC 826) is learned from whatever it says, and answered when it
 * asks for us. A packet for a neighbour that is not known is lost, but makes us ask.
 */
#include <errno.h>
#include <headgate/headgate.h>
#include <stdio.h>
#include <string.h>

struct neighbour {
    uint32_t address;
    uint16_t port;
    uint8_t mac[HG_MAC_BYTES];
    bool known;
};

struct neighbours {
    struct hg_program *program;
    unsigned n;
    struct neighbour of[16];
};

static inline uint32_t our_address(uint16_t port)
{
    return 0x0a000001 + port * 256u;
}

static inline void our_mac(uint8_t *mac, uint16_t port)
{
    memset(mac, 0, HG_MAC_BYTES);
    mac[0] = 2;
    mac[5] = (uint8_t)port;
}

static inline void ask_for(const struct neighbours *all, const struct neighbour *one)
{
    struct hg_pkt request = {.len = HG_ARP_FRAME_BYTES, .head_len = HG_ARP_FRAME_BYTES};
    struct hg_pkt *pkts[] = {&request};
    uint8_t mac[HG_MAC_BYTES];

    our_mac(mac, one->port);
    hg_arp_write(request.head, HG_ARP_REQUEST, mac, our_address(one->port), NULL, one->address);
    hg_port_tx(hg_program_port(all->program, one->port), pkts, 1);
}

static inline void learn(struct neighbours *all, uint32_t address, const uint8_t *mac)
{
    for (unsigned i = 0; i < all->n; i++) {
        if (all->of[i].address == address) {
            memcpy(all->of[i].mac, mac, HG_MAC_BYTES);
            all->of[i].known = true;
        }
    }
}

/* Turns a request for one of our addresses into the answer. False: it is none. */
static inline bool answer(struct hg_pkt *pkt)
{
    const uint8_t *arp = pkt->head + HG_ETH_BYTES;
    uint32_t sender = hg_load_be32(arp + HG_ARP_SENDER_IP);
    uint8_t mac[HG_MAC_BYTES], sender_mac[HG_MAC_BYTES];

    if (hg_load_be16(arp + HG_ARP_OPERATION) != HG_ARP_REQUEST ||
        hg_load_be32(arp + HG_ARP_TARGET_IP) != our_address(pkt->port))
        return false;
    memcpy(sender_mac, arp + HG_ARP_SENDER_MAC, HG_MAC_BYTES);
    our_mac(mac, pkt->port);
    hg_arp_write(pkt->head, HG_ARP_REPLY, mac, our_address(pkt->port), sender_mac, sender);
    pkt->len = pkt->head_len = HG_ARP_FRAME_BYTES;
    pkt->seg_n = 0;
    pkt->out = pkt->port;
    return true;
}

/* The stage: ARP ends here, but for our answers. */
static inline unsigned meet(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < n; i++) {
        const uint8_t *arp = pkts[i]->head + HG_ETH_BYTES;

        if ((pkts[i]->parsed & (HG_PARSED_ARP | HG_PARSED_VLAN)) == HG_PARSED_ARP) {
            learn(ctx, hg_load_be32(arp + HG_ARP_SENDER_IP), arp + HG_ARP_SENDER_MAC);
            if (!answer(pkts[i]))
                continue;
        }
        pkts[kept++] = pkts[i];
    }
    return kept;
}
