/*
 * The command line: finds the command, reads its options, runs it.
 *
 * A command is a noun and a verb, as in iproute2. Errors are one sentence on standard error; the
 * exit status is 0, 1 (refused or failed) or 2 (the command line is wrong).
 */
#ifndef HG_CLI_CLI_H
#define HG_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/runtime.h"
#include "base/sock.h"

enum hg_cli_status { HG_CLI_OK = 0, HG_CLI_REFUSED = 1, HG_CLI_USAGE = 2 };

/* What the options said. */
struct hg_cli {
    char socket[HG_SOCKET_PATH_BYTES]; /* -s, or this user's default */
    bool socket_given;
    bool json;          /* -j */
    bool all;           /* -a */
    bool watch;         /* -w */
    const char *config; /* -c, or NULL */
};

struct hg_cli_command {
    const char *name;     /* one or two words */
    const char *operands; /* for people, as in "NAME [KEY=VALUE...]" */
    const char *options;  /* letters of those it takes, of "acjsw" */
    const char *help;     /* a sentence */
    /* Gets the operands; argv ends with NULL. Returns the exit status. */
    enum hg_cli_status (*run)(const struct hg_cli *cli, int argc, char **argv);
};

/* Runs the command that argv names: one of `own`, n commands that the program adds, or of the
 * client's. Returns the exit status. Call it once. */
int hg_cli_main(const struct hg_cli_command *own, size_t n, int argc, char **argv);

/* Writes "headgate: " and a sentence to standard error. Returns `status`. */
enum hg_cli_status hg_cli_fail(enum hg_cli_status status, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Refuses a number of operands outside min to max; `expected` says what they are, as in "a
 * NAME". */
enum hg_cli_status hg_cli_operands(int argc, int min, int max, const char *expected);

#endif
