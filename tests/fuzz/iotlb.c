/*
 * Attacks the IOTLB with programs of updates, invalidations, translations and misses in any order, each
 * run beside a simple model of it: see tests/unit/iommu/model_run.h. Input: 1 byte that chooses the bound on
 * entries, then operations and their parameters, one byte each.
 */
#include <stddef.h>
#include <stdint.h>

#include "../unit/iommu/model_run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct model model;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    model_run(&model, data, size);
    return 0;
}
