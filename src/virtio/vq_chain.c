/*
 * Chains: descriptors one after the other, of a ring or of an indirect table, of either format.
 *
 * A chain may not be longer than the ring (2.7.5.3.1, 2.8.5), an indirect table's part included;
 * the descriptor that leads to the table is one more. In the largest rings not as long either: a
 * burst of such chains would keep the worker from everybody else. No more of a chain is translated
 * than the caller needs, for the same reason.
 */
#include <string.h>

#include "virtio/vq_ring.h"

/* A descriptor of either format, loaded. */
struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next; /* split: index; packed: buffer id */
};

_Static_assert(sizeof(struct hg_desc) == sizeof(struct hg_packed_desc), "tables have one stride");

enum { DESC_BYTES = sizeof(struct hg_desc) };

static void worsen(struct vq_chain *chain, enum vq_verdict verdict)
{
    if (verdict > chain->verdict)
        chain->verdict = verdict;
}

static enum vq_verdict spoil(struct hg_vq_dev *ring, struct vq_chain *chain,
                             enum hg_vring_fault fault, uint64_t value)
{
    if (!chain->dry)
        vq_break(ring, fault, value);
    chain->verdict = VQ_BROKEN;
    return VQ_BROKEN;
}

static unsigned longest(const struct hg_vq_dev *ring)
{
    return hg_min_u32(ring->num, HG_CHAIN_SEGS_MAX);
}

/* An address that has no translation: why, and what follows. */
static void lack(struct hg_vq_dev *ring, struct vq_chain *chain, uint64_t addr, enum hg_perm perm)
{
    if (ring->space->iotlb == NULL) {
        worsen(chain, VQ_BAD);
        return;
    }
    switch (hg_space_lack(ring->space, ring->asks, addr, perm)) {
    case HG_LACK_MISS:
        chain->missing_n++;
        worsen(chain, VQ_MISSING);
        return;
    case HG_LACK_FAULT_UNMAPPED:
        chain->fault = HG_FAULT_UNMAPPED;
        break;
    case HG_LACK_FAULT_PERMISSION:
        chain->fault = HG_FAULT_PERMISSION;
        break;
    }
    worsen(chain, VQ_FAULTED);
}

/* Adds the first n bytes of a buffer to the pieces; n is not 0. Asks for all that is missing: a
 * chain that has to wait should do so once. */
static void translate(struct hg_vq_dev *ring, struct vq_chain *chain, uint64_t addr, uint64_t n,
                      enum hg_perm perm)
{
    while (n > 0 && chain->verdict <= VQ_MISSING && chain->missing_n < HG_IOTLB_ASKS_N) {
        uint8_t *host;
        uint64_t got = hg_space_at(ring->space, &ring->hint, addr, n, perm, &host);

        if (hg_unlikely(got == 0)) {
            lack(ring, chain, addr, perm);
            got = hg_min_u64(n, HG_IOTLB_GRANULE - addr % HG_IOTLB_GRANULE);
        } else if (chain->piece_n == chain->room) {
            worsen(chain, VQ_BAD);
        } else if (chain->piece != NULL) {
            chain->piece[chain->piece_n++] = (struct hg_seg){host, (uint32_t)got};
        } else {
            chain->piece_n++;
        }
        addr += got;
        n -= got;
    }
}

/* Adds a buffer. False when the ring is broken. An empty buffer carries nothing and costs as much
 * as any: a frame of them would be work for nothing. */
static bool add_buffer(struct hg_vq_dev *ring, struct vq_chain *chain, const struct desc *desc,
                       enum hg_perm perm)
{
    uint64_t needed = chain->bytes < chain->need ? chain->need - chain->bytes : 0;

    if (((desc->flags & HG_DESC_F_WRITE) != 0) != (perm == HG_PERM_WRITE)) {
        spoil(ring, chain, HG_VRING_DIRECTION, desc->flags);
        return false;
    }
    if (desc->len == 0 || desc->len - 1 > UINT64_MAX - desc->addr)
        worsen(chain, VQ_BAD);
    else if (needed != 0)
        translate(ring, chain, desc->addr, hg_min_u64(desc->len, needed), perm);
    chain->bytes += desc->len;
    return true;
}

/* Where an indirect table is, and how many descriptors it has. */
struct table {
    uint64_t addr;
    uint32_t n;
};

/* The table that a descriptor names; false when it may not. `alone`: nothing may follow this
 * descriptor in its own list, nor, in a packed ring, stand before it (2.7.5.3.1, 2.8.19). */
static bool enter_table(struct hg_vq_dev *ring, struct vq_chain *chain, const struct desc *desc,
                        bool alone, struct table *table)
{
    if (!ring->indirect || !alone || desc->len == 0 || desc->len % DESC_BYTES != 0) {
        spoil(ring, chain, HG_VRING_INDIRECT, desc->len);
        return false;
    }
    *table = (struct table){.addr = desc->addr, .n = desc->len / DESC_BYTES};
    return true;
}

/* Loads a descriptor of an indirect table, which may lie in several pieces of guest memory. False
 * when a part of it cannot be read: the verdict says why. */
static bool load_from_table(struct hg_vq_dev *ring, struct vq_chain *chain,
                            const struct table *table, uint32_t index, uint8_t bytes[DESC_BYTES])
{
    uint64_t addr = table->addr + (uint64_t)index * DESC_BYTES;
    size_t done = 0;

    if (addr < table->addr || DESC_BYTES - 1 > UINT64_MAX - addr) {
        worsen(chain, VQ_BAD);
        return false;
    }
    while (done < DESC_BYTES) {
        uint8_t *host;
        uint64_t got = hg_space_at(ring->space, &ring->hint, addr + done, DESC_BYTES - done,
                                   HG_PERM_READ, &host);

        if (got == 0) {
            lack(ring, chain, addr + done, HG_PERM_READ);
            return false;
        }
        hg_shm_in(bytes + done, host, got);
        done += got;
    }
    return true;
}

static bool load_split(struct hg_vq_dev *ring, struct vq_chain *chain, const struct table *table,
                       uint32_t index, struct desc *desc)
{
    struct hg_desc loaded;

    if (table == NULL) {
        loaded = split_load_desc(ring->desc, index);
    } else {
        uint8_t bytes[DESC_BYTES];

        if (!load_from_table(ring, chain, table, index, bytes))
            return false;
        memcpy(&loaded, bytes, sizeof(loaded));
    }
    *desc = (struct desc){loaded.addr, loaded.len, loaded.flags, loaded.next};
    return true;
}

static enum vq_verdict walk_split(struct hg_vq_dev *ring, uint16_t at, enum hg_perm perm,
                                  struct vq_chain *chain)
{
    uint16_t head = split_load_head(ring, at);
    struct table indirect;
    const struct table *table = NULL;
    uint32_t index = head;
    uint32_t n = ring->num;
    struct desc desc;

    chain->id = head;
    chain->desc_n = 1;
    for (; chain->walked_n <= longest(ring); chain->walked_n++) {
        if (index >= n)
            return spoil(ring, chain, HG_VRING_HEAD_RANGE, index);
        if (!load_split(ring, chain, table, index, &desc))
            return chain->verdict;
        if ((desc.flags & HG_DESC_F_INDIRECT) != 0) {
            bool alone = table == NULL && (desc.flags & HG_DESC_F_NEXT) == 0;

            if (!enter_table(ring, chain, &desc, alone, &indirect))
                return VQ_BROKEN;
            table = &indirect;
            n = indirect.n;
            index = 0;
            continue;
        }
        if (!add_buffer(ring, chain, &desc, perm))
            return VQ_BROKEN;
        if ((desc.flags & HG_DESC_F_NEXT) == 0)
            return chain->verdict;
        index = desc.next;
    }
    return spoil(ring, chain, HG_VRING_CHAIN_LONG, head);
}

/* All descriptors of a packed ring's table are of the chain, and of their flags only WRITE counts
 * (2.8.7). */
static enum vq_verdict walk_packed_table(struct hg_vq_dev *ring, const struct table *table,
                                         enum hg_perm perm, struct vq_chain *chain)
{
    if (table->n > longest(ring))
        return spoil(ring, chain, HG_VRING_CHAIN_LONG, table->n);
    for (uint32_t i = 0; i < table->n; i++, chain->walked_n++) {
        uint8_t bytes[DESC_BYTES];
        struct hg_packed_desc loaded;

        if (!load_from_table(ring, chain, table, i, bytes))
            return chain->verdict;
        memcpy(&loaded, bytes, sizeof(loaded));
        if (!add_buffer(ring, chain, &(struct desc){loaded.addr, loaded.len, loaded.flags, 0},
                        perm))
            return VQ_BROKEN;
    }
    return chain->verdict;
}

/* Loads the k-th descriptor of the list at `at`. */
static bool load_packed(struct hg_vq_dev *ring, uint16_t at, unsigned k, struct desc *desc)
{
    uint16_t place = (uint16_t)(at + k);
    struct hg_packed_desc loaded;
    uint16_t flags;
    bool available = packed_available(ring, place, &flags);

    loaded = packed_load_desc(packed_desc_at(ring, place), flags);
    *desc = (struct desc){loaded.addr, loaded.len, flags, loaded.id};
    return available;
}

static enum vq_verdict walk_packed(struct hg_vq_dev *ring, uint16_t at, enum hg_perm perm,
                                   struct vq_chain *chain)
{
    struct table table;
    struct desc desc;
    bool indirect;

    for (;;) {
        if (chain->walked_n == longest(ring))
            return spoil(ring, chain, HG_VRING_CHAIN_LONG, at & (ring->num - 1u));
        if (!load_packed(ring, at, chain->walked_n, &desc))
            return spoil(ring, chain, HG_VRING_CHAIN_CUT, desc.flags);
        indirect = (desc.flags & HG_DESC_F_INDIRECT) != 0;
        if (indirect &&
            !enter_table(ring, chain, &desc,
                         chain->walked_n == 0 && (desc.flags & HG_DESC_F_NEXT) == 0, &table))
            return VQ_BROKEN;
        chain->walked_n++;
        if (!indirect && !add_buffer(ring, chain, &desc, perm))
            return VQ_BROKEN;
        if ((desc.flags & HG_DESC_F_NEXT) == 0)
            break;
    }
    if (desc.next >= ring->num)
        return spoil(ring, chain, HG_VRING_ID_RANGE, desc.next);
    chain->id = desc.next;
    chain->desc_n = (uint16_t)chain->walked_n;
    return indirect ? walk_packed_table(ring, &table, perm, chain) : chain->verdict;
}

enum vq_verdict vq_walk(struct hg_vq_dev *ring, uint16_t at, enum hg_perm perm,
                        struct vq_chain *chain)
{
    chain->verdict = VQ_GOOD;
    chain->piece_n = chain->missing_n = chain->walked_n = 0;
    chain->bytes = 0;
    return ring->packed ? walk_packed(ring, at, perm, chain) : walk_split(ring, at, perm, chain);
}

uint16_t packed_list_n(const struct hg_vq_dev *ring, uint16_t at)
{
    for (unsigned n = 0; n < longest(ring); n++) {
        uint16_t flags;

        if (!packed_available(ring, (uint16_t)(at + n), &flags))
            return 0;
        if ((flags & HG_DESC_F_NEXT) == 0)
            return (uint16_t)(n + 1);
    }
    return 0;
}
