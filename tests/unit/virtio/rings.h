/*
 * Two ends of a ring for tests: guest memory in regions that lie apart here and side by side for
 * the guest, so that buffers can span two of them, and frames whose every byte depends on the
 * frame's number and the byte's place.
 */
#ifndef HG_TESTS_UNIT_RINGS_H
#define HG_TESTS_UNIT_RINGS_H

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "iommu/space.h"
#include "virtio/drv.h"
#include "virtio/vq_dev.h"

enum { GUEST_REGIONS_N = 5 };

#define GUEST_ADDR UINT64_C(0x100000)

struct guest {
    struct hg_space space;
    uint64_t bytes;
};

/* xorshift64*: repeatable. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* From min to max, both included. */
static inline uint32_t random_in(uint64_t *state, uint32_t min, uint32_t max)
{
    return min + (uint32_t)(next_random(state) % (max - min + 1));
}

/* At least `bytes` of guest memory. Every region is an allocation of its own, so that a sanitizer
 * sees every step beyond it. Regions are whole pages, which an IOTLB needs, or have odd bounds. */
static inline void guest_init(struct guest *guest, uint64_t bytes, bool whole_pages)
{
    uint64_t region_bytes = hg_round_up(bytes / GUEST_REGIONS_N, 4096) + 4096;

    if (!whole_pages)
        region_bytes += 37;
    *guest = (struct guest){.bytes = region_bytes * GUEST_REGIONS_N};
    guest->space.n = GUEST_REGIONS_N;
    for (unsigned i = 0; i < GUEST_REGIONS_N; i++)
        guest->space.region[i] = (struct hg_region){
            .guest_addr = GUEST_ADDR + i * region_bytes,
            .user_addr = GUEST_ADDR + i * region_bytes,
            .size = region_bytes,
            .host = calloc(1, region_bytes),
        };
}

static inline void guest_free(struct guest *guest)
{
    for (unsigned i = 0; i < guest->space.n; i++)
        free(guest->space.region[i].host);
}

/* Copies into (or, with `out`, out of) guest memory, as the guest itself sees it. */
static inline void guest_copy(struct guest *guest, uint64_t addr, uint8_t *private, uint64_t n,
                              bool out)
{
    for (unsigned i = 0; i < guest->space.n && n != 0; i++) {
        struct hg_region *region = &guest->space.region[i];
        uint64_t offset = addr - region->guest_addr;

        if (offset >= region->size)
            continue;
        uint64_t part = hg_min_u64(n, region->size - offset);

        if (out)
            memcpy(private, region->host + offset, part);
        else
            memcpy(region->host + offset, private, part);
        addr += part;
        private += part;
        n -= part;
    }
    assert(n == 0);
}

static inline uint8_t frame_byte(uint32_t number, uint32_t at)
{
    return (uint8_t)(number * 131 + at * 7 + (at >> 8));
}

static inline void fill_frame(uint8_t *frame, uint32_t number, uint32_t len)
{
    for (uint32_t i = 0; i < len; i++)
        frame[i] = frame_byte(number, i);
}

/* Small ones often, and every length that a frame may have. */
static inline uint32_t random_len(uint64_t *state)
{
    switch (random_in(state, 0, 7)) {
    case 0:
        return 65549;
    case 1:
        return random_in(state, 14, 65549);
    case 2:
    case 3:
        return random_in(state, 14, 9000);
    default:
        return random_in(state, 14, 300);
    }
}

/* Both ends of a ring. */
struct ring_pair {
    struct hg_drv drv;
    struct hg_vq_dev dev;
    void *memory;
};

struct ring_options {
    uint16_t num;
    bool receives; /* the device writes */
    bool packed;
    bool event_idx;
    bool in_order;
};

static inline void ring_pair_init(struct ring_pair *pair, const struct ring_options *options,
                                  const struct hg_space *space)
{
    uint64_t features = (options->packed ? HG_BIT(HG_VIRTIO_F_RING_PACKED) : 0) |
                        (options->event_idx ? HG_BIT(HG_VIRTIO_F_EVENT_IDX) : 0) |
                        (options->in_order ? HG_BIT(HG_VIRTIO_F_IN_ORDER) : 0);
    int rc;

    pair->memory = aligned_alloc(128, hg_drv_bytes(options->num));
    rc = hg_drv_init(&pair->drv, options->num, options->receives, pair->memory);
    assert(rc == 0);
    (void)rc;
    hg_drv_start(&pair->drv, features);
    pair->dev = (struct hg_vq_dev){
        .desc = pair->drv.desc,
        .avail = pair->drv.avail,
        .used = pair->drv.used,
        .num = options->num,
        .hdr_len = HG_NET_HDR_BYTES,
        .packed = options->packed,
        .in_order = options->in_order,
        .event_idx = options->event_idx,
        .csum_ok = true,
        .space = space,
        .call_fd = -1,
    };
    hg_vq_dev_start(&pair->dev, options->packed ? HG_PACKED_WRAP : 0);
}

static inline void ring_pair_free(struct ring_pair *pair)
{
    hg_drv_free(&pair->drv);
    free(pair->memory);
}

#endif
