/*
 * The forwarding database.
 *
 * Layout: buckets of one cache line, four entries of 16 bytes each: a key (address, VLAN and a bit
 * that says "in use") and a value (port, second in which it was last seen). A key may stand in two
 * buckets given by two halves of its hash; the first is used until it is full, so most lookups
 * touch one line. The table has twice as many entries as addresses allowed; a key that finds both
 * buckets full is not learned and its frames are flooded. Nothing is moved, so readers never miss a
 * key that is there.
 *
 * Who may do what at once: any number of workers look up and learn, control ages, flushes and
 * reads.
 *   lookup       no lock, no store.
 *   seen again   one compare-and-swap of the value, at most once a second for each address.
 *   insert, move under the lock, which learning only tries: a worker that finds it taken goes on,
 *                and learns from a later frame.
 *   remove       by control, in two steps with a grace period between: the key becomes GONE, which
 *                nobody looks for, and then 0, which an insertion may take.
 * So an entry changes hands only when no worker can have found the old key in it: whoever has found
 * a key reads that key's value, and never sends one guest's frame to another. An insertion stores
 * the value, then the key with release; a reader that acquires the key sees the value.
 */
#include "table/fdb.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "sync/qsbr.h"
#include "sync/spin.h"

enum { WAYS = 4 };

#define GONE UINT64_C(1) /* a key in use has the top bit */

struct entry {
    _Atomic uint64_t key;
    _Atomic uint64_t value; /* port in bits 0-15, second last seen in bits 16-47 */
};

struct bucket {
    alignas(HG_CACHE_LINE_BYTES) struct entry entry[WAYS];
};

struct hg_fdb {
    uint64_t bucket_mask;
    struct bucket *bucket;
    uint32_t max;
    uint32_t port_max;
    _Atomic uint32_t now_s; /* advanced by control */
    _Atomic uint32_t n;
    _Atomic uint32_t refused; /* addresses not learned for lack of room */
    _Atomic uint32_t port_n[HG_FDB_PORTS_MAX];
    struct hg_spin lock;
};

static uint64_t make_value(uint16_t port, uint32_t seen_s)
{
    return port | (uint64_t)seen_s << 16;
}

static uint16_t value_port(uint64_t value)
{
    return (uint16_t)value;
}

static uint32_t value_seen_s(uint64_t value)
{
    return (uint32_t)(value >> 16);
}

/* Two rounds of multiply and fold: every bit of the key reaches the bits that choose a bucket. The
 * constants are odd and otherwise arbitrary (digits of the golden ratio and of pi). */
static uint64_t hash(uint64_t key)
{
    key = (key ^ key >> 32) * UINT64_C(0x9e3779b97f4a7c15);
    key = (key ^ key >> 29) * UINT64_C(0x243f6a8885a308d3);
    return key ^ key >> 32;
}

static struct bucket *first_bucket(const struct hg_fdb *fdb, uint64_t h)
{
    return &fdb->bucket[h & fdb->bucket_mask];
}

static struct bucket *second_bucket(const struct hg_fdb *fdb, uint64_t h)
{
    return &fdb->bucket[(h >> 32) & fdb->bucket_mask];
}

int hg_fdb_new(struct hg_fdb **fdb, uint32_t max, uint32_t port_max, struct hg_err *err)
{
    struct hg_fdb *new;
    uint64_t buckets = 1;

    if (max == 0 || port_max == 0)
        return hg_err_set(err, EINVAL, "a forwarding table needs room for at least one address");
    while (buckets * WAYS < (uint64_t)max * 2)
        buckets *= 2;
    new = calloc(1, sizeof(*new));
    if (new != NULL)
        new->bucket = aligned_alloc(HG_CACHE_LINE_BYTES, buckets * sizeof(struct bucket));
    if (new == NULL || new->bucket == NULL) {
        free(new);
        return hg_err_set(err, ENOMEM, "no memory for a forwarding table of %u addresses", max);
    }
    memset(new->bucket, 0, buckets * sizeof(struct bucket));
    new->bucket_mask = buckets - 1;
    new->max = max;
    new->port_max = port_max;
    *fdb = new;
    return 0;
}

void hg_fdb_free(struct hg_fdb *fdb)
{
    if (fdb == NULL)
        return;
    free(fdb->bucket);
    free(fdb);
}

/* The entry of the bucket that holds the key, or NULL. */
static struct entry *find_in(struct bucket *bucket, uint64_t key)
{
    for (unsigned way = 0; way < WAYS; way++)
        if (atomic_load_explicit(&bucket->entry[way].key, memory_order_acquire) == key)
            return &bucket->entry[way];
    return NULL;
}

static struct entry *find(const struct hg_fdb *fdb, uint64_t key, uint64_t h)
{
    struct entry *entry = find_in(first_bucket(fdb, h), key);

    return hg_likely(entry != NULL) ? entry : find_in(second_bucket(fdb, h), key);
}

static uint64_t read_value(const struct entry *entry)
{
    return atomic_load_explicit(&entry->value, memory_order_relaxed);
}

static int lookup(const struct hg_fdb *fdb, uint64_t key, uint64_t h)
{
    const struct entry *entry = find(fdb, key, h);

    return entry != NULL ? value_port(read_value(entry)) : HG_FDB_UNKNOWN;
}

static void prefetch_all(const struct hg_fdb *fdb, const uint64_t *keys, uint64_t *h, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        h[i] = i > 0 && keys[i] == keys[i - 1] ? h[i - 1] : hash(keys[i]);
        __builtin_prefetch(first_bucket(fdb, h[i]), 0, 3);
    }
}

void hg_fdb_lookup(const struct hg_fdb *fdb, const uint64_t *keys, int *ports, unsigned n)
{
    uint64_t h[HG_FDB_BATCH_MAX];

    prefetch_all(fdb, keys, h, n);
    for (unsigned i = 0; i < n; i++) {
        if (i > 0 && keys[i] == keys[i - 1])
            ports[i] = ports[i - 1];
        else
            ports[i] = lookup(fdb, keys[i], h[i]);
    }
}

static void count_port(struct hg_fdb *fdb, uint16_t port, int by)
{
    atomic_fetch_add_explicit(&fdb->port_n[port], (uint32_t)by, memory_order_relaxed);
}

static struct entry *find_free(const struct hg_fdb *fdb, uint64_t h)
{
    struct entry *entry = find_in(first_bucket(fdb, h), 0);

    return entry != NULL ? entry : find_in(second_bucket(fdb, h), 0);
}

/* Adds an address or moves it to another port. Lock held. */
static bool insert(struct hg_fdb *fdb, uint64_t key, uint64_t h, uint16_t port, uint64_t value)
{
    struct entry *entry = find(fdb, key, h);

    if (atomic_load_explicit(&fdb->port_n[port], memory_order_relaxed) >= fdb->port_max)
        return false;
    if (entry != NULL) {
        uint16_t old = value_port(read_value(entry));

        atomic_store_explicit(&entry->value, value, memory_order_relaxed);
        count_port(fdb, old, -1);
        count_port(fdb, port, 1);
        return true;
    }
    if (atomic_load_explicit(&fdb->n, memory_order_relaxed) >= fdb->max)
        return false;
    entry = find_free(fdb, h);
    if (entry == NULL)
        return false;
    atomic_store_explicit(&entry->value, value, memory_order_relaxed);
    /* Pairs with the acquire in find_in(). */
    atomic_store_explicit(&entry->key, key, memory_order_release);
    count_port(fdb, port, 1);
    atomic_fetch_add_explicit(&fdb->n, 1, memory_order_relaxed);
    return true;
}

/* The slow part of learning: the address is new, or behind another port than before. */
static void learn_new(struct hg_fdb *fdb, uint64_t key, uint64_t h, uint16_t port, uint64_t value)
{
    if (atomic_load_explicit(&fdb->port_n[port], memory_order_relaxed) >= fdb->port_max) {
        atomic_fetch_add_explicit(&fdb->refused, 1, memory_order_relaxed);
        return;
    }
    if (!hg_spin_try(&fdb->lock))
        return;
    if (!insert(fdb, key, h, port, value))
        atomic_fetch_add_explicit(&fdb->refused, 1, memory_order_relaxed);
    hg_spin_unlock(&fdb->lock);
}

void hg_fdb_learn(struct hg_fdb *fdb, const uint64_t *keys, unsigned n, uint16_t port)
{
    uint64_t fresh = make_value(port, atomic_load_explicit(&fdb->now_s, memory_order_relaxed));
    uint64_t h[HG_FDB_BATCH_MAX];

    prefetch_all(fdb, keys, h, n);
    for (unsigned i = 0; i < n; i++) {
        struct entry *entry;
        uint64_t value;

        if (i > 0 && keys[i] == keys[i - 1])
            continue;
        entry = find(fdb, keys[i], h[i]);
        value = entry != NULL ? read_value(entry) : 0;
        if (hg_unlikely(entry == NULL || value_port(value) != port))
            learn_new(fdb, keys[i], h[i], port, fresh);
        else if (value != fresh) /* by exchange: the station may move meanwhile */
            atomic_compare_exchange_strong_explicit(&entry->value, &value, fresh,
                                                    memory_order_relaxed, memory_order_relaxed);
    }
}

/* Replaces the key of every entry that is to go, and returns how many there were. */
static uint32_t replace_keys(struct hg_fdb *fdb, bool (*goes)(const struct entry *, uint32_t),
                             uint32_t arg, uint64_t new_key)
{
    uint32_t n = 0;

    hg_spin_lock(&fdb->lock);
    for (uint64_t b = 0; b <= fdb->bucket_mask; b++) {
        for (unsigned way = 0; way < WAYS; way++) {
            struct entry *entry = &fdb->bucket[b].entry[way];

            if (!goes(entry, arg))
                continue;
            if (new_key == GONE)
                count_port(fdb, value_port(read_value(entry)), -1);
            atomic_store_explicit(&entry->key, new_key, memory_order_release);
            n++;
        }
    }
    hg_spin_unlock(&fdb->lock);
    return n;
}

static bool is_gone(const struct entry *entry, uint32_t arg)
{
    (void)arg;
    return atomic_load_explicit(&entry->key, memory_order_relaxed) == GONE;
}

/* Removes every entry for which `goes` is true, in the two steps described at the top. */
static void remove_entries(struct hg_fdb *fdb, bool (*goes)(const struct entry *, uint32_t),
                           uint32_t arg)
{
    uint32_t n = replace_keys(fdb, goes, arg, GONE);

    if (n == 0)
        return;
    atomic_fetch_sub_explicit(&fdb->n, n, memory_order_relaxed);
    hg_qsbr_wait();
    replace_keys(fdb, is_gone, 0, 0);
}

static bool in_use(const struct entry *entry)
{
    return (atomic_load_explicit(&entry->key, memory_order_relaxed) & HG_FDB_KEY_IN_USE) != 0;
}

static bool on_port(const struct entry *entry, uint32_t port)
{
    return in_use(entry) && value_port(read_value(entry)) == port;
}

static bool seen_before(const struct entry *entry, uint32_t second)
{
    return in_use(entry) && value_seen_s(read_value(entry)) < second;
}

void hg_fdb_forget_port(struct hg_fdb *fdb, uint16_t port)
{
    remove_entries(fdb, on_port, port);
}

void hg_fdb_tick(struct hg_fdb *fdb, uint32_t now_s, uint32_t age_s)
{
    atomic_store_explicit(&fdb->now_s, now_s, memory_order_relaxed);
    if (now_s > age_s && hg_fdb_n(fdb) > 0)
        remove_entries(fdb, seen_before, now_s - age_s);
}

uint32_t hg_fdb_n(const struct hg_fdb *fdb)
{
    return atomic_load_explicit(&fdb->n, memory_order_relaxed);
}

uint32_t hg_fdb_refused(const struct hg_fdb *fdb)
{
    return atomic_load_explicit(&fdb->refused, memory_order_relaxed);
}

void hg_fdb_each(const struct hg_fdb *fdb, bool (*each)(const struct hg_fdb_entry *, void *),
                 void *ctx)
{
    uint32_t now_s = atomic_load_explicit(&fdb->now_s, memory_order_relaxed);

    for (uint64_t b = 0; b <= fdb->bucket_mask; b++) {
        for (unsigned way = 0; way < WAYS; way++) {
            const struct entry *entry = &fdb->bucket[b].entry[way];
            uint64_t key = atomic_load_explicit(&entry->key, memory_order_acquire);
            uint64_t value = read_value(entry);
            struct hg_fdb_entry found;

            if ((key & HG_FDB_KEY_IN_USE) == 0)
                continue;
            memcpy(found.mac, &key, sizeof(found.mac));
            found.vlan = (uint16_t)(key >> 48 & 0xfff);
            found.port = value_port(value);
            found.age_s = now_s - value_seen_s(value);
            if (!each(&found, ctx))
                return;
        }
    }
}
