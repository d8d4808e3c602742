/*
 * Frames that wait for the translation of their receiver's buffers (decision 0012).
 *
 * A first-in first-out list of owned packets, in a pool of its own that control takes when a
 * transmit queue starts with an active IOMMU and frees when it stops. Bounded twice: by frames, and
 * by the bytes of the pool, so that long frames leave room for fewer of them.
 *
 * Used under the lock of the transmit queue whose frames they are, except where control says
 * otherwise.
 */
#ifndef HG_PORT_VHOST_PARK_H
#define HG_PORT_VHOST_PARK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "mem/arena.h"
#include "pkt/own.h"
#include "port/port.h"

enum {
    HG_PARK_BUFS_N = 1024, /* of the pool */
    HG_PARK_BUF_BYTES =
        1984, /* one frame of the usual MTU, or a part of a longer one; all fit into 2 MiB */
    HG_PARK_FRAMES_MAX = 1024, /* a power of two */
};

struct hg_park {
    struct hg_arena *arena;
    struct hg_pool *pool;
    struct hg_pool_cache *cache;
    uint32_t first; /* position of the oldest frame; positions wrap at 2^32 */
    uint32_t n;
    struct hg_owned *frame[HG_PARK_FRAMES_MAX];
};

/* Takes the memory, 2 MiB, as the host says. 0, or a negative errno with *err and *park NULL. Control. */
int hg_park_new(struct hg_park **park, const struct hg_port_host *host, struct hg_err *err);

/* Frees it and every frame in it. NULL is allowed. Control, when nobody else holds it any more. */
void hg_park_free(struct hg_park *park);

/* Copies a borrowed packet and puts it behind the others. False when there is no room: the packet
 * stays the caller's alone. */
bool hg_park_put(struct hg_park *park, const struct hg_pkt *pkt);

/* The oldest frames, up to HG_BURST_N, in order, into pkts. They stay in the list. Returns how
 * many. */
unsigned hg_park_oldest(const struct hg_park *park, struct hg_pkt *pkts[HG_BURST_N]);

/* Takes the n oldest frames, n <= park->n, out of the list and frees them. */
void hg_park_remove(struct hg_park *park, unsigned n);

#endif
