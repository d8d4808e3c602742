/*
 * The virtual IOMMU of a session: mappings in, misses out, invalidations acknowledged. The protocol
 * is in decision 0010; the IOTLB itself, and what an acknowledged invalidation promises, in
 * iommu/iotlb.h.
 *
 *   front-end --IOTLB_MSG: UPDATE-------> hg_iotlb_update() --> rings and workers that waited go on
 *   front-end --IOTLB_MSG: INVALIDATE---> out of sight -> grace period -> free --> acknowledgement
 *   front-end <--BACKEND_IOTLB_MSG: MISS-- asks of rings and workers
 *
 * The way of misses is in channel.c.
 *
 * Invalidations that were read together share one grace period: all are out of sight before it
 * begins. They are acknowledged together and in order, before the next message of another kind is
 * looked at.
 *
 * What ends a session: a message of a wrong size or with surplus descriptors, as of any request.
 * What does not, but is refused with a non-zero acknowledgement: an IOTLB message without a virtual
 * IOMMU, of an unknown type, or an UPDATE with a range or memory that cannot be. The front-end
 * forwards what a guest does with its IOMMU, and a guest must not be able to end the session of its
 * front-end. An INVALIDATE is never refused: whatever it names is not used when it is acknowledged.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "port/vhost/state.h"
#include "sync/qsbr.h"

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
    uint64_t pending = hg_iotlb_info(iommu->iotlb).pending;

    if (hg_iotlb_unpublish(iommu->iotlb, msg->iova, msg->size))
        iommu->grace = true;
    if (hg_iotlb_info(iommu->iotlb).pending != pending)
        iommu->answered = true; /* who waits for what was forgotten asks again */
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
        hg_vhost_ring_unplace(ring, "descriptors"); /* until they have been looked for */
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
    rc = hg_vhost_misses_begin(vp, err);
    if (rc != 0) {
        hg_vhost_iommu_end(vp);
        return rc;
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
    hg_vhost_misses_end(vp);
    iommu->evictions += hg_iotlb_info(iommu->iotlb).evictions;
    hg_iotlb_free(iommu->iotlb);
    iommu->iotlb = NULL;
    iommu->waiting_n = 0;
    iommu->grace = iommu->answered = false;
}

void hg_vhost_iommu_answered(struct hg_vhost_port *vp)
{
    if (vp->iommu.iotlb == NULL || !vp->iommu.answered)
        return;
    vp->iommu.answered = false;
    hg_vhost_rings_go_on(vp);
    hg_vhost_misses_send(vp);
}

/* --- report --- */

void hg_vhost_parked(const struct hg_vhost_port *vp, uint64_t *ever, uint64_t *now)
{
    *ever = *now = 0;
    for (unsigned i = 0; i < vp->port->queue_n; i++) {
        *ever += hg_count_get(&vp->pair[i].parked);
        *now += atomic_load_explicit(&vp->pair[i].parked_now, memory_order_relaxed);
    }
}

void hg_vhost_iommu_report(const struct hg_vhost_port *vp, struct hg_port_iommu *report)
{
    const struct hg_vhost_iommu *iommu = &vp->iommu;

    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        const struct hg_vhost_pair *pair = &vp->pair[i / 2];
        const struct hg_vq_iommu_stats *stats =
            i % 2 == 0 ? &pair->tx.dev.iommu : &pair->rx.dev.iommu;

        report->hits += hg_count_get(&stats->hits);
        report->ahead_hits += hg_count_get(&stats->ahead_hits);
        report->stops += hg_count_get(&stats->stops);
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
