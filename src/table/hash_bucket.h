/*
 * A bucket of the hash table: 16 bytes, four to a cache line. Eight lanes of 16 bits in two words:
 *
 *   word 0: change counter | tag 0 | tag 1 | tag 2        (lane 0 in the lowest bits)
 *   word 1: tag 3 | tag 4 | tag 5 | tag 6
 *
 * Every access is to a whole word, atomically; the writer is alone and needs no read-modify-write
 * instruction. A reader loads word 0 first, so that no tag that it sees is older than the counter
 * that it has.
 */
#ifndef HG_TABLE_HASH_BUCKET_H
#define HG_TABLE_HASH_BUCKET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

enum { HG_HASH_WAYS = 7 };

/* Tags below the first are states: of a slot that may be filled, and of one whose key was deleted
 * and may still be in some reader's hands. No reader looks for them. */
enum { HG_HASH_FREE = 0, HG_HASH_RETIRED = 1, HG_HASH_TAG_FIRST = 2 };

#define HG_HASH_LANES_LOW  UINT64_C(0x0001000100010001)
#define HG_HASH_LANES_HIGH UINT64_C(0x8000800080008000)

struct hg_hash_bucket {
    _Atomic uint64_t word[2];
};

/* What a reader has loaded of a bucket. */
struct hg_hash_tags {
    uint64_t word[2];
};

/* Pairs with the releases in hg_hash_tag_set() and hg_hash_count_change(): who sees a tag sees the
 * key and value of its slot; who sees that a key has left sees it where it went. */
static inline struct hg_hash_tags hg_hash_tags_load(const struct hg_hash_bucket *bucket)
{
    struct hg_hash_tags tags;

    tags.word[0] = atomic_load_explicit(&bucket->word[0], memory_order_acquire);
    tags.word[1] = atomic_load_explicit(&bucket->word[1], memory_order_acquire);
    return tags;
}

/* Whether nothing has moved in or out of the bucket since its tags were loaded. What the caller
 * loaded in between it loaded with acquire, so this load is not early. */
static inline bool hg_hash_unchanged(const struct hg_hash_bucket *bucket, uint64_t word0)
{
    uint64_t now = atomic_load_explicit(&bucket->word[0], memory_order_relaxed);

    return (uint16_t)(now ^ word0) == 0;
}

/* One bit for each of four lanes of `word` that equals the tag. Exact: the sum has no carry between
 * lanes. */
static inline unsigned hg_hash_match_word(uint64_t word, uint16_t tag)
{
    uint64_t differ = word ^ tag * HG_HASH_LANES_LOW;
    uint64_t low = (differ & ~HG_HASH_LANES_HIGH) + ~HG_HASH_LANES_HIGH;
    uint64_t equal = ~(low | differ) & HG_HASH_LANES_HIGH;

    /* Bits 15, 31, 47 and 63 side by side. */
    return (unsigned)((equal >> 15) * UINT64_C(0x0001000200040008) >> 48 & 0xf);
}

/* One bit for each of the bucket's ways that has this tag. */
static inline unsigned hg_hash_match_plain(struct hg_hash_tags tags, uint16_t tag)
{
    return (hg_hash_match_word(tags.word[0], tag) | hg_hash_match_word(tags.word[1], tag) << 4) >>
           1;
}

/* The same in the vector registers that every processor of the architecture has. */
static inline unsigned hg_hash_match(struct hg_hash_tags tags, uint16_t tag)
{
#if defined(__SSE2__)
    __m128i all = _mm_set_epi64x((long long)tags.word[1], (long long)tags.word[0]);
    __m128i equal = _mm_cmpeq_epi16(all, _mm_set1_epi16((short)tag));

    return (unsigned)_mm_movemask_epi8(_mm_packs_epi16(equal, _mm_setzero_si128())) >> 1;
#elif defined(__aarch64__)
    const uint16x8_t bit = {0, 1, 2, 4, 8, 16, 32, 64};
    uint16x8_t all =
        vreinterpretq_u16_u64(vcombine_u64(vcreate_u64(tags.word[0]), vcreate_u64(tags.word[1])));

    return vaddvq_u16(vandq_u16(vceqq_u16(all, vdupq_n_u16(tag)), bit));
#else
    return hg_hash_match_plain(tags, tag);
#endif
}

/* ---- the writer's ---- */

static inline uint64_t hg_hash_word(const struct hg_hash_bucket *bucket, unsigned i)
{
    return atomic_load_explicit(&bucket->word[i], memory_order_relaxed);
}

static inline struct hg_hash_tags hg_hash_tags_own(const struct hg_hash_bucket *bucket)
{
    struct hg_hash_tags tags = {{hg_hash_word(bucket, 0), hg_hash_word(bucket, 1)}};

    return tags;
}

static inline uint16_t hg_hash_tag_of(struct hg_hash_tags tags, unsigned way)
{
    unsigned lane = way + 1;

    return (uint16_t)(tags.word[lane / 4] >> 16 * (lane % 4));
}

/* Release: the key and value behind a tag are stored before it, and a key that leaves is stored
 * elsewhere before. */
static inline void hg_hash_tag_set(struct hg_hash_bucket *bucket, unsigned way, uint16_t tag)
{
    unsigned lane = way + 1;
    unsigned shift = 16 * (lane % 4);
    uint64_t word = hg_hash_word(bucket, lane / 4);

    word = (word & ~(UINT64_C(0xffff) << shift)) | (uint64_t)tag << shift;
    atomic_store_explicit(&bucket->word[lane / 4], word, memory_order_release);
}

/* Release: a tag that was cleared before is seen as cleared by who sees the new count. */
static inline void hg_hash_count_change(struct hg_hash_bucket *bucket)
{
    uint64_t word = hg_hash_word(bucket, 0);

    word = (word & ~UINT64_C(0xffff)) | (uint16_t)(word + 1);
    atomic_store_explicit(&bucket->word[0], word, memory_order_release);
}

#endif
