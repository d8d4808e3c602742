/*
 * Ports that come, go and change while packets flow.
 *
 * In: opened -> in its bridge -> its queues polled. Out: in the opposite order. A port that changes
 * goes all the way out and in again, because its driver reads its options in open() only; what
 * stays is its name, its place among the others, and its bridge if that is not what changes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ctl/switch_state.h"

const struct hg_switch_port *hg_switch_port_by_id(const struct hg_switch *sw, uint16_t id)
{
    for (unsigned i = 0; i < sw->port_n; i++) {
        if (sw->port[i]->port.id == id) {
            return sw->port[i];
        }
    }
    return NULL;
}

static struct hg_switch_port *find_port(const struct hg_switch *sw, const char *name)
{
    for (unsigned i = 0; i < sw->port_n; i++) {
        if (strcmp(sw->port[i]->port.name, name) == 0) {
            return sw->port[i];
        }
    }
    return NULL;
}

const struct hg_switch_port *hg_switch_find_port(const struct hg_switch *sw, const char *name)
{
    return find_port(sw, name);
}

static struct hg_bridge *find_bridge(const struct hg_switch *sw, const char *name)
{
    for (unsigned i = 0; i < sw->bridge_n; i++) {
        if (strcmp(hg_bridge_name(sw->bridge[i]), name) == 0) {
            return sw->bridge[i];
        }
    }
    return NULL;
}

/* Everything that can be refused before anything is made. `but` is the port that is to become what
 * the spec says; NULL: a new one. */
static int admit(const struct hg_switch *sw, const struct hg_spec *spec,
                 const struct hg_switch_port *but, struct hg_err *err)
{
    int rc;

    if (!find_bridge(sw, spec->bridge)) {
        return hg_err_set(err, ENOENT, "there is no bridge '%s'", spec->bridge);
    }
    if (!but && sw->port_n == HG_PORTS_MAX) {
        return hg_err_set(err, ENOSPC, "there are %d ports already, as many as there can be",
                          HG_PORTS_MAX);
    }
    for (unsigned i = 0; i < sw->port_n; i++) {
        if (sw->port[i] != but && (rc = hg_spec_conflict(&sw->port[i]->spec, spec, err)) < 0) {
            return rc;
        }
    }
    return 0;
}

static struct hg_switch_port *make_entry(struct hg_switch *sw, const struct hg_spec *spec,
                                         struct hg_err *err)
{
    struct hg_switch_port *entry = calloc(1, sizeof(*entry));
    uint16_t id = 0;

    if (!entry) {
        hg_err_set(err, ENOMEM, "port '%s': out of memory", spec->name);
        return NULL;
    }
    if (hg_spec_copy(&entry->spec, spec, err) < 0) {
        free(entry);
        return NULL;
    }
    while (hg_switch_port_by_id(sw, id)) {
        id++;
    }
    memcpy(entry->port.name, spec->name, sizeof(entry->port.name));
    entry->port.id = id;
    entry->port.driver = spec->driver;
    entry->port.host = &sw->host;
    for (unsigned q = 0; q < HG_PORT_QUEUES_MAX; q++) {
        entry->queue[q].worker = -1;
    }
    return entry;
}

static void free_entry(struct hg_switch_port *entry)
{
    hg_spec_free(&entry->spec);
    free(entry);
}

/* Opens a port and puts it into its bridge. On failure it is closed. */
static int join(struct hg_switch *sw, struct hg_switch_port *entry, struct hg_err *err)
{
    const struct hg_port_driver *driver = entry->port.driver;
    int rc = driver->open(&entry->port, entry->spec.value, err);

    if (rc < 0) {
        return rc;
    }
    entry->bridge = find_bridge(sw, entry->spec.bridge);
    if ((rc = hg_bridge_add(entry->bridge, &entry->port, err)) < 0) {
        driver->close(&entry->port);
    }
    return rc;
}

/* Takes a port's queues from the workers. On failure they are polled as before. */
static int detach(struct hg_switch *sw, struct hg_switch_port *entry, struct hg_err *err)
{
    int rc;

    entry->attached = false;
    if ((rc = switch_refresh(sw, entry, err)) == 0) {
        return 0;
    }
    /* Some worker has kept its old set, in which they are. */
    entry->attached = true;
    for (unsigned q = 0; q < entry->port.queue_n; q++) {
        entry->queue[q].polled =
            entry->queue[q].worker >= 0 &&
            atomic_load_explicit(&entry->port.rxq[q]->running, memory_order_relaxed);
    }
    return rc;
}

/* The opposite of join(), after detach(). Cannot fail. */
static void leave(struct hg_switch *sw, struct hg_switch_port *entry)
{
    hg_bridge_remove(entry->bridge, &entry->port);
    entry->port.driver->close(&entry->port);
    for (unsigned q = 0; q < HG_PORT_QUEUES_MAX; q++) {
        if (entry->queue[q].worker >= 0) {
            sw->worker[entry->queue[q].worker].assigned_n--;
        }
        entry->queue[q].worker = -1;
        entry->queue[q].polled = false;
    }
}

/* Takes a port off the list; it is closed. */
static void forget(struct hg_switch *sw, struct hg_switch_port *entry)
{
    unsigned index = 0;

    while (sw->port[index] != entry) {
        index++;
    }
    sw->port_n--;
    for (; index < sw->port_n; index++) {
        sw->port[index] = sw->port[index + 1];
    }
    free_entry(entry);
}

void switch_discard(struct hg_switch *sw, struct hg_switch_port *entry)
{
    leave(sw, entry);
    forget(sw, entry);
}

int hg_switch_add_port(struct hg_switch *sw, const struct hg_spec *spec, struct hg_err *err)
{
    struct hg_switch_port *entry;
    int rc;

    if ((rc = admit(sw, spec, NULL, err)) < 0) {
        return rc;
    }
    if (!(entry = make_entry(sw, spec, err))) {
        return -ENOMEM;
    }
    if ((rc = join(sw, entry, err)) < 0) {
        free_entry(entry);
        return rc;
    }
    sw->port[sw->port_n++] = entry;
    switch_attach(sw, entry);
    return 0;
}

int hg_switch_remove_port(struct hg_switch *sw, const char *name, struct hg_err *err)
{
    struct hg_switch_port *entry = find_port(sw, name);
    int rc;

    if (!entry) {
        return hg_err_set(err, ENOENT, "there is no port '%s'", name);
    }
    if ((rc = detach(sw, entry, err)) < 0) {
        return rc;
    }
    switch_discard(sw, entry);
    return 0;
}

static void swap_specs(struct hg_spec *a, struct hg_spec *b)
{
    struct hg_spec kept = *a;

    *a = *b;
    *b = kept;
}

/* Closes a port that no worker polls and opens it as *wanted; if that fails, as it was. In *wanted
 * is left what the port is not. */
static int reopen(struct hg_switch *sw, struct hg_switch_port *entry, struct hg_spec *wanted,
                  struct hg_err *err)
{
    struct hg_err again;
    int rc;

    leave(sw, entry);
    swap_specs(&entry->spec, wanted);
    if ((rc = join(sw, entry, err)) == 0) {
        switch_attach(sw, entry);
        return 0;
    }
    swap_specs(&entry->spec, wanted);
    if (join(sw, entry, &again) == 0) {
        switch_attach(sw, entry);
        return rc;
    }
    hg_log(HG_LOG_ERROR, entry->port.name, "the port is gone, it cannot be opened again: %s",
           again.text);
    forget(sw, entry);
    return hg_err_set(err, -rc, "%s; the port is gone, since it cannot be opened as it was either",
                      err ? err->text : "");
}

int hg_switch_change_port(struct hg_switch *sw, const struct hg_spec *spec, struct hg_err *err)
{
    struct hg_switch_port *entry = find_port(sw, spec->name);
    struct hg_spec wanted;
    int rc;

    if (!entry) {
        return hg_err_set(err, ENOENT, "there is no port '%s'", spec->name);
    }
    if ((rc = admit(sw, spec, entry, err)) < 0) {
        return rc;
    }
    if (hg_spec_same(&entry->spec, spec)) {
        return 0;
    }
    if ((rc = hg_spec_copy(&wanted, spec, err)) < 0) {
        return rc;
    }
    if ((rc = detach(sw, entry, err)) == 0) {
        rc = reopen(sw, entry, &wanted, err);
    }
    hg_spec_free(&wanted);
    return rc;
}
