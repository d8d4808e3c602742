/*
 * What the ACL's rules mean: the fields of the keys, and what a rule allows in each.
 */
#include <errno.h>
#include <string.h>

#include "table/acl_internal.h"

enum kind { SRC, DST, SRC_PORT, DST_PORT, PROTO_FLAGS, VLAN };

/* Bytes of struct hg_acl_key4, which holds numbers in host (little-endian) order. */
const struct acl_layout hg_acl_layout4 = {
    .key_bytes = sizeof(struct hg_acl_key4),
    .fields_n = ACL_FIELDS4,
    .field = {{3, 2, false},
              {1, 0, false},
              {7, 6, false},
              {5, 4, false},
              {9, 8, true},
              {11, 10, true},
              {12, 13, false},
              {15, 14, false}},
};

/* Bytes of struct hg_acl_key6: addresses as on the wire. */
const struct acl_layout hg_acl_layout6 = {
    .key_bytes = sizeof(struct hg_acl_key6),
    .fields_n = ACL_FIELDS6,
    .field = {{0, 1, false},   {2, 3, false},   {4, 5, false},   {6, 7, false},   {8, 9, false},
              {10, 11, false}, {12, 13, false}, {14, 15, false}, {16, 17, false}, {18, 19, false},
              {20, 21, false}, {22, 23, false}, {24, 25, false}, {26, 27, false}, {28, 29, false},
              {30, 31, false}, {33, 32, true},  {35, 34, true},  {36, 37, false}, {39, 38, false}},
};

_Static_assert(sizeof(struct hg_acl_key4) == 16 && offsetof(struct hg_acl_key4, vlan) == 14,
               "acl_layout4 names its bytes");
_Static_assert(sizeof(struct hg_acl_key6) == 40 && offsetof(struct hg_acl_key6, vlan) == 38,
               "acl_layout6 names its bytes");

static uint16_t pair(uint8_t first, uint8_t second)
{
    return (uint16_t)(first << 8 | second);
}

struct acl_cond hg_acl_cond_of(const struct hg_acl_rule *rule, const struct acl_layout *layout,
                               unsigned field)
{
    unsigned addr_fields = (layout->fields_n - 4u) / 2;
    const struct hg_acl_addr *addr = field < addr_fields ? &rule->src : &rule->dst;
    unsigned at = field % addr_fields * 2;

    if (field < 2 * addr_fields)
        return (struct acl_cond){pair(addr->bytes[at], addr->bytes[at + 1]),
                                 pair(addr->mask[at], addr->mask[at + 1])};
    switch (field - 2 * addr_fields + SRC_PORT) {
    case SRC_PORT:
        return (struct acl_cond){rule->src_port.first, rule->src_port.last};
    case DST_PORT:
        return (struct acl_cond){rule->dst_port.first, rule->dst_port.last};
    case PROTO_FLAGS:
        return (struct acl_cond){pair(rule->proto, rule->tcp_flags),
                                 pair(rule->proto_mask, rule->tcp_flags_mask)};
    default:
        return (struct acl_cond){rule->vlan, rule->vlan_mask};
    }
}

static bool is_zero_from(const uint8_t *bytes, unsigned from)
{
    for (unsigned i = from; i < 16; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static int check_addr(const struct hg_acl_addr *addr, const char *which, uint8_t family,
                      uint32_t number, struct hg_err *err)
{
    unsigned bytes = family == HG_ACL_IP6 ? 16 : family == HG_ACL_IP4 ? 4 : 0;

    if (!is_zero_from(addr->mask, bytes))
        return hg_err_set(
            err, EINVAL,
            "rule %u: the mask of the %s address is longer than the %u bytes of an address "
            "of its family",
            number, which, bytes);
    for (unsigned i = 0; i < 16; i++)
        if ((addr->bytes[i] & ~addr->mask[i]) != 0)
            return hg_err_set(err, EINVAL,
                              "rule %u: the %s address has bits outside of its mask, in byte %u",
                              number, which, i);
    return 0;
}

static int check_ports(struct hg_acl_ports ports, const char *which, uint32_t number,
                       struct hg_err *err)
{
    if (ports.first > ports.last)
        return hg_err_set(err, EINVAL,
                          "rule %u: the range of %s ports ends at %u before it begins at %u",
                          number, which, ports.last, ports.first);
    return 0;
}

static int check_bits(unsigned bits, unsigned mask, const char *which, uint32_t number,
                      struct hg_err *err)
{
    if ((bits & ~mask) != 0)
        return hg_err_set(err, EINVAL, "rule %u: %s 0x%x has bits outside of its mask 0x%x", number,
                          which, bits, mask);
    return 0;
}

int hg_acl_check_rule(const struct hg_acl_rule *rule, uint32_t number, struct hg_err *err)
{
    int rc;

    if (rule->family > HG_ACL_IP6)
        return hg_err_set(err, EINVAL, "rule %u: family %u is none of any, IPv4 and IPv6", number,
                          rule->family);
    if (rule->data == HG_ACL_NONE)
        return hg_err_set(err, EINVAL, "rule %u: data 0x%x stands for 'no rule'", number,
                          rule->data);
    if ((rc = check_addr(&rule->src, "source", rule->family, number, err)) < 0 ||
        (rc = check_addr(&rule->dst, "destination", rule->family, number, err)) < 0 ||
        (rc = check_ports(rule->src_port, "source", number, err)) < 0 ||
        (rc = check_ports(rule->dst_port, "destination", number, err)) < 0 ||
        (rc = check_bits(rule->proto, rule->proto_mask, "protocol", number, err)) < 0 ||
        (rc = check_bits(rule->tcp_flags, rule->tcp_flags_mask, "TCP flags", number, err)) < 0)
        return rc;
    return check_bits(rule->vlan, rule->vlan_mask, "VLAN", number, err);
}

struct hg_acl_rule hg_acl_rule_any(enum hg_acl_family family)
{
    struct hg_acl_rule rule;

    memset(&rule, 0, sizeof(rule)); /* padding too: rules can be compared as bytes */
    rule.src_port.last = UINT16_MAX;
    rule.dst_port.last = UINT16_MAX;
    rule.family = (uint8_t)family;
    return rule;
}

static struct hg_acl_addr prefix(const uint8_t *addr, unsigned addr_bits, unsigned bits)
{
    struct hg_acl_addr out = {0};

    for (unsigned i = 0; i < hg_min_u32(bits, addr_bits); i++)
        out.mask[i / 8] |= (uint8_t)(0x80 >> i % 8);
    for (unsigned i = 0; i < addr_bits / 8; i++)
        out.bytes[i] = addr[i] & out.mask[i];
    return out;
}

struct hg_acl_addr hg_acl_prefix4(uint32_t addr, unsigned bits)
{
    uint8_t bytes[4] = {(uint8_t)(addr >> 24), (uint8_t)(addr >> 16), (uint8_t)(addr >> 8),
                        (uint8_t)addr};

    return prefix(bytes, 32, bits);
}

struct hg_acl_addr hg_acl_prefix6(const uint8_t addr[16], unsigned bits)
{
    return prefix(addr, 128, bits);
}
