/*
 * The device side of a split virtqueue (virtio 1.2, 2.7), as a network device uses it.
 *
 * Control sets a ring up while nobody uses it; then one worker at a time (for a ring that guests
 * transmit on) or the holder of the transmit queue's lock (for one they receive on) calls the
 * rest. Everything in the ring is the guest's and hostile: it is loaded once and checked. A ring that
 * contradicts itself is broken, with a reason and the value that was wrong, and stands still until
 * the guest sets it up anew. An address that is not the guest's costs that frame alone: it is
 * counted, and the descriptor goes back.
 */
#ifndef HG_VIRTIO_VQ_DEV_H
#define HG_VIRTIO_VQ_DEV_H

#include <stdbool.h>
#include <stdint.h>

#include "iommu/space.h"
#include "pkt/pkt.h"
#include "pkt/stats.h"
#include "virtio/virtio.h"

/* Why a ring stopped: each is the guest's doing. */
enum hg_vring_fault {
    HG_VRING_OK,
    HG_VRING_AVAIL_JUMP, /* the available index moved by more than the ring's size */
    HG_VRING_HEAD_RANGE, /* a head or next index is not below the ring's size */
    HG_VRING_CHAIN_LONG, /* a chain loops, or is longer than the ring or HG_CHAIN_SEGS_MAX */
    HG_VRING_INDIRECT,  /* indirect table nested, empty, not a multiple of 16 bytes, or with NEXT */
    HG_VRING_DIRECTION, /* a device-writable buffer on transmit or a read-only one on receive */
    HG_VRING_FAULT_N
};

/* Short name of a fault, and a sentence. Static storage. */
const char *hg_vring_fault_name(enum hg_vring_fault fault);

struct hg_vq_dev {
    /* Set by control, constant while the ring runs. */
    uint8_t *desc;
    uint8_t *avail;
    uint8_t *used;
    uint16_t num;     /* descriptors, a power of two */
    uint16_t hdr_len; /* bytes of virtio_net_hdr before each frame */
    bool event_idx;
    bool mergeable;
    bool indirect;
    bool csum_ok; /* the guest takes DATA_VALID and NEEDS_CSUM (GUEST_CSUM) */
    const struct hg_space *space;
    struct hg_asks *asks; /* where missing translations are asked for; NULL without an IOTLB */
    int call_fd;          /* to interrupt the guest; -1: none */

    /* Of the ring's user. */
    uint16_t last_avail; /* next entry of the available ring to take */
    uint16_t avail_idx;  /* as last loaded from the guest */
    uint16_t used_idx;   /* entries put into the used ring, published or not */
    uint16_t used_published;
    uint16_t signalled; /* used index at the last look at used_event */
    bool armed;         /* the guest is asked to kick */
    struct hg_hint hint;
    /* The last rx or tx stopped at a descriptor whose translation has been asked for. */
    bool missing;

    /* Written by the user once, read by control: why the ring is broken, and the value. */
    _Atomic uint32_t fault;
    _Atomic uint64_t fault_value;
};

/* Starts a ring at the index that SET_VRING_BASE gave; the set-up fields are filled. */
void hg_vq_dev_start(struct hg_vq_dev *ring, uint32_t base);

/* The position for GET_VRING_BASE: the next available entry that has not been taken. */
uint32_t hg_vq_dev_base(const struct hg_vq_dev *ring);

/*
 * Takes up to HG_BURST_N frames that the guest transmits, into b. Counts frames and bytes in *stats, and
 * under drops the frames that cannot be passed on. Returns b->n. hg_vq_dev_rx_done() gives all
 * descriptors taken back, those of dropped frames too; call it before the next rx. It returns whether
 * the guest wants to be notified.
 */
unsigned hg_vq_dev_rx(struct hg_vq_dev *ring, struct hg_burst *b, struct hg_queue_stats *stats);
bool hg_vq_dev_rx_done(struct hg_vq_dev *ring);

/* Writes frames into buffers that the guest has posted, as hg_txq.tx does. *notify says whether the
 * guest wants to be notified. */
unsigned hg_vq_dev_tx(struct hg_vq_dev *ring, struct hg_pkt *const *pkts, unsigned n,
                      struct hg_queue_stats *stats, bool *notify);

/* Asks the guest to kick at its next frame, then looks: true if there is one already. */
bool hg_vq_dev_arm(struct hg_vq_dev *ring);
void hg_vq_dev_disarm(struct hg_vq_dev *ring);

#endif
