/*
 * Meters and the scheduler: cycles, and how well they keep their promises by a real clock.
 *
 * A meter's cell is cycles per packet, alone and in bursts of 32, with a CIR of half of what is
 * offered. A scheduler's cell is cycles per packet for one enqueue and one dequeue, in bursts of
 * 32, into queues drawn at random, 8 packets waiting in each on average:
 *
 *   open     no shaper
 *   shaped   a shaper on port, subport and class that never holds; the twin of sched_dpdk.c
 *   held     every subport has the rate that it is offered: each packet waits in the timing wheel
 *
 * With --seconds N also the real clock: 64 subports at 5 to 305 Mbit/s under a port of 10 Gbit/s
 * for N seconds, and in each 4 queues with weights of 1 to 4; the largest error of a rate and of a
 * share, in per mille. The same in virtual time, exact, is tests/unit/sched/test_rates.c.
 */
#include <inttypes.h>

#include "base/bits.h"
#include "base/clock.h"
#include "mem/arena.h"
#include "sched/meter.h"
#include "sched/sched.h"
#include "sched_load.h"

static void die(const struct hg_err *err)
{
    fprintf(stderr, "sched: %s\n", err->text);
    exit(1);
}

/* --- meters ---------------------------------------------------------------------------------- */

static uint64_t meter_round(struct hg_meter *meter, uint64_t *now, uint64_t step, unsigned burst)
{
    uint64_t start = hg_cycles();
    unsigned sum = 0;

    for (unsigned i = 0; i < ROUND_PACKETS; i += burst) {
        *now += step * burst;
        if (burst == 1) {
            sum += hg_meter_packet(meter, *now, lengths[i % LENGTHS_N], HG_COLOR_GREEN);
        } else {
            uint8_t color[BURST];

            hg_meter_burst(meter, *now, &lengths[i % LENGTHS_N], color, burst);
            sum += color[0];
        }
    }
    seen = sum;
    return hg_cycles() - start;
}

static void measure_meter(const char *cell, const struct hg_meter_options *options, unsigned burst,
                          unsigned rounds_n)
{
    /* Twice the CIR. */
    uint64_t step = (uint64_t)LENGTH_MEAN * 8 * 1000000000 / options->cir / 2;
    struct hg_meter_profile profile;
    struct hg_meter meter;
    uint64_t cycles[ROUNDS_N];
    uint64_t now = 0;
    struct hg_err err;

    if (hg_meter_profile_init(&profile, options, &err) < 0)
        die(&err);
    hg_meter_init(&meter, &profile, now);
    meter_round(&meter, &now, step, burst);
    for (unsigned i = 0; i < rounds_n; i++)
        cycles[i] = meter_round(&meter, &now, step, burst);
    report(cell, cycles, rounds_n);
}

static void measure_meters(unsigned rounds_n)
{
    struct hg_meter_options sr = {
        .kind = HG_METER_SRTCM, .cir = 1000000000, .cbs = 20000, .ebs = 40000};
    struct hg_meter_options tr = {
        .kind = HG_METER_TRTCM, .cir = 1000000000, .cbs = 20000, .pir = 1500000000, .pbs = 40000};

    measure_meter("meter_srtcm_1", &sr, 1, rounds_n);
    measure_meter("meter_srtcm_32", &sr, BURST, rounds_n);
    measure_meter("meter_trtcm_1", &tr, 1, rounds_n);
    measure_meter("meter_trtcm_32", &tr, BURST, rounds_n);
}

/* --- the scheduler's cost -------------------------------------------------------------------- */

struct bed {
    struct hg_arena *arena;
    struct hg_sched *sched;
    uint32_t queue_total;
    uint64_t now;
    uint64_t step; /* ticks between two bursts */
};

static struct bed make(const struct hg_sched_options *options)
{
    struct hg_arena_options memory = {.name = "bench", .bytes = hg_sched_bytes(options) + 4096};
    struct bed bed = {.queue_total = options->subport_n * options->class_n * options->queue_n};
    struct hg_err err;

    if (hg_arena_new(&bed.arena, &memory, &err) < 0 ||
        hg_sched_new(&bed.sched, bed.arena, options, &err) < 0)
        die(&err);
    return bed;
}

/* What is sent goes back into a queue at random: as many wait as before. */
static uint64_t sched_round(struct bed *bed)
{
    uint64_t start = hg_cycles();

    for (unsigned done = 0; done < ROUND_PACKETS;) {
        struct hg_sched_item item[BURST];
        void *what[BURST];
        unsigned n;

        bed->now += bed->step;
        n = hg_sched_dequeue(bed->sched, bed->now, what, BURST);
        for (unsigned i = 0; i < n; i++) {
            item[i].what = what[i];
            item[i].len = lengths[(done + i) % LENGTHS_N];
            item[i].queue = draw_below(bed->queue_total);
        }
        seen += hg_sched_enqueue(bed->sched, item, n);
        done += n;
    }
    return hg_cycles() - start;
}

static void fill(struct bed *bed, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct hg_sched_item item = {
            .what = bed, .len = lengths[i % LENGTHS_N], .queue = i % bed->queue_total};

        seen += hg_sched_enqueue(bed->sched, &item, 1);
    }
}

static void measure_sched(const char *cell, const struct hg_sched_options *options, uint64_t step,
                          unsigned rounds_n)
{
    uint64_t cycles[ROUNDS_N];
    struct bed bed = make(options);

    bed.step = step;
    fill(&bed, waiting_in(bed.queue_total));
    sched_round(&bed);
    for (unsigned i = 0; i < rounds_n; i++)
        cycles[i] = sched_round(&bed);
    report(cell, cycles, rounds_n);
    hg_arena_free(bed.arena);
}

static void measure_scheds(unsigned rounds_n)
{
    static const uint32_t geometry[][3] = {{1, 1, 1}, {4, 4, 4}, {256, 4, 4}};
    char cell[64];

    for (unsigned i = 0; i < HG_ARRAY_N(geometry); i++) {
        struct hg_sched_options o = {.subport_n = geometry[i][0],
                                     .class_n = geometry[i][1],
                                     .queue_n = geometry[i][2],
                                     .packet_n = 1 << 16,
                                     .queue_packets = 1 << 16};
        struct hg_sched_shape wide = {.rate_bps = 400000000000};
        uint32_t queues_n = o.subport_n * o.class_n * o.queue_n;
        uint64_t offered = 10000000000; /* bits per second: a burst in 20 us */

        snprintf(cell, sizeof(cell), "sched_open_%" PRIu32, queues_n);
        measure_sched(cell, &o, 20000, rounds_n);
        o.port = wide;
        o.subport = wide;
        for (unsigned c = 0; c < o.class_n; c++)
            o.classes[c] = wide;
        snprintf(cell, sizeof(cell), "sched_shaped_%" PRIu32, queues_n);
        measure_sched(cell, &o, 20000, rounds_n);
        o.subport.rate_bps = offered / o.subport_n;
        o.subport.burst_bytes = 1518 + offered / 8 * 2 / 1000000 + 1;
        snprintf(cell, sizeof(cell), "sched_held_%" PRIu32, queues_n);
        measure_sched(cell, &o, 2000, rounds_n);
    }
}

/* --- the promises by a real clock ------------------------------------------------------------ */

enum { SUBPORTS = 64, QUEUES = 4 };

#define PORT_BPS UINT64_C(10000000000)

static uint64_t sent[SUBPORTS * QUEUES];

/* All of them together have 99 % of the port's rate. */
static uint64_t rate_of(uint32_t subport)
{
    return (subport + 1) * PORT_BPS / 2100;
}

static void put_one(struct bed *bed, uint32_t queue, uint32_t len)
{
    struct hg_sched_item item = {.len = len, .queue = queue};

    item.what = (void *)((uintptr_t)queue << 32 | len);
    seen += hg_sched_enqueue(bed->sched, &item, 1);
}

static uint64_t hold_rates(struct bed *bed, uint64_t ns)
{
    uint64_t start = hg_now_ns();
    uint64_t now;

    while ((now = hg_now_ns()) - start < ns) {
        void *what[BURST];
        unsigned n = hg_sched_dequeue(bed->sched, now, what, BURST);

        for (unsigned i = 0; i < n; i++) {
            uint32_t queue = (uint32_t)((uintptr_t)what[i] >> 32);

            sent[queue] += (uint32_t)(uintptr_t)what[i];
            put_one(bed, queue, (uint32_t)(uintptr_t)what[i]);
        }
    }
    return now - start;
}

static double error_permille(double got, double want)
{
    return (got > want ? got - want : want - got) * 1000 / want;
}

static void keep_promises(unsigned seconds)
{
    struct hg_sched_options o = {.subport_n = SUBPORTS,
                                 .queue_n = QUEUES,
                                 .packet_n = 1 << 14,
                                 .port = {.rate_bps = PORT_BPS, .burst_bytes = 25000000}};
    struct bed bed = make(&o);
    double worst_rate = 0;
    double worst_share = 0;
    uint64_t ns;

    for (uint32_t s = 0; s < SUBPORTS; s++) {
        struct hg_sched_shape shape = {.rate_bps = rate_of(s)};

        shape.burst_bytes = shape.rate_bps / 8 / 50 + 3036; /* 20 ms, if the thread is stopped */

        hg_sched_set_subport(bed.sched, s, &shape, 1, NULL);
        for (uint32_t q = 0; q < QUEUES; q++)
            hg_sched_set_queue(bed.sched, hg_sched_queue(bed.sched, s, 0, q), 1 + q, 64, UINT32_MAX,
                               NULL);
    }
    for (uint32_t i = 0; i < SUBPORTS * QUEUES * 16; i++)
        put_one(&bed, i % (SUBPORTS * QUEUES), lengths[i % LENGTHS_N]);
    hold_rates(&bed, 100 * HG_NS_PER_MS); /* the bursts that are there at the start */
    memset(sent, 0, sizeof(sent));
    ns = hold_rates(&bed, (uint64_t)seconds * HG_NS_PER_S);
    for (uint32_t s = 0; s < SUBPORTS; s++) {
        double want = (double)rate_of(s) / 8 * (double)ns / 1e9;
        double all = 0;

        for (uint32_t q = 0; q < QUEUES; q++)
            all += (double)sent[s * QUEUES + q];
        if (error_permille(all, want) > worst_rate)
            worst_rate = error_permille(all, want);
        for (uint32_t q = 0; q < QUEUES; q++) {
            double error = error_permille((double)sent[s * QUEUES + q], all * (1 + q) / 10);

            if (error > worst_share)
                worst_share = error;
        }
    }
    printf("sched_rate_error_permille\t%.2f\nsched_share_error_permille\t%.2f\n", worst_rate,
           worst_share);
    hg_arena_free(bed.arena);
}

int main(int argc, char **argv)
{
    struct args args = parse_args(argc, argv);

    if (args.cpu >= 0)
        stay_on(args.cpu);
    draw_lengths();
    measure_meters(args.rounds_n);
    measure_scheds(args.rounds_n);
    if (args.seconds != 0)
        keep_promises(args.seconds);
    return 0;
}
