/*
 * ACL: which rule of the highest priority does a packet match? Rules are over the 5-tuple, and VLAN and TCP flags
 * where wanted: addresses with prefix or any mask, ranges of ports, protocol.
 *
 *     struct hg_acl_rule rule = hg_acl_rule_any(HG_ACL_IP4);
 *     rule.dst = hg_acl_prefix4(0xc0000200, 24); // 192.0.2.0/24
 *     rule.proto = 6, rule.proto_mask = 0xff;
 *     rule.dst_port.first = rule.dst_port.last = 443;
 *     rule.data = 1;
 *     hg_acl_set(acl, &rule, 1, &err);
 *
 * A set of rules is compiled as a whole and replaces the one before it at one moment: readers see the old set or
 * the new one, never a mixture, and never wait. How it is compiled, and why so: acl_internal.h.
 *
 * What is bounded, whatever the rules are:
 *   memory   taken once, at creation. A set that does not fit is refused and the old one stays in force.
 *   lookup   a fixed number of table loads for each packet, and, for large sets, bit vectors: at worst
 *            rules / 512 cache lines for each field that has conditions (decision 0017 has the figures).
 *   update   milliseconds for 100 rules, up to about a second for 10,000, seconds for a hostile set.
 *
 * Lookups: any number of QSBR readers (sync/qsbr.h) at once, while one control thread replaces the rules.
 */
#ifndef HG_TABLE_ACL_H
#define HG_TABLE_ACL_H

#include <stdint.h>

#include "base/api.h"
#include "base/err.h"
#include "mem/arena.h"

HG_API_BEGIN

enum { HG_ACL_RULES_MAX = 32768 }; /* in one set */

#define HG_ACL_NONE UINT32_MAX /* what a lookup gives where no rule matches */

enum hg_acl_family {
    HG_ACL_ANY, /* IPv4 and IPv6, with any address */
    HG_ACL_IP4,
    HG_ACL_IP6,
};

/* Addresses whose bits under `mask` are those of `bytes`. Network byte order; IPv4 has the first four
 * bytes. Bits outside the mask must be 0 in `bytes`. */
struct hg_acl_addr {
    uint8_t bytes[16];
    uint8_t mask[16];
};

struct hg_acl_ports {
    uint16_t first;
    uint16_t last; /* at least first; part of the range */
};

/*
 * A packet matches if it matches in every field. A key without ports (another protocol, a later fragment) has
 * port 0, and matches ranges that contain 0.
 */
struct hg_acl_rule {
    struct hg_acl_addr src;
    struct hg_acl_addr dst;
    struct hg_acl_ports src_port;
    struct hg_acl_ports dst_port;
    uint16_t vlan; /* VLAN id (bits of the tag) under vlan_mask; mask 0: any */
    uint16_t vlan_mask;
    uint8_t proto; /* under proto_mask; mask 0: any, 0xff: exactly this one */
    uint8_t proto_mask;
    uint8_t tcp_flags; /* under tcp_flags_mask; mask 0: any */
    uint8_t tcp_flags_mask;
    uint8_t family;   /* enum hg_acl_family */
    int32_t priority; /* the highest wins; of equal ones, the rule that stands first in the set */
    uint32_t data;    /* the user's: what a lookup gives; not HG_ACL_NONE */
};

/* What a lookup compares with the rules: an IPv4 packet, numbers in host byte order. */
struct hg_acl_key4 {
    uint32_t src;
    uint32_t dst;
    uint16_t src_port; /* 0 where there are none */
    uint16_t dst_port;
    uint8_t proto;
    uint8_t tcp_flags; /* 0 where there are none */
    uint16_t vlan;     /* 0 without a tag */
};

/* An IPv6 packet: addresses in network byte order, numbers in host byte order. */
struct hg_acl_key6 {
    uint8_t src[16];
    uint8_t dst[16];
    uint16_t src_port;
    uint16_t dst_port;
    uint8_t proto;
    uint8_t tcp_flags;
    uint16_t vlan;
};

struct hg_acl_options {
    const char *name;   /* in the arena's account; NULL: "acl" */
    uint32_t rules_max; /* rules in a set; 0: 1024; at most HG_ACL_RULES_MAX */
    /* of the compiled form, two of which are kept, and as much again as both to compile in; 0:
     * enough for usual sets of rules_max rules */
    uint64_t memory_bytes;
};

struct hg_acl;

/*
 * Makes a classifier without rules: nothing matches. Its memory comes from the arena, all of it now, and goes
 * back with the arena. Returns 0, or a negative errno with *err: -EINVAL for sizes that cannot be, -ENOMEM where
 * the arena has no room.
 */
int hg_acl_new(struct hg_acl **acl, struct hg_arena *arena, const struct hg_acl_options *options,
               struct hg_err *err);

/* The bytes that hg_acl_new() takes from the arena under these options, alignment included; 0 where it would
 * refuse them. */
uint64_t hg_acl_bytes(const struct hg_acl_options *options);

/*
 * Replaces all rules. Returns 0, or a negative errno with *err, which names the rule, and then the rules in
 * force stay: -EINVAL for a rule that says nothing sensible, -E2BIG for more than rules_max rules, -ENOSPC for a
 * set whose compiled form or compilation needs more than memory_bytes.
 *
 * Waits for a grace period (hg_qsbr_wait), then the memory of the old set is used again. One control thread at
 * a time, never a registered reader.
 */
int hg_acl_set(struct hg_acl *acl, const struct hg_acl_rule *rules, uint32_t n, struct hg_err *err);

/*
 * For each of n packets the data of the rule of the highest priority that it matches, HG_ACL_NONE without
 * one. All n are looked up in the same set of rules. Bursts (32 and more) are the fastest. QSBR readers; between
 * the call and its end no quiescent state.
 */
void hg_acl_lookup4(const struct hg_acl *acl, const struct hg_acl_key4 *keys, uint32_t *data,
                    unsigned n);
void hg_acl_lookup6(const struct hg_acl *acl, const struct hg_acl_key6 *keys, uint32_t *data,
                    unsigned n);

/* What the rules in force cost. Control. */
struct hg_acl_info {
    uint32_t rules_n;
    uint64_t used_bytes;  /* of the compiled form */
    uint64_t limit_bytes; /* for it */
    uint32_t loads4;      /* table loads of a lookup4, before any bit vectors */
    uint32_t loads6;
    uint32_t vectors4; /* lines of bit vectors that a lookup4 reads at most */
    uint32_t vectors6;
};

struct hg_acl_info hg_acl_info(const struct hg_acl *acl);

/* A rule that every packet of the family matches, of priority 0 and data 0: narrow it. Pure. */
struct hg_acl_rule hg_acl_rule_any(enum hg_acl_family family);

/* The addresses of a prefix; bits behind it are dropped, `bits` above 32 or 128 count as that. Pure. */
struct hg_acl_addr hg_acl_prefix4(uint32_t addr, unsigned bits);
struct hg_acl_addr hg_acl_prefix6(const uint8_t addr[16], unsigned bits);

HG_API_END

#endif
