/*
 * The shaper between a stage and a worker: packets wait, leave in time and are freed; the worker
 * sleeps meanwhile.
 */
#include "sched/shaper.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "bed.h"
#include "sync/qsbr.h"

enum { BUFFERS = 512, RATE_BPS = 80000000, LEN = 1000 };

struct rig {
    struct bed bed;
    struct hg_arena *arena;
    struct hg_pool *pool;
    struct hg_pool_cache *cache;
    struct hg_shaper *shaper;
    unsigned sent;
    uint8_t last; /* byte 0 of the last packet sent */
};

static void send_packets(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    struct rig *rig = (struct rig *)ctx;

    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(pkts[i]->len, LEN);
        rig->last = pkts[i]->head[0];
    }
    rig->sent += n;
}

/* The first byte of the frame says the queue. */
static uint32_t by_first_byte(void *ctx, const struct hg_pkt *pkt)
{
    (void)ctx;
    return pkt->head[0];
}

static void rig_new(struct rig *rig)
{
    struct hg_sched_options o = {.queue_n = 2,
                                 .queue_packets = 300,
                                 .port = {.rate_bps = RATE_BPS, .burst_bytes = 2 * 1518}};
    struct hg_arena_options memory = {.name = "pool", .pages = HG_PAGES_4K};
    struct hg_pool_options buffers = {.name = "pool", .object_bytes = 2048, .n = BUFFERS};
    struct hg_shaper_options shaper = {.queue = by_first_byte, .send = send_packets, .ctx = rig};
    struct hg_err err;

    memset(rig, 0, sizeof(*rig));
    rig->bed = bed_new(&o);
    memory.bytes = hg_pool_bytes(&buffers);
    assert_int_equal(hg_arena_new(&rig->arena, &memory, &err), 0);
    assert_int_equal(hg_pool_new(&rig->pool, rig->arena, &buffers, &err), 0);
    assert_int_equal(hg_pool_cache_new(&rig->cache, rig->pool, "test", &err), 0);
    shaper.sched = rig->bed.sched;
    shaper.cache = rig->cache;
    assert_int_equal(hg_shaper_new(&rig->shaper, &shaper, &err), 0);
}

static void rig_free(struct rig *rig)
{
    hg_shaper_free(rig->shaper);
    assert_int_equal(hg_pool_info(rig->pool).free_n, BUFFERS);
    hg_pool_cache_free(rig->cache);
    hg_pool_free(rig->pool);
    hg_arena_free(rig->arena);
    bed_free(&rig->bed);
}

/* Stages n packets for a queue. */
static void stage(struct rig *rig, uint8_t queue, unsigned n)
{
    static uint8_t rest[LEN - HG_HEAD_BYTES];
    struct hg_seg seg = {.addr = rest, .len = sizeof(rest)};
    struct hg_pkt pkt = {.len = LEN, .head_len = HG_HEAD_BYTES, .seg_n = 1, .seg = &seg};
    struct hg_pkt *pkts[HG_BURST_N];

    pkt.head[0] = queue;
    for (unsigned i = 0; i < HG_BURST_N; i++)
        pkts[i] = &pkt;
    for (; n != 0; n--)
        assert_int_equal(hg_shaper_stage(rig->shaper, pkts, 1), 0);
}

static void packets_wait_for_their_time(void **state)
{
    struct rig rig;
    struct hg_poller *poller;
    uint64_t start;

    (void)state;
    rig_new(&rig);
    poller = hg_shaper_poller(rig.shaper);
    assert_int_equal(poller->poll(poller), 0);
    assert_false(poller->arm(poller));
    poller->disarm(poller);
    stage(&rig, 0, 50);
    stage(&rig, 1, 50);
    start = hg_now_ns();
    while (rig.sent < 100)
        poller->poll(poller);
    /* 100,000 bytes less the burst at 10 bytes a microsecond. */
    assert_true(hg_now_ns() - start >= (100 * LEN - 2 * 1518) * UINT64_C(100));
    assert_int_equal(hg_sched_stats(rig.bed.sched, 0).packets, 50);
    assert_int_equal(hg_sched_stats(rig.bed.sched, 1).packets, 50);
    rig_free(&rig);
}

/* The worker sleeps between packets, and its sleeps end in time. */
static void a_worker_sleeps_until_the_next_event(void **state)
{
    struct hg_worker_options options = {.cpu = -1, .sleep = true, .idle_ns = 1000};
    struct hg_poller *poller;
    struct hg_worker *worker;
    struct rig rig;

    (void)state;
    rig_new(&rig);
    poller = hg_shaper_poller(rig.shaper);
    hg_qsbr_register();
    assert_int_equal(hg_worker_new(&worker, &options, NULL, NULL), 0);
    assert_int_equal(hg_worker_set(worker, &poller, 1, NULL), 0);
    stage(&rig, 1, 50);
    while (rig.sent < 50)
        hg_worker_turn(worker);
    assert_int_equal(rig.last, 1);
    assert_true(hg_count_get(&hg_worker_stats(worker)->sleeps) > 0);
    assert_int_equal(hg_worker_set(worker, NULL, 0, NULL), 0);
    hg_worker_free(worker);
    hg_qsbr_unregister();
    rig_free(&rig);
}

static void gives_back_what_it_cannot_keep(void **state)
{
    struct rig rig;

    (void)state;
    rig_new(&rig);
    stage(&rig, 0, 310);
    assert_int_equal(hg_sched_stats(rig.bed.sched, 0).dropped, 10);
    stage(&rig, 1, BUFFERS - 300);
    assert_int_equal(hg_shaper_no_buffer(rig.shaper), 0);
    stage(&rig, 1, 7);
    assert_int_equal(hg_shaper_no_buffer(rig.shaper), 7);
    stage(&rig, 2, 1); /* no buffer for it, and no queue */
    rig_free(&rig);    /* and all that waits */
}

static void refuses_what_it_cannot_work_with(void **state)
{
    struct hg_sched_options o = {.clock_hz = 2000000000};
    struct bed cycles = bed_new(&o);
    struct hg_shaper_options options = {.send = send_packets};
    struct hg_shaper *shaper;
    struct hg_err err = {""};
    struct rig rig;

    (void)state;
    rig_new(&rig);
    assert_int_equal(hg_shaper_new(&shaper, &options, &err), -EINVAL);
    options.cache = rig.cache;
    options.sched = cycles.sched;
    assert_int_equal(hg_shaper_new(&shaper, &options, &err), -EINVAL);
    options.sched = rig.bed.sched;
    options.send = NULL;
    assert_int_equal(hg_shaper_new(&shaper, &options, &err), -EINVAL);
    assert_true(err.text[0] != '\0');
    bed_free(&cycles);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packets_wait_for_their_time),
        cmocka_unit_test(a_worker_sleeps_until_the_next_event),
        cmocka_unit_test(gives_back_what_it_cannot_keep),
        cmocka_unit_test(refuses_what_it_cannot_work_with),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
