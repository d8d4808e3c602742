#include "iommu.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"

enum { IOVA_BITS = 48, SAMPLES_MAX = 1 << 22 };

uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static void shuffle(uint32_t *list, uint32_t n, uint64_t *random)
{
    for (uint32_t i = n; i > 1; i--) {
        uint32_t pick = (uint32_t)(next_random(random) % i);
        uint32_t other = list[pick];

        list[pick] = list[i - 1];
        list[i - 1] = other;
    }
}

int iommu_init(struct iommu *iommu, struct hg_vhost_front *front, uint32_t window_n,
               uint64_t page_bytes, uint64_t *random)
{
    unsigned bits = 1;

    while (UINT32_C(1) << bits < window_n)
        bits++;
    *iommu = (struct iommu){
        .front = front,
        .page_bytes = page_bytes,
        .in_flight_max = HG_VHOST_FRONT_IOTLB_MAX,
        .slot_bits = IOVA_BITS - bits,
        .window_n = UINT32_C(1) << bits,
        .idle_n = UINT32_C(1) << bits,
    };
    iommu->window = calloc(iommu->window_n, sizeof(*iommu->window));
    iommu->idle = calloc(iommu->window_n, sizeof(*iommu->idle));
    iommu->ack_ns = calloc(SAMPLES_MAX, sizeof(*iommu->ack_ns));
    if (iommu->window == NULL || iommu->idle == NULL || iommu->ack_ns == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < iommu->window_n; i++) {
        /* The first half of the slot: the longest run still ends inside. */
        uint64_t place = next_random(random) % (UINT64_C(1) << (iommu->slot_bits - 1));

        iommu->window[i].iova = ((uint64_t)i << iommu->slot_bits) + place / page_bytes * page_bytes;
        iommu->idle[i] = i;
    }
    shuffle(iommu->idle, iommu->window_n, random);
    return 0;
}

void iommu_free(struct iommu *iommu)
{
    free(iommu->window);
    free(iommu->idle);
    free(iommu->ack_ns);
}

uint32_t iommu_map(struct iommu *iommu, uint64_t user_addr, uint64_t bytes)
{
    uint32_t index = iommu->idle[iommu->idle_first & (iommu->window_n - 1)];
    struct window *window = &iommu->window[index];

    iommu->idle_first++;
    iommu->idle_n--;
    window->user_addr = user_addr;
    window->bytes = bytes;
    iommu->mapped_n++;
    return index;
}

void iommu_release(struct iommu *iommu, uint32_t window)
{
    iommu->idle[(iommu->idle_first + iommu->idle_n++) & (iommu->window_n - 1)] = window;
}

unsigned iommu_room(const struct iommu *iommu)
{
    unsigned in_flight = HG_VHOST_FRONT_IOTLB_MAX - hg_vhost_front_iotlb_room(iommu->front);

    return in_flight < iommu->in_flight_max ? iommu->in_flight_max - in_flight : 0;
}

uint64_t iommu_unmap(struct iommu *iommu, uint32_t index)
{
    struct window *window = &iommu->window[index];
    struct hg_vhost_iotlb invalidate = {.iova = window->iova,
                                        .size = window->bytes,
                                        .perm = HG_VHOST_ACCESS_RW,
                                        .type = HG_VHOST_IOTLB_INVALIDATE};
    uint64_t now_ns = hg_now_ns();

    window->bytes = 0;
    if (hg_vhost_front_iotlb(iommu->front, &invalidate, NULL) != 0)
        return UINT64_MAX;
    iommu->invalidations_n++;
    iommu->sent_ns[iommu->front->iommu.sent_n % HG_VHOST_FRONT_IOTLB_MAX] = now_ns;
    return iommu->front->iommu.sent_n;
}

bool iommu_translate(void *ctx, uint64_t iova, uint8_t perm, struct hg_vhost_iotlb *page)
{
    const struct iommu *iommu = ctx;
    uint64_t slot = iova >> iommu->slot_bits;
    const struct window *window;
    uint64_t at;

    (void)perm;
    if (slot >= iommu->window_n)
        return false;
    window = &iommu->window[slot];
    if (iova < window->iova || iova - window->iova >= window->bytes)
        return false;
    at = (iova - window->iova) / iommu->page_bytes * iommu->page_bytes;
    *page = (struct hg_vhost_iotlb){
        .iova = window->iova + at,
        .size = iommu->page_bytes,
        .user_addr = window->user_addr + at,
        .perm = HG_VHOST_ACCESS_RW,
    };
    return true;
}

int iommu_run(struct iommu *iommu, struct hg_err *err)
{
    const struct hg_vhost_front_iommu *told = &iommu->front->iommu;
    uint64_t misses_n = told->misses_n;
    uint64_t begin_n = iommu->seen_n;
    int rc = hg_vhost_front_run(iommu->front, err);
    uint64_t now_ns;

    if (rc != 0)
        return rc;
    if (told->acked_n == begin_n)
        return told->misses_n != misses_n;
    now_ns = hg_now_ns();
    while (iommu->seen_n != told->acked_n) {
        uint64_t *sent_ns = &iommu->sent_ns[++iommu->seen_n % HG_VHOST_FRONT_IOTLB_MAX];

        if (*sent_ns != 0 && iommu->ack_n < SAMPLES_MAX)
            iommu->ack_ns[iommu->ack_n++] = (uint32_t)hg_min_u64(now_ns - *sent_ns, UINT32_MAX);
        *sent_ns = 0;
    }
    return 1;
}

void iommu_restart(struct iommu *iommu)
{
    iommu->ack_n = 0;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static double to_us(uint64_t ns)
{
    return (double)ns / 1e3;
}

void iommu_print_latency(struct iommu *iommu, struct iommu *other)
{
    size_t n = hg_min_u64(other->ack_n, SAMPLES_MAX - iommu->ack_n);
    uint32_t *ns = iommu->ack_ns;
    uint64_t sum_ns = 0;

    memcpy(ns + iommu->ack_n, other->ack_ns, n * sizeof(*ns));
    n += iommu->ack_n;
    iommu->ack_n = n;
    if (n == 0) {
        printf("null");
        return;
    }
    qsort(ns, n, sizeof(*ns), compare);
    for (size_t i = 0; i < n; i++)
        sum_ns += ns[i];
    printf("{\"mean\": %.2f, \"median\": %.2f, \"p99\": %.2f, \"max\": %.2f}",
           to_us(sum_ns) / (double)n, to_us(ns[n / 2]), to_us(ns[n * 99 / 100]), to_us(ns[n - 1]));
}
