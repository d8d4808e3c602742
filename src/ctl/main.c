/*
 * The program: the daemon's two commands, and the client's.
 */
#include <stdio.h>

#include "cli/cli.h"
#include "ctl/config.h"
#include "ctl/run.h"

static int load(const struct hg_cli *cli, struct hg_config **config, struct hg_err *err)
{
    char dir[HG_SOCKET_PATH_BYTES];

    if (cli->config) {
        return hg_config_read(config, cli->config, err);
    }
    hg_runtime_dir(dir, sizeof(dir));
    return hg_config_first_steps(config, dir, err);
}

static enum hg_cli_status run(const struct hg_cli *cli, int argc, char **argv)
{
    struct hg_config *config;
    struct hg_err err;
    int rc;

    (void)argv;
    if (hg_cli_operands(argc, 0, 0, "no operands")) {
        return HG_CLI_USAGE;
    }
    if (load(cli, &config, &err) < 0) {
        return hg_cli_fail(HG_CLI_REFUSED, "%s", err.text);
    }
    /* The option wins over the file. */
    if (cli->socket_given && hg_config_set_api(config, cli->socket, &err) < 0) {
        hg_config_free(config);
        return hg_cli_fail(HG_CLI_USAGE, "-s: %s", err.text);
    }
    rc = hg_run(config, &err);
    hg_config_free(config);
    return rc < 0 ? hg_cli_fail(HG_CLI_REFUSED, "%s", err.text) : HG_CLI_OK;
}

static enum hg_cli_status check(const struct hg_cli *cli, int argc, char **argv)
{
    struct hg_config *config;
    struct hg_err err;

    if (hg_cli_operands(argc, 1, 1, "a FILE")) {
        return HG_CLI_USAGE;
    }
    if (hg_config_read(&config, argv[0], &err) < 0) {
        return hg_cli_fail(HG_CLI_REFUSED, "%s", err.text);
    }
    printf(cli->json ? "{\"bridges\": %u, \"ports\": %u, \"workers\": %u}\n"
                     : "good: bridges %u, ports %u, workers %u\n",
           config->bridge_n, config->port_n, config->cpu_n);
    hg_config_free(config);
    return HG_CLI_OK;
}

int main(int argc, char **argv)
{
    static const struct hg_cli_command own[] = {
        {"run", "", "cs", "The daemon, in the foreground; without -c: two ports to try it with.",
         run},
        {"config check", "FILE", "j", "Whether a configuration is good, and if not, where.", check},
    };

    return hg_cli_main(own, sizeof(own) / sizeof(own[0]), argc, argv);
}
