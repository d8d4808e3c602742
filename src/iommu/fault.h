/*
 * Why a guest may not touch what it named.
 */
#ifndef HG_IOMMU_FAULT_H
#define HG_IOMMU_FAULT_H

#include "base/api.h"

HG_API_BEGIN

enum hg_iommu_fault {
    HG_FAULT_UNMAPPED,   /* nobody answered the miss: the address is not mapped */
    HG_FAULT_PERMISSION, /* mapped, but not for this direction */
    HG_IOMMU_FAULT_N
};

/* "unmapped", "permission". Static storage; any thread. */
const char *hg_iommu_fault_name(enum hg_iommu_fault fault);

HG_API_END

#endif
