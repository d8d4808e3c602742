/*
 * Whether what a sender asks to be done with its frame makes sense.
 *
 * The request is the sender's word; nothing of it may be believed by who carries it out, here or in
 * the receiver, where the same lies have crashed kernels. A parsed packet whose hg_offload is
 * not all zero passes through hg_offload_valid() before anybody acts on it.
 *
 * Checksum (HG_OL_NEEDS_CSUM), virtio 1.2, 5.1.6.2:
 *   - the 16 bits at csum_start + csum_offset lie inside the frame, csum_start not before the end
 *     of the link header (and of a parsed IP header): the addresses a decision was taken on stay
 *     untouched;
 *   - of a parsed TCP header it is that header's checksum, nothing else;
 *   - of a parsed UDP header likewise, or csum_start lies in the UDP payload: a tunnel (VXLAN,
 *     Geneve) whose inner checksum is the one to complete;
 *   - where no transport header was parsed (GRE, IP in IP, SCTP, an unknown EtherType, a fragment)
 *     the first rule is all there is. A wrong place there spoils only bytes the sender could have
 *     written itself.
 * Segmentation:
 *   - TCP of the IP version that is asked for, header whole in the head, not a fragment;
 *   - together with HG_OL_NEEDS_CSUM: every segment needs a checksum of its own;
 *   - gso_size at least HG_GSO_SIZE_MIN, payload not empty;
 *   - HG_OL_TCP_ECN only here.
 * A gso_size of the whole payload or more is allowed: one segment.
 */
#ifndef HG_FLOW_OFFLOAD_H
#define HG_FLOW_OFFLOAD_H

#include <stdbool.h>

#include "pkt/pkt.h"

/* The smallest segment payload that an honest sender asks for: Linux sends segments of at least 48
 * bytes (tcp_min_snd_mss), of which options take up to 40. Below it one frame would become tens of
 * thousands. */
enum { HG_GSO_SIZE_MIN = 8 };

/* True if pkt->ol is consistent with the parsed packet. Pure; reads the packet's fields only. */
bool hg_offload_valid(const struct hg_pkt *pkt);

#endif
