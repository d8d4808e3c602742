/*
 * What the receiving and the transmitting half of the device side share: how entries are taken from
 * the available ring and put into the used ring. Private to this folder.
 */
#ifndef HG_VIRTIO_SPLIT_RING_H
#define HG_VIRTIO_SPLIT_RING_H

#include "base/shm.h"
#include "virtio/vq_dev.h"

/* A descriptor, loaded once. Two loads that the compiler may not repeat; a driver that changes a
 * posted descriptor between them gets a mixture of its own making, which is checked like any other. */
static inline struct hg_desc split_load_desc(const uint8_t *table, uint32_t index)
{
    const uint8_t *shared = table + (size_t)index * sizeof(struct hg_desc);
    uint64_t rest = hg_shm_load64(shared + 8);

    return (struct hg_desc){
        .addr = hg_shm_load64(shared),
        .len = (uint32_t)rest,
        .flags = (uint16_t)(rest >> 32),
        .next = (uint16_t)(rest >> 48),
    };
}

/* Breaks the ring: from now on it gives and takes nothing. */
static inline void split_break(struct hg_vq_dev *ring, enum hg_vring_fault fault, uint64_t value)
{
    atomic_store_explicit(&ring->fault_value, value, memory_order_relaxed);
    /* Pairs with control's acquire load of `fault`: it sees the value too. */
    atomic_store_explicit(&ring->fault, fault, memory_order_release);
}

static inline bool split_broken(const struct hg_vq_dev *ring)
{
    return atomic_load_explicit(&ring->fault, memory_order_relaxed) != HG_VRING_OK;
}

/* How many entries of the available ring may be taken, at most `want`. Loads the guest's index only
 * when the last one loaded does not suffice. */
static inline unsigned split_available(struct hg_vq_dev *ring, unsigned want)
{
    unsigned ready = (uint16_t)(ring->avail_idx - ring->last_avail);

    if (ready < want) {
        ring->avail_idx = hg_shm_load16_acquire(ring->avail + offsetof(struct hg_avail, idx));
        ready = (uint16_t)(ring->avail_idx - ring->last_avail);
        if (hg_unlikely(ready > ring->num)) {
            split_break(ring, HG_VRING_AVAIL_JUMP, ring->avail_idx);
            return 0;
        }
    }
    return hg_likely(!split_broken(ring)) ? hg_min_u32(ready, want) : 0;
}

/* The head that entry `position` of the available ring names; the caller checks its range. */
static inline uint16_t split_load_head(const struct hg_vq_dev *ring, uint16_t position)
{
    return hg_shm_load16(ring->avail + offsetof(struct hg_avail, ring) +
                         sizeof(uint16_t) * (position & (ring->num - 1u)));
}

/* An entry of the available ring that has been looked at, not taken. `simple`: one buffer of the right
 * direction, contiguous here, is all there is; else host and len are not set. */
struct split_slot {
    uint8_t *host;
    uint32_t len;
    uint16_t head;
    bool simple;
};

/*
 * Looks at up to `want` entries from last_avail on, at most HG_BURST_N, and returns how many are there.
 * Two passes, each of which starts the transfers that what follows waits for: heads, then descriptors
 * and their translation, with hints at the first two lines of each buffer. A head out of range breaks
 * the ring when its turn comes: what stands before it is good.
 */
static inline unsigned split_look_ahead(struct hg_vq_dev *ring, struct split_slot *slot,
                                        unsigned want, enum hg_perm perm)
{
    uint16_t plain = perm == HG_PERM_WRITE ? HG_DESC_F_WRITE : 0;
    unsigned n = split_available(ring, want);

    for (unsigned i = 0; i < n; i++) {
        uint16_t head = split_load_head(ring, (uint16_t)(ring->last_avail + i));

        if (hg_unlikely(head >= ring->num)) {
            if (i == 0)
                split_break(ring, HG_VRING_HEAD_RANGE, head);
            n = i;
            break;
        }
        hg_shm_expect_read(ring->desc + (size_t)head * sizeof(struct hg_desc));
        slot[i].head = head;
    }
    for (unsigned i = 0; i < n; i++) {
        struct hg_desc desc = split_load_desc(ring->desc, slot[i].head);
        uint8_t *host;

        slot[i].simple =
            hg_likely(desc.flags == plain && desc.len != 0) &&
            hg_space_at(ring->space, &ring->hint, desc.addr, desc.len, perm, &host) == desc.len;
        if (hg_unlikely(!slot[i].simple))
            continue;
        if (perm == HG_PERM_WRITE) {
            hg_shm_expect_write(host);
            hg_shm_expect_write(host + HG_CACHE_LINE_BYTES);
        } else {
            hg_shm_expect_read(host);
            hg_shm_expect_read(host + HG_CACHE_LINE_BYTES);
        }
        slot[i].host = host;
        slot[i].len = desc.len;
    }
    return n;
}

/* Puts one element into the used ring without publishing it. */
static inline void split_put_used(struct hg_vq_dev *ring, uint16_t head, uint32_t len)
{
    struct hg_used_elem elem = {.id = head, .len = len};

    hg_shm_out(ring->used + offsetof(struct hg_used, ring) +
                   sizeof(elem) * (ring->used_idx & (ring->num - 1u)),
               &elem, sizeof(elem));
    ring->used_idx++;
}

/* Publishes the used elements put so far; returns whether the guest must be notified of them. */
static inline bool split_publish_used(struct hg_vq_dev *ring)
{
    uint16_t old = ring->used_published;

    if (ring->used_idx == old)
        return false;
    hg_shm_store16_release(ring->used + offsetof(struct hg_used, idx), ring->used_idx);
    ring->used_published = ring->used_idx;

    hg_shm_publish_then_look();
    if (!ring->event_idx)
        return (hg_shm_load16(ring->avail) & HG_AVAIL_F_NO_INTERRUPT) == 0;
    return hg_vring_need_event(
        hg_shm_load16(ring->avail + offsetof(struct hg_avail, ring) + sizeof(uint16_t) * ring->num),
        ring->used_idx, old);
}

/* A chain of descriptors as a list of pieces that are contiguous here. */
enum split_walk {
    SPLIT_WALK_OK,
    SPLIT_WALK_BAD_ADDRESS, /* this frame is lost; the chain can be returned */
    SPLIT_WALK_BROKEN,      /* the ring is broken */
};

/*
 * Walks the chain that starts at `head`, checks every descriptor of it, and translates its buffers
 * into at most `room` pieces; one that needs more counts as a bad address. `perm` is the direction
 * that all of them must have. Sets *piece_n and *bytes, the sum of their lengths, which cannot overflow.
 */
enum split_walk split_walk_chain(struct hg_vq_dev *ring, uint16_t head, enum hg_perm perm,
                                 struct hg_seg *piece, unsigned room, unsigned *piece_n,
                                 uint64_t *bytes);

#endif
