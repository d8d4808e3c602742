/*
 * The peer as a virtual IOMMU, one message at a time: what it maps, unmaps and answers is up to the
 * test.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/peer.h"

bool peer_open_channel(struct peer *peer, bool acknowledge)
{
    struct hg_vhost_msg msg;
    int ends[2];
    bool sent;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return false;
    if (peer->channel >= 0)
        close(peer->channel);
    peer->channel = ends[0];
    sent = peer_send(peer, HG_VHOST_SET_BACKEND_REQ_FD, acknowledge ? HG_VHOST_NEED_REPLY : 0, NULL,
                     0, &ends[1], 1);
    close(ends[1]);
    if (!sent || !acknowledge)
        return sent;
    return peer_recv(peer, &msg) && msg.hdr.request == HG_VHOST_SET_BACKEND_REQ_FD && msg.u64 == 0;
}

bool peer_send_iotlb(struct peer *peer, struct hg_vhost_iotlb iotlb)
{
    return peer_send(peer, HG_VHOST_IOTLB_MSG, HG_VHOST_NEED_REPLY, &iotlb, sizeof(iotlb), NULL, 0);
}

bool peer_iotlb_acked(struct peer *peer, uint64_t *value)
{
    struct hg_vhost_msg msg;

    if (!peer_recv(peer, &msg) || msg.hdr.request != HG_VHOST_IOTLB_MSG ||
        msg.hdr.flags != (HG_VHOST_VERSION | HG_VHOST_REPLY) || msg.hdr.size != sizeof(*value))
        return false;
    *value = msg.u64;
    return true;
}

bool peer_map(struct peer *peer, uint64_t iova, uint64_t size, uint64_t offset, uint8_t perm)
{
    struct hg_vhost_iotlb update = {.iova = iova,
                                    .size = size,
                                    .user_addr = PEER_USER + offset,
                                    .perm = perm,
                                    .type = HG_VHOST_IOTLB_UPDATE};
    uint64_t value;

    return peer_send_iotlb(peer, update) && peer_iotlb_acked(peer, &value) && value == 0;
}

bool peer_unmap(struct peer *peer, uint64_t iova, uint64_t size)
{
    struct hg_vhost_iotlb invalidate = {
        .iova = iova, .size = size, .type = HG_VHOST_IOTLB_INVALIDATE};
    uint64_t value;

    return peer_send_iotlb(peer, invalidate) && peer_iotlb_acked(peer, &value) && value == 0;
}

bool peer_channel_recv(struct peer *peer, struct hg_vhost_msg *msg)
{
    struct peer channel = {.fd = peer->channel, .pump = peer->pump, .pump_ctx = peer->pump_ctx};

    return peer_recv(&channel, msg);
}

bool peer_take_miss(struct peer *peer, struct hg_vhost_iotlb *miss)
{
    struct hg_vhost_msg msg;

    if (!peer_channel_recv(peer, &msg) || msg.hdr.request != HG_VHOST_BACKEND_IOTLB_MSG ||
        msg.hdr.size != sizeof(*miss) || msg.iotlb.type != HG_VHOST_IOTLB_MISS)
        return false;
    *miss = msg.iotlb;
    return true;
}
