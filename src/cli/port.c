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
            printf("  %-14s %" JSON_INTEGER_FORMAT "\n", key, json_integer_value(value));
        } else {
            printf("  %-14s %s\n", key, json_string_value(value));
        }
    }
}

/* The state in words; the sentence may begin with the state itself. */
static void print_state(const char *state, const char *sentence)
{
    bool begins = strncmp(sentence, state, strlen(state)) == 0;

    printf("  %-14s %s%s%s\n", "state", begins ? "" : state, begins ? "" : ": ", sentence);
}

static void print_port(const struct hg_cli *cli, const json_t *port)
{
    char joined[2048];
    const json_t *qemu = json_object_get(port, "qemu");

    (void)cli;
    printf("%s: %s on bridge %s\n", hg_field_text(port, "name"), hg_field_text(port, "type"),
           hg_field_text(port, "bridge"));
    print_state(hg_field_text(port, "state"), hg_field_text(port, "text"));
    printf("  %-14s %" JSON_INTEGER_FORMAT "\n", "queue pairs",
           json_integer_value(json_object_get(port, "queue_pairs")));
    printf("  %-14s %" JSON_INTEGER_FORMAT "\n", "reconnects",
           json_integer_value(json_object_get(port, "reconnects")));
    hg_field_join(json_object_get(port, "peer_features"), " ", joined, sizeof(joined));
    printf("  %-14s %s\n", "negotiated", joined[0] ? joined : "nothing yet");
    print_options(json_object_get(port, "options"));
    if (qemu) {
        hg_field_join(qemu, " \\\n    ", joined, sizeof(joined));
        printf("\nfor a guest, add to QEMU's command line:\n    %s\n", joined);
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

/* NAME and KEY=VALUE... as the API wants them; NULL with the sentence said. Every value is a string:
 * the daemon knows what its keys mean. */
static json_t *describe(int argc, char **argv)
{
    json_t *object = json_pack("{s:s}", "name", argv[0]);

    if (!object) {
        hg_cli_fail(HG_CLI_USAGE, "port add: the name is no UTF-8 text");
        return NULL;
    }
    for (int i = 1; i < argc; i++) {
        char *value = strchr(argv[i], '=');

        if (!value || value == argv[i]) {
            hg_cli_fail(HG_CLI_USAGE, "port add: '%s': expected KEY=VALUE", argv[i]);
            json_decref(object);
            return NULL;
        }
        *value++ = '\0';
        if (json_object_get(object, argv[i])) {
            hg_cli_fail(HG_CLI_USAGE, "port add: '%s' is given twice", argv[i]);
            json_decref(object);
            return NULL;
        }
        if (json_object_set_new(object, argv[i], json_string(value)) < 0) {
            hg_cli_fail(HG_CLI_USAGE, "port add: '%s' is no UTF-8 text", argv[i]);
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

enum hg_cli_status hg_cli_port_add(const struct hg_cli *cli, int argc, char **argv)
{
    enum hg_cli_status status;
    json_t *body;
    json_t *port;

    if ((status = hg_cli_operands(argc, 1, 64,
                                  "a NAME, type=TYPE, bridge=BRIDGE and what the type needs"))) {
        return status;
    }
    if (!(body = describe(argc, argv))) {
        return HG_CLI_USAGE;
    }
    status = hg_cli_request(cli, "POST", "/v1/ports", body, &port);
    json_decref(body);
    return status ? status : hg_cli_show(cli, port, print_port);
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
