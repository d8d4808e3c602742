/*
 * The writer.
 *
 * A slot is free (tag 0), in use (its key's tag), or retired: its key was deleted, and a reader
 * that found the tag before may still be comparing or loading the value. Retired slots are freed
 * together, after a grace period.
 *
 * A key goes into its first bucket if that has a free slot, else into its second, so most look-ups
 * end in the first. When both are full, a search in breadth finds the shortest chain of keys of
 * which each can move to its other bucket and the last one finds a free slot there; then they move,
 * the last one first. The tag alone says what the other bucket is, so the search touches tags only,
 * no keys. It ends after so many buckets: the table is full then.
 *
 * The order of each move is what readers rely on (hash_lookup.c):
 *   1. words and value into the free slot
 *   2. its tag                           after 1: who sees the tag sees the key
 *   3. count a change there              after 2: who sees the count sees the tag; before 4: who
 *                                        misses the key at the source sees the count
 *   4. clear the tag at the source       after 2: the key is always somewhere
 *   5. count a change there              after 4, and before the slot is filled again: who compares
 *                                        other words than the tag was for sees the count
 * All are releases.
 */
#include <errno.h>

#include "sync/qsbr.h"
#include "table/hash_internal.h"

enum { SEARCH_MAX = 1024, NO_PARENT = -1 };

/* A bucket that the search has reached: by a move of the key at `way` of its parent's bucket. */
struct step {
    uint32_t bucket;
    int16_t parent;
    uint8_t way;
};

struct chain {
    struct step step[SEARCH_MAX];
    int end;           /* the step whose bucket has a free slot */
    unsigned free_way; /* which one */
};

/* ---- slots ---- */

static void count_keys(struct hg_hash *hash, int by)
{
    uint32_t n = atomic_load_explicit(&hash->n, memory_order_relaxed);

    atomic_store_explicit(&hash->n, n + (uint32_t)by, memory_order_relaxed);
}

/* Stores key and value in a slot that nobody can find; then the tag, for all to find. Release: who
 * sees a word of them sees the change that was counted before (pairs with the acquire in
 * hg_hash_equal()). */
HG_HASH_INLINE void fill(struct hg_hash *hash, struct hg_hash_place place, uint16_t tag,
                         const void *key, uint64_t value, int kind)
{
    const unsigned words = hg_hash_words(kind);
    _Atomic uint64_t *slot = hg_hash_slot(hash, place, kind);

    for (unsigned i = 0; i < words; i++)
        atomic_store_explicit(&slot[i], hg_hash_key_word(key, i, hash->key_bytes, kind),
                              memory_order_release);
    atomic_store_explicit(hg_hash_value(hash, slot, kind), value, memory_order_release);
    hg_hash_tag_set(&hash->bucket[place.bucket], place.way, tag);
}

/* The slot of a key, if the bucket has it. */
HG_HASH_INLINE bool find_in(const struct hg_hash *hash, uint32_t b, uint16_t tag, const void *key,
                            struct hg_hash_place *place, int kind)
{
    unsigned ways = hg_hash_match(hg_hash_tags_own(&hash->bucket[b]), tag);

    for (; ways != 0; ways &= ways - 1) {
        place->bucket = b;
        place->way = (uint32_t)__builtin_ctz(ways);
        if (hg_hash_equal(hg_hash_slot(hash, *place, kind), key, hash->key_bytes, kind))
            return true;
    }
    return false;
}

HG_HASH_INLINE bool find(const struct hg_hash *hash, uint32_t first, uint16_t tag, const void *key,
                         struct hg_hash_place *place, int kind)
{
    return find_in(hash, first, tag, key, place, kind) ||
           find_in(hash, hg_hash_other(hash, first, tag), tag, key, place, kind);
}

static bool free_in(const struct hg_hash *hash, uint32_t b, struct hg_hash_place *place)
{
    unsigned ways = hg_hash_match(hg_hash_tags_own(&hash->bucket[b]), HG_HASH_FREE);

    place->bucket = b;
    place->way = (uint32_t)__builtin_ctz(ways | 1 << HG_HASH_WAYS);
    return ways != 0;
}

/* ---- grace periods ---- */

static void wait_for_readers(struct hg_hash *hash)
{
    if (!hash->one_thread)
        hg_qsbr_wait();
    hash->moves = 0;
}

void hg_hash_reclaim(struct hg_hash *hash)
{
    if (hash->retired_n == 0)
        return;
    wait_for_readers(hash);
    for (uint32_t i = 0; i < hash->retired_n; i++)
        hg_hash_tag_set(&hash->bucket[hash->retired[i] >> 3], hash->retired[i] & 7, HG_HASH_FREE);
    hash->retired_n = 0;
}

static void retire(struct hg_hash *hash, struct hg_hash_place place)
{
    hg_hash_tag_set(&hash->bucket[place.bucket], place.way, HG_HASH_RETIRED);
    hash->retired[hash->retired_n++] = place.bucket << 3 | place.way;
    if (hash->retired_n == HG_HASH_RETIRED_MAX)
        hg_hash_reclaim(hash);
}

/* ---- making room ---- */

static bool is_on_way(const struct chain *chain, int step, uint32_t bucket)
{
    for (; step != NO_PARENT; step = chain->step[step].parent)
        if (chain->step[step].bucket == bucket)
            return true;
    return false;
}

/* Searches for the shortest chain from either bucket to a free slot. */
static bool find_chain(const struct hg_hash *hash, uint32_t first, uint32_t other,
                       struct chain *chain)
{
    int n = 2;

    chain->step[0] = (struct step){first, NO_PARENT, 0};
    chain->step[1] = (struct step){other, NO_PARENT, 0};
    for (int at = 0; at < n; at++) {
        const uint32_t bucket = chain->step[at].bucket;
        const struct hg_hash_tags tags = hg_hash_tags_own(&hash->bucket[bucket]);
        struct hg_hash_place place;

        if (free_in(hash, bucket, &place)) {
            chain->end = at;
            chain->free_way = place.way;
            return true;
        }
        for (uint8_t way = 0; way < HG_HASH_WAYS && n < SEARCH_MAX; way++) {
            uint16_t tag = hg_hash_tag_of(tags, way);
            uint32_t next = hg_hash_other(hash, bucket, tag);

            if (tag < HG_HASH_TAG_FIRST || is_on_way(chain, at, next))
                continue;
            __builtin_prefetch(&hash->bucket[next]);
            chain->step[n++] = (struct step){next, (int16_t)at, way};
        }
    }
    return false;
}

/* Release, for the reason in fill(). */
static void copy_word(_Atomic uint64_t *target, const _Atomic uint64_t *source)
{
    uint64_t word = atomic_load_explicit(source, memory_order_relaxed);

    atomic_store_explicit(target, word, memory_order_release);
}

/* Moves a key to a free slot of its other bucket. Its own slot is then nobody's, and the caller
 * fills it at once. */
static void move(struct hg_hash *hash, struct hg_hash_place from, struct hg_hash_place to)
{
    const unsigned words = hg_hash_words(hash->kind);
    const _Atomic uint64_t *source = hg_hash_slot(hash, from, hash->kind);
    _Atomic uint64_t *target = hg_hash_slot(hash, to, hash->kind);
    uint16_t tag = hg_hash_tag_of(hg_hash_tags_own(&hash->bucket[from.bucket]), from.way);

    for (unsigned i = 0; i < words; i++)
        copy_word(&target[i], &source[i]);
    copy_word(hg_hash_value(hash, target, hash->kind), hg_hash_value(hash, source, hash->kind));
    hg_hash_tag_set(&hash->bucket[to.bucket], to.way, tag);
    hg_hash_count_change(&hash->bucket[to.bucket]);
    hg_hash_tag_set(&hash->bucket[from.bucket], from.way, HG_HASH_FREE);
    hg_hash_count_change(&hash->bucket[from.bucket]);
    hash->moves++;
}

/* Frees a slot in one of the two buckets by moving keys. */
static bool make_room(struct hg_hash *hash, uint32_t first, uint32_t other,
                      struct hg_hash_place *place)
{
    struct chain chain;

    if (!find_chain(hash, first, other, &chain))
        return false;
    if (hash->moves >= HG_HASH_MOVES_MAX)
        wait_for_readers(hash);
    *place = (struct hg_hash_place){chain.step[chain.end].bucket, chain.free_way};
    for (int at = chain.end; chain.step[at].parent != NO_PARENT; at = chain.step[at].parent) {
        const struct step *parent = &chain.step[chain.step[at].parent];
        struct hg_hash_place from = {parent->bucket, chain.step[at].way};

        move(hash, from, *place);
        *place = from;
    }
    return true;
}

/* A free slot for a key, wherever it takes it from. Out of line: nearly all keys find one in their
 * first bucket. */
static __attribute__((noinline)) bool find_room(struct hg_hash *hash, uint32_t first, uint16_t tag,
                                                struct hg_hash_place *place)
{
    const uint32_t other = hg_hash_other(hash, first, tag);

    if (free_in(hash, other, place) || make_room(hash, first, other, place))
        return true;
    if (hash->retired_n == 0)
        return false;
    hg_hash_reclaim(hash);
    return make_room(hash, first, other, place);
}

/* ---- the interface ---- */

HG_HASH_INLINE int add(struct hg_hash *hash, const void *key, uint64_t h, uint64_t value, int kind)
{
    const uint16_t tag = hg_hash_tag(h);
    const uint32_t first = hg_hash_first(hash, h);
    struct hg_hash_place place;

    if (find(hash, first, tag, key, &place, kind)) {
        _Atomic uint64_t *slot = hg_hash_slot(hash, place, kind);

        /* Release: pairs with the acquire of the value in hash_lookup.c. */
        atomic_store_explicit(hg_hash_value(hash, slot, kind), value, memory_order_release);
        return 1;
    }
    if (!free_in(hash, first, &place) && !find_room(hash, first, tag, &place))
        return -ENOSPC;
    fill(hash, place, tag, key, value, kind);
    count_keys(hash, 1);
    return 0;
}

HG_HASH_INLINE int hash_and_add(struct hg_hash *hash, const void *key, uint64_t value, int kind)
{
    return add(hash, key, hg_hash_key_hash(key, hash->key_bytes, hash->secret, kind), value, kind);
}

int hg_hash_add(struct hg_hash *hash, const void *key, uint64_t value)
{
    HG_HASH_BY_KIND(hash->kind, hash_and_add, hash, key, value);
}

int hg_hash_add_hashed(struct hg_hash *hash, const void *key, uint64_t h, uint64_t value)
{
    HG_HASH_BY_KIND(hash->kind, add, hash, key, h, value);
}

HG_HASH_INLINE int remove_key(struct hg_hash *hash, const void *key, uint64_t h, uint64_t *value,
                              int kind)
{
    struct hg_hash_place place;

    if (!find(hash, hg_hash_first(hash, h), hg_hash_tag(h), key, &place, kind))
        return -ENOENT;
    if (value != NULL)
        *value = atomic_load_explicit(hg_hash_value(hash, hg_hash_slot(hash, place, kind), kind),
                                      memory_order_relaxed);
    if (hash->one_thread)
        hg_hash_tag_set(&hash->bucket[place.bucket], place.way, HG_HASH_FREE);
    else
        retire(hash, place);
    count_keys(hash, -1);
    return 0;
}

HG_HASH_INLINE int hash_and_remove(struct hg_hash *hash, const void *key, uint64_t *value, int kind)
{
    return remove_key(hash, key, hg_hash_key_hash(key, hash->key_bytes, hash->secret, kind), value,
                      kind);
}

int hg_hash_delete(struct hg_hash *hash, const void *key, uint64_t *value)
{
    HG_HASH_BY_KIND(hash->kind, hash_and_remove, hash, key, value);
}

int hg_hash_delete_hashed(struct hg_hash *hash, const void *key, uint64_t h, uint64_t *value)
{
    HG_HASH_BY_KIND(hash->kind, remove_key, hash, key, h, value);
}

/* Gives every slot in use, and then every retired one, the next state. */
static void set_all(struct hg_hash *hash, uint16_t state)
{
    for (uint32_t b = 0; b < hash->bucket_n; b++)
        for (unsigned way = 0; way < HG_HASH_WAYS; way++)
            if (hg_hash_tag_of(hg_hash_tags_own(&hash->bucket[b]), way) != HG_HASH_FREE)
                hg_hash_tag_set(&hash->bucket[b], way, state);
}

void hg_hash_clear(struct hg_hash *hash)
{
    set_all(hash, HG_HASH_RETIRED);
    wait_for_readers(hash);
    set_all(hash, HG_HASH_FREE);
    hash->retired_n = 0;
    atomic_store_explicit(&hash->n, 0, memory_order_relaxed);
}
