/*
 * One request to the daemon.
 */
#ifndef HG_CLI_HTTP_H
#define HG_CLI_HTTP_H

#include <jansson.h>

#include "cli/cli.h"

/*
 * Sends a request and reads the answer, *value, which the caller releases; NULL for an answer
 * without a body. `body` may be NULL. Whatever fails, the daemon's refusal too, has been said on
 * standard error when it returns something else than HG_CLI_OK.
 */
enum hg_cli_status hg_cli_request(const struct hg_cli *cli, const char *method, const char *path,
                                  const json_t *body, json_t **value);

enum hg_cli_status hg_cli_get(const struct hg_cli *cli, const char *path, json_t **value);

/* The path of a port, "/v1/ports/NAME", its name escaped; from malloc(). NULL with a sentence
 * said. */
char *hg_cli_port_path(const char *name);

/* Prints a value as -j does. */
void hg_cli_print_json(const json_t *value);

/* The last step of most commands: prints the answer as JSON if the user wants that, else by
 * `print`, and releases it. Returns HG_CLI_OK. */
enum hg_cli_status hg_cli_show(const struct hg_cli *cli, json_t *value,
                               void (*print)(const struct hg_cli *cli, const json_t *value));

#endif
