/*
 * A guest that owns its memory and both rings of a queue pair, split or packed, with or without an IOTLB: writes
 * what the input says, and lets the device receive, transmit, look ahead and arm in between.
 *
 * Input: one byte of features, one of ring size, then operations with their parameters, one byte each. Addresses and
 * lengths are chosen from those that are worth meeting: the ends of regions, a hole, the end of the
 * address space. Every part of a ring and every region is an allocation of its own, so that a sanitizer sees each
 * step beyond it.
 *
 * What must hold: frames have lengths that add up and lie in the guest's memory; of a split ring every chain that
 * was taken is a frame or counted as a drop; what was taken is returned.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "iommu/iotlb.h"
#include "virtio/net_hdr.h"
#include "virtio/vq_dev.h"

enum op {
    DESC,  /* side, index, address, length, flags, next or id */
    ENTRY, /* of an indirect table: place in memory, address, length, flags, next */
    PUSH,  /* side, head (split); side, address, length, flags, id (packed) */
    INDEX, /* side, available index; or owner flags of a descriptor */
    POKE,  /* place in memory, value */
    EVENT, /* side, two bytes of the driver's event area */
    RX,
    TX, /* number of frames, length, offloads */
    AHEAD,
    ARM,
    MAP,    /* page, at page, permission */
    UNMAP,  /* page, pages */
    POSTED, /* the device waits for more buffers than it has looked at */
    BASE,   /* side, four bytes: another device goes on there */
    OP_N
};

enum side { GUEST_RX, GUEST_TX, SIDES_N };

enum { PAGE = 4096, REGIONS_N = 3, SOURCE_BYTES = HG_FRAME_BYTES_MAX };

struct input {
    const uint8_t *at;
    size_t left;
};

static const struct {
    uint64_t addr;
    size_t bytes;
} regions[REGIONS_N] = {{0x10000, PAGE}, {0x10000 + PAGE, PAGE}, {0x40000, 18 * PAGE}};

static struct {
    struct hg_space space;
    struct hg_vq_dev dev[SIDES_N];
    uint16_t pushed[SIDES_N]; /* positions made available */
    struct hg_asks asks[SIDES_N];
    struct hg_queue_stats stats[SIDES_N];
    struct hg_burst burst;
    uint8_t source[SOURCE_BYTES];
    uint8_t sink[SOURCE_BYTES];
    int wake_fd;
} world;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static uint8_t take(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static uint64_t take_addr(struct input *in)
{
    static const uint64_t bases[] = {
        0x10000,
        0x10000 + PAGE - 64, /* into the neighbour */
        0x10000 + 2 * PAGE - 64,
        0x40000,
        0x40000 + PAGE - 20,
        0x40000 + 18 * PAGE - 100,
        0x30000, /* a hole */
        UINT64_MAX - 90,
    };
    uint64_t base = bases[take(in) % HG_ARRAY_N(bases)];

    return base + take(in);
}

static uint32_t take_len(struct input *in)
{
    static const uint32_t lens[] = {0,     1,     12,         14,    26,       60,
                                    192,   204,   1514,       PAGE,  4200,     9000,
                                    20000, 65000, 65549 + 12, 65600, 1u << 31, UINT32_MAX};
    uint8_t choice = take(in);

    return choice < 128 ? choice : lens[choice % HG_ARRAY_N(lens)];
}

static uint8_t *memory_at(uint64_t addr, size_t *left)
{
    for (unsigned i = 0; i < REGIONS_N; i++) {
        const struct hg_region *region = &world.space.region[i];

        if (addr - region->guest_addr >= region->size)
            continue;
        *left = region->size - (addr - region->guest_addr);
        return region->host + (addr - region->guest_addr);
    }
    return NULL;
}

static void write_memory(uint64_t addr, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t left;
        uint8_t *place = memory_at(addr + i, &left);

        if (place != NULL)
            *place = ((const uint8_t *)bytes)[i];
    }
}

static uint16_t owner_flags(const struct hg_vq_dev *dev, uint16_t position)
{
    return (position & dev->num) == 0 ? HG_PACKED_DESC_F_AVAIL : HG_PACKED_DESC_F_USED;
}

/* A descriptor of either format, without owner flags. */
static void take_desc(struct input *in, bool packed, void *desc)
{
    uint64_t addr = take_addr(in);
    uint32_t len = take_len(in);
    uint16_t flags = take(in) & 7;
    uint16_t last = take(in);

    if (packed)
        *(struct hg_packed_desc *)desc = (struct hg_packed_desc){addr, len, last, flags};
    else
        *(struct hg_desc *)desc = (struct hg_desc){addr, len, flags, last};
}

static void push(struct input *in, enum side side)
{
    struct hg_vq_dev *dev = &world.dev[side];
    uint16_t position = world.pushed[side]++;
    uint16_t at = position & (dev->num - 1u);

    if (dev->packed) {
        struct hg_packed_desc desc;

        take_desc(in, true, &desc);
        desc.flags |= owner_flags(dev, position);
        memcpy(dev->desc + at * sizeof(desc), &desc, sizeof(desc));
    } else {
        uint16_t head = take(in);
        uint16_t idx = (uint16_t)(position + 1);

        memcpy(dev->avail + 4 + 2 * at, &head, 2);
        memcpy(dev->avail + 2, &idx, 2);
    }
}

/* The available index, or the flags of a descriptor, as the input says. */
static void set_index(struct input *in, enum side side)
{
    struct hg_vq_dev *dev = &world.dev[side];
    uint8_t number = take(in);
    uint8_t value = take(in);

    if (dev->packed) {
        uint16_t flags = (uint16_t)((value & 7) | (value & 8 ? HG_PACKED_DESC_F_AVAIL : 0) |
                                    (value & 16 ? HG_PACKED_DESC_F_USED : 0));

        memcpy(dev->desc + (number & (dev->num - 1u)) * sizeof(struct hg_packed_desc) +
                   offsetof(struct hg_packed_desc, flags),
               &flags, 2);
    } else {
        world.pushed[side] =
            (uint16_t)(dev->last_avail + (int8_t)number * (value % 64 == 0 ? 99 : 1));
        memcpy(dev->avail + 2, &world.pushed[side], 2);
    }
}

static uint64_t dropped(const struct hg_queue_stats *stats)
{
    uint64_t n = 0;

    for (unsigned reason = 0; reason < HG_DROP_N; reason++)
        n += hg_count_get(&stats->drops.reason[reason]);
    return n;
}

static void check_frame(const struct hg_pkt *pkt)
{
    size_t len = pkt->head_len;

    require(pkt->head_len <= HG_HEAD_BYTES && pkt->len <= HG_FRAME_BYTES_MAX && pkt->len >= 14);
    require(pkt->seg_n <= HG_CHAIN_SEGS_MAX);
    for (unsigned i = 0; i < pkt->seg_n; i++) {
        require(pkt->seg[i].len > 0 && pkt->seg[i].len <= sizeof(world.sink) - len);
        memcpy(world.sink + len, pkt->seg[i].addr, pkt->seg[i].len);
        len += pkt->seg[i].len;
    }
    require(len == pkt->len);
}

static void receive(void)
{
    struct hg_vq_dev *dev = &world.dev[GUEST_TX];
    struct hg_queue_stats *stats = &world.stats[GUEST_TX];
    uint64_t drops_before = dropped(stats);
    uint16_t before = dev->last_avail;
    unsigned n = hg_vq_dev_rx(dev, &world.burst, stats);

    require(n == world.burst.n && n <= HG_BURST_N);
    for (unsigned i = 0; i < n; i++)
        check_frame(&world.burst.pkt[i]);
    if (!dev->packed)
        require((uint16_t)(dev->last_avail - before) == n + (dropped(stats) - drops_before));
    hg_vq_dev_rx_done(dev);
    if (!dev->packed)
        require(dev->used_published == dev->used_idx);
}

static void transmit(struct input *in)
{
    static struct hg_pkt pkts[HG_BURST_N];
    static struct hg_seg segs[HG_BURST_N];
    struct hg_pkt *burst[HG_BURST_N];
    struct hg_vq_dev *dev = &world.dev[GUEST_RX];
    unsigned n = 1 + take(in) % HG_BURST_N;
    uint32_t len = take_len(in);
    uint8_t offloads = take(in);
    bool notify;

    if (len < 14 || len > HG_FRAME_BYTES_MAX)
        len = 60;
    for (unsigned i = 0; i < n; i++) {
        struct hg_pkt *pkt = &pkts[i];

        memset(pkt, 0, offsetof(struct hg_pkt, head));
        pkt->len = len;
        pkt->head_len = (uint16_t)hg_min_u32(len, HG_HEAD_BYTES);
        pkt->seg_n = len > HG_HEAD_BYTES;
        segs[i] = (struct hg_seg){world.source, len - pkt->head_len};
        pkt->seg = &segs[i];
        if (dev->csum_ok && (offloads & 1) != 0 && len >= 60)
            pkt->ol =
                (struct hg_offload){.flags = HG_OL_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
        burst[i] = pkt;
    }
    require(hg_vq_dev_tx(dev, burst, n, &world.stats[GUEST_RX], &notify) <= n);
}

static uint64_t take_page(struct input *in)
{
    static const uint64_t pages[] = {0x10000, 0x11000, 0x30000, UINT64_MAX - PAGE + 1};
    uint8_t choice = take(in) % 22;

    return choice < 4 ? pages[choice] : 0x40000 + (uint64_t)(choice - 4) * PAGE;
}

static void map(struct input *in)
{
    uint64_t iova = take_page(in);
    uint64_t user_addr = take_page(in);
    unsigned perm = take(in) % 4;

    if (world.space.iotlb != NULL)
        (void)hg_iotlb_update(world.space.iotlb, &world.space, iova, PAGE, user_addr, perm, NULL);
}

static void unmap(struct input *in)
{
    uint64_t iova = take_page(in);
    uint64_t size = take(in) % 20 * (uint64_t)PAGE;

    if (world.space.iotlb != NULL && hg_iotlb_unpublish(world.space.iotlb, iova, size))
        hg_iotlb_settle(world.space.iotlb);
}

/* What control does with the misses of both sides: they stay unanswered until a MAP. */
static void take_misses(void)
{
    struct hg_ask miss;

    for (unsigned side = 0; world.space.iotlb != NULL && side < SIDES_N; side++)
        while (hg_iotlb_next_miss(world.space.iotlb, &world.asks[side], 1, &miss))
            continue;
}

static void write_desc(struct input *in)
{
    struct hg_vq_dev *dev = &world.dev[take(in) % SIDES_N];
    uint16_t index = take(in) & (dev->num - 1u);
    uint8_t desc[16];

    take_desc(in, dev->packed, desc);
    memcpy(dev->desc + index * sizeof(desc), desc, sizeof(desc));
}

static void write_entry(struct input *in)
{
    uint64_t place = take_addr(in);
    uint8_t desc[16];

    take_desc(in, world.dev[0].packed, desc);
    write_memory(place, desc, sizeof(desc));
}

/* Another device takes the ring over; it says the same position as it was told, or one that can be. */
static void go_on(struct input *in, enum side side)
{
    struct hg_vq_dev *dev = &world.dev[side];
    uint32_t base = 0;

    for (unsigned i = 0; i < 4; i++)
        base = base << 8 | take(in);
    hg_vq_dev_start(dev, base);
    base = hg_vq_dev_base(dev);
    hg_vq_dev_start(dev, base);
    require(hg_vq_dev_base(dev) == base);
    world.pushed[side] = dev->last_avail;
}

static void do_op(struct input *in)
{
    enum op op = take(in) % OP_N;
    enum side side;
    uint64_t addr;
    uint8_t bytes[2];

    switch (op) {
    case DESC:
        write_desc(in);
        break;
    case ENTRY:
        write_entry(in);
        break;
    case PUSH:
        side = take(in) % SIDES_N;
        push(in, side);
        break;
    case INDEX:
        side = take(in) % SIDES_N;
        set_index(in, side);
        break;
    case POKE:
        addr = take_addr(in);
        bytes[0] = take(in);
        write_memory(addr, bytes, 1);
        break;
    case EVENT:
        side = take(in) % SIDES_N;
        bytes[0] = take(in);
        bytes[1] = take(in);
        memcpy(world.dev[side].avail, bytes, 2);
        break;
    case RX:
        receive();
        break;
    case TX:
        transmit(in);
        break;
    case AHEAD:
        (void)hg_vq_dev_ahead(&world.dev[GUEST_TX], HG_PERM_READ);
        (void)hg_vq_dev_ahead(&world.dev[GUEST_RX], HG_PERM_WRITE);
        take_misses();
        break;
    case ARM:
        hg_vq_dev_arm(&world.dev[GUEST_TX]);
        hg_vq_dev_disarm(&world.dev[GUEST_TX]);
        break;
    case MAP:
        map(in);
        break;
    case UNMAP:
        unmap(in);
        break;
    case POSTED:
        hg_vq_dev_arm_posted(&world.dev[GUEST_RX]);
        break;
    case BASE:
    case OP_N:
        side = take(in) % SIDES_N;
        go_on(in, side);
        break;
    }
}

/* ---- life ---- */

static void *part_new(size_t bytes)
{
    void *part = calloc(1, bytes); /* 16 bytes of alignment are enough */

    require(part != NULL);
    return part;
}

static void side_new(enum side side, uint8_t features, uint16_t num)
{
    struct hg_vq_dev *dev = &world.dev[side];
    bool packed = (features & 1) != 0;

    memset(&world.asks[side], 0, sizeof(world.asks[side]));
    world.asks[side].wake_fd = world.wake_fd;
    *dev = (struct hg_vq_dev){
        .desc = part_new(HG_DESC_BYTES(num)),
        .avail = part_new(packed ? sizeof(struct hg_packed_event) : HG_AVAIL_BYTES(num)),
        .used = part_new(packed ? sizeof(struct hg_packed_event) : HG_USED_BYTES(num)),
        .num = num,
        .hdr_len = (features & 2) != 0 || packed ? HG_NET_HDR_BYTES : HG_NET_HDR_LEGACY_BYTES,
        .packed = packed,
        .mergeable = (features & 2) != 0,
        .event_idx = (features & 4) != 0,
        .in_order = (features & 8) != 0,
        .indirect = (features & 16) == 0,
        .csum_ok = (features & 32) == 0,
        .space = &world.space,
        .asks = (features & 64) != 0 ? &world.asks[side] : NULL,
        .call_fd = -1,
    };
    world.pushed[side] = 0;
    hg_vq_dev_start(dev, packed ? HG_PACKED_WRAP | (uint32_t)HG_PACKED_WRAP << 16 : 0);
}

static void begin(uint8_t features, uint16_t num)
{
    if (world.wake_fd <= 0)
        world.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    require(world.wake_fd > 0);
    world.space = (struct hg_space){.n = REGIONS_N};
    for (unsigned i = 0; i < REGIONS_N; i++)
        world.space.region[i] = (struct hg_region){
            .guest_addr = regions[i].addr,
            .user_addr = regions[i].addr,
            .size = regions[i].bytes,
            .host = calloc(1, regions[i].bytes),
        };
    if ((features & 64) != 0)
        require(hg_iotlb_new(&world.space.iotlb, HG_IOTLB_ENTRIES_MIN, NULL) == 0);
    for (unsigned side = 0; side < SIDES_N; side++)
        side_new(side, features, num);
}

static void end(void)
{
    for (unsigned side = 0; side < SIDES_N; side++) {
        free(world.dev[side].desc);
        free(world.dev[side].avail);
        free(world.dev[side].used);
    }
    hg_iotlb_free(world.space.iotlb);
    for (unsigned i = 0; i < REGIONS_N; i++)
        free(world.space.region[i].host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t features = take(&in);

    begin(features, (uint16_t)(1u << take(&in) % 8));
    while (in.left > 0)
        do_op(&in);
    receive();
    end();
    return 0;
}
