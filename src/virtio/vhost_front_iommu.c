/*
 * Replies come in the order of the requests, so an acknowledgement needs no number: the k-th one is
 * for the k-th IOTLB message. Only the reply to a step of the session may stand between them, and
 * where, is noted when the step is sent.
 *
 * A back-end that asks faster than it acknowledges is not read any more until it has: what we queue
 * for it is bounded, and what it queues for us is bounded by its own socket.
 */
#include "virtio/vhost_front_iommu.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void front_iommu_init(struct hg_vhost_front *front)
{
    front->iommu.conn.fd = front->iommu.their_fd = -1;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void front_iommu_close(struct hg_vhost_front *front)
{
    hg_vhost_conn_clear(&front->iommu.conn);
    close_fd(&front->iommu.conn.fd);
    close_fd(&front->iommu.their_fd);
}

int front_iommu_open(struct hg_vhost_front *front, struct hg_err *err)
{
    int ends[2];

    if (!front_iommu_agreed(front))
        return 0;
    if ((FRONT_IOMMU_PROTOCOL & ~front->protocol) != 0)
        return hg_err_set(err, ENOTSUP,
                          "the back-end offers a virtual IOMMU without REPLY_ACK and BACKEND_REQ, "
                          "which it needs (it offers 0x%" PRIx64 ")",
                          front->protocol);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return hg_err_set(err, errno, "cannot make the back-end's channel: %s", strerror(errno));
    front->iommu.conn.fd = ends[0];
    front->iommu.their_fd = ends[1];
    /* Our end alone: DPDK loses a miss that it cannot send at once. */
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0)
        return hg_err_set(err, errno, "cannot use the back-end's channel: %s", strerror(errno));
    return 0;
}

void front_iommu_sent(struct hg_vhost_front *front)
{
    close_fd(&front->iommu.their_fd);
}

struct hg_vhost_iotlb front_iommu_map_ring(const struct hg_vhost_front *front, unsigned index)
{
    const struct hg_vhost_front_plan *plan = front->plan;
    struct hg_vhost_iotlb page = {0};
    bool mapped =
        plan->translate(plan->translate_ctx, plan->ring[index].used, HG_VHOST_ACCESS_RW, &page);

    assert(mapped);
    (void)mapped;
    page.type = HG_VHOST_IOTLB_UPDATE;
    return page;
}

unsigned hg_vhost_front_iotlb_room(const struct hg_vhost_front *front)
{
    return HG_VHOST_FRONT_IOTLB_MAX - (unsigned)(front->iommu.sent_n - front->iommu.acked_n);
}

int hg_vhost_front_iotlb(struct hg_vhost_front *front, const struct hg_vhost_iotlb *iotlb,
                         struct hg_err *err)
{
    struct hg_vhost_msg msg = {
        .hdr = {HG_VHOST_IOTLB_MSG, HG_VHOST_VERSION | HG_VHOST_NEED_REPLY, sizeof(*iotlb)},
        .iotlb = *iotlb,
    };
    int rc;

    if (hg_vhost_front_iotlb_room(front) == 0)
        return hg_err_set(err, EAGAIN, "%d IOTLB messages are not acknowledged",
                          HG_VHOST_FRONT_IOTLB_MAX);
    rc = hg_vhost_queue(&front->conn, &msg, err);
    if (rc == 0)
        front->iommu.sent_n++;
    return rc;
}

bool front_iommu_awaits(const struct hg_vhost_front *front)
{
    uint64_t acked_n = front->iommu.acked_n;

    return acked_n != front->iommu.sent_n &&
           (front->awaited == 0 || acked_n < front->awaited_after);
}

int front_iommu_take_ack(struct hg_vhost_front *front, const struct hg_vhost_msg *msg,
                         struct hg_err *err)
{
    if (msg->hdr.request != HG_VHOST_IOTLB_MSG || (msg->hdr.flags & HG_VHOST_REPLY) == 0 ||
        msg->hdr.size != sizeof(msg->u64))
        return hg_err_set(err, EPROTO,
                          "the back-end sent %s of %u bytes, expected it to acknowledge IOTLB_MSG",
                          hg_vhost_request_name(msg->hdr.request), msg->hdr.size);
    if (msg->u64 != 0)
        return hg_err_set(err, EPROTO, "the back-end refused an IOTLB message (answer %" PRIu64 ")",
                          msg->u64);
    front->iommu.acked_n++;
    return 0;
}

static int reply(struct hg_vhost_front *front, uint64_t value, struct hg_err *err)
{
    struct hg_vhost_msg msg = {
        .hdr = {HG_VHOST_BACKEND_IOTLB_MSG, HG_VHOST_VERSION | HG_VHOST_REPLY, sizeof(value)},
        .u64 = value,
    };

    return hg_vhost_send(&front->iommu.conn, &msg, NULL, 0, err);
}

/* As QEMU does: what is not mapped is not answered. */
static int answer_miss(struct hg_vhost_front *front, const struct hg_vhost_iotlb *miss,
                       bool need_reply, struct hg_err *err)
{
    const struct hg_vhost_front_plan *plan = front->plan;
    struct hg_vhost_iotlb page = {0};
    bool mapped = plan->translate(plan->translate_ctx, miss->iova, miss->perm, &page);
    int rc = 0;

    front->iommu.misses_n++;
    page.type = HG_VHOST_IOTLB_UPDATE;
    if (mapped)
        rc = hg_vhost_front_iotlb(front, &page, err);
    else
        front->iommu.unmapped_n++;
    if (rc == 0 && need_reply)
        rc = reply(front, !mapped, err);
    return rc;
}

static int take_request(struct hg_vhost_front *front, struct hg_err *err)
{
    const struct hg_vhost_msg *msg = &front->iommu.conn.in;

    if (msg->hdr.request != HG_VHOST_BACKEND_IOTLB_MSG || msg->hdr.size != sizeof(msg->iotlb))
        return hg_err_set(err, EPROTO, "the back-end asked %s with %u bytes, expected %s with %zu",
                          hg_vhost_backend_request_name(msg->hdr.request), msg->hdr.size,
                          hg_vhost_backend_request_name(HG_VHOST_BACKEND_IOTLB_MSG),
                          sizeof(msg->iotlb));
    switch (msg->iotlb.type) {
    case HG_VHOST_IOTLB_MISS:
        return answer_miss(front, &msg->iotlb, (msg->hdr.flags & HG_VHOST_NEED_REPLY) != 0, err);
    case HG_VHOST_IOTLB_ACCESS_FAIL:
        front->iommu.access_fails_n++;
        return (msg->hdr.flags & HG_VHOST_NEED_REPLY) != 0 ? reply(front, 0, err) : 0;
    default:
        return hg_err_set(err, EPROTO, "the back-end sent an IOTLB message of type %u",
                          msg->iotlb.type);
    }
}

int front_iommu_run(struct hg_vhost_front *front, struct hg_err *err)
{
    struct hg_vhost_conn *conn = &front->iommu.conn;
    int rc;

    if (conn->fd < 0)
        return 0;
    rc = hg_vhost_flush(conn, err);
    while (rc == 0 && hg_vhost_front_iotlb_room(front) != 0 &&
           (rc = hg_vhost_recv(conn, err)) == 1) {
        rc = take_request(front, err);
        hg_vhost_next(conn);
    }
    return rc;
}
