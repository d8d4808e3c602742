/*
 * What the files of the hash table share: the table itself, and where a hash leads.
 */
#ifndef HG_TABLE_HASH_INTERNAL_H
#define HG_TABLE_HASH_INTERNAL_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "table/hash.h"
#include "table/hash_bucket.h"
#include "table/hash_key.h"

/* Deleted keys that wait for a grace period together, and the moves that are made between two. */
enum { HG_HASH_RETIRED_MAX = 256, HG_HASH_MOVES_MAX = 1 << 14 };

struct hg_hash {
    /* Constant after creation. */
    alignas(HG_CACHE_LINE_BYTES) struct hg_hash_bucket *bucket;
    uint8_t *slot;
    _Atomic uint64_t *value; /* of slots that have no room for theirs */
    uint32_t bucket_n;       /* even */
    int8_t kind;
    uint8_t key_bytes;
    bool one_thread;
    uint64_t secret[HG_HASH_SECRET_N];
    uint32_t keys_max;

    /* The writer's. */
    alignas(HG_CACHE_LINE_BYTES) _Atomic uint32_t n;
    uint32_t moves; /* since the last grace period */
    uint32_t retired_n;
    uint32_t retired[HG_HASH_RETIRED_MAX]; /* places */
};

/* A slot by its bucket and way. */
struct hg_hash_place {
    uint32_t bucket;
    uint32_t way;
};

/* Bytes from slot to slot: the words, then the value, padded so that no slot straddles two lines.
 * Keys of eight words fill a line; their values have an array of their own. */
HG_HASH_INLINE uint32_t hg_hash_stride(int kind)
{
    const unsigned words = hg_hash_words(kind);

    return words == 1 ? 16 : words <= 3 ? 32 : 64;
}

HG_HASH_INLINE bool hg_hash_has_value_inside(int kind)
{
    return hg_hash_words(kind) < HG_HASH_WORDS_MAX;
}

HG_HASH_INLINE _Atomic uint64_t *hg_hash_slot(const struct hg_hash *hash,
                                              struct hg_hash_place place, int kind)
{
    uint64_t i = (uint64_t)place.bucket * HG_HASH_WAYS + place.way;

    return (_Atomic uint64_t *)(void *)(hash->slot + i * hg_hash_stride(kind));
}

/* Where the value of a slot is. */
HG_HASH_INLINE _Atomic uint64_t *hg_hash_value(const struct hg_hash *hash,
                                               const _Atomic uint64_t *slot, int kind)
{
    uint64_t at = (uint64_t)((const uint8_t *)slot - hash->slot);

    return hg_hash_has_value_inside(kind) ? (_Atomic uint64_t *)slot + hg_hash_words(kind)
                                          : hash->value + at / hg_hash_stride(kind);
}

HG_HASH_INLINE uint16_t hg_hash_tag(uint64_t h)
{
    uint16_t tag = (uint16_t)h;

    return (uint16_t)(tag + (tag < HG_HASH_TAG_FIRST ? HG_HASH_TAG_FIRST : 0));
}

/* The first bucket of a key. Of a hash the upper half counts here, and the tag apart from it. */
HG_HASH_INLINE uint32_t hg_hash_first(const struct hg_hash *hash, uint64_t h)
{
    return (uint32_t)((h >> 32) * hash->bucket_n >> 32);
}

/* The other bucket of a key that has this tag and may stand in `bucket`; the other's other is the
 * one. The sum of both is odd and their number even, so they are never the same. */
HG_HASH_INLINE uint32_t hg_hash_other(const struct hg_hash *hash, uint32_t bucket, uint16_t tag)
{
    uint32_t spread = tag * UINT32_C(0x9e3779b1); /* 2^32 / golden ratio, odd: tags stay apart */
    uint32_t sum = (uint32_t)((uint64_t)spread * hash->bucket_n >> 32) | 1;

    return sum >= bucket ? sum - bucket : sum - bucket + hash->bucket_n;
}

/* Whether the slot holds the key. Acquire: pairs with the release in hash_update.c:fill(); who sees
 * a word of the next key of a slot sees that the bucket has changed. */
HG_HASH_INLINE bool hg_hash_equal(const _Atomic uint64_t *slot, const void *key, unsigned key_bytes,
                                  int kind)
{
    const unsigned words = hg_hash_words(kind);
    uint64_t differ = 0;

    for (unsigned i = 0; i < words; i++)
        differ |= atomic_load_explicit(&slot[i], memory_order_acquire) ^
                  hg_hash_key_word(key, i, key_bytes, kind);
    return differ == 0;
}

/* The function's copy for the table's kind of key: everything about sizes is a constant in it. */
#define HG_HASH_BY_KIND(kind, function, ...)                                                       \
    do {                                                                                           \
        switch (kind) {                                                                            \
        case HG_HASH_KIND_3:                                                                       \
            return function(__VA_ARGS__, HG_HASH_KIND_3);                                          \
        case HG_HASH_KIND_7:                                                                       \
            return function(__VA_ARGS__, HG_HASH_KIND_7);                                          \
        case 1:                                                                                    \
            return function(__VA_ARGS__, 1);                                                       \
        case 2:                                                                                    \
            return function(__VA_ARGS__, 2);                                                       \
        case 3:                                                                                    \
            return function(__VA_ARGS__, 3);                                                       \
        case 4:                                                                                    \
            return function(__VA_ARGS__, 4);                                                       \
        case 5:                                                                                    \
            return function(__VA_ARGS__, 5);                                                       \
        case 6:                                                                                    \
            return function(__VA_ARGS__, 6);                                                       \
        case 7:                                                                                    \
            return function(__VA_ARGS__, 7);                                                       \
        default:                                                                                   \
            return function(__VA_ARGS__, HG_HASH_WORDS_MAX);                                       \
        }                                                                                          \
    } while (0)

#endif
