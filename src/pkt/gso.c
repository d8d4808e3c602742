#include "pkt/gso.h"

#include <stddef.h>
#include <string.h>

#include "wire/csum.h"
#include "wire/ip4.h"
#include "wire/ip6.h"
#include "wire/tcp.h"

/* The sum of an IPv4 header as if its total length, identification and checksum were 0. */
static uint32_t constant_sum(const uint8_t *ip)
{
    struct hg_csum csum = {0};

    hg_csum_add16(&csum, hg_load_be16(ip)); /* version, header length, type of service */
    hg_csum_add(&csum, ip + HG_IP4_FRAGMENT, HG_IP4_CSUM - HG_IP4_FRAGMENT);
    hg_csum_add(&csum, ip + HG_IP4_SRC, hg_ip4_header_bytes(ip) - HG_IP4_SRC);
    return hg_csum_fold(&csum);
}

bool hg_gso_begin(struct hg_gso_iter *gso, const struct hg_pkt *pkt)
{
    *gso = (struct hg_gso_iter){.pkt = pkt};
    if (pkt->ol.gso == HG_GSO_NONE || pkt->ol.gso_size == 0 || !(pkt->parsed & HG_PARSED_TCP) ||
        !(pkt->parsed & (HG_PARSED_IP4 | HG_PARSED_IP6)) || pkt->len <= pkt->payload_offset)
        return false;
    gso->total_n = (pkt->len - pkt->payload_offset + pkt->ol.gso_size - 1) / pkt->ol.gso_size;
    if (pkt->parsed & HG_PARSED_IP4)
        gso->ip4_sum = constant_sum(pkt->head + pkt->l3_offset);
    return true;
}

/* Takes the next `bytes` of the payload as slices. Returns how many, or -1 if they do not fit; then
 * *gso is what it was. */
static int slice(struct hg_gso_iter *gso, uint32_t bytes, struct hg_seg *slices, unsigned slice_n)
{
    const struct hg_pkt *pkt = gso->pkt;
    const struct hg_gso_iter before = *gso;
    uint32_t at = pkt->payload_offset + gso->payload;
    unsigned n = 0;

    gso->payload += bytes;
    if (at < pkt->head_len) {
        uint32_t len = hg_min_u32(bytes, pkt->head_len - at);

        if (n < slice_n)
            slices[n] = (struct hg_seg){pkt->head + at, len};
        n++;
        bytes -= len;
    }
    while (bytes != 0 && n < slice_n && gso->seg < pkt->seg_n) {
        const struct hg_seg *seg = &pkt->seg[gso->seg];
        uint32_t len = hg_min_u32(bytes, seg->len - gso->seg_at);

        slices[n++] = (struct hg_seg){seg->addr + gso->seg_at, len};
        bytes -= len;
        gso->seg_at += len;
        if (gso->seg_at == seg->len) {
            gso->seg++;
            gso->seg_at = 0;
        }
    }
    if (bytes != 0 || n > slice_n) {
        *gso = before;
        return -1;
    }
    return (int)n;
}

/* The original is read here and not the copy, which has just been written in other pieces: a load
 * that spans several pending stores waits for all of them. */
static void rewrite_ip(struct hg_pkt *slot, const struct hg_gso_iter *gso)
{
    const uint8_t *original = gso->pkt->head + slot->l3_offset;
    uint8_t *ip = slot->head + slot->l3_offset;
    uint16_t len = (uint16_t)(slot->len - slot->l3_offset);
    struct hg_csum csum = {.sum = gso->ip4_sum};
    uint16_t id;

    if (slot->parsed & HG_PARSED_IP6) {
        hg_store_be16(ip + HG_IP6_PAYLOAD_LEN, (uint16_t)(len - HG_IP6_BYTES));
        return;
    }
    id = (uint16_t)(hg_load_be16(original + HG_IP4_ID) + gso->made_n);
    hg_csum_add16(&csum, len);
    hg_csum_add16(&csum, id);
    hg_store_be16(ip + HG_IP4_TOTAL_LEN, len);
    hg_store_be16(ip + HG_IP4_ID, id);
    hg_store_be16(ip + HG_IP4_CSUM, (uint16_t)~hg_csum_fold(&csum));
}

static void rewrite_tcp(struct hg_pkt *slot, const struct hg_gso_iter *gso, uint32_t sent)
{
    const uint8_t *original = gso->pkt->head + slot->l4_offset;
    uint8_t *tcp = slot->head + slot->l4_offset;
    uint8_t flags = original[HG_TCP_FLAGS];
    /* The update is of checksums, which are complements of sums. */
    uint16_t pseudo = (uint16_t)~hg_csum_update16((uint16_t)~hg_load_be16(original + HG_TCP_CSUM),
                                                  (uint16_t)(gso->pkt->len - slot->l4_offset),
                                                  (uint16_t)(slot->len - slot->l4_offset));

    if (gso->made_n != 0)
        flags &= (uint8_t)~HG_TCP_CWR;
    if (hg_gso_left(gso) != 1)
        flags &= (uint8_t) ~(HG_TCP_FIN | HG_TCP_PSH);
    hg_store_be32(tcp + HG_TCP_SEQ, hg_load_be32(original + HG_TCP_SEQ) + sent);
    tcp[HG_TCP_FLAGS] = flags;
    hg_store_be16(tcp + HG_TCP_CSUM, pseudo);
}

bool hg_gso_next(struct hg_gso_iter *gso, struct hg_pkt *slot, struct hg_seg *slices,
                 unsigned slice_n)
{
    const struct hg_pkt *pkt = gso->pkt;
    uint32_t sent = gso->payload;
    uint32_t bytes = hg_min_u32(pkt->ol.gso_size, pkt->len - pkt->payload_offset - sent);
    int n = slice(gso, bytes, slices, slice_n);

    if (n < 0)
        return false;
    memcpy(slot, pkt, offsetof(struct hg_pkt, head));
    memcpy(slot->head, pkt->head, pkt->payload_offset);
    slot->len = pkt->payload_offset + bytes;
    slot->head_len = pkt->payload_offset;
    slot->seg = slices;
    slot->seg_n = (uint16_t)n;
    slot->ol = (struct hg_offload){
        .flags = HG_OL_NEEDS_CSUM,
        .csum_start = slot->l4_offset,
        .csum_offset = HG_TCP_CSUM,
    };
    rewrite_ip(slot, gso);
    rewrite_tcp(slot, gso, sent);
    gso->made_n++;
    return true;
}

bool hg_csum_finish(struct hg_pkt *pkt)
{
    uint32_t start = pkt->ol.csum_start;
    uint32_t field = start + pkt->ol.csum_offset;
    struct hg_csum csum = {0};
    uint16_t checksum;

    if (field + 2 > pkt->head_len)
        return false;
    hg_csum_add(&csum, pkt->head + start, pkt->head_len - start);
    for (unsigned i = 0; i < pkt->seg_n; i++)
        hg_csum_add(&csum, pkt->seg[i].addr, pkt->seg[i].len);
    checksum = (uint16_t)~hg_csum_fold(&csum);
    hg_store_be16(pkt->head + field, checksum != 0 ? checksum : 0xffff);
    pkt->ol.flags &= (uint8_t)~HG_OL_NEEDS_CSUM;
    return true;
}
