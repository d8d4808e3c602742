/*
 * The packed format of a virtqueue, device side (virtio 1.2, 2.8): one ring of descriptors that
 * both sides write. Used through vq_ring.h.
 *
 * A descriptor is available when its AVAIL flag is the wrap counter of its lap and its USED flag is
 * not; it is used when both are. The device overwrites the first descriptor of each list that it
 * returns.
 *
 * Four descriptors share a cache line, which the driver polls at the first one that it waits for.
 * So used descriptors are kept in private memory until the burst is over and then written
 * backwards: the lines behind the first are complete when the driver hears of them, and the first
 * is written in one go, its first descriptor's flags last. Each line travels once, and a frame in
 * several buffers is never seen in part (2.8.10).
 *
 * What a device must check of a descriptor: that every one inside a list is available too (2.8.6
 * asks the driver for it; with it a list cannot run into descriptors that are ours, and so not
 * round the ring either), and that the buffer id is below the ring's size. We only echo the id; but
 * whoever keeps a record of what is in flight has one of the ring's size, and a driver that gets it
 * wrong is better told.
 */
#ifndef HG_VIRTIO_PACKED_RING_H
#define HG_VIRTIO_PACKED_RING_H

#include "base/shm.h"
#include "virtio/vq_slot.h"

enum {
    PACKED_LEN_AT = offsetof(struct hg_packed_desc, len), /* length, id and flags: one word */
    PACKED_ID_AT = offsetof(struct hg_packed_desc, id),
    PACKED_FLAGS_AT = offsetof(struct hg_packed_desc, flags),
    PACKED_KIND_FLAGS = HG_DESC_F_NEXT | HG_DESC_F_WRITE | HG_DESC_F_INDIRECT,
    PACKED_OWNER_FLAGS = HG_PACKED_DESC_F_AVAIL | HG_PACKED_DESC_F_USED,
    PACKED_EVENT_FLAGS = 3, /* the rest is reserved */
};

static inline uint8_t *packed_desc_at(const struct hg_vq_dev *ring, uint16_t at)
{
    return ring->desc + sizeof(struct hg_packed_desc) * (at & (ring->num - 1u));
}

static inline bool packed_wrap(const struct hg_vq_dev *ring, uint16_t at)
{
    return (at & ring->num) == 0;
}

/* A position as a wrap counter and an index, and back. */
static inline uint16_t packed_off_wrap(const struct hg_vq_dev *ring, uint16_t at)
{
    return (uint16_t)((at & (ring->num - 1u)) | (packed_wrap(ring, at) ? HG_PACKED_WRAP : 0));
}

static inline uint16_t packed_position(const struct hg_vq_dev *ring, uint16_t off_wrap)
{
    return (uint16_t)((off_wrap & (ring->num - 1u)) | (off_wrap & HG_PACKED_WRAP ? 0 : ring->num));
}

/* Loads the flags of a descriptor; whether they say that it is available. The rest of it may be
 * loaded then: pairs with the driver's release of the flags of the first descriptor that it
 * publishes. */
static inline bool packed_available(const struct hg_vq_dev *ring, uint16_t at, uint16_t *flags)
{
    *flags = hg_shm_load16_acquire(packed_desc_at(ring, at) + PACKED_FLAGS_AT);
    return (*flags & PACKED_OWNER_FLAGS) ==
           (packed_wrap(ring, at) ? HG_PACKED_DESC_F_AVAIL : HG_PACKED_DESC_F_USED);
}

/* The rest of a descriptor whose flags have been loaded. */
static inline struct hg_packed_desc packed_load_desc(const uint8_t *shared, uint16_t flags)
{
    uint64_t rest = hg_shm_load64(shared + PACKED_LEN_AT);

    return (struct hg_packed_desc){
        .addr = hg_shm_load64(shared),
        .len = (uint32_t)rest,
        .id = (uint16_t)(rest >> 32),
        .flags = flags,
    };
}

/* How many descriptors the list has whose first one is at `at` and available. 0: it is not in
 * order, vq_walk() says in what way. */
uint16_t packed_list_n(const struct hg_vq_dev *ring, uint16_t at);

/* Looks at the entry at `at`. False when there is none. */
static inline bool packed_look(const struct hg_vq_dev *ring, uint16_t at, uint16_t plain,
                               struct vq_slot *slot)
{
    struct hg_packed_desc desc;
    uint16_t flags;

    if (!packed_available(ring, at, &flags))
        return false;
    desc = packed_load_desc(packed_desc_at(ring, at), flags);
    slot->addr = desc.addr;
    slot->len = desc.len;
    slot->id = desc.id;
    slot->simple =
        vq_is_simple((flags & PACKED_KIND_FLAGS) == plain && desc.id < ring->num, desc.len);
    slot->desc_n = hg_likely((flags & HG_DESC_F_NEXT) == 0) ? 1 : packed_list_n(ring, at);
    return true;
}

/* The flags of a used descriptor: WRITE says that its length means something (2.8.4). */
static inline uint16_t packed_used_flags(const struct hg_vq_dev *ring,
                                         const struct hg_vq_shadow *used)
{
    return (uint16_t)((packed_wrap(ring, used->at) ? PACKED_OWNER_FLAGS : 0) |
                      (used->len != 0 ? HG_DESC_F_WRITE : 0));
}

/* Writes what the shadow holds into the ring, from the last one to the first, but for the very
 * first since the last publication: with that one's flags the driver is told of all. */
static inline void packed_write_shadow(struct hg_vq_dev *ring)
{
    for (unsigned i = ring->shadow_n; --i > 0;) {
        const struct hg_vq_shadow *used = &ring->shadow[i];

        hg_shm_store64(packed_desc_at(ring, used->at) + PACKED_LEN_AT,
                       used->len | (uint64_t)used->id << 32 |
                           (uint64_t)packed_used_flags(ring, used) << 48);
    }
    ring->shadow_n = 1;
}

/* Returns one buffer, which has `desc_n` descriptors, or a batch of them (2.8.9), without
 * publishing it. */
static inline void packed_put_used(struct hg_vq_dev *ring, uint16_t id, uint16_t desc_n,
                                   uint32_t len)
{
    if (hg_unlikely(ring->shadow_n == HG_VQ_SHADOW_N))
        packed_write_shadow(ring);
    ring->shadow[ring->shadow_n++] = (struct hg_vq_shadow){ring->used_idx, id, len};
    ring->used_idx = (uint16_t)(ring->used_idx + desc_n);
}

/* Whether a driver that wrote `off_wrap` wants to hear that the positions from `old` to `now` are
 * used. They are at most a lap, so that its descriptor in this lap or in the one before decides. */
static inline bool packed_need_event(const struct hg_vq_dev *ring, uint16_t off_wrap, uint16_t now,
                                     uint16_t old)
{
    uint16_t behind = (uint16_t)((now - packed_position(ring, off_wrap)) & (2u * ring->num - 1));

    return hg_vring_need_event((uint16_t)(now - behind), now, old);
}

static inline bool packed_publish_used(struct hg_vq_dev *ring)
{
    uint16_t old = ring->used_published;
    const struct hg_vq_shadow *first = &ring->shadow[0];
    uint8_t *shared = packed_desc_at(ring, old);
    uint32_t event;

    if (ring->used_idx == old)
        return false;
    packed_write_shadow(ring);
    hg_shm_store32(shared + PACKED_LEN_AT, first->len);
    hg_shm_store16(shared + PACKED_ID_AT, first->id);
    hg_shm_store16_release(shared + PACKED_FLAGS_AT, packed_used_flags(ring, first));
    ring->shadow_n = 0;
    ring->used_published = ring->used_idx;

    hg_shm_publish_then_look();
    event = hg_shm_load32(ring->avail);
    switch (event >> 16 & PACKED_EVENT_FLAGS) {
    case HG_PACKED_EVENT_DISABLE:
        return false;
    case HG_PACKED_EVENT_DESC:
        return !ring->event_idx || packed_need_event(ring, (uint16_t)event, ring->used_idx, old);
    default:
        return true;
    }
}

/* As split_arm(). */
static inline bool packed_arm(struct hg_vq_dev *ring, uint16_t at)
{
    uint32_t wish = ring->event_idx ? HG_PACKED_EVENT_DESC : HG_PACKED_EVENT_ENABLE;
    uint16_t flags;

    hg_shm_store32(ring->used, packed_off_wrap(ring, at) | wish << 16);
    hg_shm_publish_then_look();
    return packed_available(ring, at, &flags);
}

static inline void packed_disarm(struct hg_vq_dev *ring)
{
    hg_shm_store32(ring->used, (uint32_t)HG_PACKED_EVENT_DISABLE << 16);
}

static inline void packed_start(struct hg_vq_dev *ring, uint32_t base)
{
    uint16_t avail = packed_position(ring, (uint16_t)base);
    uint16_t used = packed_position(ring, (uint16_t)(base >> 16));
    uint16_t lap_mask = (uint16_t)(2u * ring->num - 1);

    /* What somebody has taken before us and not returned is taken again: it is still in the ring. A
     * front-end that names no used position, or one that cannot be, means that there is nothing. */
    if (((avail - used) & lap_mask) >= ring->num)
        used = avail;
    ring->last_avail = used;
    ring->used_idx = used;
}

static inline uint32_t packed_base(const struct hg_vq_dev *ring)
{
    return packed_off_wrap(ring, ring->last_avail) |
           (uint32_t)packed_off_wrap(ring, ring->used_published) << 16;
}

#endif
