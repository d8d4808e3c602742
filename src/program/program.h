/*
 * Programs: ports, stages and workers, composed in a few lines.
 *
 *     program ---- owns ----> workers, each a thread; ports; the control loop; memory
 *        |
 *        +-- pipe:  receive(port, queue) -> stage -> stage ----------------------> transmit
 *        +-- pipe:  receive(port, queue) -> stage -> handoff | -> stage -> stage -> transmit
 *                   '----- worker 0 ----------------'          '----- worker 1 -----------'
 *
 * A pipe carries the packets of one receive queue. Its stages are functions that get a burst of
 * packets, change them, and return how many go on, moved to the front in their order; what a stage
 * lets fall is counted under its name. A worker runs its pipes to completion, burst by burst, and
 * sleeps when none of them has work. Where the work is more than a core's, a handoff continues the
 * pipe on another worker: its packets are copied into buffers of a pool, since what was borrowed
 * from the port goes back at the end of the burst, and travel through a ring.
 *
 * Handoffs are bounded and lose nothing by overrunning: a pipe whose next ring has no room for a
 * burst does not receive, so what is too much stays with the sender, or is lost and counted at his
 * door. A packet for which the pool has no buffers is counted under the handoff's name.
 *
 * While a program is composed, what fails is kept: the first failure, with its sentence, is what
 * hg_program_run() returns, and all that is said after it does nothing. So a program has two places
 * that look for errors, not ten.
 *
 * Ports are known by their id, a small number: it stands in a packet's `port` where it came from,
 * and in its `out` where it goes. There is no state but the program's: two programs in one process
 * do not know each other.
 *
 * Threads: the one that creates a program composes, runs and frees it. Stages run on the workers,
 * the stages of one pipe between two handoffs on one thread. hg_program_stop() is for any thread
 * and for signal handlers; the functions that count are for any thread.
 */
#ifndef HG_PROGRAM_PROGRAM_H
#define HG_PROGRAM_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/api.h"
#include "base/err.h"
#include "pkt/pkt.h"

struct hg_poller;
struct hg_port;

HG_API_BEGIN

enum {
    HG_PROGRAM_WORKERS_MAX = 64,
    HG_PROGRAM_PORTS_MAX = 64,
    HG_PROGRAM_PIPES_MAX = 256,
    HG_PROGRAM_POLLERS_MAX = 64,
    HG_PIPE_STAGES_MAX = 16, /* between two handoffs */
    HG_PIPE_WORKERS_MAX = 8, /* that a pipe crosses: one more than its handoffs */
    HG_STAGE_NAME_MAX = 31,
    HG_OUT_BY_PACKET = -1,    /* hg_pipe_transmit(): to the port that the packet's `out` names */
    HG_OUT_NONE = UINT16_MAX, /* what `out` is before a stage has chosen */
};

/* Zero is the default of everything. */
struct hg_program_options {
    const char *cpus;   /* a worker on each, in this order, as in "1,4-7" */
    unsigned workers_n; /* without cpus: that many, wherever the system lets them run; 0: one */
    bool poll;          /* workers never sleep */
    bool no_signals;    /* SIGINT and SIGTERM stay the caller's; else they end hg_program_run() */
    uint64_t run_ns;    /* that hg_program_run() takes; 0: no limit */
    uint64_t packets;   /* received, by all pipes, that end hg_program_run() within some
                           milliseconds; 0: no limit */
    uint32_t handoff_n; /* packets that fit into each handoff, a power of two
                           from 128 to 65,536; 0: 1024 */
};

struct hg_program;
struct hg_pipe;

/*
 * Reads the options that all programs share from a command line: -c CPUS, -t SECONDS, -n PACKETS,
 * -p. Returns the index of the first argument behind them, or -EINVAL with *err, a line that says
 * what was expected. *options may hold a program's own defaults; its strings then point into argv.
 * Not for two threads at once: it uses getopt(3).
 */
int hg_program_args(struct hg_program_options *options, int argc, char **argv, struct hg_err *err);

/* Creates a program with its workers, not started. 0 or a negative errno with *err. */
int hg_program_new(struct hg_program **program, const struct hg_program_options *options,
                   struct hg_err *err);

/* Closes its ports and frees everything, also the pipes. Takes NULL. */
void hg_program_free(struct hg_program *program);

/* --- composing ------------------------------------------------------------------------------- */

/* Opens a port from one word: `TYPE` or `TYPE:KEY=VALUE,...`, types and keys as in
 * headgate.yaml(5). A path may be relative here. Returns the port's id, 0 after a failure, which is
 * kept. */
uint16_t hg_program_open(struct hg_program *program, const char *text);

/* Queue pairs of a port, the most that its peer may use. */
unsigned hg_program_queues(const struct hg_program *program, uint16_t port);

/* The port itself, for stages that transmit on their own (hg_port_tx); NULL when there is none. */
struct hg_port *hg_program_port(const struct hg_program *program, uint16_t port);

/* Begins a pipe: the packets of a port's receive queue, on that worker. The pipe is the program's.
 * NULL after a failure, which is kept; all that follows takes NULL. */
struct hg_pipe *hg_program_receive(struct hg_program *program, uint16_t port, unsigned queue,
                                   unsigned worker);

/*
 * A stage. Gets n packets, n <= HG_BURST_N, never 0, and returns how many of them go on, which it
 * has moved to the front. It may change the head of each, and with it len and head_len; what the
 * segments point to is only lent. A packet is the stage's until it returns, and may be transmitted
 * by it in between, to any number of ports.
 */
typedef unsigned hg_stage_fn(void *ctx, struct hg_pkt **pkts, unsigned n);

/* Adds a stage. `ctx` stays the caller's; the name, for counters, is cut at HG_STAGE_NAME_MAX. */
void hg_pipe_stage(struct hg_pipe *pipe, const char *name, hg_stage_fn *fn, void *ctx);

/* The stage that fills in a packet's parse fields (flow/parse.h), without context. Before it
 * `parsed` and `flow_hash` are 0, and the others say nothing. */
hg_stage_fn hg_stage_parse;

/* Continues the pipe on another worker. */
void hg_pipe_handoff(struct hg_pipe *pipe, unsigned worker);

/* Ends the pipe at a port, or, for HG_OUT_BY_PACKET, at the port that each packet's `out` names:
 * what names none is counted under `transmit`. */
void hg_pipe_transmit(struct hg_pipe *pipe, int port);

/* Has a worker poll something of the caller's own beside its pipes, as the poller of a shaper
 * (sched/shaper.h). It stays the caller's and lives as long as the program. What its work has in
 * hand at the end of hg_program_run() stays there. */
void hg_program_poller(struct hg_program *program, struct hg_poller *poller, unsigned worker);

/* --- running --------------------------------------------------------------------------------- */

/*
 * Runs the program until a signal, hg_program_stop(), one of its limits, or until every port that
 * it receives from has ended (a pcap file, a generator with a count). On return the workers have
 * stopped, and nothing that was received is under way. Returns 0, or a negative errno with *err:
 * the first failure of the composition, or what prevented the start.
 */
int hg_program_run(struct hg_program *program, struct hg_err *err);

/* Ends hg_program_run(), the one under way or the next. Any thread, also in a signal handler. */
void hg_program_stop(struct hg_program *program);

/* --- counting -------------------------------------------------------------------------------- */

struct hg_program_totals {
    uint64_t run_ns;      /* of the last hg_program_run(), up to now while it runs */
    uint64_t received;    /* packets that the pipes got from their ports */
    uint64_t dropped;     /* by stages and ends of pipes */
    uint64_t transmitted; /* delivered by the ports; a packet sent to two of them counts twice */
    uint64_t lost;        /* refused by the ports, by reason in hg_program_report() */
};

void hg_program_totals(const struct hg_program *program, struct hg_program_totals *totals);

struct hg_stage_stats {
    char name[HG_STAGE_NAME_MAX + 1]; /* "handoff" and "transmit" for the ends */
    unsigned worker;
    uint64_t packets; /* that it got */
    uint64_t dropped; /* of them */
};

/* The stages and ends of a pipe in turn, by index from 0 on; false behind the last. */
bool hg_pipe_stats(const struct hg_pipe *pipe, unsigned index, struct hg_stage_stats *stats);

/* Prints all of it for people: the rate, ports with their drops, stages, workers. */
void hg_program_report(const struct hg_program *program, FILE *to);

HG_API_END

#endif
