#include "acl_rules.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

enum { TCP = 6, UDP = 17, ICMP = 1 };
enum { SEEN_N = 1 << 17 };

const char *const rule_kind_name[KINDS_N] = {"acl", "fw", "ipc"};

/* Percentages: of what the value stands for. */
struct share {
    unsigned value;
    unsigned percent;
};

enum port_class { PORT_ANY, PORT_HIGH, PORT_LOW, PORT_RANGE, PORT_ONE };

struct shape {
    struct share src_bits[8];
    struct share dst_bits[8];
    struct share src_port[5];
    struct share dst_port[5];
    struct share proto[4];
};

static const struct shape shapes[KINDS_N] = {
    [KIND_ACL] = {{{0, 10}, {8, 2}, {16, 10}, {21, 6}, {24, 28}, {28, 9}, {32, 35}},
                  {{0, 2}, {16, 8}, {22, 8}, {24, 32}, {27, 10}, {32, 40}},
                  {{PORT_ANY, 99}, {PORT_HIGH, 1}},
                  {{PORT_ANY, 28}, {PORT_HIGH, 4}, {PORT_LOW, 1}, {PORT_RANGE, 12}, {PORT_ONE, 55}},
                  {{TCP, 78}, {UDP, 16}, {ICMP, 2}, {0, 4}}},
    [KIND_FW] = {{{0, 50}, {8, 4}, {16, 8}, {24, 14}, {28, 4}, {32, 20}},
                 {{0, 30}, {16, 6}, {24, 18}, {28, 8}, {32, 38}},
                 {{PORT_ANY, 75}, {PORT_HIGH, 13}, {PORT_LOW, 1}, {PORT_RANGE, 3}, {PORT_ONE, 8}},
                 {{PORT_ANY, 30}, {PORT_HIGH, 6}, {PORT_LOW, 2}, {PORT_RANGE, 10}, {PORT_ONE, 52}},
                 {{TCP, 56}, {UDP, 26}, {ICMP, 6}, {0, 12}}},
    [KIND_IPC] = {{{0, 14}, {16, 8}, {22, 6}, {24, 22}, {30, 6}, {32, 44}},
                  {{0, 18}, {16, 7}, {22, 5}, {24, 22}, {30, 6}, {32, 42}},
                  {{PORT_ANY, 70}, {PORT_HIGH, 5}, {PORT_LOW, 1}, {PORT_RANGE, 6}, {PORT_ONE, 18}},
                  {{PORT_ANY, 45}, {PORT_HIGH, 4}, {PORT_LOW, 1}, {PORT_RANGE, 8}, {PORT_ONE, 42}},
                  {{TCP, 55}, {UDP, 30}, {ICMP, 5}, {0, 10}}},
};

/* Two rounds of multiply and fold, over a counter: enough for a generator of tests. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 29) * UINT64_C(0x243f6a8885a308d3);
    return x ^ x >> 32;
}

static uint32_t next(uint64_t *state)
{
    return (uint32_t)(mix(*state += UINT64_C(0x9e3779b97f4a7c15)) >> 16);
}

static uint32_t below(uint64_t *state, uint32_t limit)
{
    return (uint32_t)((uint64_t)next(state) * limit >> 32);
}

/* As below(), low numbers more often: few networks and services have most of the rules. */
static uint32_t below_skewed(uint64_t *state, uint32_t limit)
{
    uint64_t r = next(state);

    return (uint32_t)((r * r >> 32) * limit >> 32);
}

static unsigned choose(uint64_t *state, const struct share *shares)
{
    unsigned r = below(state, 100);

    while (r >= shares->percent)
        r -= (shares++)->percent;
    return shares->value;
}

/* A prefix inside one of `sites` /24 networks, eight of which share a /16. */
static struct hg_acl_addr make_addr4(uint64_t *state, unsigned bits, unsigned sites, uint64_t salt)
{
    uint32_t site = below_skewed(state, sites);
    uint32_t addr = (uint32_t)(mix(site / 8 + salt) & 0xffff) << 16;

    addr |= (uint32_t)(mix(site + 2 * salt) & 0xff) << 8;
    return hg_acl_prefix4(addr | below(state, 256), bits);
}

/* The same networks for IPv6: a site has a /48, eight of which share a /32, subnets of 64 bits and hosts
 * with a small number or an arbitrary one. */
static struct hg_acl_addr make_addr6(uint64_t *state, unsigned bits, unsigned sites, uint64_t salt)
{
    static const uint8_t longer[][2] = {{0, 0},   {8, 24},  {16, 32}, {21, 40}, {22, 44},
                                        {24, 48}, {27, 56}, {28, 56}, {30, 64}, {32, 128}};
    uint32_t site = below_skewed(state, sites);
    uint32_t host = below(state, 256);
    uint64_t interface = host % 2 == 0 ? host : mix(site * 256 + host);
    uint64_t network = UINT64_C(0x2001) << 48;
    uint8_t addr[16];
    unsigned i = 0;

    network |= (mix(site / 8 + salt) & 0xffff) << 32;
    network |= (mix(site + 2 * salt) & 0xffff) << 16 | host / 32;
    for (unsigned byte = 0; byte < 8; byte++) {
        addr[byte] = (uint8_t)(network >> (56 - 8 * byte));
        addr[8 + byte] = (uint8_t)(interface >> (56 - 8 * byte));
    }
    while (longer[i][0] != bits)
        i++;
    return hg_acl_prefix6(addr, longer[i][1]);
}

static struct hg_acl_ports make_ports(uint64_t *state, enum port_class class)
{
    static const struct hg_acl_ports fixed[] = {
        [PORT_ANY] = {0, 65535}, [PORT_HIGH] = {1024, 65535}, [PORT_LOW] = {0, 1023}};
    uint64_t which = below_skewed(state, class == PORT_ONE ? 120 : 40);
    struct hg_acl_ports ports;

    if (class < PORT_RANGE)
        return fixed[class];
    ports.first = (uint16_t)(mix(which + 1000) % (which % 3 == 0 ? 65000 : 9000));
    ports.last = ports.first;
    if (class == PORT_RANGE)
        ports.last = (uint16_t)(ports.first + 1 + mix(which) % 500);
    return ports;
}

static struct hg_acl_rule make_rule(uint64_t *state, const struct shape *shape,
                                    enum hg_acl_family family, unsigned sites)
{
    struct hg_acl_rule rule = hg_acl_rule_any(family);
    struct hg_acl_addr (*make_addr)(uint64_t *, unsigned, unsigned, uint64_t) =
        family == HG_ACL_IP4 ? make_addr4 : make_addr6;

    rule.src = make_addr(state, choose(state, shape->src_bits), sites, 77);
    rule.dst = make_addr(state, choose(state, shape->dst_bits), sites, 7777);
    rule.proto = (uint8_t)choose(state, shape->proto);
    rule.proto_mask = rule.proto != 0 ? 0xff : 0;
    if (rule.proto == TCP || rule.proto == UDP) {
        rule.src_port = make_ports(state, choose(state, shape->src_port));
        rule.dst_port = make_ports(state, choose(state, shape->dst_port));
    }
    return rule;
}

/* How narrow a rule is: bits that it fixes. */
static unsigned narrowness(const struct hg_acl_rule *rule)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < 16; i++)
        bits += (unsigned)__builtin_popcount(rule->src.mask[i]) +
                (unsigned)__builtin_popcount(rule->dst.mask[i]);
    bits += (unsigned)(rule->src_port.last - rule->src_port.first < 60000) * 8;
    bits += (unsigned)(rule->dst_port.last - rule->dst_port.first < 60000) * 8;
    return bits + (rule->proto_mask != 0 ? 4 : 0);
}

/* The narrower rule first, as in the sets that it is modelled on; else in the order of making. */
static int compare(const void *a, const void *b)
{
    const struct hg_acl_rule *x = a;
    const struct hg_acl_rule *y = b;
    unsigned nx = narrowness(x);
    unsigned ny = narrowness(y);

    if (nx != ny)
        return nx > ny ? -1 : 1;
    return x->data < y->data ? -1 : 1;
}

/* Whether the rule is new; remembers it. A false "no" costs the set nothing. */
static bool is_new(uint64_t *seen, const struct hg_acl_rule *rule)
{
    uint64_t words[sizeof(*rule) / 8 + 1] = {0};
    uint64_t hash = 1;

    memcpy(words, rule, sizeof(*rule));
    for (unsigned i = 0; i < HG_ARRAY_N(words); i++)
        hash = mix(hash + words[i]) + i;
    if (seen[hash % SEEN_N] == hash)
        return false;
    seen[hash % SEEN_N] = hash;
    return true;
}

void rules_make(struct hg_acl_rule *rules, unsigned n, enum rule_kind kind,
                enum hg_acl_family family, uint64_t seed)
{
    uint64_t *seen = calloc(SEEN_N, sizeof(*seen));
    uint64_t state = mix(seed * KINDS_N + kind + 1);
    unsigned sites = 8 + n / 6;

    for (unsigned i = 0; seen != NULL && i + 1 < n;) {
        rules[i] = make_rule(&state, &shapes[kind], family, sites);
        if (!is_new(seen, &rules[i]))
            continue;
        rules[i].data = i;
        i++;
    }
    free(seen);
    rules[n - 1] = hg_acl_rule_any(family);
    qsort(rules, n - 1, sizeof(*rules), compare);
    for (unsigned i = 0; i < n; i++) {
        rules[i].data = i + 1;
        rules[i].priority = (int32_t)(n - i);
    }
}

/* A random address among them. */
static void in_addr(uint64_t *state, const struct hg_acl_addr *addr, uint8_t *out, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i += 4) {
        uint32_t r = next(state);

        for (unsigned j = i; j < i + 4; j++)
            out[j] = (uint8_t)(addr->bytes[j] | ((r >> (8 * (j - i))) & (uint8_t)~addr->mask[j]));
    }
}

static uint32_t number_of(const uint8_t *addr)
{
    return (uint32_t)addr[0] << 24 | (uint32_t)addr[1] << 16 | (uint32_t)addr[2] << 8 | addr[3];
}

static uint16_t in_ports(uint64_t *state, const struct hg_acl_ports *ports)
{
    return (uint16_t)(ports->first + below(state, (uint32_t)(ports->last - ports->first) + 1));
}

/* A random packet that a random rule was made for. */
static struct hg_acl_key6 make_key(uint64_t *state, const struct hg_acl_rule *rules,
                                   unsigned rules_n, unsigned addr_bytes)
{
    static const uint8_t protos[] = {TCP, TCP, UDP, ICMP};
    const struct hg_acl_rule *rule = &rules[below(state, rules_n)];
    struct hg_acl_key6 key = {.vlan = 0};

    in_addr(state, &rule->src, key.src, addr_bytes);
    in_addr(state, &rule->dst, key.dst, addr_bytes);
    key.src_port = in_ports(state, &rule->src_port);
    key.dst_port = in_ports(state, &rule->dst_port);
    key.proto = rule->proto_mask != 0 ? rule->proto : protos[below(state, 4)];
    return key;
}

void trace_make4(struct hg_acl_key4 *keys, unsigned n, const struct hg_acl_rule *rules,
                 unsigned rules_n, uint64_t seed)
{
    uint64_t state = mix(seed + 12345);

    for (unsigned i = 0; i < n; i++) {
        struct hg_acl_key6 key = make_key(&state, rules, rules_n, 4);

        keys[i] = (struct hg_acl_key4){.src = number_of(key.src),
                                       .dst = number_of(key.dst),
                                       .src_port = key.src_port,
                                       .dst_port = key.dst_port,
                                       .proto = key.proto};
    }
}

void trace_make6(struct hg_acl_key6 *keys, unsigned n, const struct hg_acl_rule *rules,
                 unsigned rules_n, uint64_t seed)
{
    uint64_t state = mix(seed + 12345);

    for (unsigned i = 0; i < n; i++)
        keys[i] = make_key(&state, rules, rules_n, 16);
}
