/*
 * What composing costs: cycles per packet of 64 bytes from a generator to a null port, through a
 * program.
 *
 *   program_forward    receive and transmit, nothing between
 *   program_stages_N   with N stages that each read and write a byte of every head
 *   program_parse      with the stage that fills in the parse fields
 *   program_sink       to a sink, which checks every frame
 *   program_two_cores  handed off to a second core: wall-clock cycles per packet that gets through
 *
 *   program [--cpus A[,B]] [--quick]
 *
 * The median of several runs each. The generator and the ports are in all of them: program_forward
 * is the floor of everything that is measured on memory ports.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sample.h"
#include "base/bits.h"
#include "base/clock.h"
#include "program/program.h"

enum { RUNS_N = 5, RUN_MS = 200, QUICK_MS = 10, CELL_BYTES = 32 };

struct cell {
    char name[CELL_BYTES];
    unsigned stages_n;
    bool parse;
    bool two_cores;
    const char *to;
};

static unsigned touch(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    (void)ctx;
    for (unsigned i = 0; i < n; i++)
        pkts[i]->head[0]++;
    return n;
}

static struct hg_program *compose(const struct cell *cell, const char *cpus, uint64_t run_ns)
{
    const struct hg_program_options options = {.cpus = cpus, .run_ns = run_ns, .poll = true};
    struct hg_program *program;
    struct hg_pipe *pipe;
    struct hg_err err;

    if (hg_program_new(&program, &options, &err) < 0) {
        fprintf(stderr, "program: %s\n", err.text);
        exit(1);
    }
    hg_program_open(program, "generator:flows=0,dst=0.0.0.0/0");
    hg_program_open(program, cell->to);
    pipe = hg_program_receive(program, 0, 0, 0);
    if (cell->parse)
        hg_pipe_stage(pipe, "parse", hg_stage_parse, NULL);
    for (unsigned i = 0; i < cell->stages_n; i++)
        hg_pipe_stage(pipe, "touch", touch, NULL);
    if (cell->two_cores)
        hg_pipe_handoff(pipe, 1);
    hg_pipe_transmit(pipe, 1);
    return program;
}

/* Cycles per packet of one run. */
static double run(const struct cell *cell, const char *cpus, uint64_t run_ns)
{
    struct hg_program *program = compose(cell, cpus, run_ns);
    uint64_t begun_ns = hg_now_ns();
    uint64_t begun = hg_cycles();
    struct hg_program_totals totals;
    struct hg_err err;
    double cycles_a_ns;

    if (hg_program_run(program, &err) < 0) {
        fprintf(stderr, "program: %s\n", err.text);
        exit(1);
    }
    cycles_a_ns = (double)(hg_cycles() - begun) / (double)(hg_now_ns() - begun_ns);
    hg_program_totals(program, &totals);
    hg_program_free(program);
    return (double)totals.run_ns * cycles_a_ns / (double)totals.transmitted;
}

int main(int argc, char **argv)
{
    static const struct option known[] = {{"cpus", required_argument, NULL, 'c'},
                                          {"quick", no_argument, NULL, 'q'},
                                          {NULL, 0, NULL, 0}};
    static const struct cell cells[] = {
        {.name = "program_forward", .to = "null"},
        {.name = "program_stages_1", .stages_n = 1, .to = "null"},
        {.name = "program_stages_4", .stages_n = 4, .to = "null"},
        {.name = "program_parse", .parse = true, .to = "null"},
        {.name = "program_sink", .to = "sink"},
        {.name = "program_two_cores", .two_cores = true, .to = "null"},
    };
    char one[CELL_BYTES];
    const char *cpus = "0,1";
    uint64_t run_ns = RUN_MS * HG_NS_PER_MS;
    int option;

    while ((option = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (option == 'c') {
            cpus = optarg;
        } else if (option == 'q') {
            run_ns = QUICK_MS * HG_NS_PER_MS;
        } else {
            fprintf(stderr, "usage: program [--cpus A[,B]] [--quick]\n");
            return 2;
        }
    }
    snprintf(one, sizeof(one), "%.*s", (int)strcspn(cpus, ","), cpus);
    for (unsigned i = 0; i < HG_ARRAY_N(cells); i++) {
        double cycles[RUNS_N];

        if (cells[i].two_cores && strchr(cpus, ',') == NULL)
            continue;
        for (unsigned r = 0; r < RUNS_N; r++)
            cycles[r] = run(&cells[i], cells[i].two_cores ? cpus : one, run_ns);
        printf("%s\t%.1f\n", cells[i].name, sample_median(cycles, RUNS_N));
    }
    return 0;
}
