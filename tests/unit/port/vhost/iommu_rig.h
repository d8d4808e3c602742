/*
 * What tests of sessions behind a virtual IOMMU share: a rig whose peer lays its rings at IOVAs and
 * maps them.
 */
#ifndef HG_TESTS_IOMMU_RIG_H
#define HG_TESTS_IOMMU_RIG_H

#include <sys/socket.h>

#include "fixture.h"
#include "port/vhost/state.h"

enum { PAGE = 4096 };

/* Where the rings are for the device. Buffers have the addresses that the peer gives them. */
#define RING_IOVA UINT64_C(0x7700000000)

#define FEATURES (RIG_FEATURES | HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM))

static inline struct rig *open_rig(const struct rig_options *options)
{
    struct rig *rig = new_rig(options);

    rig->peer.ring_start = RING_IOVA;
    return rig;
}

static inline struct hg_port_iommu report(struct rig *rig)
{
    struct hg_port_iommu iommu = {0};

    hg_vhost_user_driver.iommu(&rig->port, &iommu);
    return iommu;
}

/* Connects with a channel and says all that QEMU says; nothing is mapped yet. */
static inline void begin(struct rig *rig)
{
    assert_true(peer_connect(&rig->peer, rig->path));
    assert_true(peer_init(&rig->peer));
    assert_true(peer_open_channel(&rig->peer, true));
    assert_true(peer_start(&rig->peer));
}

static inline void map_rings(struct rig *rig)
{
    assert_true(peer_map(&rig->peer, RING_IOVA, 2 * PEER_RING_BYTES, 0, HG_VHOST_ACCESS_RW));
}

static inline void map_buffers(struct rig *rig)
{
    assert_true(peer_map(&rig->peer, 0, PEER_HALF_BYTES, 0, HG_VHOST_ACCESS_RW));
    assert_true(
        peer_map(&rig->peer, PEER_HIGH, PEER_HALF_BYTES, PEER_HALF_BYTES, HG_VHOST_ACCESS_RW));
}

static inline void bring_up(struct rig *rig)
{
    uint8_t asked[1024];

    begin(rig);
    map_rings(rig);
    map_buffers(rig);
    while (recv(rig->peer.channel, asked, sizeof(asked), MSG_DONTWAIT) > 0)
        continue;
    assert_says(rig, "up", "up: 1 queue pair, behind a virtual IOMMU");
}

static inline void no_miss_waits(struct rig *rig)
{
    struct hg_vhost_msg msg;

    rig_pump(rig);
    assert_int_equal(recv(rig->peer.channel, &msg, sizeof(msg), MSG_DONTWAIT), -1);
}

#endif
