/*
 * Updates: from a range of the front-end's addresses to blocks.
 */
#include <errno.h>
#include <inttypes.h>

#include "iommu/iotlb_internal.h"
#include "iommu/space.h"

/* A part of a range whose host addresses go on. */
struct piece {
    uint64_t first;
    uint64_t last;
    uint8_t *host;
};

struct update {
    unsigned piece_n;
    unsigned perm;
    bool weaker; /* a block has lost a permission that readers may have found */
    struct piece piece[HG_REGIONS_MAX];
};

static const struct hg_region *region_at(const struct hg_space *space, uint64_t user_addr)
{
    for (unsigned i = 0; i < space->n; i++)
        if (user_addr - space->region[i].user_addr < space->region[i].size)
            return &space->region[i];
    return NULL;
}

/* Finds the memory of a range. It may go on from one region to the next, at the end of a granule. */
static int resolve(const struct hg_space *space, uint64_t iova, uint64_t size, uint64_t user_addr,
                   struct update *update, struct hg_err *err)
{
    uint64_t done = 0;

    while (done < size) {
        const struct hg_region *region = region_at(space, user_addr + done);
        uint64_t offset;
        uint64_t bytes;

        if (user_addr + done < user_addr || region == NULL)
            return hg_err_set(err, EFAULT, "IOTLB update: 0x%" PRIx64 " is not in the memory table",
                              user_addr + done);
        offset = user_addr + done - region->user_addr;
        bytes = hg_min_u64(region->size - offset, size - done);
        if (bytes % HG_IOTLB_GRANULE != 0 || update->piece_n == HG_REGIONS_MAX)
            return hg_err_set(err, EFAULT,
                              "IOTLB update: a page at 0x%" PRIx64 " lies in two memory regions",
                              user_addr + done);
        update->piece[update->piece_n++] = (struct piece){
            iova + done,
            iova + done + (bytes - 1),
            region->host + offset,
        };
        done += bytes;
    }
    return 0;
}

/* The piece that holds addr, or NULL. */
static const struct piece *piece_at(const struct update *update, uint64_t addr)
{
    for (unsigned i = 0; i < update->piece_n; i++)
        if (addr >= update->piece[i].first && addr <= update->piece[i].last)
            return &update->piece[i];
    return NULL;
}

/* Of the blocks into which a piece is cut, the key of the one that holds addr: the largest that fits. */
static uint64_t key_around(const struct piece *piece, uint64_t addr)
{
    for (unsigned class = HG_IOTLB_CLASS_N - 1; class > 1; class --) {
        uint64_t size = hg_iotlb_class_size(class);
        uint64_t base = addr & -size;

        if (base >= piece->first && base + (size - 1) <= piece->last)
            return hg_iotlb_key(base, class);
    }
    return hg_iotlb_key(addr, HG_IOTLB_4K);
}

static uint64_t key_last(uint64_t key)
{
    return hg_iotlb_tag_base(key) + (hg_iotlb_class_size(hg_iotlb_tag_class(key)) - 1);
}

/* Keeps a block that the update repeats, with the permission that it has now. */
static bool keep_repeated(struct hg_iotlb_slot *slot, void *ctx)
{
    struct update *update = ctx;
    uint64_t tag = iotlb_load_tag(slot);
    uint64_t key = tag & ~(uint64_t)HG_IOTLB_TAG_PERM;
    uint64_t base = hg_iotlb_tag_base(tag);
    const struct piece *piece = piece_at(update, base);

    if (piece == NULL || key_around(piece, base) != key ||
        iotlb_load_host(slot) != piece->host + (base - piece->first))
        return false;
    if ((hg_iotlb_tag_perm(tag) & ~update->perm) != 0)
        update->weaker = true;
    atomic_store_explicit(&slot->tag, key | update->perm, memory_order_release);
    return true;
}

static void put_around(struct hg_iotlb *iotlb, const struct update *update,
                       const struct piece *piece, uint64_t addr)
{
    uint64_t key = key_around(piece, addr);

    iotlb_put(iotlb, key, update->perm, piece->host + (hg_iotlb_tag_base(key) - piece->first));
}

/* Whether the update is cut into more than `most` blocks. */
static bool has_more_blocks(const struct update *update, uint32_t most)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < update->piece_n; i++) {
        const struct piece *piece = &update->piece[i];
        uint64_t addr = piece->first;

        for (;; addr++) {
            if (++n > most)
                return true;
            addr = key_last(key_around(piece, addr));
            if (addr == piece->last)
                break;
        }
    }
    return false;
}

static void put_all(struct hg_iotlb *iotlb, const struct update *update)
{
    for (unsigned i = 0; i < update->piece_n; i++) {
        const struct piece *piece = &update->piece[i];
        uint64_t addr = piece->first;

        for (;; addr++) {
            put_around(iotlb, update, piece, addr);
            addr = key_last(key_around(piece, addr));
            if (addr == piece->last)
                break;
        }
    }
}

static void put_asked(struct hg_iotlb *iotlb, const struct update *update, uint64_t first,
                      uint64_t last)
{
    uint64_t asked[HG_PENDING_MAX];
    unsigned n = hg_pending_list(iotlb->pending, first, last, asked);

    for (unsigned i = 0; i < n; i++)
        put_around(iotlb, update, piece_at(update, asked[i]), asked[i]);
}

/* What has been asked for is in at the end: of an update that would push itself out of the table nothing
 * else, and of others it is put again if later blocks have evicted any. */
static void put_blocks(struct hg_iotlb *iotlb, const struct update *update, uint64_t first,
                       uint64_t last)
{
    uint64_t evictions = iotlb->evictions;
    bool whole = !has_more_blocks(update, iotlb->entries_max / 2);

    if (whole)
        put_all(iotlb, update);
    if (!whole || iotlb->evictions != evictions)
        put_asked(iotlb, update, first, last);
}

int hg_iotlb_update(struct hg_iotlb *iotlb, const struct hg_space *space, uint64_t iova,
                    uint64_t size, uint64_t user_addr, unsigned perm, struct hg_err *err)
{
    struct update update;
    uint64_t last = iova + (size - 1);

    if (size == 0 || ((iova | size) & (HG_IOTLB_GRANULE - 1)) != 0 || last < iova || perm > 3)
        return hg_err_set(err, EINVAL,
                          "IOTLB update of 0x%" PRIx64 ", %" PRIu64
                          " bytes, permission %u: expected whole pages that do not wrap, and a "
                          "permission up to 3",
                          iova, size, perm);
    update.piece_n = 0;
    update.perm = perm;
    update.weaker = false;
    if (perm != 0) {
        int rc = resolve(space, iova, size, user_addr, &update, err);

        if (rc != 0)
            return rc;
    }
    iotlb->updates++;
    if (iotlb_hide_range(iotlb, iova, last, keep_repeated, &update) || update.weaker)
        iotlb_wait(iotlb);
    if (perm != 0)
        put_blocks(iotlb, &update, iova, last);
    hg_pending_answer(iotlb->pending, iova, last, perm);
    iotlb_announce(iotlb);
    return 0;
}
