/*
 * What tests of sessions behind a virtual IOMMU share: a rig whose peer lays its rings at IOVAs and maps them.
 */
#ifndef HG_TESTS_IOMMU_RIG_H
#define HG_TESTS_IOMMU_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "peer/rig.h"
#include "port/vhost/state.h"

enum { RX = 0, TX = 1, PAGE = 4096 };

/* Where the rings are for the device. Buffers have the addresses that the peer gives them. */
#define RING_IOVA UINT64_C(0x7700000000)

#define FEATURES (RIG_FEATURES | HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM))

static const uint8_t frame[64] = {2, 0, 0, 0, 0,   2,   2,   0,   0,  0,
                                  0, 1, 8, 0, 'h', 'e', 'l', 'l', 'o'};

static inline struct rig *open_rig(const struct rig_options *options)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    rig_open(rig, options);
    rig->peer.ring_start = RING_IOVA;
    return rig;
}

static inline int tear_down(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

static inline void assert_says(struct rig *rig, const char *state, const char *text)
{
    if (strstr(rig_status(rig), text) == NULL)
        fail_msg("'%s' does not contain '%s'", rig->status.text, text);
    assert_string_equal(rig->status.state, state);
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

static inline void frames_pass(struct rig *rig)
{
    const uint8_t *got;
    size_t len;

    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_memory_equal(rig->burst->pkt[0].head, frame, sizeof(frame));
    peer_post(&rig->peer, RX, 1);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
    got = peer_receive(&rig->peer, RX, &len);
    assert_non_null(got);
    assert_memory_equal(got, frame, sizeof(frame));
}

#endif
