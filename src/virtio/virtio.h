/*
 * Constants and layouts of virtio 1.2 that both sides of a virtqueue use. Facts only, no code.
 */
#ifndef HG_VIRTIO_VIRTIO_H
#define HG_VIRTIO_VIRTIO_H

#include <stddef.h>
#include <stdint.h>

/* Feature bits: virtio 1.2, 5.1.3 (network) and 6 (reserved). */
enum {
    HG_VIRTIO_NET_F_CSUM = 0,
    HG_VIRTIO_NET_F_GUEST_CSUM = 1,
    HG_VIRTIO_NET_F_MTU = 3,
    HG_VIRTIO_NET_F_MAC = 5,
    HG_VIRTIO_NET_F_GUEST_TSO4 = 7,
    HG_VIRTIO_NET_F_GUEST_TSO6 = 8,
    HG_VIRTIO_NET_F_GUEST_ECN = 9,
    HG_VIRTIO_NET_F_GUEST_UFO = 10,
    HG_VIRTIO_NET_F_HOST_TSO4 = 11,
    HG_VIRTIO_NET_F_HOST_TSO6 = 12,
    HG_VIRTIO_NET_F_HOST_ECN = 13,
    HG_VIRTIO_NET_F_HOST_UFO = 14,
    HG_VIRTIO_NET_F_MRG_RXBUF = 15,
    HG_VIRTIO_NET_F_STATUS = 16,
    HG_VIRTIO_NET_F_CTRL_VQ = 17,
    HG_VIRTIO_NET_F_GUEST_ANNOUNCE = 21,
    HG_VIRTIO_NET_F_MQ = 22,
    HG_VIRTIO_F_NOTIFY_ON_EMPTY = 24,
    HG_VIRTIO_F_ANY_LAYOUT = 27,
    HG_VIRTIO_F_INDIRECT_DESC = 28,
    HG_VIRTIO_F_EVENT_IDX = 29,
    HG_VHOST_USER_F_PROTOCOL_FEATURES = 30,
    HG_VIRTIO_F_VERSION_1 = 32,
    HG_VIRTIO_F_ACCESS_PLATFORM = 33,
    HG_VIRTIO_F_RING_PACKED = 34,
    HG_VIRTIO_F_IN_ORDER = 35,
    HG_VIRTIO_F_RING_RESET = 40,
};

#define HG_BIT(n) (UINT64_C(1) << (n))

enum { /* device status: virtio 1.2, 2.1 */
       HG_VIRTIO_STATUS_ACKNOWLEDGE = 1,
       HG_VIRTIO_STATUS_DRIVER = 2,
       HG_VIRTIO_STATUS_DRIVER_OK = 4,
       HG_VIRTIO_STATUS_FEATURES_OK = 8,
       HG_VIRTIO_STATUS_NEEDS_RESET = 64,
       HG_VIRTIO_STATUS_FAILED = 128,
};

/* Split virtqueue: virtio 1.2, 2.7. */
enum {
    HG_DESC_F_NEXT = 1,
    HG_DESC_F_WRITE = 2,
    HG_DESC_F_INDIRECT = 4,
    HG_AVAIL_F_NO_INTERRUPT = 1,
    HG_USED_F_NO_NOTIFY = 1,
    HG_VRING_NUM_MAX = 32768, /* by specification; back-ends allow less */
};

struct hg_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

struct hg_avail {
    uint16_t flags;
    uint16_t idx;
    uint16_t ring[]; /* and used_event behind it */
};

struct hg_used_elem {
    uint32_t id;
    uint32_t len;
};

struct hg_used {
    uint16_t flags;
    uint16_t idx;
    struct hg_used_elem ring[]; /* and avail_event behind it */
};

/* Bytes of each part of a split ring of n descriptors, the event fields included. */
#define HG_DESC_BYTES(n)  (sizeof(struct hg_desc) * (n))
#define HG_AVAIL_BYTES(n) (sizeof(uint16_t) * (3 + (size_t)(n)))
#define HG_USED_BYTES(n)  (sizeof(uint16_t) * 3 + sizeof(struct hg_used_elem) * (n))

/* Where the event fields are, from the start of their ring: 2.7.6, 2.7.8. */
#define HG_USED_EVENT_AT(n)  (offsetof(struct hg_avail, ring) + sizeof(uint16_t) * (n))
#define HG_AVAIL_EVENT_AT(n) (offsetof(struct hg_used, ring) + sizeof(struct hg_used_elem) * (n))

/* Whether the peer must be told that an index went from `old` to `now`, when it asked to be told at
 * `event`: virtio 1.2, 2.7.10.1. Indices wrap at 2^16. */
static inline int hg_vring_need_event(uint16_t event, uint16_t now, uint16_t old)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* Packed virtqueue: virtio 1.2, 2.8. */
enum {
    HG_PACKED_DESC_F_AVAIL = 1 << 7,
    HG_PACKED_DESC_F_USED = 1 << 15,
    HG_PACKED_EVENT_ENABLE = 0, /* hg_packed_event.flags: 2.8.10 */
    HG_PACKED_EVENT_DISABLE = 1,
    HG_PACKED_EVENT_DESC = 2, /* at off_wrap; needs EVENT_IDX */
    HG_PACKED_WRAP = 1 << 15, /* the wrap counter in off_wrap, and in a vring base of vhost-user */
};

struct hg_packed_desc {
    uint64_t addr;
    uint32_t len;
    uint16_t id;
    uint16_t flags;
};

/* One side tells the other which notifications it wants: the driver area and the device area. */
struct hg_packed_event {
    uint16_t off_wrap; /* bits 0-14: offset of a descriptor, 15: wrap counter */
    uint16_t flags;
};

#define HG_PACKED_DESC_BYTES(n) (sizeof(struct hg_packed_desc) * (n))

/* The header before every frame: virtio 1.2, 5.1.6. With VERSION_1 always 12 bytes; a legacy driver
 * without MRG_RXBUF uses the first 10. */
enum {
    HG_NET_HDR_F_NEEDS_CSUM = 1,
    HG_NET_HDR_F_DATA_VALID = 2,
    HG_NET_HDR_GSO_NONE = 0,
    HG_NET_HDR_GSO_TCPV4 = 1,
    HG_NET_HDR_GSO_UDP = 3,
    HG_NET_HDR_GSO_TCPV6 = 4,
    HG_NET_HDR_GSO_ECN = 0x80,
    HG_NET_HDR_BYTES = 12,
    HG_NET_HDR_LEGACY_BYTES = 10,
};

struct hg_net_hdr {
    uint8_t flags;
    uint8_t gso_type;
    uint16_t hdr_len;
    uint16_t gso_size;
    uint16_t csum_start;
    uint16_t csum_offset;
    uint16_t num_buffers;
};

_Static_assert(sizeof(struct hg_packed_desc) == 16, "2.8.13");
_Static_assert(sizeof(struct hg_packed_event) == 4, "2.8.14");
_Static_assert(sizeof(struct hg_net_hdr) == HG_NET_HDR_BYTES, "5.1.6");

#endif
