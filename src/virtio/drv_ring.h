/*
 * The state of the driver (guest) side of a virtqueue, for either format, and what both formats do
 * with it. Users include virtio/drv.h; split_drv.c and packed_drv.c are the formats.
 *
 * Nobody but the driver knows which descriptors are free, which chains are outstanding and what
 * they may hold: that is kept here, in memory of our own, and what the device says is checked
 * against it.
 *
 * Free ids are kept in a FIFO, so a device that works in order makes the ids go round in order, and
 * a driver that binds buffer i to id i uses its buffers in order too. The ids of outstanding chains
 * stay in the FIFO's array, in the order in which they were added, until they are overwritten by
 * ids that come back: free[(free_first + free_n) % num] is the oldest.
 */
#ifndef HG_VIRTIO_DRV_RING_H
#define HG_VIRTIO_DRV_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "virtio/virtio.h"

/* Why a ring stopped: each is the device's doing. */
enum hg_drv_fault {
    HG_DRV_OK,
    HG_DRV_USED_JUMP,   /* more was used than is outstanding */
    HG_DRV_USED_RANGE,  /* a used id is not below the ring's size */
    HG_DRV_USED_IDLE,   /* a used id is not that of an outstanding chain */
    HG_DRV_USED_LEN,    /* more bytes written than the chain can hold */
    HG_DRV_NUM_BUFFERS, /* a merged frame claims 0 buffers, or more than were used */
    HG_DRV_FAULT_N
};

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

struct hg_drv {
    /* Shared memory: descriptor, driver and device area. Of a split ring the descriptor table, the
     * available and the used ring; of a packed ring the descriptors and the two event
     * structures. */
    uint8_t *desc;
    uint8_t *avail;
    uint8_t *used;
    uint16_t num;   /* descriptors, a power of two */
    bool receives;  /* the device writes the buffers */
    bool packed;    /* VIRTIO_F_RING_PACKED */
    bool event_idx; /* VIRTIO_F_EVENT_IDX */
    bool in_order;  /* VIRTIO_F_IN_ORDER: packed rings only */

    /* Positions, counted on and on. Of a split ring they count chains, of a packed one
     * descriptors. */
    uint16_t avail_idx;       /* given to the device, published or not */
    uint16_t avail_published; /* of them, published */
    uint16_t last_used;       /* taken back */
    uint16_t used_idx;        /* split: as last loaded from the device */
    uint16_t head_flags;      /* packed: of the first descriptor that is not published */

    /* Packed, in order: a batch of used chains that is being handed out, up to and including
     * this. */
    bool in_batch;
    struct hg_drv_used batch_end;

    uint16_t free_first; /* free ids are free[first .. first + n), modulo num */
    uint16_t free_n;
    uint16_t *free;
    struct hg_drv_slot *slot;

    _Atomic uint32_t fault;       /* enum hg_drv_fault; may be read by any thread */
    _Atomic uint64_t fault_value; /* what the device wrote */
};

/* Breaks the ring for a reason that its user found in a buffer. The first reason stays. */
void hg_drv_break(struct hg_drv *ring, enum hg_drv_fault fault, uint64_t value);

/* The id that the k-th descriptor added from now on will have; k < ring->free_n. With it the caller
 * finds the buffer that belongs to the descriptor. */
static inline uint16_t hg_drv_id(const struct hg_drv *ring, unsigned k)
{
    return ring->free[(ring->free_first + k) & (ring->num - 1)];
}

/* The rest is for the formats. */

static inline bool hg_drv_broken(const struct hg_drv *ring)
{
    return atomic_load_explicit(&ring->fault, memory_order_relaxed) != HG_DRV_OK;
}

/* The next n free ids are in use. */
static inline void hg_drv_take_ids(struct hg_drv *ring, unsigned n)
{
    ring->free_first = (uint16_t)((ring->free_first + n) & (ring->num - 1));
    ring->free_n = (uint16_t)(ring->free_n - n);
}

/* The id of the chain that was added first of those that are outstanding. */
static inline uint16_t hg_drv_oldest_id(const struct hg_drv *ring)
{
    return hg_drv_id(ring, ring->free_n);
}

/* The chain that starts with `id` has come back. */
static inline void hg_drv_give_back(struct hg_drv *ring, uint16_t id)
{
    struct hg_drv_slot *slot = &ring->slot[id];
    unsigned n = slot->chain_n;

    slot->chain_n = 0;
    for (;;) {
        ring->free[(ring->free_first + ring->free_n++) & (ring->num - 1)] = id;
        if (--n == 0)
            return;
        id = ring->slot[id].next;
    }
}

/* Whether the device names an outstanding chain and what it can hold; else breaks the ring. */
static inline bool hg_drv_honest(struct hg_drv *ring, uint32_t id, uint32_t len)
{
    if (hg_unlikely(id >= ring->num))
        hg_drv_break(ring, HG_DRV_USED_RANGE, id);
    else if (hg_unlikely(ring->slot[id].chain_n == 0))
        hg_drv_break(ring, HG_DRV_USED_IDLE, id);
    else if (hg_unlikely(ring->receives && len > ring->slot[id].room))
        hg_drv_break(ring, HG_DRV_USED_LEN, len);
    else
        return true;
    return false;
}

#endif
