#include "table/acl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "sync/qsbr.h"
#include "table/acl_internal.h"

enum { FAMILIES_N = 2, RULES_DEFAULT = 1024 };

/* The memory of a compiled set: at least the tables of all fields; and usual rules need no more
 * than this. */
#define BYTES_MIN      (UINT64_C(4) << 20)
#define BYTES_PER_RULE UINT64_C(2048)
#define BYTES_MAX      (UINT64_C(1) << 40)

typedef void search_fn(const struct acl_set *set, const uint8_t *keys, uint32_t *data, unsigned n);

/* What readers see; lies at the front of its region. */
struct snapshot {
    struct acl_set set[FAMILIES_N];
    uint32_t rules_n;
    uint64_t used_bytes;
};

struct hg_acl {
    _Atomic(const struct snapshot *) current;
    search_fn *search;
    uint32_t rules_max;
    uint64_t memory_bytes;
    struct acl_region region[2]; /* one is in force, the other is the next */
    unsigned next;
    struct acl_region work;
    /* rules_max numbers each: all rules from the best to the worst, those of a family */
    uint32_t *order;
    uint32_t *index;
};

/* A rule on its way into order. */
struct ranked {
    int32_t priority;
    uint32_t number;
};

static int settle_options(struct hg_acl_options *settled, const struct hg_acl_options *options,
                          struct hg_err *err)
{
    *settled = *options;
    if (settled->name == NULL)
        settled->name = "acl";
    if (settled->rules_max == 0)
        settled->rules_max = RULES_DEFAULT;
    if (settled->rules_max > HG_ACL_RULES_MAX)
        return hg_err_set(err, EINVAL, "rules_max %u; expected at most %u", settled->rules_max,
                          HG_ACL_RULES_MAX);
    if (settled->memory_bytes == 0)
        settled->memory_bytes = BYTES_MIN + settled->rules_max * BYTES_PER_RULE;
    if (settled->memory_bytes < BYTES_MIN || settled->memory_bytes > BYTES_MAX)
        return hg_err_set(err, EINVAL, "memory_bytes %llu; expected %llu to %llu",
                          (unsigned long long)settled->memory_bytes, (unsigned long long)BYTES_MIN,
                          (unsigned long long)BYTES_MAX);
    settled->memory_bytes = hg_round_up(settled->memory_bytes, HG_CACHE_LINE_BYTES);
    return 0;
}

/* The object, two lists of numbers, two compiled sets, and as much as both to compile in. */
static uint64_t bytes_of(const struct hg_acl_options *settled)
{
    uint64_t list = hg_round_up(settled->rules_max * sizeof(uint32_t), HG_CACHE_LINE_BYTES);

    return hg_round_up(sizeof(struct hg_acl), HG_CACHE_LINE_BYTES) + 2 * list +
           4 * settled->memory_bytes;
}

uint64_t hg_acl_bytes(const struct hg_acl_options *options)
{
    struct hg_acl_options settled;

    return settle_options(&settled, options, NULL) < 0 ? 0
                                                       : bytes_of(&settled) + HG_CACHE_LINE_BYTES;
}

int hg_acl_new(struct hg_acl **acl, struct hg_arena *arena, const struct hg_acl_options *options,
               struct hg_err *err)
{
    struct hg_acl_options settled;
    struct acl_region all;
    struct hg_acl *made;
    int rc;

    if ((rc = settle_options(&settled, options, err)) < 0)
        return rc;
    all = (struct acl_region){.bytes = bytes_of(&settled)};
    all.base = hg_arena_take(arena, settled.name, all.bytes, HG_CACHE_LINE_BYTES);
    if (all.base == NULL)
        return hg_err_set(err, ENOMEM,
                          "the arena has no room for the %llu bytes of the classifier '%s'",
                          (unsigned long long)all.bytes, settled.name);
    made = hg_acl_take(&all, sizeof(*made));
    made->order = hg_acl_take(&all, settled.rules_max * sizeof(uint32_t));
    made->index = hg_acl_take(&all, settled.rules_max * sizeof(uint32_t));
    for (unsigned i = 0; i < 2; i++)
        made->region[i] =
            (struct acl_region){hg_acl_take(&all, settled.memory_bytes), settled.memory_bytes, 0};
    made->work = (struct acl_region){hg_acl_take(&all, 2 * settled.memory_bytes),
                                     2 * settled.memory_bytes, 0};
    made->rules_max = settled.rules_max;
    made->memory_bytes = settled.memory_bytes;
    made->search = hg_acl_search_plain;
#if defined(__x86_64__)
    if (hg_acl_has_avx512())
        made->search = hg_acl_search_avx512;
#endif
    if ((rc = hg_acl_set(made, NULL, 0, err)) < 0)
        return rc;
    *acl = made;
    return 0;
}

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a;
    const struct ranked *y = b;

    if (x->priority != y->priority)
        return x->priority > y->priority ? -1 : 1;
    return x->number < y->number ? -1 : 1;
}

/* Fills acl->order. */
static void rank_rules(struct hg_acl *acl, const struct hg_acl_rule *rules, uint32_t n)
{
    struct ranked *ranked = (void *)acl->work.base; /* 8 bytes a rule of at least 8 MiB */

    for (uint32_t i = 0; i < n; i++)
        ranked[i] = (struct ranked){rules[i].priority, i};
    qsort(ranked, n, sizeof(*ranked), compare_ranked);
    for (uint32_t i = 0; i < n; i++)
        acl->order[i] = ranked[i].number;
}

static int compile_family(struct hg_acl *acl, struct snapshot *snapshot, uint8_t family,
                          const struct hg_acl_rule *rules, uint32_t n, uint64_t merge_end,
                          struct hg_err *err)
{
    bool is_ip4 = family == HG_ACL_IP4;
    uint32_t family_n = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint8_t of = rules[acl->order[i]].family;

        if (of == family || of == HG_ACL_ANY)
            acl->index[family_n++] = acl->order[i];
    }
    return hg_acl_compile(&snapshot->set[is_ip4 ? 0 : 1],
                          is_ip4 ? &hg_acl_layout4 : &hg_acl_layout6, rules, acl->index, family_n,
                          &acl->region[acl->next], merge_end, &acl->work, err);
}

/* Compiles the ranked rules into the region that is the next, merges before `merge_end` of it. */
static int compile(struct hg_acl *acl, struct snapshot **into, const struct hg_acl_rule *rules,
                   uint32_t n, uint64_t merge_end, struct hg_err *err)
{
    struct acl_region *region = &acl->region[acl->next];
    struct snapshot *snapshot;
    int rc;

    region->used = 0;
    *into = snapshot = hg_acl_take(region, sizeof(*snapshot));
    memset(snapshot, 0, sizeof(*snapshot));
    if ((rc = compile_family(acl, snapshot, HG_ACL_IP4, rules, n, merge_end, err)) < 0 ||
        (rc = compile_family(acl, snapshot, HG_ACL_IP6, rules, n, merge_end, err)) < 0)
        return rc;
    snapshot->rules_n = n;
    snapshot->used_bytes = region->used;
    return 0;
}

/* Merges make lookups shorter and take what memory they find. Where too little is left then for
 * what has to be, they get half of it, and at last none. */
static int compile_to_fit(struct hg_acl *acl, struct snapshot **into,
                          const struct hg_acl_rule *rules, uint32_t n, struct hg_err *err)
{
    const uint64_t merge_end[] = {acl->memory_bytes, acl->memory_bytes / 2, 0};
    struct hg_err why = {.text = ""};
    int rc = -ENOSPC;
    bool again = true;

    for (unsigned i = 0; i < HG_ARRAY_N(merge_end) && again; i++) {
        rc = compile(acl, into, rules, n, merge_end[i], &why);
        again = rc == -ENOSPC && (*into)->set[0].merges_n + (*into)->set[1].merges_n > 0;
    }
    return rc < 0 ? hg_err_set(err, -rc, "%s", why.text) : 0;
}

int hg_acl_set(struct hg_acl *acl, const struct hg_acl_rule *rules, uint32_t n, struct hg_err *err)
{
    struct snapshot *snapshot;
    int rc;

    if (n > acl->rules_max)
        return hg_err_set(err, E2BIG, "%u rules; expected at most rules_max, %u", n,
                          acl->rules_max);
    for (uint32_t i = 0; i < n; i++)
        if ((rc = hg_acl_check_rule(&rules[i], i, err)) < 0)
            return rc;
    rank_rules(acl, rules, n);
    if ((rc = compile_to_fit(acl, &snapshot, rules, n, err)) < 0)
        return rc;
    /* Pairs with the acquire in look_up(). */
    hg_qsbr_publish(&acl->current, snapshot);
    hg_qsbr_wait(); /* nobody reads the other one any more: it is the next */
    acl->next = 1 - acl->next;
    return 0;
}

static void look_up(const struct hg_acl *acl, unsigned family, const uint8_t *keys, uint32_t *data,
                    unsigned n)
{
    /* Pairs with the release in hg_acl_set(). */
    const struct acl_set *set = &hg_qsbr_read(&acl->current)->set[family];

    for (; n > ACL_BURST; n -= ACL_BURST) {
        acl->search(set, keys, data, ACL_BURST);
        keys += (size_t)ACL_BURST * set->key_bytes;
        data += ACL_BURST;
    }
    acl->search(set, keys, data, n);
}

void hg_acl_lookup4(const struct hg_acl *acl, const struct hg_acl_key4 *keys, uint32_t *data,
                    unsigned n)
{
    look_up(acl, 0, (const uint8_t *)keys, data, n);
}

void hg_acl_lookup6(const struct hg_acl *acl, const struct hg_acl_key6 *keys, uint32_t *data,
                    unsigned n)
{
    look_up(acl, 1, (const uint8_t *)keys, data, n);
}

static uint32_t loads_of(const struct acl_set *set)
{
    uint32_t n = set->merges_n;

    for (unsigned f = 0; f < set->fields_n; f++)
        n += set->field[f].second != NULL ? 2 : 1;
    return n;
}

struct hg_acl_info hg_acl_info(const struct hg_acl *acl)
{
    const struct snapshot *snapshot = hg_qsbr_read(&acl->current);
    const struct acl_set *set = snapshot->set;

    return (struct hg_acl_info){
        .rules_n = snapshot->rules_n,
        .used_bytes = snapshot->used_bytes,
        .limit_bytes = acl->memory_bytes,
        .loads4 = loads_of(&set[0]),
        .loads6 = loads_of(&set[1]),
        .vectors4 = (uint32_t)set[0].lines_n * set[0].left_n,
        .vectors6 = (uint32_t)set[1].lines_n * set[1].left_n,
    };
}
