#include "flow/parse.h"

#include "wire/arp.h"
#include "wire/eth.h"
#include "wire/icmp.h"
#include "wire/ip4.h"
#include "wire/ip6.h"
#include "wire/tcp.h"
#include "wire/udp.h"

/* Odd 64-bit constants from the fractional part of the golden ratio and of the square root of 3. */
#define MIX_A UINT64_C(0x9e3779b97f4a7c15)
#define MIX_B UINT64_C(0xbb67ae8584caa73b)

/* Folds one more word into a hash; the multiplication carries every bit of the input upwards, the
 * shift brings the upper bits back down. */
static inline uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * MIX_A;
    return hash ^ hash >> 32;
}

/* The upper half of the last product is the part that depends on all of the input. */
static inline uint32_t finish(uint64_t hash)
{
    return (uint32_t)(hash * MIX_B >> 32);
}

static inline uint32_t hash_link(const uint8_t *head)
{
    /* destination and the first source bytes | the other source bytes and the type */
    return finish(mix(mix(0, hg_load_raw64(head)), hg_load_raw64(head + 6)));
}

/* What the network layer found out about what it carries. */
struct transport {
    uint8_t proto;
    uint8_t icmp;  /* the number of this IP version's ICMP */
    bool fragment; /* of a datagram in several pieces, the first one too */
    bool first;    /* the transport header is here */
};

/* Bytes of the TCP header at p, 0 when it is malformed or not whole. */
static inline unsigned tcp_bytes(const uint8_t *p, unsigned room)
{
    unsigned bytes = room >= HG_TCP_BYTES ? hg_tcp_header_bytes(p) : 0;

    return bytes >= HG_TCP_BYTES && bytes <= room ? bytes : 0;
}

/* Reads the transport header at `at` <= head_len and returns its word for the hash: the protocol,
 * and the ports where there are any. */
static inline uint64_t parse_transport(struct hg_pkt *pkt, unsigned at, struct transport t)
{
    const uint8_t *p = pkt->head + at;
    unsigned room = pkt->head_len - at;
    uint64_t word = (uint64_t)t.proto << 32;
    unsigned bytes;

    pkt->ip_proto = t.proto;
    if (hg_unlikely(!t.first)) {
        pkt->parsed |= HG_PARSED_FRAGMENT;
        return 0;
    }
    if (t.proto == HG_IP_PROTO_UDP) {
        bytes = room >= HG_UDP_BYTES ? HG_UDP_BYTES : 0;
        pkt->parsed |= bytes != 0 ? HG_PARSED_UDP : 0;
    } else if (t.proto == HG_IP_PROTO_TCP) {
        bytes = tcp_bytes(p, room);
        pkt->parsed |= bytes != 0 ? HG_PARSED_TCP : 0;
    } else if (t.proto == t.icmp) {
        bytes = room >= HG_ICMP_BYTES ? HG_ICMP_BYTES : 0;
        pkt->parsed |= bytes != 0 ? HG_PARSED_ICMP : 0;
    } else {
        bytes = 0;
    }
    if (hg_likely(bytes != 0)) {
        pkt->l4_offset = (uint8_t)at;
        pkt->payload_offset = (uint8_t)(at + bytes);
    }
    if (hg_unlikely(t.fragment)) {
        pkt->parsed |= HG_PARSED_FIRST_FRAGMENT;
        return 0;
    }
    /* The ports are at the same place in both, and belong to the flow even when the rest of the
     * header is nonsense. */
    if ((t.proto == HG_IP_PROTO_UDP || t.proto == HG_IP_PROTO_TCP) && room >= 4)
        word |= hg_load_raw32(p);
    return word;
}

static inline uint32_t parse_ip4(struct hg_pkt *pkt, unsigned at, unsigned room)
{
    const uint8_t *p = pkt->head + at;
    struct transport t = {.icmp = HG_IP_PROTO_ICMP};
    unsigned bytes;
    unsigned fragment;
    uint64_t hash;

    if (hg_unlikely(room < HG_IP4_BYTES || hg_ip4_version(p) != 4))
        return hash_link(pkt->head);
    bytes = hg_ip4_header_bytes(p);
    if (hg_unlikely(bytes < HG_IP4_BYTES || bytes > room))
        return hash_link(pkt->head);

    pkt->parsed |= HG_PARSED_IP4;
    t.proto = p[HG_IP4_PROTO];
    fragment = hg_load_be16(p + HG_IP4_FRAGMENT);
    hash = mix(0, hg_load_raw64(p + HG_IP4_SRC));
    t.fragment = (fragment & (HG_IP4_MF | HG_IP4_OFFSET_MASK)) != 0;
    t.first = (fragment & HG_IP4_OFFSET_MASK) == 0;
    return finish(mix(hash, parse_transport(pkt, at + bytes, t)));
}

/* Walks the extension headers behind the fixed one at `at`. Returns where the upper layer starts
 * and what it is; one that is not whole in the head, or one too many, is itself returned as the
 * upper layer, which then nobody knows. */
static unsigned walk_extensions(const struct hg_pkt *pkt, unsigned at, struct transport *t)
{
    for (unsigned i = 0; i < HG_IP6_EXTENSIONS_MAX && hg_ip6_is_extension(t->proto); i++) {
        const uint8_t *p = pkt->head + at;
        unsigned bytes;

        if (at + HG_IP6_EXT_BYTES_MIN > pkt->head_len)
            break;
        bytes = hg_ip6_extension_bytes(t->proto, p);
        if (bytes > pkt->head_len - at)
            break;
        if (t->proto == HG_IP_PROTO_FRAGMENT) {
            unsigned fragment = hg_load_be16(p + HG_IP6_FRAGMENT_OFFSET);

            /* Offset 0 without "more" is a whole datagram in one fragment (RFC 6946). */
            t->first = (fragment & HG_IP6_FRAGMENT_OFFSET_MASK) == 0;
            t->fragment = !t->first || (fragment & HG_IP6_FRAGMENT_MORE) != 0;
        }
        t->proto = p[HG_IP6_EXT_NEXT];
        at += bytes;
        if (!t->first)
            break; /* what follows is the middle of something */
    }
    return at;
}

static inline uint32_t parse_ip6(struct hg_pkt *pkt, unsigned at, unsigned room)
{
    const uint8_t *p = pkt->head + at;
    struct transport t = {.icmp = HG_IP_PROTO_ICMP6, .first = true};
    uint64_t hash;

    if (hg_unlikely(room < HG_IP6_BYTES || hg_ip6_version(p) != 6))
        return hash_link(pkt->head);

    pkt->parsed |= HG_PARSED_IP6;
    hash = mix(0, hg_load_raw64(p + HG_IP6_SRC));
    hash = mix(hash, hg_load_raw64(p + HG_IP6_SRC + 8));
    hash = mix(hash, hg_load_raw64(p + HG_IP6_DST));
    hash = mix(hash, hg_load_raw64(p + HG_IP6_DST + 8));
    t.proto = p[HG_IP6_NEXT];
    at += HG_IP6_BYTES;
    if (hg_unlikely(hg_ip6_is_extension(t.proto)))
        at = walk_extensions(pkt, at, &t);
    return finish(mix(hash, parse_transport(pkt, at, t)));
}

/* Skips the tags, outermost first, and returns where the layer behind them starts. */
static unsigned skip_vlan_tags(struct hg_pkt *pkt, unsigned type_at)
{
    const uint8_t *head = pkt->head;

    for (unsigned i = 0; i < HG_VLAN_TAGS_MAX && hg_ethertype_is_vlan(pkt->ether_type) &&
                         type_at + HG_VLAN_BYTES + 2u <= pkt->head_len;
         i++) {
        if (i == 0) {
            pkt->parsed |= HG_PARSED_VLAN;
            pkt->vlan_tci = hg_load_be16(head + type_at + HG_VLAN_TCI);
        }
        type_at += HG_VLAN_BYTES;
        pkt->ether_type = hg_load_be16(head + type_at);
    }
    return type_at + 2;
}

static inline void parse(struct hg_pkt *pkt)
{
    const uint8_t *head = pkt->head;
    unsigned at = HG_ETH_BYTES;
    unsigned room;

    pkt->parsed = 0;
    pkt->ether_type = 0;
    pkt->vlan_tci = 0;
    pkt->l3_offset = 0;
    pkt->l4_offset = 0;
    pkt->payload_offset = 0;
    pkt->ip_proto = 0;
    pkt->flow_hash = 0;
    if (hg_unlikely(pkt->head_len < HG_ETH_BYTES))
        return;

    pkt->ether_type = hg_load_be16(head + HG_ETH_TYPE);
    if (hg_unlikely(hg_ethertype_is_vlan(pkt->ether_type)))
        at = skip_vlan_tags(pkt, HG_ETH_TYPE);
    pkt->l3_offset = (uint8_t)at;
    room = pkt->head_len - at;

    if (hg_likely(pkt->ether_type == HG_ETHERTYPE_IP4)) {
        pkt->flow_hash = parse_ip4(pkt, at, room);
    } else if (pkt->ether_type == HG_ETHERTYPE_IP6) {
        pkt->flow_hash = parse_ip6(pkt, at, room);
    } else {
        pkt->flow_hash = hash_link(head);
        if (pkt->ether_type == HG_ETHERTYPE_ARP && room >= HG_ARP_BYTES && hg_arp_is_ip4(head + at))
            pkt->parsed |= HG_PARSED_ARP;
    }
}

void hg_parse(struct hg_pkt *pkt)
{
    parse(pkt);
}

void hg_parse_burst(struct hg_burst *b)
{
    for (unsigned i = 0; i < b->n; i++)
        parse(&b->pkt[i]);
}
