/*
 * The device status (virtio 1.2, 2.1) as the front-end passes it on, and what resets the device.
 *
 * Rings start and stop by their own messages, so the status decides nothing but two things:
 * FEATURES_OK is where the device says whether it can live with what was negotiated, and 0 is a
 * reset. QEMU says 0 when the driver has stopped, after GET_VRING_BASE of each ring.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/log.h"
#include "port/vhost/state.h"

/* The rings stop and forget why they broke. What the front-end has given for the whole session
 * stays: memory, descriptors to notify, protocol features. */
static void reset(struct hg_vhost_port *vp)
{
    hg_vhost_rings_stop(vp);
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);

        ring->kicked = false;
        ring->base = 0;
        ring->fault = HG_VRING_OK;
    }
    vp->status = 0;
}

int hg_vhost_set_status(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;
    uint64_t status = call->in->u64;

    if (status > UINT8_MAX)
        return hg_err_set(call->err, EPROTO, "status 0x%" PRIx64 " has more than 8 bits", status);
    if (status == 0) {
        reset(vp);
        return 0;
    }
    if ((vp->status & ~status) != 0) { /* 2.1.1 */
        hg_err_set(call->err, EINVAL,
                   "status 0x%" PRIx64 " takes back 0x%" PRIx64 " without a reset", status,
                   vp->status & ~status);
        return HG_VHOST_REFUSED;
    }
    if ((status & ~vp->status & HG_VIRTIO_STATUS_FAILED) != 0)
        hg_log_limited(HG_LOG_WARN, vp->log_name, "the guest's driver has given up (FAILED)");
    /* What we cannot live with is not confirmed, and a driver that looks learns it there: 2.2.2. */
    if (!vp->features_set || hg_vhost_unsafe(vp))
        status &= ~(uint64_t)HG_VIRTIO_STATUS_FEATURES_OK;
    vp->status = (uint8_t)status;
    return 0;
}

int hg_vhost_get_status(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;

    call->reply->u64 = vp->status;
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        if (hg_vhost_ring(vp, i)->fault != HG_VRING_OK) /* 2.1.2 */
            call->reply->u64 |= HG_VIRTIO_STATUS_NEEDS_RESET;
    return 0;
}

/* The virtual IOMMU goes too: it comes back with the features. */
int hg_vhost_reset_device(struct hg_vhost_call *call)
{
    struct hg_vhost_port *vp = call->vp;

    reset(vp);
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        hg_vhost_ring_enable(vp, hg_vhost_ring(vp, i), false);
        hg_vhost_ring(vp, i)->num = 0;
        hg_vhost_ring(vp, i)->placed = false;
    }
    hg_vhost_iommu_end(vp);
    vp->features = 0;
    vp->features_set = false;
    return 0;
}
