/* A program with a poller of the caller's: a shaper between two ports. */
#include "program/program.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "port/port.h"
#include "sched/shaper.h"

enum { RATE_BPS = 8000000, BURST_BYTES = 3000, SIZE = 1000, BUFFERS = 512, WAITING = 100 };

static void transmit(void *port, struct hg_pkt **pkts, unsigned n)
{
    hg_port_tx(port, pkts, n);
}

static void a_shaper_holds_the_rate_of_a_program(void **state)
{
    struct hg_program_options options = {.run_ns = 300 * HG_NS_PER_MS};
    struct hg_sched_options shape = {.queue_packets = WAITING,
                                     .port = {.rate_bps = RATE_BPS, .burst_bytes = BURST_BYTES}};
    struct hg_pool_options buffers = {.name = "waiting", .object_bytes = 2048, .n = BUFFERS};
    struct hg_arena_options memory = {.name = "shaper", .pages = HG_PAGES_4K};
    struct hg_shaper_options shaping = {.send = transmit};
    struct hg_program_totals totals;
    struct hg_pool_cache *cache;
    struct hg_program *program;
    struct hg_shaper *shaper;
    struct hg_sched *sched;
    struct hg_arena *arena;
    struct hg_pipe *pipe;
    struct hg_pool *pool;
    struct hg_err err;
    uint64_t sent;
    uint16_t out;

    (void)state;
    memory.bytes = hg_pool_bytes(&buffers) + hg_sched_bytes(&shape) + 4096;
    assert_int_equal(hg_arena_new(&arena, &memory, &err), 0);
    assert_int_equal(hg_pool_new(&pool, arena, &buffers, &err), 0);
    assert_int_equal(hg_pool_cache_new(&cache, pool, "shaper", &err), 0);
    assert_int_equal(hg_sched_new(&sched, arena, &shape, &err), 0);

    assert_int_equal(hg_program_new(&program, &options, &err), 0);
    pipe = hg_program_receive(program, hg_program_open(program, "generator:size=1000,rate=20000"),
                              0, 0);
    out = hg_program_open(program, "sink");
    shaping.sched = sched;
    shaping.cache = cache;
    shaping.ctx = hg_program_port(program, out);
    assert_int_equal(hg_shaper_new(&shaper, &shaping, &err), 0);
    hg_pipe_stage(pipe, "shaper", hg_shaper_stage, shaper);
    hg_pipe_transmit(pipe, out);
    hg_program_poller(program, hg_shaper_poller(shaper), 0);
    assert_int_equal(hg_program_run(program, &err), 0);

    hg_program_totals(program, &totals);
    sent = totals.transmitted;
    assert_in_range(
        sent, 1, ((uint64_t)RATE_BPS / 8 * totals.run_ns / HG_NS_PER_S + BURST_BYTES) / SIZE + 1);
    assert_true(totals.received > sent);
    hg_program_free(program);
    hg_shaper_free(shaper);
    assert_int_equal(hg_pool_info(pool).free_n, BUFFERS);
    hg_pool_cache_free(cache);
    hg_pool_free(pool);
    hg_arena_free(arena);
}

static void a_poller_needs_a_worker(void **state)
{
    struct hg_program_options options = {.workers_n = 1};
    struct hg_program *program;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_program_new(&program, &options, &err), 0);
    hg_program_poller(program, NULL, 1);
    assert_int_equal(hg_program_run(program, &err), -EINVAL);
    assert_string_equal(err.text, "there is no worker 1; this program has 1, from 0 on");
    hg_program_free(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_shaper_holds_the_rate_of_a_program),
        cmocka_unit_test(a_poller_needs_a_worker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
