/*
 * A ring of either format, device side, for who receives and transmits on it. `packed` is a
 * constant where it matters: the compiler makes two copies of each hot function and neither asks.
 * Private to this folder.
 */
#ifndef HG_VIRTIO_VQ_RING_H
#define HG_VIRTIO_VQ_RING_H

#include "virtio/packed_ring.h"
#include "virtio/split_ring.h"

/* For functions that exist once for each value of a constant parameter. */
#define VQ_SPECIALISED static inline __attribute__((always_inline))

enum { VQ_LARGE_TABLE = 1024 }; /* buckets of an IOTLB: more than stay near the processor */

/* What the look-ups of a burst have in common: the table of the IOTLB, NULL without one, and the
 * size of block that the ring's buffers were in last. */
struct vq_blocks {
    const struct hg_iotlb_table *table;
    unsigned class;
};

static inline struct vq_blocks vq_blocks(const struct hg_vq_dev *ring)
{
    const struct hg_iotlb *iotlb = ring->space->iotlb;

    return (struct vq_blocks){
        .table = iotlb != NULL ? hg_qsbr_read(&iotlb->table) : NULL,
        .class = ring->block_class,
    };
}

/* hg_space_at() for a buffer that most probably lies in one block of that size, and in another one
 * than the last buffer: no hint is asked or left. */
static inline bool vq_find_block(const struct vq_blocks *blocks, const struct vq_slot *slot,
                                 enum hg_perm perm, uint8_t **host)
{
    uint64_t size = hg_iotlb_class_size(blocks->class);
    uint64_t offset = slot->addr & (size - 1);
    unsigned granted;

    if (hg_unlikely(
            slot->len > size - offset ||
            !hg_iotlb_table_find_first(blocks->table, slot->addr, blocks->class, &granted, host) ||
            (granted & perm) == 0))
        return false;
    *host += offset;
    return true;
}

/* Any other buffer. What the ring is told of its size is a guess: hints may be several blocks. */
static __attribute__((noinline)) bool vq_translate_slowly(struct hg_vq_dev *ring,
                                                          const struct vq_slot *slot,
                                                          enum hg_perm perm, uint8_t **host)
{
    if (hg_space_at(ring->space, &ring->hint, slot->addr, slot->len, perm, host) != slot->len)
        return false;
    ring->block_class =
        ring->hint.size >= hg_iotlb_class_size(HG_IOTLB_2M) ? HG_IOTLB_2M : HG_IOTLB_4K;
    return true;
}

/* Translates the buffer of a slot, with hints at its first two lines. */
static inline void vq_translate(struct hg_vq_dev *ring, const struct vq_blocks *blocks,
                                struct vq_slot *slot, enum hg_perm perm)
{
    uint8_t *host;

    if (blocks->table != NULL)
        slot->simple = slot->simple && (hg_likely(vq_find_block(blocks, slot, perm, &host)) ||
                                        vq_translate_slowly(ring, slot, perm, &host));
    else
        slot->simple = slot->simple && hg_space_at(ring->space, &ring->hint, slot->addr, slot->len,
                                                   perm, &host) == slot->len;
    if (hg_unlikely(!slot->simple))
        return;
    if (perm == HG_PERM_WRITE) {
        hg_shm_expect_write(host);
        hg_shm_expect_write(host + HG_CACHE_LINE_BYTES);
    } else {
        hg_shm_expect_read(host);
        hg_shm_expect_read(host + HG_CACHE_LINE_BYTES);
    }
    slot->host = host;
}

/* Looks at the entry that is `i`-th from last_avail, at position `at`. False when there is none. */
VQ_SPECIALISED bool vq_look(const struct hg_vq_dev *ring, bool packed, uint16_t at, uint16_t plain,
                            struct vq_slot *slot)
{
    if (packed)
        return packed_look(ring, at, plain, slot);
    split_look(ring, plain, slot);
    return true;
}

/*
 * Looks at up to `want` entries from last_avail on, at most HG_BURST_N, and returns how many are
 * there. Each pass starts the transfers that the next one waits for: heads, in a split ring;
 * descriptors; with a large IOTLB, its lines; the buffers.
 */
VQ_SPECIALISED unsigned vq_look_ahead(struct hg_vq_dev *ring, bool packed, struct vq_slot *slot,
                                      unsigned want, enum hg_perm perm)
{
    const uint16_t plain = perm == HG_PERM_WRITE ? HG_DESC_F_WRITE : 0;
    const struct vq_blocks blocks = vq_blocks(ring);
    const bool large = blocks.table != NULL && hg_iotlb_buckets_n(blocks.table) > VQ_LARGE_TABLE;
    uint16_t at = ring->last_avail;
    unsigned n;

    if (hg_unlikely(vq_broken(ring)))
        return 0;
    want = packed ? want : split_look_heads(ring, slot, want);
    for (n = 0; n < want && vq_look(ring, packed, at, plain, &slot[n]); n++) {
        at = (uint16_t)(at + slot[n].desc_n);
        if (large)
            hg_iotlb_table_expect(blocks.table, slot[n].addr, blocks.class);
        else
            vq_translate(ring, &blocks, &slot[n], perm);
        if (hg_unlikely(slot[n].desc_n == 0))
            want = n + 1; /* nobody knows where the next one begins */
    }
    if (large)
        for (unsigned i = 0; i < n; i++)
            vq_translate(ring, &blocks, &slot[i], perm);
    return n;
}

/* Whether there is an entry behind the next `skip` positions. */
VQ_SPECIALISED bool vq_available(struct hg_vq_dev *ring, bool packed, unsigned skip)
{
    uint16_t flags;

    if (packed)
        return packed_available(ring, (uint16_t)(ring->last_avail + skip), &flags);
    return split_available(ring, skip, 1) != 0;
}

/* Returns an entry, `desc_n` positions, to the guest when the burst is published:
 * split_put_used(). */
VQ_SPECIALISED void vq_put_used(struct hg_vq_dev *ring, bool packed, uint16_t id, uint16_t desc_n,
                                uint32_t len)
{
    if (packed)
        packed_put_used(ring, id, desc_n, len);
    else
        split_put_used(ring, id, desc_n, len);
}

VQ_SPECIALISED bool vq_publish_used(struct hg_vq_dev *ring, bool packed)
{
    return packed ? packed_publish_used(ring) : split_publish_used(ring);
}

/* Around each call of a ring's user, for the sake of the IOTLB: vq_ahead.c. Begin is false when the
 * ring is stalled. End is given the position at which the call began, and how many entries were
 * translated and taken since. */
bool vq_begin_iommu(struct hg_vq_dev *ring);
void vq_end_iommu(struct hg_vq_dev *ring, enum hg_perm perm, uint16_t from, unsigned hits);

static inline bool vq_begin(struct hg_vq_dev *ring)
{
    return ring->space->iotlb == NULL || vq_begin_iommu(ring);
}

static inline void vq_end(struct hg_vq_dev *ring, enum hg_perm perm, uint16_t from, unsigned hits)
{
    if (ring->space->iotlb != NULL)
        vq_end_iommu(ring, perm, from, hits);
}

#endif
