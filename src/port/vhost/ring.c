/*
 * Rings start, pause, resume and stop.
 *
 *  stopped --KICK, once size, addresses and memory are known--> started --GET_VRING_BASE--> stopped
 *
 * Under a virtual IOMMU the mapping of its pages is a part of what must be known. A ring that lacks
 * one waits (ring->lacks): before it is started, or started and paused when the mapping is taken
 * away or moved under it. hg_vhost_rings_go_on() looks again whenever mappings have come.
 *
 * The protocol lets a back-end start a ring when it first sees the kick descriptor readable. We
 * start it when the descriptor is given, which a guest cannot tell apart: until its driver is ready
 * the available ring stands still. A ring on which the guest transmits runs even while it is
 * disabled, and throws away what it takes; one on which it receives runs while it is enabled.
 *
 * A broken ring is stopped; GET_VRING_BASE and a new KICK, or a new session, mend it.
 *
 * A front-end tells of changes of a mapping only while rings run. So the last ring that stops takes
 * all mappings with it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/raise.h"
#include "port/event.h"
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

/* Shows a ring that runs to its worker, unless it has no place. */
static void publish(struct hg_vhost_ring *ring)
{
    if (ring->lacks == NULL && !ring->uprooted && ring->refused[0] == '\0')
        hg_qsbr_publish(&ring->live, &ring->dev);
}

void hg_vhost_ring_resume(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    if (!is_running(vp, ring))
        return;
    publish(ring);
    /* A kick that came during the pause woke a worker that found nothing, and one that went to
     * sleep since has not looked at the ring: kick again. */
    if (guest_transmits(ring))
        hg_raise(ring->kick_fd);
    else
        hg_vhost_ring_posted(ring);
}

/* Publishes a queue whose ring is set up. The caller announces. */
static void set_running(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    struct hg_vhost_pair *pair = pair_of(vp, ring);

    if (guest_transmits(ring))
        pair->rxq.fd = ring->kick_fd;
    else
        atomic_store_explicit(&pair->txq.offloads, offloads_of(vp), memory_order_relaxed);
    hg_vhost_queue_begin(vp, ring);
    publish(ring);
    atomic_store_explicit(running_flag(vp, ring), true, memory_order_relaxed);
}

/* Takes a queue back. The caller announces, waits, and calls hg_vhost_queue_end(). */
static void set_stopped(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    atomic_store_explicit(running_flag(vp, ring), false, memory_order_relaxed);
    hg_qsbr_publish(&ring->live, NULL);
}

static void on_posted(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    hg_vhost_ring_posted(ctx);
}

/* Under a virtual IOMMU the buffers that a guest posts are looked at before frames need them.
 * Workers watch the descriptors of rings on which guests transmit; the others are watched here. By
 * its edge, since the descriptor is the guest's and reading it might block. */
static int watch_posted(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, struct hg_err *err)
{
    if (vp->iommu.iotlb == NULL || guest_transmits(ring) || ring->kick_fd < 0)
        return 0;
    ring->posted =
        event_new(vp->loop, ring->kick_fd, EV_READ | EV_ET | EV_PERSIST, on_posted, ring);
    if (ring->posted != NULL && event_add(ring->posted, NULL) == 0)
        return 0;
    hg_event_free(&ring->posted);
    return hg_err_set(err, ENOMEM, "ring %u: no memory for the event of its kicks", ring->index);
}

/* Whether SET_VRING_BASE was given a position of this ring. The size may have come after it. */
static int check_base(const struct hg_vhost_port *vp, const struct hg_vhost_ring *ring,
                      struct hg_err *err)
{
    uint32_t mask = HG_PACKED_WRAP - 1;
    bool good = hg_vhost_has(vp, HG_VIRTIO_F_RING_PACKED)
                    ? (ring->base & mask) < ring->num && (ring->base >> 16 & mask) < ring->num
                    : ring->base <= UINT16_MAX;

    if (good)
        return 0;
    return hg_err_set(err, EPROTO, "ring %u: base 0x%x is no position in a ring of %u", ring->index,
                      ring->base, ring->num);
}

static int start(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, struct hg_err *err)
{
    bool modern = hg_vhost_has(vp, HG_VIRTIO_F_VERSION_1);
    bool mergeable = hg_vhost_has(vp, HG_VIRTIO_NET_F_MRG_RXBUF);
    struct hg_vq_dev *dev = &ring->dev;
    int rc;

    rc = check_base(vp, ring, err);
    if (rc == 0)
        rc = hg_vhost_ring_place(vp, ring, err);
    if (rc == 0)
        rc = watch_posted(vp, ring, err);
    if (rc != 0)
        return rc;
    /* Not all of it: what it has counted stays. */
    dev->num = (uint16_t)ring->num;
    dev->hdr_len = modern || mergeable ? HG_NET_HDR_BYTES : HG_NET_HDR_LEGACY_BYTES;
    dev->packed = hg_vhost_has(vp, HG_VIRTIO_F_RING_PACKED);
    dev->in_order = hg_vhost_has(vp, HG_VIRTIO_F_IN_ORDER);
    dev->event_idx = hg_vhost_has(vp, HG_VIRTIO_F_EVENT_IDX);
    dev->mergeable = mergeable;
    dev->indirect = hg_vhost_has(vp, HG_VIRTIO_F_INDIRECT_DESC);
    dev->csum_ok = hg_vhost_has(vp, HG_VIRTIO_NET_F_GUEST_CSUM);
    dev->asks = vp->iommu.iotlb != NULL ? &ring->asks : NULL;
    dev->call_fd = ring->call_fd;
    hg_vq_dev_start(dev, ring->base);
    ring->started = true;
    ring->fault = HG_VRING_OK;
    /* Whoever ran the ring before may have taken an interrupt with it. */
    hg_raise(ring->call_fd);
    return 0;
}

/* Says why a ring cannot be where the guest has put it. */
static void say_refused(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    hg_log_limited(HG_LOG_WARN, vp->log_name, "%s", ring->refused);
    hg_raise(ring->err_fd);
}

int hg_vhost_ring_try_start(struct hg_vhost_port *vp, struct hg_vhost_ring *ring,
                            struct hg_err *err)
{
    int rc;

    if (ring->started || !ring->kicked || !ring->placed || ring->num == 0 || vp->space == NULL ||
        ring->refused[0] != '\0' || hg_vhost_unsafe(vp))
        return 0;
    rc = start(vp, ring, err);
    if (rc == HG_VHOST_LACKING)
        hg_vhost_misses_send(vp);
    if (rc == HG_VHOST_REFUSED)
        say_refused(vp, ring);
    if (rc != 0)
        return rc < 0 ? rc : 0;
    atomic_store_explicit(&ring->discard, !ring->enabled, memory_order_relaxed);
    if (guest_transmits(ring) || ring->enabled) {
        set_running(vp, ring);
        announce(vp);
    }
    return 0;
}

int hg_vhost_rings_try_start(struct hg_vhost_port *vp, struct hg_err *err)
{
    int rc = 0;

    for (unsigned i = 0; i < hg_vhost_ring_n(vp) && rc == 0; i++)
        rc = hg_vhost_ring_try_start(vp, hg_vhost_ring(vp, i), err);
    return rc;
}

int hg_vhost_ring_move(struct hg_vhost_port *vp, struct hg_vhost_ring *ring, struct hg_err *err)
{
    int rc = hg_vhost_ring_place(vp, ring, err);

    if (rc == HG_VHOST_REFUSED)
        say_refused(vp, ring);
    else if (rc == HG_VHOST_LACKING)
        hg_vhost_misses_send(vp);
    else if (rc == 0)
        hg_vhost_ring_resume(vp, ring);
    return rc < 0 ? rc : 0;
}

void hg_vhost_rings_go_on(struct hg_vhost_port *vp)
{
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);
        struct hg_err err;
        int rc;

        if (ring->lacks == NULL)
            continue;
        rc = ring->started ? hg_vhost_ring_move(vp, ring, &err)
                           : hg_vhost_ring_try_start(vp, ring, &err);
        if (rc != 0) { /* for want of memory: its addresses have been checked before */
            snprintf(ring->refused, sizeof(ring->refused), "%.127s", err.text);
            say_refused(vp, ring);
        }
    }
}

/* Forgets that a ring waits for something, whether or not it is started. */
static void stop_waiting(struct hg_vhost_ring *ring)
{
    ring->lacks = NULL;
    ring->uprooted = false;
    ring->refused[0] = '\0';
}

/* What is left to do when no worker holds the ring any more. */
static void finish_stop(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    hg_vhost_queue_end(vp, ring);
    ring->base = hg_vq_dev_base(&ring->dev);
    ring->started = false;
    ring->kicked = false;
    hg_event_free(&ring->posted);
    hg_vhost_ring_unplace(ring, NULL);
    stop_waiting(ring);
}

static bool is_last(struct hg_vhost_port *vp, const struct hg_vhost_ring *ring)
{
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        if (hg_vhost_ring(vp, i) != ring && hg_vhost_ring(vp, i)->kicked)
            return false;
    return true;
}

void hg_vhost_ring_stop(struct hg_vhost_port *vp, struct hg_vhost_ring *ring)
{
    bool was_running = is_running(vp, ring);
    bool last = ring->kicked && is_last(vp, ring);

    if (!ring->started && !last) {
        stop_waiting(ring);
        return;
    }
    set_stopped(vp, ring);
    if (was_running)
        announce(vp);
    if (last)
        hg_vhost_iommu_forget(vp);
    hg_qsbr_wait();
    if (last)
        hg_vhost_iommu_forgotten(vp);
    if (ring->started)
        finish_stop(vp, ring);
    stop_waiting(ring);
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
    hg_vhost_iommu_forget(vp);
    hg_qsbr_wait();
    hg_vhost_iommu_forgotten(vp);
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);

        if (ring->started)
            finish_stop(vp, ring);
        stop_waiting(ring);
    }
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
    stop_waiting(ring);
    ring->fault = HG_VRING_OK;
}
