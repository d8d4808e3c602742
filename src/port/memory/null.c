/*
 * The port type `null`.
 */
#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/memory/memory.h"
#include "port/memory/queue.h"

enum { QUEUES, OPTION_N };

static const struct hg_port_option options[] = {
    [QUEUES] = {.name = "queues",
                .type = HG_OPTION_UINT,
                .min = 1,
                .max = HG_PORT_QUEUES_MAX,
                .preset = 1,
                .help = "Queue pairs."},
};

_Static_assert(HG_ARRAY_N(options) == OPTION_N, "every option has its entry");

struct null_pair {
    alignas(HG_CACHE_LINE_BYTES) struct hg_rxq rxq;
    alignas(HG_CACHE_LINE_BYTES) struct hg_txq txq;
};

static int open_port(struct hg_port *port, const union hg_port_value *values, struct hg_err *err)
{
    unsigned pair_n = (unsigned)values[QUEUES].uint;
    struct null_pair *pair =
        aligned_alloc(alignof(struct null_pair), pair_n * sizeof(struct null_pair));

    if (pair == NULL)
        return hg_err_set(err, ENOMEM, "no memory for port '%s'", port->name);
    port->driver_data = pair;
    port->queue_n = pair_n;
    for (unsigned i = 0; i < pair_n; i++) {
        hg_memory_rxq_init(&pair[i].rxq, port, i);
        hg_memory_txq_init(&pair[i].txq, port, i);
    }
    hg_memory_start(port);
    return 0;
}

static void close_port(struct hg_port *port)
{
    free(port->driver_data);
    port->driver_data = NULL;
    port->queue_n = 0;
}

static void get_status(const struct hg_port *port, struct hg_port_status *status)
{
    *status = (struct hg_port_status){.state = "up", .ended = true, .queue_pairs = port->queue_n};
    snprintf(status->text, sizeof(status->text), "up: swallows what it is sent");
}

const struct hg_port_driver hg_null_driver = {
    .type = "null",
    .help = "Receives nothing, swallows and counts what is sent to it.",
    .options = options,
    .option_n = OPTION_N,
    .open = open_port,
    .close = close_port,
    .status = get_status,
};
