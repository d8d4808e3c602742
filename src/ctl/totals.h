/*
 * The counters of a port, added up over its queues.
 */
#ifndef HG_CTL_TOTALS_H
#define HG_CTL_TOTALS_H

#include <stdint.h>

#include "pkt/drop.h"
#include "port/port.h"

struct hg_totals {
    uint64_t packets;
    uint64_t bytes;
    uint64_t bytes_copied;
    uint64_t bursts;
    uint64_t notifications;
    uint64_t notifications_saved;
    uint64_t made; /* rx: replicated; tx: segmented */
    uint64_t drops[HG_DROP_N];
};

void hg_totals_add_rx(struct hg_totals *totals, const struct hg_rxq *q);
void hg_totals_add_tx(struct hg_totals *totals, const struct hg_txq *q);

/* Both directions of a port; each starts from zero. */
void hg_totals_of(const struct hg_port *port, struct hg_totals *rx, struct hg_totals *tx);

#endif
