#include "ctl/totals.h"

static void add(struct hg_totals *totals, const struct hg_queue_stats *stats,
                const struct hg_count *made)
{
    totals->packets += hg_count_get(&stats->packets);
    totals->bytes += hg_count_get(&stats->bytes);
    totals->bytes_copied += hg_count_get(&stats->bytes_copied);
    totals->bursts += hg_count_get(&stats->bursts);
    totals->notifications += hg_count_get(&stats->notifications);
    totals->notifications_saved += hg_count_get(&stats->notifications_saved);
    totals->made += hg_count_get(made);
    for (unsigned i = 0; i < HG_DROP_N; i++) {
        totals->drops[i] += hg_count_get(&stats->drops.reason[i]);
    }
}

void hg_totals_add_rx(struct hg_totals *totals, const struct hg_rxq *q)
{
    add(totals, &q->stats, &q->replicated);
}

void hg_totals_add_tx(struct hg_totals *totals, const struct hg_txq *q)
{
    add(totals, &q->stats, &q->segmented);
}

void hg_totals_of(const struct hg_port *port, struct hg_totals *rx, struct hg_totals *tx)
{
    *rx = *tx = (struct hg_totals){.packets = 0};
    for (unsigned i = 0; i < port->queue_n; i++) {
        hg_totals_add_rx(rx, port->rxq[i]);
        hg_totals_add_tx(tx, port->txq[i]);
    }
}
