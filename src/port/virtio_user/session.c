/*
 * One session with a back-end, from its first byte to its end: a thin layer between the event loop
 * and virtio/vhost_front.h.
 *
 * Queues start when the back-end has acknowledged the last message, and stop before anything that
 * they use is touched. A session ends when the back-end closes it, breaks the protocol or a ring,
 * or does not answer while the session is set up; then the link finds the next one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "port/event.h"
#include "port/virtio_user/state.h"
#include "sync/qsbr.h"

enum {
    WATCH_MS = 200, /* between two looks at the rings */
    ANSWER_S = 5,   /* for the whole set-up */
};

static bool has(const struct hg_vu_port *vu, unsigned feature)
{
    return (vu->front.features & HG_BIT(feature)) != 0;
}

/* What the back-end takes as metadata: the HOST_ features, named from the guest's side. */
static unsigned offloads_of(const struct hg_vu_port *vu)
{
    unsigned offloads = 0;

    if (has(vu, HG_VIRTIO_NET_F_CSUM))
        offloads |= HG_TX_CSUM;
    if (has(vu, HG_VIRTIO_NET_F_HOST_TSO4))
        offloads |= HG_TX_TSO4;
    if (has(vu, HG_VIRTIO_NET_F_HOST_TSO6))
        offloads |= HG_TX_TSO6;
    if (has(vu, HG_VIRTIO_NET_F_HOST_ECN))
        offloads |= HG_TX_ECN;
    return offloads;
}

static void announce(struct hg_vu_port *vu, unsigned running_n)
{
    atomic_store_explicit(&vu->port->txq_running_n, running_n, memory_order_release);
    vu->port->host->queues_changed(vu->port, vu->port->host->ctx);
}

static void start_side(struct hg_vu_port *vu, struct hg_vu_side *side)
{
    hg_drv_start(&side->drv, vu->front.features);
    if (side->drv.receives)
        hg_vu_post_all(side);
    hg_qsbr_publish(&side->live, &side->drv);
}

static void start_queues(struct hg_vu_port *vu)
{
    unsigned offloads = offloads_of(vu);

    for (unsigned i = 0; i < vu->front.pair_n; i++) {
        struct hg_vu_pair *pair = &vu->pair[i];

        start_side(vu, &pair->rx);
        start_side(vu, &pair->tx);
        pair->rxq.fd = pair->rx.call_fd;
        atomic_store_explicit(&pair->txq.offloads, offloads, memory_order_relaxed);
        atomic_store_explicit(&pair->rxq.running, true, memory_order_relaxed);
        atomic_store_explicit(&pair->txq.running, true, memory_order_relaxed);
    }
    vu->running = true;
    announce(vu, vu->front.pair_n);
}

/* On return no worker uses a ring. */
static void stop_queues(struct hg_vu_port *vu)
{
    if (!vu->running)
        return;
    for (unsigned i = 0; i < vu->port->queue_n; i++) {
        struct hg_vu_pair *pair = &vu->pair[i];

        atomic_store_explicit(&pair->rxq.running, false, memory_order_relaxed);
        atomic_store_explicit(&pair->txq.running, false, memory_order_relaxed);
        hg_qsbr_publish(&pair->rx.live, NULL);
        hg_qsbr_publish(&pair->tx.live, NULL);
    }
    vu->running = false;
    announce(vu, 0);
    hg_qsbr_wait();
}

/* Empty, as a back-end expects them at the start of a session. */
static void reset_rings(struct hg_vu_port *vu)
{
    for (unsigned i = 0; i < vu->port->queue_n; i++) {
        hg_drv_reset(&vu->pair[i].rx.drv);
        hg_drv_reset(&vu->pair[i].tx.drv);
    }
}

/* What follows from a step of the session that returned rc. */
static void settle(struct hg_vu_port *vu, int rc, const struct hg_err *err)
{
    if (rc == -ECONNRESET || rc == -EPIPE) {
        hg_vu_session_end(vu, NULL);
        return;
    }
    if (rc != 0) {
        hg_vu_session_end(vu, err->text);
        return;
    }
    if (hg_vhost_front_wants_write(&vu->front))
        event_add(vu->writable, NULL);
    else
        event_del(vu->writable);
    if (vu->front.state == HG_VHOST_FRONT_UP && !vu->running) {
        hg_log_limited(HG_LOG_INFO, vu->log_name, "up with %u queue pair%s", vu->front.pair_n,
                       vu->front.pair_n == 1 ? "" : "s");
        start_queues(vu);
    }
}

static void on_ready(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vu_port *vu = ctx;
    struct hg_err err;

    (void)fd;
    (void)what;
    settle(vu, hg_vhost_front_run(&vu->front, &err), &err);
}

/* Explains a ring that the back-end has broken. */
static bool find_fault(const struct hg_vu_port *vu, struct hg_err *err)
{
    for (unsigned i = 0; i < 2 * vu->port->queue_n; i++) {
        const struct hg_vu_pair *pair = &vu->pair[i / 2];
        const struct hg_drv *drv = i % 2 == 0 ? &pair->rx.drv : &pair->tx.drv;
        /* Pairs with the release that stores the fault: its value is there too. */
        enum hg_drv_fault fault = atomic_load_explicit(&drv->fault, memory_order_acquire);

        if (fault == HG_DRV_OK)
            continue;
        hg_err_set(err, EPROTO, "ring %u, on which we %s, is broken: %s (%" PRIu64 ")", i,
                   i % 2 == 0 ? "receive" : "transmit", hg_drv_fault_name(fault),
                   atomic_load_explicit(&drv->fault_value, memory_order_relaxed));
        return true;
    }
    return false;
}

static void on_watch(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vu_port *vu = ctx;
    const char *awaits = hg_vhost_front_awaits(&vu->front);
    struct hg_err err;

    (void)fd;
    (void)what;
    if (vu->running) {
        if (find_fault(vu, &err))
            hg_vu_session_end(vu, err.text);
    } else if (hg_now_ns() - vu->begun_ns > ANSWER_S * HG_NS_PER_S) {
        hg_err_set(&err, ETIMEDOUT, "the back-end has not answered %s within %d s",
                   awaits != NULL ? awaits : "anything", ANSWER_S);
        hg_vu_session_end(vu, err.text);
    }
}

/* Whether a back-end has taken memory of the arena away. Its pages are no longer those of the file
 * then: no back-end can use it any more. */
static bool find_loss(const struct hg_vu_port *vu, struct hg_err *err)
{
    size_t at;

    if (!hg_foreign_lost(vu->foreign, &at))
        return false;
    hg_err_set(err, EFAULT,
               "a back-end has made holes in the port's memory, first met at offset 0x%zx; remove "
               "the port and add it again",
               at);
    return true;
}

static void on_lost(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vu_port *vu = ctx;
    struct hg_err err;

    (void)fd;
    (void)what;
    if (find_loss(vu, &err))
        hg_vu_session_end(vu, err.text);
}

void hg_vu_session_begin(struct hg_vu_port *vu, int fd)
{
    struct timeval period = {.tv_usec = WATCH_MS * 1000};
    struct hg_err err;
    int rc;

    reset_rings(vu);
    rc = hg_vhost_front_start(&vu->front, fd, &vu->plan, &err);
    vu->readable = event_new(vu->link.loop, fd, EV_READ | EV_PERSIST, on_ready, vu);
    vu->writable = event_new(vu->link.loop, fd, EV_WRITE | EV_PERSIST, on_ready, vu);
    vu->watch = event_new(vu->link.loop, -1, EV_PERSIST, on_watch, vu);
    vu->lost =
        event_new(vu->link.loop, hg_foreign_event(), EV_READ | EV_ET | EV_PERSIST, on_lost, vu);
    vu->begun_ns = hg_now_ns();
    vu->sessions_n++;
    vu->broken[0] = '\0';
    hg_log_limited(HG_LOG_INFO, vu->log_name, "connected to a back-end, %s", vu->link.path);
    if (vu->readable == NULL || vu->writable == NULL || vu->watch == NULL || vu->lost == NULL ||
        event_add(vu->readable, NULL) != 0 || event_add(vu->watch, &period) != 0 ||
        event_add(vu->lost, NULL) != 0)
        hg_vu_session_end(vu, "no memory for the session's events");
    else if (find_loss(vu, &err))
        hg_vu_session_end(vu, err.text);
    else
        settle(vu, rc, &err);
}

void hg_vu_session_end(struct hg_vu_port *vu, const char *reason)
{
    if (!hg_vu_connected(vu))
        return;
    if (reason != NULL) {
        snprintf(vu->broken, sizeof(vu->broken), "%s", reason);
        hg_log_limited(HG_LOG_WARN, vu->log_name, "connection closed: %s", reason);
    } else {
        hg_log_limited(HG_LOG_INFO, vu->log_name, "the back-end has gone");
    }
    hg_event_free(&vu->readable);
    hg_event_free(&vu->writable);
    hg_event_free(&vu->watch);
    hg_event_free(&vu->lost);
    stop_queues(vu);
    hg_vhost_front_close(&vu->front);
    hg_link_lost(&vu->link);
}
