#include "ctl/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl/qemu.h"
#include "ctl/totals.h"

/* A number of ours as JSON's signed one; a counter would take centuries to reach its end. */
static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static uint64_t count(const struct hg_count *counter)
{
    return hg_count_get(counter);
}

/* --- ports ----------------------------------------------------------------------------------- */

/* What stands between the separators, as an array. */
static json_t *split(const char *text, char separator)
{
    const char separators[] = {separator, '\0'};
    json_t *array = json_array();

    while (*(text += strspn(text, separators))) {
        size_t length = strcspn(text, separators);

        json_array_append_new(array, json_stringn(text, length));
        text += length;
    }
    return array;
}

static json_t *options(const struct hg_spec *spec)
{
    json_t *object = json_object();

    for (unsigned i = 0; i < spec->driver->option_n; i++) {
        const struct hg_port_option *option = &spec->driver->options[i];
        char buffer[64];

        if (option->type == HG_OPTION_UINT) {
            json_object_set_new(object, option->name, number(spec->value[i].uint));
            continue;
        }

        const char *text = hg_spec_text(spec, option->name, buffer, sizeof(buffer));

        if (text) {
            json_object_set_new(object, option->name, json_string(text));
        }
    }
    return object;
}

/* What the port's driver says of its virtual IOMMU; all zero where there is none. */
static struct hg_port_iommu iommu_of(const struct hg_port *port)
{
    struct hg_port_iommu iommu = {.active = false};

    if (port->driver->iommu) {
        port->driver->iommu(port, &iommu);
    }
    return iommu;
}

static json_t *microseconds(uint64_t ns)
{
    return json_real((double)ns / 1000);
}

static json_t *iommu_report(const struct hg_port *port)
{
    const struct hg_port_iommu iommu = iommu_of(port);
    json_t *kinds = json_object();
    uint64_t faults = 0;

    for (unsigned kind = 0; kind < HG_IOMMU_FAULT_N; kind++) {
        json_object_set_new(kinds, hg_iommu_fault_name((enum hg_iommu_fault)kind),
                            number(iommu.faults[kind]));
        faults += iommu.faults[kind];
    }
    return json_pack(
        "{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}}",
        "active", iommu.active, "entries", number(iommu.entries), "entries_max",
        number(iommu.entries_max), "hits", number(iommu.hits), "ahead_hits",
        number(iommu.ahead_hits), "stops", number(iommu.stops), "misses", number(iommu.misses),
        "parked", number(iommu.parked), "parked_now", number(iommu.parked_now), "faults",
        number(faults), "faults_by_kind", kinds, "invalidations", number(iommu.invalidations),
        "evictions", number(iommu.evictions), "invalidation_ack_us", "median",
        microseconds(iommu.ack_median_ns), "p99", microseconds(iommu.ack_p99_ns), "max",
        microseconds(iommu.ack_max_ns));
}

json_t *hg_report_port(const struct hg_switch_port *entry)
{
    struct hg_port_status status = {.state = ""};
    char qemu[HG_QEMU_BYTES];
    json_t *object;

    entry->port.driver->status(&entry->port, &status);
    object =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:I, s:o, s:o}", "name", entry->port.name, "type",
                  entry->port.driver->type, "bridge", hg_bridge_name(entry->bridge), "state",
                  status.state, "text", status.text, "queue_pairs", (int)status.queue_pairs,
                  "reconnects", (json_int_t)status.reconnects, "peer_features",
                  split(status.peer_features, ' '), "options", options(&entry->spec));
    if (object && hg_qemu_arguments(&entry->spec, qemu, sizeof(qemu))) {
        json_object_set_new(object, "qemu", split(qemu, '\n'));
    }
    if (object && entry->port.driver->iommu) {
        json_object_set_new(object, "iommu", iommu_report(&entry->port));
    }
    return object;
}

json_t *hg_report_ports(const struct hg_switch *sw)
{
    json_t *array = json_array();
    const struct hg_switch_port *entry;

    for (unsigned i = 0; (entry = hg_switch_port(sw, i)); i++) {
        json_array_append_new(array, hg_report_port(entry));
    }
    return array;
}

/* --- bridges --------------------------------------------------------------------------------- */

static json_t *bridge_ports(const struct hg_bridge *bridge)
{
    struct hg_port *ports[HG_PORTS_MAX];
    unsigned n = hg_bridge_ports(bridge, ports, HG_PORTS_MAX);
    json_t *array = json_array();

    for (unsigned i = 0; i < n; i++) {
        json_array_append_new(array, json_string(ports[i]->name));
    }
    return array;
}

json_t *hg_report_bridges(const struct hg_switch *sw)
{
    json_t *array = json_array();
    const struct hg_bridge *bridge;

    for (unsigned i = 0; (bridge = hg_switch_bridge(sw, i)); i++) {
        const struct hg_bridge_options *set = hg_bridge_options(bridge);

        json_array_append_new(array,
                              json_pack("{s:s, s:o, s:{s:i, s:i, s:i, s:i, s:o}}", "name",
                                        hg_bridge_name(bridge), "ports", bridge_ports(bridge),
                                        "fdb", "addresses", (int)hg_fdb_n(hg_bridge_fdb(bridge)),
                                        "age_s", (int)set->fdb_age_s, "max", (int)set->fdb_max,
                                        "port_max", (int)set->fdb_port_max, "refused",
                                        number(hg_fdb_refused(hg_bridge_fdb(bridge)))));
    }
    return array;
}

struct fdb_report {
    const struct hg_switch *sw;
    const char *bridge;
    struct hg_text *text;
};

static bool add_address(const struct hg_fdb_entry *entry, void *ctx)
{
    struct fdb_report *report = ctx;
    const struct hg_switch_port *port = hg_switch_port_by_id(report->sw, entry->port);
    const uint8_t *mac = entry->mac;

    if (!port) {
        return true; /* left a moment ago */
    }
    /* Names need no escapes: letters, digits, '.', '_' and '-'. */
    hg_text_add(report->text,
                "%s{\"mac\": \"%02x:%02x:%02x:%02x:%02x:%02x\", \"vlan\": %u, \"bridge\": \"%s\", "
                "\"port\": \"%s\", \"age_s\": %" PRIu32 "}",
                report->text->n > 1 ? ",\n" : "", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5],
                entry->vlan, report->bridge, port->port.name, entry->age_s);
    return !report->text->failed;
}

void hg_report_fdb(const struct hg_switch *sw, struct hg_text *text)
{
    const struct hg_bridge *bridge;

    hg_text_add(text, "[");
    for (unsigned i = 0; (bridge = hg_switch_bridge(sw, i)); i++) {
        struct fdb_report report = {.sw = sw, .bridge = hg_bridge_name(bridge), .text = text};

        hg_fdb_each(hg_bridge_fdb(bridge), add_address, &report);
    }
    hg_text_add(text, "]\n");
}

/* --- counters -------------------------------------------------------------------------------- */

static json_t *direction(const struct hg_totals *totals, const char *made)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "packets", number(totals->packets),
                     "bytes", number(totals->bytes), "bytes_copied", number(totals->bytes_copied),
                     "bursts", number(totals->bursts), "notifications",
                     number(totals->notifications), "notifications_saved",
                     number(totals->notifications_saved), made, number(totals->made));
}

static json_t *drops(const struct hg_totals *rx, const struct hg_totals *tx)
{
    json_t *object = json_object();

    for (unsigned i = 0; i < HG_DROP_N; i++) {
        json_object_set_new(object, hg_drop_texts[i].name, number(rx->drops[i] + tx->drops[i]));
    }
    return object;
}

static json_t *queues(const struct hg_switch_port *entry)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < entry->port.queue_n; i++) {
        const struct hg_rxq *rxq = entry->port.rxq[i];
        const struct hg_txq *txq = entry->port.txq[i];
        struct hg_totals rx = {.packets = 0};
        struct hg_totals tx = {.packets = 0};
        json_t *object;

        hg_totals_add_rx(&rx, rxq);
        hg_totals_add_tx(&tx, txq);
        object = json_pack("{s:i, s:o, s:o, s:b, s:b}", "index", (int)i, "rx",
                           direction(&rx, "replicated"), "tx", direction(&tx, "segmented"),
                           "rx_running", atomic_load_explicit(&rxq->running, memory_order_relaxed),
                           "tx_running", atomic_load_explicit(&txq->running, memory_order_relaxed));
        if (object && entry->queue[i].polled) {
            json_object_set_new(object, "worker", json_integer(entry->queue[i].worker));
        }
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *port_stats(const struct hg_switch_port *entry)
{
    struct hg_port_status status = {.state = ""};
    struct hg_totals rx;
    struct hg_totals tx;

    entry->port.driver->status(&entry->port, &status);
    hg_totals_of(&entry->port, &rx, &tx);
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "type", entry->port.driver->type,
                     "bridge", hg_bridge_name(entry->bridge), "state", status.state, "rx",
                     direction(&rx, "replicated"), "tx", direction(&tx, "segmented"), "drops",
                     drops(&rx, &tx), "queues", queues(entry), "iommu", iommu_report(&entry->port));
}

static json_t *worker_stats(const struct hg_switch *sw, unsigned index)
{
    const struct hg_worker *worker = hg_switch_worker(sw, index);
    const struct hg_worker_stats *stats = hg_worker_stats(worker);

    return json_pack(
        "{s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:i}", "cpu", hg_worker_cpu(worker), "packets",
        number(count(&stats->packets)), "busy_cycles", number(count(&stats->busy_cycles)),
        "idle_cycles", number(count(&stats->idle_cycles)), "sleeps", number(count(&stats->sleeps)),
        "wakeups_in_vain", number(count(&stats->wakeups_in_vain)), "turns",
        number(count(&stats->turns)), "queues", (int)hg_switch_worker_queues(sw, index));
}

/* As configured. */
static json_t *memory_stats(const struct hg_config *config)
{
    static const char *const pages[] = {
        [HG_PAGES_AUTO] = "auto", [HG_PAGES_1G] = "1G", [HG_PAGES_2M] = "2M", [HG_PAGES_4K] = "4K"};
    json_t *memory = json_pack("{s:s}", "pages", pages[config->pages]);

    if (config->on_node) {
        json_object_set_new(memory, "node", json_integer(config->node));
    }
    return memory;
}

json_t *hg_report_stats(const struct hg_switch *sw, const struct hg_config *config)
{
    json_t *ports = json_object();
    json_t *workers = json_array();
    const struct hg_switch_port *entry;

    for (unsigned i = 0; (entry = hg_switch_port(sw, i)); i++) {
        json_object_set_new(ports, entry->port.name, port_stats(entry));
    }
    for (unsigned i = 0; hg_switch_worker(sw, i); i++) {
        json_array_append_new(workers, worker_stats(sw, i));
    }
    return json_pack("{s:o, s:o, s:o}", "ports", ports, "workers", workers, "memory",
                     memory_stats(config));
}

json_t *hg_report_drops(const struct hg_switch *sw)
{
    json_t *array = json_array();

    for (unsigned reason = 0; reason < HG_DROP_N; reason++) {
        json_t *ports = json_object();
        const struct hg_switch_port *entry;
        uint64_t total = 0;

        for (unsigned i = 0; (entry = hg_switch_port(sw, i)); i++) {
            struct hg_totals rx;
            struct hg_totals tx;

            hg_totals_of(&entry->port, &rx, &tx);
            total += rx.drops[reason] + tx.drops[reason];
            json_object_set_new(ports, entry->port.name,
                                number(rx.drops[reason] + tx.drops[reason]));
        }
        json_array_append_new(array, json_pack("{s:s, s:s, s:o, s:o}", "reason",
                                               hg_drop_texts[reason].name, "sentence",
                                               hg_drop_texts[reason].sentence, "frames",
                                               number(total), "ports", ports));
    }
    return array;
}
