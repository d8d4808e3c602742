/*
 * The load generator: front-end of two vhost-user back-ends, one thread on one processor.
 *
 *   attach     a session with each back-end, receive buffers posted
 *   announce   each side sends a frame from every address, slowly, so that a switch that learns has
 *              learned them before there is load
 *   warm up    full speed in the wanted directions
 *   measure    the same, counted
 *
 * or, with --latency, single frames at an interval: how long a switch that has nothing to do takes.
 *
 * It does the work of two guests' drivers and no more, so it is not what limits a switch; and it is
 * the same for every back-end.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "latency.h"
#include "options.h"
#include "stream.h"

enum {
    ANNOUNCE_PPS = 20000, /* per side: what slow paths of known switches can follow */
    ANNOUNCE_PASSES_N = 2,
    ANNOUNCE_BURST_N = 4,
    TURNS_PER_LOOK = 16, /* at the clock */
    REST_NS = 50000,     /* at most, when each buffer is mapped for one use and nothing moves */
};

static int pin(int cpu, struct hg_err *err)
{
    cpu_set_t set;

    if (cpu < 0)
        return 0;
    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        return hg_err_set(err, errno, "cannot run on CPU %d: %s", cpu, strerror(errno));
    return 0;
}

static uint64_t ns_of(double s)
{
    return (uint64_t)(s * (double)HG_NS_PER_S);
}

/* Sends a frame from every address of both sides, ANNOUNCE_PASSES_N times. */
static void announce(struct stream *streams, uint32_t mac_n)
{
    uint64_t burst_ns = HG_NS_PER_S * ANNOUNCE_BURST_N / ANNOUNCE_PPS;
    uint64_t left = (uint64_t)mac_n * ANNOUNCE_PASSES_N;
    uint64_t next_ns = hg_now_ns();

    while (left != 0) {
        unsigned n = (unsigned)hg_min_u64(left, ANNOUNCE_BURST_N);

        for (unsigned i = 0; i < 2; i++)
            stream_send(&streams[i], n);
        left -= n;
        for (next_ns += burst_ns; hg_now_ns() < next_ns;) {
            ports_serve(streams[0].from, streams[0].to);
            for (unsigned i = 0; i < 2; i++)
                stream_receive(&streams[i]);
        }
    }
}

/* Cycles of turns that found something to do and of those that found none. */
struct effort {
    uint64_t busy_cycles;
    uint64_t idle_cycles;
};

/* One turn of each stream; returns how many frames moved. */
static unsigned turn(struct stream *streams, unsigned dir_n, bool each_use)
{
    unsigned done = 0;

    for (unsigned i = 0; i < dir_n; i++) {
        done += stream_send(&streams[i], BATCH_N);
        done += stream_receive(&streams[i]);
    }
    /* A back-end that waits for us has our processor, as it would have a guest's that waits for
     * it. */
    if (each_use && !ports_serve(streams[0].from, streams[0].to) && done == 0)
        ports_rest(streams[0].from, streams[0].to, REST_NS);
    return done;
}

static struct effort load(struct stream *streams, unsigned dir_n, uint64_t until_ns)
{
    bool each_use = streams[0].from->mode == IOMMU_DYNAMIC;
    struct effort effort = {0};
    uint64_t then = hg_cycles();

    while (hg_now_ns() < until_ns) {
        for (unsigned i = 0; i < TURNS_PER_LOOK; i++) {
            unsigned done = turn(streams, dir_n, each_use);
            uint64_t now = hg_cycles();

            *(done != 0 ? &effort.busy_cycles : &effort.idle_cycles) += now - then;
            then = now;
        }
        if (dir_n == 1) /* what the switch itself may send the other way */
            stream_receive(&streams[1]);
        while (!each_use && ports_serve(streams[0].from, streams[0].to))
            ;
    }
    return effort;
}

/* One object of the answer's numbers, without its closing brace. */
static void print_counts(const struct counts *n, double s, uint32_t frame_bytes)
{
    double pps = (double)n->rx / s;

    printf("{\"tx\": %llu, \"rx\": %llu, \"seconds\": %.6f, \"rx_pps\": %.0f, \"rx_bps\": %.0f, "
           "\"lost\": %llu, \"misordered\": %llu, \"corrupt\": %llu, \"foreign\": %llu",
           (unsigned long long)n->tx, (unsigned long long)n->rx, s, pps, pps * frame_bytes * 8,
           (unsigned long long)n->advanced, (unsigned long long)n->misordered,
           (unsigned long long)n->corrupt, (unsigned long long)n->foreign);
}

/* What happened between two looks; `advanced` becomes what was lost. */
static struct counts between(const struct counts *begin, const struct counts *end)
{
    return (struct counts){
        .tx = end->tx - begin->tx,
        .rx = end->rx - begin->rx,
        .advanced = counts_lost(begin, end),
        .misordered = end->misordered - begin->misordered,
        .corrupt = end->corrupt - begin->corrupt,
        .foreign = end->foreign - begin->foreign,
    };
}

/* What the virtual IOMMUs of both ports did. */
struct iommu_counts {
    uint64_t mapped;
    uint64_t misses;
    uint64_t unmapped; /* misses for what is not mapped */
    uint64_t invalidations;
    uint64_t touched; /* pages that changed after they were unmapped */
};

static struct iommu_counts count_iommu(const struct port *ports)
{
    struct iommu_counts sum = {0};

    for (unsigned i = 0; i < 2; i++) {
        sum.mapped += ports[i].iommu.mapped_n;
        sum.misses += ports[i].front.iommu.misses_n;
        sum.unmapped += ports[i].front.iommu.unmapped_n;
        sum.invalidations += ports[i].iommu.invalidations_n;
        sum.touched += ports[i].rx.touched_n;
    }
    return sum;
}

static void print_iommu(struct port *ports, const struct iommu_counts *begin)
{
    struct iommu_counts end = count_iommu(ports);

    /* What is mapped for good was mapped before. */
    printf(", \"iommu\": {\"mapped\": %llu, \"misses\": %llu, \"unmapped_misses\": %llu, "
           "\"invalidations\": %llu, \"touched\": %llu, \"ack_us\": ",
           (unsigned long long)(end.mapped - (ports[0].mode == IOMMU_DYNAMIC ? begin->mapped : 0)),
           (unsigned long long)(end.misses - begin->misses),
           (unsigned long long)(end.unmapped - begin->unmapped),
           (unsigned long long)(end.invalidations - begin->invalidations),
           (unsigned long long)end.touched);
    iommu_print_latency(&ports[0].iommu, &ports[1].iommu);
    printf("}");
}

static void measure(struct stream *streams, struct port *ports, const struct options *options)
{
    struct counts begin[2], sum = {0}, part[2];
    struct iommu_counts iommu_begin;
    struct effort effort;
    uint64_t begin_ns, end_ns;
    double s;

    load(streams, options->dir_n, hg_now_ns() + ns_of(options->warmup_s));
    for (unsigned i = 0; i < options->dir_n; i++)
        begin[i] = streams[i].counts;
    iommu_begin = count_iommu(ports);
    for (unsigned i = 0; i < 2; i++)
        iommu_restart(&ports[i].iommu);
    fprintf(stderr, "loadgen: measuring\n"); /* for who watches the switch meanwhile */
    begin_ns = hg_now_ns();
    effort = load(streams, options->dir_n, begin_ns + ns_of(options->seconds));
    end_ns = hg_now_ns();
    s = (double)(end_ns - begin_ns) / (double)HG_NS_PER_S;
    for (unsigned i = 0; i < options->dir_n; i++) {
        part[i] = between(&begin[i], &streams[i].counts);
        sum.tx += part[i].tx;
        sum.rx += part[i].rx;
        sum.advanced += part[i].advanced;
        sum.misordered += part[i].misordered;
        sum.corrupt += part[i].corrupt;
        sum.foreign += part[i].foreign;
    }
    print_counts(&sum, s, options->port.frame_bytes);
    /* The switch is the limit as long as its load generator has nothing to do now and then. */
    printf(", \"idle_share\": %.3f, \"cycles_per_frame\": %.1f, \"per_direction\": [",
           (double)effort.idle_cycles / (double)(effort.idle_cycles + effort.busy_cycles),
           (double)effort.busy_cycles / (double)(sum.tx + sum.rx + 1));
    for (unsigned i = 0; i < options->dir_n; i++) {
        printf("%s", i == 0 ? "" : ", ");
        print_counts(&part[i], s, options->port.frame_bytes);
        printf("}");
    }
    printf("]");
    if (ports[0].mode != IOMMU_OFF)
        print_iommu(ports, &iommu_begin);
    printf("}\n");
}

static int run(struct port *ports, const struct options *options, struct hg_err *err)
{
    static struct stream streams[2];
    int rc = pin(options->cpu, err);

    for (unsigned i = 0; rc == 0 && i < 2; i++)
        rc = port_open(&ports[i], &options->port, err);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; i < 2; i++) {
        struct frame_kind kind;

        frame_kind_init(&kind, options->port.frame_bytes, options->port.tso, options->verify, i);
        stream_init(&streams[i], &ports[i], &ports[1 - i], &kind, options->mac_n);
        streams[i].window = options->window;
    }
    rc = ports_attach(ports, 2, ns_of(options->timeout_s), err);
    if (rc != 0)
        return rc;
    announce(streams, options->mac_n);
    if (options->latency)
        rc = latency_measure(streams, options->interval_ns, ns_of(options->seconds), err);
    else
        measure(streams, ports, options);
    for (unsigned i = 0; rc == 0 && i < 2; i++)
        rc = port_check(&ports[i], err);
    return rc;
}

int main(int argc, char **argv)
{
    static struct port ports[2];
    struct options options = options_parse(argc, argv, ports);
    struct hg_err err;
    int rc = run(ports, &options, &err);

    ports_close(ports, 2);
    if (rc != 0)
        fprintf(stderr, "loadgen: %s\n", err.text);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
