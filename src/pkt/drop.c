#include "pkt/drop.h"

#include "base/bits.h"

const struct hg_drop_text hg_drop_texts[] = {
    [HG_DROP_RUNT] = {"runt", "the frame is shorter than an Ethernet header"},
    [HG_DROP_OVERSIZE] = {"oversize", "the frame is longer than 65,535 bytes and its link header"},
    [HG_DROP_BAD_OFFLOAD] = {"bad_offload",
                             "its checksum or segmentation request contradicts the frame"},
    [HG_DROP_BAD_DESCRIPTOR] =
        {"bad_descriptor", "a buffer of the sender is empty or not inside the sender's memory"},
    [HG_DROP_IOMMU_FAULT] = {"iommu_fault",
                             "the sender named memory that its virtual IOMMU does not let it name"},
    [HG_DROP_BAD_SOURCE] = {"bad_source", "the source address is a group address or zero"},
    [HG_DROP_RESERVED_GROUP] = {"reserved_group",
                                "link-local group address, which a bridge does not relay"},
    [HG_DROP_QUEUE_DISABLED] = {"queue_disabled",
                                "sent on a queue that the sender's driver has switched off"},
    [HG_DROP_SAME_PORT] = {"same_port", "the destination is on the port that it came from"},
    [HG_DROP_NO_OTHER_PORT] = {"no_other_port", "there is no other port to flood it to"},
    [HG_DROP_PORT_DOWN] = {"port_down", "the destination port has no running queue"},
    [HG_DROP_TX_FULL] = {"tx_full", "the receiver had no free buffer"},
    [HG_DROP_TX_NO_ROOM] = {"tx_no_room", "the receiver's buffers are too small for the frame"},
    [HG_DROP_TX_BAD_BUFFER] =
        {"tx_bad_buffer", "the receiver posted a buffer that is empty or not inside its memory"},
    [HG_DROP_TX_IOMMU_FAULT] = {"tx_iommu_fault",
                                "the receiver posted a buffer that its virtual IOMMU does not map"},
    [HG_DROP_TX_PARK_FULL] = {"tx_park_full",
                              "too many frames wait for the receiver's buffers to be mapped"},
    [HG_DROP_TX_NO_OFFLOAD] = {"tx_no_offload",
                               "the receiver lacks the offload and its headers are too long or "
                               "too unusual to do it in software"},
};

_Static_assert(HG_ARRAY_N(hg_drop_texts) == HG_DROP_N, "every drop reason has a name");
