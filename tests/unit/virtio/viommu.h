/*
 * A virtual IOMMU for the tests of rings: an IOTLB before a guest's memory, and the part of control
 * that answers its misses when the test says so. Addresses are those of the guest; its pages are
 * mapped and unmapped one by one.
 */
#ifndef HG_TESTS_UNIT_VIOMMU_H
#define HG_TESTS_UNIT_VIOMMU_H

#include <sys/eventfd.h>
#include <unistd.h>

#include "rings.h"
#include "sync/qsbr.h"

enum { VIOMMU_PAGE = HG_IOTLB_GRANULE };

struct viommu {
    struct hg_space space; /* the guest's, behind the IOTLB */
    struct hg_asks asks;
    unsigned misses_n; /* sent to the front-end: answered, or to be answered */
};

static inline void viommu_init(struct viommu *iommu, const struct guest *guest)
{
    int rc;

    memset(iommu, 0, sizeof(*iommu));
    iommu->space = guest->space;
    rc = hg_iotlb_new(&iommu->space.iotlb, HG_IOTLB_ENTRIES_PRESET, NULL);
    assert(rc == 0);
    (void)rc;
    iommu->asks.wake_fd = eventfd(0, EFD_NONBLOCK);
}

static inline void viommu_free(struct viommu *iommu)
{
    hg_iotlb_free(iommu->space.iotlb);
    close(iommu->asks.wake_fd);
}

/* Puts the IOTLB before a ring. */
static inline void viommu_attach(struct viommu *iommu, struct hg_vq_dev *dev)
{
    dev->space = &iommu->space;
    dev->asks = &iommu->asks;
}

/* Answers for the page that holds addr. perm 0: it is not mapped. */
static inline void viommu_map(struct viommu *iommu, uint64_t addr, unsigned perm)
{
    uint64_t page = addr & -(uint64_t)VIOMMU_PAGE;
    int rc =
        hg_iotlb_update(iommu->space.iotlb, &iommu->space, page, VIOMMU_PAGE, page, perm, NULL);

    assert(rc == 0);
    (void)rc;
}

static inline void viommu_unmap(struct viommu *iommu, uint64_t addr)
{
    if (hg_iotlb_unpublish(iommu->space.iotlb, addr & -(uint64_t)VIOMMU_PAGE, VIOMMU_PAGE)) {
        hg_qsbr_wait();
        hg_iotlb_settle(iommu->space.iotlb);
    }
}

/* Reads at most n misses, keeps them in `asked` unless it is NULL, and answers each with `perm`, or
 * not at all when that is negative. Returns how many there were. */
static inline unsigned viommu_serve(struct viommu *iommu, unsigned n, int perm,
                                    struct hg_ask *asked)
{
    unsigned done = 0;
    struct hg_ask miss;

    while (done < n && hg_iotlb_next_miss(iommu->space.iotlb, &iommu->asks, 1, &miss)) {
        if (asked != NULL)
            asked[done] = miss;
        if (perm >= 0)
            viommu_map(iommu, miss.addr, (unsigned)perm);
        done++;
    }
    iommu->misses_n += done;
    return done;
}

#endif
