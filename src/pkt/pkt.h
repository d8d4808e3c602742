/*
 * The packet: borrowed for the length of a burst.
 *
 * Receiving copies only the first bytes of a frame, its headers, into private memory (`head`) and
 * borrows the rest where it lies: segments that still point into the sender's memory. Headers are
 * parsed, matched and rewritten in the private copy alone, so a sender that changes its memory
 * while we work spoils its own payload and never a decision already taken. Transmitting writes the
 * head and then the borrowed rest into the destination: one copy from VM to VM.
 *
 * A packet is valid until the `done` of the receive queue it came from. Who needs it longer makes
 * an owned copy (pkt/own.h). Transmitting never consumes a packet: flooding it to n ports is n
 * calls.
 *
 * A slot is four cache lines: one of fields, three of head.
 */
#ifndef HG_PKT_PKT_H
#define HG_PKT_PKT_H

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/api.h"
#include "base/bits.h"

HG_API_BEGIN

enum {
    HG_BURST_N = 32,          /* packets handled together */
    HG_HEAD_BYTES = 192,      /* private first bytes of a frame: QinQ, IPv6 and TCP with options */
    HG_CHAIN_SEGS_MAX = 1024, /* segments of one frame: the longest descriptor chain accepted */
    HG_BURST_SEGS = 2 * HG_CHAIN_SEGS_MAX,
    HG_FRAME_BYTES_MAX = 65535 + 14 + 8, /* largest IP packet, Ethernet header, two VLAN tags */
};

/* A piece of a frame that lies in shared memory: read it through base/shm.h only. */
struct hg_seg {
    const uint8_t *addr;
    uint32_t len; /* bytes, never 0 */
};

enum hg_gso { /* how a frame longer than the wire allows is to be cut */
              HG_GSO_NONE,
              HG_GSO_TCP4,
              HG_GSO_TCP6,
};

enum {                             /* hg_offload.flags */
       HG_OL_NEEDS_CSUM = 1u << 0, /* the 16 bits at csum_start + csum_offset hold the pseudo-header
                                   sum; the sum from csum_start to the end is still to be added */
       HG_OL_CSUM_OK = 1u << 1,    /* the sender's side has verified the transport checksum */
       HG_OL_TCP_ECN = 1u << 2,    /* segmentation must clear CWR after the first segment */
};

/* Work left to the receiver, checked against the frame by who received it: csum_start + csum_offset
 * + 2 <= len, gso_size != 0 whenever gso != NONE. */
struct hg_offload {
    uint8_t flags;
    uint8_t gso;          /* enum hg_gso */
    uint16_t gso_size;    /* payload bytes of each segment */
    uint16_t csum_start;  /* bytes from the frame's start */
    uint16_t csum_offset; /* bytes from csum_start */
};

enum { /* hg_pkt.parsed: which layers the head holds whole */
       HG_PARSED_VLAN = 1u << 0,
       HG_PARSED_ARP = 1u << 1,
       HG_PARSED_IP4 = 1u << 2,
       HG_PARSED_IP6 = 1u << 3,
       HG_PARSED_FRAGMENT = 1u << 4, /* not the first fragment: no transport header */
       HG_PARSED_TCP = 1u << 5,
       HG_PARSED_UDP = 1u << 6,
       HG_PARSED_ICMP = 1u << 7,           /* ICMP over IPv4, ICMPv6 over IPv6 */
       HG_PARSED_FIRST_FRAGMENT = 1u << 8, /* the first one of several */
};

struct hg_pkt {
    /* Set by who receives. */
    uint32_t len;      /* bytes of the frame */
    uint16_t head_len; /* of them, bytes in head; the rest is in the segments */
    uint16_t seg_n;
    const struct hg_seg *seg;
    struct hg_offload ol;
    uint16_t port; /* id of the port that it came from */

    /* Set by flow/parse.h; offsets are bytes from the frame's start. */
    uint16_t parsed;     /* HG_PARSED_* */
    uint16_t ether_type; /* host order, behind any VLAN tags */
    uint16_t vlan_tci;   /* host order, outermost tag; 0 without HG_PARSED_VLAN */
    uint8_t l3_offset;
    uint8_t l4_offset;      /* 0 when there is no transport header in the head */
    uint8_t payload_offset; /* behind the TCP, UDP or ICMP header; 0 likewise */
    uint8_t ip_proto;
    uint32_t flow_hash; /* equal for the packets of a flow in one direction */

    /* Set by a stage that chooses where the packet goes (program/program.h): the id of a port. */
    uint16_t out;

    alignas(HG_CACHE_LINE_BYTES) uint8_t head[HG_HEAD_BYTES];
};

static_assert(sizeof(struct hg_pkt) == 4 * HG_CACHE_LINE_BYTES, "a slot is four cache lines");

/* What one receive call fills: packets and the segments that they borrow. One per worker, private,
 * reused; no packet outlives the receive queue's `done`. */
struct hg_burst {
    unsigned n;
    unsigned seg_n; /* segments in use */
    struct hg_pkt pkt[HG_BURST_N];
    struct hg_seg seg[HG_BURST_SEGS];
};

HG_API_END

#endif
