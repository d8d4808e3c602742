/* Programs on memory ports: what is composed happens, and what cannot be is refused by a
 * sentence. */
#include "program/program.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "port/port.h"

static struct hg_program *begin(const struct hg_program_options *options)
{
    static const struct hg_program_options defaults;
    struct hg_program *program;
    struct hg_err err = {.text = ""};

    hg_program_new(&program, options ? options : &defaults, &err);
    assert_string_equal(err.text, "");
    return program;
}

static void run(struct hg_program *program)
{
    struct hg_err err = {.text = ""};

    hg_program_run(program, &err);
    assert_string_equal(err.text, "");
}

static void assert_status(struct hg_program *program, uint16_t id, const char *text)
{
    const struct hg_port *port = hg_program_port(program, id);
    struct hg_port_status status;

    port->driver->status(port, &status);
    assert_string_equal(status.text, text);
}

static void assert_stage(const struct hg_pipe *pipe, unsigned index, const char *name,
                         uint64_t packets, uint64_t dropped)
{
    struct hg_stage_stats stats;

    assert_true(hg_pipe_stats(pipe, index, &stats));
    assert_string_equal(stats.name, name);
    assert_int_equal(stats.packets, packets);
    assert_int_equal(stats.dropped, dropped);
}

static void forwards_and_ends_with_its_source(void **state)
{
    struct hg_program *program = begin(NULL);
    uint16_t in = hg_program_open(program, "generator:count=1000,size=1514");
    uint16_t out = hg_program_open(program, "sink");
    struct hg_program_totals totals;
    struct hg_stage_stats stats;
    struct hg_pipe *pipe;

    (void)state;
    assert_int_equal(hg_program_queues(program, in), 1);
    pipe = hg_program_receive(program, in, 0, 0);
    hg_pipe_transmit(pipe, out);
    run(program);
    assert_status(program, out, "up: 1000 frames, 0 missing, 0 late, 0 spoilt, 0 of no generator");
    assert_stage(pipe, 0, "transmit", 1000, 0);
    assert_false(hg_pipe_stats(pipe, 1, &stats));
    hg_program_totals(program, &totals);
    assert_int_equal(totals.received, 1000);
    assert_int_equal(totals.transmitted, 1000);
    assert_int_equal(totals.dropped + totals.lost, 0);
    assert_true(totals.run_ns > 0);
    hg_program_free(program);
}

/* A stage that writes its letter behind those of the stages before, into the packet's last
 * bytes. */
static unsigned sign(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char *end = (char *)pkts[i]->head + 100;

        end[strlen(end)] = *(const char *)ctx;
    }
    return n;
}

static unsigned blank(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    (void)ctx;
    for (unsigned i = 0; i < n; i++)
        memset(pkts[i]->head + 100, 0, 10);
    return n;
}

/* The number that the generator has given the frame. */
static uint64_t number_of(const struct hg_pkt *pkt)
{
    uint64_t number;

    memcpy(&number, pkt->head + 48, sizeof(number));
    return number;
}

static unsigned every_third(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    unsigned kept = 0;

    (void)ctx;
    for (unsigned i = 0; i < n; i++)
        if (number_of(pkts[i]) % 3 == 0)
            pkts[kept++] = pkts[i];
    return kept;
}

static unsigned see(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (number_of(pkts[i]) % 3 != 0)
            abort();
        memcpy(ctx, pkts[i]->head + 100, 10);
    }
    return n;
}

static void stages_come_in_order_and_name_what_they_drop(void **state)
{
    struct hg_program *program = begin(NULL);
    char seen[10] = "";
    char a = 'a', b = 'b', c = 'c';
    struct hg_pipe *pipe;

    (void)state;
    hg_program_open(program, "generator:count=300,size=128");
    hg_program_open(program, "null");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_stage(pipe, "blank", blank, NULL);
    hg_pipe_stage(pipe, "a", sign, &a);
    hg_pipe_stage(pipe, "b", sign, &b);
    hg_pipe_stage(pipe, "third", every_third, NULL);
    hg_pipe_stage(pipe, "c", sign, &c);
    hg_pipe_stage(pipe, "see", see, seen);
    hg_pipe_transmit(pipe, 1);
    run(program);
    assert_string_equal(seen, "abc");
    assert_stage(pipe, 2, "b", 300, 0);
    assert_stage(pipe, 3, "third", 300, 200);
    assert_stage(pipe, 4, "c", 100, 0);
    assert_stage(pipe, 6, "transmit", 100, 0);
    hg_program_free(program);
}

/* Sends packet i to port 1 + i % 3, of which the last does not exist. */
static unsigned choose(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    (void)ctx;
    for (unsigned i = 0; i < n; i++) {
        if (pkts[i]->out != HG_OUT_NONE || pkts[i]->parsed != 0 || pkts[i]->flow_hash != 0)
            abort(); /* what the slot's last packet was is not to be seen */
        if (number_of(pkts[i]) % 3 != 2)
            pkts[i]->out = (uint16_t)(1 + number_of(pkts[i]) % 3);
        pkts[i]->parsed = 1;
        pkts[i]->flow_hash = 1;
    }
    return n;
}

static void packets_choose_their_port(void **state)
{
    struct hg_program *program = begin(NULL);
    struct hg_pipe *pipe;

    (void)state;
    hg_program_open(program, "generator:count=300");
    hg_program_open(program, "sink");
    hg_program_open(program, "sink");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_stage(pipe, "choose", choose, NULL);
    hg_pipe_transmit(pipe, HG_OUT_BY_PACKET);
    run(program);
    /* Each in order: number 0, 3 ... 297 to one, 1, 4 ... 298 to the other. */
    assert_status(program, 1, "up: 100 frames, 198 missing, 0 late, 0 spoilt, 0 of no generator");
    assert_status(program, 2, "up: 100 frames, 199 missing, 0 late, 0 spoilt, 0 of no generator");
    assert_stage(pipe, 1, "transmit", 300, 100);
    hg_program_free(program);
}

static unsigned count_udp(void *ctx, struct hg_pkt **pkts, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        *(unsigned *)ctx += pkts[i]->parsed == (HG_PARSED_IP4 | HG_PARSED_UDP);
    return n;
}

static void parses_when_asked(void **state)
{
    struct hg_program *program = begin(NULL);
    unsigned udp_n = 0;
    struct hg_pipe *pipe;

    (void)state;
    hg_program_open(program, "generator:count=100");
    hg_program_open(program, "null");
    pipe = hg_program_receive(program, 0, 0, 0);
    hg_pipe_stage(pipe, "parse", hg_stage_parse, NULL);
    hg_pipe_stage(pipe, "count", count_udp, &udp_n);
    hg_pipe_transmit(pipe, 1);
    run(program);
    assert_int_equal(udp_n, 100);
    hg_program_free(program);
}

static void *stop_soon(void *program)
{
    usleep(20000);
    hg_program_stop(program);
    return NULL;
}

static void *signal_soon(void *ctx)
{
    (void)ctx;
    usleep(50000);
    kill(getpid(), SIGTERM);
    return NULL;
}

/* An endless forwarder, ended by what is given. */
static void ends_by(const struct hg_program_options *options, void *(*end)(void *))
{
    struct hg_program *program = begin(options);
    struct hg_program_totals totals;
    pthread_t thread;

    hg_program_open(program, "generator");
    hg_program_open(program, "sink");
    hg_pipe_transmit(hg_program_receive(program, 0, 0, 0), 1);
    if (end)
        assert_int_equal(pthread_create(&thread, NULL, end, program), 0);
    run(program);
    if (end)
        pthread_join(thread, NULL);
    hg_program_totals(program, &totals);
    assert_true(totals.received > 0 && totals.received == totals.transmitted);
    assert_true(totals.received >= options->packets);
    assert_true(totals.run_ns >= options->run_ns);
    hg_program_free(program);
}

static void ends_by_all_that_ends_it(void **state)
{
    const struct hg_program_options plain = {.poll = true};
    const struct hg_program_options timed = {.run_ns = 30 * HG_NS_PER_MS};
    const struct hg_program_options counted = {.packets = 100};

    (void)state;
    ends_by(&plain, stop_soon);
    ends_by(&plain, signal_soon);
    ends_by(&timed, NULL);
    ends_by(&counted, NULL);
}

static void runs_again(void **state)
{
    const struct hg_program_options options = {.run_ns = 5 * HG_NS_PER_MS};
    struct hg_program *program = begin(&options);

    (void)state;
    hg_program_open(program, "generator:rate=10000");
    hg_program_open(program, "sink");
    hg_pipe_transmit(hg_program_receive(program, 0, 0, 0), 1);
    run(program);
    run(program);
    hg_program_free(program);
}

/* What makes a program impossible, and the sentence. */
static void two_pipes(struct hg_program *p)
{
    hg_pipe_transmit(hg_program_receive(p, 0, 0, 0), 1);
    hg_pipe_transmit(hg_program_receive(p, 0, 0, 0), 1);
}

static void bad_port(struct hg_program *p)
{
    hg_program_open(p, "generator:colour=red");
    hg_program_open(p, "no such"); /* only the first failure is told of */
    hg_pipe_transmit(hg_program_receive(p, 9, 9, 9), 9);
}

static void bad_queue(struct hg_program *p)
{
    hg_program_receive(p, 0, 1, 0);
}

static void bad_worker(struct hg_program *p)
{
    hg_pipe_handoff(hg_program_receive(p, 0, 0, 0), 1);
}

static void bad_end(struct hg_program *p)
{
    hg_pipe_transmit(hg_program_receive(p, 0, 0, 0), 2);
}

static void no_end(struct hg_program *p)
{
    hg_pipe_stage(hg_program_receive(p, 0, 0, 0), "blank", blank, NULL);
}

static void behind_the_end(struct hg_program *p)
{
    struct hg_pipe *pipe = hg_program_receive(p, 0, 0, 0);

    hg_pipe_transmit(pipe, 1);
    hg_pipe_stage(pipe, "blank", blank, NULL);
}

static void many_stages(struct hg_program *p)
{
    struct hg_pipe *pipe = hg_program_receive(p, 0, 0, 0);

    for (unsigned i = 0; i <= HG_PIPE_STAGES_MAX; i++)
        hg_pipe_stage(pipe, "blank", blank, NULL);
}

static void refuses_by_sentence(void **state)
{
    static const struct {
        void (*compose)(struct hg_program *);
        const char *sentence;
    } cases[] = {
        {two_pipes, "a pipe receives from queue 0 of port 'generator0' already"},
        {bad_port, "port 'generator:colour=red': unknown key 'colour' in a port of type generator; "
                   "expected one of size, flows, dst, src, dst_mac, src_mac, rate, count, queues"},
        {bad_queue, "there is no queue 1 of port 0; expected one of 1"},
        {bad_worker, "there is no worker 1; this program has 1, from 0 on"},
        {bad_end, "there is no port 2; this program has 2, from 0 on"},
        {no_end, "the pipe from port 'generator0' has no end; expected hg_pipe_transmit()"},
        {behind_the_end, "a stage behind the end of a pipe"},
        {many_stages, "stage 'blank' is one too many; expected at most 16"},
    };

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(cases); i++) {
        struct hg_program *program = begin(NULL);
        struct hg_err err = {.text = ""};

        hg_program_open(program, "generator");
        hg_program_open(program, "sink");
        cases[i].compose(program);
        assert_true(hg_program_run(program, &err) < 0);
        assert_string_equal(err.text, cases[i].sentence);
        hg_program_free(program);
    }
}

static void refuses_options(const struct hg_program_options *options, const char *sentence)
{
    struct hg_program *program;
    struct hg_err err = {.text = ""};

    assert_true(hg_program_new(&program, options, &err) < 0);
    assert_null(program);
    assert_string_equal(err.text, sentence);
}

static void refuses_bad_options(void **state)
{
    (void)state;
    refuses_options(&(struct hg_program_options){.cpus = "0,"},
                    "found '0,'; expected a list of CPUs, as in 1,4-7");
    refuses_options(&(struct hg_program_options){.cpus = "0-"},
                    "found '0-'; expected a list of CPUs, as in 1,4-7");
    refuses_options(&(struct hg_program_options){.cpus = "a"},
                    "found 'a'; expected a list of CPUs, as in 1,4-7");
    refuses_options(&(struct hg_program_options){.workers_n = 65},
                    "too many workers; expected at most 64");
    refuses_options(&(struct hg_program_options){.handoff_n = 100},
                    "a handoff of 100 packets; expected a power of two from 128 to 65536");
}

/* hg_program_args() of a command line. */
static int args(char *line, struct hg_program_options *options, struct hg_err *err)
{
    char *argv[16];
    int argc = 0;

    while ((argv[argc] = strsep(&line, " ")) != NULL)
        argc++;
    return hg_program_args(options, argc, argv, err);
}

static void reads_arguments(void **state)
{
    char good[] = "x -c 0 -t 1.5 -n 7 -p generator -t";
    char bad[] = "x -t soon";
    char unknown[] = "x -x";
    struct hg_program_options options = {0};
    struct hg_err err;

    (void)state;
    assert_int_equal(args(good, &options, &err), 8);
    assert_string_equal(options.cpus, "0");
    assert_int_equal(options.run_ns, 3 * HG_NS_PER_S / 2);
    assert_int_equal(options.packets, 7);
    assert_true(options.poll);
    assert_int_equal(args(bad, &options, &err), -EINVAL);
    assert_string_equal(err.text, "-t: found 'soon'; expected seconds, as in 2.5");
    assert_int_equal(args(unknown, &options, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forwards_and_ends_with_its_source),
        cmocka_unit_test(stages_come_in_order_and_name_what_they_drop),
        cmocka_unit_test(packets_choose_their_port),
        cmocka_unit_test(parses_when_asked),
        cmocka_unit_test(ends_by_all_that_ends_it),
        cmocka_unit_test(runs_again),
        cmocka_unit_test(refuses_by_sentence),
        cmocka_unit_test(refuses_bad_options),
        cmocka_unit_test(reads_arguments),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
