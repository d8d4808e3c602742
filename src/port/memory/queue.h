/*
 * What memory ports have in common: a receive queue that never receives and a transmit queue that
 * swallows.
 */
#ifndef HG_PORT_MEMORY_QUEUE_H
#define HG_PORT_MEMORY_QUEUE_H

#include "port/port.h"

/* Makes q the receive queue `index` of the port: one that is not running and receives nothing. */
void hg_memory_rxq_init(struct hg_rxq *q, struct hg_port *port, unsigned index);

/* Makes q the transmit queue `index` of the port, running: one that swallows what it is given. */
void hg_memory_txq_init(struct hg_txq *q, struct hg_port *port, unsigned index);

/* Lets hg_port_tx() use the transmit queues 0 to port->queue_n - 1. */
void hg_memory_start(struct hg_port *port);

/* The bytes of n frames. */
uint64_t hg_memory_bytes(struct hg_pkt *const *pkts, unsigned n);

/* Counts a burst of n frames that a queue has received or delivered. */
void hg_memory_count(struct hg_queue_stats *stats, unsigned n, uint64_t bytes);

#endif
