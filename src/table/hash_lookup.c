/*
 * Readers.
 *
 * A reader looks into the first bucket of its key, then into the second. The writer moves a key by
 * storing it in its other bucket before it clears the tag of the old slot, which it then fills with
 * something else, at once and under the reader's eyes. Two looks at a bucket's change counter
 * settle what may come of it:
 *
 *   hit   the words were compared and the value loaded between the load of the tags and a second
 *         look at the counter of that bucket. The writer counts after it clears a tag and before it
 *         fills the slot again, so with the same count the slot was this key's all the time.
 *   miss  a key that is there all the time was in neither bucket when they were looked at, so it
 *         has moved from the second to the first in between. The writer counts at the first before
 *         it clears the second, and after the tag is there.
 *
 * Otherwise the reader looks again. The counter has 16 bits and cannot come round during a look-up:
 * the writer waits for a grace period after HG_HASH_MOVES_MAX moves, of which each counts twice at
 * most.
 *
 * Nothing of this is needed for deletes: their slots keep key and value to the end of a grace
 * period.
 */
#include <assert.h>

#include "table/hash_internal.h"

enum { BATCH = 32 };

enum look { MISS, HIT, CHANGED };

/* What is known of one key of a batch. */
struct probe {
    const struct hg_hash_bucket *bucket;
    const _Atomic uint64_t *slot; /* the first candidate */
    uint64_t word0;               /* of the bucket that the candidate is in */
};

/* Looks at the bucket's slots of this tag. */
HG_HASH_INLINE enum look look_in(const struct hg_hash *hash, uint32_t b, struct hg_hash_tags tags,
                                 uint16_t tag, const void *key, uint64_t *value, int kind)
{
    for (unsigned ways = hg_hash_match(tags, tag); ways != 0; ways &= ways - 1) {
        struct hg_hash_place place = {b, (uint32_t)__builtin_ctz(ways)};
        const _Atomic uint64_t *slot = hg_hash_slot(hash, place, kind);
        uint64_t found;

        if (!hg_hash_equal(slot, key, hash->key_bytes, kind))
            continue;
        found = atomic_load_explicit(hg_hash_value(hash, slot, kind), memory_order_acquire);
        if (hg_unlikely(!hg_hash_unchanged(&hash->bucket[b], tags.word[0])))
            return CHANGED;
        *value = found;
        return HIT;
    }
    return MISS;
}

HG_HASH_INLINE bool find(const struct hg_hash *hash, const void *key, uint64_t h, uint64_t *value,
                         int kind)
{
    const uint16_t tag = hg_hash_tag(h);
    const uint32_t first = hg_hash_first(hash, h);

    for (;;) {
        struct hg_hash_tags tags = hg_hash_tags_load(&hash->bucket[first]);
        enum look look = look_in(hash, first, tags, tag, key, value, kind);

        if (hg_likely(look == HIT))
            return true;
        if (look == MISS) {
            uint32_t other = hg_hash_other(hash, first, tag);

            look = look_in(hash, other, hg_hash_tags_load(&hash->bucket[other]), tag, key, value,
                           kind);
            if (look == HIT)
                return true;
            if (look == MISS && hg_hash_unchanged(&hash->bucket[first], tags.word[0]))
                return false;
        }
    }
}

HG_HASH_INLINE uint64_t hash_of(const struct hg_hash *hash, const void *key, int kind)
{
    return hg_hash_key_hash(key, hash->key_bytes, hash->secret, kind);
}

HG_HASH_INLINE bool hash_and_find(const struct hg_hash *hash, const void *key, uint64_t *value,
                                  int kind)
{
    return find(hash, key, hash_of(hash, key, kind), value, kind);
}

uint64_t hg_hash_of(const struct hg_hash *hash, const void *key)
{
    HG_HASH_BY_KIND(hash->kind, hash_of, hash, key);
}

bool hg_hash_lookup(const struct hg_hash *hash, const void *key, uint64_t *value)
{
    HG_HASH_BY_KIND(hash->kind, hash_and_find, hash, key, value);
}

bool hg_hash_lookup_hashed(const struct hg_hash *hash, const void *key, uint64_t h, uint64_t *value)
{
    HG_HASH_BY_KIND(hash->kind, find, hash, key, h, value);
}

/* Prefetches the slot of the first candidate, if the bucket has one. */
HG_HASH_INLINE bool choose(const struct hg_hash *hash, uint32_t b, uint16_t tag,
                           struct probe *probe, int kind)
{
    const struct hg_hash_tags tags = hg_hash_tags_load(&hash->bucket[b]);
    const unsigned ways = hg_hash_match(tags, tag);
    struct hg_hash_place place = {b, (uint32_t)__builtin_ctz(ways | 1 << HG_HASH_WAYS)};

    if (ways == 0)
        return false;
    probe->bucket = &hash->bucket[b];
    probe->slot = hg_hash_slot(hash, place, kind);
    probe->word0 = tags.word[0];
    __builtin_prefetch((const void *)probe->slot);
    if (!hg_hash_has_value_inside(kind))
        __builtin_prefetch((const void *)hg_hash_value(hash, probe->slot, kind));
    return true;
}

/* Whether the candidate is the key, and its value then. */
HG_HASH_INLINE bool confirm(const struct hg_hash *hash, const struct probe *probe, const void *key,
                            uint64_t *value, int kind)
{
    uint64_t found;

    if (hg_unlikely(!hg_hash_equal(probe->slot, key, hash->key_bytes, kind)))
        return false;
    found = atomic_load_explicit(hg_hash_value(hash, probe->slot, kind), memory_order_acquire);
    if (hg_unlikely(!hg_hash_unchanged(probe->bucket, probe->word0)))
        return false;
    *value = found;
    return true;
}

/* Up to BATCH keys, stage by stage, so that the lines of one stage travel together: tags of the
 * first bucket; slots; tags of the second for the few keys without a candidate in the first, and
 * their slots; keys. What is not settled then, by a tag that another key has too or by a move, is
 * looked up alone. */
HG_HASH_INLINE uint64_t find_batch(const struct hg_hash *hash, const void *const *keys,
                                   const uint64_t *hashes, unsigned n, uint64_t *values, int kind)
{
    uint64_t h[BATCH];
    struct probe probe[BATCH];
    uint64_t seconds = 0;
    uint64_t candidates = 0;
    uint64_t hits = 0;

    for (unsigned i = 0; i < n; i++) {
        h[i] = hashes != NULL ? hashes[i] : hash_of(hash, keys[i], kind);
        __builtin_prefetch(&hash->bucket[hg_hash_first(hash, h[i])]);
        if (hashes != NULL)
            __builtin_prefetch(keys[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        uint32_t first = hg_hash_first(hash, h[i]);
        uint16_t tag = hg_hash_tag(h[i]);

        if (hg_likely(choose(hash, first, tag, &probe[i], kind))) {
            candidates |= UINT64_C(1) << i;
        } else {
            __builtin_prefetch(&hash->bucket[hg_hash_other(hash, first, tag)]);
            seconds |= UINT64_C(1) << i;
        }
    }
    for (; seconds != 0; seconds &= seconds - 1) {
        unsigned i = (unsigned)__builtin_ctzll(seconds);
        uint16_t tag = hg_hash_tag(h[i]);
        uint32_t other = hg_hash_other(hash, hg_hash_first(hash, h[i]), tag);

        if (choose(hash, other, tag, &probe[i], kind))
            candidates |= UINT64_C(1) << i;
    }
    for (unsigned i = 0; i < n; i++) {
        if (hg_likely((candidates >> i & 1) != 0 &&
                      confirm(hash, &probe[i], keys[i], &values[i], kind)) ||
            find(hash, keys[i], h[i], &values[i], kind))
            hits |= UINT64_C(1) << i;
    }
    return hits;
}

HG_HASH_INLINE uint32_t find_bulk(const struct hg_hash *hash, const void *const *keys,
                                  const uint64_t *hashes, uint32_t n, uint64_t *values,
                                  uint64_t *hits, int kind)
{
    uint32_t hits_n = 0;

    static_assert(64 % BATCH == 0, "a batch's hits lie in one word");
    for (uint32_t done = 0; done < n; done += BATCH) {
        const unsigned batch = hg_min_u32(n - done, BATCH);
        uint64_t found = find_batch(hash, keys + done, hashes != NULL ? hashes + done : NULL, batch,
                                    values + done, kind);

        hits[done / 64] = done % 64 == 0 ? found : hits[done / 64] | found << done % 64;
        hits_n += (uint32_t)__builtin_popcountll(found);
    }
    return hits_n;
}

uint32_t hg_hash_lookup_bulk(const struct hg_hash *hash, const void *const *keys, uint32_t n,
                             uint64_t *values, uint64_t *hits)
{
    HG_HASH_BY_KIND(hash->kind, find_bulk, hash, keys, NULL, n, values, hits);
}

uint32_t hg_hash_lookup_bulk_hashed(const struct hg_hash *hash, const void *const *keys,
                                    const uint64_t *hashes, uint32_t n, uint64_t *values,
                                    uint64_t *hits)
{
    HG_HASH_BY_KIND(hash->kind, find_bulk, hash, keys, hashes, n, values, hits);
}
