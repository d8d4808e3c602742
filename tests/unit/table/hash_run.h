/*
 * A hash table beside a plain model of it: programs of operations, run on both. Used by the
 * property test and the fuzzer.
 *
 * Input: 1 byte each for the size of keys, the number of keys, and the kind of table (bit 0: one
 * thread; bit 1: the caller's own hash, a very bad one); then operations of 1 byte, most with a
 * byte that names a key.
 */
#ifndef HG_TEST_HASH_RUN_H
#define HG_TEST_HASH_RUN_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "mem/arena.h"
#include "table/hash.h"

enum { RUN_KEYS = 256, RUN_MAX = 200 };

struct run {
    struct hg_arena *arena;
    struct hg_hash *hash;
    unsigned key_bytes;
    bool own_hash;
    uint64_t next_value;

    bool present[RUN_KEYS];
    uint64_t value[RUN_KEYS];
    uint32_t n;
};

#define run_check(condition)                                                                       \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Keys differ in single bytes, each byte of a key in some of them. */
static void run_key(const struct run *run, unsigned number, uint8_t *key)
{
    memset(key, 0, run->key_bytes);
    key[number % run->key_bytes] = (uint8_t)(1 + number / run->key_bytes);
}

static unsigned run_number(const struct run *run, const uint8_t *key)
{
    for (unsigned i = 0; i < run->key_bytes; i++)
        if (key[i] != 0)
            return (key[i] - 1u) * run->key_bytes + i;
    return 255 * run->key_bytes; /* the one whose byte has come round */
}

/* Four buckets and two tags for all. */
static uint64_t run_bad_hash(unsigned number)
{
    return (uint64_t)(number & 3) << 62 | (number >> 2 & 1) << 3;
}

static void run_add(struct run *run, unsigned number)
{
    uint8_t key[HG_HASH_KEY_BYTES_MAX];
    uint64_t value = ++run->next_value << 8 | number;
    int rc;

    run_key(run, number, key);
    rc = run->own_hash ? hg_hash_add_hashed(run->hash, key, run_bad_hash(number), value)
                       : hg_hash_add(run->hash, key, value);
    run_check(rc == run->present[number] || (rc == -ENOSPC && !run->present[number]));
    if (rc < 0)
        return;
    run->n += rc == 0;
    run->present[number] = true;
    run->value[number] = value;
}

static void run_delete(struct run *run, unsigned number)
{
    uint8_t key[HG_HASH_KEY_BYTES_MAX];
    uint64_t value = 0;
    int rc;

    run_key(run, number, key);
    rc = run->own_hash ? hg_hash_delete_hashed(run->hash, key, run_bad_hash(number), &value)
                       : hg_hash_delete(run->hash, key, &value);
    run_check(rc == (run->present[number] ? 0 : -ENOENT));
    run_check(rc < 0 || value == run->value[number]);
    run->n -= rc == 0;
    run->present[number] = false;
}

static void run_look_up(const struct run *run, unsigned number)
{
    uint8_t key[HG_HASH_KEY_BYTES_MAX];
    uint64_t value = 0;
    bool hit;

    run_key(run, number, key);
    hit = run->own_hash ? hg_hash_lookup_hashed(run->hash, key, run_bad_hash(number), &value)
                        : hg_hash_lookup(run->hash, key, &value);
    run_check(hit == run->present[number]);
    run_check(value == (hit ? run->value[number] : 0));
}

/* n keys from one on. */
static void run_look_up_bulk(const struct run *run, unsigned from, unsigned n)
{
    uint8_t key[RUN_KEYS][HG_HASH_KEY_BYTES_MAX];
    const void *keys[RUN_KEYS];
    uint64_t hashes[RUN_KEYS];
    uint64_t values[RUN_KEYS] = {0};
    uint64_t hits[RUN_KEYS / 64];
    uint32_t expected_n = 0;
    uint32_t hits_n;

    memset(hits, 0xa5, sizeof(hits));
    for (unsigned i = 0; i < n; i++) {
        run_key(run, (from + i) % RUN_KEYS, key[i]);
        keys[i] = key[i];
        hashes[i] = run_bad_hash((from + i) % RUN_KEYS);
    }
    hits_n = run->own_hash ? hg_hash_lookup_bulk_hashed(run->hash, keys, hashes, n, values, hits)
                           : hg_hash_lookup_bulk(run->hash, keys, n, values, hits);
    for (unsigned i = 0; i < n; i++) {
        unsigned number = (from + i) % RUN_KEYS;

        run_check((hits[i / 64] >> i % 64 & 1) == run->present[number]);
        run_check(values[i] == (run->present[number] ? run->value[number] : 0));
        expected_n += run->present[number];
    }
    run_check(hits_n == expected_n);
    run_check(n % 64 == 0 || hits[n / 64] >> n % 64 == 0);
}

static void run_iterate(const struct run *run)
{
    bool seen[RUN_KEYS] = {false};
    uint8_t key[HG_HASH_KEY_BYTES_MAX];
    uint64_t cursor = 0;
    uint64_t value;
    uint32_t n = 0;

    while (hg_hash_next(run->hash, &cursor, key, &value)) {
        unsigned number = run_number(run, key);

        run_check(number < RUN_KEYS && !seen[number] && run->present[number]);
        run_check(value == run->value[number]);
        seen[number] = true;
        n++;
    }
    run_check(n == run->n && hg_hash_n(run->hash) == n);
}

static void run_clear(struct run *run)
{
    hg_hash_clear(run->hash);
    memset(run->present, 0, sizeof(run->present));
    run->n = 0;
}

static void run_step(struct run *run, unsigned op, unsigned number)
{
    if (op < 110)
        run_add(run, number);
    else if (op < 190)
        run_delete(run, number);
    else if (op < 220)
        run_look_up(run, number);
    else if (op < 250)
        run_look_up_bulk(run, number, op * 7 % RUN_KEYS);
    else if (op < 253)
        hg_hash_reclaim(run->hash);
    else if (op < 255)
        run_iterate(run);
    else if (number < 16)
        run_clear(run);
}

static void run_program(const uint8_t *data, size_t size)
{
    struct run *run = calloc(1, sizeof(*run));
    struct hg_hash_options options = {.seed = 1};
    struct hg_arena_options memory = {.name = "run", .pages = HG_PAGES_4K};

    if (size >= 3 && run != NULL) {
        run->key_bytes = options.key_bytes = 1 + data[0] % HG_HASH_KEY_BYTES_MAX;
        options.keys_max = 1 + data[1] % RUN_MAX;
        options.one_thread = (data[2] & 1) != 0;
        run->own_hash = (data[2] & 2) != 0;
        memory.bytes = hg_hash_bytes(&options);
        run_check(hg_arena_new(&run->arena, &memory, NULL) == 0);
        run_check(hg_hash_new(&run->hash, run->arena, &options, NULL) == 0);
        for (size_t at = 3; at + 1 < size; at += 2)
            run_step(run, data[at], data[at + 1]);
        run_iterate(run);
        run_look_up_bulk(run, 0, RUN_KEYS);
        hg_arena_free(run->arena);
    }
    free(run);
}

#endif
