#include "ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/shm.h"

enum { CANARY = 0xa5 };

static struct fifo fifo_of(uint32_t n)
{
    uint32_t size = 1;

    while (size < n)
        size *= 2;
    return (struct fifo){.mask = size - 1};
}

/* The place of the entry that is taken next, or of the one that is put next. */
static uint32_t fifo_take(struct fifo *fifo)
{
    fifo->n--;
    return fifo->first++ & fifo->mask;
}

static uint32_t fifo_put(struct fifo *fifo)
{
    return (fifo->first + fifo->n++) & fifo->mask;
}

int ring_map_each_use(struct ring *ring, struct iommu *iommu, bool watch)
{
    ring->iommu = iommu;
    ring->watch = watch && ring->drv.receives;
    ring->turns = true;
    ring->idle = ring->leaving = fifo_of(ring->buffer_n);
    ring->idle_buffer = calloc(ring->idle.mask + 1, sizeof(*ring->idle_buffer));
    ring->leaving_buffer = calloc(ring->leaving.mask + 1, sizeof(*ring->leaving_buffer));
    if (ring->idle_buffer == NULL || ring->leaving_buffer == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < ring->buffer_n; i++) {
        ring->idle_buffer[fifo_put(&ring->idle)] = i;
        if (ring->watch)
            memset(ring_at(ring, i), CANARY, ring->buf_bytes);
    }
    return 0;
}

void ring_free(struct ring *ring)
{
    hg_drv_free(&ring->drv);
    free(ring->buffer_of);
    free(ring->place);
    free(ring->idle_buffer);
    free(ring->leaving_buffer);
    if (ring->kick_fd > 0)
        close(ring->kick_fd);
    if (ring->call_fd > 0)
        close(ring->call_fd);
}

static bool is_untouched(const struct ring *ring, uint32_t buffer)
{
    const uint8_t *buf = ring_at(ring, buffer);

    return buf[0] == CANARY && memcmp(buf, buf + 1, ring->buf_bytes - 1) == 0;
}

void ring_map(struct ring *ring, uint16_t id)
{
    uint32_t buffer = ring->idle_buffer[fifo_take(&ring->idle)];
    struct place *place = &ring->place[buffer];

    if (ring->watch && !is_untouched(ring, buffer))
        ring->touched_n++;
    place->window = iommu_map(ring->iommu, place->page_addr, ring->iommu->page_bytes);
    place->addr = ring->iommu->window[place->window].iova + place->in_page;
    ring->buffer_of[id] = buffer;
}

void ring_publish(struct ring *ring)
{
    if (hg_drv_publish(&ring->drv)) {
        ring->kicks++;
        eventfd_write(ring->kick_fd, 1);
    }
}

void ring_post(struct ring *ring, unsigned n)
{
    struct hg_drv_buf bufs[BATCH_N];

    for (unsigned i = 0; i < n; i++) {
        uint16_t id = hg_drv_id(&ring->drv, i);

        ring_turn(ring, id);
        bufs[i] = (struct hg_drv_buf){
            .addr = ring_addr(ring, id), .len = ring->buf_bytes, .flags = HG_DESC_F_WRITE};
    }
    hg_drv_add(&ring->drv, bufs, n);
}

/* Unmaps what has been used, as much as may be under way. */
static void unmap_used(struct ring *ring)
{
    struct hg_drv_used used[BATCH_N];
    unsigned n = hg_drv_reap(&ring->drv, used, hg_min_u32(iommu_room(ring->iommu), BATCH_N));

    for (unsigned i = 0; i < n; i++) {
        uint32_t buffer = ring->buffer_of[used[i].id];

        ring->leaving_buffer[fifo_put(&ring->leaving)] = (struct leaving){
            .number = iommu_unmap(ring->iommu, ring->place[buffer].window),
            .buffer = buffer,
            .len = used[i].len,
        };
    }
}

/* The next buffer whose unmapping is acknowledged; false if there is none. */
static bool take_unmapped(struct ring *ring, struct leaving *leaving)
{
    if (ring->leaving.n == 0)
        return false;
    *leaving = ring->leaving_buffer[ring->leaving.first & ring->leaving.mask];
    if (!iommu_acked(ring->iommu, leaving->number))
        return false;
    fifo_take(&ring->leaving);
    iommu_release(ring->iommu, ring->place[leaving->buffer].window);
    return true;
}

void ring_reclaim(struct ring *ring)
{
    struct leaving leaving;

    if (ring->iommu == NULL) {
        hg_drv_reclaim(&ring->drv, ring->drv.num);
        return;
    }
    unmap_used(ring);
    while (take_unmapped(ring, &leaving))
        ring->idle_buffer[fifo_put(&ring->idle)] = leaving.buffer;
}

static unsigned take_mapped(struct ring *ring, struct arrival *arrivals, unsigned n)
{
    struct hg_drv_used used[BATCH_N];

    n = hg_drv_reap(&ring->drv, used, n);
    for (unsigned i = 0; i < n; i++) {
        uint32_t buffer = ring_index(ring, used[i].id);

        arrivals[i] = (struct arrival){ring_at(ring, buffer), used[i].len, buffer};
        hg_shm_expect_read(arrivals[i].buf);
    }
    return n;
}

unsigned ring_take(struct ring *ring, struct arrival *arrivals, unsigned n)
{
    struct leaving leaving;
    unsigned i = 0;

    if (ring->iommu == NULL)
        return take_mapped(ring, arrivals, n);
    unmap_used(ring);
    for (; i < n && take_unmapped(ring, &leaving); i++)
        arrivals[i] = (struct arrival){ring_at(ring, leaving.buffer), leaving.len, leaving.buffer};
    return i;
}

void ring_give(struct ring *ring, const struct arrival *arrivals, unsigned n)
{
    if (ring->iommu == NULL)
        return;
    for (unsigned i = 0; i < n; i++) {
        if (ring->watch)
            memset(ring_at(ring, arrivals[i].buffer), CANARY, ring->buf_bytes);
        ring->idle_buffer[fifo_put(&ring->idle)] = arrivals[i].buffer;
    }
}
