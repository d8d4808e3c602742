/*
 * What the files of this folder share, and the map of it.
 *
 *   driver.c    options, open, close, status: the cold contract of port/port.h
 *   session.c   one connection from its first byte to its end: reads, dispatches, answers, watches
 *   request.c   one function per request of the protocol, and the table of them
 *   ring.c      rings start, pause, resume and stop
 *   memory.c    the guest's memory comes and goes
 *   place.c     where the parts of a ring are in our memory
 *   iommu.c     the virtual IOMMU: mappings in, invalidations acknowledged
 *   channel.c   misses out, on the back-end's own channel
 *   status.c    the device status, and what resets
 *   announce.c  a frame in the guest's name after a migration
 *   queue.c     the hot contract of port/port.h on top of hg_vq_dev
 *   held.h      interrupts that wait for more frames
 *   park.c      frames that wait for the translation of their receiver's buffers
 *
 * Everything but the last three, and hg_vhost_announce(), runs on the control loop. Ring n of the
 * protocol: an even n is what the guest receives on, our transmit queue n / 2; an odd n is what it
 * transmits on, our receive queue n / 2.
 *
 * Rule of the whole folder: what a worker may be using is changed in this order only: unpublish
 * (ring->live = NULL), hg_qsbr_wait(), change, publish. A worker follows `live` once per burst.
 */
#ifndef HG_PORT_VHOST_STATE_H
#define HG_PORT_VHOST_STATE_H

#include <event2/event.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hist.h"
#include "iommu/iotlb.h"
#include "iommu/space.h"
#include "mem/foreign.h"
#include "port/link.h"
#include "port/port.h"
#include "port/vhost/held.h"
#include "port/vhost/park.h"
#include "virtio/vhost_msg.h"
#include "virtio/vq_dev.h"

/* What the poll of a pair's receive queue may have to do for its transmit queue. Written under
 * txq.lock; the poll looks at it without. */
enum {
    HG_CHORE_IOMMU = 1u << 0,  /* guest addresses are translated: look ahead now and then */
    HG_CHORE_AHEAD = 1u << 1,  /* the guest's mappings come and go: look ahead often */
    HG_CHORE_PARKED = 1u << 2, /* frames are parked */
    HG_CHORE_HELD = 1u << 3,   /* an interrupt is held back */
    HG_CHORE_AWAY = 1u << 4,   /* nobody polls: nothing may be left to the poll before it is back */
};

enum hg_vhost_part_kind { HG_VHOST_DESC, HG_VHOST_AVAIL, HG_VHOST_USED, HG_VHOST_PART_N };

/* One of the three parts of a ring, and where it is while the ring is placed. */
struct hg_vhost_part {
    uint64_t addr; /* as the front-end said: its own virtual address, or an IOVA */
    uint64_t bytes;
    uint8_t *host; /* NULL: not placed */
    struct hg_foreign
        *joined; /* its pages side by side, when they are not in guest memory; or NULL */
};

/* One virtqueue. */
struct hg_vhost_ring {
    /* Of the queue's user, and what it follows. NULL: receives nothing, accepts nothing. */
    _Atomic(struct hg_vq_dev *) live;
    struct hg_vq_dev *in_burst; /* what rx found in `live`, for the done that follows */
    atomic_bool discard;        /* started but disabled: frames are taken and dropped */
    _Atomic unsigned chores;    /* HG_CHORE_*; used of a ring on which the guest transmits */
    struct hg_held held;
    struct hg_vq_dev dev;

    /* Of control: what the front-end said. Survives a stop, not a session. */
    uint16_t index; /* n of the protocol */
    uint32_t num;   /* descriptors; 0: not said yet */
    uint32_t base;  /* next entry to take while the ring does not run */
    bool placed;    /* `addr` was said */
    bool kicked;    /* SET_VRING_KICK came: the ring is to run */
    bool enabled;
    bool started;
    struct hg_vhost_vring_addr addr;
    int kick_fd; /* -1: none, poll */
    int call_fd; /* -1: none */
    int err_fd;  /* -1: none */

    struct hg_vhost_part part[HG_VHOST_PART_N];
    const char *lacks; /* the part whose mapping it waits for; NULL: none */
    bool uprooted;     /* paused, to be placed anew: its mapping is being taken away */
    char refused[128]; /* why it cannot be placed, until it is set up anew; empty: nothing */

    /* What its user asks of the virtual IOMMU. */
    struct hg_asks asks;
    struct event *posted; /* the guest kicked a ring on which it receives; only under an IOMMU */

    /* Why it stopped, when the guest broke it; until the ring is set up anew. */
    enum hg_vring_fault fault;
    uint64_t fault_value;
};

enum { HG_VHOST_ANNOUNCE_BYTES = 60 }; /* the shortest frame, without its check sum */

/* A frame that control puts among those that the guest transmits: announce.c. */
struct hg_vhost_announce {
    atomic_bool full; /* set by control, cleared by the receive queue's user */
    uint8_t frame[HG_VHOST_ANNOUNCE_BYTES];
};

struct hg_vhost_pair {
    alignas(HG_CACHE_LINE_BYTES) struct hg_rxq rxq;
    struct hg_vhost_ring rx; /* the guest transmits */
    unsigned idle_n;         /* polls in vain; of the receive queue's user */
    uint64_t poll_ns;        /* when it polled last; kept while interrupts are held back */
    uint32_t poll_n;         /* frames that it found then; likewise */
    /* The poller sleeps, and an answer to a miss is work for it: control kicks it. */
    atomic_bool waiting;
    /* Control has kicked the poller since HG_CHORE_AWAY was set: once is enough, and if the kick is
     * one that it is told of, as a front-end can arrange, there is no end otherwise. */
    atomic_bool called;
    struct hg_vhost_announce announce;

    alignas(HG_CACHE_LINE_BYTES) struct hg_txq txq;
    /* Under txq.lock. */
    _Atomic uint32_t parked_now; /* park->n, which control reads too */
    unsigned ahead_n;            /* bursts after which buffers are still translated ahead */
    struct hg_park *park;        /* NULL without an active IOMMU, or without memory */
    struct hg_count parked;
    bool tx_armed;           /* the guest is asked to kick when it posts buffers */
    struct hg_vhost_ring tx; /* the guest receives */
};

/* What a port does about virtual IOMMUs: as the option says. */
enum hg_vhost_iommu_mode { HG_VHOST_IOMMU_ALLOW, HG_VHOST_IOMMU_REQUIRE, HG_VHOST_IOMMU_OFF };

enum { HG_VHOST_REQUESTS_AT_ONCE = 32 }; /* of one peer before the others have their turn */

/* The virtual IOMMU of a session: iommu.c and channel.c. */
struct hg_vhost_iommu {
    enum hg_vhost_iommu_mode mode;
    uint32_t entries_max;
    struct hg_iotlb *iotlb; /* NULL: guest addresses are not translated */

    /* Misses: from rings, and of control for the pages of rings, to the front-end. */
    int wake_fd; /* raised by workers that have asked; -1 without an IOTLB */
    struct event *wake;
    struct event *expiry;
    struct hg_asks asks; /* of control */
    unsigned turn;       /* the ring whose misses are looked at first */

    /* The channel on which they are sent; its fd is -1 while there is none. */
    struct hg_vhost_conn channel;
    struct event *channel_readable;
    struct event *channel_writable;

    /* Invalidations that have come together and are not acknowledged yet. */
    uint64_t arrival_ns; /* when the messages under way were read */
    unsigned waiting_n;
    bool grace;    /* a grace period must pass first */
    bool answered; /* mappings have changed: somebody may go on */
    bool acknowledge[HG_VHOST_REQUESTS_AT_ONCE];

    uint64_t told_s; /* when the front-end was last told of a fault */
    uint64_t told_faults;

    /* Since the port was opened. */
    uint64_t misses;
    uint64_t invalidations;
    uint64_t evictions; /* of IOTLBs that are gone */
    struct hg_hist ack_ns;
};

struct hg_vhost_port {
    struct hg_port *port;
    struct event_base *loop;
    char log_name[48];          /* "port vm1" */
    uint64_t offer;             /* virtio features */
    uint64_t protocol_offer;    /* protocol features */
    uint64_t mtu_max;           /* the largest that NET_SET_MTU may announce */
    struct hg_link link;        /* where sessions come from */
    struct hg_vhost_pair *pair; /* port->queue_n of them */

    /* The session; all of it is initial while there is none (conn.fd < 0). */
    struct hg_vhost_conn conn;
    struct event *readable;
    struct event *writable;
    struct event *watch; /* looks for broken rings */
    struct event *lost;  /* somebody's memory has gone: looks whether it is this one's */
    bool features_set;
    uint64_t features;      /* as negotiated */
    uint64_t protocol;      /* protocol features as negotiated */
    struct hg_space *space; /* NULL before the memory table */
    bool slots;             /* memory comes slot by slot */
    uint8_t status;         /* HG_VIRTIO_STATUS_*, as the front-end said */
    struct hg_vhost_iommu iommu;

    uint64_t sessions_n;
    char broken[200]; /* why the last session was closed by us; empty: it was not */
};

static inline bool hg_vhost_has(const struct hg_vhost_port *vp, unsigned feature)
{
    return (vp->features & HG_BIT(feature)) != 0;
}

static inline bool hg_vhost_connected(const struct hg_vhost_port *vp)
{
    return vp->conn.fd >= 0;
}

static inline unsigned hg_vhost_ring_n(const struct hg_vhost_port *vp)
{
    return 2 * vp->port->queue_n;
}

static inline struct hg_vhost_ring *hg_vhost_ring(struct hg_vhost_port *vp, unsigned index)
{
    struct hg_vhost_pair *pair = &vp->pair[index / 2];

    return index % 2 == 0 ? &pair->tx : &pair->rx;
}

/* driver.c. The port without its link, so that tests can put a session on a socket of their own. */
struct hg_vhost_port_options {
    const char *path;
    bool server;
    unsigned pair_n;
    uint64_t mtu_max;
    uint64_t coalesce_us; /* 0: interrupts are sent at once */
    uint32_t coalesce_frames;
    enum hg_vhost_iommu_mode iommu;
    uint32_t iotlb_entries;
};
int hg_vhost_port_new(struct hg_port *port, const struct hg_vhost_port_options *options,
                      struct hg_err *err);
void hg_vhost_port_free(struct hg_port *port);

/* session.c. Begins a session on a connected non-blocking socket, which becomes its own. Ends it
 * with `reason`, a sentence that stays in the port's status, or NULL when nothing was wrong. */
void hg_vhost_session_begin(struct hg_vhost_port *vp, int fd);
void hg_vhost_session_end(struct hg_vhost_port *vp, const char *reason);

/* request.c. What a handler is given: the request, and where its answer and its complaint go. */
struct hg_vhost_call {
    struct hg_vhost_port *vp;
    struct hg_vhost_conn *conn;
    const struct hg_vhost_msg *in; /* conn->in */
    struct hg_vhost_msg *reply;    /* zeroed; for requests that have an answer of their own */
    struct hg_err *err;
};

enum {
    HG_VHOST_REFUSED = 1,
    HG_VHOST_DEFERRED = 2, /* will be acknowledged by hg_vhost_iommu_finish() */
    HG_VHOST_LACKING = 3,  /* of a ring: a mapping has to be known first */
};

struct hg_vhost_request_spec {
    /* Returns 0; HG_VHOST_REFUSED with *err when the request was declined and nothing is lost;
     * HG_VHOST_DEFERRED; or a negative errno with *err, which ends the session. */
    int (*handle)(struct hg_vhost_call *call);
    uint16_t size_min; /* bytes of payload */
    uint16_t size_max;
    uint8_t fd_max;
    uint8_t reply_size; /* bytes of its answer; 0: it has none, it can be acknowledged */
};
/* NULL for a request that we have not offered. */
const struct hg_vhost_request_spec *hg_vhost_request_spec(uint32_t request);

/* status.c. */
int hg_vhost_set_status(struct hg_vhost_call *call);
int hg_vhost_get_status(struct hg_vhost_call *call);
int hg_vhost_reset_device(struct hg_vhost_call *call);

/* announce.c. The latter adds the frame to a burst that has n, if there is room, and returns how
 * many it has then; called by the receive queue's user when announce.full. */
int hg_vhost_send_rarp(struct hg_vhost_call *call);
unsigned hg_vhost_announce(struct hg_vhost_pair *pair, struct hg_burst *b, unsigned n);

/* memory.c. */
int hg_vhost_set_mem_table(struct hg_vhost_call *call);
int hg_vhost_get_max_mem_slots(struct hg_vhost_call *call);
int hg_vhost_add_mem_reg(struct hg_vhost_call *call);
int hg_vhost_rem_mem_reg(struct hg_vhost_call *call);

/* ring.c. Starts a ring if all that it needs has been said; an error when what was said is
 * wrong. */
int hg_vhost_ring_try_start(struct hg_vhost_port *vp, struct hg_vhost_ring *ring,
                            struct hg_err *err);
/* The same for all: something that they may have waited for has been said. */
int hg_vhost_rings_try_start(struct hg_vhost_port *vp, struct hg_err *err);
/* Stops one ring, or all; on return no worker uses it and nothing more is written to the guest. */
void hg_vhost_ring_stop(struct hg_vhost_port *vp, struct hg_vhost_ring *ring);
void hg_vhost_rings_stop(struct hg_vhost_port *vp);
/* Takes a ring from its worker for a moment: no queue stops, but it receives nothing and has no
 * room. Pause may be called for several, then hg_qsbr_wait() once; then they may be changed and
 * resumed. */
void hg_vhost_ring_pause(struct hg_vhost_ring *ring);
void hg_vhost_ring_resume(struct hg_vhost_port *vp, struct hg_vhost_ring *ring);
/* Places a started ring anew, which no worker holds, and resumes it: now, or when its mapping is
 * known. */
int hg_vhost_ring_move(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, struct hg_err *err);
/* Goes on with rings that waited for mappings, as far as these are known now. */
void hg_vhost_rings_go_on(struct hg_vhost_port *vp);
void hg_vhost_ring_enable(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, bool enabled);
/* Stops the rings that their guest has broken, and says so. */
void hg_vhost_rings_check(struct hg_vhost_port *vp);
/* Back to the state before the session; the ring does not run. */
void hg_vhost_ring_reset(struct hg_vhost_ring *ring);

/*
 * place.c. Finds the three parts of a ring in the memory table, through the virtual IOMMU if there
 * is one, for a ring that no worker holds. Returns 0; HG_VHOST_LACKING when mappings are not known,
 * which have been asked for (ring->lacks); HG_VHOST_REFUSED with *err and ring->refused when memory
 * of this kind cannot hold a ring; or a negative errno with *err when what was said is wrong.
 */
int hg_vhost_ring_place(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, struct hg_err *err);
/* Lets go of its memory, to be placed anew if it lacks something. No worker may hold the ring. */
void hg_vhost_ring_unplace(struct hg_vhost_ring *ring, const char *lacks);
/* Whether a placed ring has a byte in [iova, iova + size), 0 meaning all of it. */
bool hg_vhost_ring_touches(const struct hg_vhost_ring *ring, uint64_t iova, uint64_t size);
/* Whether what the IOTLB knows of that range is not where a placed ring is. */
bool hg_vhost_ring_moved(const struct hg_vhost_port *vp, const struct hg_vhost_ring *ring,
                         uint64_t iova, uint64_t size);
/* Whether a placed ring uses memory of a region, or may do so. */
bool hg_vhost_ring_in(const struct hg_vhost_ring *ring, const struct hg_region *region);
/* Whether the front-end has taken memory away from under a ring. */
bool hg_vhost_ring_lost(const struct hg_vhost_ring *ring);

/* iommu.c. From SET_FEATURES with ACCESS_PLATFORM to the end of the session, or to one without. */
int hg_vhost_iommu_begin(struct hg_vhost_port *vp, struct hg_err *err);
/* No worker may hold a ring. */
void hg_vhost_iommu_end(struct hg_vhost_port *vp);
int hg_vhost_iotlb_msg(struct hg_vhost_call *call);
/* Lets the grace period of the invalidations under way pass, and acknowledges them. */
int hg_vhost_iommu_finish(struct hg_vhost_port *vp, struct hg_err *err);
/* If mappings have changed: rings and workers go on. */
void hg_vhost_iommu_answered(struct hg_vhost_port *vp);
/* Takes all mappings and misses away, in two steps with hg_qsbr_wait() between them. */
void hg_vhost_iommu_forget(struct hg_vhost_port *vp);
void hg_vhost_iommu_forgotten(struct hg_vhost_port *vp);
/* Frames that had to wait since the port was opened, and those that wait now. Control. */
void hg_vhost_parked(const struct hg_vhost_port *vp, uint64_t *ever, uint64_t *now);
void hg_vhost_iommu_report(const struct hg_vhost_port *vp, struct hg_port_iommu *report);

/* channel.c. Begins and ends with the IOTLB. */
int hg_vhost_misses_begin(struct hg_vhost_port *vp, struct hg_err *err);
void hg_vhost_misses_end(struct hg_vhost_port *vp);
/* Sends what rings and workers miss, as far as the channel takes it, and has who waits look again. */
void hg_vhost_misses_send(struct hg_vhost_port *vp);
/* Tells of faults; now and then. */
void hg_vhost_faults_tell(struct hg_vhost_port *vp);
int hg_vhost_set_backend_req_fd(struct hg_vhost_call *call);
void hg_vhost_channel_close(struct hg_vhost_port *vp);

/* Whether the guest must use a virtual IOMMU and does not. */
static inline bool hg_vhost_unsafe(const struct hg_vhost_port *vp)
{
    return vp->iommu.mode == HG_VHOST_IOMMU_REQUIRE &&
           !hg_vhost_has(vp, HG_VIRTIO_F_ACCESS_PLATFORM);
}

/* queue.c. Fills in the calls of the hot contract. */
void hg_vhost_pair_init(struct hg_vhost_port *vp, unsigned index,
                        const struct hg_vhost_port_options *options);
/* Around the running of a ring: begin when it is set up and before it is published, end when no
 * worker can hold it any more, also for one that has not begun. Between them frames may be parked;
 * what is still parked at the end is counted as dropped, an interrupt that is held back is sent.
 * Control. */
void hg_vhost_queue_begin(struct hg_vhost_port *vp, struct hg_vhost_ring *ring);
void hg_vhost_queue_end(struct hg_vhost_port *vp, struct hg_vhost_ring *ring);
/* Wakes pollers that sleep while something waits for a translation. To be called after answers have
 * been published (hg_iotlb_update(), hg_iotlb_expire()) and after misses have been read.
 * Control. */
void hg_vhost_rings_retry(struct hg_vhost_port *vp);
/* A ring on which the guest receives has news for the pair's poller, if that sleeps: the guest has
 * kicked it, or it is shown again after a pause. Control. */
void hg_vhost_ring_posted(struct hg_vhost_ring *ring);

#endif
