/*
 * The load generator's command line.
 */
#ifndef BENCH_LOADGEN_OPTIONS_H
#define BENCH_LOADGEN_OPTIONS_H

#include "port.h"

struct options {
    struct port_options port;
    bool verify;
    bool latency;
    uint32_t mac_n;
    uint32_t window; /* frames under way in one direction; 0: no limit */
    unsigned dir_n;
    int cpu;
    double seconds;
    double warmup_s;
    double timeout_s;
    uint64_t interval_ns;
};

/* Reads the command line, the paths and roles of two ports included. Ends the process when it is
 * wrong, or asks for help. */
struct options options_parse(int argc, char **argv, struct port *ports);

#endif
