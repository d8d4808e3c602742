/*
 * A frame in the guest's name after a migration, so that switches learn where it is now
 * (SEND_RARP). It is asked for by front-ends whose guest cannot announce itself.
 *
 * The frame enters as if the guest had sent it, on its first queue. Control writes it and sets
 * `full`; the worker that polls the queue takes it behind what it has received and clears `full`.
 * There is room for one: a second one before the first has left would be of the same guest.
 */
#include <errno.h>
#include <string.h>

#include "base/raise.h"
#include "port/vhost/state.h"
#include "wire/arp.h"
#include "wire/eth.h"

_Static_assert((int)HG_VHOST_ANNOUNCE_BYTES <= (int)HG_HEAD_BYTES, "it is all head");
_Static_assert((int)HG_ETH_BYTES + (int)HG_ARP_BYTES <= (int)HG_VHOST_ANNOUNCE_BYTES,
               "RARP has the layout of ARP");

/* "What is the address of this MAC?": RFC 903. */
static void write_rarp(uint8_t *frame, const uint8_t *mac)
{
    uint8_t *arp = frame + HG_ETH_BYTES;

    memset(frame, 0, HG_VHOST_ANNOUNCE_BYTES);
    memset(frame + HG_ETH_DST, 0xff, HG_MAC_BYTES);
    memcpy(frame + HG_ETH_SRC, mac, HG_MAC_BYTES);
    hg_store_be16(frame + HG_ETH_TYPE, HG_ETHERTYPE_RARP);
    hg_store_be16(arp + HG_ARP_HARDWARE, 1);
    hg_store_be16(arp + HG_ARP_PROTOCOL, HG_ETHERTYPE_IP4);
    arp[HG_ARP_HARDWARE_LEN] = HG_MAC_BYTES;
    arp[HG_ARP_PROTOCOL_LEN] = 4;
    hg_store_be16(arp + HG_ARP_OPERATION, HG_RARP_REQUEST);
    memcpy(arp + HG_ARP_SENDER_MAC, mac, HG_MAC_BYTES);
    memcpy(arp + HG_ARP_TARGET_MAC, mac, HG_MAC_BYTES);
}

/* The first 6 bytes of the payload are the guest's MAC. */
int hg_vhost_send_rarp(struct hg_vhost_call *call)
{
    struct hg_vhost_pair *pair = &call->vp->pair[0];
    struct hg_vhost_announce *announce = &pair->announce;
    const uint8_t *mac = call->in->bytes;

    if (hg_mac_is_group(mac) || hg_mac_is_zero(mac)) {
        hg_err_set(call->err, EINVAL, "%02x:%02x:%02x:%02x:%02x:%02x is nobody's address", mac[0],
                   mac[1], mac[2], mac[3], mac[4], mac[5]);
        return HG_VHOST_REFUSED;
    }
    /* Pairs with the release below. */
    if (atomic_load_explicit(&announce->full, memory_order_acquire))
        return 0;
    write_rarp(announce->frame, mac);
    atomic_store_explicit(&announce->full, true, memory_order_release);
    hg_raise(pair->rx.kick_fd);
    return 0;
}

unsigned hg_vhost_announce(struct hg_vhost_pair *pair, struct hg_burst *b, unsigned n)
{
    struct hg_pkt *pkt = &b->pkt[n];

    if (n == HG_BURST_N)
        return n;
    memcpy(pkt->head, pair->announce.frame, HG_VHOST_ANNOUNCE_BYTES);
    pkt->len = pkt->head_len = HG_VHOST_ANNOUNCE_BYTES;
    pkt->seg_n = 0;
    pkt->seg = NULL;
    pkt->ol = (struct hg_offload){0};
    hg_count_add(&pair->rxq.stats.packets, 1);
    hg_count_add(&pair->rxq.stats.bytes, HG_VHOST_ANNOUNCE_BYTES);
    /* Pairs with control's acquire: the frame has been read. */
    atomic_store_explicit(&pair->announce.full, false, memory_order_release);
    b->n = n + 1;
    return b->n;
}
