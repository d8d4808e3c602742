/*
 * Cycles of the IOTLB: per look-up by number of live pages and page size, for bursts as virtqueues
 * do them and one by one; per update and invalidation. Pages are scattered, each at an address and
 * a host of its own, and named in random order. Takes about ten seconds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "iommu/space.h"

#include "sample.h"

enum { ROUNDS_N = 9, BURST_N = 32, ORDER_N = 1 << 16, PAGE = 4096 };

#define USER   UINT64_C(0x7f0000000000)
#define LARGE  (UINT64_C(2) << 20)
#define MEMORY (UINT64_C(160) << 30) /* reserved, never touched */

static struct hg_space space;
static uint8_t *memory;
static uint64_t order[ORDER_N]; /* addresses to look up */
static unsigned usual;          /* the class of most of them */
static uint64_t state = 1;
static volatile uint64_t sink;

static uint64_t random_number(void)
{
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return state >> 33;
}

/* The address of page i: neither addresses nor hosts go on from one page to the next. */
static uint64_t iova_of(uint64_t i, bool large)
{
    return large ? i * 2 * LARGE : (UINT64_C(1) << 40) + i * 3 * PAGE;
}

static uint64_t user_of(uint64_t i, bool large)
{
    uint64_t scattered = i * 40503 % 65536; /* odd: each once */

    return USER + (large ? scattered % 32768 * 2 * LARGE + PAGE : scattered * 2 * PAGE);
}

static void update(uint64_t i, bool large)
{
    hg_iotlb_update(space.iotlb, &space, iova_of(i, large), large ? LARGE : PAGE, user_of(i, large),
                    HG_PERM_READ | HG_PERM_WRITE, NULL);
}

/* Of n pages, one in `small_of` is small. */
static bool is_large(uint64_t i, unsigned small_of)
{
    return small_of == 0 || i % small_of != 0;
}

static void fill(uint64_t n, unsigned small_of)
{
    hg_iotlb_free(space.iotlb);
    hg_iotlb_new(&space.iotlb, 65536, NULL);
    usual = small_of == 1 ? HG_IOTLB_4K : HG_IOTLB_2M;
    for (uint64_t i = 0; i < n; i++)
        update(i, is_large(i, small_of));
    for (unsigned i = 0; i < ORDER_N; i++) {
        uint64_t page = random_number() % n;

        order[i] = iova_of(page, is_large(page, small_of)) + random_number() % 32 * 64;
    }
}

/* As a ring does it: a pass that announces, a pass that looks up, with a hint that hardly ever
 * fits. */
static uint64_t in_bursts(void)
{
    const struct hg_iotlb_table *table = hg_qsbr_read(&space.iotlb->table);
    uint64_t sum = 0;

    for (unsigned at = 0; at < ORDER_N; at += BURST_N) {
        struct hg_hint hint = {0};

        for (unsigned i = 0; i < BURST_N; i++)
            hg_iotlb_table_expect(table, order[at + i], usual);
        for (unsigned i = 0; i < BURST_N; i++) {
            uint8_t *host = NULL;

            sum += hg_space_at(&space, &hint, order[at + i], 64, HG_PERM_READ, &host);
            sum += (uintptr_t)host & 64;
        }
    }
    return sum;
}

/* Each look-up waits for the one before. */
static uint64_t one_by_one(void)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < ORDER_N; i++) {
        struct hg_hint hint = {0};
        uint8_t *host = NULL;

        hg_space_at(&space, &hint, order[i] + (sum & 1), 32, HG_PERM_READ, &host);
        sum += (uintptr_t)host & 1;
    }
    return sum;
}

static uint64_t median(uint64_t *samples)
{
    sample_sort(samples, ROUNDS_N);
    return samples[ROUNDS_N / 2];
}

static double cycles_of(uint64_t (*look_up)(void))
{
    uint64_t samples[ROUNDS_N];

    for (unsigned r = 0; r < ROUNDS_N; r++) {
        uint64_t start = hg_cycles();

        sink += look_up();
        samples[r] = hg_cycles() - start;
    }
    return (double)median(samples) / ORDER_N;
}

static void measure_look_ups(const char *name, unsigned small_of)
{
    static const uint64_t live[] = {16, 512, 8192, 65536};

    for (unsigned i = 0; i < HG_ARRAY_N(live); i++) {
        if (small_of != 1 && live[i] > 32768)
            break;
        fill(live[i], small_of);
        printf("%-6s %6" PRIu64 " live pages: %6.1f cycles in a burst of %d, %6.1f one by one\n",
               name, live[i], cycles_of(in_bursts), BURST_N, cycles_of(one_by_one));
    }
}

/* A page is mapped and unmapped for each use, while `live` others stay. */
static void measure_changes(uint64_t live, bool batch)
{
    uint64_t update_cycles[ROUNDS_N];
    uint64_t invalidate_cycles[ROUNDS_N];
    enum { N = 256 };

    fill(live, 1);
    for (unsigned r = 0; r < ROUNDS_N; r++) {
        uint64_t start = hg_cycles();

        for (uint64_t i = 0; i < N; i++)
            update(live + i, false);
        update_cycles[r] = hg_cycles() - start;
        start = hg_cycles();
        for (uint64_t i = 0; i < N; i++) {
            hg_iotlb_unpublish(space.iotlb, iova_of(live + i, false), PAGE);
            if (!batch)
                hg_iotlb_settle(space.iotlb); /* no reader here: the grace period is not measured */
        }
        hg_iotlb_settle(space.iotlb);
        invalidate_cycles[r] = hg_cycles() - start;
    }
    printf("%6" PRIu64 " live pages: %6.1f cycles per update, %6.1f per invalidation%s\n", live,
           (double)median(update_cycles) / N, (double)median(invalidate_cycles) / N,
           batch ? ", settled together" : "");
}

/* More pages than there is room for, in turn. */
static void measure_thrash(void)
{
    uint64_t start;
    enum { N = 1 << 18 };

    fill(1, 1);
    start = hg_cycles();
    for (uint64_t i = 0; i < N; i++)
        update(i % 100000, false);
    printf("thrash: %.1f cycles per update, %" PRIu64 " evictions in %d\n",
           (double)(hg_cycles() - start) / N, hg_iotlb_info(space.iotlb).evictions, N);
}

static void measure_everything(uint64_t live)
{
    uint64_t start;

    fill(live, 1);
    start = hg_cycles();
    hg_iotlb_unpublish(space.iotlb, 0, 0);
    printf("%6" PRIu64 " live pages: %" PRIu64 " cycles to invalidate everything,", live,
           hg_cycles() - start);
    fill(live, 1);
    start = hg_cycles();
    hg_iotlb_unpublish(space.iotlb, UINT64_C(1) << 30, UINT64_C(1) << 50);
    printf(" %" PRIu64 " all but a page\n", hg_cycles() - start);
}

int main(void)
{
    memory = mmap(NULL, MEMORY, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    space.n = 1;
    space.region[0] = (struct hg_region){.user_addr = USER, .size = MEMORY, .host = memory};
    fill(1, 1);
    measure_look_ups("4 KiB", 1);
    measure_look_ups("2 MiB", 0);
    measure_look_ups("mixed", 2);
    measure_changes(512, false);
    measure_changes(8192, false);
    measure_changes(8192, true);
    measure_everything(512);
    measure_everything(60000);
    measure_thrash();
    return 0;
}
