/*
 * A device's ring behind an IOTLB, in either format: where it stops, what it asks for and when,
 * what it does about refusals, and that translations are there before frames need them.
 */
#include "viommu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum {
    NUM = 512,
    PAGES_N = 1024,
    LEN = 200, /* of a frame */
};

#define ROOM (HG_NET_HDR_BYTES + LEN)

struct scene {
    struct guest guest;
    struct viommu iommu;
    struct ring_pair pair;
    struct hg_queue_stats stats;
    struct hg_burst burst;
    unsigned posted_n;
};

static struct scene scene;

static struct hg_vq_dev *dev(void)
{
    return &scene.pair.dev;
}

static uint64_t page(unsigned i)
{
    return GUEST_ADDR + (uint64_t)i * VIOMMU_PAGE;
}

static void open_scene(bool packed, bool receives)
{
    const struct ring_options options = {.num = NUM, .receives = receives, .packed = packed};

    memset(&scene, 0, sizeof(scene));
    guest_init(&scene.guest, PAGES_N * VIOMMU_PAGE, true);
    viommu_init(&scene.iommu, &scene.guest);
    ring_pair_init(&scene.pair, &options, &scene.iommu.space);
    viommu_attach(&scene.iommu, dev());
    dev()->indirect = true;
}

static void close_scene(void)
{
    assert_int_equal(dev()->fault, HG_VRING_OK);
    ring_pair_free(&scene.pair);
    viommu_free(&scene.iommu);
    guest_free(&scene.guest);
}

/* The guest posts n buffers, each in a page of its own, in the order of the pages. */
static void post(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const bool receives = scene.pair.drv.receives;
        const struct hg_drv_buf buf = {
            .addr = page(scene.posted_n++),
            .len = receives ? 2048 : ROOM,
            .flags = receives ? HG_DESC_F_WRITE : 0,
        };
        uint8_t first[HG_NET_HDR_BYTES + 1] = {[HG_NET_HDR_BYTES] = (uint8_t)scene.posted_n};

        if (!receives)
            guest_copy(&scene.guest, buf.addr, first, sizeof(first), false);
        hg_drv_add(&scene.pair.drv, &buf, 1);
    }
    hg_drv_publish(&scene.pair.drv);
}

static unsigned receive(void)
{
    unsigned n = hg_vq_dev_rx(dev(), &scene.burst, &scene.stats);

    hg_vq_dev_rx_done(dev());
    return n;
}

static unsigned transmit(unsigned n)
{
    static struct hg_pkt pkt = {.len = LEN, .head_len = HG_HEAD_BYTES};
    static uint8_t rest[LEN - HG_HEAD_BYTES];
    static const struct hg_seg seg = {rest, sizeof(rest)};
    struct hg_pkt *pkts[HG_BURST_N];
    bool notify;

    pkt.seg = &seg;
    pkt.seg_n = 1;
    for (unsigned i = 0; i < n; i++)
        pkts[i] = &pkt;
    return hg_vq_dev_tx(dev(), pkts, n, &scene.stats, &notify);
}

/* What moves a frame in the direction of the scene. */
static unsigned move(void)
{
    return scene.pair.drv.receives ? transmit(HG_BURST_N) : receive();
}

static unsigned serve(int perm)
{
    return viommu_serve(&scene.iommu, UINT32_MAX, perm, NULL);
}

static uint64_t drops(enum hg_drop reason)
{
    return hg_count_get(&scene.stats.drops.reason[reason]);
}

static const int READ_WRITE = HG_PERM_READ | HG_PERM_WRITE;

/* Everything below holds for both directions and both formats. */
static void stops_and_goes_on(bool packed, bool receives)
{
    struct hg_ask asked[NUM];
    unsigned n;

    open_scene(packed, receives);
    for (unsigned i = 0; i < 3; i++)
        viommu_map(&scene.iommu, page(i), (unsigned)READ_WRITE);
    post(50);

    assert_int_equal(move(), 3);
    assert_true(dev()->missing && hg_vq_dev_stalled(dev()));
    assert_int_equal(hg_count_get(&dev()->iommu.hits), 3);
    /* The burst's own and those behind it, at once and in order. */
    n = viommu_serve(&scene.iommu, NUM, -1, asked);
    assert_int_equal(n, 47);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(asked[i].addr, page(3 + i));
        assert_int_equal(asked[i].perm, receives ? HG_PERM_WRITE : HG_PERM_READ);
    }
    /* Nothing is asked twice, and nothing moves. */
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(move(), 0);
    assert_true(hg_vq_dev_stalled(dev()));
    assert_int_equal(serve(-1), 0);

    viommu_map(&scene.iommu, page(4), (unsigned)READ_WRITE); /* not the one whose turn it is */
    assert_false(hg_vq_dev_stalled(dev()));
    assert_int_equal(move(), 0);
    assert_true(hg_vq_dev_stalled(dev()));
    viommu_map(&scene.iommu, page(3), (unsigned)READ_WRITE);
    assert_int_equal(move(), 2);
    for (unsigned i = 5; i < 50; i++)
        viommu_map(&scene.iommu, page(i), (unsigned)READ_WRITE);
    assert_int_equal(move(), 32);
    assert_int_equal(move(), 13);
    assert_false(dev()->missing);
    assert_int_equal(hg_count_get(&scene.stats.packets), 50);
    assert_int_equal(hg_count_get(&dev()->iommu.hits), 50);
    close_scene();
}

/* No translation outlives its invalidation: not in the hint either. */
static void forgets_what_is_taken_away(bool packed, bool receives)
{
    open_scene(packed, receives);
    viommu_map(&scene.iommu, page(0), (unsigned)READ_WRITE);
    post(1);
    assert_int_equal(move(), 1);
    scene.posted_n = 0;
    post(1);
    viommu_unmap(&scene.iommu, page(0));
    assert_int_equal(move(), 0);
    assert_true(dev()->missing);
    assert_int_equal(serve(READ_WRITE), 1);
    assert_int_equal(move(), 1);
    close_scene();
}

static void translates_ahead(bool packed, bool receives)
{
    enum hg_perm perm = receives ? HG_PERM_WRITE : HG_PERM_READ;
    unsigned window_n = receives ? HG_VQ_AHEAD_N : HG_VQ_AHEAD_READ_N;
    unsigned asked_n = 0;

    open_scene(packed, receives);
    assert_false(hg_vq_dev_ahead(dev(), perm));
    post(40);
    assert_true(hg_vq_dev_ahead(dev(), perm));
    assert_true(hg_vq_dev_ahead(dev(), perm));
    assert_int_equal(serve(READ_WRITE), 40);
    assert_false(hg_vq_dev_ahead(dev(), perm));
    assert_int_equal(move(), 32);
    assert_int_equal(hg_count_get(&dev()->iommu.ahead_hits), 32);
    assert_int_equal(hg_count_get(&dev()->iommu.stops), 0);

    /* What is posted later is looked at later, and a window of it at a time. */
    post(400);
    while (hg_vq_dev_ahead(dev(), perm)) {
        unsigned n = serve(READ_WRITE);

        assert_in_range(n, 1, HG_IOTLB_ASKS_N);
        asked_n += n;
    }
    assert_int_equal(asked_n, window_n - 8);
    for (unsigned done = 32; done < 440;) {
        unsigned n = move();

        assert_int_equal(n, hg_min_u32(32, 440 - done));
        done += n;
        if (hg_vq_dev_ahead(dev(), perm))
            asked_n += serve(READ_WRITE);
    }
    assert_int_equal(asked_n, 400);
    assert_int_equal(hg_count_get(&dev()->iommu.stops), 0);
    assert_int_equal(hg_count_get(&dev()->iommu.ahead_hits), 440);
    assert_int_equal(hg_count_get(&dev()->iommu.hits), 440);
    close_scene();
}

/* More asks than fit: the rest follows when control has read the first ones. */
static void asks_in_batches(bool packed, bool receives)
{
    unsigned window_n = receives ? HG_VQ_AHEAD_N : HG_VQ_AHEAD_READ_N;
    unsigned first_n = hg_min_u32(window_n, HG_IOTLB_ASKS_N);

    open_scene(packed, receives);
    post(300);
    assert_int_equal(move(), 0);
    assert_int_equal(serve(-1), first_n);
    assert_false(hg_vq_dev_stalled(dev()));
    assert_int_equal(move(), 0);
    assert_int_equal(serve(-1), window_n - first_n);
    close_scene();
}

/* A chain through a table, each of them in pages of their own. */
static void waits_for_whole_chains(bool packed, bool receives)
{
    const uint16_t flags = receives ? HG_DESC_F_WRITE : 0;
    const struct hg_drv_buf table = {page(8), 3 * sizeof(struct hg_desc), HG_DESC_F_INDIRECT};
    const uint32_t part = ROOM / 3 + 1;

    open_scene(packed, receives);
    for (uint16_t i = 0; i < 3; i++) {
        uint16_t next = i < 2 && !packed ? HG_DESC_F_NEXT : 0;
        struct hg_desc split_desc = {page(2 * i), part, flags | next, (uint16_t)(i + 1)};
        struct hg_packed_desc packed_desc = {page(2 * i), part, 0, flags};
        void *desc = packed ? (void *)&packed_desc : (void *)&split_desc;

        guest_copy(&scene.guest, page(8) + i * sizeof(split_desc), desc, sizeof(split_desc), false);
    }
    hg_drv_add_chain(&scene.pair.drv, &table, 1, 3 * part);
    hg_drv_publish(&scene.pair.drv);
    assert_int_equal(move(), 0);
    assert_int_equal(serve(READ_WRITE), 1); /* without the table nobody knows more */
    assert_int_equal(move(), 0);
    assert_int_equal(serve(READ_WRITE), 3);
    assert_int_equal(move(), 1);
    assert_false(hg_drv_reclaim(&scene.pair.drv, 2) == 0);
    close_scene();
}

static void each(void (*check)(bool packed, bool receives))
{
    for (unsigned i = 0; i < 4; i++)
        check(i % 2 != 0, i / 2 != 0);
}

static void test_stops_and_goes_on(void **state)
{
    (void)state;
    each(stops_and_goes_on);
}

static void test_forgets_what_is_taken_away(void **state)
{
    (void)state;
    each(forgets_what_is_taken_away);
}

static void test_translates_ahead(void **state)
{
    (void)state;
    each(translates_ahead);
}

static void test_asks_in_batches(void **state)
{
    (void)state;
    each(asks_in_batches);
}

static void test_waits_for_whole_chains(void **state)
{
    (void)state;
    each(waits_for_whole_chains);
}

/* A frame whose buffer the guest may not name is lost by that name, and only that. */
static void test_drops_what_the_sender_may_not_name(void **state)
{
    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        open_scene(packed != 0, false);
        post(4);
        viommu_map(&scene.iommu, page(0), HG_PERM_READ);
        viommu_map(&scene.iommu, page(3), HG_PERM_READ);
        assert_int_equal(move(), 1);
        assert_int_equal(serve(-1), 2);
        viommu_map(&scene.iommu, page(1), HG_PERM_WRITE); /* answers, but not as wished */
        viommu_map(&scene.iommu, page(2), 0);
        assert_int_equal(move(), 1);
        assert_int_equal(scene.burst.pkt[0].head[0], 4);
        assert_int_equal(drops(HG_DROP_IOMMU_FAULT), 2);
        assert_int_equal(hg_count_get(&dev()->iommu.faults[HG_FAULT_PERMISSION]), 1);
        assert_int_equal(hg_count_get(&dev()->iommu.faults[HG_FAULT_UNMAPPED]), 1);
        assert_int_equal(hg_count_get(&dev()->iommu.hits), 2);
        assert_int_equal(hg_count_get(&scene.stats.packets), 4);
        assert_int_equal(hg_drv_reclaim(&scene.pair.drv, 4), 4);
        close_scene();
    }
}

static void expect_used(unsigned n, uint32_t len)
{
    struct hg_drv_used used;

    while (n-- > 0) {
        assert_int_equal(hg_drv_reap(&scene.pair.drv, &used, 1), 1);
        assert_int_equal(used.len, len);
    }
}

/* A buffer that the guest has not mapped goes back empty, and the frame takes the next one. */
static void test_frames_pass_refused_buffers(void **state)
{
    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        open_scene(packed != 0, true);
        post(6);
        for (unsigned i = 0; i < 6; i++)
            viommu_map(&scene.iommu, page(i), i == 0 || i == 3 ? HG_PERM_WRITE : HG_PERM_READ);
        assert_int_equal(transmit(2), 1);
        assert_int_equal(serve(HG_PERM_READ), 4); /* a better answer might have come */
        assert_int_equal(transmit(1), 1);
        expect_used(1, ROOM);
        expect_used(2, 0);
        expect_used(1, ROOM);
        assert_int_equal(transmit(1), 0);
        assert_false(dev()->missing);
        expect_used(2, 0);
        assert_int_equal(drops(HG_DROP_TX_IOMMU_FAULT), 0);
        assert_int_equal(hg_count_get(&dev()->iommu.faults[HG_FAULT_PERMISSION]), 4);
        close_scene();
    }
}

/* But not without end: a guest that posts nothing else loses frames. */
static void test_skips_a_bounded_number(void **state)
{
    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        open_scene(packed != 0, true);
        post(100);
        while (transmit(4), serve(0) != 0)
            ;
        assert_int_equal(drops(HG_DROP_TX_IOMMU_FAULT), 4);
        assert_int_equal(hg_count_get(&scene.stats.packets), 0);
        expect_used(HG_BURST_N + 4, 0);
        close_scene();
    }
}

/* Nor when each packet gathers several buffers before it meets the refused one: the sum passes by
 * the bound without ever being it. */
static void test_skips_a_bounded_number_of_gathered(void **state)
{
    static struct hg_pkt pkt = {.len = LEN, .head_len = HG_HEAD_BYTES};
    static uint8_t rest[LEN - HG_HEAD_BYTES];
    static const struct hg_seg seg = {rest, sizeof(rest)};
    struct hg_pkt *pkts[] = {&pkt};
    bool notify;

    (void)state;
    pkt.seg = &seg;
    pkt.seg_n = 1;
    for (unsigned packed = 0; packed < 2; packed++) {
        open_scene(packed != 0, true);
        dev()->mergeable = true;
        for (unsigned i = 0; i < 300; i++) {
            const struct hg_drv_buf buf = {page(i), 64, HG_DESC_F_WRITE};

            viommu_map(&scene.iommu, page(i), i % 3 == 2 ? HG_PERM_READ : HG_PERM_WRITE);
            hg_drv_add(&scene.pair.drv, &buf, 1);
        }
        hg_drv_publish(&scene.pair.drv);
        for (unsigned i = 0; i < 10 && drops(HG_DROP_TX_IOMMU_FAULT) == 0; i++) {
            hg_vq_dev_tx(dev(), pkts, 1, &scene.stats, &notify);
            serve(HG_PERM_READ);
        }
        assert_int_equal(drops(HG_DROP_TX_IOMMU_FAULT), 1);
        assert_in_range(dev()->last_avail, HG_BURST_N, HG_BURST_N + 6);
        close_scene();
    }
}

/* What a look ahead costs is bounded by what is missing, too. */
static void test_looks_at_a_bounded_number_of_pages(void **state)
{
    enum { PAGES = 15, WORK = 1024 };

    (void)state;
    for (unsigned packed = 0; packed < 2; packed++) {
        open_scene(packed != 0, true);
        for (unsigned i = 0; i < 200; i++) {
            const struct hg_drv_buf buf = {page(4 * i), PAGES * VIOMMU_PAGE, HG_DESC_F_WRITE};

            hg_drv_add(&scene.pair.drv, &buf, 1);
        }
        hg_drv_publish(&scene.pair.drv);
        assert_true(hg_vq_dev_ahead(dev(), HG_PERM_WRITE));
        assert_in_range(dev()->ahead.next, 1, WORK / PAGES + 1);
        close_scene();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stops_and_goes_on),
        cmocka_unit_test(test_forgets_what_is_taken_away),
        cmocka_unit_test(test_translates_ahead),
        cmocka_unit_test(test_asks_in_batches),
        cmocka_unit_test(test_waits_for_whole_chains),
        cmocka_unit_test(test_drops_what_the_sender_may_not_name),
        cmocka_unit_test(test_frames_pass_refused_buffers),
        cmocka_unit_test(test_skips_a_bounded_number),
        cmocka_unit_test(test_skips_a_bounded_number_of_gathered),
        cmocka_unit_test(test_looks_at_a_bounded_number_of_pages),
    };

    return cmocka_run_group_tests_name("a ring behind an IOTLB", tests, NULL, NULL);
}
