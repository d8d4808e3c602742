#include "bridge/bridge.h"

#include <string.h>

#include "base/clock.h"
#include "bridge/internal.h"

_Static_assert((int)HG_PORTS_MAX == (int)HG_FDB_PORTS_MAX,
               "the table counts addresses per port id");
_Static_assert((int)HG_BURST_N <= (int)HG_FDB_BATCH_MAX, "a burst is one look-up");

int hg_bridge_new(struct hg_bridge **bridge, const char *name,
                  const struct hg_bridge_options *options, struct hg_err *err)
{
    struct hg_bridge *new;
    int rc;

    if (strlen(name) > HG_BRIDGE_NAME_MAX)
        return hg_err_set(err, EINVAL, "bridge name %s is longer than %d characters", name,
                          HG_BRIDGE_NAME_MAX);
    new = calloc(1, sizeof(*new));
    if (new == NULL)
        return hg_err_set(err, ENOMEM, "no memory for bridge %s", name);
    rc = hg_fdb_new(&new->fdb, options->fdb_max, options->fdb_port_max, err);
    if (rc != 0) {
        free(new);
        return rc;
    }
    memcpy(new->name, name, strlen(name) + 1);
    new->options = *options;
    atomic_init(&new->members, &new->snapshot[0]);
    hg_bridge_tick(new);
    *bridge = new;
    return 0;
}

void hg_bridge_free(struct hg_bridge *bridge)
{
    if (bridge == NULL)
        return;
    hg_fdb_free(bridge->fdb);
    free(bridge);
}

const char *hg_bridge_name(const struct hg_bridge *bridge)
{
    return bridge->name;
}

const struct hg_bridge_options *hg_bridge_options(const struct hg_bridge *bridge)
{
    return &bridge->options;
}

const struct hg_fdb *hg_bridge_fdb(const struct hg_bridge *bridge)
{
    return bridge->fdb;
}

/* A copy of the port list to change and publish; nobody reads it. */
static struct hg_members *begin_change(struct hg_bridge *bridge)
{
    const struct hg_members *now = hg_qsbr_read(&bridge->members);
    struct hg_members *next = &bridge->snapshot[now == &bridge->snapshot[0]];

    *next = *now;
    return next;
}

/* Publishes the changed copy; on return no worker reads the old list any more. */
static void end_change(struct hg_bridge *bridge, struct hg_members *next)
{
    hg_qsbr_publish(&bridge->members, next);
    hg_qsbr_wait();
}

int hg_bridge_add(struct hg_bridge *bridge, struct hg_port *port, struct hg_err *err)
{
    struct hg_members *members = begin_change(bridge);

    if (members->n == HG_PORTS_MAX || members->by_id[port->id] != NULL)
        return hg_err_set(err, EEXIST, "port id %u is in bridge %s already", port->id,
                          bridge->name);
    members->port[members->n++] = port;
    members->by_id[port->id] = port;
    end_change(bridge, members);
    return 0;
}

void hg_bridge_remove(struct hg_bridge *bridge, struct hg_port *port)
{
    struct hg_members *members = begin_change(bridge);
    unsigned kept = 0;

    for (unsigned i = 0; i < members->n; i++)
        if (members->port[i] != port)
            members->port[kept++] = members->port[i];
    members->n = kept;
    members->by_id[port->id] = NULL;
    end_change(bridge, members);
    /* Only now: no worker can learn an address behind it any more. */
    hg_fdb_forget_port(bridge->fdb, port->id);
}

unsigned hg_bridge_ports(const struct hg_bridge *bridge, struct hg_port **ports, unsigned max)
{
    const struct hg_members *members = hg_qsbr_read(&bridge->members);

    for (unsigned i = 0; i < members->n && i < max; i++)
        ports[i] = members->port[i];
    return members->n;
}

void hg_bridge_tick(struct hg_bridge *bridge)
{
    hg_fdb_tick(bridge->fdb, (uint32_t)(hg_now_ns() / HG_NS_PER_S), bridge->options.fdb_age_s);
}
