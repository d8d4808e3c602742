/*
 * The split format of a virtqueue, device side (virtio 1.2, 2.7): how entries are taken from the
 * available ring and put into the used ring. Used through vq_ring.h.
 *
 * Used elements are written as the entries are taken, while their line is still on its way from the
 * guest's core, and published together by one store of the used index.
 */
#ifndef HG_VIRTIO_SPLIT_RING_H
#define HG_VIRTIO_SPLIT_RING_H

#include "base/shm.h"
#include "virtio/vq_slot.h"

/* A descriptor, loaded once. Two loads that the compiler may not repeat; a driver that changes a
 * posted descriptor between them gets a mixture of its own making, which is checked like any
 * other. */
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

/* How many entries are available behind the next `skip` ones, at most `want`. Loads the guest's
 * index only when the last one loaded does not suffice. */
static inline unsigned split_available(struct hg_vq_dev *ring, unsigned skip, unsigned want)
{
    unsigned ready = (uint16_t)(ring->avail_idx - ring->last_avail);

    if (ready < skip + want) {
        ring->avail_idx = hg_shm_load16_acquire(ring->avail + offsetof(struct hg_avail, idx));
        ready = (uint16_t)(ring->avail_idx - ring->last_avail);
        if (hg_unlikely(ready > ring->num)) {
            vq_break(ring, HG_VRING_AVAIL_JUMP, ring->avail_idx);
            return 0;
        }
    }
    return ready > skip ? hg_min_u32(ready - skip, want) : 0;
}

/* The head that entry `at` of the available ring names; the caller checks its range. */
static inline uint16_t split_load_head(const struct hg_vq_dev *ring, uint16_t at)
{
    return hg_shm_load16(ring->avail + offsetof(struct hg_avail, ring) +
                         sizeof(uint16_t) * (at & (ring->num - 1u)));
}

/* The first of two passes over the next entries: their heads. A head out of range breaks the ring
 * when its turn comes: what stands before it is good. */
static inline unsigned split_look_heads(struct hg_vq_dev *ring, struct vq_slot *slot, unsigned want)
{
    unsigned n = split_available(ring, 0, want);

    for (unsigned i = 0; i < n; i++) {
        uint16_t head = split_load_head(ring, (uint16_t)(ring->last_avail + i));

        if (hg_unlikely(head >= ring->num)) {
            if (i == 0)
                vq_break(ring, HG_VRING_HEAD_RANGE, head);
            return i;
        }
        hg_shm_expect_read(ring->desc + (size_t)head * sizeof(struct hg_desc));
        slot[i].id = head;
    }
    return n;
}

/* The second: the descriptor of a head. `plain` are the flags of a buffer that is all there is. */
static inline void split_look(const struct hg_vq_dev *ring, uint16_t plain, struct vq_slot *slot)
{
    struct hg_desc desc = split_load_desc(ring->desc, slot->id);

    slot->addr = desc.addr;
    slot->len = desc.len;
    slot->simple = vq_is_simple(desc.flags == plain, desc.len);
    slot->desc_n = 1;
}

/* Puts one element into the used ring without publishing it: for `entry_n` entries when it stands
 * for a batch of which it is the last (2.7.9). */
static inline void split_put_used(struct hg_vq_dev *ring, uint16_t head, uint16_t entry_n,
                                  uint32_t len)
{
    struct hg_used_elem elem = {.id = head, .len = len};

    hg_shm_out(ring->used + offsetof(struct hg_used, ring) +
                   sizeof(elem) * (ring->used_idx & (ring->num - 1u)),
               &elem, sizeof(elem));
    ring->used_idx = (uint16_t)(ring->used_idx + entry_n);
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
    return hg_vring_need_event(hg_shm_load16(ring->avail + HG_USED_EVENT_AT(ring->num)),
                               ring->used_idx, old);
}

static inline uint8_t *split_avail_event(const struct hg_vq_dev *ring)
{
    return ring->used + HG_AVAIL_EVENT_AT(ring->num);
}

/* Has the guest kick for the entry at that position, then looks whether it is there. */
static inline bool split_arm(struct hg_vq_dev *ring, uint16_t at)
{
    if (ring->event_idx)
        hg_shm_store16(split_avail_event(ring), at);
    else
        hg_shm_store16(ring->used, 0);
    hg_shm_publish_then_look();
    return hg_shm_load16(ring->avail + offsetof(struct hg_avail, idx)) != at;
}

static inline void split_disarm(struct hg_vq_dev *ring)
{
    /* With event indices the wish lies behind us as soon as we take the next frame. */
    if (ring->event_idx)
        hg_shm_store16(split_avail_event(ring), (uint16_t)(ring->last_avail - 1));
    else
        hg_shm_store16(ring->used, HG_USED_F_NO_NOTIFY);
}

static inline void split_start(struct hg_vq_dev *ring, uint32_t base)
{
    ring->last_avail = (uint16_t)base;
    ring->avail_idx = (uint16_t)base;
    /* A driver that starts anew and one that hands a ring over both leave the used index where the
     * device must go on. */
    ring->used_idx = hg_shm_load16(ring->used + offsetof(struct hg_used, idx));
}

#endif
