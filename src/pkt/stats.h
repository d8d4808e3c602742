/*
 * What every queue counts. Written by who uses the queue, read by control (base/count.h).
 */
#ifndef HG_PKT_STATS_H
#define HG_PKT_STATS_H

#include "base/api.h"
#include "base/count.h"
#include "pkt/drop.h"

HG_API_BEGIN

struct hg_queue_stats {
    struct hg_count packets;       /* rx: taken from the peer, dropped ones too; tx: delivered */
    struct hg_count bytes;         /* of frames that passed the first checks; of those delivered */
    struct hg_count bursts;        /* calls that moved at least one packet */
    struct hg_count bytes_copied;  /* into private heads (rx), into the destination (tx) */
    struct hg_count notifications; /* signals sent to the peer */
    struct hg_count notifications_saved; /* bursts that a later signal served as well */
    struct hg_drops drops;
};

HG_API_END

#endif
