/*
 * A run of random frames through both ends of a ring of either format: what test_vq_rx.c and
 * test_vq_tx.c have in common. Every choice comes from the seed.
 */
#ifndef HG_TESTS_UNIT_PAIR_H
#define HG_TESTS_UNIT_PAIR_H

#include "viommu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

enum {
    FRAMES_N = 400, /* of one run */
    RUNS_N = 60,
    CHUNKS_MAX = 24,
    SLOT_BYTES = 65549 + HG_NET_HDR_BYTES + CHUNKS_MAX * 64 + 4096,
    TABLE_AT = 65549 + HG_NET_HDR_BYTES + CHUNKS_MAX * 64, /* of an indirect table in a slot */
    SLOTS_MAX = 64,
};

struct run {
    uint64_t random;
    struct guest guest;
    struct ring_pair pair;
    struct hg_queue_stats stats;
    struct viommu iommu;
    bool with_iommu;
    bool mergeable;
    bool indirect;

    uint32_t len[FRAMES_N];
    struct hg_net_hdr hdr[FRAMES_N];
    uint32_t sent_n;
    uint32_t came_n;
    uint8_t frame[HG_FRAME_BYTES_MAX + HG_NET_HDR_BYTES];

    uint64_t slot_of[SLOTS_MAX]; /* guest memory of each descriptor that is a head */
    struct hg_burst burst;
    bool driver_asleep;
    bool device_asleep;
};

static inline void begin(struct run *run, uint64_t seed, bool receives, bool packed)
{
    struct ring_options options = {
        .num = (uint16_t)(1u << random_in(&seed, 1, 6)),
        .receives = receives,
        .packed = packed,
        .event_idx = random_in(&seed, 0, 1),
        /* Our driver takes batches on packed rings alone. */
        .in_order = packed && random_in(&seed, 0, 1),
    };

    memset(run, 0, sizeof(*run));
    run->random = seed;
    run->mergeable = random_in(&run->random, 0, 1);
    run->indirect = random_in(&run->random, 0, 1);
    run->with_iommu = random_in(&run->random, 0, 1);
    guest_init(&run->guest, (uint64_t)SLOTS_MAX * SLOT_BYTES, run->with_iommu);
    ring_pair_init(&run->pair, &options, &run->guest.space);
    run->pair.dev.mergeable = run->mergeable;
    run->pair.dev.indirect = run->indirect;
    if (run->with_iommu) {
        viommu_init(&run->iommu, &run->guest);
        viommu_attach(&run->iommu, &run->pair.dev);
    }
    for (unsigned i = 0; i < SLOTS_MAX; i++)
        run->slot_of[i] = GUEST_ADDR + (uint64_t)i * SLOT_BYTES;
}

static inline void end(struct run *run)
{
    assert_int_equal(run->pair.drv.fault, HG_DRV_OK);
    assert_int_equal(run->pair.dev.fault, HG_VRING_OK);
    if (run->with_iommu)
        viommu_free(&run->iommu);
    ring_pair_free(&run->pair);
    guest_free(&run->guest);
}

/* A request that does not contradict the frame, or none. */
static inline struct hg_net_hdr random_hdr(struct run *run, uint32_t len)
{
    struct hg_net_hdr hdr = {0};

    if (len < 60 || random_in(&run->random, 0, 2) != 0)
        return hdr;
    hdr.flags = HG_NET_HDR_F_NEEDS_CSUM;
    hdr.csum_start = 34;
    hdr.csum_offset = 16;
    if (random_in(&run->random, 0, 1)) {
        hdr.gso_type = random_in(&run->random, 0, 1) ? HG_NET_HDR_GSO_TCPV4 : HG_NET_HDR_GSO_TCPV6;
        hdr.gso_size = (uint16_t)random_in(&run->random, 1, 9000);
    }
    return hdr;
}

/* Cuts `len` bytes from `addr` on into at most `max` buffers, perhaps with gaps between them. */
static inline unsigned cut(struct run *run, uint64_t addr, uint32_t len, unsigned max,
                           uint16_t flags, struct hg_drv_buf *bufs)
{
    unsigned n = 0;

    max = random_in(&run->random, 1, max);
    while (len != 0) {
        uint32_t part = n + 1 == max ? len : random_in(&run->random, 1, len);

        if (n + 1 != max && random_in(&run->random, 0, 1))
            part = hg_min_u32(part, random_in(&run->random, 1, 40));
        bufs[n++] = (struct hg_drv_buf){.addr = addr, .len = part, .flags = flags};
        addr += part + random_in(&run->random, 0, 64);
        len -= part;
    }
    return n;
}

/* Adds the buffers as one chain, or through a table behind them if that is allowed. Returns the
 * head. */
static inline uint16_t add(struct run *run, const struct hg_drv_buf *bufs, unsigned n,
                           uint32_t room, bool through_table)
{
    struct hg_drv *drv = &run->pair.drv;
    uint16_t head = hg_drv_id(drv, 0);
    uint64_t table_addr = run->slot_of[head] + TABLE_AT + random_in(&run->random, 0, 3) * 16;

    if (!through_table) {
        if (n == 1 && random_in(&run->random, 0, 1))
            hg_drv_add(drv, bufs, 1);
        else
            hg_drv_add_chain(drv, bufs, n, room);
        return head;
    }
    for (unsigned i = 0; i < n; i++) {
        bool last = i + 1 == n;
        struct hg_desc desc = {
            .addr = bufs[i].addr,
            .len = bufs[i].len,
            .flags = (uint16_t)(bufs[i].flags | (last ? 0 : HG_DESC_F_NEXT)),
            .next = (uint16_t)(last ? 0 : i + 1),
        };
        struct hg_packed_desc packed = {
            .addr = bufs[i].addr,
            .len = bufs[i].len,
            .flags = bufs[i].flags,
        };
        void *entry = drv->packed ? (void *)&packed : (void *)&desc;

        guest_copy(&run->guest, table_addr + i * sizeof(desc), entry, sizeof(desc), false);
    }
    const struct hg_drv_buf table = {table_addr, (uint32_t)(n * sizeof(struct hg_desc)),
                                     HG_DESC_F_INDIRECT};

    hg_drv_add_chain(drv, &table, 1, room);
    return head;
}

/* Publishes, and checks that a device that sleeps is woken, and one that does not is left alone. */
static inline void publish(struct run *run)
{
    bool something = run->pair.drv.avail_idx != run->pair.drv.avail_published;
    bool kick = hg_drv_publish(&run->pair.drv);

    assert_int_equal(kick, something && run->device_asleep);
    if (kick) {
        run->device_asleep = false;
        hg_vq_dev_disarm(&run->pair.dev);
    }
}

static inline void notified(struct run *run, bool notify, bool something)
{
    assert_int_equal(notify, something && run->driver_asleep);
    if (notify) {
        run->driver_asleep = false;
        hg_drv_disarm(&run->pair.drv);
    }
}

/* Mappings come and go: the misses that the device has sent are answered, some of them late, and
 * pages are taken away that the guest will name again. */
static inline void change_mappings(struct run *run, enum hg_perm perm)
{
    if (!run->with_iommu)
        return;
    if (random_in(&run->random, 0, 3) == 0)
        hg_vq_dev_ahead(&run->pair.dev, perm);
    if (random_in(&run->random, 0, 1))
        viommu_serve(&run->iommu, random_in(&run->random, 1, 60),
                     HG_PERM_READ | random_in(&run->random, 0, 1) * HG_PERM_WRITE | (int)perm,
                     NULL);
    if (random_in(&run->random, 0, 3) == 0)
        viommu_unmap(&run->iommu, GUEST_ADDR + next_random(&run->random) % run->guest.bytes);
}

/* Positions of a packed ring are known modulo two laps. */
static inline bool same_position(const struct hg_vq_dev *dev, uint16_t a, uint16_t b)
{
    return ((a - b) & (dev->packed ? 2 * dev->num - 1 : UINT16_MAX)) == 0;
}

/* Another device goes on where this one stopped. */
static inline void hand_over(struct run *run)
{
    struct hg_vq_dev *dev = &run->pair.dev;
    struct hg_vq_dev old = *dev;

    if (random_in(&run->random, 0, 31) != 0)
        return;
    dev->last_avail = dev->used_idx = dev->used_published = dev->avail_idx = 12345;
    hg_vq_dev_start(dev, hg_vq_dev_base(&old));
    run->device_asleep = false;
    assert_true(same_position(dev, dev->last_avail, old.last_avail));
    assert_true(same_position(dev, dev->used_idx, old.used_idx));
}

static inline void driver_sleeps(struct run *run)
{
    if (run->driver_asleep || random_in(&run->random, 0, 3) != 0)
        return;
    run->driver_asleep = !hg_drv_arm(&run->pair.drv);
    if (!run->driver_asleep)
        hg_drv_disarm(&run->pair.drv);
}

#endif
