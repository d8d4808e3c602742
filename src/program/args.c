#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/number.h"
#include "base/quote.h"
#include "program/program.h"

enum { SECONDS_MAX = 1000000 };

/* Reads "2.5" into nanoseconds. */
static int read_seconds(const char *text, uint64_t *ns, struct hg_err *err)
{
    char *end;
    double seconds = strtod(text, &end);

    if (end == text || *end != '\0' || !(seconds > 0 && seconds <= SECONDS_MAX))
        return hg_err_set(err, EINVAL, "-t: found %s; expected seconds, as in 2.5",
                          hg_quote(text).text);
    *ns = (uint64_t)(seconds * (double)HG_NS_PER_S);
    return 0;
}

static int read_option(struct hg_program_options *options, int option, struct hg_err *err)
{
    switch (option) {
    case 'c':
        options->cpus = optarg;
        return 0;
    case 'n':
        if (hg_parse_uint(optarg, 1, UINT64_MAX / 2, &options->packets) < 0)
            return hg_err_set(err, EINVAL, "-n: found %s; expected a number of packets",
                              hg_quote(optarg).text);
        return 0;
    case 'p':
        options->poll = true;
        return 0;
    case 't':
        return read_seconds(optarg, &options->run_ns, err);
    default:
        return hg_err_set(err, EINVAL,
                          "expected [-c CPUS] [-t SECONDS] [-n PACKETS] [-p] and ports, as in "
                          "generator:size=64,flows=1000");
    }
}

int hg_program_args(struct hg_program_options *options, int argc, char **argv, struct hg_err *err)
{
    int option;

    optind = 1;
    opterr = 0;
    while ((option = getopt(argc, argv, "+c:n:pt:")) != -1) {
        int rc = read_option(options, option, err);

        if (rc < 0)
            return rc;
    }
    return optind;
}
