/*
 * One connection from its first byte to its end.
 *
 * The session is a state machine that never waits: what is there is read, each whole request is
 * checked against its entry of the table, handled, and answered at once. A peer that is silent, in
 * the middle of a message or elsewhere, costs nothing and delays nobody. A peer that breaks the
 * protocol loses the connection, the port says why until it comes back, and its guest's rings stop.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "mem/foreign.h"
#include "port/event.h"
#include "port/vhost/state.h"

enum { WATCH_MS = 200 }; /* between two looks at the rings */

/* Checks a request against its entry before its handler sees it. */
static int check(const struct hg_vhost_port *vp, const struct hg_vhost_request_spec *spec,
                 struct hg_err *err)
{
    const struct hg_vhost_conn *conn = &vp->conn;
    const struct hg_vhost_hdr *hdr = &conn->in.hdr;

    if (spec == NULL)
        return hg_err_set(err, EPROTO, "was not offered");
    if ((hdr->flags & HG_VHOST_REPLY) != 0)
        return hg_err_set(err, EPROTO, "is a reply, but nothing was asked");
    if (hdr->size < spec->size_min || hdr->size > spec->size_max)
        return hg_err_set(err, EPROTO, "has %u bytes of payload, expected %u to %u", hdr->size,
                          spec->size_min, spec->size_max);
    if (conn->in_fd_n > spec->fd_max)
        return hg_err_set(err, EPROTO, "came with %u file descriptors, expected at most %u",
                          conn->in_fd_n, spec->fd_max);
    return 0;
}

/* Queues the answer that the request has by itself, or the acknowledgement that the peer asked for:
 * those to requests that came together are sent together. */
static int answer(struct hg_vhost_port *vp, const struct hg_vhost_request_spec *spec,
                  struct hg_vhost_msg *reply, int rc, struct hg_err *err)
{
    bool acknowledge = (vp->conn.in.hdr.flags & HG_VHOST_NEED_REPLY) != 0 &&
                       (vp->protocol & HG_BIT(HG_VHOST_PROTOCOL_F_REPLY_ACK)) != 0;

    reply->hdr.request = vp->conn.in.hdr.request;
    reply->hdr.flags = HG_VHOST_VERSION | HG_VHOST_REPLY;
    if (rc == HG_VHOST_DEFERRED)
        return 0;
    if (rc >= 0 && spec->reply_size != 0) {
        reply->hdr.size = spec->reply_size;
    } else if (acknowledge) {
        reply->hdr.size = sizeof(reply->u64);
        reply->u64 = rc == 0 ? 0 : 1;
    } else {
        return 0;
    }
    return hg_vhost_queue(&vp->conn, reply, err);
}

static bool is_invalidation(const struct hg_vhost_msg *msg)
{
    return msg->hdr.request == HG_VHOST_IOTLB_MSG && msg->hdr.size == sizeof(msg->iotlb) &&
           msg->iotlb.type == HG_VHOST_IOTLB_INVALIDATE;
}

/* Handles the request that conn.in holds. */
static int dispatch(struct hg_vhost_port *vp, struct hg_err *err)
{
    const struct hg_vhost_request_spec *spec = hg_vhost_request_spec(vp->conn.in.hdr.request);
    const char *name = hg_vhost_request_name(vp->conn.in.hdr.request);
    struct hg_vhost_msg reply;
    int rc = check(vp, spec, err);

    memset(&reply, 0, sizeof(reply));
    if (rc == 0 && !is_invalidation(&vp->conn.in))
        rc = hg_vhost_iommu_finish(vp, err); /* answers keep the order of their requests */
    if (rc == 0)
        rc = spec->handle(&(struct hg_vhost_call){vp, &vp->conn, &vp->conn.in, &reply, err});
    if (rc < 0 || rc == HG_VHOST_REFUSED)
        hg_err_set(err, EPROTO, "%s: %s", name, err->text);
    if (rc == HG_VHOST_REFUSED)
        hg_log_limited(HG_LOG_WARN, vp->log_name, "refused: %s", err->text);

    int sent = answer(vp, spec, &reply, rc, rc < 0 ? NULL : err);

    return rc < 0 ? rc : sent;
}

/* Asks the loop to tell when the peer reads again, if something waits for that. */
static void watch_output(struct hg_vhost_port *vp)
{
    if (hg_vhost_wants_write(&vp->conn))
        event_add(vp->writable, NULL);
    else
        event_del(vp->writable);
}

/* Handles what has been read, and no more than that: the loop tells when there is more. */
static int handle_requests(struct hg_vhost_port *vp, struct hg_err *err)
{
    int rc;

    for (int i = 0; i < HG_VHOST_REQUESTS_AT_ONCE; i++) {
        rc = hg_vhost_recv(&vp->conn, err);
        if (rc != 1)
            return rc;
        if (i == 0)
            vp->iommu.arrival_ns = hg_now_ns();
        rc = dispatch(vp, err);
        hg_vhost_next(&vp->conn);
        if (rc != 0 || !hg_vhost_has_ahead(&vp->conn))
            return rc;
    }
    /* The rest when the others have had their turn. It is in our memory, the socket will not
     * tell. */
    event_active(vp->readable, EV_READ, 0);
    return 0;
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vhost_port *vp = ctx;
    struct hg_err err;
    int rc;

    (void)fd;
    (void)what;
    rc = handle_requests(vp, &err);
    if (rc >= 0)
        rc = hg_vhost_iommu_finish(vp, &err);
    if (rc >= 0)
        rc = hg_vhost_flush(&vp->conn, &err);
    else
        hg_vhost_flush(&vp->conn, NULL); /* a last refusal; the session ends anyhow */
    if (rc == -ECONNRESET || rc == -EPIPE) {
        hg_vhost_session_end(vp, NULL);
        return;
    }
    if (rc < 0) {
        hg_vhost_session_end(vp, err.text);
        return;
    }
    hg_vhost_iommu_answered(vp);
    watch_output(vp);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vhost_port *vp = ctx;
    struct hg_err err;

    (void)fd;
    (void)what;
    if (hg_vhost_flush(&vp->conn, &err) != 0)
        hg_vhost_session_end(vp, err.text);
    else
        watch_output(vp);
}

static void on_watch(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    hg_vhost_rings_check(ctx);
    hg_vhost_faults_tell(ctx);
}

/* Some port's front-end has taken memory away from under us. */
static void on_lost(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vhost_port *vp = ctx;
    uint64_t guest_addr;
    struct hg_err err;

    (void)fd;
    (void)what;
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        if (hg_vhost_ring_lost(hg_vhost_ring(vp, i))) {
            hg_err_set(&err, EFAULT, "its memory file was truncated: a page of ring %u is gone", i);
            hg_vhost_session_end(vp, err.text);
            return;
        }
    if (vp->space == NULL || !hg_space_lost(vp->space, &guest_addr))
        return;
    hg_err_set(&err, EFAULT,
               "its memory file was truncated or ran out of pages: nothing is left behind guest "
               "address 0x%" PRIx64,
               guest_addr);
    hg_vhost_session_end(vp, err.text);
}

void hg_vhost_session_begin(struct hg_vhost_port *vp, int fd)
{
    struct timeval period = {.tv_usec = WATCH_MS * 1000};

    vp->conn.fd = fd;
    vp->readable = event_new(vp->loop, fd, EV_READ | EV_PERSIST, on_readable, vp);
    vp->writable = event_new(vp->loop, fd, EV_WRITE | EV_PERSIST, on_writable, vp);
    vp->watch = event_new(vp->loop, -1, EV_PERSIST, on_watch, vp);
    vp->lost = event_new(vp->loop, hg_foreign_event(), EV_READ | EV_ET | EV_PERSIST, on_lost, vp);
    vp->sessions_n++;
    vp->broken[0] = '\0';
    hg_log_limited(HG_LOG_INFO, vp->log_name, "front-end connected, %s", vp->link.path);
    if (vp->readable == NULL || vp->writable == NULL || vp->watch == NULL || vp->lost == NULL ||
        event_add(vp->readable, NULL) != 0 || event_add(vp->watch, &period) != 0 ||
        event_add(vp->lost, NULL) != 0)
        hg_vhost_session_end(vp, "no memory for the session's events");
}

void hg_vhost_session_end(struct hg_vhost_port *vp, const char *reason)
{
    if (!hg_vhost_connected(vp))
        return;
    if (reason != NULL) {
        snprintf(vp->broken, sizeof(vp->broken), "%s", reason);
        hg_log_limited(HG_LOG_WARN, vp->log_name, "connection closed: %s", reason);
    } else {
        hg_log_limited(HG_LOG_INFO, vp->log_name, "front-end disconnected");
    }
    hg_vhost_rings_stop(vp);
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        hg_vhost_ring_reset(hg_vhost_ring(vp, i));
    hg_vhost_iommu_end(vp);
    hg_vhost_channel_close(vp);
    if (vp->space != NULL)
        hg_space_clear(vp->space);
    free(vp->space);
    vp->space = NULL;
    hg_event_free(&vp->readable);
    hg_event_free(&vp->writable);
    hg_event_free(&vp->watch);
    hg_event_free(&vp->lost);
    hg_vhost_conn_clear(&vp->conn);
    close(vp->conn.fd);
    vp->conn.fd = -1;
    vp->features = 0;
    vp->features_set = false;
    vp->protocol = 0;
    vp->status = 0;
    vp->slots = false;
    atomic_store_explicit(&vp->pair[0].announce.full, false, memory_order_relaxed);
    hg_link_lost(&vp->link);
}
