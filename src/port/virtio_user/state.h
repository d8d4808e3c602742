/*
 * What the files of this folder share, and the map of it.
 *
 *   driver.c    options, open, close, status: the cold contract of port/port.h
 *   memory.c    the arena that the back-end sees: rings and buffers of every pair
 *   session.c   one session with a back-end: queues start when it is up, stop when it is gone
 *   queue.c     the hot contract of port/port.h on top of hg_drv
 *
 * Buffer i of a ring belongs to its descriptor i for good: an id from the ring says where the bytes
 * are, and a back-end that works in order makes us write every descriptor once only.
 *
 * The back-end maps the arena and nothing else of ours. It can write anywhere in it at any time,
 * also after its session (it may keep the mapping): what is read from there is a snapshot to
 * validate, and frames are as borrowed and as untrusted as a guest's.
 *
 * Rule of the whole folder: what a worker may be using is changed in this order only: unpublish
 * (side->live = NULL), hg_qsbr_wait(), change, publish. A worker follows `live` once per burst.
 */
#ifndef HG_PORT_VIRTIO_USER_STATE_H
#define HG_PORT_VIRTIO_USER_STATE_H

#include <event2/event.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/err.h"
#include "mem/arena.h"
#include "mem/foreign.h"
#include "port/link.h"
#include "port/port.h"
#include "virtio/drv.h"
#include "virtio/vhost_front.h"

enum {
    /* Of one buffer: holds a full-sized Ethernet frame with its virtio header. An odd number of
     * cache lines, so that the buffers' first lines, all that small frames use, fall into every set
     * of the caches. */
    HG_VU_BUF_BYTES = 33 * HG_CACHE_LINE_BYTES,
    HG_VU_QUEUE_SIZE_MIN = 64, /* the longest frame must fit a ring's buffers */
    HG_VU_QUEUE_SIZE_MAX = 1024,
};

_Static_assert(HG_VU_QUEUE_SIZE_MIN *HG_VU_BUF_BYTES > HG_FRAME_BYTES_MAX + HG_NET_HDR_BYTES,
               "one frame fits");
_Static_assert((int)HG_VU_QUEUE_SIZE_MAX <= (int)HG_BURST_SEGS, "a burst holds a ring of segments");

/* One direction of a pair. */
struct hg_vu_side {
    /* Of the queue's user, and what it follows. NULL: receives nothing, accepts nothing. */
    _Atomic(struct hg_drv *) live;
    struct hg_drv *in_burst; /* what rx found in `live`, for the done that follows */
    struct hg_drv drv;
    uint8_t *bufs;      /* here */
    uint64_t bufs_addr; /* for the back-end */
    int kick_fd;
    int call_fd;
};

struct hg_vu_pair {
    alignas(HG_CACHE_LINE_BYTES) struct hg_rxq rxq;
    struct hg_vu_side rx;
    alignas(HG_CACHE_LINE_BYTES) struct hg_txq txq;
    struct hg_vu_side tx;
};

struct hg_vu_port {
    struct hg_port *port;
    char log_name[48]; /* "port up0" */
    struct hg_link link;
    uint16_t queue_size;
    struct hg_arena *arena;
    struct hg_foreign *foreign; /* the arena: a back-end can make holes in it */
    struct hg_vhost_front_plan plan;
    struct hg_vu_pair *pair; /* port->queue_n of them */

    /* The session; front.conn.fd < 0 while there is none. */
    struct hg_vhost_front front;
    struct event *readable;
    struct event *writable;
    struct event *watch; /* looks for broken rings and silent back-ends */
    struct event *lost;  /* somebody's memory has gone: looks whether it is this one's */
    uint64_t begun_ns;
    bool running; /* queues are */

    uint64_t sessions_n;
    char broken[200]; /* why the last session was closed by us; empty: it was not */
};

static inline bool hg_vu_connected(const struct hg_vu_port *vu)
{
    return vu->front.conn.fd >= 0;
}

static inline uint8_t *hg_vu_buf(const struct hg_vu_side *side, uint16_t id)
{
    return side->bufs + (size_t)id * HG_VU_BUF_BYTES;
}

/* memory.c. Takes the arena, lays out the rings of all pairs and fills in vu->plan. */
int hg_vu_memory_new(struct hg_vu_port *vu, struct hg_err *err);
void hg_vu_memory_free(struct hg_vu_port *vu);

/* session.c. Begins a session on a connected non-blocking socket, which becomes its own. Ends it
 * with `reason`, a sentence that stays in the port's status, or NULL when nothing was wrong. */
void hg_vu_session_begin(struct hg_vu_port *vu, int fd);
void hg_vu_session_end(struct hg_vu_port *vu, const char *reason);

/* queue.c. Fills in the calls of the hot contract; posts every free buffer of a receive ring that
 * no worker holds yet. */
void hg_vu_pair_init(struct hg_vu_port *vu, unsigned index);
void hg_vu_post_all(struct hg_vu_side *side);

#endif
