/*
 * What control does to an IOTLB. The table itself is in iotlb_table.c, the misses in pending.c and asks.c.
 */
#include "iommu/iotlb.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "iommu/space.h"

enum {
    BUCKETS_MIN =
        256, /* 16 KiB: 512 pages stay in the first-level cache, with room for what uses them */
    EVICT_SHARE =
        64, /* this part of the bound is evicted at once, so that one grace period serves all */
};

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

/* The table that control works on: it is the only one who publishes. */
static struct hg_iotlb_table *table_of(const struct hg_iotlb *iotlb)
{
    return atomic_load_explicit(&iotlb->table, memory_order_relaxed);
}

static uint64_t load_tag(const struct hg_iotlb_slot *slot)
{
    return atomic_load_explicit(&slot->tag, memory_order_relaxed);
}

static uint8_t *load_host(const struct hg_iotlb_slot *slot)
{
    return atomic_load_explicit(&slot->host, memory_order_relaxed);
}

/* How many blocks a table of so many slots takes before it grows: 5 of 8 slots. */
static bool is_crowded(const struct hg_iotlb_table *table)
{
    return table->n >= hg_iotlb_slots_n(table) / 8 * 5;
}

static bool may_grow(const struct hg_iotlb *iotlb)
{
    return hg_iotlb_slots_n(table_of(iotlb)) < (uint64_t)iotlb->entries_max * 8 / 5;
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
    if (new == NULL || new->pending == NULL || table_of(new) == NULL) {
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
    free(table_of(iotlb));
    free(iotlb->pending);
    free(iotlb);
}

/* ---- out of sight, and free again ---- */

/* Notes a slot of the table that has become GONE. */
static void note_gone(struct hg_iotlb *iotlb, const struct hg_iotlb_slot *slot)
{
    if (iotlb->gone_n < HG_IOTLB_GONE_MAX)
        iotlb->gone[iotlb->gone_n] = (uint32_t)(slot - table_of(iotlb)->bucket[0].slot);
    iotlb->gone_n++;
    iotlb->unsettled = true;
}

static void hide(struct hg_iotlb *iotlb, struct hg_iotlb_slot *slot)
{
    hg_iotlb_table_hide(table_of(iotlb), slot);
    note_gone(iotlb, slot);
}

static void free_gone(struct hg_iotlb *iotlb)
{
    struct hg_iotlb_table *table = table_of(iotlb);

    if (iotlb->gone_n <= HG_IOTLB_GONE_MAX) {
        for (uint32_t i = 0; i < iotlb->gone_n; i++)
            atomic_store_explicit(&hg_iotlb_slot(table, iotlb->gone[i])->tag, 0,
                                  memory_order_relaxed);
    } else {
        for (uint64_t i = 0; i < hg_iotlb_slots_n(table); i++) {
            struct hg_iotlb_slot *slot = hg_iotlb_slot(table, i);

            if (load_tag(slot) == HG_IOTLB_TAG_GONE)
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

static void wait_and_settle(struct hg_iotlb *iotlb)
{
    hg_qsbr_wait();
    hg_iotlb_settle(iotlb);
}

/* Puts another table in the place of the one that is published, which is freed when it settles. What is
 * gone goes with the old table. */
static void replace_table(struct hg_iotlb *iotlb, struct hg_iotlb_table *table)
{
    struct hg_iotlb_table *old = table_of(iotlb);

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
    struct hg_iotlb_table *table = table_of(iotlb);
    struct hg_iotlb_table *empty;

    if (table->n == 0)
        return;
    empty = hg_iotlb_table_new(BUCKETS_MIN);
    if (empty != NULL) {
        replace_table(iotlb, empty);
        return;
    }
    for (uint64_t i = 0; i < hg_iotlb_slots_n(table); i++)
        if (hg_iotlb_tag_class(load_tag(hg_iotlb_slot(table, i))) != 0)
            hide(iotlb, hg_iotlb_slot(table, i));
}

/* ---- ranges ---- */

/* Whether a block that touches the range stays; it may be changed. */
typedef bool keep_fn(struct hg_iotlb_slot *slot, void *ctx);

/* Returns whether the block was taken out. */
static bool judge(struct hg_iotlb *iotlb, struct hg_iotlb_slot *slot, keep_fn *keep, void *ctx)
{
    if (keep != NULL && keep(slot, ctx))
        return false;
    hide(iotlb, slot);
    return true;
}

static bool scan(struct hg_iotlb *iotlb, uint64_t first, uint64_t last, keep_fn *keep, void *ctx)
{
    struct hg_iotlb_table *table = table_of(iotlb);
    bool any = false;

    for (uint64_t i = 0; i < hg_iotlb_slots_n(table); i++) {
        struct hg_iotlb_slot *slot = hg_iotlb_slot(table, i);
        uint64_t tag = load_tag(slot);
        unsigned class = hg_iotlb_tag_class(tag);
        uint64_t base = hg_iotlb_tag_base(tag);

        if (class != 0 && base <= last && base + (hg_iotlb_class_size(class) - 1) >= first)
            any |= judge(iotlb, slot, keep, ctx);
    }
    return any;
}

/* Takes the blocks that touch [first, last] and are not kept out of sight: looks each possible block up, or
 * through the table, whichever touches fewer lines. Returns whether there were any. */
static bool hide_range(struct hg_iotlb *iotlb, uint64_t first, uint64_t last, keep_fn *keep,
                       void *ctx)
{
    struct hg_iotlb_table *table = table_of(iotlb);
    uint64_t probes_max = (table->bucket_mask + 1) / 4;
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
        hide_range(iotlb, first, last, NULL, NULL);
    hg_pending_forget_faults(iotlb->pending, first, last);
    hg_iotlb_announce(iotlb);
    return iotlb->unsettled;
}

bool hg_iotlb_unpublish_host(struct hg_iotlb *iotlb, const uint8_t *host, uint64_t bytes)
{
    struct hg_iotlb_table *table = table_of(iotlb);

    for (uint64_t i = 0; i < hg_iotlb_slots_n(table); i++) {
        struct hg_iotlb_slot *slot = hg_iotlb_slot(table, i);
        unsigned class = hg_iotlb_tag_class(load_tag(slot));

        if (class != 0 && hg_range_overlap((uintptr_t)load_host(slot), hg_iotlb_class_size(class),
                                           (uintptr_t)host, bytes))
            hide(iotlb, slot);
    }
    hg_iotlb_announce(iotlb);
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

/* Moves all blocks into a table twice as large, with another multiplier. Without memory for it, the table
 * stays as it is. */
static void grow(struct hg_iotlb *iotlb)
{
    struct hg_iotlb_table *old = table_of(iotlb);
    struct hg_iotlb_table *new = hg_iotlb_table_new(2 * (old->bucket_mask + 1));

    if (new == NULL)
        return;
    for (uint64_t i = 0; i < hg_iotlb_slots_n(old); i++) {
        const struct hg_iotlb_slot *slot = hg_iotlb_slot(old, i);
        uint64_t tag = load_tag(slot);

        if (hg_iotlb_tag_class(tag) != 0 && !put_unseen(new, tag, load_host(slot)))
            iotlb->evictions++;
    }
    replace_table(iotlb, new);
    wait_and_settle(iotlb);
}

/* Evicts a part of the table: from where the last eviction ended, in the order of hashes, which no guest
 * knows. An order of age would make a guest that goes round more pages than there is room miss
 * each time. */
static void evict(struct hg_iotlb *iotlb)
{
    struct hg_iotlb_table *table = table_of(iotlb);
    uint32_t want = hg_min_u32(hg_max_u32(iotlb->entries_max / EVICT_SHARE, 1), table->n);

    iotlb->evictions += want;
    while (want > 0) {
        struct hg_iotlb_slot *slot;

        iotlb->hand = (iotlb->hand + 1) & (uint32_t)(hg_iotlb_slots_n(table) - 1);
        slot = hg_iotlb_slot(table, iotlb->hand);
        if (hg_iotlb_tag_class(load_tag(slot)) == 0)
            continue;
        hide(iotlb, slot);
        want--;
    }
    wait_and_settle(iotlb);
}

/* Makes room in the buckets of a key, which are full. */
static void make_room(struct hg_iotlb *iotlb, uint64_t key)
{
    struct hg_iotlb_slot *left;

    if (!iotlb->unsettled) {
        left = hg_iotlb_table_move(table_of(iotlb), key);
        if (left != NULL)
            note_gone(iotlb, left);
        else
            hide(iotlb, hg_iotlb_table_victim(table_of(iotlb), key, iotlb->evictions++));
    }
    wait_and_settle(iotlb);
}

/* Puts a block in unless it is there. */
static void put(struct hg_iotlb *iotlb, uint64_t key, unsigned perm, uint8_t *host)
{
    if (hg_iotlb_table_slot(table_of(iotlb), key) != NULL)
        return;
    if (table_of(iotlb)->n >= iotlb->entries_max)
        evict(iotlb);
    else if (is_crowded(table_of(iotlb)) && may_grow(iotlb))
        grow(iotlb);
    while (!hg_iotlb_table_put(table_of(iotlb), key, perm, host))
        make_room(iotlb, key);
}

/* ---- updates ---- */

/* A part of a range whose host addresses go on. */
struct piece {
    uint64_t first;
    uint64_t last;
    uint8_t *host;
};

struct update {
    unsigned piece_n;
    unsigned perm;
    bool weaker; /* a block has lost a permission that readers may have found */
    struct piece piece[HG_REGIONS_MAX];
};

static const struct hg_region *region_at(const struct hg_space *space, uint64_t user_addr)
{
    for (unsigned i = 0; i < space->n; i++)
        if (user_addr - space->region[i].user_addr < space->region[i].size)
            return &space->region[i];
    return NULL;
}

/* Finds the memory of a range. It may go on from one region to the next, at the end of a granule. */
static int resolve(const struct hg_space *space, uint64_t iova, uint64_t size, uint64_t user_addr,
                   struct update *update, struct hg_err *err)
{
    uint64_t done = 0;

    while (done < size) {
        const struct hg_region *region = region_at(space, user_addr + done);
        uint64_t offset;
        uint64_t bytes;

        if (user_addr + done < user_addr || region == NULL)
            return hg_err_set(err, EFAULT, "IOTLB update: 0x%" PRIx64 " is not in the memory table",
                              user_addr + done);
        offset = user_addr + done - region->user_addr;
        bytes = hg_min_u64(region->size - offset, size - done);
        if (bytes % HG_IOTLB_GRANULE != 0 || update->piece_n == HG_REGIONS_MAX)
            return hg_err_set(err, EFAULT,
                              "IOTLB update: a page at 0x%" PRIx64 " lies in two memory regions",
                              user_addr + done);
        update->piece[update->piece_n++] = (struct piece){
            iova + done,
            iova + done + (bytes - 1),
            region->host + offset,
        };
        done += bytes;
    }
    return 0;
}

/* The piece that holds addr, or NULL. */
static const struct piece *piece_at(const struct update *update, uint64_t addr)
{
    for (unsigned i = 0; i < update->piece_n; i++)
        if (addr >= update->piece[i].first && addr <= update->piece[i].last)
            return &update->piece[i];
    return NULL;
}

/* Of the blocks into which a piece is cut, the key of the one that holds addr: the largest that fits. */
static uint64_t key_around(const struct piece *piece, uint64_t addr)
{
    for (unsigned class = HG_IOTLB_CLASS_N - 1; class > 1; class --) {
        uint64_t size = hg_iotlb_class_size(class);
        uint64_t base = addr & -size;

        if (base >= piece->first && base + (size - 1) <= piece->last)
            return base | class;
    }
    return hg_iotlb_key(addr, 1);
}

static uint64_t key_last(uint64_t key)
{
    return hg_iotlb_tag_base(key) + (hg_iotlb_class_size(hg_iotlb_tag_class(key)) - 1);
}

/* Keeps a block that the update repeats, with the permission that it has now. */
static bool keep_repeated(struct hg_iotlb_slot *slot, void *ctx)
{
    struct update *update = ctx;
    uint64_t tag = load_tag(slot);
    uint64_t key = tag & ~(uint64_t)HG_IOTLB_TAG_PERM;
    uint64_t base = hg_iotlb_tag_base(tag);
    const struct piece *piece = piece_at(update, base);

    if (piece == NULL || key_around(piece, base) != key ||
        load_host(slot) != piece->host + (base - piece->first))
        return false;
    if ((hg_iotlb_tag_perm(tag) & ~update->perm) != 0)
        update->weaker = true;
    atomic_store_explicit(&slot->tag, key | (uint64_t)update->perm << HG_IOTLB_TAG_PERM_SHIFT,
                          memory_order_release);
    return true;
}

static void put_around(struct hg_iotlb *iotlb, const struct update *update,
                       const struct piece *piece, uint64_t addr)
{
    uint64_t key = key_around(piece, addr);

    put(iotlb, key, update->perm, piece->host + (hg_iotlb_tag_base(key) - piece->first));
}

/* Whether the update is cut into more than `most` blocks. */
static bool has_more_blocks(const struct update *update, uint32_t most)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < update->piece_n; i++) {
        const struct piece *piece = &update->piece[i];
        uint64_t addr = piece->first;

        for (;; addr++) {
            if (++n > most)
                return true;
            addr = key_last(key_around(piece, addr));
            if (addr == piece->last)
                break;
        }
    }
    return false;
}

static void put_all(struct hg_iotlb *iotlb, const struct update *update)
{
    for (unsigned i = 0; i < update->piece_n; i++) {
        const struct piece *piece = &update->piece[i];
        uint64_t addr = piece->first;

        for (;; addr++) {
            put_around(iotlb, update, piece, addr);
            addr = key_last(key_around(piece, addr));
            if (addr == piece->last)
                break;
        }
    }
}

/* Puts what has been asked for: of an update that would push itself out of the table nothing else, and of
 * others in case the later blocks have evicted it. */
static void put_asked(struct hg_iotlb *iotlb, const struct update *update, uint64_t first,
                      uint64_t last)
{
    uint64_t asked[HG_PENDING_MAX];
    unsigned n = hg_pending_list(iotlb->pending, first, last, asked);

    for (unsigned i = 0; i < n; i++)
        put_around(iotlb, update, piece_at(update, asked[i]), asked[i]);
}

int hg_iotlb_update(struct hg_iotlb *iotlb, const struct hg_space *space, uint64_t iova,
                    uint64_t size, uint64_t user_addr, unsigned perm, struct hg_err *err)
{
    struct update update;
    uint64_t last = iova + (size - 1);

    if (size == 0 || ((iova | size) & (HG_IOTLB_GRANULE - 1)) != 0 || last < iova || perm > 3)
        return hg_err_set(err, EINVAL,
                          "IOTLB update of 0x%" PRIx64 ", %" PRIu64
                          " bytes, permission %u: expected whole pages that do not wrap, and a "
                          "permission up to 3",
                          iova, size, perm);
    update.piece_n = 0;
    update.perm = perm;
    update.weaker = false;
    if (perm != 0) {
        int rc = resolve(space, iova, size, user_addr, &update, err);

        if (rc != 0)
            return rc;
    }
    iotlb->updates++;
    if (hide_range(iotlb, iova, last, keep_repeated, &update) || update.weaker)
        wait_and_settle(iotlb);
    if (!has_more_blocks(&update, iotlb->entries_max / 2))
        put_all(iotlb, &update);
    put_asked(iotlb, &update, iova, last);
    hg_pending_answer(iotlb->pending, iova, last, perm);
    hg_iotlb_announce(iotlb);
    return 0;
}

struct hg_iotlb_info hg_iotlb_info(const struct hg_iotlb *iotlb)
{
    return (struct hg_iotlb_info){
        .entries = table_of(iotlb)->n,
        .entries_max = iotlb->entries_max,
        .evictions = iotlb->evictions,
        .updates = iotlb->updates,
        .pending = iotlb->pending->asked_n,
        .timeouts = iotlb->timeouts,
    };
}
