/*
 * The front-end of a vhost-user session: it offers memory and rings of ours to a back-end, which is
 * the device. A non-blocking state machine over hg_vhost_conn: whoever owns the event loop calls
 * hg_vhost_front_run() whenever the socket is ready, and looks at `state`.
 *
 *   NEGOTIATING  features are agreed on; memory and rings are handed over, one message after the
 *                other; with REPLY_ACK each is acknowledged before the next is sent, so that a
 *                refusal has a name
 *   UP           the back-end uses the rings; `features` and `pair_n` say what was agreed on
 *   STOPPING     asked for by hg_vhost_front_stop(): GET_VRING_BASE for each ring
 *   STOPPED      the back-end has let go of the rings
 *
 * With ACCESS_PLATFORM the front-end is a virtual IOMMU too. Every address that the back-end gets
 * from rings, and those of the rings, are IOVAs; what they mean the plan's owner says, when the
 * back-end asks for it (MISS, on a second socket that the back-end asks on) or by himself. What he
 * takes back is taken back when INVALIDATE is acknowledged. Messages of this kind are sent at any
 * time and in any number, not one step after the other, and acknowledged in their order: the owner
 * counts them.
 *
 * The back-end is another process and may be hostile: every reply is checked against the request
 * that it answers, and a message that nobody asked for ends the session. It is told addresses of
 * our own choice (`mem_addr`), never those of this process.
 *
 * Source: QEMU's "Vhost-user Protocol", sections "Starting and stopping rings", "Multiple queue
 * support", "IOMMU support", "Back-end communication", "Protocol features". Control only.
 */
#ifndef HG_VIRTIO_VHOST_FRONT_H
#define HG_VIRTIO_VHOST_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "virtio/vhost_msg.h"

enum {
    HG_VHOST_FRONT_PAIRS_MAX = 16,
    HG_VHOST_FRONT_IOTLB_MAX = 256, /* UPDATEs and INVALIDATEs that wait for acknowledgement */
};

/* One ring: ring 2k receives, ring 2k + 1 transmits for pair k. */
struct hg_vhost_front_ring {
    uint64_t desc; /* addresses inside the plan's memory, or IOVAs */
    uint64_t avail;
    uint64_t used;
    uint16_t num;
    int kick_fd; /* eventfds; the owner keeps them */
    int call_fd;
};

/* What is offered. The caller owns it, and keeps it, as it is, as long as the session lasts. */
struct hg_vhost_front_plan {
    uint64_t features;        /* of virtio, taken where the back-end offers them */
    uint64_t features_needed; /* of them, those without which there is no session */
    uint64_t features_merged; /* of them, those that are given up if MRG_RXBUF is not offered */
    int mem_fd;               /* the memory with rings and buffers, shared from its first byte */
    uint64_t mem_addr;        /* where it starts for the back-end; a multiple of the page size */
    uint64_t mem_bytes;
    unsigned pair_n;
    struct hg_vhost_front_ring ring[2 * HG_VHOST_FRONT_PAIRS_MAX];

    /* The virtual IOMMU, if features_needed has ACCESS_PLATFORM. Fills in the iova, size, user_addr
     * (one inside the memory) and perm of the page that holds `iova`; false if there is none that
     * the device may access so. Called by _run, also for addresses of a hostile back-end's choice;
     * rings are mapped. */
    bool (*translate)(void *ctx, uint64_t iova, uint8_t perm, struct hg_vhost_iotlb *page);
    void *translate_ctx;
};

enum hg_vhost_front_state {
    HG_VHOST_FRONT_NEGOTIATING,
    HG_VHOST_FRONT_UP,
    HG_VHOST_FRONT_STOPPING,
    HG_VHOST_FRONT_STOPPED,
};

struct hg_vhost_front_iommu {
    struct hg_vhost_conn conn; /* on which the back-end asks; fd -1: there is no virtual IOMMU */
    int their_fd;              /* its other end, until the back-end has it */
    uint64_t sent_n;           /* UPDATEs and INVALIDATEs */
    uint64_t acked_n;          /* of them: the k-th that was sent is done when this is k or more */
    uint64_t misses_n;
    uint64_t unmapped_n; /* of them, not answered: nothing is mapped there */
    uint64_t access_fails_n;
};

struct hg_vhost_front {
    enum hg_vhost_front_state state;
    uint64_t features; /* agreed on, from UP */
    unsigned pair_n;   /* running, from UP: the plan's or as many as the back-end has */

    const struct hg_vhost_front_plan *plan;
    struct hg_vhost_conn conn;
    unsigned step;      /* the message under way, see vhost_front.c */
    unsigned step_ring; /* the ring it is about */
    uint32_t awaited;   /* request that a reply is outstanding for, or 0 */
    uint64_t protocol;  /* protocol features agreed on */
    struct hg_vhost_front_iommu iommu;
    uint64_t awaited_after; /* the awaited reply comes behind that many of iommu.acked_n */
};

/* Starts a session on a connected, non-blocking socket; the session owns it from now on, also on
 * failure. Sends the first message. 0 or a negative errno with *err. */
int hg_vhost_front_start(struct hg_vhost_front *front, int fd,
                         const struct hg_vhost_front_plan *plan, struct hg_err *err);

/* Reads and sends what the socket allows. 0, or a negative errno with *err when the session is
 * over: then the caller closes it. Never blocks. */
int hg_vhost_front_run(struct hg_vhost_front *front, struct hg_err *err);

/* Asks the back-end to let go of the rings. In state UP only; the rings' user has stopped. As
 * _run. */
int hg_vhost_front_stop(struct hg_vhost_front *front, struct hg_err *err);

/*
 * Queues an UPDATE or an INVALIDATE, as `type` says, for the next _run, which sends all that is
 * queued at once; its number is iommu.sent_n then. 0, or a negative errno with *err: -EAGAIN while
 * HG_VHOST_FRONT_IOTLB_MAX of them are not acknowledged, else as _run.
 */
int hg_vhost_front_iotlb(struct hg_vhost_front *front, const struct hg_vhost_iotlb *iotlb,
                         struct hg_err *err);

/* How many more can be sent now. */
unsigned hg_vhost_front_iotlb_room(const struct hg_vhost_front *front);

/* The second socket on which _run reads, or -1. */
static inline int hg_vhost_front_channel(const struct hg_vhost_front *front)
{
    return front->iommu.conn.fd;
}

/* Whether _run is to be called when the sockets are writable. */
bool hg_vhost_front_wants_write(const struct hg_vhost_front *front);

/* The request whose answer is awaited, by name, or NULL. */
const char *hg_vhost_front_awaits(const struct hg_vhost_front *front);

/* Closes the socket, in any state. The back-end loses its hold on the rings with it. */
void hg_vhost_front_close(struct hg_vhost_front *front);

#endif
