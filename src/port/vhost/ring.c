/*
 * Rings start, pause, resume and stop.
 *
 *   stopped --KICK, once size, addresses and memory are known--> started --GET_VRING_BASE--> stopped
 *
 * The protocol lets a back-end start a ring when it first sees the kick descriptor readable. We start it
 * when the descriptor is given, which a guest cannot tell apart: until its driver is ready the
 * available ring stands still. A ring on which the guest transmits runs even while it is disabled,
 * and throws away what it takes; one on which it receives runs while it is enabled.
 *
 * A broken ring is stopped; GET_VRING_BASE and a new KICK, or a new session, mend it.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/raise.h"
#include "port/vhost/state.h"
#include "sync/qsbr.h"

static bool guest_transmits(const struct hg_vhost_ring *ring)
{
    return ring->index % 2 == 1;
}

static struct hg_vhost_pair *pair_of(struct hg_vhost_port *vp, const struct hg_vhost_ring *ring)
{
    return &vp->pair[ring->index / 2];
}

static atomic_bool *running_flag(struct hg_vhost_port *vp, const struct hg_vhost_ring *ring)
{
    struct hg_vhost_pair *pair = pair_of(vp, ring);

    return guest_transmits(ring) ? &pair->rxq.running : &pair->txq.running;
}

static bool is_running(struct hg_vhost_port *vp, const struct hg_vhost_ring *ring)
{
    return atomic_load_explicit(running_flag(vp, ring), memory_order_relaxed);
}

/* Tells everybody which queues run now. */
static void announce(struct hg_vhost_port *vp)
{
    unsigned n = 0;

    while (n < vp->port->queue_n && is_running(vp, &vp->pair[n].tx))
        n++;
    atomic_store_explicit(&vp->port->txq_running_n, n, memory_order_release);
    vp->port->host->queues_changed(vp->port, vp->port->host->ctx);
}

static unsigned offloads_of(const struct hg_vhost_port *vp)
{
    unsigned offloads = 0;

    if (!hg_vhost_has(vp, HG_VIRTIO_NET_F_GUEST_CSUM))
        return 0; /* segmentation without checksums is not to be had: 5.1.3.1 */
    offloads |= HG_TX_CSUM;
    if (hg_vhost_has(vp, HG_VIRTIO_NET_F_GUEST_TSO4))
        offloads |= HG_TX_TSO4;
    if (hg_vhost_has(vp, HG_VIRTIO_NET_F_GUEST_TSO6))
        offloads |= HG_TX_TSO6;
    if (hg_vhost_has(vp, HG_VIRTIO_NET_F_GUEST_ECN))
        offloads |= HG_TX_ECN;
    return offloads;
}

void hg_vhost_ring_pause(struct hg_vhost_ring *ring)
{
    hg_qsbr_publish(&ring->live, NULL);
}

void hg_vhost_ring_resume(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    if (!is_running(vp, ring))
        return;
    hg_qsbr_publish(&ring->live, &ring->dev);
    /* A kick that came during the pause woke a worker that found nothing: kick again. */
    if (guest_transmits(ring))
        hg_raise(ring->kick_fd);
}

/* Publishes a queue whose ring is set up. The caller announces. */
static void set_running(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    struct hg_vhost_pair *pair = pair_of(vp, ring);

    if (guest_transmits(ring))
        pair->rxq.fd = ring->kick_fd;
    else
        atomic_store_explicit(&pair->txq.offloads, offloads_of(vp), memory_order_relaxed);
    hg_qsbr_publish(&ring->live, &ring->dev);
    atomic_store_explicit(running_flag(vp, ring), true, memory_order_relaxed);
}

/* Takes a queue back. The caller announces, waits, and calls hg_vhost_queue_end(). */
static void set_stopped(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    atomic_store_explicit(running_flag(vp, ring), false, memory_order_relaxed);
    hg_qsbr_publish(&ring->live, NULL);
}

/* One part of a ring: `what` at `addr`, `bytes` long. */
static int place_part(struct hg_vhost_port *vp, const struct hg_vhost_ring *ring, const char *what,
                      uint64_t addr, size_t bytes, size_t alignment, uint8_t **host,
                      struct hg_err *err)
{
    *host = hg_space_user(vp->space, addr, bytes);
    if (*host == NULL)
        return hg_err_set(err, EFAULT,
                          "ring %u: %s of %zu bytes at 0x%" PRIx64
                          " is not inside one region of the memory table",
                          ring->index, what, bytes, addr);
    if ((uintptr_t)*host % alignment != 0)
        return hg_err_set(err, EINVAL, "ring %u: %s at 0x%" PRIx64 " is not aligned to %zu bytes",
                          ring->index, what, addr, alignment);
    return 0;
}

int hg_vhost_ring_place(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, struct hg_err *err)
{
    struct hg_vq_dev *dev = &ring->dev;
    int rc;

    /* Alignments: virtio 1.2, 2.7. */
    rc = place_part(vp, ring, "descriptor table", ring->addr.desc, HG_DESC_BYTES(ring->num), 16,
                    &dev->desc, err);
    if (rc == 0)
        rc = place_part(vp, ring, "available ring", ring->addr.avail, HG_AVAIL_BYTES(ring->num), 2,
                        &dev->avail, err);
    if (rc == 0)
        rc = place_part(vp, ring, "used ring", ring->addr.used, HG_USED_BYTES(ring->num), 4,
                        &dev->used, err);
    dev->space = vp->space;
    dev->hint = (struct hg_hint){0};
    return rc;
}

static int start(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, struct hg_err *err)
{
    bool modern = hg_vhost_has(vp, HG_VIRTIO_F_VERSION_1);
    bool mergeable = hg_vhost_has(vp, HG_VIRTIO_NET_F_MRG_RXBUF);
    int rc;

    ring->dev = (struct hg_vq_dev){
        .num = (uint16_t)ring->num,
        .hdr_len = modern || mergeable ? HG_NET_HDR_BYTES : HG_NET_HDR_LEGACY_BYTES,
        .event_idx = hg_vhost_has(vp, HG_VIRTIO_F_EVENT_IDX),
        .mergeable = mergeable,
        .indirect = hg_vhost_has(vp, HG_VIRTIO_F_INDIRECT_DESC),
        .csum_ok = hg_vhost_has(vp, HG_VIRTIO_NET_F_GUEST_CSUM),
        .call_fd = ring->call_fd,
    };
    rc = hg_vhost_ring_place(vp, ring, err);
    if (rc != 0)
        return rc;
    hg_vq_dev_start(&ring->dev, ring->base);
    ring->started = true;
    ring->fault = HG_VRING_OK;
    /* Whoever ran the ring before may have taken an interrupt with it. */
    hg_raise(ring->call_fd);
    return 0;
}

int hg_vhost_ring_try_start(struct hg_vhost_port *vp, struct hg_vhost_ring *ring,
                            struct hg_err *err)
{
    int rc;

    if (ring->started || !ring->kicked || !ring->placed || ring->num == 0 || vp->space == NULL)
        return 0;
    rc = start(vp, ring, err);
    if (rc != 0)
        return rc;
    atomic_store_explicit(&ring->discard, !ring->enabled, memory_order_relaxed);
    if (guest_transmits(ring) || ring->enabled) {
        set_running(vp, ring);
        announce(vp);
    }
    return 0;
}

/* What is left to do when no worker holds the ring any more. */
static void finish_stop(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    hg_vhost_queue_end(vp, ring);
    ring->base = hg_vq_dev_base(&ring->dev);
    ring->started = false;
    ring->kicked = false;
}

void hg_vhost_ring_stop(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    bool was_running = is_running(vp, ring);

    if (!ring->started)
        return;
    set_stopped(vp, ring);
    if (was_running)
        announce(vp);
    hg_qsbr_wait();
    finish_stop(vp, ring);
}

void hg_vhost_rings_stop(struct hg_vhost_port *vp)
{
    bool any_ran = false;

    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);

        any_ran |= is_running(vp, ring);
        set_stopped(vp, ring);
    }
    if (any_ran)
        announce(vp);
    hg_qsbr_wait();
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        if (hg_vhost_ring(vp, i)->started)
            finish_stop(vp, hg_vhost_ring(vp, i));
}

void hg_vhost_ring_enable(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, bool enabled)
{
    if (ring->enabled == enabled)
        return;
    ring->enabled = enabled;
    atomic_store_explicit(&ring->discard, !enabled, memory_order_relaxed);
    if (!ring->started || guest_transmits(ring))
        return;
    if (enabled) {
        set_running(vp, ring);
        announce(vp);
    } else {
        set_stopped(vp, ring);
        announce(vp);
        hg_qsbr_wait();
        hg_vhost_queue_end(vp, ring);
    }
}

void hg_vhost_rings_check(struct hg_vhost_port *vp)
{
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);
        /* Pairs with the release that stores the fault: its value is there too. */
        enum hg_vring_fault fault = atomic_load_explicit(&ring->dev.fault, memory_order_acquire);

        if (!ring->started || fault == HG_VRING_OK)
            continue;
        hg_vhost_ring_stop(vp, ring);
        ring->fault = fault;
        ring->fault_value = atomic_load_explicit(&ring->dev.fault_value, memory_order_relaxed);
        hg_log_limited(HG_LOG_WARN, vp->log_name,
                       "ring %u, on which the guest %s, is broken: %s (%" PRIu64 ")", ring->index,
                       guest_transmits(ring) ? "transmits" : "receives", hg_vring_fault_name(fault),
                       ring->fault_value);
        hg_raise(ring->err_fd);
    }
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void hg_vhost_ring_reset(struct hg_vhost_ring *ring)
{
    close_fd(&ring->kick_fd);
    close_fd(&ring->call_fd);
    close_fd(&ring->err_fd);
    ring->num = 0;
    ring->base = 0;
    ring->placed = ring->kicked = ring->enabled = ring->started = false;
    ring->fault = HG_VRING_OK;
}
