/*
 * Every reason for which a frame may end here, by name.
 *
 * Each queue and each bridge port counts each reason; a frame that is received is either
 * transmitted or counted under exactly one of these names.
 */
#ifndef HG_PKT_DROP_H
#define HG_PKT_DROP_H

#include "base/api.h"
#include "base/count.h"

HG_API_BEGIN

enum hg_drop {
    HG_DROP_RUNT,           /* shorter than an Ethernet header */
    HG_DROP_OVERSIZE,       /* longer than any receiver may be given */
    HG_DROP_BAD_OFFLOAD,    /* checksum or segmentation request that contradicts the frame */
    HG_DROP_BAD_DESCRIPTOR, /* a buffer that is empty or not inside the sender's memory */
    HG_DROP_IOMMU_FAULT,    /* a buffer that the sender's virtual IOMMU does not let it name */
    HG_DROP_BAD_SOURCE,     /* source address is multicast or zero */
    HG_DROP_RESERVED_GROUP, /* link-local group (01:80:c2:00:00:0x) that a bridge must not relay */
    HG_DROP_QUEUE_DISABLED, /* the sender's driver has switched the queue off */
    HG_DROP_SAME_PORT,      /* the destination is where it came from */
    HG_DROP_NO_OTHER_PORT,  /* to be flooded, but nobody else is there */
    HG_DROP_PORT_DOWN,      /* the destination's port has no running queue */
    HG_DROP_TX_FULL,        /* the receiver has posted no buffer */
    HG_DROP_TX_NO_ROOM,     /* the receiver's buffers are too small for the frame */
    HG_DROP_TX_BAD_BUFFER,  /* the receiver posted one that is empty or not its memory */
    HG_DROP_TX_IOMMU_FAULT, /* the receiver posted one that its virtual IOMMU does not map */
    HG_DROP_TX_PARK_FULL,   /* too many frames wait for the mapping of the receiver's buffers */
    HG_DROP_TX_NO_OFFLOAD,  /* needs an offload that neither receiver nor software can do */
    HG_DROP_N
};

struct hg_drops {
    struct hg_count reason[HG_DROP_N];
};

struct hg_drop_text {
    const char *name;     /* as in `headgate drops` and JSON: lower case, underscores */
    const char *sentence; /* for people */
};

/* The name and sentence of each reason, indexed by enum hg_drop. Static storage; any thread. */
extern const struct hg_drop_text hg_drop_texts[HG_DROP_N];

HG_API_END

#endif
