/*
 * What the files of this folder share, and the map of it.
 *
 *   args.c      the options that all programs have
 *   program.c   the life of a program; composing
 *   run.c       the control loop while it runs: queues that come and go, limits, the end
 *   pipe.c      the hot path: receive, stages, transmit
 *   report.c    counting
 *
 * A pipe is cut by its handoffs into legs, and a leg is what a worker polls.
 */
#ifndef HG_PROGRAM_STATE_H
#define HG_PROGRAM_STATE_H

#include <event2/event.h>
#include <stdalign.h>
#include <stdatomic.h>

#include "base/bits.h"
#include "base/count.h"
#include "mem/arena.h"
#include "pkt/handoff.h"
#include "pkt/own.h"
#include "pkt/pool.h"
#include "port/port.h"
#include "program/program.h"
#include "worker/worker.h"

/* A stage, or the end of a leg. */
struct stage {
    hg_stage_fn *fn; /* NULL: the end */
    void *ctx;
    struct hg_count packets; /* written by the leg's worker */
    struct hg_count dropped;
    char name[HG_STAGE_NAME_MAX + 1];
};

struct slot;

struct leg {
    alignas(HG_CACHE_LINE_BYTES) struct hg_poller poller;
    struct slot *slot;      /* the worker's */
    unsigned worker;        /* its index */
    bool parses;            /* its first stage fills in all parse fields */
    struct hg_rxq *rxq;     /* the first leg: where packets come from; NULL: */
    struct hg_handoff *in;  /* they come from here */
    struct hg_handoff *out; /* where they go: NULL: */
    struct hg_port *to;     /* there; NULL: where each packet says */
    struct hg_program *program;
    unsigned stage_n;
    struct stage stage[HG_PIPE_STAGES_MAX];
    struct stage end;
};

struct hg_pipe {
    struct hg_program *program;
    uint16_t port;
    bool complete; /* has its end */
    unsigned leg_n;
    struct leg *leg[HG_PIPE_WORKERS_MAX];
};

/* A worker and what its legs share. */
struct slot {
    struct hg_worker *worker;
    struct hg_burst *burst;
    struct hg_pool_cache *cache; /* NULL in a program without handoffs */
};

/* A poller that is no leg but the caller's. */
struct foreign {
    struct hg_poller *poller;
    unsigned worker;
};

struct hg_program {
    struct hg_program_options options;
    struct hg_err err; /* of the first failure */
    int failed;        /* its errno, negative */
    struct event_base *loop;
    struct event *stop; /* stop_fd has been written */
    int stop_fd;
    struct hg_port_host host;
    bool running;     /* queues are handed to the workers */
    bool queues_wait; /* some could not be; tried again by the tick */
    /* Legs take from their ports: from when all workers have started to when they are to stop. */
    atomic_bool receiving;
    _Atomic uint64_t begun_ns;
    _Atomic uint64_t ended_ns; /* 0 while it runs */
    unsigned slot_n;
    struct slot slot[HG_PROGRAM_WORKERS_MAX];
    unsigned port_n;
    struct hg_port *port[HG_PROGRAM_PORTS_MAX]; /* by id */
    unsigned pipe_n;
    struct hg_pipe *pipe[HG_PROGRAM_PIPES_MAX];
    unsigned foreign_n;
    struct foreign foreign[HG_PROGRAM_POLLERS_MAX];
    struct hg_arena *arena; /* the pool's, made by the first run that has handoffs */
    struct hg_pool *pool;
};

/* program.c: keeps the first failure. */
void program_fail(struct hg_program *program, int errno_value, const char *fmt, ...)
    HG_PRINTF(3, 4);

/* run.c: struct hg_port_host.queues_changed. */
void program_queues_changed(struct hg_port *port, void *ctx);

/* pipe.c: makes a leg a poller, according to what stands in it. */
void leg_init_poller(struct leg *leg);

#endif
