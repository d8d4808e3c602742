/*
 * Cycles of the hash table in the cells of DPDK's hash_perf_autotest: per add, look-up one by one,
 * look-up in bulks of 16, and delete; keys of ten sizes, the hash computed inside or before; keys
 * that are all in their first bucket, keys as they come, both with three quarters of 2^19 keys in a
 * table for 2^19, and (ext) all of them.
 *
 * The table is the ordinary one, that readers may use meanwhile, and each key has its 8 bytes of
 * data: so a cell stands beside DPDK's with and without data, and with and without locks.
 */
#include <inttypes.h>

#include "base/bits.h"
#include "base/clock.h"
#include "table/hash_internal.h"

#include "setup.h"

enum {
    KEYS_MAX = 1 << 19,
    QUICK_KEYS_MAX = 1 << 12,
    LOOKUP_ROUNDS_N = 5,
    BULK_N = 16,
};

static const unsigned sizes[] = {4, 8, 16, 32, 48, 64, 9, 13, 37, 40};

static uint8_t keys[KEYS_MAX][HG_HASH_KEY_BYTES_MAX];
static uint64_t hashes[KEYS_MAX];
static uint32_t numbers[KEYS_MAX]; /* the value of each key */
static uint32_t keys_n;

struct run {
    const char *place;
    bool prehashed;
    unsigned key_bytes;
};

static void fail(const char *what)
{
    fprintf(stderr, "hash: %s\n", what);
    exit(1);
}

static void cell(const struct run *run, const char *op, uint64_t start, uint64_t n)
{
    printf("%s_%s_%u_%s\t%.1f\n", run->place, run->prehashed ? "prehash" : "hash", run->key_bytes,
           op, (double)(hg_cycles() - start) / (double)n);
}

/* The first n keys of those that count up from 0, little-endian; of those that find their first
 * bucket full, none if primary_only. */
static void make_keys(const struct hg_hash *hash, unsigned key_bytes, uint32_t n, bool primary_only)
{
    uint8_t *in_bucket = calloc(hash->bucket_n, 1);
    uint64_t number = 0;

    if (in_bucket == NULL)
        fail("no memory");
    for (keys_n = 0; keys_n < n; number++) {
        uint32_t first;

        memset(keys[keys_n], 0, sizeof(keys[0]));
        memcpy(keys[keys_n], &number, key_bytes < sizeof(number) ? key_bytes : sizeof(number));
        hashes[keys_n] = hg_hash_of(hash, keys[keys_n]);
        numbers[keys_n] = keys_n;
        first = hg_hash_first(hash, hashes[keys_n]);
        if (primary_only && in_bucket[first] == HG_HASH_WAYS)
            continue;
        in_bucket[first]++;
        keys_n++;
    }
    free(in_bucket);
}

static void shuffle_keys(void)
{
    for (uint32_t i = keys_n - 1; i > 0; i--) {
        uint32_t j = (uint32_t)random() % i;
        uint8_t key[HG_HASH_KEY_BYTES_MAX];
        uint64_t h = hashes[i];
        uint32_t number = numbers[i];

        memcpy(key, keys[i], sizeof(key));
        memcpy(keys[i], keys[j], sizeof(key));
        memcpy(keys[j], key, sizeof(key));
        hashes[i] = hashes[j];
        hashes[j] = h;
        numbers[i] = numbers[j];
        numbers[j] = number;
    }
}

static void measure_add(struct hg_hash *hash, const struct run *run)
{
    uint64_t start = hg_cycles();

    for (uint32_t i = 0; i < keys_n; i++) {
        int rc = run->prehashed ? hg_hash_add_hashed(hash, keys[i], hashes[i], numbers[i])
                                : hg_hash_add(hash, keys[i], numbers[i]);

        if (rc != 0)
            fail("a key was not added");
    }
    cell(run, "add", start, keys_n);
}

static void measure_lookup(const struct hg_hash *hash, const struct run *run)
{
    uint64_t start = hg_cycles();

    for (unsigned round = 0; round < LOOKUP_ROUNDS_N; round++) {
        for (uint32_t i = 0; i < keys_n; i++) {
            uint64_t value = UINT64_MAX;

            if (run->prehashed)
                hg_hash_lookup_hashed(hash, keys[i], hashes[i], &value);
            else
                hg_hash_lookup(hash, keys[i], &value);
            if (value != numbers[i])
                fail("a key was not found");
        }
    }
    cell(run, "lookup", start, (uint64_t)LOOKUP_ROUNDS_N * keys_n);
}

static void measure_lookup_bulk(const struct hg_hash *hash, const struct run *run)
{
    uint64_t start = hg_cycles();

    for (unsigned round = 0; round < LOOKUP_ROUNDS_N; round++) {
        for (uint32_t i = 0; i + BULK_N <= keys_n; i += BULK_N) {
            const void *burst[BULK_N];
            uint64_t values[BULK_N];
            uint64_t hits;
            uint32_t hits_n;

            for (unsigned k = 0; k < BULK_N; k++)
                burst[k] = keys[i + k];
            hits_n = run->prehashed ? hg_hash_lookup_bulk_hashed(hash, burst, &hashes[i], BULK_N,
                                                                 values, &hits)
                                    : hg_hash_lookup_bulk(hash, burst, BULK_N, values, &hits);
            if (hits_n != BULK_N)
                fail("a key was not found");
            for (unsigned k = 0; k < BULK_N; k++)
                if (values[k] != numbers[i + k])
                    fail("a key was not found");
        }
    }
    cell(run, "lookup_bulk", start, (uint64_t)LOOKUP_ROUNDS_N * keys_n);
}

static void measure_delete(struct hg_hash *hash, const struct run *run)
{
    uint64_t start = hg_cycles();

    for (uint32_t i = 0; i < keys_n; i++) {
        int rc = run->prehashed ? hg_hash_delete_hashed(hash, keys[i], hashes[i], NULL)
                                : hg_hash_delete(hash, keys[i], NULL);

        if (rc != 0)
            fail("a key was not deleted");
    }
    cell(run, "delete", start, keys_n);
}

static void measure(const char *place, unsigned key_bytes, uint32_t max, uint32_t n,
                    bool primary_only)
{
    struct hg_hash_options options = {.key_bytes = key_bytes, .keys_max = max};
    struct hg_arena *arena = setup_arena(hg_hash_bytes(&options));
    struct hg_hash *hash;
    struct hg_err err;

    setup_check(hg_hash_new(&hash, arena, &options, &err), &err);
    make_keys(hash, key_bytes, n, primary_only);
    for (int prehashed = 0; prehashed <= 1; prehashed++) {
        struct run run = {place, prehashed != 0, key_bytes};

        measure_add(hash, &run);
        shuffle_keys();
        measure_lookup(hash, &run);
        measure_lookup_bulk(hash, &run);
        measure_delete(hash, &run);
        hg_hash_clear(hash);
    }
    hg_arena_free(arena);
}

int main(int argc, char **argv)
{
    struct setup setup = setup_begin(argc, argv);
    const uint32_t max = setup.quick ? QUICK_KEYS_MAX : KEYS_MAX;

    for (unsigned i = 0; i < HG_ARRAY_N(sizes); i++) {
        measure("hash_primary", sizes[i], max, max / 4 * 3, true);
        measure("hash_both", sizes[i], max, max / 4 * 3, false);
        measure("ext_hash_both", sizes[i], max, max, false);
    }
    return 0;
}
