/*
 * The control loop while a program runs.
 *
 * Queues that their driver starts and stops join and leave the workers at once (queues_changed);
 * everything else is looked at by a tick. The end has an order: first nobody receives any more;
 * then the workers carry what lies in the handoffs to its end, and stop. So every packet that was
 * received has been transmitted or counted when hg_program_run() returns, and by the worker whose
 * it was.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "program/state.h"
#include "sync/qsbr.h"

enum {
    TICK_MS = 10,
    NAP_US = 100, /* between two looks whether a handoff is empty */
};

/* --- queues and workers ---------------------------------------------------------------------- */

enum { POLLERS_MAX = HG_PROGRAM_PIPES_MAX * HG_PIPE_WORKERS_MAX + HG_PROGRAM_POLLERS_MAX };

/* What a worker is to poll now: its legs, and what is the caller's. */
static unsigned collect(struct hg_program *program, unsigned worker, struct hg_poller **pollers)
{
    unsigned n = 0;

    for (unsigned i = 0; i < program->pipe_n; i++) {
        for (unsigned k = 0; k < program->pipe[i]->leg_n; k++) {
            struct leg *leg = program->pipe[i]->leg[k];

            if (leg->worker != worker ||
                (leg->rxq != NULL &&
                 !atomic_load_explicit(&leg->rxq->running, memory_order_relaxed)))
                continue;
            if (leg->rxq != NULL)
                leg->poller.fd = leg->rxq->fd; /* read by control alone, in hg_worker_set() */
            pollers[n++] = &leg->poller;
        }
    }
    for (unsigned i = 0; i < program->foreign_n; i++) {
        if (program->foreign[i].worker == worker)
            pollers[n++] = program->foreign[i].poller;
    }
    return n;
}

static int engage(struct hg_program *program, unsigned worker, struct hg_err *err)
{
    struct hg_poller *pollers[POLLERS_MAX];

    return hg_worker_set(program->slot[worker].worker, pollers, collect(program, worker, pollers),
                         err);
}

static bool receives(const struct hg_program *program, unsigned worker, const struct hg_port *port)
{
    for (unsigned i = 0; i < program->pipe_n; i++) {
        const struct leg *leg = program->pipe[i]->leg[0];

        if (leg->worker == worker && leg->rxq->port == port)
            return true;
    }
    return false;
}

void program_queues_changed(struct hg_port *port, void *ctx)
{
    struct hg_program *program = ctx;
    struct hg_err err;

    if (!program->running)
        return;
    for (unsigned i = 0; i < program->slot_n; i++) {
        if (!receives(program, i, port) || engage(program, i, &err) == 0)
            continue;
        program->queues_wait = true;
        hg_log_limited(HG_LOG_ERROR, port->name, "queues not handed to a worker yet: %s", err.text);
    }
}

/* --- looking after it ------------------------------------------------------------------------ */

static uint64_t received(const struct hg_program *program)
{
    struct hg_program_totals totals;

    hg_program_totals(program, &totals);
    return totals.received;
}

/* Whether there is a source, and all of them have ended. */
static bool sources_ended(const struct hg_program *program)
{
    for (unsigned i = 0; i < program->pipe_n; i++) {
        const struct hg_port *port = program->port[program->pipe[i]->port];
        struct hg_port_status status;

        port->driver->status(port, &status);
        if (!status.ended)
            return false;
    }
    return program->pipe_n != 0;
}

static void on_tick(evutil_socket_t none, short what, void *ctx)
{
    struct hg_program *program = ctx;

    (void)none;
    (void)what;
    if ((program->options.packets != 0 && received(program) >= program->options.packets) ||
        sources_ended(program))
        event_base_loopbreak(program->loop);
    if (!program->queues_wait)
        return;
    program->queues_wait = false;
    for (unsigned i = 0; i < program->slot_n; i++)
        program->queues_wait |= engage(program, i, NULL) < 0;
}

static void on_end(evutil_socket_t none, short what, void *ctx)
{
    (void)none;
    (void)what;
    event_base_loopbreak(ctx);
}

/* The time is up, or nearly: the timer began before the workers did, and its clock is a coarse
 * one. */
static void on_limit(evutil_socket_t none, short what, void *ctx)
{
    struct hg_program *program = ctx;
    uint64_t ran_ns = hg_now_ns() - atomic_load_explicit(&program->begun_ns, memory_order_relaxed);
    uint64_t rest_us;
    struct timeval rest;

    (void)none;
    (void)what;
    if (ran_ns >= program->options.run_ns) {
        event_base_loopbreak(program->loop);
        return;
    }
    rest_us = (program->options.run_ns - ran_ns) / HG_NS_PER_US + 1;
    rest.tv_sec = (time_t)(rest_us / 1000000);
    rest.tv_usec = (suseconds_t)(rest_us % 1000000);
    if (event_base_once(program->loop, -1, EV_TIMEOUT, on_limit, program, &rest) < 0)
        event_base_loopbreak(program->loop);
}

/* What ends the loop, but for the stop event, which always does. */
enum { TICK, LIMIT, SIGNAL_INT, SIGNAL_TERM, EVENT_N };

static void free_events(struct event **events)
{
    for (unsigned i = 0; i < EVENT_N; i++)
        if (events[i] != NULL)
            event_free(events[i]);
}

static int add_events(struct hg_program *program, struct event **events, struct hg_err *err)
{
    const uint64_t run_us = program->options.run_ns / HG_NS_PER_US;
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    const struct timeval limit = {.tv_sec = (time_t)(run_us / 1000000),
                                  .tv_usec = (suseconds_t)(run_us % 1000000)};
    bool wanted[EVENT_N] = {
        [TICK] = true,
        [LIMIT] = program->options.run_ns != 0,
        [SIGNAL_INT] = !program->options.no_signals,
        [SIGNAL_TERM] = !program->options.no_signals,
    };

    events[TICK] = event_new(program->loop, -1, EV_PERSIST, on_tick, program);
    events[LIMIT] = evtimer_new(program->loop, on_limit, program);
    events[SIGNAL_INT] = evsignal_new(program->loop, SIGINT, on_end, program->loop);
    events[SIGNAL_TERM] = evsignal_new(program->loop, SIGTERM, on_end, program->loop);
    for (unsigned i = 0; i < EVENT_N; i++) {
        const struct timeval *when = i == TICK ? &tick : i == LIMIT ? &limit : NULL;

        if (events[i] == NULL || (wanted[i] && event_add(events[i], when) < 0)) {
            free_events(events);
            return hg_err_set(err, ENOMEM, "the event loop does not start");
        }
    }
    return 0;
}

/* --- start and end --------------------------------------------------------------------------- */

/* Buffers for everything that can lie in the handoffs, be in the hands of a worker, or hide in its
 * cache. */
static int make_pool(struct hg_program *program, unsigned handoff_n, struct hg_err *err)
{
    const struct hg_pool_options packets = {
        .name = "packets",
        .object_bytes = HG_OWN_BUF_BYTES,
        .n = handoff_n * program->options.handoff_n +
             program->slot_n * (HG_POOL_CACHE_N + handoff_n * HG_BURST_N),
    };
    const struct hg_arena_options arena = {.name = "program", .bytes = hg_pool_bytes(&packets)};
    int rc = hg_arena_new(&program->arena, &arena, err);

    if (rc == 0)
        rc = hg_pool_new(&program->pool, program->arena, &packets, err);
    for (unsigned i = 0; rc == 0 && i < program->slot_n; i++)
        rc = hg_pool_cache_new(&program->slot[i].cache, program->pool, "worker", err);
    return rc;
}

static int prepare(struct hg_program *program, struct hg_err *err)
{
    unsigned handoff_n = 0;

    for (unsigned i = 0; i < program->pipe_n; i++) {
        const struct hg_pipe *pipe = program->pipe[i];

        if (!pipe->complete)
            return hg_err_set(err, EINVAL,
                              "the pipe from port '%s' has no end; expected hg_pipe_transmit()",
                              program->port[pipe->port]->name);
        for (unsigned k = 0; k < pipe->leg_n; k++)
            leg_init_poller(pipe->leg[k]);
        handoff_n += pipe->leg_n - 1;
    }
    return handoff_n == 0 || program->pool != NULL ? 0 : make_pool(program, handoff_n, err);
}

static int start_workers(struct hg_program *program, struct hg_err *err)
{
    for (unsigned i = 0; i < program->slot_n; i++) {
        int rc = engage(program, i, err);

        if (rc == 0)
            rc = hg_worker_start(program->slot[i].worker, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static void stop_workers(struct hg_program *program)
{
    for (unsigned i = 0; i < program->slot_n; i++) {
        hg_worker_stop(program->slot[i].worker);
        /* It has stopped: should its set not be emptied for want of memory, nobody looks at it. */
        (void)hg_worker_set(program->slot[i].worker, NULL, 0, NULL);
    }
}

/* Has the workers, which run, carry to its end what lies in the handoffs. A packet that is in no
 * handoff may be in the hands of a worker: its turn is over after a grace period. */
static void drain(struct hg_program *program)
{
    const struct timespec nap = {.tv_nsec = NAP_US * 1000};

    atomic_store_explicit(&program->receiving, false, memory_order_relaxed);
    hg_qsbr_wait();
    for (unsigned i = 0; i < program->pipe_n; i++) {
        for (unsigned k = 1; k < program->pipe[i]->leg_n; k++) {
            while (hg_handoff_count(program->pipe[i]->leg[k]->in) != 0)
                nanosleep(&nap, NULL);
            hg_qsbr_wait();
        }
    }
}

int hg_program_run(struct hg_program *program, struct hg_err *err)
{
    struct event *events[EVENT_N] = {NULL};
    int rc = program->failed;

    if (rc < 0)
        return hg_err_set(err, -rc, "%s", program->err.text);
    rc = prepare(program, err);
    if (rc == 0)
        rc = add_events(program, events, err);
    if (rc < 0)
        return rc;
    atomic_store_explicit(&program->ended_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&program->begun_ns, hg_now_ns(), memory_order_relaxed);
    program->running = true;
    rc = start_workers(program, err);
    if (rc == 0) {
        atomic_store_explicit(&program->receiving, true, memory_order_relaxed);
        event_base_dispatch(program->loop);
        drain(program);
    }
    program->running = false;
    stop_workers(program);
    atomic_store_explicit(&program->ended_ns, hg_now_ns(), memory_order_relaxed);
    free_events(events);
    return rc;
}
