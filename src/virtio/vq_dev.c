/*
 * Device side of a split virtqueue: set-up, chains, notification. Receiving is in vq_rx.c,
 * transmitting in vq_tx.c.
 */
#include "virtio/vq_dev.h"

#include "virtio/split_ring.h"

const char *hg_vring_fault_name(enum hg_vring_fault fault)
{
    static const char *const name[] = {
        [HG_VRING_OK] = "none",
        [HG_VRING_AVAIL_JUMP] = "available index moved by more than the ring's size",
        [HG_VRING_HEAD_RANGE] = "descriptor index not below the ring's size",
        [HG_VRING_CHAIN_LONG] = "descriptor chain loops or is too long",
        [HG_VRING_INDIRECT] = "indirect table nested, chained, empty or of odd length",
        [HG_VRING_DIRECTION] = "descriptor writable where it must be readable, or the reverse",
    };

    _Static_assert(HG_ARRAY_N(name) == HG_VRING_FAULT_N, "every fault has a name");
    return (unsigned)fault < HG_VRING_FAULT_N ? name[fault] : "unknown";
}

void hg_vq_dev_start(struct hg_vq_dev *ring, uint32_t base)
{
    ring->last_avail = (uint16_t)base;
    ring->avail_idx = (uint16_t)base;
    /* A driver that starts anew and one that hands a ring over both leave the used index where the
     * device must go on. */
    ring->used_idx = hg_shm_load16(ring->used + offsetof(struct hg_used, idx));
    ring->used_published = ring->used_idx;
    ring->armed = false;
    ring->hint = (struct hg_hint){0};
    atomic_store_explicit(&ring->fault_value, 0, memory_order_relaxed);
    atomic_store_explicit(&ring->fault, HG_VRING_OK, memory_order_relaxed);
    hg_vq_dev_disarm(ring);
}

uint32_t hg_vq_dev_base(const struct hg_vq_dev *ring)
{
    return ring->last_avail;
}

static uint8_t *avail_event(const struct hg_vq_dev *ring)
{
    return ring->used + offsetof(struct hg_used, ring) + sizeof(struct hg_used_elem) * ring->num;
}

bool hg_vq_dev_arm(struct hg_vq_dev *ring)
{
    if (split_broken(ring))
        return false;
    if (ring->event_idx)
        hg_shm_store16(avail_event(ring), ring->last_avail);
    else
        hg_shm_store16(ring->used, 0);
    hg_shm_publish_then_look();
    return hg_shm_load16(ring->avail + offsetof(struct hg_avail, idx)) != ring->last_avail;
}

void hg_vq_dev_disarm(struct hg_vq_dev *ring)
{
    /* With event indices the wish lies behind us as soon as we take the next frame. */
    if (ring->event_idx)
        hg_shm_store16(avail_event(ring), (uint16_t)(ring->last_avail - 1));
    else
        hg_shm_store16(ring->used, HG_USED_F_NO_NOTIFY);
}

/* Where descriptors are read from: the ring's own table, or an indirect one, which may lie in
 * several pieces of guest memory. */
struct table {
    const uint8_t *at; /* NULL: by translation of `addr` */
    uint64_t addr;
    uint32_t n;
};

static bool load_from(struct hg_vq_dev *ring, const struct table *table, uint32_t index,
                      struct hg_desc *desc)
{
    uint64_t addr = table->addr + (uint64_t)index * sizeof(*desc);
    uint8_t bytes[sizeof(*desc)];
    size_t done = 0;

    if (table->at != NULL) {
        *desc = split_load_desc(table->at, index);
        return true;
    }
    if (addr < table->addr)
        return false;
    while (done < sizeof(bytes)) {
        uint8_t *host;
        uint64_t got = hg_space_at(ring->space, &ring->hint, addr + done, sizeof(bytes) - done,
                                   HG_PERM_READ, &host);

        if (got == 0)
            return false;
        hg_shm_in(bytes + done, host, got);
        done += got;
    }
    memcpy(desc, bytes, sizeof(*desc));
    return true;
}

/* Adds one buffer to the pieces. False when it is empty, or a part of it is not the guest's memory. An
 * empty one carries nothing and costs as much as any: a frame of them would be work for nothing. */
static bool add_buffer(struct hg_vq_dev *ring, const struct hg_desc *desc, enum hg_perm perm,
                       struct hg_seg *piece, unsigned room, unsigned *piece_n)
{
    uint64_t done = 0;

    if (desc->len == 0)
        return false;
    while (done < desc->len) {
        uint8_t *host;
        uint64_t got =
            hg_space_at(ring->space, &ring->hint, desc->addr + done, desc->len - done, perm, &host);

        if (got == 0 || *piece_n == room || desc->addr + done < desc->addr)
            return false;
        piece[(*piece_n)++] = (struct hg_seg){.addr = host, .len = (uint32_t)got};
        done += got;
    }
    return true;
}

/* Switches from the ring's table to the indirect one that a descriptor names. */
static bool enter_indirect(struct hg_vq_dev *ring, const struct hg_desc *desc, struct table *table)
{
    bool nested = table->at == NULL;

    if (!ring->indirect || nested || desc->len == 0 || desc->len % sizeof(*desc) != 0 ||
        (desc->flags & HG_DESC_F_NEXT) != 0) {
        split_break(ring, HG_VRING_INDIRECT, desc->len);
        return false;
    }
    *table = (struct table){.addr = desc->addr, .n = desc->len / sizeof(*desc)};
    return true;
}

enum split_walk split_walk_chain(struct hg_vq_dev *ring, uint16_t head, enum hg_perm perm,
                                 struct hg_seg *piece, unsigned room, unsigned *piece_n,
                                 uint64_t *bytes)
{
    struct table table = {.at = ring->desc, .n = ring->num};
    uint32_t index = head;
    unsigned most = hg_min_u32(ring->num, HG_CHAIN_SEGS_MAX);
    bool good = true;

    *piece_n = 0;
    *bytes = 0;
    /* The chain may not be longer than the ring (2.7.5.3.1), an indirect table's part included; the
     * descriptor that leads to the table is one more. In the largest rings not as long either: a burst
     * of such chains would keep the worker from everybody else. */
    for (unsigned walked = 0; walked <= most; walked++) {
        struct hg_desc desc;

        if (index >= table.n) {
            split_break(ring, HG_VRING_HEAD_RANGE, index);
            return SPLIT_WALK_BROKEN;
        }
        if (!load_from(ring, &table, index, &desc))
            return SPLIT_WALK_BAD_ADDRESS;
        if ((desc.flags & HG_DESC_F_INDIRECT) != 0) {
            if (!enter_indirect(ring, &desc, &table))
                return SPLIT_WALK_BROKEN;
            index = 0;
            continue;
        }
        if (((desc.flags & HG_DESC_F_WRITE) != 0) != (perm == HG_PERM_WRITE)) {
            split_break(ring, HG_VRING_DIRECTION, index);
            return SPLIT_WALK_BROKEN;
        }
        good = good && add_buffer(ring, &desc, perm, piece, room, piece_n);
        *bytes += desc.len;
        if ((desc.flags & HG_DESC_F_NEXT) == 0)
            return good ? SPLIT_WALK_OK : SPLIT_WALK_BAD_ADDRESS;
        index = desc.next;
    }
    split_break(ring, HG_VRING_CHAIN_LONG, head);
    return SPLIT_WALK_BROKEN;
}
