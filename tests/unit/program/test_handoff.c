/* Pipes over several workers: nothing is lost, disordered or left behind, and nobody sleeps through
 * a packet. */
#include "program/program.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "port/port.h"

static struct hg_program *begin(unsigned workers_n, uint32_t handoff_n, uint64_t run_ns)
{
    const struct hg_program_options options = {
        .workers_n = workers_n, .handoff_n = handoff_n, .run_ns = run_ns};
    struct hg_program *program;
    struct hg_err err = {.text = ""};

    hg_program_new(&program, &options, &err);
    assert_string_equal(err.text, "");
    return program;
}

static void run(struct hg_program *program)
{
    struct hg_err err = {.text = ""};

    hg_program_run(program, &err);
    assert_string_equal(err.text, "");
}

static void assert_sunk(struct hg_program *program, uint16_t id, unsigned n)
{
    const struct hg_port *port = hg_program_port(program, id);
    struct hg_port_status status;
    char text[100];

    snprintf(text, sizeof(text), "up: %u frames, 0 missing, 0 late, 0 spoilt, 0 of no generator",
             n);
    port->driver->status(port, &status);
    assert_string_equal(status.text, text);
}

/* Adds up on one worker what it has seen. */
static unsigned count(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    (void)pkts;
    *(unsigned *)ctx += n;
    return n;
}

static void across_two_workers(void **state)
{
    struct hg_program *program = begin(2, 128, 0);
    unsigned before = 0, behind = 0;
    struct hg_stage_stats stats;
    struct hg_pipe *pipe;

    (void)state;
    hg_program_open(program, "generator:count=20000,size=1514,flows=0");
    hg_program_open(program, "sink");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_stage(pipe, "before", count, &before);
    hg_pipe_handoff(pipe, 1);
    hg_pipe_stage(pipe, "behind", count, &behind);
    hg_pipe_transmit(pipe, 1);
    run(program);
    assert_int_equal(before, 20000);
    assert_int_equal(behind, 20000);
    assert_true(hg_pipe_stats(pipe, 1, &stats));
    assert_string_equal(stats.name, "handoff");
    assert_int_equal(stats.dropped, 0);
    assert_true(hg_pipe_stats(pipe, 2, &stats));
    assert_string_equal(stats.name, "behind");
    assert_int_equal(stats.worker, 1);
    assert_sunk(program, 1, 20000);
    hg_program_free(program);
}

/* There and back, two pipes in opposite directions, through every worker. */
static void across_many_workers(void **state)
{
    struct hg_program *program = begin(3, 128, 0);
    struct hg_pipe *pipe;

    (void)state;
    hg_program_open(program, "generator:count=5000");
    hg_program_open(program, "sink");
    hg_program_open(program, "generator:count=5000,size=300");
    hg_program_open(program, "sink");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_handoff(pipe, 1);
    hg_pipe_handoff(pipe, 2);
    hg_pipe_handoff(pipe, 0);
    hg_pipe_transmit(pipe, 1);
    pipe = hg_program_receive(program, 2, 0, 2);
    hg_pipe_handoff(pipe, 1);
    hg_pipe_handoff(pipe, 0);
    hg_pipe_transmit(pipe, 3);
    run(program);
    assert_sunk(program, 1, 5000);
    assert_sunk(program, 3, 5000);
    hg_program_free(program);
}

/* Slowly, so that both workers sleep between two frames: each has to wake them. */
static void wakes_who_sleeps(void **state)
{
    struct hg_program *program = begin(2, 0, 0);
    struct hg_pipe *pipe;

    (void)state;
    hg_program_open(program, "generator:count=200,rate=2000");
    hg_program_open(program, "sink");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_handoff(pipe, 1);
    hg_pipe_transmit(pipe, 1);
    run(program);
    assert_sunk(program, 1, 200);
    hg_program_free(program);
}

/* Stopped in full run: everything that was received has arrived. */
static void leaves_nothing_behind(void **state)
{
    struct hg_program *program = begin(2, 0, 20 * HG_NS_PER_MS);
    struct hg_program_totals totals;
    struct hg_pipe *pipe;

    (void)state;
    hg_program_open(program, "generator");
    hg_program_open(program, "sink");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_handoff(pipe, 1);
    hg_pipe_transmit(pipe, 1);
    run(program);
    hg_program_totals(program, &totals);
    assert_true(totals.received > 0);
    assert_int_equal(totals.received, totals.transmitted);
    hg_program_free(program);
}

static unsigned slowly(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    const struct timespec time = {.tv_nsec = 1000 * 1000};

    (void)ctx;
    (void)pkts;
    nanosleep(&time, NULL);
    return n;
}

/* The source has ended while the handoffs are full: what is in them belongs to the workers still,
 * who carry it on and count it. */
static void workers_end_what_they_began(void **state)
{
    struct hg_program *program = begin(3, 0, 0);
    char report[2048] = "";
    FILE *into = fmemopen(report, sizeof(report), "w");
    struct hg_pipe *pipe;

    (void)state;
    assert_non_null(into);
    hg_program_open(program, "generator:count=3000");
    hg_program_open(program, "sink");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_handoff(pipe, 1);
    hg_pipe_stage(pipe, "slowly", slowly, NULL);
    hg_pipe_handoff(pipe, 2);
    hg_pipe_stage(pipe, "slowly", slowly, NULL);
    hg_pipe_transmit(pipe, 1);
    run(program);
    hg_program_report(program, into);
    fclose(into);
    assert_sunk(program, 1, 3000);
    assert_non_null(strstr(report, "worker 0: 3000 packets"));
    assert_non_null(strstr(report, "worker 1: 3000 packets"));
    assert_non_null(strstr(report, "worker 2: 3000 packets"));
    hg_program_free(program);
}

/* Frames of five buffers each, for which the pool is not made: those that find none are counted. */
static void counts_what_finds_no_buffer(void **state)
{
    struct hg_program *program = begin(2, 1024, 0);
    struct hg_program_totals totals;
    struct hg_stage_stats stats;
    struct hg_pipe *pipe;

    (void)state;
    hg_program_open(program, "generator:count=5000,size=9018");
    hg_program_open(program, "null");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_handoff(pipe, 1);
    hg_pipe_transmit(pipe, 1);
    run(program);
    hg_program_totals(program, &totals);
    assert_true(hg_pipe_stats(pipe, 0, &stats));
    assert_int_equal(totals.received, 5000);
    assert_int_equal(totals.transmitted, 5000 - stats.dropped);
    assert_int_equal(totals.dropped, stats.dropped);
    hg_program_free(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(across_two_workers),
        cmocka_unit_test(across_many_workers),
        cmocka_unit_test(wakes_who_sleeps),
        cmocka_unit_test(leaves_nothing_behind),
        cmocka_unit_test(workers_end_what_they_began),
        cmocka_unit_test(counts_what_finds_no_buffer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
