#include "flow/acl_key.h"

#include <string.h>

#include "wire/bytes.h"
#include "wire/ip4.h"
#include "wire/ip6.h"
#include "wire/tcp.h"

enum { VLAN_ID_MASK = 0x0fff };

/* The part that both families have. TCP and UDP have their ports in the same place. */
struct rest {
    uint16_t src_port;
    uint16_t dst_port;
    uint8_t tcp_flags;
    uint16_t vlan;
};

static struct rest rest_of(const struct hg_pkt *pkt)
{
    const uint8_t *l4 = pkt->head + pkt->l4_offset;
    struct rest rest = {0, 0, 0, pkt->vlan_tci & VLAN_ID_MASK};

    if ((pkt->parsed & (HG_PARSED_TCP | HG_PARSED_UDP)) != 0) {
        rest.src_port = hg_load_be16(l4 + HG_TCP_SRC_PORT);
        rest.dst_port = hg_load_be16(l4 + HG_TCP_DST_PORT);
    }
    if ((pkt->parsed & HG_PARSED_TCP) != 0)
        rest.tcp_flags = l4[HG_TCP_FLAGS];
    return rest;
}

bool hg_acl_key4_of(const struct hg_pkt *pkt, struct hg_acl_key4 *key)
{
    const uint8_t *ip = pkt->head + pkt->l3_offset;
    struct rest rest;

    if ((pkt->parsed & HG_PARSED_IP4) == 0)
        return false;
    rest = rest_of(pkt);
    *key = (struct hg_acl_key4){
        .src = hg_load_be32(ip + HG_IP4_SRC),
        .dst = hg_load_be32(ip + HG_IP4_DST),
        .src_port = rest.src_port,
        .dst_port = rest.dst_port,
        .proto = pkt->ip_proto,
        .tcp_flags = rest.tcp_flags,
        .vlan = rest.vlan,
    };
    return true;
}

bool hg_acl_key6_of(const struct hg_pkt *pkt, struct hg_acl_key6 *key)
{
    const uint8_t *ip = pkt->head + pkt->l3_offset;
    struct rest rest;

    if ((pkt->parsed & HG_PARSED_IP6) == 0)
        return false;
    rest = rest_of(pkt);
    memcpy(key->src, ip + HG_IP6_SRC, sizeof(key->src));
    memcpy(key->dst, ip + HG_IP6_DST, sizeof(key->dst));
    key->src_port = rest.src_port;
    key->dst_port = rest.dst_port;
    key->proto = pkt->ip_proto;
    key->tcp_flags = rest.tcp_flags;
    key->vlan = rest.vlan;
    return true;
}
