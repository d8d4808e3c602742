/*
 * Parsing: from the bytes of a private head to the fields of struct hg_pkt.
 *
 * One pass, no state, no tables. Only pkt->head[0 .. head_len) is read, whatever the lengths inside
 * the headers claim; a header that is malformed or not whole in the head leaves its bit in `parsed`
 * unset, and parsing ends there. It is never an error: a bridge forwards what it does not
 * understand. Lengths that concern the payload (IPv4 total length, IPv6 payload length, UDP length)
 * are not compared with the frame: nothing here depends on them, and the receiver checks them
 * anyway.
 *
 * What is understood: up to two VLAN tags, ARP, IPv4 with options, IPv6 with up to
 * HG_IP6_EXTENSIONS_MAX extension headers, TCP with options, UDP, ICMP and ICMPv6.
 *
 * flow_hash is equal for the packets of a flow in one direction, so that they take the same queue
 * and stay in order. It covers
 *   TCP, UDP                    addresses, protocol, ports
 *   another IP protocol         addresses, protocol
 *   a fragment, also the first  addresses alone, because the later ones have no ports
 *   anything else               destination and source MAC, EtherType
 * and never the VLAN or the port. Order between the fragmented and the unfragmented datagrams of
 * one flow is not kept. It is a mix of multiplications without a secret: who wants collisions finds
 * them, so it may spread load but not stand for a comparison of keys.
 */
#ifndef HG_FLOW_PARSE_H
#define HG_FLOW_PARSE_H

#include "base/api.h"
#include "pkt/pkt.h"

HG_API_BEGIN

enum { HG_IP6_EXTENSIONS_MAX = 8 };

/* Fills the parse fields of one packet from its head. All of them are written, whatever they held.
 * The packet's user only. */
void hg_parse(struct hg_pkt *pkt);

/* The same for the b->n packets of a burst. */
void hg_parse_burst(struct hg_burst *b);

HG_API_END

#endif
