/*
 * The state of the switch as JSON: what the API answers and the client prints. The shapes are in
 * headgate-api(7).
 *
 * Every function returns a new value that the caller owns, NULL when memory ran out.
 */
#ifndef HG_CTL_REPORT_H
#define HG_CTL_REPORT_H

#include <jansson.h>

#include "ctl/config.h"
#include "ctl/switch.h"
#include "ctl/text.h"

json_t *hg_report_port(const struct hg_switch_port *entry);
json_t *hg_report_ports(const struct hg_switch *sw);
json_t *hg_report_bridges(const struct hg_switch *sw);
json_t *hg_report_stats(const struct hg_switch *sw, const struct hg_config *config);
json_t *hg_report_drops(const struct hg_switch *sw);

/* The addresses of all bridges, as a text: there may be a million. */
void hg_report_fdb(const struct hg_switch *sw, struct hg_text *text);

/* The same counters for Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/,
 * "Text-based format". */
void hg_report_metrics(const struct hg_switch *sw, struct hg_text *text);

#endif
