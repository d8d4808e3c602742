/*
 * The address space of one device: how an address that a guest wrote becomes one of ours.
 *
 * Every address from a descriptor passes through hg_space_at(); there is no other way to guest
 * memory. Without a virtual IOMMU a space is the table of memory regions that the front-end
 * announced; with one, the IOTLB stands before that table (iommu/iotlb.h) and an address may be unknown
 * for now.
 *
 * The memory table only grows while it is published: a region that is added becomes visible with the
 * number of regions. For anything else control takes the space from its workers for a grace period
 * (sync/qsbr.h). A hint belongs to one queue of one worker and is only a memory of the last translation;
 * clear it whenever the space changes and, where there is an IOTLB, at the start of each burst: then no
 * hint outlives the grace period of an invalidation.
 */
#ifndef HG_IOMMU_SPACE_H
#define HG_IOMMU_SPACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/bits.h"
#include "base/err.h"
#include "iommu/iotlb.h"
#include "iommu/perm.h"
#include "mem/foreign.h"

enum {
    HG_REGIONS_MAX = 64,
    HG_SPACE_BLOCKS_MAX = 32, /* of an IOTLB that one translation joins: 64 KiB at any offset */
};

/* One region of guest memory, mapped here. */
struct hg_region {
    uint64_t guest_addr; /* first address that descriptors use (guest physical, or IOVA) */
    uint64_t user_addr;  /* first address in the front-end's process, used for ring addresses */
    uint64_t size;       /* bytes */
    uint8_t *host;       /* where it is here */
    struct hg_foreign *foreign; /* the mapping: starts at the file offset's page */
    uint64_t offset;            /* in the file of this device and number */
    dev_t file_dev;
    ino_t file_ino;
};

struct hg_space {
    struct hg_iotlb *iotlb; /* NULL: descriptors use guest physical addresses. Not owned. */
    _Atomic unsigned n;     /* stored after the region that it adds */
    struct hg_region region[HG_REGIONS_MAX];
};

/* The last translation of this queue. All zero: none. */
struct hg_hint {
    uint64_t base;
    uint64_t size;
    uint8_t *host;
    unsigned perm; /* HG_PERM_* that it grants */
};

/*
 * Translates the start of [addr, addr + len). Returns how many of the len bytes lie contiguous at *host, 1 to
 * len, and not more than HG_SPACE_BLOCKS_MAX blocks of an IOTLB; 0 when addr is not the guest's, is not
 * known yet, or its permission does not allow it: hg_space_lack() tells which. The caller asks again for
 * the rest. len must not be 0.
 * Workers, lock-free.
 */
uint64_t hg_space_walk(const struct hg_space *space, struct hg_hint *hint, uint64_t addr,
                       uint64_t len, enum hg_perm perm, uint8_t **host);

static inline uint64_t hg_space_at(const struct hg_space *space, struct hg_hint *hint,
                                   uint64_t addr, uint64_t len, enum hg_perm perm, uint8_t **host)
{
    uint64_t offset = addr - hint->base;

    if (hg_likely(offset < hint->size && len <= hint->size - offset && (hint->perm & perm) != 0)) {
        *host = hint->host + offset;
        return len;
    }
    return hg_space_walk(space, hint, addr, len, perm, host);
}

/* Why hg_space_at() found nothing at addr; asks for it where that helps (hg_iotlb_ask()). Without an
 * IOTLB always a fault. The queue's user. */
enum hg_lack hg_space_lack(const struct hg_space *space, struct hg_asks *asks, uint64_t addr,
                           enum hg_perm perm);

/*
 * Maps one region, `size` bytes of `fd` from `offset`, shared, and adds it. Checks that nothing wraps,
 * that the region is not empty, does not overlap one that the space has, and lies inside the file,
 * which must be memory (memfd, tmpfs, hugetlbfs).
 * The fd stays the caller's. Returns 0 or a negative errno with *err. Control only.
 */
int hg_space_add(struct hg_space *space, uint64_t guest_addr, uint64_t user_addr, uint64_t size,
                 uint64_t offset, int fd, struct hg_err *err);

/* Unmaps one region. No worker may hold the space. */
void hg_space_remove(struct hg_space *space, unsigned index);

/* The number of the region with exactly these addresses, -1 if there is none. Control only. */
int hg_space_find(const struct hg_space *space, uint64_t guest_addr, uint64_t user_addr,
                  uint64_t size);

/* Whether a region is that part of that file. Control only. */
bool hg_region_is(const struct hg_region *region, uint64_t offset, int fd);

/* Unmaps every region and empties the space. No worker may hold it any more. */
void hg_space_clear(struct hg_space *space);

/* Whether the front-end has taken memory away from under the space (mem/foreign.h); then *guest_addr is
 * where that was met first. Any thread. */
bool hg_space_lost(const struct hg_space *space, uint64_t *guest_addr);

/* Where [user_addr, user_addr + len) of the front-end's process is here, NULL if it is not inside one
 * region. Control only: rings are placed once, at start. */
uint8_t *hg_space_user(const struct hg_space *space, uint64_t user_addr, uint64_t len);

#endif
