/*
 * Prometheus metrics: one table of names, one walk per name, because the format wants all samples
 * of a metric together.
 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "ctl/report.h"
#include "ctl/totals.h"

static const struct {
    const char *name;
    const char *help;
    bool tx;
    size_t offset; /* in struct hg_totals */
} port_metrics[] = {
    {"rx_packets", "Frames received from the port.", false, offsetof(struct hg_totals, packets)},
    {"rx_bytes", "Bytes of these frames.", false, offsetof(struct hg_totals, bytes)},
    {"rx_bytes_copied", "Bytes copied into private memory.", false,
     offsetof(struct hg_totals, bytes_copied)},
    {"rx_bursts", "Bursts with at least one frame.", false, offsetof(struct hg_totals, bursts)},
    {"rx_notifications", "Signals sent to the peer on receiving.", false,
     offsetof(struct hg_totals, notifications)},
    {"rx_notifications_saved", "Bursts on receiving that a later signal served as well.", false,
     offsetof(struct hg_totals, notifications_saved)},
    {"rx_replicated", "Copies beyond the first that flooding made of them.", false,
     offsetof(struct hg_totals, made)},
    {"tx_packets", "Frames transmitted to the port.", true, offsetof(struct hg_totals, packets)},
    {"tx_bytes", "Bytes of these frames.", true, offsetof(struct hg_totals, bytes)},
    {"tx_bytes_copied", "Bytes copied into the peer's memory.", true,
     offsetof(struct hg_totals, bytes_copied)},
    {"tx_bursts", "Bursts with at least one frame.", true, offsetof(struct hg_totals, bursts)},
    {"tx_notifications", "Signals sent to the peer on transmitting.", true,
     offsetof(struct hg_totals, notifications)},
    {"tx_notifications_saved", "Bursts on transmitting that a later signal served as well.", true,
     offsetof(struct hg_totals, notifications_saved)},
    {"tx_segmented", "Frames that software segmentation made beyond those it took.", true,
     offsetof(struct hg_totals, made)},
};

static void head(struct hg_text *text, const char *object, const char *name, const char *type,
                 const char *help)
{
    const char *total = strcmp(type, "counter") == 0 ? "_total" : "";

    hg_text_add(text, "# HELP headgate_%s_%s%s %s\n", object, name, total, help);
    hg_text_add(text, "# TYPE headgate_%s_%s%s %s\n", object, name, total, type);
}

static void ports(const struct hg_switch *sw, struct hg_text *text)
{
    const struct hg_switch_port *entry;

    head(text, "port", "up", "gauge", "Whether the port is up.");
    for (unsigned i = 0; (entry = hg_switch_port(sw, i)); i++) {
        struct hg_port_status status = {.state = ""};

        entry->port.driver->status(&entry->port, &status);
        hg_text_add(text, "headgate_port_up{port=\"%s\"} %d\n", entry->port.name,
                    strcmp(status.state, "up") == 0);
    }
    for (size_t m = 0; m < HG_ARRAY_N(port_metrics); m++) {
        head(text, "port", port_metrics[m].name, "counter", port_metrics[m].help);
        for (unsigned i = 0; (entry = hg_switch_port(sw, i)); i++) {
            struct hg_totals totals[2];
            uint64_t value;

            hg_totals_of(&entry->port, &totals[0], &totals[1]);
            memcpy(&value, (const char *)&totals[port_metrics[m].tx] + port_metrics[m].offset,
                   sizeof(value));
            hg_text_add(text, "headgate_port_%s_total{port=\"%s\"} %" PRIu64 "\n",
                        port_metrics[m].name, entry->port.name, value);
        }
    }
}

static struct hg_port_iommu iommu_of(const struct hg_switch_port *entry)
{
    struct hg_port_iommu iommu = {.active = false};

    entry->port.driver->iommu(&entry->port, &iommu);
    return iommu;
}

/* The next port from index *i on whose driver knows of virtual IOMMUs; NULL behind the last. */
static const struct hg_switch_port *next_iommu(const struct hg_switch *sw, unsigned *i)
{
    const struct hg_switch_port *entry;

    while ((entry = hg_switch_port(sw, (*i)++)) && !entry->port.driver->iommu) {
    }
    return entry;
}

static void iommu_numbers(const struct hg_switch *sw, struct hg_text *text)
{
    static const struct {
        const char *name;
        const char *type;
        const char *help;
        size_t offset; /* in struct hg_port_iommu */
    } metrics[] = {
        {"iommu_entries", "gauge", "Translations held.", offsetof(struct hg_port_iommu, entries)},
        {"iommu_parked", "gauge", "Frames that wait for a translation.",
         offsetof(struct hg_port_iommu, parked_now)},
        {"iommu_hits", "counter", "Descriptors translated at the first look.",
         offsetof(struct hg_port_iommu, hits)},
        {"iommu_ahead_hits", "counter", "Of them, those asked for before a frame needed them.",
         offsetof(struct hg_port_iommu, ahead_hits)},
        {"iommu_stops", "counter", "Bursts that ended at a translation that was missing.",
         offsetof(struct hg_port_iommu, stops)},
        {"iommu_misses", "counter", "Translations asked of the front-end.",
         offsetof(struct hg_port_iommu, misses)},
        {"iommu_parkings", "counter", "Frames that had to wait for a translation.",
         offsetof(struct hg_port_iommu, parked)},
        {"iommu_invalidations", "counter", "Invalidations acknowledged.",
         offsetof(struct hg_port_iommu, invalidations)},
        {"iommu_evictions", "counter", "Translations given up for others.",
         offsetof(struct hg_port_iommu, evictions)},
    };
    const struct hg_switch_port *entry;

    for (size_t m = 0; m < HG_ARRAY_N(metrics); m++) {
        const char *total = strcmp(metrics[m].type, "counter") == 0 ? "_total" : "";

        head(text, "port", metrics[m].name, metrics[m].type, metrics[m].help);
        for (unsigned i = 0; (entry = next_iommu(sw, &i));) {
            const struct hg_port_iommu iommu = iommu_of(entry);
            uint64_t value;

            memcpy(&value, (const char *)&iommu + metrics[m].offset, sizeof(value));
            hg_text_add(text, "headgate_port_%s%s{port=\"%s\"} %" PRIu64 "\n", metrics[m].name,
                        total, entry->port.name, value);
        }
    }
}

static void iommus(const struct hg_switch *sw, struct hg_text *text)
{
    const struct hg_switch_port *entry;

    head(text, "port", "iommu_active", "gauge", "Whether the guest uses a virtual IOMMU.");
    for (unsigned i = 0; (entry = next_iommu(sw, &i));) {
        hg_text_add(text, "headgate_port_iommu_active{port=\"%s\"} %d\n", entry->port.name,
                    iommu_of(entry).active);
    }
    iommu_numbers(sw, text);
    head(text, "port", "iommu_faults", "counter", "Buffers that the guest may not touch, by kind.");
    for (unsigned i = 0; (entry = next_iommu(sw, &i));) {
        const struct hg_port_iommu iommu = iommu_of(entry);

        for (unsigned kind = 0; kind < HG_IOMMU_FAULT_N; kind++) {
            hg_text_add(text,
                        "headgate_port_iommu_faults_total{port=\"%s\",kind=\"%s\"} %" PRIu64 "\n",
                        entry->port.name, hg_iommu_fault_name((enum hg_iommu_fault)kind),
                        iommu.faults[kind]);
        }
    }
    head(text, "port", "iommu_invalidation_ack_seconds", "gauge",
         "From the arrival of an invalidation to its acknowledgement, since the port was opened.");
    for (unsigned i = 0; (entry = next_iommu(sw, &i));) {
        const struct hg_port_iommu iommu = iommu_of(entry);

        hg_text_add(text,
                    "headgate_port_iommu_invalidation_ack_seconds{port=\"%s\",quantile=\"0.5\"} "
                    "%.9f\n"
                    "headgate_port_iommu_invalidation_ack_seconds{port=\"%s\",quantile=\"0.99\"} "
                    "%.9f\n"
                    "headgate_port_iommu_invalidation_ack_seconds{port=\"%s\",quantile=\"1\"} "
                    "%.9f\n",
                    entry->port.name, (double)iommu.ack_median_ns / HG_NS_PER_S, entry->port.name,
                    (double)iommu.ack_p99_ns / HG_NS_PER_S, entry->port.name,
                    (double)iommu.ack_max_ns / HG_NS_PER_S);
    }
}

static void drops(const struct hg_switch *sw, struct hg_text *text)
{
    const struct hg_switch_port *entry;

    head(text, "port", "drops", "counter", "Frames that ended here, by reason.");
    for (unsigned i = 0; (entry = hg_switch_port(sw, i)); i++) {
        struct hg_totals rx;
        struct hg_totals tx;

        hg_totals_of(&entry->port, &rx, &tx);
        for (unsigned reason = 0; reason < HG_DROP_N; reason++) {
            hg_text_add(text, "headgate_port_drops_total{port=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
                        entry->port.name, hg_drop_texts[reason].name,
                        rx.drops[reason] + tx.drops[reason]);
        }
    }
}

static void workers(const struct hg_switch *sw, struct hg_text *text)
{
    static const struct {
        const char *name;
        const char *help;
        size_t offset; /* in struct hg_worker_stats */
    } metrics[] = {
        {"packets", "Packets handled.", offsetof(struct hg_worker_stats, packets)},
        {"busy_cycles", "Cycles of turns that found work.",
         offsetof(struct hg_worker_stats, busy_cycles)},
        {"idle_cycles", "Cycles of turns that found none, sleep not counted.",
         offsetof(struct hg_worker_stats, idle_cycles)},
        {"turns", "Turns of the loop.", offsetof(struct hg_worker_stats, turns)},
        {"sleeps", "Times it went to sleep.", offsetof(struct hg_worker_stats, sleeps)},
        {"wakeups_in_vain", "Signals without work behind them.",
         offsetof(struct hg_worker_stats, wakeups_in_vain)},
    };
    const struct hg_worker *worker;

    for (size_t m = 0; m < HG_ARRAY_N(metrics); m++) {
        head(text, "worker", metrics[m].name, "counter", metrics[m].help);
        for (unsigned i = 0; (worker = hg_switch_worker(sw, i)); i++) {
            const void *field = (const char *)hg_worker_stats(worker) + metrics[m].offset;

            hg_text_add(text, "headgate_worker_%s_total{cpu=\"%d\"} %" PRIu64 "\n", metrics[m].name,
                        hg_worker_cpu(worker), hg_count_get((const struct hg_count *)field));
        }
    }
}

static void bridges(const struct hg_switch *sw, struct hg_text *text)
{
    const struct hg_bridge *bridge;

    head(text, "bridge", "fdb_addresses", "gauge", "Addresses in the forwarding table.");
    for (unsigned i = 0; (bridge = hg_switch_bridge(sw, i)); i++) {
        hg_text_add(text, "headgate_bridge_fdb_addresses{bridge=\"%s\"} %" PRIu32 "\n",
                    hg_bridge_name(bridge), hg_fdb_n(hg_bridge_fdb(bridge)));
    }
    head(text, "bridge", "fdb_refused", "counter", "Times that an address found no room there.");
    for (unsigned i = 0; (bridge = hg_switch_bridge(sw, i)); i++) {
        hg_text_add(text, "headgate_bridge_fdb_refused_total{bridge=\"%s\"} %" PRIu32 "\n",
                    hg_bridge_name(bridge), hg_fdb_refused(hg_bridge_fdb(bridge)));
    }
}

void hg_report_metrics(const struct hg_switch *sw, struct hg_text *text)
{
    ports(sw, text);
    drops(sw, text);
    iommus(sw, text);
    bridges(sw, text);
    workers(sw, text);
}
