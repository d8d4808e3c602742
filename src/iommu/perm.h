/*
 * What a device may do with an address. The values are those of vhost-user's IOTLB messages.
 */
#ifndef HG_IOMMU_PERM_H
#define HG_IOMMU_PERM_H

enum hg_perm {
    HG_PERM_READ = 1,  /* the device reads: the guest transmits */
    HG_PERM_WRITE = 2, /* the device writes: the guest receives */
};

#endif
