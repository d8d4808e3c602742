/*
 * Between the virtio_net_hdr of a frame (virtio 1.2, 5.1.6) and struct hg_offload. Both sides of a
 * virtqueue use it. The header given is a private copy, made by who received it.
 */
#ifndef HG_VIRTIO_NET_HDR_H
#define HG_VIRTIO_NET_HDR_H

#include "pkt/pkt.h"
#include "virtio/virtio.h"

/* Translates what the sender asked for, the slow part of hg_net_hdr_read(). False when it
 * contradicts the frame. */
bool hg_net_hdr_read_offload(const struct hg_net_hdr *hdr, bool from_device, struct hg_pkt *pkt);

/*
 * Fills pkt->ol from a header; pkt->len is set. `from_device` says that a device wrote it, which
 * may vouch for a checksum (DATA_VALID); a driver may not (5.1.6.2.1). Returns false when the
 * request lies outside the frame or is of a kind that is never offered: then the frame is to be
 * dropped. What it says of the headers themselves is checked once they are parsed.
 */
static inline bool hg_net_hdr_read(const struct hg_net_hdr *hdr, bool from_device,
                                   struct hg_pkt *pkt)
{
    if (hg_likely((hdr->flags | hdr->gso_type) == 0)) {
        pkt->ol = (struct hg_offload){0};
        return true;
    }
    return hg_net_hdr_read_offload(hdr, from_device, pkt);
}

/* The slow part of hg_net_hdr_write(). */
void hg_net_hdr_write_offload(struct hg_net_hdr *hdr, const struct hg_pkt *pkt);

/* Writes the header for a frame that fills n buffers. The receiver has negotiated what pkt->ol
 * asks. */
static inline void hg_net_hdr_write(struct hg_net_hdr *hdr, const struct hg_pkt *pkt, uint16_t n)
{
    *hdr = (struct hg_net_hdr){.num_buffers = n};
    if (hg_unlikely((pkt->ol.flags | pkt->ol.gso) != 0))
        hg_net_hdr_write_offload(hdr, pkt);
}

#endif
