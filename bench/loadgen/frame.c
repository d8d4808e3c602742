#include "frame.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "wire/csum.h"
#include "wire/eth.h"
#include "wire/ip4.h"
#include "wire/tcp.h"
#include "wire/udp.h"

enum {
    L3_AT = HG_ETH_BYTES,
    L4_AT = L3_AT + HG_IP4_BYTES,
    UDP_PAYLOAD_AT = UDP_SEQ_AT + 8,
    PORT = 5001,
    CSUM_AT = L4_AT + HG_UDP_CSUM,
};

static uint32_t payload_at(const struct frame_kind *kind)
{
    return kind->tso ? TSO_HEADER_BYTES : UDP_PAYLOAD_AT;
}

/* The payload byte at offset `at` of a frame: different for neighbours, for frames, and for places
 * that are any power of two apart. */
static uint8_t pattern(const struct frame_kind *kind, uint32_t seq, uint32_t at)
{
    return (uint8_t)((at * UINT32_C(2654435761) >> 24) + (kind->verify ? seq * 31 : 0));
}

static void put_ip4(const struct frame_kind *kind, uint8_t *ip)
{
    const uint8_t src[] = {10, 0, 0, (uint8_t)(1 + kind->from)};
    const uint8_t dst[] = {10, 0, 0, (uint8_t)(2 - kind->from)};

    ip[HG_IP4_VERSION_IHL] = 0x45;
    hg_store_be16(ip + HG_IP4_TOTAL_LEN, (uint16_t)(kind->bytes - L3_AT));
    hg_store_be16(ip + HG_IP4_FRAGMENT, HG_IP4_DF);
    ip[HG_IP4_TTL] = 64;
    ip[HG_IP4_PROTO] = kind->tso ? HG_IP_PROTO_TCP : HG_IP_PROTO_UDP;
    memcpy(ip + HG_IP4_SRC, src, sizeof(src));
    memcpy(ip + HG_IP4_DST, dst, sizeof(dst));
    hg_store_be16(ip + HG_IP4_CSUM, hg_csum(ip, HG_IP4_BYTES));
}

static void put_l4(const struct frame_kind *kind, uint8_t *l4)
{
    hg_store_be16(l4 + HG_UDP_SRC_PORT, PORT); /* TCP has its ports in the same place */
    hg_store_be16(l4 + HG_UDP_DST_PORT, PORT);
    if (kind->tso) {
        l4[HG_TCP_DATA_OFFSET] = HG_TCP_BYTES / 4 << 4;
        l4[HG_TCP_FLAGS] = HG_TCP_ACKED;
        hg_store_be16(l4 + HG_TCP_WINDOW, 0xffff);
    } else {
        hg_store_be16(l4 + HG_UDP_LEN, (uint16_t)(kind->bytes - L4_AT));
    }
}

/* The sum of the pseudo-header, which is what TCP's field holds when the checksum is left to the
 * receiver. */
static struct hg_csum pseudo(const struct frame_kind *kind, const uint8_t *ip)
{
    struct hg_csum csum = {0};

    hg_csum_add_pseudo4(&csum, ip + HG_IP4_SRC, ip + HG_IP4_DST, ip[HG_IP4_PROTO],
                        (uint16_t)(kind->bytes - L4_AT));
    return csum;
}

static void put_udp_csum(const struct frame_kind *kind, uint8_t *frame)
{
    struct hg_csum csum = pseudo(kind, frame + L3_AT);
    uint16_t sum;

    hg_store_be16(frame + CSUM_AT, 0);
    hg_csum_add(&csum, frame + L4_AT, kind->bytes - L4_AT);
    sum = (uint16_t)~hg_csum_fold(&csum);
    hg_store_be16(frame + CSUM_AT, sum != 0 ? sum : 0xffff);
}

/* A whole frame for one sequence number, in private memory. */
static void make(const struct frame_kind *kind, uint8_t *frame, uint32_t seq)
{
    memset(frame, 0, payload_at(kind));
    hg_store_be16(frame + HG_ETH_TYPE, HG_ETHERTYPE_IP4);
    put_ip4(kind, frame + L3_AT);
    put_l4(kind, frame + L4_AT);
    memcpy(frame + kind->seq_at, &seq, sizeof(seq));
    seq = ~seq;
    memcpy(frame + kind->seq_at + sizeof(seq), &seq, sizeof(seq));
    seq = ~seq;
    for (uint32_t at = payload_at(kind); at < kind->bytes; at++)
        frame[at] = pattern(kind, seq, at);
    if (kind->tso) {
        struct hg_csum csum = pseudo(kind, frame + L3_AT);

        hg_store_be16(frame + L4_AT + HG_TCP_CSUM, hg_csum_fold(&csum));
    } else {
        put_udp_csum(kind, frame);
    }
}

void frame_kind_init(struct frame_kind *kind, uint32_t bytes, bool tso, bool verify, unsigned from)
{
    static uint8_t frame[TSO_FRAME_BYTES];

    *kind = (struct frame_kind){
        .bytes = bytes,
        .seq_at = tso ? TCP_SEQ_AT : UDP_SEQ_AT,
        .tso = tso,
        .verify = verify,
        .from = from,
    };
    if (tso)
        kind->hdr = (struct hg_net_hdr){
            .flags = HG_NET_HDR_F_NEEDS_CSUM,
            .gso_type = HG_NET_HDR_GSO_TCPV4,
            .hdr_len = TSO_HEADER_BYTES,
            .gso_size = TSO_SEGMENT_BYTES,
            .csum_start = L4_AT,
            .csum_offset = HG_TCP_CSUM,
        };
    make(kind, frame, 0);
    memcpy(kind->first, &kind->hdr, sizeof(kind->hdr));
    memcpy(kind->first + sizeof(kind->hdr), frame, FIRST_BYTES - sizeof(kind->hdr));
}

void frame_prepare(const struct frame_kind *kind, uint8_t *buf)
{
    static uint8_t frame[TSO_FRAME_BYTES];

    make(kind, frame, 0);
    hg_shm_out(buf, &kind->hdr, sizeof(kind->hdr));
    hg_shm_out(buf + sizeof(kind->hdr), frame, kind->bytes);
}

void frame_write_payload(const struct frame_kind *kind, uint8_t *buf, uint32_t seq)
{
    static uint8_t frame[TSO_FRAME_BYTES];

    make(kind, frame, seq); /* but for the addresses, which no checksum covers */
    hg_shm_out(buf + HG_NET_HDR_BYTES + HG_ETH_TYPE, frame + HG_ETH_TYPE,
               kind->bytes - HG_ETH_TYPE);
}

/* Where the checksum is left to the receiver, the field holds the pseudo-header's sum: over the
 * length as in Linux, or without it as in DPDK. Nobody reads it; each way is right. */
static void forgive_csum(uint8_t *got, const uint8_t *sent, uint32_t at, uint32_t len)
{
    for (uint32_t field = L4_AT + HG_TCP_CSUM; field < L4_AT + HG_TCP_CSUM + 2; field++)
        if (field >= at && field < at + len)
            got[field - at] = sent[field];
}

bool frame_check_piece(const struct frame_kind *kind, uint32_t seq, const uint8_t *piece,
                       uint32_t at, uint32_t len)
{
    static uint8_t sent[TSO_FRAME_BYTES], got[TSO_FRAME_BYTES];
    static uint32_t made_seq;
    static const struct frame_kind *made_kind;
    uint32_t skip = at < HG_ETH_TYPE ? HG_ETH_TYPE - at : 0; /* addresses are checked apart */

    assert(kind != NULL);
    if (made_kind != kind || made_seq != seq) {
        make(kind, sent, seq);
        made_kind = kind;
        made_seq = seq;
    }
    if (at + len > kind->bytes)
        return false;
    hg_shm_in(got, piece, len);
    if (kind->tso)
        forgive_csum(got, sent, at, len);
    return len <= skip || memcmp(got + skip, sent + at + skip, len - skip) == 0;
}

enum frame_verdict frame_blame(const struct frame_kind *kind, const uint8_t *first)
{
    uint64_t prefix = frame_mac(kind->from, 0);

    return memcmp(first + HG_NET_HDR_BYTES + HG_ETH_SRC, &prefix, 4) == 0 ? FRAME_CORRUPT
                                                                          : FRAME_FOREIGN;
}

bool frame_check_macs(const struct frame_kind *kind, const uint8_t *first, uint32_t mac_n)
{
    const uint8_t *macs = first + HG_NET_HDR_BYTES;
    uint32_t index = frame_mac_index(first);
    uint64_t dst = frame_mac(1 - kind->from, index);
    uint64_t src = frame_mac(kind->from, index);

    return index < mac_n && memcmp(macs + HG_ETH_DST, &dst, HG_MAC_BYTES) == 0 &&
           memcmp(macs + HG_ETH_SRC, &src, HG_MAC_BYTES) == 0;
}
