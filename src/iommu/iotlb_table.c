#include "iommu/iotlb_table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"

uint64_t hg_iotlb_random_odd(void)
{
    uint64_t number;

    if (getrandom(&number, sizeof(number), 0) != sizeof(number))
        number = hg_cycles() * UINT64_C(0x9e3779b97f4a7c15); /* worse, and works */
    return number | 1;
}

struct hg_iotlb_table *hg_iotlb_table_new(uint64_t buckets_n)
{
    size_t bytes = sizeof(struct hg_iotlb_table) + buckets_n * sizeof(struct hg_iotlb_bucket);
    struct hg_iotlb_table *table = aligned_alloc(HG_CACHE_LINE_BYTES, bytes);

    if (table == NULL)
        return NULL;
    memset(table, 0, bytes);
    table->multiplier = hg_iotlb_random_odd();
    table->at_mask = (buckets_n - 1) * sizeof(struct hg_iotlb_bucket);
    return table;
}

bool hg_iotlb_table_find(const struct hg_iotlb_table *table, uint64_t addr, unsigned class,
                         unsigned *perm, uint8_t **host)
{
    uint64_t number = addr >> hg_iotlb_class_shift(class);
    uint64_t key = hg_iotlb_key(addr, class);
    uint64_t first_at = hg_iotlb_first_at(table, number);
    uint64_t second_at = hg_iotlb_second_at(table, number);

    return hg_iotlb_bucket_find(hg_iotlb_bucket_at(table, first_at), key, perm, host) ||
           hg_iotlb_bucket_find(hg_iotlb_bucket_at(table, second_at), key, perm, host);
}

static uint64_t number_of(uint64_t key)
{
    return key >> hg_iotlb_class_shift(hg_iotlb_tag_class(key));
}

static struct hg_iotlb_bucket *first_bucket(struct hg_iotlb_table *table, uint64_t key)
{
    return (void *)((char *)table->bucket + hg_iotlb_first_at(table, number_of(key)));
}

static struct hg_iotlb_bucket *second_bucket(struct hg_iotlb_table *table, uint64_t key)
{
    return (void *)((char *)table->bucket + hg_iotlb_second_at(table, number_of(key)));
}

static uint64_t load_tag(const struct hg_iotlb_slot *slot)
{
    return atomic_load_explicit(&slot->tag, memory_order_relaxed); /* control is its only writer */
}

/* The slot of the bucket whose tag is `tag` but for the permission, or NULL. */
static struct hg_iotlb_slot *search(struct hg_iotlb_bucket *bucket, uint64_t tag)
{
    for (unsigned way = 0; way < HG_IOTLB_WAYS; way++)
        if ((load_tag(&bucket->slot[way]) & ~(uint64_t)HG_IOTLB_TAG_PERM) == tag)
            return &bucket->slot[way];
    return NULL;
}

struct hg_iotlb_slot *hg_iotlb_table_slot(struct hg_iotlb_table *table, uint64_t key)
{
    struct hg_iotlb_slot *slot = search(first_bucket(table, key), key);

    return slot != NULL ? slot : search(second_bucket(table, key), key);
}

// NOLINTNEXTLINE(readability-non-const-parameter): readers write through it
static void fill(struct hg_iotlb_slot *slot, uint64_t tag, uint8_t *host)
{
    atomic_store_explicit(&slot->host, host, memory_order_relaxed);
    /* Pairs with the acquires in hg_iotlb_bucket_find(). */
    atomic_store_explicit(&slot->tag, tag, memory_order_release);
}

bool hg_iotlb_table_put(struct hg_iotlb_table *table, uint64_t key, unsigned perm, uint8_t *host)
{
    unsigned class = hg_iotlb_tag_class(key);
    struct hg_iotlb_slot *slot = search(first_bucket(table, key), 0);
    bool second = slot == NULL;

    if (second)
        slot = search(second_bucket(table, key), 0);
    if (slot == NULL)
        return false;
    table->n++;
    table->put_n++;
    table->second_n += second;
    if (table->class_n[class]++ == 0)
        atomic_fetch_or_explicit(&table->classes, 1u << class, memory_order_relaxed);
    fill(slot, key | perm, host);
    return true;
}

/* Moves one of the blocks that stand in their first bucket here and find room in their second. */
static struct hg_iotlb_slot *move_one(struct hg_iotlb_table *table, struct hg_iotlb_bucket *bucket)
{
    for (unsigned way = 0; way < HG_IOTLB_WAYS; way++) {
        struct hg_iotlb_slot *from = &bucket->slot[way];
        uint64_t tag = load_tag(from);
        struct hg_iotlb_slot *to;

        if (hg_iotlb_tag_class(tag) == 0 || first_bucket(table, tag) != bucket)
            continue;
        to = search(second_bucket(table, tag), 0);
        if (to == NULL)
            continue;
        fill(to, tag, atomic_load_explicit(&from->host, memory_order_relaxed));
        /* Pairs with the acquires in hg_iotlb_bucket_find(): who finds it gone here finds it there. */
        atomic_store_explicit(&from->tag, HG_IOTLB_TAG_GONE, memory_order_release);
        return from;
    }
    return NULL;
}

struct hg_iotlb_slot *hg_iotlb_table_move(struct hg_iotlb_table *table, uint64_t key)
{
    struct hg_iotlb_slot *slot = move_one(table, first_bucket(table, key));

    return slot != NULL ? slot : move_one(table, second_bucket(table, key));
}

struct hg_iotlb_slot *hg_iotlb_table_victim(struct hg_iotlb_table *table, uint64_t key, uint64_t n)
{
    return &first_bucket(table, key)->slot[n % HG_IOTLB_WAYS];
}

/* By chance it is one in twenty-five by the time at which a table grows. */
bool hg_iotlb_table_is_unlucky(const struct hg_iotlb_table *table)
{
    return table->second_n > table->put_n / 10 + 16 && table->put_n >= table->judge_at;
}

void hg_iotlb_table_hide(struct hg_iotlb_table *table, struct hg_iotlb_slot *slot)
{
    unsigned class = hg_iotlb_tag_class(load_tag(slot));

    atomic_store_explicit(&slot->tag, HG_IOTLB_TAG_GONE, memory_order_relaxed);
    table->n--;
    if (--table->class_n[class] == 0)
        atomic_fetch_and_explicit(&table->classes, ~(1u << class), memory_order_relaxed);
}
