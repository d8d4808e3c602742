#include "virtio/features.h"

#include <stdio.h>

#include "virtio/virtio.h"

static const char *const names[64] = {
    [HG_VIRTIO_NET_F_CSUM] = "csum",
    [HG_VIRTIO_NET_F_GUEST_CSUM] = "guest_csum",
    [HG_VIRTIO_NET_F_MTU] = "mtu",
    [HG_VIRTIO_NET_F_MAC] = "mac",
    [HG_VIRTIO_NET_F_GUEST_TSO4] = "guest_tso4",
    [HG_VIRTIO_NET_F_GUEST_TSO6] = "guest_tso6",
    [HG_VIRTIO_NET_F_GUEST_ECN] = "guest_ecn",
    [HG_VIRTIO_NET_F_GUEST_UFO] = "guest_ufo",
    [HG_VIRTIO_NET_F_HOST_TSO4] = "host_tso4",
    [HG_VIRTIO_NET_F_HOST_TSO6] = "host_tso6",
    [HG_VIRTIO_NET_F_HOST_ECN] = "host_ecn",
    [HG_VIRTIO_NET_F_HOST_UFO] = "host_ufo",
    [HG_VIRTIO_NET_F_MRG_RXBUF] = "mrg_rxbuf",
    [HG_VIRTIO_NET_F_STATUS] = "status",
    [HG_VIRTIO_NET_F_CTRL_VQ] = "ctrl_vq",
    [HG_VIRTIO_NET_F_GUEST_ANNOUNCE] = "guest_announce",
    [HG_VIRTIO_NET_F_MQ] = "mq",
    [HG_VIRTIO_F_NOTIFY_ON_EMPTY] = "notify_on_empty",
    [HG_VIRTIO_F_ANY_LAYOUT] = "any_layout",
    [HG_VIRTIO_F_INDIRECT_DESC] = "indirect_desc",
    [HG_VIRTIO_F_EVENT_IDX] = "event_idx",
    [HG_VHOST_USER_F_PROTOCOL_FEATURES] = "protocol_features",
    [HG_VIRTIO_F_VERSION_1] = "version_1",
    [HG_VIRTIO_F_ACCESS_PLATFORM] = "access_platform",
    [HG_VIRTIO_F_RING_PACKED] = "ring_packed",
    [HG_VIRTIO_F_IN_ORDER] = "in_order",
    [HG_VIRTIO_F_RING_RESET] = "ring_reset",
};

void hg_virtio_features_text(uint64_t bits, char *text, size_t n)
{
    size_t used = 0;

    text[0] = '\0';
    for (; bits != 0 && used < n; bits &= bits - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(bits);
        char number[sizeof("bit_63")];

        snprintf(number, sizeof(number), "bit_%u", bit & 63);
        used += (size_t)snprintf(text + used, n - used, "%s%s", used == 0 ? "" : " ",
                                 names[bit] != NULL ? names[bit] : number);
    }
}
