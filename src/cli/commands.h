/*
 * The client's commands; each file of the folder has those of one noun.
 */
#ifndef HG_CLI_COMMANDS_H
#define HG_CLI_COMMANDS_H

#include "cli/cli.h"

enum hg_cli_status hg_cli_port_list(const struct hg_cli *cli, int argc, char **argv);
enum hg_cli_status hg_cli_port_show(const struct hg_cli *cli, int argc, char **argv);
enum hg_cli_status hg_cli_port_add(const struct hg_cli *cli, int argc, char **argv);
enum hg_cli_status hg_cli_port_set(const struct hg_cli *cli, int argc, char **argv);
enum hg_cli_status hg_cli_port_del(const struct hg_cli *cli, int argc, char **argv);
enum hg_cli_status hg_cli_bridge_list(const struct hg_cli *cli, int argc, char **argv);
enum hg_cli_status hg_cli_bridge_show(const struct hg_cli *cli, int argc, char **argv);
enum hg_cli_status hg_cli_fdb_show(const struct hg_cli *cli, int argc, char **argv);
enum hg_cli_status hg_cli_stats(const struct hg_cli *cli, int argc, char **argv);
enum hg_cli_status hg_cli_drops(const struct hg_cli *cli, int argc, char **argv);

#endif
