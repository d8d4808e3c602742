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
 * It does the work of two guests' drivers and no more, so it is not what limits a switch; and it is the
 * same for every back-end.
 */
#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "latency.h"
#include "stream.h"

enum {
    ANNOUNCE_PPS = 20000, /* per side: what slow paths of known switches can follow */
    ANNOUNCE_PASSES_N = 2,
    ANNOUNCE_BURST_N = 4,
    TURNS_PER_LOOK = 16, /* at the clock */
    EXIT_USAGE = 2,
};

struct options {
    struct port_options port;
    bool verify;
    bool latency;
    uint32_t mac_n;
    unsigned dir_n;
    int cpu;
    double seconds;
    double warmup_s;
    double timeout_s;
    uint64_t interval_ns;
};

static const char usage[] =
    "usage: loadgen --port SOCKET[,client|server] --port SOCKET[,client|server] [OPTION...]\n"
    "  client connects to a back-end that listens (default), server listens for it\n"
    "  --size BYTES|tso   of a frame, 60 to 9216, or TCP segmentation requests (64)\n"
    "  --macs N           source addresses on each side, up to 65536 (1)\n"
    "  --dirs 1|2         directions (2)\n"
    "  --seconds S        to measure (1)\n"
    "  --warmup S         at full speed before (0.5)\n"
    "  --cpu N            to run on\n"
    "  --queue-size N     of each ring, a power of two, 64 to 32768 (1024)\n"
    "  --buffers N        of each ring, a multiple of the queue size (the queue size)\n"
    "  --mrg 0|1          mergeable receive buffers (1)\n"
    "  --verify           write and compare every byte\n"
    "  --latency          single frames instead of load\n"
    "  --interval-us N    between them (1000)\n"
    "  --timeout S        to wait for both back-ends (20)\n";

static _Noreturn void misused(const char *what, const char *value)
{
    fprintf(stderr, "loadgen: %s '%s'\n%s", what, value, usage);
    exit(EXIT_USAGE);
}

static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10);

    if (*text == '\0' || *end != '\0' || value < min || value > max)
        misused(option, text);
    return value;
}

static double seconds(const char *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (*text == '\0' || *end != '\0' || !(value >= 0 && value <= 86400))
        misused(option, text);
    return value;
}

static void parse_port(struct port *ports, unsigned *n, char *text)
{
    char *comma = strrchr(text, ',');

    if (*n == 2)
        misused("a third port", text);
    if (comma != NULL) {
        if (strcmp(comma, ",server") == 0)
            ports[*n].listens = true;
        else if (strcmp(comma, ",client") != 0)
            misused("neither client nor server:", text);
        *comma = '\0';
    }
    ports[(*n)++].path = text;
}

static void parse_size(struct options *options, const char *text)
{
    options->port.tso = strcmp(text, "tso") == 0;
    options->port.frame_bytes =
        options->port.tso ? TSO_FRAME_BYTES
                          : (uint32_t)number("--size", text, FRAME_BYTES_MIN, FRAME_BYTES_MAX);
}

enum {
    OPT_PORT = 256,
    OPT_SIZE,
    OPT_MACS,
    OPT_DIRS,
    OPT_SECONDS,
    OPT_WARMUP,
    OPT_CPU,
    OPT_QUEUE_SIZE,
    OPT_BUFFERS,
    OPT_MRG,
    OPT_VERIFY,
    OPT_LATENCY,
    OPT_INTERVAL,
    OPT_TIMEOUT,
    OPT_PACKED,
    OPT_HELP,
};

static const struct option long_options[] = {
    {"port", required_argument, NULL, OPT_PORT},
    {"size", required_argument, NULL, OPT_SIZE},
    {"macs", required_argument, NULL, OPT_MACS},
    {"dirs", required_argument, NULL, OPT_DIRS},
    {"seconds", required_argument, NULL, OPT_SECONDS},
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"cpu", required_argument, NULL, OPT_CPU},
    {"queue-size", required_argument, NULL, OPT_QUEUE_SIZE},
    {"buffers", required_argument, NULL, OPT_BUFFERS},
    {"mrg", required_argument, NULL, OPT_MRG},
    {"verify", no_argument, NULL, OPT_VERIFY},
    {"latency", no_argument, NULL, OPT_LATENCY},
    {"interval-us", required_argument, NULL, OPT_INTERVAL},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"packed", no_argument, NULL, OPT_PACKED},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static void take_option(struct options *options, struct port *ports, unsigned *port_n, int option)
{
    switch (option) {
    case OPT_PORT:
        parse_port(ports, port_n, optarg);
        break;
    case OPT_SIZE:
        parse_size(options, optarg);
        break;
    case OPT_MACS:
        options->mac_n = (uint32_t)number("--macs", optarg, 1, MACS_MAX);
        break;
    case OPT_DIRS:
        options->dir_n = (unsigned)number("--dirs", optarg, 1, 2);
        break;
    case OPT_SECONDS:
        options->seconds = seconds("--seconds", optarg);
        break;
    case OPT_WARMUP:
        options->warmup_s = seconds("--warmup", optarg);
        break;
    case OPT_CPU:
        options->cpu = (int)number("--cpu", optarg, 0, CPU_SETSIZE - 1);
        break;
    case OPT_QUEUE_SIZE:
        options->port.queue_size =
            (uint16_t)number("--queue-size", optarg, 2 * BATCH_N, HG_VRING_NUM_MAX);
        break;
    case OPT_BUFFERS:
        options->port.buffers_n = (uint32_t)number("--buffers", optarg, 1, 1 << 20);
        break;
    case OPT_MRG:
        options->port.mergeable = number("--mrg", optarg, 0, 1) == 1;
        break;
    case OPT_VERIFY:
        options->verify = true;
        break;
    case OPT_LATENCY:
        options->latency = true;
        break;
    case OPT_INTERVAL:
        options->interval_ns = number("--interval-us", optarg, 1, 10000000) * HG_NS_PER_US;
        break;
    case OPT_TIMEOUT:
        options->timeout_s = seconds("--timeout", optarg);
        break;
    case OPT_PACKED:
        misused("not supported:", "--packed");
    case OPT_HELP:
        fputs(usage, stdout);
        exit(EXIT_SUCCESS);
    default:
        fputs(usage, stderr);
        exit(EXIT_USAGE);
    }
}

static struct options parse(int argc, char **argv, struct port *ports)
{
    struct options options = {
        .port = {.queue_size = 1024, .mergeable = true, .frame_bytes = 64},
        .mac_n = 1,
        .dir_n = 2,
        .cpu = -1,
        .seconds = 1,
        .warmup_s = 0.5,
        .timeout_s = 20,
        .interval_ns = HG_NS_PER_MS,
    };
    unsigned port_n = 0;
    int option;

    while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        take_option(&options, ports, &port_n, option);
    if (optind != argc)
        misused("unexpected", argv[optind]);
    if (port_n != 2)
        misused("expected two ports, got", port_n == 0 ? "none" : "one");
    if (!hg_is_power_of_two(options.port.queue_size))
        misused("--queue-size is not a power of two, or too large", "");
    if (options.port.buffers_n % options.port.queue_size != 0)
        misused("--buffers is not a multiple of the queue size", "");
    return options;
}

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
        for (next_ns += burst_ns; hg_now_ns() < next_ns;)
            for (unsigned i = 0; i < 2; i++)
                stream_receive(&streams[i]);
    }
}

/* Cycles of turns that found something to do and of those that found none. */
struct effort {
    uint64_t busy_cycles;
    uint64_t idle_cycles;
};

static struct effort load(struct stream *streams, unsigned dir_n, uint64_t until_ns)
{
    struct effort effort = {0};
    uint64_t then = hg_cycles();

    while (hg_now_ns() < until_ns) {
        for (unsigned turn = 0; turn < TURNS_PER_LOOK; turn++) {
            unsigned done = 0;
            uint64_t now;

            for (unsigned i = 0; i < dir_n; i++) {
                done += stream_send(&streams[i], BATCH_N);
                done += stream_receive(&streams[i]);
            }
            now = hg_cycles();
            *(done != 0 ? &effort.busy_cycles : &effort.idle_cycles) += now - then;
            then = now;
        }
        if (dir_n == 1) /* what the switch itself may send the other way */
            stream_receive(&streams[1]);
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

static void measure(struct stream *streams, const struct options *options)
{
    struct counts begin[2], sum = {0}, part[2];
    struct effort effort;
    uint64_t begin_ns, end_ns;
    double s;

    load(streams, options->dir_n, hg_now_ns() + ns_of(options->warmup_s));
    for (unsigned i = 0; i < options->dir_n; i++)
        begin[i] = streams[i].counts;
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
    printf("]}\n");
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
    }
    rc = ports_attach(ports, 2, ns_of(options->timeout_s), err);
    if (rc != 0)
        return rc;
    announce(streams, options->mac_n);
    if (options->latency)
        rc = latency_measure(streams, options->interval_ns, ns_of(options->seconds), err);
    else
        measure(streams, options);
    for (unsigned i = 0; rc == 0 && i < 2; i++)
        rc = port_check(&ports[i], err);
    return rc;
}

int main(int argc, char **argv)
{
    static struct port ports[2];
    struct options options = parse(argc, argv, ports);
    struct hg_err err;
    int rc = run(ports, &options, &err);

    ports_close(ports, 2);
    if (rc != 0)
        fprintf(stderr, "loadgen: %s\n", err.text);
    return rc == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
