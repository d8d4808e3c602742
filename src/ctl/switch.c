#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "ctl/switch_state.h"

enum { TICK_S = 1 };

/* --- queues and workers ---------------------------------------------------------------------- */

static unsigned collect(struct hg_switch *sw, unsigned worker)
{
    unsigned n = 0;

    for (unsigned i = 0; i < sw->port_n; i++) {
        struct hg_switch_port *entry = sw->port[i];

        for (unsigned q = 0; q < entry->port.queue_n; q++) {
            if (entry->queue[q].polled && entry->queue[q].worker == (int)worker) {
                sw->poller[n++] = &entry->queue[q].lane.poller;
            }
        }
    }
    return n;
}

/* Hands every worker whose queues have changed its new set. On failure the rest keeps its mark. */
static int apply(struct hg_switch *sw, struct hg_err *err)
{
    for (unsigned i = 0; i < sw->worker_n; i++) {
        struct switch_slot *slot = &sw->worker[i];
        int rc;

        if (!slot->changed) {
            continue;
        }
        if ((rc = hg_worker_set(slot->worker, sw->poller, collect(sw, i), err)) < 0) {
            return rc;
        }
        slot->changed = false;
    }
    return 0;
}

static int least_loaded(const struct hg_switch *sw)
{
    unsigned best = 0;

    for (unsigned i = 1; i < sw->worker_n; i++) {
        if (sw->worker[i].assigned_n < sw->worker[best].assigned_n) {
            best = i;
        }
    }
    return (int)best;
}

static bool runs(const struct hg_switch_port *entry, unsigned q)
{
    return entry->attached &&
           atomic_load_explicit(&entry->port.rxq[q]->running, memory_order_relaxed);
}

/* Takes out what must not be polled any more, or must be polled in another way. */
static void withdraw(struct hg_switch *sw, struct hg_switch_port *entry)
{
    for (unsigned q = 0; q < entry->port.queue_n; q++) {
        bool stale = !runs(entry, q) || entry->queue[q].lane.poller.fd != entry->port.rxq[q]->fd;

        if (entry->queue[q].polled && stale) {
            entry->queue[q].polled = false;
            sw->worker[entry->queue[q].worker].changed = true;
        }
    }
}

static void engage(struct hg_switch *sw, struct hg_switch_port *entry)
{
    for (unsigned q = 0; q < entry->port.queue_n; q++) {
        if (entry->queue[q].polled || !runs(entry, q)) {
            continue;
        }
        if (entry->queue[q].worker < 0) {
            entry->queue[q].worker = least_loaded(sw);
            sw->worker[entry->queue[q].worker].assigned_n++;
        }

        struct switch_slot *slot = &sw->worker[entry->queue[q].worker];

        hg_lane_init(&entry->queue[q].lane, entry->bridge, entry->port.rxq[q], slot->path);
        entry->queue[q].polled = true;
        slot->changed = true;
    }
}

int switch_refresh(struct hg_switch *sw, struct hg_switch_port *entry, struct hg_err *err)
{
    int rc;

    withdraw(sw, entry);
    if ((rc = apply(sw, err)) < 0) {
        return rc;
    }
    engage(sw, entry);
    return apply(sw, err);
}

static void queues_changed(struct hg_port *port, void *ctx)
{
    struct hg_switch_port *entry = hg_container_of(port, struct hg_switch_port, port);
    struct hg_err err;

    /* While it opens or closes: the queues join after, or have left before. */
    if (entry->attached && switch_refresh(ctx, entry, &err) < 0) {
        hg_log_limited(HG_LOG_ERROR, port->name, "queues not handed to workers yet: %s", err.text);
    }
}

void switch_attach(struct hg_switch *sw, struct hg_switch_port *entry)
{
    entry->attached = true;
    /* A driver that started queues in open() has them polled from here on. */
    queues_changed(&entry->port, sw);
}

static void tick(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_switch *sw = ctx;

    (void)fd;
    (void)what;
    for (unsigned i = 0; i < sw->bridge_n; i++) {
        hg_bridge_tick(sw->bridge[i]);
    }
    /* Only after a failure is there anything left to do; it has been logged. */
    for (unsigned i = 0; i < sw->port_n; i++) {
        (void)switch_refresh(sw, sw->port[i], NULL);
    }
}

/* --- bridges, workers, all of it ------------------------------------------------------------- */

int hg_switch_add_bridge(struct hg_switch *sw, const struct hg_config_bridge *bridge,
                         struct hg_err *err)
{
    int rc;

    if (sw->bridge_n == HG_CONFIG_BRIDGES_MAX) {
        return hg_err_set(err, ENOSPC, "there are %d bridges already, as many as there can be",
                          HG_CONFIG_BRIDGES_MAX);
    }
    rc = hg_bridge_new(&sw->bridge[sw->bridge_n], bridge->name, &bridge->options, err);
    sw->bridge_n += rc == 0;
    return rc;
}

static int start_worker(struct hg_switch *sw, int cpu, bool sleep, struct hg_err *err)
{
    const struct hg_worker_options options = {
        .cpu = cpu, .sleep = sleep, .idle_ns = HG_WORKER_IDLE_US * HG_NS_PER_US};
    struct switch_slot *slot = &sw->worker[sw->worker_n];
    int rc;

    if ((rc = hg_path_new(&slot->path, err)) < 0) {
        return rc;
    }
    if ((rc = hg_worker_new(&slot->worker, &options, NULL, err)) < 0) {
        goto no_worker;
    }
    if ((rc = hg_worker_start(slot->worker, err)) < 0) {
        goto not_started;
    }
    sw->worker_n++;
    return 0;

not_started:
    hg_worker_free(slot->worker);
no_worker:
    hg_path_free(slot->path);
    return rc;
}

int hg_switch_new(struct hg_switch **into, struct event_base *loop, const struct hg_config *config,
                  struct hg_err *err)
{
    static const struct timeval period = {.tv_sec = TICK_S};
    struct hg_switch *sw = calloc(1, sizeof(*sw));
    int rc = 0;

    if (!sw) {
        return hg_err_set(err, ENOMEM, "out of memory");
    }
    sw->loop = loop;
    sw->host = (struct hg_port_host){.loop = loop,
                                     .queues_changed = queues_changed,
                                     .ctx = sw,
                                     .pages = config->pages,
                                     .on_node = config->on_node,
                                     .node = config->node};
    sw->tick = event_new(loop, -1, EV_PERSIST, tick, sw);
    if (!sw->tick || event_add(sw->tick, &period) < 0) {
        rc = hg_err_set(err, ENOMEM, "out of memory");
    }
    for (unsigned i = 0; rc == 0 && i < config->cpu_n; i++) {
        rc = start_worker(sw, config->cpu[i], config->sleep, err);
    }
    if (rc < 0) {
        hg_switch_free(sw);
        return rc;
    }
    *into = sw;
    return 0;
}

void hg_switch_free(struct hg_switch *sw)
{
    /* First, so that from here on nothing depends on a worker's taking an order: a set that cannot
     * be emptied for want of memory has nobody who looks at it. */
    for (unsigned i = 0; i < sw->worker_n; i++) {
        hg_worker_stop(sw->worker[i].worker);
        (void)hg_worker_set(sw->worker[i].worker, NULL, 0, NULL);
    }
    while (sw->port_n > 0) {
        sw->port[sw->port_n - 1]->attached = false;
        switch_discard(sw, sw->port[sw->port_n - 1]);
    }
    for (unsigned i = 0; i < sw->bridge_n; i++) {
        hg_bridge_free(sw->bridge[i]);
    }
    for (unsigned i = 0; i < sw->worker_n; i++) {
        hg_worker_free(sw->worker[i].worker);
        hg_path_free(sw->worker[i].path);
    }
    if (sw->tick) {
        event_free(sw->tick);
    }
    free(sw);
}

const struct hg_switch_port *hg_switch_port(const struct hg_switch *sw, unsigned index)
{
    return index < sw->port_n ? sw->port[index] : NULL;
}

const struct hg_bridge *hg_switch_bridge(const struct hg_switch *sw, unsigned index)
{
    return index < sw->bridge_n ? sw->bridge[index] : NULL;
}

const struct hg_worker *hg_switch_worker(const struct hg_switch *sw, unsigned index)
{
    return index < sw->worker_n ? sw->worker[index].worker : NULL;
}

unsigned hg_switch_worker_queues(const struct hg_switch *sw, unsigned index)
{
    unsigned n = 0;

    for (unsigned i = 0; i < sw->port_n; i++) {
        for (unsigned q = 0; q < sw->port[i]->port.queue_n; q++) {
            n += sw->port[i]->queue[q].polled && sw->port[i]->queue[q].worker == (int)index;
        }
    }
    return n;
}
