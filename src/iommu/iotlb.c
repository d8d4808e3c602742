/*
 * What control does to an IOTLB. The table itself is in iotlb_table.c, updates are in iotlb_update.c, misses in
 * pending.c and asks.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "iommu/iotlb_internal.h"

/* 16 KiB: 512 pages stay in the first-level cache, and leave room for the packets. */
enum { BUCKETS_MIN = 256 };

/* So many blocks are copied, and so often, until few of them stand in each other's way. */
enum { COPIES_MAX = 32768, BUILDS_MAX = 8 };

/* So much of the bound is evicted at once that one grace period serves many updates. */
enum { EVICT_SHARE = 64 };

const char *hg_iommu_fault_name(enum hg_iommu_fault fault)
{
    static const char *const name[] = {
        [HG_FAULT_UNMAPPED] = "unmapped",
        [HG_FAULT_PERMISSION] = "permission",
    };

    _Static_assert(HG_ARRAY_N(name) == HG_IOMMU_FAULT_N, "every fault has a name");
    return (unsigned)fault < HG_IOMMU_FAULT_N ? name[fault] : "unknown";
}

/* ---- the table ---- */

bool hg_iotlb_find(const struct hg_iotlb *iotlb, uint64_t addr, struct hg_iotlb_block *block)
{
    const struct hg_iotlb_table *table = hg_qsbr_read(&iotlb->table);
    uint32_t classes = atomic_load_explicit(&table->classes, memory_order_relaxed);

    for (; classes != 0; classes &= classes - 1) {
        unsigned class = (unsigned)__builtin_ctz(classes);

        if (!hg_iotlb_table_find(table, addr, class, &block->perm, &block->host))
            continue;
        block->size = hg_iotlb_class_size(class);
        block->base = addr & -block->size;
        return true;
    }
    return false;
}

/* How many blocks a table of so many slots takes before it grows: 5 of 8 slots. */
static bool is_crowded(const struct hg_iotlb_table *table)
{
    return table->n >= hg_iotlb_slots_n(table) / 8 * 5;
}

static bool may_grow(const struct hg_iotlb *iotlb)
{
    return hg_iotlb_slots_n(iotlb_table(iotlb)) < (uint64_t)iotlb->entries_max * 8 / 5;
}

int hg_iotlb_new(struct hg_iotlb **iotlb, uint32_t entries_max, struct hg_err *err)
{
    struct hg_iotlb *new = aligned_alloc(HG_CACHE_LINE_BYTES, sizeof(*new));

    if (new != NULL) {
        memset(new, 0, sizeof(*new));
        new->entries_max = entries_max;
        new->pending = hg_pending_new();
        atomic_init(&new->table, hg_iotlb_table_new(BUCKETS_MIN));
    }
    if (new == NULL || new->pending == NULL || iotlb_table(new) == NULL) {
        hg_iotlb_free(new);
        return hg_err_set(err, ENOMEM, "no memory for an IOTLB");
    }
    *iotlb = new;
    return 0;
}

static void free_retired(struct hg_iotlb *iotlb)
{
    while (iotlb->retired != NULL) {
        struct hg_iotlb_table *table = iotlb->retired;

        iotlb->retired = table->retired_next;
        free(table);
    }
}

void hg_iotlb_free(struct hg_iotlb *iotlb)
{
    if (iotlb == NULL)
        return;
    free_retired(iotlb);
    free(iotlb_table(iotlb));
    free(iotlb->pending);
    free(iotlb);
}

/* ---- out of sight, and free again ---- */

/* Notes a slot of the table that has become GONE. */
static void note_gone(struct hg_iotlb *iotlb, const struct hg_iotlb_slot *slot)
{
    if (iotlb->gone_n < HG_IOTLB_GONE_MAX)
        iotlb->gone[iotlb->gone_n] = (uint32_t)(slot - iotlb_table(iotlb)->bucket[0].slot);
    iotlb->gone_n++;
    iotlb->unsettled = true;
}

static void hide(struct hg_iotlb *iotlb, struct hg_iotlb_slot *slot)
{
    hg_iotlb_table_hide(iotlb_table(iotlb), slot);
    note_gone(iotlb, slot);
}

static void free_gone(struct hg_iotlb *iotlb)
{
    struct hg_iotlb_table *table = iotlb_table(iotlb);

    if (iotlb->gone_n <= HG_IOTLB_GONE_MAX) {
        for (uint32_t i = 0; i < iotlb->gone_n; i++)
            atomic_store_explicit(&hg_iotlb_slot(table, iotlb->gone[i])->tag, 0,
                                  memory_order_relaxed);
    } else {
        for (uint64_t i = 0; i < hg_iotlb_slots_n(table); i++) {
            struct hg_iotlb_slot *slot = hg_iotlb_slot(table, i);

            if (iotlb_load_tag(slot) == HG_IOTLB_TAG_GONE)
                atomic_store_explicit(&slot->tag, 0, memory_order_relaxed);
        }
    }
    iotlb->gone_n = 0;
}

void hg_iotlb_settle(struct hg_iotlb *iotlb)
{
    free_gone(iotlb);
    free_retired(iotlb);
    iotlb->unsettled = false;
}

void iotlb_wait(struct hg_iotlb *iotlb)
{
    hg_qsbr_wait();
    hg_iotlb_settle(iotlb);
}

/* Puts another table in the place of the one that is published, which is freed when it settles. What is
 * gone goes with the old table. */
static void replace_table(struct hg_iotlb *iotlb, struct hg_iotlb_table *table)
{
    struct hg_iotlb_table *old = iotlb_table(iotlb);

    old->retired_next = iotlb->retired;
    iotlb->retired = old;
    iotlb->gone_n = 0;
    iotlb->hand = 0;
    iotlb->unsettled = true;
    hg_qsbr_publish(&iotlb->table, table);
}

/* Everything at once, in a time that does not depend on how much it is. */
static void hide_all(struct hg_iotlb *iotlb)
{
    struct hg_iotlb_table *table = iotlb_table(iotlb);
    struct hg_iotlb_table *empty;

    if (table->n == 0)
        return;
    empty = hg_iotlb_table_new(BUCKETS_MIN);
    if (empty != NULL) {
        replace_table(iotlb, empty);
        return;
    }
    for (uint64_t i = 0; i < hg_iotlb_slots_n(table); i++)
        if (hg_iotlb_tag_class(iotlb_load_tag(hg_iotlb_slot(table, i))) != 0)
            hide(iotlb, hg_iotlb_slot(table, i));
}

/* ---- ranges ---- */

/* Returns whether the block was taken out. */
static bool judge(struct hg_iotlb *iotlb, struct hg_iotlb_slot *slot, iotlb_keep_fn *keep,
                  void *ctx)
{
    if (keep != NULL && keep(slot, ctx))
        return false;
    hide(iotlb, slot);
    return true;
}

static bool scan(struct hg_iotlb *iotlb, uint64_t first, uint64_t last, iotlb_keep_fn *keep,
                 void *ctx)
{
    struct hg_iotlb_table *table = iotlb_table(iotlb);
    bool any = false;

    for (uint64_t i = 0; i < hg_iotlb_slots_n(table); i++) {
        struct hg_iotlb_slot *slot = hg_iotlb_slot(table, i);
        uint64_t tag = iotlb_load_tag(slot);
        unsigned class = hg_iotlb_tag_class(tag);
        uint64_t base = hg_iotlb_tag_base(tag);

        if (class != 0 && base <= last && base + (hg_iotlb_class_size(class) - 1) >= first)
            any |= judge(iotlb, slot, keep, ctx);
    }
    return any;
}

/* Looks each possible block up, or through the table, whichever touches fewer lines. */
bool iotlb_hide_range(struct hg_iotlb *iotlb, uint64_t first, uint64_t last, iotlb_keep_fn *keep,
                      void *ctx)
{
    struct hg_iotlb_table *table = iotlb_table(iotlb);
    uint64_t probes_max = hg_iotlb_buckets_n(table) / 4;
    uint32_t classes = atomic_load_explicit(&table->classes, memory_order_relaxed);
    bool any = false;

    for (; classes != 0; classes &= classes - 1) {
        unsigned class = (unsigned)__builtin_ctz(classes);
        uint64_t size = hg_iotlb_class_size(class);
        uint64_t base = first & -size;
        uint64_t more_n = (last - base) / size;

        if (more_n >= probes_max)
            return scan(iotlb, first, last, keep, ctx) || any;
        for (uint64_t i = 0; i <= more_n; i++) {
            struct hg_iotlb_slot *slot =
                hg_iotlb_table_slot(table, hg_iotlb_key(base + i * size, class));

            if (slot != NULL)
                any |= judge(iotlb, slot, keep, ctx);
        }
    }
    return any;
}

bool hg_iotlb_unpublish(struct hg_iotlb *iotlb, uint64_t iova, uint64_t size)
{
    uint64_t first = size == 0 ? 0 : iova;
    uint64_t last = size == 0 || size - 1 > UINT64_MAX - iova ? UINT64_MAX : iova + (size - 1);

    if (first < HG_IOTLB_GRANULE && last > UINT64_MAX - HG_IOTLB_GRANULE)
        hide_all(iotlb);
    else
        iotlb_hide_range(iotlb, first, last, NULL, NULL);
    hg_pending_forget(iotlb->pending, first, last);
    iotlb_announce(iotlb);
    iotlb->taken[iotlb->taken_n++ % HG_IOTLB_TAKEN_N] =
        (struct hg_iotlb_taken){first, last, (uint32_t)hg_iotlb_answers(iotlb)};
    return iotlb->unsettled;
}

bool hg_iotlb_unpublish_host(struct hg_iotlb *iotlb, const uint8_t *host, uint64_t bytes)
{
    struct hg_iotlb_table *table = iotlb_table(iotlb);

    for (uint64_t i = 0; i < hg_iotlb_slots_n(table); i++) {
        struct hg_iotlb_slot *slot = hg_iotlb_slot(table, i);
        unsigned class = hg_iotlb_tag_class(iotlb_load_tag(slot));

        if (class != 0 && hg_range_overlap((uintptr_t)iotlb_load_host(slot),
                                           hg_iotlb_class_size(class), (uintptr_t)host, bytes))
            hide(iotlb, slot);
    }
    iotlb_announce(iotlb);
    return iotlb->unsettled;
}

/* ---- room ---- */

/* Puts a block into a table that no reader has seen. */
static bool put_unseen(struct hg_iotlb_table *table, uint64_t tag, uint8_t *host)
{
    uint64_t key = tag & ~(uint64_t)HG_IOTLB_TAG_PERM;

    while (!hg_iotlb_table_put(table, key, hg_iotlb_tag_perm(tag), host)) {
        struct hg_iotlb_slot *left = hg_iotlb_table_move(table, key);

        if (left == NULL)
            return false;
        atomic_store_explicit(&left->tag, 0, memory_order_relaxed);
    }
    return true;
}

/* Copies all blocks; returns how many found no room. */
static uint32_t copy_blocks(struct hg_iotlb_table *to, struct hg_iotlb_table *from)
{
    uint32_t lost = 0;

    for (uint64_t i = 0; i < hg_iotlb_slots_n(from); i++) {
        const struct hg_iotlb_slot *slot = hg_iotlb_slot(from, i);
        uint64_t tag = iotlb_load_tag(slot);

        if (hg_iotlb_tag_class(tag) != 0)
            lost += !put_unseen(to, tag, iotlb_load_host(slot));
    }
    return lost;
}

/* Moves all blocks into another table, with another multiplier: a lucky one if some tries give one. False
 * without memory for it: then the table stays as it is. */
static bool build_anew(struct hg_iotlb *iotlb, uint64_t buckets_n)
{
    uint32_t tries = hg_min_u32(COPIES_MAX / hg_max_u32(iotlb_table(iotlb)->n, 1) + 1, BUILDS_MAX);
    struct hg_iotlb_table *new;
    uint32_t lost;

    for (;; free(new)) {
        new = hg_iotlb_table_new(buckets_n);
        if (new == NULL)
            return false;
        lost = copy_blocks(new, iotlb_table(iotlb));
        if (--tries == 0 || (lost == 0 && !hg_iotlb_table_is_unlucky(new)))
            break;
    }
    iotlb->evictions += lost;
    new->patience_n = hg_iotlb_buckets_n(iotlb_table(iotlb)) == buckets_n
                          ? 2 * iotlb_table(iotlb)->patience_n
                          : 0;
    if (new->patience_n == 0)
        new->patience_n = new->put_n / 4;
    new->judge_at = new->put_n + new->patience_n;
    replace_table(iotlb, new);
    iotlb_wait(iotlb);
    return true;
}

/* Whether another table was found in which blocks that stand in each other's way may not do so: a larger one,
 * or, not too often, one with another multiplier. */
static bool change_table(struct hg_iotlb *iotlb)
{
    const struct hg_iotlb_table *table = iotlb_table(iotlb);
    uint64_t buckets_n = hg_iotlb_buckets_n(table);

    if (table->n >= buckets_n && may_grow(iotlb))
        return build_anew(iotlb, 2 * buckets_n);
    return table->put_n >= table->judge_at && build_anew(iotlb, buckets_n);
}

/* Evicts a part of the table: from where the last eviction ended, in the order of hashes, which no guest
 * knows. An order of age would make a guest that goes round more pages than there is room miss
 * each time. */
static void evict(struct hg_iotlb *iotlb)
{
    struct hg_iotlb_table *table = iotlb_table(iotlb);
    uint32_t want = hg_min_u32(hg_max_u32(iotlb->entries_max / EVICT_SHARE, 1), table->n);

    iotlb->evictions += want;
    while (want > 0) {
        struct hg_iotlb_slot *slot;

        iotlb->hand = (iotlb->hand + 1) & (uint32_t)(hg_iotlb_slots_n(table) - 1);
        slot = hg_iotlb_slot(table, iotlb->hand);
        if (hg_iotlb_tag_class(iotlb_load_tag(slot)) == 0)
            continue;
        hide(iotlb, slot);
        want--;
    }
    iotlb_wait(iotlb);
}

/* Makes room in the buckets of a key, which are full. */
static void make_room(struct hg_iotlb *iotlb, uint64_t key)
{
    struct hg_iotlb_slot *left;

    if (!iotlb->unsettled) {
        left = hg_iotlb_table_move(iotlb_table(iotlb), key);
        if (left != NULL)
            note_gone(iotlb, left);
        else if (change_table(iotlb))
            return;
        else
            hide(iotlb, hg_iotlb_table_victim(iotlb_table(iotlb), key, iotlb->evictions++));
    }
    iotlb_wait(iotlb);
}

void iotlb_put(struct hg_iotlb *iotlb, uint64_t key, unsigned perm, uint8_t *host)
{
    if (hg_iotlb_table_slot(iotlb_table(iotlb), key) != NULL)
        return;
    if (iotlb_table(iotlb)->n >= iotlb->entries_max)
        evict(iotlb);
    else if (is_crowded(iotlb_table(iotlb)) && may_grow(iotlb))
        build_anew(iotlb, 2 * hg_iotlb_buckets_n(iotlb_table(iotlb)));
    else if (hg_iotlb_table_is_unlucky(iotlb_table(iotlb)))
        build_anew(iotlb, hg_iotlb_buckets_n(iotlb_table(iotlb)));
    while (!hg_iotlb_table_put(iotlb_table(iotlb), key, perm, host))
        make_room(iotlb, key);
}

struct hg_iotlb_info hg_iotlb_info(const struct hg_iotlb *iotlb)
{
    return (struct hg_iotlb_info){
        .entries = iotlb_table(iotlb)->n,
        .entries_max = iotlb->entries_max,
        .evictions = iotlb->evictions,
        .updates = iotlb->updates,
        .pending = iotlb->pending->asked_n,
        .timeouts = iotlb->timeouts,
    };
}
