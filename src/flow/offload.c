#include "flow/offload.h"

#include "wire/eth.h"
#include "wire/ip4.h"
#include "wire/ip6.h"
#include "wire/tcp.h"
#include "wire/udp.h"

/* The first byte that may be summed: behind the fixed part of every header that was understood. */
static uint32_t checksummable_from(const struct hg_pkt *pkt)
{
    if (pkt->l4_offset != 0)
        return pkt->l4_offset;
    if (pkt->parsed & HG_PARSED_IP4)
        return pkt->l3_offset + HG_IP4_BYTES;
    if (pkt->parsed & HG_PARSED_IP6)
        return pkt->l3_offset + HG_IP6_BYTES;
    return hg_max_u32(pkt->l3_offset, HG_ETH_BYTES);
}

static bool csum_valid(const struct hg_pkt *pkt)
{
    uint32_t start = pkt->ol.csum_start;
    uint32_t offset = pkt->ol.csum_offset;

    if (start < checksummable_from(pkt) || start + offset + 2 > pkt->len)
        return false;
    if (pkt->parsed & HG_PARSED_TCP)
        return start == pkt->l4_offset && offset == HG_TCP_CSUM;
    if (pkt->parsed & HG_PARSED_UDP)
        return start == pkt->l4_offset ? offset == HG_UDP_CSUM : start >= pkt->payload_offset;
    return true;
}

static bool gso_valid(const struct hg_pkt *pkt)
{
    const unsigned fragment = HG_PARSED_FRAGMENT | HG_PARSED_FIRST_FRAGMENT;
    unsigned family;

    if (pkt->ol.gso == HG_GSO_TCP4)
        family = HG_PARSED_IP4;
    else if (pkt->ol.gso == HG_GSO_TCP6)
        family = HG_PARSED_IP6;
    else
        return false;
    return (pkt->parsed & family) != 0 && (pkt->parsed & HG_PARSED_TCP) != 0 &&
           (pkt->parsed & fragment) == 0 && (pkt->ol.flags & HG_OL_NEEDS_CSUM) != 0 &&
           pkt->ol.gso_size >= HG_GSO_SIZE_MIN && pkt->len > pkt->payload_offset;
}

bool hg_offload_valid(const struct hg_pkt *pkt)
{
    if ((pkt->ol.flags & HG_OL_NEEDS_CSUM) != 0 && !csum_valid(pkt))
        return false;
    if (pkt->ol.gso != HG_GSO_NONE)
        return gso_valid(pkt);
    return (pkt->ol.flags & HG_OL_TCP_ECN) == 0;
}
