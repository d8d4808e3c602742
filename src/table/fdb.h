/*
 * The forwarding database: which port an Ethernet address is behind, per VLAN.
 *
 * Read by all workers without a lock, written by them when they learn. The memory is taken at creation and
 * bounded twice: addresses in all, and addresses behind one port, so that a guest that invents
 * addresses fills its own share and nothing else.
 */
#ifndef HG_TABLE_FDB_H
#define HG_TABLE_FDB_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum { HG_FDB_PORTS_MAX = 256 };

struct hg_fdb;

/* Room for at least `max` addresses, of which at most `port_max` behind one port. */
int hg_fdb_new(struct hg_fdb **fdb, uint32_t max, uint32_t port_max, struct hg_err *err);
void hg_fdb_free(struct hg_fdb *fdb);

struct hg_fdb_entry {
    uint8_t mac[6];
    uint16_t vlan; /* 0: untagged */
    uint16_t port;
    uint32_t age_s; /* since it was last seen as a source */
};

/* Calls `each` for every address; stops when it returns false. Any thread; entries that come or go
 * meanwhile may be missed. */
void hg_fdb_each(const struct hg_fdb *fdb, bool (*each)(const struct hg_fdb_entry *, void *),
                 void *ctx);

/* Addresses in the table. Any thread. */
uint32_t hg_fdb_n(const struct hg_fdb *fdb);

#endif
