/*
 * Rule sets and traces for the ACL's benchmark, in the manner of ClassBench (Taylor and Turner,
 * "ClassBench: A Packet Classification Benchmark", INFOCOM 2005): its three kinds of filter set,
 * told apart by how long the prefixes are, how often a field is a wildcard, and which kinds of port
 * ranges occur.
 *
 *   acl   access lists: few wildcard addresses, source port any, destination port mostly one
 *   fw    firewalls: many wildcard addresses on either side, ranges of both ports
 *   ipc   chains of a packet filter: between the two, long prefixes
 *
 * Not ClassBench's own seeds, which are statistics of private filter sets: the shapes, with our
 * numbers. For IPv6 the same shapes, prefixes as long as sites, subnets and hosts are there. As there, prefixes nest and share networks, and a trace is made of the rules: each
 * packet lies in a random place inside a random rule. The same arguments give the same set on every
 * machine.
 */
#ifndef HG_BENCH_ACL_RULES_H
#define HG_BENCH_ACL_RULES_H

#include "table/acl.h"

enum rule_kind { KIND_ACL, KIND_FW, KIND_IPC, KINDS_N };

extern const char *const rule_kind_name[KINDS_N];

/* Fills n distinct rules of the kind, the first one the best; the last matches everything. data is
 * the number of the rule, from 1. The family is IPv4 or IPv6. */
void rules_make(struct hg_acl_rule *rules, unsigned n, enum rule_kind kind,
                enum hg_acl_family family, uint64_t seed);

/* Fills packets that the rules were made for, as the family has them. */
void trace_make4(struct hg_acl_key4 *keys, unsigned n, const struct hg_acl_rule *rules,
                 unsigned rules_n, uint64_t seed);
void trace_make6(struct hg_acl_key6 *keys, unsigned n, const struct hg_acl_rule *rules,
                 unsigned rules_n, uint64_t seed);

#endif
