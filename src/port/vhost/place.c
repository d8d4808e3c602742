/*
 * Where the parts of a ring are.
 *
 * Without a virtual IOMMU the addresses of a ring are the front-end's virtual ones, and each part
 * lies inside one region of the memory table.
 *
 * With one they are IOVAs. Each page is looked up in the IOTLB; what is not there is asked for, and
 * the ring waits (HG_VHOST_LACKING) until it is. A driver that allocates behind an IOMMU takes its
 * pages from anywhere, and a ring is used as one piece. So a part whose pages do not follow each
 * other here is joined: the pages are mapped a second time, side by side. mremap() with an old size
 * of 0 does that to shared memory without its file. Huge pages can only be mapped as a whole, so
 * memory made of them cannot be joined; there the ring is refused, with the reason. So it is when a
 * port's rings take more pages in this way than JOINED_PAGES_MAX: each may be a mapping of its own,
 * of which a process has 65,530 unless told otherwise, and all ports share them.
 *
 * A ring holds its place without the IOTLB: an entry may be evicted while a ring uses its page.
 * What it may not do is outlive an invalidation. So whoever handles one asks each ring whether it
 * is touched, and a ring that is goes through pause, grace period and hg_vhost_ring_unplace()
 * before the acknowledgement.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "port/vhost/state.h"

enum { JOINED_PAGES_MAX = 512 }; /* 16 queue pairs of 1,024 descriptors, all scattered, take 352 */

/* What a part must be. */
struct shape {
    const char *name;
    uint64_t addr;
    uint64_t bytes;
    unsigned alignment; /* virtio 1.2, 2.7 and 2.8.10 */
    unsigned perm;
};

static void shapes_of(const struct hg_vhost_port *vp, const struct hg_vhost_ring *ring,
                      struct shape shape[HG_VHOST_PART_N])
{
    const struct hg_vhost_vring_addr *addr = &ring->addr;

    if (hg_vhost_has(vp, HG_VIRTIO_F_RING_PACKED)) {
        shape[HG_VHOST_DESC] =
            (struct shape){"descriptor ring", addr->desc, HG_PACKED_DESC_BYTES(ring->num), 16,
                           HG_PERM_READ | HG_PERM_WRITE};
        shape[HG_VHOST_AVAIL] = (struct shape){"driver event suppression", addr->avail,
                                               sizeof(struct hg_packed_event), 4, HG_PERM_READ};
        shape[HG_VHOST_USED] = (struct shape){"device event suppression", addr->used,
                                              sizeof(struct hg_packed_event), 4, HG_PERM_WRITE};
        return;
    }
    shape[HG_VHOST_DESC] =
        (struct shape){"descriptor table", addr->desc, HG_DESC_BYTES(ring->num), 16, HG_PERM_READ};
    shape[HG_VHOST_AVAIL] =
        (struct shape){"available ring", addr->avail, HG_AVAIL_BYTES(ring->num), 2, HG_PERM_READ};
    shape[HG_VHOST_USED] =
        (struct shape){"used ring", addr->used, HG_USED_BYTES(ring->num), 4, HG_PERM_WRITE};
}

/* Where one address is, for one direction at least; NULL when that is not known. *size is how many
 * bytes are known from there on. */
static uint8_t *translate(const struct hg_vhost_port *vp, uint64_t iova, unsigned perm,
                          uint64_t *size)
{
    struct hg_iotlb_block block;

    if (!hg_iotlb_find(vp->iommu.iotlb, iova, &block) || (block.perm & perm) != perm)
        return NULL;
    *size = block.size - (iova - block.base);
    return block.host + (iova - block.base);
}

/* Looks up every page of a part, and asks for those that are missing. Returns whether none is; then
 * *contiguous says whether part->host is good for all of it. */
static bool look_up(struct hg_vhost_port *vp, const struct shape *shape, struct hg_vhost_part *part,
                    bool *contiguous)
{
    uint64_t done = 0;
    bool known = true;

    *contiguous = true;
    while (done < shape->bytes) {
        uint64_t iova = shape->addr + done;
        uint64_t size = hg_iotlb_granule(iova) + HG_IOTLB_GRANULE - iova;
        uint8_t *host = translate(vp, iova, shape->perm, &size);

        if (host == NULL) {
            hg_iotlb_ask(vp->iommu.iotlb, &vp->iommu.asks, hg_iotlb_granule(iova), shape->perm);
            known = false;
        } else if (done == 0) {
            part->host = host;
        } else if (host != part->host + done) {
            *contiguous = false;
        }
        done += size;
    }
    return known;
}

static const struct hg_region *region_of(const struct hg_space *space, const uint8_t *host)
{
    for (unsigned i = 0; i < space->n; i++)
        if (host >= space->region[i].host && host < space->region[i].host + space->region[i].size)
            return &space->region[i];
    return NULL;
}

/* Maps the page at `iova` a second time, at `at`. */
static bool map_again(const struct hg_vhost_port *vp, uint64_t iova, uint8_t *at)
{
    uint64_t size;
    uint8_t *host = translate(vp, iova, 0, &size);
    const struct hg_region *region = host != NULL ? region_of(vp->space, host) : NULL;

    return region != NULL && (uintptr_t)host % HG_IOTLB_GRANULE == 0 &&
           hg_foreign_page_bytes(region->foreign) == HG_IOTLB_GRANULE &&
           mremap(host, 0, HG_IOTLB_GRANULE, MREMAP_MAYMOVE | MREMAP_FIXED, at) != MAP_FAILED;
}

static uint64_t part_pages(uint64_t addr, uint64_t bytes)
{
    return (addr - hg_iotlb_granule(addr) + bytes + HG_IOTLB_GRANULE - 1) / HG_IOTLB_GRANULE;
}

/* How many pages are mapped a second time for the rings of a port. */
static uint64_t joined_pages(struct hg_vhost_port *vp)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        for (unsigned k = 0; k < HG_VHOST_PART_N; k++) {
            const struct hg_vhost_part *part = &hg_vhost_ring(vp, i)->part[k];

            n += part->joined != NULL ? part_pages(part->addr, part->bytes) : 0;
        }
    return n;
}

/* Lays the pages of a part side by side. All of them are known. */
static int join(struct hg_vhost_port *vp, const struct hg_vhost_ring *ring,
                const struct shape *shape, struct hg_vhost_part *part, struct hg_err *err)
{
    uint64_t first = hg_iotlb_granule(shape->addr);
    uint64_t pages_n = part_pages(shape->addr, shape->bytes);
    size_t bytes = pages_n * HG_IOTLB_GRANULE;
    uint8_t *map;

    part->host = NULL;
    if (joined_pages(vp) + pages_n > JOINED_PAGES_MAX)
        return hg_err_set(err, ENOSPC,
                          "ring %u: the port's rings are scattered over more than %d pages",
                          ring->index, JOINED_PAGES_MAX);
    map = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return hg_err_set(err, ENOMEM, "no room to join the pages of ring %u", ring->index);
    for (size_t at = 0; at < bytes; at += HG_IOTLB_GRANULE)
        if (!map_again(vp, first + at, map + at)) {
            munmap(map, bytes);
            return hg_err_set(
                err, ENOTSUP,
                "ring %u: its %s is scattered over guest memory that cannot be mapped "
                "by single pages of %d bytes (huge pages?)",
                ring->index, shape->name, HG_IOTLB_GRANULE);
        }
    part->joined = hg_foreign_watch(map, bytes, HG_IOTLB_GRANULE, err);
    if (part->joined == NULL) {
        munmap(map, bytes);
        return -ENOMEM;
    }
    part->host = map + (shape->addr - first);
    return 0;
}

static int check_addresses(const struct hg_vhost_ring *ring, const struct shape *shape,
                           struct hg_err *err)
{
    if (shape->bytes - 1 > UINT64_MAX - shape->addr)
        return hg_err_set(err, EINVAL, "ring %u: %s at 0x%" PRIx64 " wraps", ring->index,
                          shape->name, shape->addr);
    if (shape->addr % shape->alignment != 0)
        return hg_err_set(err, EINVAL, "ring %u: %s at 0x%" PRIx64 " is not aligned to %u bytes",
                          ring->index, shape->name, shape->addr, shape->alignment);
    return 0;
}

/* Where a front-end has put an aligned address need not be aligned. */
static int check_host(const struct hg_vhost_ring *ring, const struct shape *shape,
                      const struct hg_vhost_part *part, struct hg_err *err)
{
    if ((uintptr_t)part->host % shape->alignment == 0)
        return 0;
    return hg_err_set(err, EINVAL, "ring %u: %s at 0x%" PRIx64 " is not aligned to %u bytes",
                      ring->index, shape->name, shape->addr, shape->alignment);
}

static int place_by_iotlb(struct hg_vhost_port *vp, struct hg_vhost_ring *ring,
                          const struct shape *shape, struct hg_err *err)
{
    bool contiguous[HG_VHOST_PART_N];

    for (unsigned i = 0; i < HG_VHOST_PART_N; i++) {
        int rc = check_addresses(ring, &shape[i], err);

        if (rc != 0)
            return rc;
        if (!look_up(vp, &shape[i], &ring->part[i], &contiguous[i]) && ring->lacks == NULL)
            ring->lacks = shape[i].name;
    }
    hg_asks_flush(&vp->iommu.asks);
    if (ring->lacks != NULL)
        return HG_VHOST_LACKING;
    for (unsigned i = 0; i < HG_VHOST_PART_N; i++) {
        int rc = contiguous[i] ? check_host(ring, &shape[i], &ring->part[i], err)
                               : join(vp, ring, &shape[i], &ring->part[i], err);

        if (rc != 0) {
            snprintf(ring->refused, sizeof(ring->refused), "%.127s", err->text);
            return HG_VHOST_REFUSED;
        }
    }
    return 0;
}

static int place_by_table(const struct hg_vhost_port *vp, struct hg_vhost_ring *ring,
                          const struct shape *shape, struct hg_err *err)
{
    for (unsigned i = 0; i < HG_VHOST_PART_N; i++) {
        uint8_t *host = hg_space_user(vp->space, shape[i].addr, shape[i].bytes);

        if (host == NULL && vp->slots) { /* the slot may be on its way */
            ring->lacks = shape[i].name;
            return HG_VHOST_LACKING;
        }
        if (host == NULL)
            return hg_err_set(err, EFAULT,
                              "ring %u: %s of %" PRIu64 " bytes at 0x%" PRIx64
                              " is not inside one region of the memory table",
                              ring->index, shape[i].name, shape[i].bytes, shape[i].addr);
        ring->part[i].host = host;
        if (check_host(ring, &shape[i], &ring->part[i], err) != 0)
            return -EINVAL;
    }
    return 0;
}

int hg_vhost_ring_place(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, struct hg_err *err)
{
    struct shape shape[HG_VHOST_PART_N];
    int rc;

    hg_vhost_ring_unplace(ring, NULL);
    shapes_of(vp, ring, shape);
    for (unsigned i = 0; i < HG_VHOST_PART_N; i++) {
        ring->part[i].addr = shape[i].addr;
        ring->part[i].bytes = shape[i].bytes;
    }
    rc = vp->iommu.iotlb != NULL ? place_by_iotlb(vp, ring, shape, err)
                                 : place_by_table(vp, ring, shape, err);
    if (rc != 0) {
        hg_vhost_ring_unplace(ring, ring->lacks);
        return rc;
    }
    ring->dev.desc = ring->part[HG_VHOST_DESC].host;
    ring->dev.avail = ring->part[HG_VHOST_AVAIL].host;
    ring->dev.used = ring->part[HG_VHOST_USED].host;
    ring->dev.space = vp->space;
    ring->dev.hint = (struct hg_hint){0};
    return 0;
}

void hg_vhost_ring_unplace(struct hg_vhost_ring *ring, const char *lacks)
{
    ring->lacks = lacks;
    for (unsigned i = 0; i < HG_VHOST_PART_N; i++) {
        struct hg_vhost_part *part = &ring->part[i];

        if (part->joined != NULL)
            hg_foreign_unmap(part->joined);
        part->joined = NULL;
        part->host = NULL;
    }
}

/* The bytes that a part and [iova, iova + size) share: their first, and how many. */
static uint64_t overlap(const struct hg_vhost_part *part, uint64_t iova, uint64_t size,
                        uint64_t *first)
{
    uint64_t part_last = part->addr + part->bytes - 1;
    uint64_t last = size - 1 > UINT64_MAX - iova ? UINT64_MAX : iova + size - 1;

    if (size == 0) { /* everything */
        iova = 0;
        last = UINT64_MAX;
    }
    if (part->host == NULL || part_last < iova || part->addr > last)
        return 0;
    *first = part->addr > iova ? part->addr : iova;
    return (part_last < last ? part_last : last) - *first + 1;
}

bool hg_vhost_ring_touches(const struct hg_vhost_ring *ring, uint64_t iova, uint64_t size)
{
    uint64_t first;

    for (unsigned i = 0; i < HG_VHOST_PART_N; i++)
        if (overlap(&ring->part[i], iova, size, &first) != 0)
            return true;
    return false;
}

bool hg_vhost_ring_moved(const struct hg_vhost_port *vp, const struct hg_vhost_ring *ring,
                         uint64_t iova, uint64_t size)
{
    struct shape shape[HG_VHOST_PART_N];

    if (!hg_vhost_ring_touches(ring, iova, size))
        return false;
    shapes_of(vp, ring, shape);
    for (unsigned i = 0; i < HG_VHOST_PART_N; i++) {
        const struct hg_vhost_part *part = &ring->part[i];
        uint64_t first = 0;
        uint64_t bytes = overlap(part, iova, size, &first);

        if (bytes != 0 && part->joined != NULL)
            return true; /* where its pages came from is not kept */
        while (bytes != 0) {
            uint64_t known = 0;
            uint8_t *host = translate(vp, first, shape[i].perm, &known);

            if (host != part->host + (first - part->addr))
                return true;
            known = hg_min_u64(known, bytes);
            first += known;
            bytes -= known;
        }
    }
    return false;
}

bool hg_vhost_ring_in(const struct hg_vhost_ring *ring, const struct hg_region *region)
{
    for (unsigned i = 0; i < HG_VHOST_PART_N; i++) {
        const struct hg_vhost_part *part = &ring->part[i];

        if (part->host != NULL &&
            (part->joined != NULL || hg_range_overlap((uintptr_t)part->host, part->bytes,
                                                      (uintptr_t)region->host, region->size)))
            return true;
    }
    return false;
}

bool hg_vhost_ring_lost(const struct hg_vhost_ring *ring)
{
    size_t ignored;

    for (unsigned i = 0; i < HG_VHOST_PART_N; i++)
        if (ring->part[i].joined != NULL && hg_foreign_lost(ring->part[i].joined, &ignored))
            return true;
    return false;
}
