#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/field.h"
#include "cli/http.h"
#include "cli/table.h"

static void print_ports(const struct hg_cli *cli, const json_t *ports)
{
    struct hg_table table = {.row_n = 0};
    size_t index;
    json_t *port;

    (void)cli;
    hg_table_head(&table, "port|type|bridge|state|>queues");
    json_array_foreach(ports, index, port)
    {
        hg_table_row(&table);
        hg_table_text(&table, hg_field_text(port, "name"));
        hg_table_text(&table, hg_field_text(port, "type"));
        hg_table_text(&table, hg_field_text(port, "bridge"));
        hg_table_text(&table, hg_field_text(port, "state"));
        hg_table_number(&table, hg_field_number(port, "queue_pairs"));
    }
    hg_table_print(&table, stdout);
}

enum hg_cli_status hg_cli_port_list(const struct hg_cli *cli, int argc, char **argv)
{
    enum hg_cli_status status;
    json_t *ports;

    (void)argv;
    if ((status = hg_cli_operands(argc, 0, 0, "no operands")) ||
        (status = hg_cli_get(cli, "/v1/ports", &ports))) {
        return status;
    }
    return hg_cli_show(cli, ports, print_ports);
}

static void print_options(const json_t *options)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)options, key, value)
    {
        if (json_is_integer(value)) {
            printf("  %-16s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(value));
        } else {
            printf("  %-16s %s\n", key, json_string_value(value));
        }
    }
}

/* The state in words; the sentence may begin with the state itself. */
static void print_state(const char *state, const char *sentence)
{
    bool begins = strncmp(sentence, state, strlen(state)) == 0;

    printf("  %-16s %s%s%s\n", "state", begins ? "" : state, begins ? "" : ": ", sentence);
}

/* The virtual IOMMU in words; `option` is what the port says about it. */
static void print_iommu(const json_t *iommu, const char *option)
{
    const char *kind;
    json_t *count;
    bool any = false;

    if (!json_is_true(json_object_get(iommu, "active"))) {
        printf("  %-16s %s\n", "virtual iommu",
               strcmp(option, "off") == 0 ? "not offered" : "not used by the guest");
        return;
    }
    printf("  %-16s in use: %" PRIu64 " translations of %" PRIu64 " at most; %" PRIu64
           " frame%s wait%s for one\n",
           "virtual iommu", hg_field_number(iommu, "entries"),
           hg_field_number(iommu, "entries_max"), hg_field_number(iommu, "parked_now"),
           hg_field_number(iommu, "parked_now") == 1 ? "" : "s",
           hg_field_number(iommu, "parked_now") == 1 ? "s" : "");
    json_object_foreach(json_object_get(iommu, "faults_by_kind"), kind, count)
    {
        if (json_integer_value(count) > 0) {
            printf("%s%" JSON_INTEGER_FORMAT " %s", any ? ", " : "  faults           ",
                   json_integer_value(count), kind);
            any = true;
        }
    }
    printf("%s", any ? "\n" : "");
}

static void print_port(const struct hg_cli *cli, const json_t *port)
{
    char joined[2048];
    const json_t *qemu = json_object_get(port, "qemu");
    const char *iommu = hg_field_text(json_object_get(port, "options"), "iommu");

    (void)cli;
    printf("%s: %s on bridge %s\n", hg_field_text(port, "name"), hg_field_text(port, "type"),
           hg_field_text(port, "bridge"));
    print_state(hg_field_text(port, "state"), hg_field_text(port, "text"));
    printf("  %-16s %" JSON_INTEGER_FORMAT "\n", "queue pairs",
           json_integer_value(json_object_get(port, "queue_pairs")));
    printf("  %-16s %" JSON_INTEGER_FORMAT "\n", "reconnects",
           json_integer_value(json_object_get(port, "reconnects")));
    hg_field_join(json_object_get(port, "peer_features"), " ", joined, sizeof(joined));
    printf("  %-16s %s\n", "negotiated", joined[0] ? joined : "nothing yet");
    if (json_object_get(port, "iommu")) {
        print_iommu(json_object_get(port, "iommu"), iommu);
    }
    print_options(json_object_get(port, "options"));
    if (qemu) {
        hg_field_join(qemu, " \\\n    ", joined, sizeof(joined));
        printf("\nfor a guest, add to QEMU's command line:\n    %s\n", joined);
        if (strcmp(iommu, "require") == 0) {
            printf("and to its Linux kernel's: intel_iommu=on\n");
        } else if (strcmp(iommu, "allow") == 0) {
            printf("for one behind a virtual IOMMU: headgate port set %s iommu=require\n",
                   hg_field_text(port, "name"));
        }
    }
}

/* A request about the one port that the operands name. */
static enum hg_cli_status request_port(const struct hg_cli *cli, const char *method, int argc,
                                       char **argv, json_t **value)
{
    enum hg_cli_status status;
    char *path;

    if ((status = hg_cli_operands(argc, 1, 1, "the NAME of a port"))) {
        return status;
    }
    if (!(path = hg_cli_port_path(argv[0]))) {
        return HG_CLI_REFUSED;
    }
    status = hg_cli_request(cli, method, path, NULL, value);
    free(path);
    return status;
}

enum hg_cli_status hg_cli_port_show(const struct hg_cli *cli, int argc, char **argv)
{
    json_t *port;
    enum hg_cli_status status = request_port(cli, "GET", argc, argv, &port);

    return status ? status : hg_cli_show(cli, port, print_port);
}

/* KEY=VALUE... into the object, as the API wants them. Every value is a string: the daemon knows
 * what its keys mean. False with the sentence said. */
static bool add_settings(json_t *object, const char *command, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        char *value = strchr(argv[i], '=');

        if (!value || value == argv[i]) {
            hg_cli_fail(HG_CLI_USAGE, "%s: '%s': expected KEY=VALUE", command, argv[i]);
            return false;
        }
        *value++ = '\0';
        if (json_object_get(object, argv[i])) {
            hg_cli_fail(HG_CLI_USAGE, "%s: '%s' is given twice", command, argv[i]);
            return false;
        }
        if (json_object_set_new(object, argv[i], json_string(value)) < 0) {
            hg_cli_fail(HG_CLI_USAGE, "%s: '%s' is no UTF-8 text", command, argv[i]);
            return false;
        }
    }
    return true;
}

/* Sends the object, which it takes, and shows the port that is the answer. */
static enum hg_cli_status send_port(const struct hg_cli *cli, const char *method, const char *path,
                                    json_t *body)
{
    json_t *port;
    enum hg_cli_status status = hg_cli_request(cli, method, path, body, &port);

    json_decref(body);
    return status ? status : hg_cli_show(cli, port, print_port);
}

enum hg_cli_status hg_cli_port_add(const struct hg_cli *cli, int argc, char **argv)
{
    enum hg_cli_status status;
    json_t *body;

    if ((status = hg_cli_operands(argc, 1, 64,
                                  "a NAME, type=TYPE, bridge=BRIDGE and what the type needs"))) {
        return status;
    }
    if (!(body = json_pack("{s:s}", "name", argv[0]))) {
        return hg_cli_fail(HG_CLI_USAGE, "port add: the name is no UTF-8 text");
    }
    if (!add_settings(body, "port add", argc - 1, argv + 1)) {
        json_decref(body);
        return HG_CLI_USAGE;
    }
    return send_port(cli, "POST", "/v1/ports", body);
}

enum hg_cli_status hg_cli_port_set(const struct hg_cli *cli, int argc, char **argv)
{
    enum hg_cli_status status;
    json_t *body;
    char *path;

    if ((status = hg_cli_operands(argc, 2, 64, "the NAME of a port and KEY=VALUE..."))) {
        return status;
    }
    body = json_object();
    if (!add_settings(body, "port set", argc - 1, argv + 1)) {
        json_decref(body);
        return HG_CLI_USAGE;
    }
    if (!(path = hg_cli_port_path(argv[0]))) {
        json_decref(body);
        return HG_CLI_REFUSED;
    }
    status = send_port(cli, "PATCH", path, body);
    free(path);
    return status;
}

enum hg_cli_status hg_cli_port_del(const struct hg_cli *cli, int argc, char **argv)
{
    json_t *nothing;
    enum hg_cli_status status = request_port(cli, "DELETE", argc, argv, &nothing);

    if (!status) {
        json_decref(nothing);
    }
    return status;
}
