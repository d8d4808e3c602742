/*
 * Frames for tests: written layer by layer with valid lengths and checksums of the IPv4 header, and
 * laid out as a packet, a private head and scattered segments. Also the reference checksum: one
 * 16-bit word after the other, with nothing in common with wire/csum.c.
 */
#ifndef HG_TESTS_UNIT_FRAME_H
#define HG_TESTS_UNIT_FRAME_H

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "pkt/pkt.h"
#include "random.h"
#include "wire/eth.h"
#include "wire/icmp.h"
#include "wire/ip4.h"
#include "wire/ip6.h"
#include "wire/tcp.h"
#include "wire/udp.h"

struct frame {
    uint8_t bytes[HG_FRAME_BYTES_MAX + 256];
    unsigned len;
    unsigned type_at;  /* where the EtherType of the next layer goes */
    unsigned proto_at; /* where the number of the next IP layer goes */
    unsigned l3;
    unsigned l4;
    unsigned payload;
};

static inline uint16_t frame_reference_sum(uint32_t sum, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sum += (i & 1) ? bytes[i] : (uint32_t)bytes[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint16_t)sum;
}

static inline uint8_t *frame_append(struct frame *f, unsigned n)
{
    uint8_t *p = f->bytes + f->len;

    assert(f->len + n <= sizeof(f->bytes));
    memset(p, 0, n);
    f->len += n;
    return p;
}

static inline void frame_begin(struct frame *f)
{
    static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};

    f->len = 0;
    memcpy(frame_append(f, HG_ETH_BYTES), macs, sizeof(macs));
    f->type_at = HG_ETH_TYPE;
    f->proto_at = f->l3 = f->l4 = f->payload = 0;
}

static inline void frame_vlan(struct frame *f, uint16_t type, uint16_t tci)
{
    uint8_t *p = frame_append(f, HG_VLAN_BYTES);

    hg_store_be16(f->bytes + f->type_at, type);
    hg_store_be16(p, tci);
    f->type_at = f->len - 2;
}

static inline void frame_ip4(struct frame *f, unsigned option_bytes, uint16_t fragment)
{
    uint8_t *p;

    hg_store_be16(f->bytes + f->type_at, HG_ETHERTYPE_IP4);
    f->l3 = f->len;
    p = frame_append(f, HG_IP4_BYTES + option_bytes);
    p[HG_IP4_VERSION_IHL] = (uint8_t)(0x40 | (5 + option_bytes / 4));
    hg_store_be16(p + HG_IP4_ID, 0xfffe);
    hg_store_be16(p + HG_IP4_FRAGMENT, fragment);
    p[HG_IP4_TTL] = 64;
    hg_store_be32(p + HG_IP4_SRC, 0xc0a80001);
    hg_store_be32(p + HG_IP4_DST, 0xc0a80002);
    memset(p + HG_IP4_BYTES, 1, option_bytes); /* no operation */
    f->proto_at = f->l3 + HG_IP4_PROTO;
}

static inline void frame_ip6(struct frame *f)
{
    uint8_t *p;

    hg_store_be16(f->bytes + f->type_at, HG_ETHERTYPE_IP6);
    f->l3 = f->len;
    p = frame_append(f, HG_IP6_BYTES);
    p[HG_IP6_VERSION_CLASS_FLOW] = 0x60;
    p[HG_IP6_NEXT] = HG_IP_PROTO_NONE;
    p[HG_IP6_HOP_LIMIT] = 64;
    hg_store_be32(p + HG_IP6_SRC, 0xfd000000);
    hg_store_be32(p + HG_IP6_SRC + 12, 1);
    hg_store_be32(p + HG_IP6_DST, 0xfd000000);
    hg_store_be32(p + HG_IP6_DST + 12, 2);
    f->proto_at = f->l3 + HG_IP6_NEXT;
}

/* An extension header of `bytes`, a multiple of 8 (for HG_IP_PROTO_AH of 4, at least 8). */
static inline uint8_t *frame_extension(struct frame *f, uint8_t proto, unsigned bytes)
{
    uint8_t *p = frame_append(f, bytes);

    f->bytes[f->proto_at] = proto;
    p[HG_IP6_EXT_NEXT] = HG_IP_PROTO_NONE;
    if (proto == HG_IP_PROTO_AH)
        p[HG_IP6_EXT_LEN] = (uint8_t)(bytes / 4 - 2);
    else if (proto != HG_IP_PROTO_FRAGMENT)
        p[HG_IP6_EXT_LEN] = (uint8_t)(bytes / 8 - 1);
    f->proto_at = (unsigned)(p - f->bytes);
    return p;
}

/* A transport header of any protocol. */
static inline uint8_t *frame_transport(struct frame *f, uint8_t proto, unsigned bytes)
{
    uint8_t *p;

    f->bytes[f->proto_at] = proto;
    f->l4 = f->len;
    p = frame_append(f, bytes);
    f->payload = f->len;
    return p;
}

static inline uint8_t *frame_tcp(struct frame *f, unsigned option_bytes, uint8_t flags)
{
    uint8_t *p = frame_transport(f, HG_IP_PROTO_TCP, HG_TCP_BYTES + option_bytes);

    hg_store_be16(p + HG_TCP_SRC_PORT, 40000);
    hg_store_be16(p + HG_TCP_DST_PORT, 5201);
    hg_store_be32(p + HG_TCP_SEQ, 0xfffff000);
    hg_store_be32(p + HG_TCP_ACK, 7);
    p[HG_TCP_DATA_OFFSET] = (uint8_t)((5 + option_bytes / 4) << 4);
    p[HG_TCP_FLAGS] = flags;
    hg_store_be16(p + HG_TCP_WINDOW, 512);
    memset(p + HG_TCP_BYTES, 1, option_bytes);
    return p;
}

static inline uint8_t *frame_udp(struct frame *f)
{
    uint8_t *p = frame_transport(f, HG_IP_PROTO_UDP, HG_UDP_BYTES);

    hg_store_be16(p + HG_UDP_SRC_PORT, 40000);
    hg_store_be16(p + HG_UDP_DST_PORT, 53);
    return p;
}

static inline void frame_payload(struct frame *f, unsigned n)
{
    uint64_t state = 88172645463325252u + n;
    uint8_t *p = frame_append(f, n);

    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)random_u32(&state);
}

/* The sum of the pseudo-header for what lies behind l4, `bytes` long, not complemented. */
static inline uint16_t frame_pseudo_sum(const uint8_t *l3, uint8_t proto, unsigned bytes)
{
    uint32_t sum = proto + (bytes >> 16) + (bytes & 0xffff);

    sum = (sum & 0xffff) + (sum >> 16);
    if (hg_ip4_version(l3) == 4)
        return frame_reference_sum(sum, l3 + HG_IP4_SRC, 8);
    return frame_reference_sum(sum, l3 + HG_IP6_SRC, 32);
}

/* Fills in what depends on the whole: IP and UDP lengths, the IPv4 header checksum, and in the TCP
 * or UDP header the sum of the pseudo-header, as HG_OL_NEEDS_CSUM wants it. */
static inline void frame_end(struct frame *f)
{
    uint8_t *l3 = f->bytes + f->l3;
    uint8_t *l4 = f->bytes + f->l4;
    uint8_t proto = f->bytes[f->proto_at];

    if (f->l3 == 0)
        return;
    if (hg_ip4_version(l3) == 4) {
        hg_store_be16(l3 + HG_IP4_TOTAL_LEN, (uint16_t)(f->len - f->l3));
        hg_store_be16(l3 + HG_IP4_CSUM, 0);
        hg_store_be16(l3 + HG_IP4_CSUM,
                      (uint16_t)~frame_reference_sum(0, l3, hg_ip4_header_bytes(l3)));
    } else {
        hg_store_be16(l3 + HG_IP6_PAYLOAD_LEN, (uint16_t)(f->len - f->l3 - HG_IP6_BYTES));
    }
    if (f->l4 == 0)
        return;
    if (proto == HG_IP_PROTO_UDP) {
        hg_store_be16(l4 + HG_UDP_LEN, (uint16_t)(f->len - f->l4));
        hg_store_be16(l4 + HG_UDP_CSUM, frame_pseudo_sum(l3, proto, f->len - f->l4));
    } else if (proto == HG_IP_PROTO_TCP) {
        hg_store_be16(l4 + HG_TCP_CSUM, frame_pseudo_sum(l3, proto, f->len - f->l4));
    }
}

/*
 * Lays the frame out as a packet: `head_len` bytes in the head (the whole frame if it is shorter)
 * and the rest in segments that point into the frame, of seg_bytes each, or of random lengths up to
 * the double of it when `random` is not NULL. seg[] must have room for what comes out.
 */
static inline void frame_scatter(const struct frame *f, struct hg_pkt *pkt, struct hg_seg *seg,
                                 unsigned head_len, unsigned seg_bytes, uint64_t *random)
{
    unsigned at;

    memset(pkt, 0, sizeof(*pkt));
    pkt->len = f->len;
    pkt->head_len = (uint16_t)hg_min_u32(hg_min_u32(head_len, HG_HEAD_BYTES), f->len);
    memcpy(pkt->head, f->bytes, pkt->head_len);
    pkt->seg = seg;
    for (at = pkt->head_len; at < f->len; at += seg[pkt->seg_n++].len) {
        unsigned n = random != NULL ? 1 + random_u32(random) % (2 * seg_bytes) : seg_bytes;

        assert(pkt->seg_n < HG_BURST_SEGS);
        seg[pkt->seg_n] = (struct hg_seg){f->bytes + at, hg_min_u32(n, f->len - at)};
    }
}

/* Puts a packet's bytes together again; `to` has room for pkt->len. Returns the bytes found. */
static inline unsigned frame_gather(const struct hg_pkt *pkt, uint8_t *to)
{
    unsigned n = pkt->head_len;

    memcpy(to, pkt->head, n);
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        assert(pkt->seg[i].len != 0);
        memcpy(to + n, pkt->seg[i].addr, pkt->seg[i].len);
        n += pkt->seg[i].len;
    }
    return n;
}

#endif
