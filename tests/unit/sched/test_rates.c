/*
 * The promise in figures: rates within 1 % over 10 s, shares within 2 %. In virtual time, so it is
 * exact and the same on every machine: the test is the clock, and jumps from event to event.
 */
#include "bed.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/bits.h"
#include "base/clock.h"
#include "random.h"

enum { QUEUES_MAX = 4096, BURST = 32 };

#define TEN_S (10 * HG_NS_PER_S)

static uint64_t seed = 88172645463325252u;

static uint32_t random_below(uint32_t n)
{
    return (uint32_t)(random_next(&seed) % n);
}

/* What comes: lengths in [least, most], into `backlog_n` of the first queues, each of which is
 * never empty. */
struct load {
    uint32_t least;
    uint32_t most;
    uint32_t queue_n;
    uint32_t overhead;
    /* between two looks when something could go at once; what a line's rate is made of */
    uint64_t step_ns;
    uint64_t end_ns;
};

static uint64_t sent[QUEUES_MAX]; /* bytes, charged */

static void refill(struct bed *bed, const struct load *load, uint32_t queue)
{
    give(bed, queue, load->least + random_below(load->most - load->least + 1));
}

/* Runs from tick 0 to the end. A queue gets a packet for each that it sends. */
static uint64_t run(struct bed *bed, const struct load *load)
{
    uint64_t all = 0;
    uint64_t now = 0;

    for (uint32_t q = 0; q < load->queue_n; q++) {
        sent[q] = 0;
        refill(bed, load, q);
        refill(bed, load, q);
    }
    while (now < load->end_ns) {
        void *what[BURST];
        unsigned n = hg_sched_dequeue(bed->sched, now, what, BURST);
        uint64_t next;

        for (unsigned i = 0; i < n; i++) {
            sent[packet_queue(what[i])] += packet_len(what[i]) + load->overhead;
            all += packet_len(what[i]) + load->overhead;
            refill(bed, load, packet_queue(what[i]));
        }
        next = hg_sched_next(bed->sched);
        now = next > now ? next : now + load->step_ns;
    }
    return all;
}

/* |got - want| in per mille of want. */
static double permille(double got, double want)
{
    double difference = got > want ? got - want : want - got;

    return difference * 1000 / want;
}

static double bytes_in(uint64_t rate_bps, uint64_t ns)
{
    return (double)rate_bps / 8 * (double)ns / 1e9;
}

static void a_port_holds_its_rate(void **state)
{
    static const uint64_t rates[] = {8000, 64000, 1000000, 123456789, 1000000000, 10000000000};

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(rates); i++) {
        struct hg_sched_options o = {.overhead_bytes = HG_SCHED_ETHERNET_OVERHEAD,
                                     .port = {.rate_bps = rates[i]}};
        struct load load = {.least = 60,
                            .most = 1514,
                            .queue_n = 1,
                            .overhead = HG_SCHED_ETHERNET_OVERHEAD,
                            .step_ns = 1,
                            .end_ns = TEN_S};
        struct bed bed;
        uint64_t all;
        uint64_t burst = 2 * (1518 + 24);

        if (rates[i] >= 1000000000)
            burst = rates[i] / 8 / 1000;
        o.port.burst_bytes = burst > bytes_in(rates[i], 2000) + 1542 ? burst : 3 * 1542;
        bed = bed_new(&o);
        all = run(&bed, &load);
        /* Never above; and below by what waits at the end, a packet, at most. */
        assert_true((double)all <= bytes_in(rates[i], TEN_S) + (double)o.port.burst_bytes);
        assert_true((double)all >= bytes_in(rates[i], TEN_S) + (double)o.port.burst_bytes - 1542);
        bed_free(&bed);
    }
}

/* 10 Gbit/s shared by 16 subports in the proportion of their weights, each by its queues. */
static void shares_are_weights(void **state)
{
    enum { SUBPORTS = 16, QUEUES = 4 };
    struct hg_sched_options o = {
        .subport_n = SUBPORTS, .queue_n = QUEUES, .port = {.rate_bps = 10000000000}};
    struct load load = {.least = 60,
                        .most = 1514,
                        .queue_n = SUBPORTS * QUEUES,
                        .step_ns = 1,
                        .end_ns = HG_NS_PER_S};
    struct bed bed = bed_new(&o);
    double weights = 0;
    uint64_t all;

    (void)state;
    for (uint32_t s = 0; s < SUBPORTS; s++) {
        assert_int_equal(
            hg_sched_set_subport(bed.sched, s, &(struct hg_sched_shape){0}, 1 + s % 5, NULL), 0);
        weights += 1 + s % 5;
        for (uint32_t q = 0; q < QUEUES; q++)
            assert_int_equal(hg_sched_set_queue(bed.sched, hg_sched_queue(bed.sched, s, 0, q),
                                                1 + q, 64, UINT32_MAX, NULL),
                             0);
    }
    all = run(&bed, &load);
    assert_true(permille((double)all, bytes_in(o.port.rate_bps, load.end_ns)) < 10);
    for (uint32_t s = 0; s < SUBPORTS; s++) {
        for (uint32_t q = 0; q < QUEUES; q++) {
            double want = (double)all * (1 + s % 5) / weights * (1 + q) / 10;

            assert_true(permille((double)sent[s * QUEUES + q], want) < 20);
        }
    }
    bed_free(&bed);
}

/* 1,024 subports with rates of their own, from 100 kbit/s to some 20 Mbit/s, under a port that has
 * room for all. */
static void a_thousand_subports_hold_their_rates(void **state)
{
    enum { SUBPORTS = 1024 };
    struct hg_sched_options o = {
        .subport_n = SUBPORTS, .packet_n = 4 * SUBPORTS, .port = {.rate_bps = 40000000000}};
    struct load load = {
        .least = 60, .most = 1514, .queue_n = SUBPORTS, .step_ns = 100, .end_ns = TEN_S};
    struct bed bed = bed_new(&o);

    (void)state;
    for (uint32_t s = 0; s < SUBPORTS; s++) {
        struct hg_sched_shape shape = {.rate_bps = 100000 + (uint64_t)s * 2000,
                                       .burst_bytes = 2 * 1518};

        if (s % 64 == 0)
            shape.rate_bps = 20000000;
        assert_int_equal(hg_sched_set_subport(bed.sched, s, &shape, 1, NULL), 0);
    }
    run(&bed, &load);
    for (uint32_t s = 0; s < SUBPORTS; s++) {
        uint64_t rate = s % 64 == 0 ? 20000000 : 100000 + (uint64_t)s * 2000;
        double most = bytes_in(rate, TEN_S) + 2 * 1518;

        assert_true((double)sent[s] <= most);
        assert_true((double)sent[s] >= most - 1518 - bytes_in(rate, 2000));
    }
    bed_free(&bed);
}

/* What a class may send first it sends first, at its own rate; the next class gets all the rest. */
static void classes_share_a_subport_by_priority_and_shape(void **state)
{
    struct hg_sched_options o = {
        .class_n = 3,
        .subport = {.rate_bps = 1000000000},
        .classes = {{.rate_bps = 100000000}, {.rate_bps = 300000000}},
    };
    struct load load = {
        .least = 60, .most = 1514, .queue_n = 3, .step_ns = 10, .end_ns = HG_NS_PER_S};
    struct bed bed = bed_new(&o);

    (void)state;
    run(&bed, &load);
    assert_true(permille((double)sent[0], bytes_in(100000000, load.end_ns)) < 10);
    assert_true(permille((double)sent[1], bytes_in(300000000, load.end_ns)) < 10);
    assert_true(permille((double)sent[2], bytes_in(600000000, load.end_ns)) < 10);
    bed_free(&bed);
}

/* A subport that its shaper holds below its share leaves the rest to the others. */
static void what_one_may_not_use_others_get(void **state)
{
    struct hg_sched_options o = {.subport_n = 3, .port = {.rate_bps = 1000000000}};
    struct load load = {
        .least = 60, .most = 1514, .queue_n = 3, .step_ns = 10, .end_ns = HG_NS_PER_S};
    struct hg_sched_shape slow = {.rate_bps = 100000000};
    struct bed bed = bed_new(&o);

    (void)state;
    assert_int_equal(hg_sched_set_subport(bed.sched, 0, &slow, 1, NULL), 0);
    run(&bed, &load);
    assert_true(permille((double)sent[0], bytes_in(100000000, load.end_ns)) < 10);
    assert_true(permille((double)sent[1], bytes_in(450000000, load.end_ns)) < 10);
    assert_true(permille((double)sent[2], bytes_in(450000000, load.end_ns)) < 10);
    bed_free(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_holds_its_rate),
        cmocka_unit_test(shares_are_weights),
        cmocka_unit_test(a_thousand_subports_hold_their_rates),
        cmocka_unit_test(classes_share_a_subport_by_priority_and_shape),
        cmocka_unit_test(what_one_may_not_use_others_get),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
