/*
 * The virtual IOMMU of one end of the load generator: which IOVA means which page of the guest.
 *
 * The space of 48 bits is cut into slots of one size, and each slot has one window: a run of pages
 * that begins at a random place of its slot and ends before its end. So IOVAs are scattered, no two
 * windows touch, and a look-up is a shift. Windows are handed out oldest first and in an order that
 * is not that of their addresses: a back-end that keeps a translation for too long uses another
 * page's.
 *
 * Invalidations are sent without waiting. The owner of a page has it back when iommu_acked() says
 * so of the number that iommu_unmap() returned; how long that took is kept.
 */
#ifndef BENCH_LOADGEN_IOMMU_H
#define BENCH_LOADGEN_IOMMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/vhost_front.h"

enum iommu_mode {
    IOMMU_OFF,
    IOMMU_STATIC,  /* all is mapped from the start */
    IOMMU_DYNAMIC, /* every buffer is mapped for one use, as strict kernel drivers do */
};

struct window {
    uint64_t iova;
    uint64_t user_addr;
    uint64_t bytes; /* whole pages; 0: nothing is mapped */
};

struct iommu {
    struct hg_vhost_front *front;
    uint64_t page_bytes;
    unsigned in_flight_max; /* messages that may wait for acknowledgement when one is added */
    unsigned slot_bits;     /* log2 of the bytes of a slot */
    uint32_t window_n;      /* a power of two */
    struct window *window;
    uint32_t *idle; /* windows without a mapping, a FIFO */
    uint32_t idle_first;
    uint32_t idle_n;

    uint64_t mapped_n;
    uint64_t invalidations_n;

    /* When each message under way was sent, by its number; 0 for UPDATEs. */
    uint64_t sent_ns[HG_VHOST_FRONT_IOTLB_MAX];
    uint64_t seen_n;  /* acknowledgements that have been looked at */
    uint32_t *ack_ns; /* how long the first so many invalidations took since iommu_restart() */
    size_t ack_n;
};

/* xorshift64*: repeatable. `state` is not 0. */
uint64_t next_random(uint64_t *state);

/* Makes at least `window_n` windows for pages of `page_bytes`. 0 or -ENOMEM. */
int iommu_init(struct iommu *iommu, struct hg_vhost_front *front, uint32_t window_n,
               uint64_t page_bytes, uint64_t *random);
void iommu_free(struct iommu *iommu);

/* Maps `bytes`, whole pages, at user_addr, for reading and writing as QEMU does whatever the
 * guest's driver said; returns the window, of which there must be one idle. */
uint32_t iommu_map(struct iommu *iommu, uint64_t user_addr, uint64_t bytes);

/* How many windows may be unmapped now. */
unsigned iommu_room(const struct iommu *iommu);

/* Unmaps a window and tells the back-end; there must be room. Returns the
 * number to ask iommu_acked() for: never acknowledged if the session is broken, as iommu_run() will
 * say. */
uint64_t iommu_unmap(struct iommu *iommu, uint32_t window);

/* The window can be handed out again: its invalidation is acknowledged. */
void iommu_release(struct iommu *iommu, uint32_t window);

static inline bool iommu_acked(const struct iommu *iommu, uint64_t number)
{
    return number <= iommu->front->iommu.acked_n;
}

/* For hg_vhost_front_plan: answers a miss. */
bool iommu_translate(void *iommu, uint64_t iova, uint8_t perm, struct hg_vhost_iotlb *page);

/* Lets the session read and send. Returns whether something came, or a negative errno. */
int iommu_run(struct iommu *iommu, struct hg_err *err);

/* Forgets how long acknowledgements took; and prints it, {"mean": us, ...}, together with
 * `other`'s. */
void iommu_restart(struct iommu *iommu);
void iommu_print_latency(struct iommu *iommu, struct iommu *other);

#endif
