/*
 * The driver (guest) side of a split virtqueue (virtio 1.2, 2.7), as a network driver uses it.
 *
 * Who writes what:
 *   driver   descriptor table; avail flags, idx, ring and used_event; the buffers of a transmit ring
 *   device   used flags, idx, ring and avail_event; the buffers of a receive ring
 *   nobody   looks into the other's private state: which descriptors are free, which chains are
 *            outstanding and what they may hold is kept here, in memory of our own
 *
 * Orderings, each with its pair on the device (base/shm.h):
 *   publish   store16_release of avail idx, after descriptors, ring entries and buffers
 *             pairs with the device's acquire of avail idx before it reads them
 *   reap      load16_acquire of used idx, before used elements and buffers are read or reused
 *             pairs with the device's release of used idx after it has written, or read, them
 *   kick      publish_then_look between "avail idx is stored" and "does the device sleep"
 *             pairs with the device's barrier between "I ask for a kick" and "is there work"
 *   arm       publish_then_look between "I ask for an interrupt" and "is there a used element"
 *             pairs with the device's barrier between "used idx is stored" and "does the driver sleep"
 *
 * Speed: the lines that travel between two processors are what a ring costs. Free descriptors are
 * kept in a FIFO, so a device that works in order makes the ids go round in order; a driver that
 * binds buffer i to descriptor i then writes the same descriptor and the same ring entry each time
 * round, and what would not change is not written: those lines stay shared in both caches, and of the
 * ring only the index lines and the used elements move. A device that completes out of order is
 * correct too, and costs stores.
 *
 * The device is another process and hostile: a used element is loaded once and must name an
 * outstanding chain and not more bytes than the chain can hold; the first that does not breaks the
 * ring, with a reason, and from then on nothing is taken from it.
 *
 * One thread at a time uses a ring; `fault` may be read by any.
 */
#ifndef HG_VIRTIO_SPLIT_DRV_H
#define HG_VIRTIO_SPLIT_DRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/virtio.h"

/* Why a ring stopped: each is the device's doing. */
enum hg_drv_fault {
    HG_DRV_OK,
    HG_DRV_USED_JUMP,   /* the used index moved past what is outstanding */
    HG_DRV_USED_RANGE,  /* a used id is not below the ring's size */
    HG_DRV_USED_IDLE,   /* a used id is not the head of an outstanding chain */
    HG_DRV_USED_LEN,    /* more bytes written than the chain can hold */
    HG_DRV_NUM_BUFFERS, /* a merged frame claims 0 buffers, or more than were used */
    HG_DRV_FAULT_N
};

/* Short name of a fault, for people. Static storage. */
const char *hg_drv_fault_name(enum hg_drv_fault fault);

/* One descriptor to be: `addr` is an address as the device understands it. */
struct hg_drv_buf {
    uint64_t addr;
    uint32_t len;
    uint16_t flags; /* HG_DESC_F_WRITE, HG_DESC_F_INDIRECT */
};

/* One chain that came back. */
struct hg_drv_used {
    uint16_t id;  /* of its head */
    uint32_t len; /* bytes the device wrote, from the chain's start; meaningless on transmit */
};

/* What is known about the descriptor of the same id. */
struct hg_drv_slot {
    uint32_t room;    /* of a chain's head: bytes that the device may write */
    uint16_t chain_n; /* of a chain's head: descriptors; 0: no outstanding chain starts here */
    uint16_t next;    /* id of the next descriptor of the chain */
};

struct hg_split_drv {
    uint8_t *desc;
    uint8_t *avail;
    uint8_t *used;
    uint16_t num;   /* descriptors, a power of two */
    bool receives;  /* the device writes the buffers */
    bool event_idx; /* VIRTIO_F_EVENT_IDX */

    uint16_t avail_idx;       /* chains put into the available ring, published or not */
    uint16_t avail_published; /* of them, published */
    uint16_t used_idx;        /* as last loaded from the device */
    uint16_t last_used;       /* used elements taken */

    uint16_t free_first; /* free ids are free[first .. first + n), modulo num */
    uint16_t free_n;
    uint16_t *free;
    struct hg_drv_slot *slot;

    _Atomic uint32_t fault;       /* enum hg_drv_fault */
    _Atomic uint64_t fault_value; /* what the device wrote */
};

/* Bytes of shared memory that a ring of `num` descriptors takes; a multiple of 128. */
size_t hg_split_drv_bytes(uint16_t num);

/*
 * Lays a ring out in `shared`, 128-byte aligned memory of hg_split_drv_bytes(num) that the device
 * will see, and takes private memory for it. `num` is a power of two from 2 to HG_VRING_NUM_MAX.
 * Returns 0 or -ENOMEM. hg_split_drv_free() releases the private memory.
 */
int hg_split_drv_init(struct hg_split_drv *ring, uint16_t num, bool receives, void *shared);
void hg_split_drv_free(struct hg_split_drv *ring);

/* Back to the state after init, nothing outstanding. Only while no device uses the ring. */
void hg_split_drv_reset(struct hg_split_drv *ring);

/* Says what was negotiated, before anything is added. The ring does not ask for interrupts. */
void hg_split_drv_start(struct hg_split_drv *ring, bool event_idx);

/* The id that the k-th descriptor added from now on will have; k < ring->free_n. With it the caller
 * finds the buffer that belongs to the descriptor. */
static inline uint16_t hg_split_drv_id(const struct hg_split_drv *ring, unsigned k)
{
    return ring->free[(ring->free_first + k) & (ring->num - 1)];
}

/* Adds n chains of one descriptor each, n <= ring->free_n. Nothing is visible before publish. The
 * buffers belong to the device until the chain is reaped. */
void hg_split_drv_add(struct hg_split_drv *ring, const struct hg_drv_buf *bufs, unsigned n);

/* Adds one chain of n descriptors, 1 <= n <= ring->free_n, into which the device may write `room`
 * bytes in all. A single descriptor with HG_DESC_F_INDIRECT names a table in shared memory that the
 * caller has filled (2.7.5.3). */
void hg_split_drv_add_chain(struct hg_split_drv *ring, const struct hg_drv_buf *bufs, unsigned n,
                            uint32_t room);

/* Makes everything added visible to the device with one store. Returns whether the device wants to
 * be kicked; false as well when nothing was added. */
bool hg_split_drv_publish(struct hg_split_drv *ring);

/*
 * Takes up to n used chains, in the device's order, and frees their descriptors, which may be added
 * again at once. On a receive ring the buffers are the caller's until it adds them again. Returns how
 * many; fewer than there are when an element is wrong: ring->fault is set then.
 */
unsigned hg_split_drv_reap(struct hg_split_drv *ring, struct hg_drv_used *used, unsigned n);

/* Takes up to n used chains without looking at more than their ids: for transmit rings. Returns how
 * many. */
unsigned hg_split_drv_reclaim(struct hg_split_drv *ring, unsigned n);

/* Breaks the ring for a reason that its user found in a buffer. The first reason stays. */
void hg_split_drv_break(struct hg_split_drv *ring, enum hg_drv_fault fault, uint64_t value);

/* Asks for an interrupt at the next used element, then looks: true if there is one already. disarm
 * takes the wish back (with EVENT_IDX one stray interrupt in 65,536 elements remains possible). */
bool hg_split_drv_arm(struct hg_split_drv *ring);
void hg_split_drv_disarm(struct hg_split_drv *ring);

#endif
