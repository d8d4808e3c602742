/*
 * A vhost-user port on an event loop of its own, and a peer that talks to it from the same thread:
 * the loop runs whenever the peer waits (peer.pump). Failures of the rig itself abort.
 */
#ifndef HG_TESTS_PEER_RIG_H
#define HG_TESTS_PEER_RIG_H

#include "peer/options.h"
#include "peer/peer.h"
#include "port/port.h"
#include "port/vhost/vhost.h"

/* What QEMU's virtio-net and a Linux guest accept. */
#define RIG_FEATURES                                                                               \
    (HG_BIT(HG_VIRTIO_F_VERSION_1) | HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF) |                           \
     HG_BIT(HG_VIRTIO_F_INDIRECT_DESC) | HG_BIT(HG_VIRTIO_NET_F_CSUM) |                            \
     HG_BIT(HG_VIRTIO_NET_F_GUEST_CSUM) | HG_BIT(HG_VIRTIO_NET_F_HOST_TSO4) |                      \
     HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO4) | HG_BIT(HG_VIRTIO_NET_F_MQ) |                             \
     HG_BIT(HG_VIRTIO_NET_F_MTU) | HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES))

struct rig {
    struct event_base *loop;
    struct hg_port_host host;
    struct hg_port port;
    struct peer peer;
    struct hg_burst *burst;
    char dir[64];
    char path[96];
    unsigned changes_n; /* calls of queues_changed */
    /* What queues_changed does beside counting; NULL: nothing. */
    void (*on_change)(struct rig *rig);
    struct hg_port_status status; /* as rig_status() saw it last */
};

struct rig_options {
    bool client; /* the port connects, nobody listens yet */
    unsigned pair_n;
    uint64_t mtu;
    unsigned iommu; /* as the option: 0 allow, 1 require, 2 off */
    uint64_t iotlb_entries;
    uint64_t peer_features;
    uint64_t coalesce_us;
    uint64_t coalesce_frames;
};

void rig_open(struct rig *rig, const struct rig_options *options);
void rig_close(struct rig *rig);

/* Runs the loop until nothing is left to do now, or for a time. */
void rig_pump(void *rig);
void rig_run_ms(struct rig *rig, unsigned ms);
/* Fetches rig->status and returns its text. */
const char *rig_status(struct rig *rig);

/* Connects the peer and lets it say all that QEMU says. Returns whether the port is up then. */
bool rig_bring_up(struct rig *rig);

/* Receives a burst and gives it back; returns how many frames. The packets stay in rig->burst. */
unsigned rig_rx(struct rig *rig, unsigned queue);
/* Transmits one frame of one head; returns whether it was dealt with. */
bool rig_tx(struct rig *rig, unsigned queue, const void *frame, size_t len);

/* Open descriptors of this process, and its mappings of guest memory. */
unsigned rig_count_fds(void);
unsigned rig_count_mappings(void);

#endif
