/*
 * A scripted vhost-user front-end: the mock peer of unit, property, fuzz and attack tests.
 *
 * It sends whatever it is told to, owns the guest's memory and the driver's side of the rings, and
 * can misbehave at every point: raw bytes, single messages, the messages of a QEMU session in
 * QEMU's order, single descriptors. It is independent of the code under test but for the constants
 * and layouts in virtio.h and vhost_msg.h.
 *
 * Guest memory is one memfd in two regions: the lower half at guest address 0, the upper half at
 * PEER_HIGH. Rings lie in the lower half, buffers may be anywhere. User addresses, which ring
 * addresses are made of, begin at PEER_USER and are nobody's pointers.
 *
 * With ACCESS_PLATFORM it also plays the virtual IOMMU: guest addresses and ring addresses are
 * IOVAs then, and mean what a test has mapped.
 *
 * Functions return false when the connection is gone (or when the budget of messages is spent, see
 * send_budget); nothing aborts. One thread.
 */
#ifndef HG_TESTS_PEER_PEER_H
#define HG_TESTS_PEER_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "virtio/vhost_msg.h"
#include "virtio/virtio.h"

enum {
    PEER_RINGS_MAX = 32,
    PEER_MEM_BYTES = 8 << 20,
    PEER_HALF_BYTES = PEER_MEM_BYTES / 2,
    PEER_RING_SIZE = 256,      /* descriptors, unless a test says otherwise */
    PEER_RING_BYTES = 1 << 16, /* lower half: ring n lies at n * PEER_RING_BYTES */
    PEER_BUFFER_BYTES = 2048,
};

/* Where an empty packed ring stands: both places 0, both wrap counters 1. */
#define PEER_PACKED_BASE UINT32_C(0x80008000)

#define PEER_HIGH UINT64_C(0x100000000)
#define PEER_USER UINT64_C(0x7f0000000000)

struct peer_ring {
    uint16_t num;
    uint64_t at;        /* offset of the ring's memory: descriptors, then available, then used */
    uint16_t avail_idx; /* of a packed ring: descriptors, counted on and on */
    uint16_t used_seen; /* the same */
    uint16_t desc_next; /* descriptors are handed out in turn */
    uint32_t base;      /* for SET_VRING_BASE: as the last GET_VRING_BASE said */
    int kick;           /* eventfds, -1 before the script makes them */
    int call;
    int err;
};

struct peer {
    int fd;      /* the connection, -1: none */
    int channel; /* on which the back-end asks, -1: none */
    int mem_fd;
    uint8_t *mem;
    uint64_t offered; /* as the back-end answered */
    uint64_t offered_protocol;
    uint64_t features; /* to accept; set before peer_start() */
    uint64_t protocol;
    unsigned pair_n;
    bool packed;         /* by peer_use_packed() */
    uint64_t ring_start; /* address of ring 0 in SET_VRING_ADDR: PEER_USER, or an IOVA */
    struct peer_ring ring[PEER_RINGS_MAX];

    /* Lets the back-end run while we wait for an answer; returns when it has nothing to do. */
    void (*pump)(void *ctx);
    void *pump_ctx;
    /* Messages that may still be sent before the peer hangs up by itself; negative: no limit. */
    int send_budget;
    unsigned sent_n;
};

/* Creates the peer with its memory; `features` are those that peer_start() accepts as far as they
 * are offered. False when the machine has no memory or descriptors. */
bool peer_new(struct peer *peer, unsigned pair_n, uint64_t features, void (*pump)(void *),
              void *pump_ctx);
/* Frees all of it. */
void peer_free(struct peer *peer);

bool peer_connect(struct peer *peer, const char *path);
/* Takes a connected socket over. */
void peer_attach(struct peer *peer, int fd);
void peer_hang_up(struct peer *peer);
/* Whether the other side has closed the connection; what it sent before is thrown away. */
bool peer_was_closed(struct peer *peer);

/* Bytes as they are, with descriptors. */
bool peer_send_raw(struct peer *peer, const void *bytes, size_t n, const int *fds, unsigned fd_n);
/* A message with version 1 and further flags. */
bool peer_send(struct peer *peer, uint32_t request, uint32_t flags, const void *payload,
               uint32_t size, const int *fds, unsigned fd_n);
/* The next message from the other side; lets it run while there is none. */
bool peer_recv(struct peer *peer, struct hg_vhost_msg *msg);

/* Single requests. */
bool peer_send_u64(struct peer *peer, uint32_t request, uint64_t value);
bool peer_send_state(struct peer *peer, uint32_t request, uint32_t index, uint32_t num);
bool peer_send_fd(struct peer *peer, uint32_t request, unsigned index, int fd); /* -1: bit 8 */
bool peer_send_addr(struct peer *peer, unsigned index);
bool peer_ask_u64(struct peer *peer, uint32_t request, uint64_t *value);
/* Sends the memory table; with `acknowledge` waits for the answer, which must be 0. */
bool peer_send_mem_table(struct peer *peer, bool acknowledge);
/* Stops a ring and learns where it stood. */
bool peer_get_base(struct peer *peer, unsigned index, uint32_t *base);

/* The two halves of what QEMU 7.2 says: when it connects, and when the guest's driver is ready. */
bool peer_init(struct peer *peer);
bool peer_start(struct peer *peer);
/* The parts of the latter. */
bool peer_start_ring(struct peer *peer, unsigned index);
bool peer_enable_pair(struct peer *peer, unsigned pair, bool enabled);
/* What QEMU says when the driver resets the device. */
bool peer_stop(struct peer *peer);

/* The virtual IOMMU: peer_iommu.c. */
/* Makes the back-end's channel and sends one end; a second call replaces it. With `acknowledge`
 * waits for the answer, which must be 0. */
bool peer_open_channel(struct peer *peer, bool acknowledge);
/* Sends an IOTLB message of any content, to be acknowledged; and waits for the next
 * acknowledgement. */
bool peer_send_iotlb(struct peer *peer, struct hg_vhost_iotlb iotlb);
bool peer_iotlb_acked(struct peer *peer, uint64_t *value);
/* Maps [iova, iova + size) to the memory from `offset` on, or unmaps it; acknowledged with 0. */
bool peer_map(struct peer *peer, uint64_t iova, uint64_t size, uint64_t offset, uint8_t perm);
bool peer_unmap(struct peer *peer, uint64_t iova, uint64_t size);
/* The next message on the channel; lets the back-end run while there is none. False: it stays
 * silent. */
bool peer_channel_recv(struct peer *peer, struct hg_vhost_msg *msg);
/* The same for misses: false, too, when it is something else. */
bool peer_take_miss(struct peer *peer, struct hg_vhost_iotlb *miss);

/* The driver's side of the rings: peer_ring.c. What is said of frames holds for both formats. */
void *peer_at(struct peer *peer, uint64_t guest_addr);
/* Writes a descriptor, or an entry of the available ring, and publishes the index. */
void peer_write_desc(struct peer *peer, unsigned ring, uint16_t index, struct hg_desc desc);
void peer_push_avail(struct peer *peer, unsigned ring, uint16_t head);
void peer_set_avail_idx(struct peer *peer, unsigned ring, uint16_t idx);
uint16_t peer_used_idx(struct peer *peer, unsigned ring);
/* Packed rings: peer_packed.c. All rings, from now on; before peer_start(). */
void peer_use_packed(struct peer *peer);
/* Writes a descriptor as it is, its flags last. */
void peer_write_packed(struct peer *peer, unsigned ring, uint16_t index,
                       struct hg_packed_desc desc);
/* The flags that make `flags` available, or used, at a position that counts on and on. */
uint16_t peer_packed_avail(struct peer *peer, unsigned ring, uint16_t position, uint16_t flags);
uint16_t peer_packed_used(struct peer *peer, unsigned ring, uint16_t position);
/* Writes the next n descriptors in ring order and makes them available, the first one last. */
void peer_push_packed(struct peer *peer, unsigned ring, const struct hg_packed_desc *descs,
                      unsigned n);
/* Takes the next used descriptor, and passes over the n that it stands for. False if there is
 * none. */
bool peer_take_packed(struct peer *peer, unsigned ring, unsigned n, struct hg_packed_desc *used);
/* Transmits a frame as one buffer behind a zeroed virtio_net_hdr; does not kick. */
void peer_transmit(struct peer *peer, unsigned ring, const void *frame, size_t len);
/* Posts n buffers of PEER_BUFFER_BYTES to receive into. */
void peer_post(struct peer *peer, unsigned ring, unsigned n);
/* The next frame that was received, without its header: its bytes, or NULL when there is none. */
const uint8_t *peer_receive(struct peer *peer, unsigned ring, size_t *len);
void peer_kick(struct peer *peer, unsigned ring);
/* How often the eventfd was raised since the last call. */
uint64_t peer_take_signals(int eventfd);
/* Forgets what the driver did, as a reset does. */
void peer_reset_ring(struct peer *peer, unsigned ring);

#endif
