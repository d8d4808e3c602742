/*
 * Cycles of the ACL's lookup, in the manner of DPDK's dpdk-test-acl: a trace of keys is classified
 * again and again in bursts of 32, cycles of all that divided by keys. Cells:
 *
 *     acl4_KIND_RULES           KIND: acl, fw, ipc (acl_rules.h). RULES: 10 to 10000
 *     acl6_KIND_RULES           the same kinds and numbers for IPv6
 *     acl4_KIND_RULES_single    one key for each call; acl6 too
 *
 * Beside them on standard error what the set costs: time to replace it, memory, loads. --cell NAME
 * measures that one and its _single alone. --write DIR writes the sets and traces for dpdk-test-acl
 * instead, NAME.rules and NAME.trace; run, beside this file, compares the two.
 */
#include <inttypes.h>

#include "acl_rules.h"
#include "base/clock.h"
#include "setup.h"

enum { RULES_MAX = 10000, KEYS_N = 65536, QUICK_KEYS_N = 2048, BURST_N = 32, SEED = 1 };

struct cell {
    char name[32];
    enum hg_acl_family family;
    unsigned rules_n;
};

static struct hg_acl_rule rules[RULES_MAX];
static struct hg_acl_key4 keys4[KEYS_N];
static struct hg_acl_key6 keys6[KEYS_N];
static uint32_t data[KEYS_N];

/* IPv6 with all its zeroes, which is the only way that older versions of dpdk-test-acl read. */
static void write_addr(FILE *file, const uint8_t *bytes, enum hg_acl_family family)
{
    if (family == HG_ACL_IP4)
        fprintf(file, "%u.%u.%u.%u", bytes[0], bytes[1], bytes[2], bytes[3]);
    else
        for (unsigned i = 0; i < 16; i += 2)
            fprintf(file, "%s%x", i > 0 ? ":" : "", (unsigned)(bytes[i] << 8 | bytes[i + 1]));
}

static void write_prefix(FILE *file, const struct hg_acl_addr *addr, enum hg_acl_family family)
{
    int bits = 0;

    for (unsigned i = 0; i < 16; i++)
        bits += __builtin_popcount(addr->mask[i]);
    write_addr(file, addr->bytes, family);
    fprintf(file, "/%d\t", bits);
}

static FILE *open_file(const char *dir, const char *name, const char *what)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s.%s", dir, name, what);
    file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    return file;
}

static void write_key(FILE *file, const struct cell *cell, unsigned i)
{
    const struct hg_acl_key4 *key4 = &keys4[i];
    const struct hg_acl_key6 *key6 = &keys6[i];

    if (cell->family == HG_ACL_IP4) {
        fprintf(file, "%u\t%u\t%u\t%u\t%u\n", key4->src, key4->dst, key4->src_port, key4->dst_port,
                key4->proto);
        return;
    }
    write_addr(file, key6->src, HG_ACL_IP6);
    fprintf(file, "\t");
    write_addr(file, key6->dst, HG_ACL_IP6);
    fprintf(file, "\t%u\t%u\t%u\n", key6->src_port, key6->dst_port, key6->proto);
}

static void write_files(const char *dir, const struct cell *cell)
{
    FILE *file = open_file(dir, cell->name, "rules");

    for (unsigned i = 0; i < cell->rules_n; i++) {
        fprintf(file, "@");
        write_prefix(file, &rules[i].src, cell->family);
        write_prefix(file, &rules[i].dst, cell->family);
        fprintf(file, "%u : %u\t%u : %u\t0x%02x/0x%02x\n", rules[i].src_port.first,
                rules[i].src_port.last, rules[i].dst_port.first, rules[i].dst_port.last,
                rules[i].proto, rules[i].proto_mask);
    }
    fclose(file);
    file = open_file(dir, cell->name, "trace");
    for (unsigned i = 0; i < KEYS_N; i++)
        write_key(file, cell, i);
    fclose(file);
}

/* Cycles per key, of `rounds` times the trace, in calls of burst_n keys. */
static double measure(const struct hg_acl *acl, enum hg_acl_family family, unsigned keys_n,
                      unsigned rounds, unsigned burst_n)
{
    uint64_t start = hg_cycles();

    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < keys_n; i += burst_n) {
            if (family == HG_ACL_IP4)
                hg_acl_lookup4(acl, &keys4[i], &data[i], burst_n);
            else
                hg_acl_lookup6(acl, &keys6[i], &data[i], burst_n);
        }
    }
    return (double)(hg_cycles() - start) / rounds / keys_n;
}

static void measure_cell(struct hg_acl *acl, const struct cell *cell, bool quick)
{
    unsigned keys_n = quick ? QUICK_KEYS_N : KEYS_N;
    bool is_ip4 = cell->family == HG_ACL_IP4;
    struct hg_acl_info info;
    struct hg_err err;
    uint64_t start = hg_now_ns();
    double ms;

    setup_check(hg_acl_set(acl, rules, cell->rules_n, &err), &err);
    ms = (double)(hg_now_ns() - start) / 1e6;
    info = hg_acl_info(acl);
    fprintf(stderr,
            "# %s: set %.1f ms, %" PRIu64 " KiB, %u loads and at most %u vectors a lookup\n",
            cell->name, ms, info.used_bytes >> 10, is_ip4 ? info.loads4 : info.loads6,
            is_ip4 ? info.vectors4 : info.vectors6);
    measure(acl, cell->family, keys_n, 1, BURST_N);
    printf("%s\t%.1f\n", cell->name, measure(acl, cell->family, keys_n, quick ? 1 : 30, BURST_N));
    printf("%s_single\t%.1f\n", cell->name, measure(acl, cell->family, keys_n, quick ? 1 : 5, 1));
    for (unsigned i = 0; i < keys_n; i++) {
        if (data[i] == HG_ACL_NONE) {
            fprintf(stderr, "a key has matched no rule, and the last one matches all\n");
            exit(1);
        }
    }
}

static void make_cell(const struct cell *cell, enum rule_kind kind)
{
    rules_make(rules, cell->rules_n, kind, cell->family, SEED);
    if (cell->family == HG_ACL_IP4)
        trace_make4(keys4, KEYS_N, rules, cell->rules_n, SEED);
    else
        trace_make6(keys6, KEYS_N, rules, cell->rules_n, SEED);
}

/* The value of an option of this program, which is taken out of the arguments. NULL: not given. */
static const char *take_option(int *argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < *argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            const char *value = argv[i + 1];

            *argc -= 2;
            memmove(&argv[i], &argv[i + 2], (size_t)(*argc - i) * sizeof(*argv));
            return value;
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *dir = take_option(&argc, argv, "--write");
    const char *only = take_option(&argc, argv, "--cell");
    struct setup setup = setup_begin(argc, argv);
    struct hg_acl_options options = {.rules_max = RULES_MAX};
    struct hg_acl *acl;
    struct hg_err err;
    unsigned max = setup.quick ? 1000 : RULES_MAX;

    setup_check(hg_acl_new(&acl, setup_arena(hg_acl_bytes(&options)), &options, &err), &err);
    for (enum hg_acl_family family = HG_ACL_IP4; family <= HG_ACL_IP6; family++) {
        for (enum rule_kind kind = 0; kind < KINDS_N; kind++) {
            for (unsigned n = 10; n <= max; n *= 10) {
                struct cell cell = {.family = family, .rules_n = n};

                snprintf(cell.name, sizeof(cell.name), "acl%d_%s_%u", family == HG_ACL_IP4 ? 4 : 6,
                         rule_kind_name[kind], n);
                if (only != NULL && strcmp(only, cell.name) != 0)
                    continue;
                make_cell(&cell, kind);
                if (dir != NULL)
                    write_files(dir, &cell);
                else
                    measure_cell(acl, &cell, setup.quick);
            }
        }
    }
    return 0;
}
