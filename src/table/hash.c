#include "table/hash.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "mem/arena.h"
#include "table/hash_internal.h"

/* Slots beyond the keys asked for: a sixteenth, and two buckets, since in a small table chance is
 * less even. */
static uint32_t buckets_for(uint32_t keys_max)
{
    uint64_t slots = (uint64_t)keys_max + keys_max / 16 + 2 * HG_HASH_WAYS;
    uint64_t buckets = (slots + HG_HASH_WAYS - 1) / HG_HASH_WAYS;

    return (uint32_t)hg_round_up(buckets, 2);
}

static bool are_valid(const struct hg_hash_options *options)
{
    return options->keys_max >= 1 && options->keys_max <= HG_HASH_KEYS_MAX &&
           options->key_bytes >= 1 && options->key_bytes <= HG_HASH_KEY_BYTES_MAX;
}

static uint64_t buckets_bytes(uint32_t buckets_n)
{
    return hg_round_up(buckets_n * sizeof(struct hg_hash_bucket), HG_CACHE_LINE_BYTES);
}

static uint64_t slots_bytes(uint32_t buckets_n, uint32_t key_bytes)
{
    uint64_t stride = hg_hash_stride(hg_hash_kind(key_bytes));

    return hg_round_up((uint64_t)buckets_n * HG_HASH_WAYS * stride, HG_CACHE_LINE_BYTES);
}

/* 0 where slots hold their values. */
static uint64_t values_bytes(uint32_t buckets_n, uint32_t key_bytes)
{
    if (hg_hash_has_value_inside(hg_hash_kind(key_bytes)))
        return 0;
    return hg_round_up((uint64_t)buckets_n * HG_HASH_WAYS * sizeof(uint64_t), HG_CACHE_LINE_BYTES);
}

static uint64_t table_bytes(uint32_t buckets_n, uint32_t key_bytes)
{
    return sizeof(struct hg_hash) + buckets_bytes(buckets_n) + slots_bytes(buckets_n, key_bytes) +
           values_bytes(buckets_n, key_bytes);
}

uint64_t hg_hash_bytes(const struct hg_hash_options *options)
{
    const uint64_t padding = HG_CACHE_LINE_BYTES; /* of the first allocation, at most */

    if (!are_valid(options))
        return 0;
    return padding + table_bytes(buckets_for(options->keys_max), options->key_bytes);
}

/* Fills the secrets: random ones, or those that a seed stands for (splitmix64's sequence). */
static int draw_secrets(struct hg_hash *hash, uint64_t seed)
{
    if (seed == 0)
        return getrandom(hash->secret, sizeof(hash->secret), 0) == sizeof(hash->secret) ? 0 : -EIO;
    for (unsigned i = 0; i < HG_HASH_SECRET_N; i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        hash->secret[i] = hg_mix64(seed);
    }
    return 0;
}

static int say_no_room(const struct hg_arena *arena, const char *name,
                       const struct hg_hash_options *options, struct hg_err *err)
{
    struct hg_arena_info info = hg_arena_info(arena);

    return hg_err_set(
        err, ENOMEM,
        "hash table '%s': %u keys of %u bytes take %llu bytes, arena '%s' has %llu left", name,
        options->keys_max, options->key_bytes, (unsigned long long)hg_hash_bytes(options),
        info.name, (unsigned long long)(info.bytes - info.used_bytes));
}

int hg_hash_new(struct hg_hash **hash, struct hg_arena *arena,
                const struct hg_hash_options *options, struct hg_err *err)
{
    const char *name = options->name != NULL ? options->name : "hash";
    uint32_t buckets_n;
    struct hg_hash *made;
    uint8_t *memory;

    if (!are_valid(options))
        return hg_err_set(
            err, EINVAL,
            "hash table '%s': %u keys of %u bytes; expected 1 to %u keys of 1 to %d bytes", name,
            options->keys_max, options->key_bytes, HG_HASH_KEYS_MAX, HG_HASH_KEY_BYTES_MAX);
    buckets_n = buckets_for(options->keys_max);
    memory =
        hg_arena_take(arena, name, table_bytes(buckets_n, options->key_bytes), HG_CACHE_LINE_BYTES);
    if (memory == NULL)
        return say_no_room(arena, name, options, err);
    made = (struct hg_hash *)(void *)memory;
    made->bucket = (struct hg_hash_bucket *)(void *)(memory += sizeof(*made));
    made->slot = memory += buckets_bytes(buckets_n);
    if (values_bytes(buckets_n, options->key_bytes) > 0)
        made->value =
            (_Atomic uint64_t *)(void *)(memory + slots_bytes(buckets_n, options->key_bytes));
    made->bucket_n = buckets_n;
    made->kind = (int8_t)hg_hash_kind(options->key_bytes);
    made->key_bytes = (uint8_t)options->key_bytes;
    made->one_thread = options->one_thread;
    made->keys_max = options->keys_max;
    if (draw_secrets(made, options->seed) != 0)
        return hg_err_set(err, EIO, "hash table '%s': the kernel gave no random numbers", name);
    *hash = made;
    return 0;
}

/* The key's bytes from its words: the inverse of hg_hash_key_word(). */
static void key_from_slot(const struct hg_hash *hash, const _Atomic uint64_t *slot, uint8_t *key)
{
    const unsigned bytes = hash->key_bytes;
    uint64_t word[HG_HASH_WORDS_MAX];

    for (unsigned i = 0; i < hg_hash_words(hash->kind); i++)
        word[i] = atomic_load_explicit(&slot[i], memory_order_relaxed);
    if (hash->kind == HG_HASH_KIND_3) {
        key[0] = (uint8_t)word[0];
        key[bytes / 2] = (uint8_t)(word[0] >> 8);
        key[bytes - 1] = (uint8_t)(word[0] >> 16);
    } else if (hash->kind == HG_HASH_KIND_7) {
        uint32_t half[2] = {(uint32_t)word[0], (uint32_t)(word[0] >> 32)};

        memcpy(key, &half[0], sizeof(half[0]));
        memcpy(key + bytes - sizeof(half[1]), &half[1], sizeof(half[1]));
    } else {
        memcpy(key, word, bytes / 8 * 8);
        memcpy(key + bytes - 8, &word[hash->kind - 1], 8);
    }
}

bool hg_hash_next(const struct hg_hash *hash, uint64_t *cursor, void *key, uint64_t *value)
{
    for (; *cursor / HG_HASH_WAYS < hash->bucket_n; ++*cursor) {
        struct hg_hash_place place = {(uint32_t)(*cursor / HG_HASH_WAYS),
                                      (uint32_t)(*cursor % HG_HASH_WAYS)};
        struct hg_hash_tags tags = hg_hash_tags_load(&hash->bucket[place.bucket]);
        const _Atomic uint64_t *slot;

        if (hg_hash_tag_of(tags, place.way) < HG_HASH_TAG_FIRST)
            continue;
        slot = hg_hash_slot(hash, place, hash->kind);
        key_from_slot(hash, slot, key);
        *value = atomic_load_explicit(hg_hash_value(hash, slot, hash->kind), memory_order_acquire);
        ++*cursor;
        return true;
    }
    return false;
}

uint32_t hg_hash_n(const struct hg_hash *hash)
{
    return atomic_load_explicit(&hash->n, memory_order_relaxed);
}

struct hg_hash_info hg_hash_info(const struct hg_hash *hash)
{
    struct hg_hash_info info = {
        .key_bytes = hash->key_bytes,
        .keys_max = hash->keys_max,
        .slots_n = (uint64_t)hash->bucket_n * HG_HASH_WAYS,
        .keys_n = hg_hash_n(hash),
        .retired_n = hash->retired_n,
        .bytes = table_bytes(hash->bucket_n, hash->key_bytes),
    };

    return info;
}
