/*
 * Keys of the hash table: how their bytes become words, and how words become a hash.
 *
 * A key is read as 64-bit words; the last one overlaps the one before it where the size is no
 * multiple of eight, so that nothing is read behind the key and nothing is padded. Keys of less
 * than eight bytes are one word. Slots hold the words, so they are compared as they are hashed.
 * Every function here is inlined with a constant kind, one copy for each number of words.
 *
 * The hash is NH (Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC: Fast and Secure Message
 * Authentication", CRYPTO 1999, with words of 64 bits): the sum of (word + secret) * (word +
 * secret) over pairs of words. For random secrets two different keys have the same sum of 128 bits
 * with a probability of 2^-64 at most, whoever has chosen them. A last multiplication by two more
 * secrets folds the sum to 64 bits, of which all are used alike. A key of 16 bytes takes two
 * multiplications.
 *
 * So a peer that chooses keys without seeing what they do cannot make them collide, as it can with
 * CRC-32C or a hash whose seed is known. It is not a pseudo-random function: who is told hashes can
 * solve for the secrets, and who can time single look-ups over a long while may learn which keys
 * share a bucket. Hashes are not for the wire.
 */
#ifndef HG_TABLE_HASH_KEY_H
#define HG_TABLE_HASH_KEY_H

#include <stdint.h>
#include <string.h>

enum {
    HG_HASH_WORDS_MAX = 8,
    HG_HASH_SECRET_N = HG_HASH_WORDS_MAX + 2,
};

/* The number of words from eight bytes on; two kinds of less than that. */
enum { HG_HASH_KIND_3 = -1, HG_HASH_KIND_7 = 0, HG_HASH_KIND_8 = 1 };

#define HG_HASH_INLINE static inline __attribute__((always_inline))

HG_HASH_INLINE int hg_hash_kind(unsigned key_bytes)
{
    return key_bytes < 4   ? HG_HASH_KIND_3
           : key_bytes < 8 ? HG_HASH_KIND_7
                           : (int)(key_bytes + 7) / 8;
}

HG_HASH_INLINE unsigned hg_hash_words(int kind)
{
    return kind < HG_HASH_KIND_8 ? 1 : (unsigned)kind;
}

HG_HASH_INLINE uint64_t hg_hash_load64(const uint8_t *bytes)
{
    uint64_t word;

    memcpy(&word, bytes, sizeof(word));
    return word;
}

HG_HASH_INLINE uint32_t hg_hash_load32(const uint8_t *bytes)
{
    uint32_t word;

    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* Word i of a key. Different keys of a size differ in at least one. */
HG_HASH_INLINE uint64_t hg_hash_key_word(const void *key, unsigned i, unsigned key_bytes, int kind)
{
    const uint8_t *byte = (const uint8_t *)key;

    if (kind == HG_HASH_KIND_3)
        return (uint64_t)byte[0] | (uint64_t)byte[key_bytes / 2] << 8 |
               (uint64_t)byte[key_bytes - 1] << 16;
    if (kind == HG_HASH_KIND_7)
        return hg_hash_load32(byte) | (uint64_t)hg_hash_load32(byte + key_bytes - 4) << 32;
    return hg_hash_load64(i + 1 < (unsigned)kind ? byte + 8 * i : byte + key_bytes - 8);
}

/* From 128 bits to 64. The halves of the sum are multiplied; the lower one is mixed into the upper
 * one first, which loses nothing: keys that count up leave the upper half nearly alone, the product
 * would be a straight line in the lower one, and one secret in a thousand would put a table of such
 * keys into half its buckets. */
HG_HASH_INLINE uint64_t hg_hash_fold(unsigned __int128 sum, const uint64_t *secret)
{
    uint64_t low = (uint64_t)sum;
    uint64_t high = (uint64_t)(sum >> 64) ^ (low << 32 | low >> 32);
    unsigned __int128 product = (unsigned __int128)(low + secret[0]) * (high + secret[1]);

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

HG_HASH_INLINE uint64_t hg_hash_key_hash(const void *key, unsigned key_bytes,
                                         const uint64_t *secret, int kind)
{
    const unsigned words = hg_hash_words(kind);
    unsigned __int128 sum = 0;

    for (unsigned i = 0; i < words; i += 2) {
        uint64_t even = hg_hash_key_word(key, i, key_bytes, kind) + secret[i];
        uint64_t odd = secret[i + 1];

        if (i + 1 < words)
            odd += hg_hash_key_word(key, i + 1, key_bytes, kind);
        sum += (unsigned __int128)even * odd;
    }
    return hg_hash_fold(sum, secret + HG_HASH_WORDS_MAX);
}

#endif
