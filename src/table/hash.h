/*
 * A hash table for exact matches: keys of one size, 1 to 64 bytes, and a value of 64 bits with
 * each.
 *
 * Workers look up without a lock while one control thread adds, replaces and deletes. Keys and
 * values lie in the table: most look-ups touch one line of tags and one of keys (two for keys of
 * more than 56 bytes). All memory comes from an arena at creation; the table lives as long as the
 * arena.
 *
 * The value is whatever the caller makes of it: a number, a pointer, the index of a record in an
 * array of its own. Whoever deletes a key and wants to reuse what its value stands for waits for a
 * grace period first (hg_qsbr_wait()): a reader may have loaded the value just before.
 *
 *   operation                        who                                    at once with
 *   lookup, lookup_bulk, of, n       any QSBR reader, or the writer         everything
 *   add, delete, reclaim, clear      one writer at a time; no reader of     lookups, n
 *   next                             QSBR, unless the table is one_thread   lookups, n
 */
#ifndef HG_TABLE_HASH_H
#define HG_TABLE_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/err.h"

HG_API_BEGIN

struct hg_arena;
struct hg_hash;

enum { HG_HASH_KEY_BYTES_MAX = 64 };
#define HG_HASH_KEYS_MAX (UINT32_C(1) << 30) /* keys in a table */

struct hg_hash_options {
    const char *name;   /* for the arena's account; NULL: "hash" */
    uint32_t keys_max;  /* at least 1 */
    uint32_t key_bytes; /* 1 to HG_HASH_KEY_BYTES_MAX */
    /* 0: secret and random, for keys that a peer may choose; else as given, for tests */
    uint64_t seed;
    /* readers and writer are the same thread: no grace periods, slots are reused at once */
    bool one_thread;
};

/**
 * Makes an empty table with room for `keys_max` keys.
 *
 * @param arena  where all its memory is taken, hg_hash_bytes() of it; nothing is given back
 * @return       0, or a negative errno with *err: -EINVAL for options out of range, -ENOMEM when
 *               the arena has too little room
 *
 * The table has a sixteenth more slots than `max`, and some: with keys that hash as chance would
 * have it the first add that finds no room comes after `max`. Control only.
 */
int hg_hash_new(struct hg_hash **hash, struct hg_arena *arena,
                const struct hg_hash_options *options, struct hg_err *err);

/** The bytes that hg_hash_new() takes from an arena, padding included; 0 for options that it
 * refuses. */
uint64_t hg_hash_bytes(const struct hg_hash_options *options);

/**
 * The hash of a key, for the functions below that take one. What it protects from and what not:
 * table/hash_key.h. The caller may use a hash of its own instead, if it always uses the same for a
 * key: the upper 32 bits choose a bucket and the lower 16 are a tag, so both must be spread. Any
 * thread.
 */
uint64_t hg_hash_of(const struct hg_hash *hash, const void *key);

/**
 * Looks for a key. Returns whether it is there, and its value then; *value is left alone else.
 *
 * A key that is in the table throughout the call is found, whatever is added, moved or deleted
 * beside it. The load of the value is an acquire and pairs with hg_hash_add(): what the writer
 * stored before, the reader sees. Lock-free: it looks again only when keys moved in these buckets
 * meanwhile. QSBR readers (sync/qsbr.h).
 */
bool hg_hash_lookup(const struct hg_hash *hash, const void *key, uint64_t *value);
bool hg_hash_lookup_hashed(const struct hg_hash *hash, const void *key, uint64_t h,
                           uint64_t *value);

/**
 * Looks for `n` keys, any number, at once: their memory accesses overlap, which is several times
 * faster than one by one.
 *
 * @param keys    n pointers to keys, of any alignment
 * @param hashes  n hashes of theirs
 * @param values  receives the values of the keys that are there; the others are left alone
 * @param hits    (n + 63) / 64 words; bit i % 64 of word i / 64 says whether key i is there; all
 *                are written
 * @return        how many are there
 */
uint32_t hg_hash_lookup_bulk(const struct hg_hash *hash, const void *const *keys, uint32_t n,
                             uint64_t *values, uint64_t *hits);
uint32_t hg_hash_lookup_bulk_hashed(const struct hg_hash *hash, const void *const *keys,
                                    const uint64_t *hashes, uint32_t n, uint64_t *values,
                                    uint64_t *hits);

/**
 * Adds a key, or replaces its value, in one store: a reader gets the old one or the new one.
 *
 * @return  0 when the key is new, 1 when it was there, -ENOSPC when there is no room: nothing has
 *          changed then
 *
 * May wait for a grace period (hg_qsbr_wait()), to reuse the slots of deleted keys or after some
 * thousands of moves.
 */
int hg_hash_add(struct hg_hash *hash, const void *key, uint64_t value);
int hg_hash_add_hashed(struct hg_hash *hash, const void *key, uint64_t h, uint64_t value);

/**
 * Deletes a key. Returns 0, and its value in *value unless that is NULL; or -ENOENT.
 *
 * Slots of deleted keys are reused after a grace period, which one delete in some hundreds waits
 * for.
 */
int hg_hash_delete(struct hg_hash *hash, const void *key, uint64_t *value);
int hg_hash_delete_hashed(struct hg_hash *hash, const void *key, uint64_t h, uint64_t *value);

/** Makes the slots of deleted keys free now, after a grace period if there are any. Never needed;
 * good for idle moments. */
void hg_hash_reclaim(struct hg_hash *hash);

/** Deletes all keys. Waits for a grace period. */
void hg_hash_clear(struct hg_hash *hash);

/**
 * Iterates: call with *cursor = 0 first, and with what it has become until it returns false. `key`
 * receives key_bytes bytes. Each key is seen once, in no order, as long as nothing is added or
 * deleted between the calls; the key that was just seen may be deleted.
 */
bool hg_hash_next(const struct hg_hash *hash, uint64_t *cursor, void *key, uint64_t *value);

/** Keys in the table. Any thread. */
uint32_t hg_hash_n(const struct hg_hash *hash);

struct hg_hash_info {
    uint32_t key_bytes;
    uint32_t keys_max; /* as asked for */
    uint64_t slots_n;  /* that there are */
    uint32_t keys_n;
    uint32_t retired_n; /* slots that wait for a grace period */
    uint64_t bytes;     /* of memory */
};

/** Control, as the writer. */
struct hg_hash_info hg_hash_info(const struct hg_hash *hash);

HG_API_END

#endif
