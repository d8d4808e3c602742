/*
 * The same packets, counts and loops as sched.c, through DPDK's rte_meter and rte_sched, since
 * dpdk-test measures neither. Cells have the names of their twins there: the schedulers are the
 * shaped ones, DPDK's having no others. A pipe, of 13 classes and 16 queues, stands for a subport
 * of 4 classes of 4 queues.
 *
 * rte_sched writes and reads the packet's descriptor (rte_mbuf), ours does not touch the packet.
 * Built where libdpdk's headers are; runs without hugepages and without devices.
 */
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_meter.h>
#include <rte_sched.h>

#include "sched_load.h"

static const unsigned queue_counts[] = {1, 64, 4096};

enum { PIPE_QUEUES = RTE_SCHED_QUEUES_PER_PIPE, CLASSES = RTE_SCHED_TRAFFIC_CLASSES_PER_PIPE };

#define WIDE_BYTES UINT64_C(50000000000) /* per second: 400 Gbit/s */

static void die(const char *what)
{
    fprintf(stderr, "sched_dpdk: %s\n", what);
    exit(1);
}

/* --- meters ---------------------------------------------------------------------------------- */

static struct rte_meter_srtcm_profile sr_profile;
static struct rte_meter_trtcm_profile tr_profile;
static struct rte_meter_srtcm sr;
static struct rte_meter_trtcm tr;

static uint64_t srtcm_round(uint64_t *now, uint64_t step, unsigned burst)
{
    uint64_t start = rte_rdtsc();
    unsigned sum = 0;

    for (unsigned i = 0; i < ROUND_PACKETS; i += burst) {
        *now += step * burst;
        for (unsigned k = 0; k < burst; k++)
            sum += rte_meter_srtcm_color_blind_check(&sr, &sr_profile, *now,
                                                     lengths[(i + k) % LENGTHS_N]);
    }
    seen = sum;
    return rte_rdtsc() - start;
}

static uint64_t trtcm_round(uint64_t *now, uint64_t step, unsigned burst)
{
    uint64_t start = rte_rdtsc();
    unsigned sum = 0;

    for (unsigned i = 0; i < ROUND_PACKETS; i += burst) {
        *now += step * burst;
        for (unsigned k = 0; k < burst; k++)
            sum += rte_meter_trtcm_color_blind_check(&tr, &tr_profile, *now,
                                                     lengths[(i + k) % LENGTHS_N]);
    }
    seen = sum;
    return rte_rdtsc() - start;
}

static void measure_meter(const char *cell, uint64_t (*round)(uint64_t *, uint64_t, unsigned),
                          unsigned burst, unsigned rounds_n)
{
    uint64_t step = LENGTH_MEAN * rte_get_tsc_hz() / 125000000 / 2;
    uint64_t now = rte_rdtsc();
    uint64_t cycles[ROUNDS_N] = {0};

    round(&now, step, burst);
    for (unsigned i = 0; i < rounds_n; i++)
        cycles[i] = round(&now, step, burst);
    report(cell, cycles, rounds_n);
}

static void measure_meters(unsigned rounds_n)
{
    struct rte_meter_srtcm_params srp = {.cir = 125000000, .cbs = 20000, .ebs = 40000};
    struct rte_meter_trtcm_params trp = {
        .cir = 125000000, .cbs = 20000, .pir = 187500000, .pbs = 40000};

    if (rte_meter_srtcm_profile_config(&sr_profile, &srp) != 0 ||
        rte_meter_srtcm_config(&sr, &sr_profile) != 0 ||
        rte_meter_trtcm_profile_config(&tr_profile, &trp) != 0 ||
        rte_meter_trtcm_config(&tr, &tr_profile) != 0)
        die("no meters");
    measure_meter("meter_srtcm_1", srtcm_round, 1, rounds_n);
    measure_meter("meter_srtcm_32", srtcm_round, BURST, rounds_n);
    measure_meter("meter_trtcm_1", trtcm_round, 1, rounds_n);
    measure_meter("meter_trtcm_32", trtcm_round, BURST, rounds_n);
}

/* --- scheduler ------------------------------------------------------------------------------- */

static struct rte_sched_port *make(unsigned pipes_n)
{
    struct rte_sched_pipe_params pipe = {.tb_rate = WIDE_BYTES,
                                         .tb_size = 1000000,
                                         .tc_period = 10,
                                         .tc_ov_weight = 1,
                                         .wrr_weights = {1, 1, 1, 1}};
    struct rte_sched_subport_profile_params profile = {
        .tb_rate = WIDE_BYTES, .tb_size = 1000000, .tc_period = 10};
    struct rte_sched_subport_params subport = {.n_pipes_per_subport_enabled = pipes_n,
                                               .pipe_profiles = &pipe,
                                               .n_pipe_profiles = 1,
                                               .n_max_pipe_profiles = 1};
    struct rte_sched_port_params params = {.name = "bench",
                                           .rate = WIDE_BYTES,
                                           .mtu = 1522,
                                           .n_subports_per_port = 1,
                                           .n_pipes_per_subport = pipes_n,
                                           .subport_profiles = &profile,
                                           .n_subport_profiles = 1,
                                           .n_max_subport_profiles = 1};
    struct rte_sched_port *port;

    for (unsigned i = 0; i < CLASSES; i++) {
        pipe.tc_rate[i] = WIDE_BYTES;
        profile.tc_rate[i] = WIDE_BYTES;
        subport.qsize[i] = 256;
    }
    port = rte_sched_port_config(&params);
    if (!port || rte_sched_subport_config(port, 0, &subport, 0) != 0)
        die("no scheduler");
    for (unsigned i = 0; i < pipes_n; i++) {
        if (rte_sched_pipe_config(port, 0, i, 0) != 0)
            die("no pipe");
    }
    return port;
}

/* Puts a packet into a queue at random: the first 12 of a pipe are classes, the others share the
 * last class. */
static void place(struct rte_sched_port *port, struct rte_mbuf *packet, unsigned queues_n)
{
    uint32_t i = draw_below(queues_n);
    uint32_t queue = i % PIPE_QUEUES;
    uint32_t tc = queue < CLASSES ? queue : CLASSES - 1;

    rte_sched_port_pkt_write(port, packet, 0, i / PIPE_QUEUES, tc, queue - tc, RTE_COLOR_GREEN);
}

static struct rte_mbuf *new_packet(struct rte_mempool *pool, unsigned i)
{
    struct rte_mbuf *packet = rte_pktmbuf_alloc(pool);

    if (!packet)
        die("no packets left");
    packet->pkt_len = lengths[i % LENGTHS_N];
    packet->data_len = (uint16_t)packet->pkt_len;
    return packet;
}

static uint64_t sched_round(struct rte_sched_port *port, struct rte_mempool *pool,
                            unsigned queues_n)
{
    uint64_t start = rte_rdtsc();

    for (unsigned done = 0; done < ROUND_PACKETS;) {
        struct rte_mbuf *packet[BURST];
        int n = rte_sched_port_dequeue(port, packet, BURST);
        int taken = 0;

        for (int i = 0; i < n; i++)
            place(port, packet[i], queues_n);
        if (n != 0)
            taken = rte_sched_port_enqueue(port, packet, (uint32_t)n);
        for (; taken < n; taken++) { /* freed by a full queue */
            packet[0] = new_packet(pool, done);
            place(port, packet[0], queues_n);
            rte_sched_port_enqueue(port, packet, 1);
        }
        done += (unsigned)n;
    }
    return rte_rdtsc() - start;
}

static void measure_sched(struct rte_mempool *pool, unsigned queues_n, unsigned rounds_n)
{
    struct rte_sched_port *port = make(queues_n < PIPE_QUEUES ? 1 : queues_n / PIPE_QUEUES);
    uint64_t cycles[ROUNDS_N] = {0};
    char cell[64];

    for (unsigned i = 0; i < waiting_in(queues_n); i++) {
        struct rte_mbuf *packet = new_packet(pool, i);

        place(port, packet, queues_n);
        rte_sched_port_enqueue(port, &packet, 1);
    }
    sched_round(port, pool, queues_n);
    for (unsigned i = 0; i < rounds_n; i++)
        cycles[i] = sched_round(port, pool, queues_n);
    snprintf(cell, sizeof(cell), "sched_shaped_%u", queues_n);
    report(cell, cycles, rounds_n);
    rte_sched_port_free(port);
}

int main(int argc, char **argv)
{
    struct args args = parse_args(argc, argv);
    char cpu[16];
    const char *eal[] = {
        "sched_dpdk",     "-l",          cpu,           "--no-pci",     "--no-huge", "-m", "1024",
        "--no-telemetry", "--no-shconf", "--log-level", "lib.eal:error"};
    struct rte_mempool *pool;

    snprintf(cpu, sizeof(cpu), "%d", args.cpu < 0 ? first_cpu() : args.cpu);
    if (rte_eal_init((int)(sizeof(eal) / sizeof(eal[0])), (char **)(uintptr_t)eal) < 0)
        die("EAL does not start");
    pool = rte_pktmbuf_pool_create("bench", 65535, 256, 0, 256, 0);
    if (!pool)
        die("no pool");
    draw_lengths();
    measure_meters(args.rounds_n);
    for (unsigned i = 0; i < sizeof(queue_counts) / sizeof(queue_counts[0]); i++)
        measure_sched(pool, queue_counts[i], args.rounds_n);
    rte_eal_cleanup();
    return 0;
}
