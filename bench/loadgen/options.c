#include "options.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "frame.h"

enum { EXIT_USAGE = 2, LIVE_PAGES_MAX = 65536 };

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
    "  --packed           packed rings\n"
    "  --iommu MODE       off, static (all is mapped) or dynamic (each buffer for one use) (off)\n"
    "  --page 4K|2M       a page for each buffer, scattered in the guest's memory\n"
    "  --live-pages N     buffers of both rings together then (512)\n"
    "  --in-flight N      dynamic: invalidations under way on one port, 1 as in QEMU (256)\n"
    "  --check-unmapped   dynamic: whether pages change after they were unmapped\n"
    "  --window N         frames under way in one direction (no limit)\n"
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

static void parse_iommu(struct port_options *options, const char *text)
{
    static const char *const modes[] = {
        [IOMMU_OFF] = "off", [IOMMU_STATIC] = "static", [IOMMU_DYNAMIC] = "dynamic"};

    for (unsigned i = 0; i < HG_ARRAY_N(modes); i++)
        if (strcmp(text, modes[i]) == 0) {
            options->iommu = (enum iommu_mode)i;
            return;
        }
    misused("--iommu", text);
}

static void parse_page(struct port_options *options, const char *text)
{
    if (strcmp(text, "4K") == 0)
        options->page_bytes = 4096;
    else if (strcmp(text, "2M") == 0)
        options->page_bytes = 2 << 20;
    else
        misused("--page", text);
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
    OPT_IOMMU,
    OPT_PAGE,
    OPT_LIVE_PAGES,
    OPT_CHECK_UNMAPPED,
    OPT_IN_FLIGHT,
    OPT_WINDOW,
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
    {"iommu", required_argument, NULL, OPT_IOMMU},
    {"page", required_argument, NULL, OPT_PAGE},
    {"live-pages", required_argument, NULL, OPT_LIVE_PAGES},
    {"in-flight", required_argument, NULL, OPT_IN_FLIGHT},
    {"window", required_argument, NULL, OPT_WINDOW},
    {"check-unmapped", no_argument, NULL, OPT_CHECK_UNMAPPED},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

/* Those of the guest's rings and memory. False if it is none of them. */
static bool take_guest_option(struct port_options *options, int option)
{
    switch (option) {
    case OPT_QUEUE_SIZE:
        options->queue_size =
            (uint16_t)number("--queue-size", optarg, 2 * BATCH_N, HG_VRING_NUM_MAX);
        break;
    case OPT_BUFFERS:
        options->buffers_n = (uint32_t)number("--buffers", optarg, 1, 1 << 20);
        break;
    case OPT_MRG:
        options->mergeable = number("--mrg", optarg, 0, 1) == 1;
        break;
    case OPT_PACKED:
        options->packed = true;
        break;
    case OPT_IOMMU:
        parse_iommu(options, optarg);
        break;
    case OPT_PAGE:
        parse_page(options, optarg);
        break;
    case OPT_LIVE_PAGES:
        options->live_pages = (uint32_t)number("--live-pages", optarg, 4 * BATCH_N, LIVE_PAGES_MAX);
        break;
    case OPT_IN_FLIGHT:
        options->in_flight_max =
            (uint32_t)number("--in-flight", optarg, 1, HG_VHOST_FRONT_IOTLB_MAX);
        break;
    case OPT_CHECK_UNMAPPED:
        options->watch = true;
        break;
    default:
        return false;
    }
    return true;
}

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
    case OPT_WINDOW:
        options->window = (uint32_t)number("--window", optarg, 1, 1 << 20);
        break;
    case OPT_HELP:
        fputs(usage, stdout);
        exit(EXIT_SUCCESS);
    default:
        if (!take_guest_option(&options->port, option)) {
            fputs(usage, stderr);
            exit(EXIT_USAGE);
        }
    }
}

struct options options_parse(int argc, char **argv, struct port *ports)
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
    if (options.port.iommu != IOMMU_OFF && options.port.page_bytes == 0)
        options.port.page_bytes = 4096;
    if (options.port.page_bytes != 0 && options.port.live_pages == 0)
        options.port.live_pages = 512;
    if (options.port.page_bytes != 0 && 2 * options.port.queue_size > options.port.live_pages)
        options.port.queue_size = (uint16_t)(options.port.live_pages / 2);
    if (!hg_is_power_of_two(options.port.queue_size))
        misused("--live-pages is neither a power of two nor twice the queue size or more", "");
    if (options.port.buffers_n % options.port.queue_size != 0)
        misused("--buffers is not a multiple of the queue size", "");
    return options;
}
