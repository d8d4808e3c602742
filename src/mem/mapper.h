/*
 * Mappers: who must know all memory that devices reach.
 *
 * A device behind an IOMMU reaches only what has been mapped for it. A mapper is the hook by which
 * the owner of an IOMMU (a VFIO container, a virtual device) learns of every arena: registered, it
 * is called for those that exist, then for each new one before anybody can use it; and it is called
 * again before an arena's memory ends, or when the mapper itself is taken out. So a driver that
 * runs while arenas come and go never sees memory that its device does not.
 *
 * The hooks run on the thread that creates or frees the arena or the mapper, one at a time in the
 * process. They must not create or free arenas or mappers, nor call hg_arenas_each().
 */
#ifndef HG_MEM_MAPPER_H
#define HG_MEM_MAPPER_H

#include <stdint.h>

#include "base/api.h"
#include "base/err.h"

HG_API_BEGIN

/* A piece of an arena whose addresses and IOVAs are contiguous, in whole pages. */
struct hg_dma_range {
    void *address;
    uint64_t iova;
    uint64_t bytes;
    uint64_t page_bytes;
};

struct hg_mapper {
    const char *name; /* for people; in front of what map() has to say */
    /* Makes the range accessible to the devices. Returns 0, or a negative errno with *err. */
    int (*map)(void *context, const struct hg_dma_range *range, struct hg_err *err);
    /* Ends that, for exactly such a range. When it returns no device reaches the range any more. */
    void (*unmap)(void *context, const struct hg_dma_range *range);
    void *context;
    struct hg_mapper *next; /* the registry's */
};

/*
 * Has the mapper called for every arena, now and in future. The structure stays the caller's, in
 * place, until hg_mapper_unregister(). Returns 0, or what map() returned with its sentence; then
 * the ranges that had been mapped are unmapped again, and the mapper is not registered. Control,
 * any thread.
 */
int hg_mapper_register(struct hg_mapper *mapper, struct hg_err *err);

/* Has it unmap all it has mapped; it is not called again. Control, any thread. */
void hg_mapper_unregister(struct hg_mapper *mapper);

HG_API_END

#endif
