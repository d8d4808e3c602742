/*
 * What a device's rings cost, and an IOTLB before them: two guests with a transmit and a receive
 * ring each, of either format, driven by one thread; another one moves frames from guest to guest
 * and does nothing else with them. Each buffer is in a page of its own, pages are scattered, and
 * each guest has an IOTLB of its own. Prints the mover's cycles per frame, the median over turns in
 * which a whole burst came, which other work on the machine hardly touches, without and with the
 * IOTLBs: they take turns, the median of the rounds and of their ratios is printed.
 *
 *   vq [--smoke | WORD]   only what has the word in its name
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "virtio/drv.h"
#include "virtio/vq_dev.h"

#include "sample.h"

enum {
    GUESTS_N = 2,
    PAGE = HG_IOTLB_GRANULE,
    BUF_BYTES = 2048,
    PAGES_MAX = 8192, /* of each guest */
    ROUNDS_MAX = 9,
    SAMPLES_N = 5000, /* bursts of a round */
    DRIVER_BURST_N = 64,
};

struct config {
    const char *name;
    bool packed;
    bool in_order;
    uint16_t num;
    unsigned pages_n; /* of each guest, half of them for each ring */
    uint32_t len;     /* of a frame */
};

/* One ring, its two ends, and the pages that its buffers go round. */
struct lane {
    alignas(128) struct hg_drv drv;
    uint32_t put_n; /* buffers given to the device */
    uint32_t got_n; /* and taken back */
    uint32_t page_n;
    uint64_t *iova;
    uint8_t **host;
    void *memory;
    alignas(128) struct hg_vq_dev dev;
    struct hg_queue_stats stats;
};

struct guest {
    struct hg_space space[2]; /* without and with an IOTLB */
    struct hg_asks asks;
    uint8_t *memory;
    struct lane to_switch, from_switch;
};

static struct guest guests[GUESTS_N];
static struct hg_burst burst;
static atomic_bool stop;
static int driver_cpu;
static unsigned samples_n = SAMPLES_N;
static unsigned rounds_n = ROUNDS_MAX;

static void die(const char *why)
{
    fprintf(stderr, "vq: %s\n", why);
    exit(1);
}

static void lane_open(struct lane *lane, const struct config *config, bool receives)
{
    uint64_t features = (config->packed ? HG_BIT(HG_VIRTIO_F_RING_PACKED) : 0) |
                        (config->in_order ? HG_BIT(HG_VIRTIO_F_IN_ORDER) : 0);

    *lane = (struct lane){
        .page_n = config->pages_n / 2,
        .iova = calloc(PAGES_MAX / 2, sizeof(*lane->iova)),
        .host = calloc(PAGES_MAX / 2, sizeof(*lane->host)),
        .memory = aligned_alloc(128, hg_drv_bytes(config->num)),
    };
    if (lane->iova == NULL || lane->host == NULL || lane->memory == NULL ||
        hg_drv_init(&lane->drv, config->num, receives, lane->memory) != 0)
        die("no memory");
    hg_drv_start(&lane->drv, features);
    lane->dev = (struct hg_vq_dev){
        .desc = lane->drv.desc,
        .avail = lane->drv.avail,
        .used = lane->drv.used,
        .num = config->num,
        .hdr_len = HG_NET_HDR_BYTES,
        .packed = config->packed,
        .in_order = config->in_order,
        .csum_ok = true,
        .call_fd = -1,
    };
}

static void lane_close(struct lane *lane)
{
    hg_drv_free(&lane->drv);
    free(lane->memory);
    free(lane->iova);
    free(lane->host);
}

/* Gives each lane its pages in an order that says nothing about where they are, and tells the
 * IOTLB. */
static void scatter(struct guest *guest, const struct config *config)
{
    static uint32_t order[PAGES_MAX];

    for (uint32_t i = 0; i < config->pages_n; i++) {
        uint32_t j = (uint32_t)(draw() % (i + 1));

        order[i] = order[j];
        order[j] = i;
    }
    for (uint32_t i = 0; i < config->pages_n; i++) {
        struct lane *lane = i % 2 == 0 ? &guest->to_switch : &guest->from_switch;
        uint64_t at = (uint64_t)order[i] * PAGE;

        lane->iova[i / 2] = guest->space[0].region[0].guest_addr + at;
        lane->host[i / 2] = guest->memory + at;
        if (hg_iotlb_update(guest->space[1].iotlb, &guest->space[1], lane->iova[i / 2], PAGE,
                            lane->iova[i / 2], HG_PERM_READ | HG_PERM_WRITE, NULL) != 0)
            die("an update was refused");
    }
}

static void guest_open(struct guest *guest, const struct config *config)
{
    size_t bytes = (size_t)PAGES_MAX * PAGE;

    guest->memory = aligned_alloc(2 << 20, bytes);
    if (guest->memory == NULL || hg_iotlb_new(&guest->space[1].iotlb, 65536, NULL) != 0)
        die("no memory");
    madvise(guest->memory, bytes, MADV_HUGEPAGE);
    memset(guest->memory, 0, bytes);
    for (unsigned i = 0; i < 2; i++) {
        guest->space[i].n = 1;
        guest->space[i].region[0] = (struct hg_region){
            .guest_addr = 1 << 30, .user_addr = 1 << 30, .size = bytes, .host = guest->memory};
    }
    guest->asks.wake_fd = -1;
    lane_open(&guest->to_switch, config, false);
    lane_open(&guest->from_switch, config, true);
    scatter(guest, config);
}

static void guest_close(struct guest *guest)
{
    lane_close(&guest->to_switch);
    lane_close(&guest->from_switch);
    hg_iotlb_free(guest->space[1].iotlb);
    free(guest->memory);
}

/* ---- the guests' thread ---- */

static void give(struct lane *lane, uint32_t len, uint16_t flags)
{
    struct hg_drv_buf bufs[DRIVER_BURST_N];
    unsigned n = hg_min_u32(lane->drv.free_n, DRIVER_BURST_N);

    if (n == 0)
        return;
    for (unsigned i = 0; i < n; i++, lane->put_n++) {
        uint32_t page = lane->put_n % lane->page_n;

        if (flags == 0) /* a frame: its header, and addresses */
            memset(lane->host[page], 0, 24);
        bufs[i] = (struct hg_drv_buf){lane->iova[page], len, flags};
    }
    hg_drv_add(&lane->drv, bufs, n);
    hg_drv_publish(&lane->drv);
}

static void take(struct lane *lane, bool read)
{
    static volatile uint8_t sink;
    struct hg_drv_used used[DRIVER_BURST_N];
    unsigned n = hg_drv_reap(&lane->drv, used, DRIVER_BURST_N);

    for (unsigned i = 0; i < n; i++, lane->got_n++)
        if (read)
            sink = lane->host[lane->got_n % lane->page_n][20];
    (void)sink;
}

static void *drive(void *arg)
{
    const struct config *config = arg;

    stay_on(driver_cpu);
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        for (unsigned g = 0; g < GUESTS_N; g++) {
            take(&guests[g].to_switch, false);
            give(&guests[g].to_switch, HG_NET_HDR_BYTES + config->len, 0);
            take(&guests[g].from_switch, true);
            give(&guests[g].from_switch, BUF_BYTES, HG_DESC_F_WRITE);
        }
    return NULL;
}

/* ---- the mover ---- */

static unsigned turn(struct lane *from, struct lane *to)
{
    struct hg_pkt *pkts[HG_BURST_N];
    unsigned n = hg_vq_dev_rx(&from->dev, &burst, &from->stats);
    unsigned done = 0;
    bool notify;

    for (unsigned i = 0; i < n; i++)
        pkts[i] = &burst.pkt[i];
    if (n != 0)
        done = hg_vq_dev_tx(&to->dev, pkts, n, &to->stats, &notify);
    hg_vq_dev_rx_done(&from->dev);
    return done;
}

/* Moves frames until there are enough samples. */
static double move(void)
{
    static uint64_t cycles[SAMPLES_N];

    for (unsigned n = 0, i = 0; n < samples_n; i++) {
        uint64_t start = hg_cycles();

        if (turn(&guests[i % 2].to_switch, &guests[1 - i % 2].from_switch) == HG_BURST_N)
            cycles[n++] = hg_cycles() - start;
    }
    sample_sort(cycles, samples_n);
    return (double)sample_quantile(cycles, samples_n, 500) / HG_BURST_N;
}

/* Nobody uses the rings: the space before them may be another one. */
static void use_iommu(bool on)
{
    for (unsigned g = 0; g < GUESTS_N; g++) {
        struct lane *lanes[] = {&guests[g].to_switch, &guests[g].from_switch};

        for (unsigned i = 0; i < 2; i++) {
            lanes[i]->dev.space = &guests[g].space[on];
            lanes[i]->dev.asks = on ? &guests[g].asks : NULL;
            lanes[i]->dev.hint = (struct hg_hint){0};
        }
    }
}

static void measure(struct config *config)
{
    double cycles[2][ROUNDS_MAX] = {{0}};
    double ratio[ROUNDS_MAX] = {0};
    pthread_t driver;

    for (unsigned g = 0; g < GUESTS_N; g++)
        guest_open(&guests[g], config);
    use_iommu(false);
    for (unsigned g = 0; g < GUESTS_N; g++) {
        hg_vq_dev_start(&guests[g].to_switch.dev, config->packed ? HG_PACKED_WRAP : 0);
        hg_vq_dev_start(&guests[g].from_switch.dev, config->packed ? HG_PACKED_WRAP : 0);
    }
    atomic_store(&stop, false);
    if (pthread_create(&driver, NULL, drive, config) != 0)
        die("no thread");
    move();
    for (unsigned r = 0; r < rounds_n; r++) {
        for (unsigned on = 0; on < 2; on++) {
            use_iommu(on != 0);
            cycles[on][r] = move();
        }
        ratio[r] = cycles[0][r] / cycles[1][r];
    }
    atomic_store(&stop, true);
    pthread_join(driver, NULL);
    if (guests[0].from_switch.drv.fault != 0 || guests[0].to_switch.dev.fault != 0 ||
        guests[0].asks.put != 0)
        die("a ring is broken, or a translation is missing");
    printf("%-34s %6.1f without, %6.1f with, ratio %.3f\n", config->name,
           sample_median(cycles[0], rounds_n), sample_median(cycles[1], rounds_n),
           sample_median(ratio, rounds_n));
    fflush(stdout);
    for (unsigned g = 0; g < GUESTS_N; g++)
        guest_close(&guests[g]);
}

int main(int argc, char **argv)
{
    static struct config configs[] = {
        {"split, 64 bytes, 512 pages", false, false, 256, 512, 64},
        {"split, 1500 bytes, 512 pages", false, false, 256, 512, 1500},
        {"split, 64 bytes, 8192 pages", false, false, 1024, 8192, 64},
        {"split, 1500 bytes, 8192 pages", false, false, 1024, 8192, 1500},
        {"packed, 64 bytes, 512 pages", true, false, 256, 512, 64},
        {"packed, 1500 bytes, 512 pages", true, false, 256, 512, 1500},
        {"packed, 64 bytes, 8192 pages", true, false, 1024, 8192, 64},
        {"packed, in order, 64 bytes, 512", true, true, 256, 512, 64},
    };

    bool smoke = wants_smoke(argc, argv);

    if (smoke) {
        samples_n = 100;
        rounds_n = 1;
    }
    driver_cpu = last_cpu();
    stay_on(first_cpu());
    for (unsigned i = 0; i < HG_ARRAY_N(configs); i++)
        if (argc < 2 || smoke || strstr(configs[i].name, argv[1]) != NULL)
            measure(&configs[i]);
    return 0;
}
