/*
 * What the device leaves in a ring, to the byte: used descriptors of a packed ring, batches in
 * order of either format, the positions that a ring starts at and is handed over with, and when the
 * driver is told.
 */
#include "base/shm.h"
#include "rings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum {
    NUM = 256,
    LEN = 60,
    BUF_BYTES = 640,
    WRITTEN = HG_PACKED_DESC_F_AVAIL | HG_PACKED_DESC_F_USED | HG_DESC_F_WRITE,
    READ = HG_PACKED_DESC_F_AVAIL | HG_PACKED_DESC_F_USED,
};

static struct guest guest;
static struct ring_pair pair;
static struct hg_queue_stats stats;

static void open_ring(struct ring_options options)
{
    options.num = NUM;
    memset(&stats, 0, sizeof(stats));
    guest_init(&guest, (uint64_t)NUM * BUF_BYTES, false);
    ring_pair_init(&pair, &options, &guest.space);
}

static void close_ring(void)
{
    assert_int_equal(pair.dev.fault, HG_VRING_OK);
    ring_pair_free(&pair);
    guest_free(&guest);
}

/* The guest adds a chain of n descriptors, without publishing it. */
static void add(unsigned n, uint32_t len)
{
    uint16_t flags = pair.drv.receives ? HG_DESC_F_WRITE : 0;
    struct hg_drv_buf bufs[4];

    for (unsigned i = 0; i < n; i++)
        bufs[i] = (struct hg_drv_buf){GUEST_ADDR + (uint64_t)hg_drv_id(&pair.drv, i) * BUF_BYTES,
                                      len, flags};
    hg_drv_add_chain(&pair.drv, bufs, n, n * len);
}

static unsigned receive(bool *notify)
{
    static struct hg_burst burst;
    unsigned n = hg_vq_dev_rx(&pair.dev, &burst, &stats);

    *notify = hg_vq_dev_rx_done(&pair.dev);
    return n;
}

static unsigned transmit(uint32_t len, unsigned n)
{
    static uint8_t payload[65536];
    struct hg_seg seg = {payload, len > HG_HEAD_BYTES ? len - HG_HEAD_BYTES : 1};
    struct hg_pkt pkt = {
        .len = len,
        .head_len = (uint16_t)hg_min_u32(len, HG_HEAD_BYTES),
        .seg_n = len > HG_HEAD_BYTES,
        .seg = &seg,
    };
    struct hg_pkt *pkts[HG_BURST_N];
    bool notify;

    for (unsigned i = 0; i < n; i++)
        pkts[i] = &pkt;
    return hg_vq_dev_tx(&pair.dev, pkts, n, &stats, &notify);
}

static void expect_desc(unsigned place, uint16_t id, uint32_t len, uint16_t flags)
{
    struct hg_packed_desc desc;

    memcpy(&desc, pair.dev.desc + place * sizeof(desc), sizeof(desc));
    assert_int_equal(desc.id, id);
    assert_int_equal(desc.flags, flags);
    if ((flags & HG_DESC_F_WRITE) != 0)
        assert_int_equal(desc.len, len);
}

static bool is_available(unsigned place)
{
    struct hg_packed_desc desc;

    memcpy(&desc, pair.dev.desc + place * sizeof(desc), sizeof(desc));
    return ((desc.flags ^ desc.flags >> 8) & HG_PACKED_DESC_F_AVAIL) != 0;
}

/* One for each chain, over its first descriptor; the others stay as the driver wrote them. */
static void packed_used_descriptors(void **state)
{
    bool notify;

    (void)state;
    open_ring((struct ring_options){.packed = true});
    add(1, HG_NET_HDR_BYTES + LEN);
    add(3, HG_NET_HDR_BYTES + LEN);
    add(1, HG_NET_HDR_BYTES + LEN);
    hg_drv_publish(&pair.drv);
    assert_int_equal(receive(&notify), 3);
    expect_desc(0, 0, 0, READ);
    expect_desc(1, 1, 0, READ);
    assert_true(is_available(2) && is_available(3));
    expect_desc(4, 4, 0, READ);
    assert_int_equal(hg_vq_dev_base(&pair.dev), 0x80058005);
    close_ring();

    open_ring((struct ring_options){.packed = true, .receives = true});
    add(1, BUF_BYTES);
    add(2, BUF_BYTES);
    hg_drv_publish(&pair.drv);
    assert_int_equal(transmit(LEN, 2), 2);
    expect_desc(0, 0, HG_NET_HDR_BYTES + LEN, WRITTEN);
    expect_desc(1, 1, HG_NET_HDR_BYTES + LEN, WRITTEN);
    close_ring();
}

/* More buffers than are written together: the first one tells of all. */
static void a_frame_in_many_buffers(void **state)
{
    enum { FRAME = 65000, BUFS_N = (HG_NET_HDR_BYTES + FRAME + BUF_BYTES - 1) / BUF_BYTES };
    struct hg_net_hdr hdr;

    (void)state;
    _Static_assert((int)BUFS_N > (int)HG_VQ_SHADOW_N, "more than are written together");
    for (unsigned packed = 0; packed < 2; packed++) {
        struct hg_drv_used used[BUFS_N + 1];

        open_ring((struct ring_options){.packed = packed != 0, .receives = true});
        pair.dev.mergeable = true;
        for (unsigned i = 0; i < BUFS_N + 1; i++)
            add(1, BUF_BYTES);
        hg_drv_publish(&pair.drv);
        assert_int_equal(transmit(FRAME, 1), 1);
        assert_int_equal(hg_drv_reap(&pair.drv, used, BUFS_N + 1), BUFS_N);
        for (unsigned i = 0; i + 1 < BUFS_N; i++)
            assert_int_equal(used[i].len, BUF_BYTES);
        guest_copy(&guest, GUEST_ADDR, (uint8_t *)&hdr, sizeof(hdr), true);
        assert_int_equal(hdr.num_buffers, BUFS_N);
        close_ring();
    }
}

/* 2.7.9 and 2.8.9: the last of a batch stands for all of it, where the first one would. */
static void batches_in_order(void **state)
{
    struct hg_used_elem elem;
    bool notify;

    (void)state;
    open_ring((struct ring_options){.packed = true, .in_order = true});
    for (unsigned i = 0; i < 5; i++)
        add(i == 1 ? 2 : 1, HG_NET_HDR_BYTES + LEN);
    hg_drv_publish(&pair.drv);
    assert_int_equal(receive(&notify), 5);
    expect_desc(0, 5, 0, READ);
    for (unsigned i = 1; i < 6; i++)
        assert_true(is_available(i));
    assert_int_equal(pair.dev.used_published, 6);
    assert_int_equal(hg_drv_reclaim(&pair.drv, NUM), 5);
    close_ring();

    open_ring((struct ring_options){0});
    pair.dev.in_order = true;
    for (unsigned i = 0; i < 5; i++)
        add(1, HG_NET_HDR_BYTES + LEN);
    hg_drv_publish(&pair.drv);
    assert_int_equal(receive(&notify), 5);
    memcpy(&elem, pair.dev.used + offsetof(struct hg_used, ring), sizeof(elem));
    assert_int_equal(elem.id, 4);
    assert_int_equal(pair.dev.used_published, 5);
    assert_int_equal(hg_shm_load16(pair.dev.used + offsetof(struct hg_used, idx)), 5);
    close_ring();
}

static uint32_t restart(uint32_t base)
{
    hg_vq_dev_start(&pair.dev, base);
    return hg_vq_dev_base(&pair.dev);
}

static void positions(void **state)
{
    (void)state;
    open_ring((struct ring_options){.packed = true});
    assert_int_equal(restart(0x80008000), 0x80008000);
    assert_int_equal(restart(0x00070007), 0x00070007);
    assert_int_equal(restart(0x8000), 0x80008000); /* only the available half is told */
    /* Somebody has taken frames and not returned them: they are taken again. */
    assert_int_equal(restart(0x80038005), 0x80038003);
    assert_int_equal(restart(0x80ff0001), 0x80ff80ff);
    /* More than a ring in flight cannot be. */
    assert_int_equal(restart(0x00058005), 0x80058005);
    close_ring();
    open_ring((struct ring_options){0});
    assert_int_equal(restart(65535), 65535);
    close_ring();
}

static void want_event(uint16_t off_wrap, uint16_t flags)
{
    memcpy(pair.dev.avail, &off_wrap, 2);
    memcpy(pair.dev.avail + 2, &flags, 2);
}

/* Sends and receives n frames; whether the driver is told. */
static bool pass(unsigned n)
{
    bool notify;

    for (unsigned i = 0; i < n; i++)
        add(1, HG_NET_HDR_BYTES + LEN);
    hg_drv_publish(&pair.drv);
    assert_int_equal(receive(&notify), n);
    hg_drv_reclaim(&pair.drv, n);
    return notify;
}

static void events_of_packed_rings(void **state)
{
    (void)state;
    open_ring((struct ring_options){.packed = true, .event_idx = true});
    want_event(0, HG_PACKED_EVENT_DISABLE);
    assert_false(pass(3));
    want_event(0, HG_PACKED_EVENT_ENABLE);
    assert_true(pass(2));
    want_event(6 | HG_PACKED_WRAP, HG_PACKED_EVENT_DESC);
    assert_false(pass(1)); /* 5 */
    assert_true(pass(2));  /* 6 and 7 */
    assert_false(pass(4));
    for (unsigned at = 12; at < 252; at += 24)
        assert_false(pass(24));
    /* The last one of this lap, and one of the next. */
    want_event(255 | HG_PACKED_WRAP, HG_PACKED_EVENT_DESC);
    assert_false(pass(3));
    assert_true(pass(2));
    want_event(1, HG_PACKED_EVENT_DESC);
    assert_true(pass(1));
    want_event(3 | HG_PACKED_WRAP, HG_PACKED_EVENT_DESC); /* the lap that is over */
    assert_false(pass(5));
    close_ring();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_used_descriptors), cmocka_unit_test(a_frame_in_many_buffers),
        cmocka_unit_test(batches_in_order),        cmocka_unit_test(positions),
        cmocka_unit_test(events_of_packed_rings),
    };

    return cmocka_run_group_tests_name("what a device leaves in a ring", tests, NULL, NULL);
}
