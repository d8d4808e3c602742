/*
 * The memory that the back-end sees: one arena with the rings and buffers of every pair.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "port/virtio_user/state.h"

/* Where the back-end sees the arena. Not our own address of it: that is nobody's business. */
#define ARENA_ADDR (UINT64_C(1) << 32)

enum { RING_ALIGN_BYTES = 128, PAGE_ALIGN_BYTES = 4096 };

static uint64_t side_bytes(uint16_t num)
{
    return hg_round_up(hg_drv_bytes(num), PAGE_ALIGN_BYTES) +
           hg_round_up((uint64_t)num * HG_VU_BUF_BYTES, PAGE_ALIGN_BYTES);
}

static uint64_t seen_at(const struct hg_vu_port *vu, const void *here)
{
    return ARENA_ADDR + hg_arena_offset(vu->arena, here);
}

static int side_new(struct hg_vu_port *vu, struct hg_vu_side *side, unsigned index)
{
    uint16_t num = vu->queue_size;
    uint8_t *ring =
        hg_arena_take(vu->arena, index % 2 == 0 ? "receive ring" : "transmit ring",
                      hg_round_up(hg_drv_bytes(num), PAGE_ALIGN_BYTES), RING_ALIGN_BYTES);

    side->bufs = hg_arena_take(vu->arena, index % 2 == 0 ? "receive buffers" : "transmit buffers",
                               hg_round_up((uint64_t)num * HG_VU_BUF_BYTES, PAGE_ALIGN_BYTES),
                               HG_CACHE_LINE_BYTES);
    if (ring == NULL || side->bufs == NULL ||
        hg_drv_init(&side->drv, num, index % 2 == 0, ring) != 0)
        return -ENOMEM;
    side->bufs_addr = seen_at(vu, side->bufs);
    side->kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    side->call_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (side->kick_fd < 0 || side->call_fd < 0)
        return -errno;
    vu->plan.ring[index] = (struct hg_vhost_front_ring){
        .desc = seen_at(vu, side->drv.desc),
        .avail = seen_at(vu, side->drv.avail),
        .used = seen_at(vu, side->drv.used),
        .num = num,
        .kick_fd = side->kick_fd,
        .call_fd = side->call_fd,
    };
    return 0;
}

static void side_free(struct hg_vu_side *side)
{
    hg_drv_free(&side->drv);
    if (side->kick_fd >= 0)
        close(side->kick_fd);
    if (side->call_fd >= 0)
        close(side->call_fd);
}

/* The arena's file is sealed against truncation. Holes cannot be forbidden to those who may
 * write. */
static int watch_over(struct hg_vu_port *vu, struct hg_err *err)
{
    struct hg_arena_info info = hg_arena_info(vu->arena);

    vu->foreign = hg_foreign_watch(info.base, info.bytes, info.page_bytes, err);
    return vu->foreign != NULL ? 0 : -ENOMEM;
}

int hg_vu_memory_new(struct hg_vu_port *vu, struct hg_err *err)
{
    unsigned pair_n = vu->port->queue_n;
    struct hg_arena_options options = {
        .name = vu->log_name,
        .bytes = 2 * pair_n * side_bytes(vu->queue_size),
        .pages = vu->port->host->pages,
        .on_node = vu->port->host->on_node,
        .node = vu->port->host->node,
        .shared = true,
    };
    int rc = hg_arena_new(&vu->arena, &options, err);

    if (rc != 0)
        return rc;
    rc = watch_over(vu, err);
    if (rc != 0) {
        hg_arena_free(vu->arena);
        return rc;
    }
    for (unsigned i = 0; rc == 0 && i < pair_n; i++) {
        rc = side_new(vu, &vu->pair[i].rx, 2 * i);
        if (rc == 0)
            rc = side_new(vu, &vu->pair[i].tx, 2 * i + 1);
    }
    if (rc != 0) {
        hg_vu_memory_free(vu);
        return hg_err_set(err, -rc, "port '%s': cannot make its rings: %s", vu->port->name,
                          strerror(-rc));
    }

    struct hg_arena_info info = hg_arena_info(vu->arena);

    vu->plan.mem_fd = info.fd;
    vu->plan.mem_addr = ARENA_ADDR;
    vu->plan.mem_bytes = info.bytes;
    vu->plan.pair_n = pair_n;
    return 0;
}

void hg_vu_memory_free(struct hg_vu_port *vu)
{
    for (unsigned i = 0; i < vu->port->queue_n; i++) {
        side_free(&vu->pair[i].rx);
        side_free(&vu->pair[i].tx);
    }
    hg_foreign_forget(vu->foreign);
    hg_arena_free(vu->arena);
}
