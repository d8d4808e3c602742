/*
 * The virtual IOMMU of a session: mappings in, misses out, invalidations acknowledged. The protocol is in
 * decision 0010; the IOTLB itself, and what an acknowledged invalidation promises, in iommu/iotlb.h.
 *
 *   front-end --IOTLB_MSG: UPDATE-------> hg_iotlb_update() --> rings and workers that waited go on
 *   front-end --IOTLB_MSG: INVALIDATE---> out of sight -> grace period -> free --> acknowledgement
 *   front-end <--BACKEND_IOTLB_MSG: MISS-- asks of rings and workers
 *
 * Neither socket is ever waited for. A front-end may hold a lock that its guest needs while it waits
 * for an acknowledgement, and stop reading the channel meanwhile. So the session's socket is read however
 * full the channel is, and misses that the channel does not take stay in the rings of those who ask.
 *
 * Invalidations that were read together share one grace period: all are out of sight before it begins. They are
 * acknowledged together and in order, before the next message of another kind is looked at.
 *
 * What ends a session: a message of a wrong size or with surplus descriptors, as of any request. What does
 * not, but is refused with a non-zero acknowledgement: an IOTLB message without a virtual IOMMU, of
 * an unknown type, or an UPDATE with a range or memory that cannot be. The front-end forwards what a guest
 * does with its IOMMU, and a guest must not be able to end the session of its front-end. An
 * INVALIDATE is never refused: whatever it names is not used when it is acknowledged. The channel may be
 * closed and replaced at any time; what comes in on it is thrown away, since no answer is asked for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "port/vhost/state.h"
#include "sync/qsbr.h"

/* --- misses --- */

static void free_event(struct event **event)
{
    if (*event != NULL)
        event_free(*event);
    *event = NULL;
}

static void close_channel(struct hg_vhost_iommu *iommu)
{
    if (iommu->channel.fd < 0)
        return;
    free_event(&iommu->channel_readable);
    free_event(&iommu->channel_writable);
    hg_vhost_conn_clear(&iommu->channel);
    close(iommu->channel.fd);
    iommu->channel.fd = -1;
}

void hg_vhost_iommu_close_channel(struct hg_vhost_port *vp)
{
    close_channel(&vp->iommu);
}

static struct hg_vhost_msg channel_msg(uint8_t type, uint64_t iova, unsigned perm)
{
    struct hg_vhost_msg msg;

    memset(&msg.hdr, 0, sizeof(msg.hdr));
    memset(&msg.iotlb, 0, sizeof(msg.iotlb));
    msg.hdr.request = HG_VHOST_BACKEND_IOTLB_MSG;
    msg.hdr.flags = HG_VHOST_VERSION;
    msg.hdr.size = sizeof(msg.iotlb);
    msg.iotlb.iova = iova;
    msg.iotlb.size = HG_IOTLB_GRANULE;
    msg.iotlb.perm = (uint8_t)perm;
    msg.iotlb.type = type;
    return msg;
}

/* Whether the channel would take a message now. */
static bool channel_ready(const struct hg_vhost_iommu *iommu)
{
    return iommu->channel.fd >= 0 && !hg_vhost_wants_write(&iommu->channel);
}

/* Sends what is queued; a channel that fails is given up. */
static void flush_channel(struct hg_vhost_port *vp)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;
    struct hg_err err;

    if (hg_vhost_flush(&iommu->channel, &err) != 0) {
        hg_log_limited(HG_LOG_WARN, vp->log_name, "back-end channel closed: %s", err.text);
        close_channel(iommu);
    } else if (hg_vhost_wants_write(&iommu->channel)) {
        event_add(iommu->channel_writable, NULL);
    } else {
        event_del(iommu->channel_writable);
    }
}

/* Queues the misses of one asker, as many as fit. Returns whether more may be there. */
static bool take_misses(struct hg_vhost_iommu *iommu, struct hg_asks *asks, uint64_t now_ns)
{
    struct hg_ask miss;

    /* Room first: a miss that has been taken is pending. */
    while (iommu->channel.out_bytes + sizeof(struct hg_vhost_msg) <= HG_VHOST_OUT_MAX) {
        if (!hg_iotlb_next_miss(iommu->iotlb, asks, now_ns, &miss))
            return false;
        struct hg_vhost_msg msg = channel_msg(HG_VHOST_IOTLB_MISS, miss.addr, miss.perm);

        hg_vhost_queue(&iommu->channel, &msg, NULL);
        iommu->misses++;
    }
    return true;
}

static void watch_expiry(struct hg_vhost_iommu *iommu, uint64_t now_ns, uint64_t next_ns)
{
    uint64_t delay_ns = next_ns > now_ns ? next_ns - now_ns : 0;
    struct timeval delay = {(time_t)(delay_ns / HG_NS_PER_S),
                            (suseconds_t)(delay_ns % HG_NS_PER_S / HG_NS_PER_US + 1)};

    if (next_ns != UINT64_MAX)
        event_add(iommu->expiry, &delay);
}

void hg_vhost_iommu_ask(struct hg_vhost_port *vp)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;
    unsigned ring_n = hg_vhost_ring_n(vp);
    uint64_t now_ns = hg_now_ns();
    uint64_t misses_before = iommu->misses;
    bool more = true;

    if (iommu->iotlb == NULL)
        return;
    while (more && channel_ready(iommu)) {
        more = take_misses(iommu, &iommu->asks, now_ns);
        for (unsigned i = 0; i < ring_n; i++)
            more |=
                take_misses(iommu, &hg_vhost_ring(vp, (iommu->turn + i) % ring_n)->asks, now_ns);
        iommu->turn = (iommu->turn + 1) % ring_n;
        flush_channel(vp);
    }
    /* The oldest pending miss is the first to expire: a timer that runs already is early enough. */
    if (iommu->misses != misses_before && !event_pending(iommu->expiry, EV_TIMEOUT, NULL))
        watch_expiry(iommu, now_ns, now_ns + HG_IOTLB_MISS_TIMEOUT_NS);
}

/* --- faults --- */

static uint64_t count_faults(struct hg_vhost_port *vp)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        for (unsigned kind = 0; kind < HG_IOMMU_FAULT_N; kind++)
            n += hg_count_get(&hg_vhost_ring(vp, i)->dev.iommu.faults[kind]);
    return n;
}

/* Tells the front-end and the log of addresses that the guest's driver named and its kernel has not mapped:
 * at most once a second, and as an example. */
static void tell_faults(struct hg_vhost_port *vp)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;
    uint64_t now_s = hg_now_ns() / HG_NS_PER_S;
    uint64_t faults = count_faults(vp);
    struct hg_ask fault;

    if (faults == iommu->told_faults || now_s == iommu->told_s ||
        !hg_iotlb_last_fault(iommu->iotlb, &fault))
        return;
    hg_log_limited(HG_LOG_WARN, vp->log_name,
                   "IOMMU fault: the guest's driver named 0x%" PRIx64 ", which it may not %s "
                   "(%" PRIu64 " such buffers so far)",
                   fault.addr, (fault.perm & HG_PERM_WRITE) != 0 ? "let us write" : "let us read",
                   faults);
    iommu->told_faults = faults;
    iommu->told_s = now_s;
    if (!channel_ready(iommu))
        return;
    struct hg_vhost_msg msg = channel_msg(HG_VHOST_IOTLB_ACCESS_FAIL, fault.addr, fault.perm);

    hg_vhost_queue(&iommu->channel, &msg, NULL);
    flush_channel(vp);
}

void hg_vhost_iommu_answered(struct hg_vhost_port *vp)
{
    if (vp->iommu.iotlb == NULL || !vp->iommu.answered)
        return;
    vp->iommu.answered = false;
    hg_vhost_rings_go_on(vp);
    hg_vhost_iommu_ask(vp);
    hg_vhost_rings_retry(vp);
}

static void on_expiry(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vhost_port *vp = ctx;
    uint64_t now_ns = hg_now_ns();
    uint64_t next_ns;

    (void)fd;
    (void)what;
    hg_iotlb_expire(vp->iommu.iotlb, now_ns, &next_ns);
    watch_expiry(&vp->iommu, now_ns, next_ns);
    vp->iommu.answered = true;
    hg_vhost_iommu_answered(vp);
}

/* A worker has asked. The descriptor's edge is enough: what there is to do is in the asks. */
static void on_wake(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vhost_port *vp = ctx;

    (void)fd;
    (void)what;
    hg_vhost_iommu_ask(vp);
    hg_vhost_rings_retry(vp); /* those whose asks found no room ask again */
}

void hg_vhost_iommu_watch(struct hg_vhost_port *vp)
{
    if (vp->iommu.iotlb != NULL)
        tell_faults(vp);
}

/* --- the channel --- */

/* Nothing is asked that would be answered: whatever comes is thrown away. */
static void on_channel_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vhost_port *vp = ctx;
    struct hg_vhost_conn *channel = &vp->iommu.channel;
    struct hg_err err;
    int rc;

    (void)fd;
    (void)what;
    do {
        rc = hg_vhost_recv(channel, &err);
        hg_vhost_next(channel);
    } while (rc == 1 && hg_vhost_has_ahead(channel));
    if (rc >= 0)
        return;
    hg_log_limited(HG_LOG_INFO, vp->log_name, "back-end channel closed: %s", err.text);
    close_channel(&vp->iommu);
}

static void on_channel_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vhost_port *vp = ctx;

    (void)fd;
    (void)what;
    flush_channel(vp);
    hg_vhost_iommu_ask(vp);
    hg_vhost_rings_retry(vp);
}

/* A stream socket of this machine: on anything else sending might block, or raise a signal. */
static int check_channel(int fd, struct hg_err *err)
{
    int domain = 0;
    int type = 0;
    socklen_t n = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) != 0 || domain != AF_UNIX ||
        type != SOCK_STREAM)
        return hg_err_set(err, EPROTO, "the file descriptor is not a UNIX stream socket");
    return 0;
}

/* Replaces the channel, if there is one: what was on its way on the old one is asked for again when it
 * expires. */
int hg_vhost_set_backend_req_fd(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    struct hg_vhost_iommu *iommu = &vp->iommu;
    int rc;

    if ((vp->protocol & HG_BIT(HG_VHOST_PROTOCOL_F_BACKEND_REQ)) == 0)
        return hg_err_set(call->err, EPROTO, "was not agreed on (BACKEND_REQ)");
    if (call->conn->in_fd_n != 1)
        return hg_err_set(call->err, EPROTO, "came without a file descriptor");
    rc = check_channel(call->conn->in_fd[0], call->err);
    if (rc != 0)
        return rc;
    close_channel(iommu);
    iommu->channel.fd = hg_vhost_take_fd(call->conn, 0);
    iommu->channel_readable =
        event_new(vp->loop, iommu->channel.fd, EV_READ | EV_PERSIST, on_channel_readable, vp);
    iommu->channel_writable =
        event_new(vp->loop, iommu->channel.fd, EV_WRITE | EV_PERSIST, on_channel_writable, vp);
    if (iommu->channel_readable == NULL || iommu->channel_writable == NULL ||
        event_add(iommu->channel_readable, NULL) != 0) {
        close_channel(iommu);
        return hg_err_set(call->err, ENOMEM, "no memory for the back-end channel's events");
    }
    hg_vhost_iommu_ask(vp);
    return 0;
}

/* --- messages --- */

/* Pauses a ring whose mapping goes; its memory is let go after the grace period. */
static void uproot(struct hg_vhost_iommu *iommu, struct hg_vhost_ring *ring)
{
    hg_vhost_ring_pause(ring);
    ring->uprooted = true;
    iommu->grace = true;
}

static int update(struct hg_vhost_port *vp, const struct hg_vhost_iotlb *msg, struct hg_err *err)
{
    int rc;

    if (vp->space == NULL) {
        hg_err_set(err, EINVAL, "an UPDATE before the memory table");
        return HG_VHOST_REFUSED;
    }
    rc = hg_iotlb_update(vp->iommu.iotlb, vp->space, msg->iova, msg->size, msg->user_addr,
                         msg->perm, err);
    if (rc != 0)
        return HG_VHOST_REFUSED;
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);

        if (hg_vhost_ring_moved(vp, ring, msg->iova, msg->size))
            uproot(&vp->iommu, ring);
    }
    vp->iommu.answered = true;
    /* Its acknowledgement says that the former mapping is not used any more, by rings either. */
    return hg_vhost_iommu_finish(vp, err);
}

static int invalidate(struct hg_vhost_port *vp, const struct hg_vhost_call *call)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;
    const struct hg_vhost_iotlb *msg = &call->in->iotlb;

    if (hg_iotlb_unpublish(iommu->iotlb, msg->iova, msg->size))
        iommu->grace = true;
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        if (hg_vhost_ring_touches(hg_vhost_ring(vp, i), msg->iova, msg->size))
            uproot(iommu, hg_vhost_ring(vp, i));
    iommu->acknowledge[iommu->waiting_n++] = (call->in->hdr.flags & HG_VHOST_NEED_REPLY) != 0;
    return HG_VHOST_DEFERRED;
}

int hg_vhost_iotlb_msg(struct hg_vhost_call *call)
{
    const struct hg_vhost_iotlb *msg = &call->in->iotlb;

    if (call->vp->iommu.mode == HG_VHOST_IOMMU_OFF)
        return hg_err_set(call->err, EPROTO, "was not offered");
    if (call->vp->iommu.iotlb == NULL) {
        hg_err_set(call->err, EINVAL, "the guest uses no virtual IOMMU");
        return HG_VHOST_REFUSED;
    }
    switch (msg->type) {
    case HG_VHOST_IOTLB_UPDATE:
        return update(call->vp, msg, call->err);
    case HG_VHOST_IOTLB_INVALIDATE:
        return invalidate(call->vp, call);
    default:
        hg_err_set(call->err, EINVAL, "type %u is neither UPDATE nor INVALIDATE", msg->type);
        return HG_VHOST_REFUSED;
    }
}

/* After the grace period: what was taken away may be used by others. */
static void let_go(struct hg_vhost_port *vp)
{
    hg_iotlb_settle(vp->iommu.iotlb);
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);

        if (!ring->uprooted)
            continue;
        ring->uprooted = false;
        ring->lacks = "descriptor table"; /* until it has been looked for */
        hg_vhost_ring_unplace(ring);
        vp->iommu.answered = true;
    }
}

static int acknowledge_all(struct hg_vhost_port *vp, struct hg_err *err)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;
    struct hg_vhost_msg reply;
    int rc = 0;

    memset(&reply.hdr, 0, sizeof(reply.hdr));
    reply.hdr.request = HG_VHOST_IOTLB_MSG;
    reply.hdr.flags = HG_VHOST_VERSION | HG_VHOST_REPLY;
    reply.hdr.size = sizeof(reply.u64);
    reply.u64 = 0;
    if ((vp->protocol & HG_BIT(HG_VHOST_PROTOCOL_F_REPLY_ACK)) != 0)
        for (unsigned i = 0; i < iommu->waiting_n && rc == 0; i++)
            if (iommu->acknowledge[i])
                rc = hg_vhost_queue(&vp->conn, &reply, err);
    return rc != 0 ? rc : hg_vhost_flush(&vp->conn, err);
}

int hg_vhost_iommu_finish(struct hg_vhost_port *vp, struct hg_err *err)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;
    uint64_t now_ns;
    int rc;

    if (iommu->grace) {
        hg_qsbr_wait();
        let_go(vp);
        iommu->grace = false;
    }
    if (iommu->waiting_n == 0)
        return 0;
    rc = acknowledge_all(vp, err);
    now_ns = hg_now_ns();
    for (unsigned i = 0; i < iommu->waiting_n; i++)
        hg_hist_add(&iommu->ack_ns, now_ns - iommu->arrival_ns);
    iommu->invalidations += iommu->waiting_n;
    iommu->waiting_n = 0;
    return rc;
}

/* --- begin and end --- */

void hg_vhost_iommu_forget(struct hg_vhost_port *vp)
{
    if (vp->iommu.iotlb != NULL)
        hg_iotlb_unpublish(vp->iommu.iotlb, 0, 0);
}

void hg_vhost_iommu_forgotten(struct hg_vhost_port *vp)
{
    if (vp->iommu.iotlb == NULL)
        return;
    hg_iotlb_settle(vp->iommu.iotlb);
    hg_iotlb_forget_misses(vp->iommu.iotlb);
}

static void wire_asks(struct hg_vhost_port *vp, int wake_fd)
{
    vp->iommu.wake_fd = wake_fd;
    memset(&vp->iommu.asks, 0, sizeof(vp->iommu.asks));
    vp->iommu.asks.wake_fd = wake_fd;
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);

        memset(&ring->asks, 0, sizeof(ring->asks));
        ring->asks.wake_fd = wake_fd;
    }
}

int hg_vhost_iommu_begin(struct hg_vhost_port *vp, struct hg_err *err)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;
    int rc;

    if (iommu->iotlb != NULL)
        return 0;
    rc = hg_iotlb_new(&iommu->iotlb, iommu->entries_max, err);
    if (rc != 0) {
        iommu->iotlb = NULL;
        return rc;
    }
    wire_asks(vp, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    iommu->wake = event_new(vp->loop, iommu->wake_fd, EV_READ | EV_ET | EV_PERSIST, on_wake, vp);
    iommu->expiry = event_new(vp->loop, -1, 0, on_expiry, vp);
    if (iommu->wake_fd < 0 || iommu->wake == NULL || iommu->expiry == NULL ||
        event_add(iommu->wake, NULL) != 0) {
        hg_vhost_iommu_end(vp);
        return hg_err_set(err, ENOMEM, "no event file descriptor for a virtual IOMMU");
    }
    if (vp->space != NULL)
        vp->space->iotlb = iommu->iotlb;
    return 0;
}

void hg_vhost_iommu_end(struct hg_vhost_port *vp)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;

    if (iommu->iotlb == NULL)
        return;
    if (vp->space != NULL)
        vp->space->iotlb = NULL;
    free_event(&iommu->wake);
    free_event(&iommu->expiry);
    if (iommu->wake_fd >= 0)
        close(iommu->wake_fd);
    wire_asks(vp, -1);
    iommu->evictions += hg_iotlb_info(iommu->iotlb).evictions;
    hg_iotlb_free(iommu->iotlb);
    iommu->iotlb = NULL;
    iommu->waiting_n = 0;
    iommu->grace = iommu->answered = false;
    iommu->told_faults = count_faults(vp);
}

/* --- report --- */

void hg_vhost_iommu_report(const struct hg_vhost_port *vp, struct hg_port_iommu *report)
{
    const struct hg_vhost_iommu *iommu = &vp->iommu;

    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        const struct hg_vhost_pair *pair = &vp->pair[i / 2];
        const struct hg_vq_iommu_stats *stats =
            i % 2 == 0 ? &pair->tx.dev.iommu : &pair->rx.dev.iommu;

        report->hits += hg_count_get(&stats->hits);
        report->ahead_hits += hg_count_get(&stats->ahead_hits);
        for (unsigned kind = 0; kind < HG_IOMMU_FAULT_N; kind++)
            report->faults[kind] += hg_count_get(&stats->faults[kind]);
    }
    hg_vhost_parked(vp, &report->parked, &report->parked_now);
    report->entries_max = iommu->entries_max;
    report->misses = iommu->misses;
    report->invalidations = iommu->invalidations;
    report->evictions = iommu->evictions;
    report->ack_median_ns = hg_hist_quantile(&iommu->ack_ns, 500);
    report->ack_p99_ns = hg_hist_quantile(&iommu->ack_ns, 990);
    report->ack_max_ns = iommu->ack_ns.max;
    if (iommu->iotlb == NULL)
        return;
    struct hg_iotlb_info info = hg_iotlb_info(iommu->iotlb);

    report->active = true;
    report->entries = info.entries;
    report->entries_max = info.entries_max;
    report->evictions += info.evictions;
}
