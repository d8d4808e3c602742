/*
 * The part of a front-end's session that is its virtual IOMMU. Private to this folder.
 */
#ifndef HG_VIRTIO_VHOST_FRONT_IOMMU_H
#define HG_VIRTIO_VHOST_FRONT_IOMMU_H

#include "virtio/vhost_front.h"
#include "virtio/virtio.h"

/* The protocol features that it needs. */
#define FRONT_IOMMU_PROTOCOL                                                                       \
    (HG_BIT(HG_VHOST_PROTOCOL_F_REPLY_ACK) | HG_BIT(HG_VHOST_PROTOCOL_F_BACKEND_REQ))

static inline bool front_iommu_agreed(const struct hg_vhost_front *front)
{
    return (front->features & HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM)) != 0;
}

void front_iommu_init(struct hg_vhost_front *front);
void front_iommu_close(struct hg_vhost_front *front);

/* When the protocol features are known: makes the back-end's channel. Without a virtual IOMMU
 * nothing. */
int front_iommu_open(struct hg_vhost_front *front, struct hg_err *err);

/* The descriptor for SET_BACKEND_REQ_FD has been sent. */
void front_iommu_sent(struct hg_vhost_front *front);

/* Whether the next reply on the session's socket acknowledges an IOTLB message, and what to do
 * then. */
bool front_iommu_awaits(const struct hg_vhost_front *front);
int front_iommu_take_ack(struct hg_vhost_front *front, const struct hg_vhost_msg *msg,
                         struct hg_err *err);

/* The payload of an UPDATE for the page with a ring's used part. */
struct hg_vhost_iotlb front_iommu_map_ring(const struct hg_vhost_front *front, unsigned index);

/* Reads and answers what the back-end asks. 0 or a negative errno. */
int front_iommu_run(struct hg_vhost_front *front, struct hg_err *err);

#endif
