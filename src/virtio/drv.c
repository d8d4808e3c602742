#include "virtio/drv.h"

#include <errno.h>
#include <stdlib.h>

#include "base/shm.h"

/* Parts written by different sides never share a line, nor the pair of lines that some processors
 * fetch together. */
enum { PART_ALIGN_BYTES = 128 };

enum { RECLAIM_N = 32 }; /* chains taken together when nobody looks at them */

static const char *const fault_names[] = {
    [HG_DRV_OK] = "none",
    [HG_DRV_USED_JUMP] = "used index moved past what is outstanding",
    [HG_DRV_USED_RANGE] = "used id out of range",
    [HG_DRV_USED_IDLE] = "used id is not outstanding",
    [HG_DRV_USED_LEN] = "used length above what was posted",
    [HG_DRV_NUM_BUFFERS] = "merged frame without its buffers",
};
_Static_assert(HG_ARRAY_N(fault_names) == HG_DRV_FAULT_N, "one name for each fault");

const char *hg_drv_fault_name(enum hg_drv_fault fault)
{
    return fault < HG_DRV_FAULT_N ? fault_names[fault] : "unknown";
}

/* The layout of a split ring, which is the larger one. */

static size_t avail_offset(uint16_t num)
{
    _Static_assert(HG_PACKED_DESC_BYTES(1) == HG_DESC_BYTES(1), "as many fit for either format");
    return hg_round_up(HG_DESC_BYTES(num), PART_ALIGN_BYTES);
}

static size_t used_offset(uint16_t num)
{
    return avail_offset(num) + hg_round_up(HG_AVAIL_BYTES(num), PART_ALIGN_BYTES);
}

size_t hg_drv_bytes(uint16_t num)
{
    return used_offset(num) + hg_round_up(HG_USED_BYTES(num), PART_ALIGN_BYTES);
}

int hg_drv_init(struct hg_drv *ring, uint16_t num, bool receives, void *shared)
{
    *ring = (struct hg_drv){
        .desc = shared,
        .avail = (uint8_t *)shared + avail_offset(num),
        .used = (uint8_t *)shared + used_offset(num),
        .num = num,
        .receives = receives,
        .free = calloc(num, sizeof(*ring->free)),
        .slot = calloc(num, sizeof(*ring->slot)),
    };
    if (ring->free == NULL || ring->slot == NULL) {
        hg_drv_free(ring);
        return -ENOMEM;
    }
    hg_drv_reset(ring);
    return 0;
}

void hg_drv_free(struct hg_drv *ring)
{
    free(ring->free);
    free(ring->slot);
    ring->free = NULL;
    ring->slot = NULL;
}

void hg_drv_reset(struct hg_drv *ring)
{
    for (size_t i = 0; i < hg_drv_bytes(ring->num); i += sizeof(uint64_t))
        hg_shm_store64(ring->desc + i, 0);
    for (uint16_t id = 0; id < ring->num; id++) {
        ring->free[id] = id;
        ring->slot[id] = (struct hg_drv_slot){0};
    }
    ring->free_first = 0;
    ring->free_n = ring->num;
    ring->avail_idx = ring->avail_published = 0;
    ring->used_idx = ring->last_used = 0;
    ring->in_batch = false;
    ring->fault = HG_DRV_OK;
    ring->fault_value = 0;
}

static bool has(uint64_t features, unsigned feature)
{
    return (features & HG_BIT(feature)) != 0;
}

void hg_drv_start(struct hg_drv *ring, uint64_t features)
{
    ring->packed = has(features, HG_VIRTIO_F_RING_PACKED);
    ring->event_idx = has(features, HG_VIRTIO_F_EVENT_IDX);
    ring->in_order = has(features, HG_VIRTIO_F_IN_ORDER);
    if (ring->packed)
        hg_packed_drv_start(ring);
    else
        hg_split_drv_start(ring);
}

void hg_drv_break(struct hg_drv *ring, enum hg_drv_fault fault, uint64_t value)
{
    if (hg_drv_broken(ring))
        return;
    atomic_store_explicit(&ring->fault_value, value, memory_order_relaxed);
    /* Release: who sees the fault (acquire) sees its value. */
    atomic_store_explicit(&ring->fault, fault, memory_order_release);
}

unsigned hg_drv_reclaim(struct hg_drv *ring, unsigned n)
{
    struct hg_drv_used used[RECLAIM_N];
    unsigned done_n = 0;

    while (done_n < n) {
        unsigned want_n = hg_min_u32(n - done_n, HG_ARRAY_N(used));
        unsigned got_n = hg_drv_reap(ring, used, want_n);

        done_n += got_n;
        if (got_n < want_n)
            break;
    }
    return done_n;
}
