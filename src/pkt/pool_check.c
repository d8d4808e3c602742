/*
 * What debug builds check of a pool's objects: whose they are, and that nobody else writes to them.
 *
 * An object is FREE-marked while it lies in the pool and FRESH-marked when it is taken; behind it,
 * up to the next one, lies a fence. Each is looked at when the object changes hands, by the thread
 * at whose hands it is.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "mem/mark.h"
#include "mem/poison.h"
#include "pkt/pool_state.h"

enum { GROUPS_MAX = 16 }; /* of objects with one holder and place, in a report */

/* A place in the code as addr2line(1) takes it: FILE(+OFFSET), and the function where that is
 * known. */
struct place_name {
    char text[160];
};

static struct place_name name_of(void *place)
{
    struct place_name name;
    Dl_info info;

    if (place == NULL || dladdr(place, &info) == 0)
        snprintf(name.text, sizeof(name.text), "%p", place);
    else
        snprintf(name.text, sizeof(name.text), "%s(+0x%" PRIxPTR ")%s%s",
                 strrchr(info.dli_fname, '/') == NULL ? info.dli_fname
                                                      : strrchr(info.dli_fname, '/') + 1,
                 (uintptr_t)place - (uintptr_t)info.dli_fbase, info.dli_sname ? " in " : "",
                 info.dli_sname ? info.dli_sname : "");
    return name;
}

static uint8_t *address_of(const struct hg_pool *pool, uint32_t index)
{
    return pool->base + (uint64_t)index * pool->stride_bytes;
}

bool hg_pool_check_new(struct hg_pool *pool)
{
    pool->object = calloc(pool->n, sizeof(pool->object[0]));
    if (pool->object == NULL)
        return false;
    for (uint32_t i = 0; i < pool->n; i++) {
        uint8_t *object = address_of(pool, i);

        memset(object, HG_MARK_FREE, pool->object_bytes);
        memset(object + pool->object_bytes, HG_MARK_FENCE, pool->stride_bytes - pool->object_bytes);
        hg_poison(object, pool->stride_bytes);
    }
    return true;
}

void hg_pool_check_free(struct hg_pool *pool)
{
    free(pool->object);
}

/* Says who had the object last, and ends the program. */
static void die_of(const struct hg_pool *pool, uint32_t index, const char *what, uint64_t offset,
                   void *place)
{
    const struct hg_pool_object *object = &pool->object[index];

    hg_log(HG_LOG_ERROR, "pool",
           "'%s': object %" PRIu32 " %s (byte %" PRIu64 " of %" PRIu32
           "), found at %s; last %s through '%s' at %s",
           pool->name, index, what, offset, pool->object_bytes, name_of(place).text,
           atomic_load_explicit(&object->taken, memory_order_relaxed) ? "taken" : "given back",
           object->account == NULL ? "nobody" : object->account->name, name_of(object->place).text);
    abort();
}

static uint32_t index_of(const struct hg_pool *pool, const void *address, void *place)
{
    uint64_t offset = (uintptr_t)address - (uintptr_t)pool->base;
    uint64_t index = offset / pool->stride_bytes;

    if (index < pool->n && offset % pool->stride_bytes == 0)
        return (uint32_t)index;
    hg_log(HG_LOG_ERROR, "pool", "'%s': %p, given back at %s, is none of its objects%s", pool->name,
           address, name_of(place).text, index < pool->n ? ", but lies inside one" : "");
    abort();
}

static void expect_mark(const struct hg_pool *pool, uint32_t index, uint32_t from, uint32_t end,
                        uint8_t mark, const char *what, void *place)
{
    const uint8_t *object = address_of(pool, index);
    const uint8_t *broken = hg_mark_broken(object + from, end - from, mark);

    if (broken != NULL)
        die_of(pool, index, what, (uint64_t)(broken - object), place);
}

void hg_pool_check_take(struct hg_pool *pool, void *const *objects, uint32_t n,
                        const struct hg_pool_account *account, void *place)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t index = index_of(pool, objects[i], place);

        hg_unpoison(objects[i], pool->object_bytes);
        expect_mark(pool, index, 0, pool->object_bytes, HG_MARK_FREE,
                    "was written while it was free", place);
        memset(objects[i], HG_MARK_FRESH, pool->object_bytes);
        pool->object[index].account = account;
        pool->object[index].place = place;
        atomic_store_explicit(&pool->object[index].taken, true, memory_order_relaxed);
    }
}

void hg_pool_check_put(struct hg_pool *pool, void *const *objects, uint32_t n,
                       const struct hg_pool_account *account, void *place)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t index = index_of(pool, objects[i], place);
        uint8_t *fence = address_of(pool, index) + pool->object_bytes;
        uint32_t fence_bytes = pool->stride_bytes - pool->object_bytes;

        if (!atomic_exchange_explicit(&pool->object[index].taken, false, memory_order_relaxed))
            die_of(pool, index, "is given back twice", 0, place);
        hg_unpoison(fence, fence_bytes);
        expect_mark(pool, index, pool->object_bytes, pool->stride_bytes, HG_MARK_FENCE,
                    "was written beyond its end", place);
        hg_poison(fence, fence_bytes);
        pool->object[index].account = account;
        pool->object[index].place = place;
        memset(objects[i], HG_MARK_FREE, pool->object_bytes);
        hg_poison(objects[i], pool->object_bytes);
    }
}

struct group {
    const struct hg_pool_account *account;
    void *place;
    uint32_t n;
};

/* Adds an object to its group. False when there are too many groups. */
static bool count_in(struct group *group, unsigned *group_n, const struct hg_pool_object *object)
{
    unsigned i = 0;

    while (i < *group_n && (group[i].account != object->account || group[i].place != object->place))
        i++;
    if (i == GROUPS_MAX)
        return false;
    if (i == *group_n)
        group[(*group_n)++] = (struct group){.account = object->account, .place = object->place};
    group[i].n++;
    return true;
}

void hg_pool_check_report(const struct hg_pool *pool)
{
    struct group group[GROUPS_MAX];
    unsigned group_n = 0;
    uint32_t other_n = 0;

    for (uint32_t i = 0; i < pool->n; i++)
        if (atomic_load_explicit(&pool->object[i].taken, memory_order_relaxed))
            other_n += !count_in(group, &group_n, &pool->object[i]);
    for (unsigned i = 0; i < group_n; i++)
        hg_log(HG_LOG_WARN, "pool", "'%s': %" PRIu32 " taken through '%s' at %s", pool->name,
               group[i].n, group[i].account->name, name_of(group[i].place).text);
    if (other_n != 0)
        hg_log(HG_LOG_WARN, "pool", "'%s': and %" PRIu32 " in other places", pool->name, other_n);
}
