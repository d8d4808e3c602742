#include "virtio/net_hdr.h"

bool hg_net_hdr_read_offload(const struct hg_net_hdr *hdr, bool from_device, struct hg_pkt *pkt)
{
    struct hg_offload ol = {0};

    if ((hdr->flags & HG_NET_HDR_F_NEEDS_CSUM) != 0) {
        if ((uint32_t)hdr->csum_start + hdr->csum_offset + 2 > pkt->len)
            return false;
        ol.flags = HG_OL_NEEDS_CSUM;
        ol.csum_start = hdr->csum_start;
        ol.csum_offset = hdr->csum_offset;
    } else if ((hdr->flags & HG_NET_HDR_F_DATA_VALID) != 0 && from_device) {
        ol.flags = HG_OL_CSUM_OK;
    }

    switch (hdr->gso_type & ~HG_NET_HDR_GSO_ECN) {
    case HG_NET_HDR_GSO_NONE:
        pkt->ol = ol;
        return true;
    case HG_NET_HDR_GSO_TCPV4:
        ol.gso = HG_GSO_TCP4;
        break;
    case HG_NET_HDR_GSO_TCPV6:
        ol.gso = HG_GSO_TCP6;
        break;
    default:
        return false;
    }
    if (hdr->gso_size == 0)
        return false;
    ol.gso_size = hdr->gso_size;
    if ((hdr->gso_type & HG_NET_HDR_GSO_ECN) != 0)
        ol.flags |= HG_OL_TCP_ECN;
    pkt->ol = ol;
    return true;
}

void hg_net_hdr_write_offload(struct hg_net_hdr *hdr, const struct hg_pkt *pkt)
{
    static const uint8_t gso_type[] = {
        [HG_GSO_NONE] = HG_NET_HDR_GSO_NONE,
        [HG_GSO_TCP4] = HG_NET_HDR_GSO_TCPV4,
        [HG_GSO_TCP6] = HG_NET_HDR_GSO_TCPV6,
    };

    if ((pkt->ol.flags & HG_OL_NEEDS_CSUM) != 0) {
        hdr->flags = HG_NET_HDR_F_NEEDS_CSUM;
        hdr->csum_start = pkt->ol.csum_start;
        hdr->csum_offset = pkt->ol.csum_offset;
    } else if ((pkt->ol.flags & HG_OL_CSUM_OK) != 0) {
        hdr->flags = HG_NET_HDR_F_DATA_VALID;
    }
    if (pkt->ol.gso == HG_GSO_NONE)
        return;
    hdr->gso_type = gso_type[pkt->ol.gso];
    if ((pkt->ol.flags & HG_OL_TCP_ECN) != 0)
        hdr->gso_type |= HG_NET_HDR_GSO_ECN;
    hdr->gso_size = pkt->ol.gso_size;
    /* A hint only (5.1.6.4.2): what the receiver should keep contiguous. */
    hdr->hdr_len = pkt->payload_offset != 0 ? pkt->payload_offset : pkt->head_len;
}
