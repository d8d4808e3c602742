/*
 * Prometheus metrics: one table of names, one walk per name, because the format wants all samples of a
 * metric together.
 */
#include <inttypes.h>
#include <string.h>

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
    bridges(sw, text);
    workers(sw, text);
}
