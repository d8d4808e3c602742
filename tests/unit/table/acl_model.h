/*
 * The ACL's model, a search from the first rule to the last, and random rules and keys that try it:
 * few different values, so that rules nest, overlap and repeat, and keys hit their edges. Shared
 * with the fuzzer.
 */
#ifndef HG_TESTS_ACL_MODEL_H
#define HG_TESTS_ACL_MODEL_H

#include <stdbool.h>

#include "table/acl.h"

/* Where randomness comes from: next() gives a byte. */
struct source {
    uint8_t (*next)(void *ctx);
    void *ctx;
};

static inline uint8_t draw(struct source *source)
{
    return source->next(source->ctx);
}

static inline uint16_t draw16(struct source *source)
{
    return (uint16_t)(draw(source) << 8 | draw(source));
}

/* Mostly one of a few; now and then anything. */
static inline uint8_t draw_byte(struct source *source)
{
    static const uint8_t common[] = {0, 1, 10, 127, 128, 254, 255};
    uint8_t b = draw(source);

    return b < 224 ? common[b % sizeof(common)] : draw(source);
}

static inline void draw_addr(struct source *source, struct hg_acl_addr *addr, unsigned bytes)
{
    uint8_t kind = draw(source);
    unsigned bits = draw(source) % (bytes * 8 + 1);

    if (kind < 64)
        return; /* any */
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t rest = bits >= (i + 1) * 8 ? 0xff
                       : bits <= i * 8     ? 0
                                           : (uint8_t)(0xff00 >> (bits - i * 8));

        addr->mask[i] = kind < 216 ? rest : draw_byte(source);
        addr->bytes[i] = draw_byte(source) & addr->mask[i];
    }
}

static inline struct hg_acl_ports draw_ports(struct source *source)
{
    uint16_t a = (uint16_t)(draw_byte(source) << 8 | draw_byte(source));
    uint16_t b = (uint16_t)(draw_byte(source) << 8 | draw_byte(source));
    uint8_t kind = draw(source);

    if (kind < 100)
        return (struct hg_acl_ports){0, UINT16_MAX};
    if (kind < 160)
        b = a;
    return a <= b ? (struct hg_acl_ports){a, b} : (struct hg_acl_ports){b, a};
}

static inline struct hg_acl_rule draw_rule(struct source *source)
{
    enum hg_acl_family family = (enum hg_acl_family)(draw(source) % 3);
    struct hg_acl_rule rule = hg_acl_rule_any(family);
    unsigned bytes = family == HG_ACL_IP4 ? 4 : family == HG_ACL_IP6 ? 16 : 0;

    draw_addr(source, &rule.src, bytes);
    draw_addr(source, &rule.dst, bytes);
    rule.src_port = draw_ports(source);
    rule.dst_port = draw_ports(source);
    if (draw(source) < 128) {
        rule.proto_mask = draw(source) < 200 ? 0xff : draw_byte(source);
        rule.proto = draw_byte(source) & rule.proto_mask;
    }
    if (draw(source) < 64) {
        rule.tcp_flags_mask = draw_byte(source);
        rule.tcp_flags = draw_byte(source) & rule.tcp_flags_mask;
    }
    if (draw(source) < 64) {
        rule.vlan_mask = draw(source) < 200 ? 0xfff : draw16(source);
        rule.vlan = (uint16_t)(draw_byte(source) << 8 | draw_byte(source)) & rule.vlan_mask;
    }
    rule.priority = (int8_t)draw(source) % 4; /* many are equal */
    return rule;
}

static inline struct hg_acl_key6 draw_key(struct source *source)
{
    struct hg_acl_key6 key;

    for (unsigned i = 0; i < 16; i++) {
        key.src[i] = draw_byte(source);
        key.dst[i] = draw_byte(source);
    }
    key.src_port = (uint16_t)(draw_byte(source) << 8 | draw_byte(source));
    key.dst_port = (uint16_t)(draw_byte(source) << 8 | draw_byte(source));
    key.proto = draw_byte(source);
    key.tcp_flags = draw_byte(source);
    key.vlan = (uint16_t)((draw_byte(source) << 8 | draw_byte(source)) & 0xfff);
    return key;
}

static inline uint32_t load_be32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The IPv4 key with the front of the IPv6 key's addresses. */
static inline struct hg_acl_key4 key4_of(const struct hg_acl_key6 *key)
{
    struct hg_acl_key4 out = {
        load_be32(key->src), load_be32(key->dst), key->src_port, key->dst_port,
        key->proto,          key->tcp_flags,      key->vlan};

    return out;
}

/* Moves the key into the rule, in what the rule cares about. */
static inline void aim(struct hg_acl_key6 *key, const struct hg_acl_rule *rule)
{
    for (unsigned i = 0; i < 16; i++) {
        key->src[i] = (uint8_t)((key->src[i] & ~rule->src.mask[i]) | rule->src.bytes[i]);
        key->dst[i] = (uint8_t)((key->dst[i] & ~rule->dst.mask[i]) | rule->dst.bytes[i]);
    }
    if (key->src_port < rule->src_port.first || key->src_port > rule->src_port.last)
        key->src_port = key->src_port & 1 ? rule->src_port.first : rule->src_port.last;
    if (key->dst_port < rule->dst_port.first || key->dst_port > rule->dst_port.last)
        key->dst_port = key->dst_port & 1 ? rule->dst_port.first : rule->dst_port.last;
    key->proto = (uint8_t)((key->proto & ~rule->proto_mask) | rule->proto);
    key->tcp_flags = (uint8_t)((key->tcp_flags & ~rule->tcp_flags_mask) | rule->tcp_flags);
    key->vlan = (uint16_t)((key->vlan & ~rule->vlan_mask) | rule->vlan);
}

static inline bool matches_addr(const struct hg_acl_addr *addr, const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if ((bytes[i] & addr->mask[i]) != addr->bytes[i])
            return false;
    return true;
}

static inline bool model_matches(const struct hg_acl_rule *rule, const struct hg_acl_key6 *key,
                                 enum hg_acl_family family)
{
    unsigned bytes = family == HG_ACL_IP4 ? 4 : 16;

    return (rule->family == HG_ACL_ANY || rule->family == family) &&
           matches_addr(&rule->src, key->src, bytes) && matches_addr(&rule->dst, key->dst, bytes) &&
           key->src_port >= rule->src_port.first && key->src_port <= rule->src_port.last &&
           key->dst_port >= rule->dst_port.first && key->dst_port <= rule->dst_port.last &&
           (key->proto & rule->proto_mask) == rule->proto &&
           (key->tcp_flags & rule->tcp_flags_mask) == rule->tcp_flags &&
           (key->vlan & rule->vlan_mask) == rule->vlan;
}

/* The data of the best rule: the highest priority, and of equal ones the first. */
static inline uint32_t model_lookup(const struct hg_acl_rule *rules, uint32_t n,
                                    const struct hg_acl_key6 *key, enum hg_acl_family family)
{
    const struct hg_acl_rule *best = NULL;

    for (uint32_t i = 0; i < n; i++)
        if ((best == NULL || rules[i].priority > best->priority) &&
            model_matches(&rules[i], key, family))
            best = &rules[i];
    return best != NULL ? best->data : HG_ACL_NONE;
}

#endif
