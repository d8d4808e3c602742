/*
 * What the two formats of a virtqueue, device side, have in common: an entry that has been looked
 * at, a chain as a list of pieces, and how a ring is broken. Private to this folder.
 */
#ifndef HG_VIRTIO_VQ_SLOT_H
#define HG_VIRTIO_VQ_SLOT_H

#include "virtio/vq_dev.h"

enum {
    /* A longer buffer is not looked at as one: the IOTLB might have to look up each page of it. */
    VQ_SIMPLE_BYTES_MAX = 1 << 17,
};

/* An entry of the ring that has been looked at, not taken. `simple`: one buffer of the right
 * direction is all there is, and contiguous here; else host is not set and id and len mean
 * nothing. */
struct vq_slot {
    uint64_t addr; /* as the guest wrote it */
    uint8_t *host;
    uint32_t len;
    uint16_t id;     /* what the guest is told when it is returned */
    uint16_t desc_n; /* positions of the ring that it takes */
    bool simple;
};

/* Whether a buffer can be simple: all but its translation. */
static inline bool vq_is_simple(bool plain, uint32_t len)
{
    return hg_likely(plain && len - 1 < VQ_SIMPLE_BYTES_MAX);
}

/* Breaks the ring: from now on it gives and takes nothing. */
static inline void vq_break(struct hg_vq_dev *ring, enum hg_vring_fault fault, uint64_t value)
{
    atomic_store_explicit(&ring->fault_value, value, memory_order_relaxed);
    /* Pairs with control's acquire load of `fault`: it sees the value too. */
    atomic_store_explicit(&ring->fault, fault, memory_order_release);
}

static inline bool vq_broken(const struct hg_vq_dev *ring)
{
    return atomic_load_explicit(&ring->fault, memory_order_relaxed) != HG_VRING_OK;
}

/* What a walk along a chain has come to; the worst counts. */
enum vq_verdict {
    VQ_GOOD,
    VQ_MISSING, /* translations are missing; they have been asked for */
    VQ_FAULTED, /* the IOTLB refuses an address */
    VQ_BAD,     /* an empty buffer, memory that is not the guest's, or more pieces than allowed */
    VQ_BROKEN,  /* the ring contradicts itself */
};

/* A chain of descriptors as a list of pieces that are contiguous here. */
struct vq_chain {
    /* Set by the caller. */
    struct hg_seg *piece; /* NULL: the pieces are not wanted */
    unsigned room;        /* pieces at most */
    uint64_t need;        /* bytes from the chain's start that are translated, if it has so many */
    bool dry;             /* only a look: nothing is broken, nothing counted */

    /* Set by vq_walk(). */
    enum vq_verdict verdict;
    enum hg_iommu_fault fault; /* of VQ_FAULTED */
    unsigned piece_n;
    unsigned missing_n; /* addresses that were asked for */
    unsigned walked_n;  /* descriptors */
    uint64_t bytes;     /* that all its buffers hold; cannot overflow */
    uint16_t id;
    uint16_t desc_n; /* positions of the ring that it takes */
};

/*
 * Walks the chain at position `at`, which is available: checks every descriptor, translates its
 * buffers and asks for translations that are missing. `perm` is the direction that all buffers must
 * have. Returns the verdict. Unless that is VQ_BROKEN, which has broken the ring when the walk was
 * not dry, id, desc_n and bytes are set and the chain can be returned; the pieces are complete only
 * when it is VQ_GOOD.
 */
enum vq_verdict vq_walk(struct hg_vq_dev *ring, uint16_t at, enum hg_perm perm,
                        struct vq_chain *chain);

#endif
