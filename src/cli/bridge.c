#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/field.h"
#include "cli/http.h"
#include "cli/table.h"

static void print_bridges(const struct hg_cli *cli, const json_t *bridges)
{
    struct hg_table table = {.row_n = 0};
    size_t index;
    json_t *bridge;

    (void)cli;
    hg_table_head(&table, "bridge|>ports|>addresses");
    json_array_foreach(bridges, index, bridge)
    {
        hg_table_row(&table);
        hg_table_text(&table, hg_field_text(bridge, "name"));
        hg_table_number(&table, json_array_size(json_object_get(bridge, "ports")));
        hg_table_number(&table, hg_field_number(bridge, "fdb.addresses"));
    }
    hg_table_print(&table, stdout);
}

enum hg_cli_status hg_cli_bridge_list(const struct hg_cli *cli, int argc, char **argv)
{
    enum hg_cli_status status;
    json_t *bridges;

    (void)argv;
    if ((status = hg_cli_operands(argc, 0, 0, "no operands")) ||
        (status = hg_cli_get(cli, "/v1/bridges", &bridges))) {
        return status;
    }
    return hg_cli_show(cli, bridges, print_bridges);
}

/* The bridge of that name in the list; NULL with the sentence said. Valid as long as the list. */
static json_t *find(const json_t *bridges, const char *name)
{
    size_t index;
    json_t *bridge;

    json_array_foreach(bridges, index, bridge)
    {
        if (strcmp(hg_field_text(bridge, "name"), name) == 0) {
            return bridge;
        }
    }
    hg_cli_fail(HG_CLI_REFUSED, "there is no bridge '%s'", name);
    return NULL;
}

static void print_bridge(const struct hg_cli *cli, const json_t *bridge)
{
    char ports[2048];

    (void)cli;
    hg_field_join(json_object_get(bridge, "ports"), " ", ports, sizeof(ports));
    printf("%s\n", hg_field_text(bridge, "name"));
    printf("  %-14s %s\n", "ports", ports[0] ? ports : "none");
    printf("  %-14s %" PRIu64 " of %" PRIu64 ", %" PRIu64 " of one port\n", "addresses",
           hg_field_number(bridge, "fdb.addresses"), hg_field_number(bridge, "fdb.max"),
           hg_field_number(bridge, "fdb.port_max"));
    printf("  %-14s %" PRIu64 " s after the last frame\n", "forgotten",
           hg_field_number(bridge, "fdb.age_s"));
    printf("  %-14s %" PRIu64 " times for want of room\n", "not learned",
           hg_field_number(bridge, "fdb.refused"));
}

enum hg_cli_status hg_cli_bridge_show(const struct hg_cli *cli, int argc, char **argv)
{
    enum hg_cli_status status;
    json_t *bridges;
    json_t *bridge;

    if ((status = hg_cli_operands(argc, 1, 1, "the NAME of a bridge")) ||
        (status = hg_cli_get(cli, "/v1/bridges", &bridges))) {
        return status;
    }
    bridge = find(bridges, argv[0]);
    status = bridge ? hg_cli_show(cli, json_incref(bridge), print_bridge) : HG_CLI_REFUSED;
    json_decref(bridges);
    return status;
}

/* Takes the addresses of other bridges out. */
static void keep_bridge(json_t *addresses, const char *name)
{
    for (size_t i = json_array_size(addresses); i-- > 0;) {
        if (strcmp(hg_field_text(json_array_get(addresses, i), "bridge"), name) != 0) {
            json_array_remove(addresses, i);
        }
    }
}

static void print_addresses(const struct hg_cli *cli, const json_t *addresses)
{
    struct hg_table table = {.row_n = 0};
    size_t index;
    json_t *address;

    (void)cli;
    hg_table_head(&table, "address|>vlan|bridge|port|>seen");
    json_array_foreach(addresses, index, address)
    {
        char seen[32];

        snprintf(seen, sizeof(seen), "%" PRIu64 " s ago", hg_field_number(address, "age_s"));
        hg_table_row(&table);
        hg_table_text(&table, hg_field_text(address, "mac"));
        hg_table_number(&table, hg_field_number(address, "vlan"));
        hg_table_text(&table, hg_field_text(address, "bridge"));
        hg_table_text(&table, hg_field_text(address, "port"));
        hg_table_text(&table, seen);
    }
    hg_table_print(&table, stdout);
}

enum hg_cli_status hg_cli_fdb_show(const struct hg_cli *cli, int argc, char **argv)
{
    enum hg_cli_status status;
    json_t *bridges = NULL;
    json_t *addresses;

    if ((status = hg_cli_operands(argc, 0, 1, "at most the NAME of a bridge"))) {
        return status;
    }
    if (argc > 0) {
        if ((status = hg_cli_get(cli, "/v1/bridges", &bridges))) {
            return status;
        }
        status = find(bridges, argv[0]) ? HG_CLI_OK : HG_CLI_REFUSED;
        json_decref(bridges);
    }
    if (status || (status = hg_cli_get(cli, "/v1/fdb", &addresses))) {
        return status;
    }
    if (argc > 0) {
        keep_bridge(addresses, argv[0]);
    }
    return hg_cli_show(cli, addresses, print_addresses);
}
