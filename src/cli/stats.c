/*
 * Counters, once or every second.
 *
 * The daemon only counts. A rate is the difference of two answers by the time between them, so that
 * any number of clients can watch without the daemon's knowing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/field.h"
#include "cli/http.h"
#include "cli/table.h"

/* What is printed: counters (before == NULL), or what happened per second between two answers. */
struct view {
    const json_t *now;
    const json_t *before;
    double seconds;
    bool queues;
};

/* A counter, or its rate. One that has become smaller is a new one of the same name. */
static uint64_t count_or_rate(const struct view *view, uint64_t after, uint64_t earlier)
{
    if (!view->before) {
        return after;
    }
    return (uint64_t)((double)(after >= earlier ? after - earlier : after) / view->seconds + 0.5);
}

static uint64_t value(const struct view *view, const json_t *now, const json_t *before,
                      const char *path)
{
    return count_or_rate(view, hg_field_number(now, path), hg_field_number(before, path));
}

static uint64_t drops(const struct view *view, const json_t *now, const json_t *before)
{
    return count_or_rate(view, hg_field_sum(json_object_get(now, "drops")),
                         hg_field_sum(json_object_get(before, "drops")));
}

/* A port as it was in the earlier answer, NULL without one. */
static const json_t *port_before(const struct view *view, const char *name)
{
    return json_object_get(json_object_get(view->before, "ports"), name);
}

static void add_direction(struct hg_table *table, const struct view *view, const json_t *now,
                          const json_t *before, const char *direction)
{
    const json_t *after = json_object_get(now, direction);
    const json_t *earlier = json_object_get(before, direction);

    hg_table_number(table, value(view, after, earlier, "packets"));
    hg_table_bytes(table, value(view, after, earlier, "bytes"));
}

static void print_ports(const struct view *view)
{
    struct hg_table table = {.row_n = 0};
    json_t *ports = json_object_get(view->now, "ports");
    const char *name;
    json_t *port;

    hg_table_head(&table, view->before ? "port|state|>rx/s|>rx bytes/s|>tx/s|>tx bytes/s|>drops/s"
                                       : "port|state|>rx|>rx bytes|>tx|>tx bytes|>drops");
    json_object_foreach(ports, name, port)
    {
        const json_t *before = port_before(view, name);

        hg_table_row(&table);
        hg_table_text(&table, name);
        hg_table_text(&table, hg_field_text(port, "state"));
        add_direction(&table, view, port, before, "rx");
        add_direction(&table, view, port, before, "tx");
        hg_table_number(&table, drops(view, port, before));
    }
    hg_table_print(&table, stdout);
}

static void print_queues(const struct view *view)
{
    struct hg_table table = {.row_n = 0};
    json_t *ports = json_object_get(view->now, "ports");
    const char *name;
    json_t *port;

    hg_table_head(&table, view->before ? "port|>queue|>worker|>rx/s|>rx bytes/s|>tx/s|>tx bytes/s"
                                       : "port|>queue|>worker|>rx|>rx bytes|>tx|>tx bytes");
    json_object_foreach(ports, name, port)
    {
        const json_t *before = port_before(view, name);
        size_t index;
        json_t *queue;

        json_array_foreach(json_object_get(port, "queues"), index, queue)
        {
            const json_t *earlier = json_array_get(json_object_get(before, "queues"), index);

            hg_table_row(&table);
            hg_table_text(&table, name);
            hg_table_number(&table, index);
            if (json_object_get(queue, "worker")) {
                hg_table_number(&table, hg_field_number(queue, "worker"));
            } else {
                hg_table_text(&table, "-");
            }
            add_direction(&table, view, queue, earlier, "rx");
            add_direction(&table, view, queue, earlier, "tx");
        }
    }
    printf("\n");
    hg_table_print(&table, stdout);
}

static void add_microseconds(struct hg_table *table, const json_t *iommu, const char *which)
{
    const json_t *us = json_object_get(json_object_get(iommu, "invalidation_ack_us"), which);
    char text[32];

    snprintf(text, sizeof(text), "%.1f", json_number_value(us));
    hg_table_text(table, text);
}

/* Begins the row of a port whose guest uses a virtual IOMMU, or did; false for others. */
static bool begin_iommu(struct hg_table *table, const char *name, const json_t *iommu)
{
    bool active = json_is_true(json_object_get(iommu, "active"));

    if (!active && hg_field_number(iommu, "misses") == 0) {
        return false;
    }
    hg_table_row(table);
    hg_table_text(table, name);
    hg_table_text(table, active ? "on" : "off");
    return true;
}

/* A table that has more than its head. */
static void print_if_any(struct hg_table *table)
{
    if (table->row_n > 1) {
        printf("\n");
        hg_table_print(table, stdout);
    }
    hg_table_free(table);
}

static void print_iommus(const struct view *view)
{
    static const char *const counters[] = {"hits", "ahead_hits", "misses", "parked", "faults"};
    struct hg_table table = {.row_n = 0};
    const char *name;
    json_t *port;

    hg_table_head(&table, view->before
                              ? "port|iommu|>entries|>hits/s|>ahead/s|>misses/s|>parked/s|>faults/s"
                              : "port|iommu|>entries|>hits|>ahead|>misses|>parked|>faults");
    json_object_foreach(json_object_get(view->now, "ports"), name, port)
    {
        const json_t *iommu = json_object_get(port, "iommu");
        const json_t *before = json_object_get(port_before(view, name), "iommu");

        if (!begin_iommu(&table, name, iommu)) {
            continue;
        }
        hg_table_number(&table, hg_field_number(iommu, "entries"));
        for (size_t i = 0; i < HG_ARRAY_N(counters); i++) {
            hg_table_number(&table, value(view, iommu, before, counters[i]));
        }
    }
    print_if_any(&table);
}

/* Of ports whose guests have taken mappings back. The times are since the port was opened. */
static void print_invalidations(const struct view *view)
{
    struct hg_table table = {.row_n = 0};
    const char *name;
    json_t *port;

    hg_table_head(&table, view->before
                              ? "port|iommu|>invalidations/s|>ack us: median|>99 %|>longest"
                              : "port|iommu|>invalidations|>ack us: median|>99 %|>longest");
    json_object_foreach(json_object_get(view->now, "ports"), name, port)
    {
        const json_t *iommu = json_object_get(port, "iommu");
        const json_t *before = json_object_get(port_before(view, name), "iommu");

        if (hg_field_number(iommu, "invalidations") == 0 || !begin_iommu(&table, name, iommu)) {
            continue;
        }
        hg_table_number(&table, value(view, iommu, before, "invalidations"));
        add_microseconds(&table, iommu, "median");
        add_microseconds(&table, iommu, "p99");
        add_microseconds(&table, iommu, "max");
    }
    print_if_any(&table);
}

/* The share of the time awake that found work, and what a packet cost in it. */
static void add_effort(struct hg_table *table, const struct view *view, const json_t *now,
                       const json_t *before)
{
    uint64_t busy = value(view, now, before, "busy_cycles");
    uint64_t idle = value(view, now, before, "idle_cycles");
    uint64_t packets = value(view, now, before, "packets");
    char share[32] = "-";

    if (busy + idle > 0) {
        snprintf(share, sizeof(share), "%.1f %%", 100.0 * (double)busy / (double)(busy + idle));
    }
    hg_table_text(table, share);
    if (packets > 0) {
        hg_table_number(table, busy / packets);
    } else {
        hg_table_text(table, "-");
    }
}

static void print_workers(const struct view *view)
{
    struct hg_table table = {.row_n = 0};
    size_t index;
    json_t *worker;

    hg_table_head(&table, view->before
                              ? ">worker|>cpu|>queues|>packets/s|>busy|>cycles/packet|>sleeps/s"
                              : ">worker|>cpu|>queues|>packets|>busy|>cycles/packet|>sleeps");
    json_array_foreach(json_object_get(view->now, "workers"), index, worker)
    {
        const json_t *before = json_array_get(json_object_get(view->before, "workers"), index);

        hg_table_row(&table);
        hg_table_number(&table, index);
        hg_table_number(&table, hg_field_number(worker, "cpu"));
        hg_table_number(&table, hg_field_number(worker, "queues"));
        hg_table_number(&table, value(view, worker, before, "packets"));
        add_effort(&table, view, worker, before);
        hg_table_number(&table, value(view, worker, before, "sleeps"));
    }
    printf("\n");
    hg_table_print(&table, stdout);
}

static void print_view(const struct view *view)
{
    print_ports(view);
    if (view->queues) {
        print_queues(view);
    }
    print_iommus(view);
    print_invalidations(view);
    print_workers(view);
}

/* Every second the counters of that second, until the daemon or the reader is gone. */
static enum hg_cli_status watch(const struct hg_cli *cli, json_t *before)
{
    static const struct timespec second = {.tv_sec = 1};
    uint64_t before_ns = hg_now_ns();
    enum hg_cli_status status;
    json_t *now;

    for (;;) {
        nanosleep(&second, NULL);
        if ((status = hg_cli_get(cli, "/v1/stats", &now))) {
            break;
        }

        uint64_t now_ns = hg_now_ns();
        const struct view view = {
            .now = now,
            .before = before,
            .seconds = (double)(now_ns - before_ns) / (double)HG_NS_PER_S,
            .queues = cli->all,
        };

        if (cli->json) {
            hg_cli_print_json(now);
        } else {
            fputs(isatty(STDOUT_FILENO) ? "\033[H\033[J" : "\n", stdout);
            print_view(&view);
        }
        json_decref(before);
        before = now;
        before_ns = now_ns;
        if (fflush(stdout) != 0) {
            break;
        }
    }
    json_decref(before);
    return status;
}

static void print_stats(const struct hg_cli *cli, const json_t *stats)
{
    print_view(&(struct view){.now = stats, .queues = cli->all});
}

enum hg_cli_status hg_cli_stats(const struct hg_cli *cli, int argc, char **argv)
{
    enum hg_cli_status status;
    json_t *stats;

    (void)argv;
    if ((status = hg_cli_operands(argc, 0, 0, "no operands")) ||
        (status = hg_cli_get(cli, "/v1/stats", &stats))) {
        return status;
    }
    if (cli->watch) {
        return watch(cli, stats);
    }
    return hg_cli_show(cli, stats, print_stats);
}

static void add_drop(struct hg_table *table, const json_t *reason, bool all)
{
    const char *port;
    json_t *frames;

    if (all && hg_field_number(reason, "frames") == 0) {
        hg_table_row(table);
        hg_table_text(table, hg_field_text(reason, "reason"));
        hg_table_text(table, "-");
        hg_table_number(table, 0);
        hg_table_text(table, hg_field_text(reason, "sentence"));
    }
    json_object_foreach(json_object_get(reason, "ports"), port, frames)
    {
        if (json_integer_value(frames) == 0) {
            continue;
        }
        hg_table_row(table);
        hg_table_text(table, hg_field_text(reason, "reason"));
        hg_table_text(table, port);
        hg_table_number(table, (uint64_t)json_integer_value(frames));
        hg_table_text(table, hg_field_text(reason, "sentence"));
    }
}

static void print_drops(const struct hg_cli *cli, const json_t *reasons)
{
    struct hg_table table = {.row_n = 0};
    size_t index;
    json_t *reason;

    hg_table_head(&table, "reason|port|>frames|what happened");
    json_array_foreach(reasons, index, reason)
    {
        add_drop(&table, reason, cli->all);
    }
    if (table.row_n > 1) {
        hg_table_print(&table, stdout);
    } else {
        printf("nothing was dropped\n");
    }
    hg_table_free(&table);
}

enum hg_cli_status hg_cli_drops(const struct hg_cli *cli, int argc, char **argv)
{
    enum hg_cli_status status;
    json_t *reasons;

    (void)argv;
    if ((status = hg_cli_operands(argc, 0, 0, "no operands")) ||
        (status = hg_cli_get(cli, "/v1/drops", &reasons))) {
        return status;
    }
    return hg_cli_show(cli, reasons, print_drops);
}
