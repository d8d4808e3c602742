/*
 * The device side of a virtqueue, split (virtio 1.2, 2.7) or packed (2.8), as a network device uses
 * it.
 *
 * Control sets a ring up while nobody uses it; then one worker at a time (for a ring that guests
 * transmit on) or the holder of the transmit queue's lock (for one they receive on) calls the
 * rest. Everything in the ring is the guest's and hostile: it is loaded once and checked. A ring
 * that contradicts itself is broken, with a reason and the value that was wrong, and stands still
 * until the guest sets it up anew. An address that is not the guest's costs that frame alone: it is
 * counted, and the descriptor goes back.
 *
 * With an IOTLB an address may be unknown for now. A call that meets one stops there: nothing of
 * that descriptor is consumed, `missing` is set, and what it lacks is asked for, together with what
 * the buffers posted behind it lack (vq_ahead.c). Until something has been answered the ring is
 * stalled: rx and tx return 0 and touch nothing.
 */
#ifndef HG_VIRTIO_VQ_DEV_H
#define HG_VIRTIO_VQ_DEV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/count.h"
#include "iommu/iotlb.h"
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
    HG_VRING_CHAIN_CUT, /* packed: a descriptor inside a chain is not available */
    HG_VRING_ID_RANGE,  /* packed: a buffer id is not below the ring's size */
    HG_VRING_FAULT_N
};

/* Short name of a fault, and a sentence. Static storage. */
const char *hg_vring_fault_name(enum hg_vring_fault fault);

enum {
    /* Entries from the next one on that are translated before their turn, and of those that the
     * guest transmits. Fewer of these: what a guest has under way at a time is then less than what
     * every receiver has translated. */
    HG_VQ_AHEAD_N = 256,
    HG_VQ_AHEAD_READ_N = HG_VQ_AHEAD_N / 4,
    HG_VQ_SHADOW_N = 64, /* used descriptors of a packed ring that are written together */
};

/* What an IOTLB did for a ring, since the structure was all zero: starting a ring does not clear
 * it. */
struct hg_vq_iommu_stats {
    struct hg_count hits;       /* buffers whose translation was there when a frame needed them */
    struct hg_count ahead_hits; /* of these, some had been missing when they were looked at ahead */
    struct hg_count stops;      /* calls that stopped at a missing translation */
    struct hg_count faults[HG_IOMMU_FAULT_N];
};

/* How far the buffers behind the next one have been looked at. Positions as in `last_avail`. */
struct hg_vq_ahead {
    uint16_t next;    /* the first that has not been looked at */
    uint16_t lacking; /* the first that lacked a translation, when `missing` */
    bool missing;
    bool barred; /* the one at `next` contradicts itself: nothing is looked at before its turn */
    uint16_t was_missing_n;
    uint16_t window;  /* so many entries are looked at; 0: not decided yet */
    uint32_t taken_n; /* since it was decided */
    uint64_t answers; /* hg_iotlb_answers() before it was looked at */
    uint64_t was_missing[HG_VQ_AHEAD_N / 64]; /* a bit for each position, modulo HG_VQ_AHEAD_N */
};

/* A used descriptor of a packed ring that is not written yet. */
struct hg_vq_shadow {
    uint16_t at; /* position */
    uint16_t id;
    uint32_t len;
};

/*
 * Positions of a split ring count entries of its available and used rings, those of a packed one
 * count descriptors; both go on and on, and the low bits are the place in the ring. Of a packed
 * ring the bit above them tells the lap: the wrap counter is 1 while it is 0 (2.8.1).
 */
struct hg_vq_dev {
    /* Set by control, constant while the ring runs. */
    uint8_t *desc;
    uint8_t *avail;   /* packed: the driver's event structure */
    uint8_t *used;    /* packed: the device's event structure */
    uint16_t num;     /* descriptors, a power of two */
    uint16_t hdr_len; /* bytes of virtio_net_hdr before each frame */
    bool packed;
    bool in_order; /* what has been read may be returned as one batch (2.7.9, 2.8.9) */
    bool event_idx;
    bool mergeable;
    bool indirect;
    bool csum_ok; /* the guest takes DATA_VALID and NEEDS_CSUM (GUEST_CSUM) */
    const struct hg_space *space;
    struct hg_asks *asks; /* where missing translations are asked for; NULL without an IOTLB */
    int call_fd;          /* to interrupt the guest; -1: none */

    /* Of the ring's user. */
    uint16_t last_avail; /* the next to take */
    uint16_t avail_idx;  /* split: as last loaded from the guest */
    uint16_t used_idx;   /* the next to return; what is before it may not be published yet */
    uint16_t used_published;
    uint16_t shadow_n;
    /* The last rx or tx stopped at a descriptor whose translation has been asked for. */
    bool missing;
    struct hg_hint hint;
    uint8_t block_class; /* size of the IOTLB blocks that its buffers are in, as seen last */
    uint64_t answers;    /* hg_iotlb_answers() before the call that stopped */
    struct hg_vq_ahead ahead;
    struct hg_vq_shadow shadow[HG_VQ_SHADOW_N];

    /* Written by the user, read by control. */
    struct hg_vq_iommu_stats iommu;
    /* Why the ring is broken, and the value: written once. */
    _Atomic uint32_t fault;
    _Atomic uint64_t fault_value;
};

/*
 * Starts a ring where SET_VRING_BASE said; the set-up fields are filled. For a split ring that is
 * the next available entry. For a packed one bits 0 to 14 are the next available descriptor, bit 15
 * is its wrap counter, and bits 16 to 31 say the same of the next used one; a front-end that leaves
 * these 0 means that nothing is outstanding.
 */
void hg_vq_dev_start(struct hg_vq_dev *ring, uint32_t base);

/* The position for GET_VRING_BASE, in the same form: the next that has not been taken. */
uint32_t hg_vq_dev_base(const struct hg_vq_dev *ring);

/*
 * Takes up to HG_BURST_N frames that the guest transmits, into b. Counts frames and bytes in
 * *stats, and under drops the frames that cannot be passed on. Returns b->n. hg_vq_dev_rx_done()
 * gives all descriptors taken back, those of dropped frames too; call it before the next rx. It
 * returns whether the guest wants to be notified.
 */
unsigned hg_vq_dev_rx(struct hg_vq_dev *ring, struct hg_burst *b, struct hg_queue_stats *stats);
bool hg_vq_dev_rx_done(struct hg_vq_dev *ring);

/*
 * Writes frames into buffers that the guest has posted, as hg_txq.tx does. *notify says whether the
 * guest wants to be notified. Returns how many were dealt with: fewer than n when the guest has not
 * posted enough, or, with `missing` set, when the next buffer's translation has been asked for. Of
 * a buffer that the IOTLB refuses the guest hears as one with 0 bytes in it, and the frame takes
 * the next one.
 */
unsigned hg_vq_dev_tx(struct hg_vq_dev *ring, struct hg_pkt *const *pkts, unsigned n,
                      struct hg_queue_stats *stats, bool *notify);

/*
 * Asks for the translations that buffers posted and not yet taken lack, before a frame needs them:
 * at most HG_VQ_AHEAD_N or HG_VQ_AHEAD_READ_N, in the direction of `perm`. Returns whether any is
 * missing. Cheap when nothing has been posted or answered since the last call. Called by the ring's
 * user, between rx_done and rx, or tx and tx.
 */
bool hg_vq_dev_ahead(struct hg_vq_dev *ring, enum hg_perm perm);

/* For a user whose frame takes more buffers than there are: hg_vq_dev_ahead() looks as far as it
 * ever may, so that hg_vq_dev_arm_posted() asks for the buffers that are wanting. */
void hg_vq_dev_widen(struct hg_vq_dev *ring);

/* Whether the ring stopped at a missing translation and nothing has been answered since: rx and tx
 * would return 0. The ring's user. */
bool hg_vq_dev_stalled(const struct hg_vq_dev *ring);

/* Asks the guest to kick at its next frame, then looks: true if there is one already. */
bool hg_vq_dev_arm(struct hg_vq_dev *ring);
/* The same for buffers posted behind those that hg_vq_dev_ahead() has looked at, so that it is
 * called again. Not when it has looked at as many as it may, or can: then none is asked for. */
bool hg_vq_dev_arm_posted(struct hg_vq_dev *ring);
void hg_vq_dev_disarm(struct hg_vq_dev *ring);

#endif
