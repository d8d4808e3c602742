/*
 * Cycles of the ACL's lookup, in the manner of DPDK's dpdk-test-acl: a trace of keys is classified again and
 * again in bursts of 32, cycles of all that divided by keys. Cells:
 *
 *     acl_KIND_RULES           KIND: acl, fw, ipc (acl_rules.h). RULES: 10 to 10000
 *     acl_KIND_RULES_single    one key for each call
 *
 * Beside them on standard error what the set costs: time to replace it, memory, loads. --write DIR writes the
 * sets and traces for dpdk-test-acl instead, KIND_RULES.rules and KIND_RULES.trace; acl_pairs compares the two.
 */
#include <inttypes.h>

#include "acl_rules.h"
#include "base/clock.h"
#include "setup.h"

enum { RULES_MAX = 10000, KEYS_N = 65536, QUICK_KEYS_N = 2048, BURST_N = 32, SEED = 1 };

static struct hg_acl_rule rules[RULES_MAX];
static struct hg_acl_key4 keys[KEYS_N];
static uint32_t data[KEYS_N];

static void write_addr(FILE *file, const struct hg_acl_addr *addr)
{
    int bits = 0;

    for (unsigned i = 0; i < 4; i++)
        bits += __builtin_popcount(addr->mask[i]);
    fprintf(file, "%u.%u.%u.%u/%d\t", addr->bytes[0], addr->bytes[1], addr->bytes[2],
            addr->bytes[3], bits);
}

static FILE *open_file(const char *dir, const char *kind, unsigned n, const char *what)
{
    char path[4096];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s_%u.%s", dir, kind, n, what);
    file = fopen(path, "w");
    if (file == NULL) {
        perror(path);
        exit(1);
    }
    return file;
}

static void write_files(const char *dir, const char *kind, unsigned n)
{
    FILE *file = open_file(dir, kind, n, "rules");

    for (unsigned i = 0; i < n; i++) {
        fprintf(file, "@");
        write_addr(file, &rules[i].src);
        write_addr(file, &rules[i].dst);
        fprintf(file, "%u : %u\t%u : %u\t0x%02x/0x%02x\n", rules[i].src_port.first,
                rules[i].src_port.last, rules[i].dst_port.first, rules[i].dst_port.last,
                rules[i].proto, rules[i].proto_mask);
    }
    fclose(file);
    file = open_file(dir, kind, n, "trace");
    for (unsigned i = 0; i < KEYS_N; i++)
        fprintf(file, "%u\t%u\t%u\t%u\t%u\n", keys[i].src, keys[i].dst, keys[i].src_port,
                keys[i].dst_port, keys[i].proto);
    fclose(file);
}

/* Cycles per key, of `rounds` times the trace, in calls of burst_n keys. */
static double measure(const struct hg_acl *acl, unsigned keys_n, unsigned rounds, unsigned burst_n)
{
    uint64_t start = hg_cycles();

    for (unsigned round = 0; round < rounds; round++)
        for (unsigned i = 0; i < keys_n; i += burst_n)
            hg_acl_lookup4(acl, &keys[i], &data[i], burst_n);
    return (double)(hg_cycles() - start) / rounds / keys_n;
}

static void measure_set(struct hg_acl *acl, const char *kind, unsigned n, bool quick)
{
    unsigned keys_n = quick ? QUICK_KEYS_N : KEYS_N;
    struct hg_acl_info info;
    struct hg_err err;
    uint64_t start = hg_now_ns();
    double ms;

    setup_check(hg_acl_set(acl, rules, n, &err), &err);
    ms = (double)(hg_now_ns() - start) / 1e6;
    info = hg_acl_info(acl);
    fprintf(stderr,
            "# %s %u: set %.1f ms, %" PRIu64 " KiB, %u loads and at most %u vectors a lookup\n",
            kind, n, ms, info.used_bytes >> 10, info.loads4, info.vectors4);
    measure(acl, keys_n, 1, BURST_N);
    printf("acl_%s_%u\t%.1f\n", kind, n, measure(acl, keys_n, quick ? 1 : 30, BURST_N));
    printf("acl_%s_%u_single\t%.1f\n", kind, n, measure(acl, keys_n, quick ? 1 : 5, 1));
    for (unsigned i = 0; i < keys_n; i++) {
        if (data[i] == HG_ACL_NONE) {
            fprintf(stderr, "a key has matched no rule, and the last one matches all\n");
            exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    struct setup setup = {.quick = false};
    const char *dir = NULL;
    struct hg_acl_options options = {.rules_max = RULES_MAX};
    struct hg_acl *acl;
    struct hg_err err;
    unsigned max;

    if (argc == 3 && strcmp(argv[1], "--write") == 0)
        dir = argv[2];
    else
        setup = setup_begin(argc, argv);
    max = setup.quick ? 1000 : RULES_MAX;
    setup_check(hg_acl_new(&acl, setup_arena(hg_acl_bytes(&options)), &options, &err), &err);
    for (enum rule_kind kind = 0; kind < KINDS_N; kind++) {
        for (unsigned n = 10; n <= max; n *= 10) {
            rules_make(rules, n, kind, SEED);
            trace_make(keys, KEYS_N, rules, n, SEED);
            if (dir != NULL)
                write_files(dir, rule_kind_name[kind], n);
            else
                measure_set(acl, rule_kind_name[kind], n, setup.quick);
        }
    }
    return 0;
}
