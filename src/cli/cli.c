#include "cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bits.h"
#include "cli/commands.h"

static enum hg_cli_status version(const struct hg_cli *cli, int argc, char **argv)
{
    (void)argv;
    if (hg_cli_operands(argc, 0, 0, "no operands")) {
        return HG_CLI_USAGE;
    }
    printf(cli->json ? "{\"version\": \"%s\"}\n" : "headgate %s\n", HG_VERSION);
    return HG_CLI_OK;
}

static enum hg_cli_status help(const struct hg_cli *cli, int argc, char **argv);

static const struct hg_cli_command commands[] = {
    {"port list", "", "js", "The ports, one per line.", hg_cli_port_list},
    {"port show", "NAME", "js", "Everything about a port, and how a guest reaches it.",
     hg_cli_port_show},
    {"port add", "NAME type=TYPE bridge=BRIDGE [KEY=VALUE...]", "js",
     "Adds a port; the keys are those of the configuration.", hg_cli_port_add},
    {"port set", "NAME KEY=VALUE...", "js",
     "Changes options of a port, which is closed and opened for it.", hg_cli_port_set},
    {"port del", "NAME", "js", "Removes a port.", hg_cli_port_del},
    {"bridge list", "", "js", "The bridges, one per line.", hg_cli_bridge_list},
    {"bridge show", "NAME", "js", "A bridge, its ports and its forwarding table's limits.",
     hg_cli_bridge_show},
    {"fdb show", "[BRIDGE]", "js", "The addresses that the bridges have learned.", hg_cli_fdb_show},
    {"stats", "", "ajsw", "Counters of ports and workers; -a: of each queue, too.", hg_cli_stats},
    {"drops", "", "ajs", "Frames that ended here, by reason; -a: reasons that never happened, too.",
     hg_cli_drops},
    {"version", "", "j", "The version of this program.", version},
    {"help", "[COMMAND]", "", "This text, or the options of a command.", help},
};

static const struct {
    char letter;
    const char *text;
} option_texts[] = {
    {'a', "  -a, --all            also what is left out as unimportant"},
    {'c', "  -c, --config FILE    the configuration"},
    {'h', "  -h, --help           the same as the command help"},
    {'j', "  -j, --json           JSON instead of text for people"},
    {'s', "  -s, --socket PATH    the daemon's API socket"},
    {'V', "  -V, --version        the same as the command version"},
    {'w', "  -w, --watch          again every second, until interrupted"},
};

/* The program's own commands; the table that help prints is both. */
static const struct hg_cli_command *own_commands;
static size_t own_n;

/* The command that runs, for messages. */
static const char *running = "help";

/* The command of that index in both tables, NULL behind the last. */
static const struct hg_cli_command *command_at(size_t index)
{
    if (index < own_n) {
        return &own_commands[index];
    }
    return index - own_n < HG_ARRAY_N(commands) ? &commands[index - own_n] : NULL;
}

enum hg_cli_status hg_cli_fail(enum hg_cli_status status, const char *fmt, ...)
{
    va_list args;

    fputs("headgate: ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    return status;
}

enum hg_cli_status hg_cli_operands(int argc, int min, int max, const char *expected)
{
    if (argc >= min && argc <= max) {
        return HG_CLI_OK;
    }
    return hg_cli_fail(HG_CLI_USAGE, "%s: found %d operand%s, expected %s; see `headgate help %s`",
                       running, argc, argc == 1 ? "" : "s", expected, running);
}

/* --- finding --------------------------------------------------------------------------------- */

/* How many of the words are the command's name: 0 if they are not. */
static int words_of(const struct hg_cli_command *command, int argc, char **argv)
{
    const char *verb = strchr(command->name, ' ');
    size_t noun_n = verb ? (size_t)(verb - command->name) : strlen(command->name);

    if (argc < 1 || strlen(argv[0]) != noun_n || strncmp(argv[0], command->name, noun_n) != 0) {
        return 0;
    }
    if (!verb) {
        return 1;
    }
    return argc >= 2 && strcmp(argv[1], verb + 1) == 0 ? 2 : 0;
}

static const struct hg_cli_command *find(int argc, char **argv, int *words)
{
    const struct hg_cli_command *command;

    for (size_t i = 0; (command = command_at(i)); i++) {
        *words = words_of(command, argc, argv);
        if (*words > 0) {
            return command;
        }
    }
    return NULL;
}

/* The verbs of a noun for a message, as in "list, show"; empty when there is no such noun. */
static void verbs_of(const char *noun, char *text, size_t n)
{
    const struct hg_cli_command *command;
    size_t noun_n = strlen(noun);
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; (command = command_at(i)) && used < n; i++) {
        if (strncmp(command->name, noun, noun_n) == 0 && command->name[noun_n] == ' ') {
            used += (size_t)snprintf(text + used, n - used, "%s%s", used ? ", " : "",
                                     command->name + noun_n + 1);
        }
    }
}

static enum hg_cli_status not_found(int argc, char **argv)
{
    char verbs[64];

    if (argc == 0) {
        return hg_cli_fail(HG_CLI_USAGE, "no command; `headgate help` lists them");
    }
    verbs_of(argv[0], verbs, sizeof(verbs));
    if (!verbs[0]) {
        return hg_cli_fail(HG_CLI_USAGE, "there is no command '%s'; `headgate help` lists them",
                           argv[0]);
    }
    if (argc == 1) {
        return hg_cli_fail(HG_CLI_USAGE, "%s what? Expected %s%s", argv[0],
                           strchr(verbs, ',') ? "one of " : "", verbs);
    }
    return hg_cli_fail(HG_CLI_USAGE, "there is no command '%s %s'; expected %s%s", argv[0], argv[1],
                       strchr(verbs, ',') ? "one of " : "", verbs);
}

/* --- help ------------------------------------------------------------------------------------ */

/* Where the API's socket is when nobody says. */
static void print_socket(void)
{
    char path[HG_SOCKET_PATH_BYTES];

    hg_runtime_api(path, sizeof(path));
    printf("\nWithout -s the socket is %s.\n", path);
}

static void help_command(const struct hg_cli_command *command)
{
    printf("headgate %s%s%s\n\n%s\n", command->name, command->operands[0] ? " " : "",
           command->operands, command->help);
    if (command->options[0]) {
        printf("\n");
    }
    for (size_t i = 0; i < HG_ARRAY_N(option_texts); i++) {
        if (strchr(command->options, option_texts[i].letter)) {
            printf("%s\n", option_texts[i].text);
        }
    }
    if (strchr(command->options, 's') && !strchr(command->options, 'c')) {
        print_socket(); /* a configuration may name another */
    }
}

static enum hg_cli_status help(const struct hg_cli *cli, int argc, char **argv)
{
    const struct hg_cli_command *command;
    int words;

    (void)cli;
    if (argc > 0) {
        command = find(argc, argv, &words);
        if (!command || words != argc) {
            return not_found(argc, argv);
        }
        help_command(command);
        return HG_CLI_OK;
    }
    printf("headgate: a virtual switch for virtual machines\n\n");
    for (size_t i = 0; (command = command_at(i)); i++) {
        printf("  headgate %-14s %s\n", command->name, command->help);
    }
    printf("\n");
    for (size_t i = 0; i < HG_ARRAY_N(option_texts); i++) {
        printf("%s\n", option_texts[i].text);
    }
    print_socket();
    printf("`headgate help COMMAND` shows a command's operands and the options that it takes;\n"
           "headgate(1) and headgate.yaml(5) tell the rest.\n");
    return HG_CLI_OK;
}

/* --- options --------------------------------------------------------------------------------- */

static enum hg_cli_status set_socket(struct hg_cli *cli, const char *path)
{
    if (path[0] == '\0' || strlen(path) >= sizeof(cli->socket)) {
        return hg_cli_fail(HG_CLI_USAGE, "-s: expected the path of a socket, at most %zu bytes",
                           sizeof(cli->socket) - 1);
    }
    memcpy(cli->socket, path, strlen(path) + 1);
    cli->socket_given = true;
    return HG_CLI_OK;
}

/* Reads options wherever they stand and moves the other words to the end of argv, from `optind` on.
 * The letters seen are added to `seen`. */
static enum hg_cli_status read_options(struct hg_cli *cli, int argc, char **argv, char *seen)
{
    static const struct option long_options[] = {
        {"all", no_argument, NULL, 'a'},     {"config", required_argument, NULL, 'c'},
        {"json", no_argument, NULL, 'j'},    {"socket", required_argument, NULL, 's'},
        {"watch", no_argument, NULL, 'w'},   {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0},
    };
    size_t n = 0;
    int letter;

    hg_runtime_api(cli->socket, sizeof(cli->socket));
    // NOLINTNEXTLINE(concurrency-mt-unsafe): before any thread
    while ((letter = getopt_long(argc, argv, "ac:hjs:wV", long_options, NULL)) != -1) {
        if (letter == '?') {
            return HG_CLI_USAGE; /* getopt has said why */
        }
        if (letter == 's' && set_socket(cli, optarg) != HG_CLI_OK) {
            return HG_CLI_USAGE;
        }
        if (letter == 'c' && !optarg[0]) {
            return hg_cli_fail(HG_CLI_USAGE, "-c: found nothing, expected the name of a file");
        }
        cli->config = letter == 'c' ? optarg : cli->config;
        cli->all |= letter == 'a';
        cli->json |= letter == 'j';
        cli->watch |= letter == 'w';
        if (!strchr(seen, letter)) {
            seen[n++] = (char)letter;
            seen[n] = '\0';
        }
    }
    return HG_CLI_OK;
}

/* Every option given is one that the command takes. */
static enum hg_cli_status check_options(const struct hg_cli_command *command, const char *seen)
{
    for (; *seen; seen++) {
        if (!strchr(command->options, *seen)) {
            return hg_cli_fail(HG_CLI_USAGE, "'%s' takes no -%c; see `headgate help %s`",
                               command->name, *seen, command->name);
        }
    }
    return HG_CLI_OK;
}

/* A full disk behind standard output is a failure of a command that had none. */
static enum hg_cli_status written(enum hg_cli_status status)
{
    bool failed = fflush(stdout) != 0 || ferror(stdout);

    return failed && status == HG_CLI_OK
               ? hg_cli_fail(HG_CLI_REFUSED, "standard output does not take all of the answer")
               : status;
}

int hg_cli_main(const struct hg_cli_command *own, size_t n, int argc, char **argv)
{
    static char program[] = "headgate"; /* as getopt begins its messages */
    struct hg_cli cli = {.config = NULL};
    const struct hg_cli_command *command;
    char seen[16] = "";
    int words = 0;

    own_commands = own;
    own_n = n;
    if (argc > 0) {
        argv[0] = program;
    }
    if (read_options(&cli, argc, argv, seen) != HG_CLI_OK) {
        return HG_CLI_USAGE;
    }
    argc -= optind;
    argv += optind;
    if (strchr(seen, 'V')) {
        return version(&cli, 0, NULL);
    }
    command = find(argc, argv, &words);
    if (strchr(seen, 'h')) {
        return help(&cli, command ? words : argc, argv);
    }
    if (!command) {
        return not_found(argc, argv);
    }
    if (check_options(command, seen) != HG_CLI_OK) {
        return HG_CLI_USAGE;
    }
    running = command->name;
    return written(command->run(&cli, argc - words, argv + words));
}
