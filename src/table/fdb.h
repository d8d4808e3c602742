/*
 * The forwarding database: which port an Ethernet address is behind, per VLAN.
 *
 * Read by all workers without a lock, written by them when they learn. The memory is taken at
 * creation and bounded twice: addresses in all, and addresses behind one port, so that a guest that
 * invents addresses fills its own share and nothing else.
 */
#ifndef HG_TABLE_FDB_H
#define HG_TABLE_FDB_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/api.h"
#include "base/err.h"

HG_API_BEGIN

enum {
    HG_FDB_PORTS_MAX = 256,
    HG_FDB_BATCH_MAX = 64, /* keys in one call */
    HG_FDB_UNKNOWN = -1,
};

#define HG_FDB_KEY_IN_USE (UINT64_C(1) << 63) /* so that no key is 0 */

struct hg_fdb;

/* Room for at least `max` addresses, of which at most `port_max` behind one port. */
int hg_fdb_new(struct hg_fdb **fdb, uint32_t max, uint32_t port_max, struct hg_err *err);
void hg_fdb_free(struct hg_fdb *fdb);

/* The key of an address in a VLAN (0: untagged). Pure. Inline, and made of two loads: it is asked
 * for twice a packet, and a copy of six bytes through memory would wait for its own stores. */
static inline uint64_t hg_fdb_key(const uint8_t mac[6], uint16_t vlan)
{
    uint32_t low;
    uint16_t high;

    memcpy(&low, mac, 4);
    memcpy(&high, mac + 4, 2);
    return low | (uint64_t)high << 32 | (uint64_t)(vlan & 0xfff) << 48 | HG_FDB_KEY_IN_USE;
}

/* The port behind each of n keys, or HG_FDB_UNKNOWN. Workers (readers in the sense
 * of sync/qsbr.h), lock-free. */
void hg_fdb_lookup(const struct hg_fdb *fdb, const uint64_t *keys, int *ports, unsigned n);

/* Notes that each of n keys was seen as a source on `port`: learns it, moves it, or renews its age.
 * Best effort: an address that finds no room or a busy lock is learned later or never. Workers. */
void hg_fdb_learn(struct hg_fdb *fdb, const uint64_t *keys, unsigned n, uint16_t port);

/* Forgets every address behind a port. Control; waits for a grace period if there are any. */
void hg_fdb_forget_port(struct hg_fdb *fdb, uint16_t port);

/* Sets the clock, in seconds from any start, and forgets what has not been seen for more than
 * age_s. Control, about once a second; waits for a grace period when something is forgotten. */
void hg_fdb_tick(struct hg_fdb *fdb, uint32_t now_s, uint32_t age_s);

/* How many times an address was not learned for lack of room, its port's or the table's. */
uint32_t hg_fdb_refused(const struct hg_fdb *fdb);

struct hg_fdb_entry {
    uint8_t mac[6];
    uint16_t vlan; /* 0: untagged */
    uint16_t port;
    uint32_t age_s; /* since it was last seen as a source */
};

/* Calls `each` for every address; stops when it returns false. Control, which is who removes
 * entries; addresses that are learned meanwhile may be missed. */
void hg_fdb_each(const struct hg_fdb *fdb, bool (*each)(const struct hg_fdb_entry *, void *),
                 void *ctx);

/* Addresses in the table. Any thread. */
uint32_t hg_fdb_n(const struct hg_fdb *fdb);

HG_API_END

#endif
