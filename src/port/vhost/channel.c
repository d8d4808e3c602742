/*
 * The way of misses: from rings and workers to the front-end, on the channel that it gives for
 * that.
 *
 * Neither socket is ever waited for. A front-end may hold a lock that its guest needs while it
 * waits for an acknowledgement, and stop reading the channel meanwhile (QEMU does). So the
 * session's socket is read however full the channel is, and misses that the channel does not take
 * stay with those who ask (struct hg_asks), which bounds them.
 *
 * The channel may be closed and replaced at any time. What comes in on it is thrown away, since no
 * answer is asked for; what is no message costs the channel, not the session.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "port/event.h"
#include "port/vhost/state.h"

/* --- the channel's output --- */

static void close_channel(struct hg_vhost_iommu *iommu)
{
    if (iommu->channel.fd < 0)
        return;
    hg_event_free(&iommu->channel_readable);
    hg_event_free(&iommu->channel_writable);
    hg_vhost_conn_clear(&iommu->channel);
    close(iommu->channel.fd);
    iommu->channel.fd = -1;
}

void hg_vhost_channel_close(struct hg_vhost_port *vp)
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

/* --- misses --- */

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

void hg_vhost_misses_send(struct hg_vhost_port *vp)
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
        iommu->turn++;
        flush_channel(vp);
    }
    /* The oldest pending miss is the first to expire: a timer that runs already is early enough. */
    if (iommu->misses != misses_before && !event_pending(iommu->expiry, EV_TIMEOUT, NULL))
        watch_expiry(iommu, now_ns, now_ns + HG_IOTLB_MISS_TIMEOUT_NS);
    hg_vhost_rings_retry(vp); /* those whose asks found no room, or were out of date, ask again */
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
    hg_vhost_misses_send(vp);
}

static void wire_asks(struct hg_vhost_port *vp, int wake_fd)
{
    vp->iommu.wake_fd = wake_fd;
    memset(&vp->iommu.asks, 0, sizeof(vp->iommu.asks));
    vp->iommu.asks.wake_fd = wake_fd;
    vp->iommu.asks.control = true;
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);

        memset(&ring->asks, 0, sizeof(ring->asks));
        ring->asks.wake_fd = wake_fd;
    }
}

int hg_vhost_misses_begin(struct hg_vhost_port *vp, struct hg_err *err)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;

    wire_asks(vp, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    iommu->wake = event_new(vp->loop, iommu->wake_fd, EV_READ | EV_ET | EV_PERSIST, on_wake, vp);
    iommu->expiry = event_new(vp->loop, -1, 0, on_expiry, vp);
    if (iommu->wake_fd >= 0 && iommu->wake != NULL && iommu->expiry != NULL &&
        event_add(iommu->wake, NULL) == 0)
        return 0;
    return hg_err_set(err, ENOMEM, "no event file descriptor for a virtual IOMMU");
}

void hg_vhost_misses_end(struct hg_vhost_port *vp)
{
    hg_event_free(&vp->iommu.wake);
    hg_event_free(&vp->iommu.expiry);
    if (vp->iommu.wake_fd >= 0)
        close(vp->iommu.wake_fd);
    wire_asks(vp, -1);
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

/* Tells the front-end and the log of addresses that the guest's driver named and its kernel has not
 * mapped: at most once a second, and as an example. */
void hg_vhost_faults_tell(struct hg_vhost_port *vp)
{
    struct hg_vhost_iommu *iommu = &vp->iommu;
    uint64_t now_s = hg_now_ns() / HG_NS_PER_S;
    uint64_t faults = count_faults(vp);
    struct hg_ask fault;

    if (iommu->iotlb == NULL || faults == iommu->told_faults || now_s == iommu->told_s ||
        !hg_iotlb_last_fault(iommu->iotlb, &fault))
        return;
    hg_log_limited(HG_LOG_WARN, vp->log_name,
                   "IOMMU fault: the guest's driver named 0x%" PRIx64 ", which it may not %s "
                   "(refused so far: %" PRIu64 ")",
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

/* --- the channel itself --- */

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
    hg_vhost_misses_send(vp);
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

/* Replaces the channel, if there is one: what was on its way on the old one is asked for again when
 * it expires. */
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
    hg_vhost_misses_send(vp);
    return 0;
}
