/*
 * The life of a program, and composing.
 */
#include "program/program.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/number.h"
#include "base/quote.h"
#include "drivers/drivers.h"
#include "port/option.h"
#include "program/state.h"

enum {
    HANDOFF_N = 1024,             /* packets, where the options do not say */
    HANDOFF_MIN = 4 * HG_BURST_N, /* less and both ends wait for each other, burst by burst */
    HANDOFF_MAX = 65536,          /* so that all of them together are below 2^32 */
    CPU_MAX = 1 << 16,
};

void program_fail(struct hg_program *program, int errno_value, const char *fmt, ...)
{
    va_list args;

    if (program->failed < 0)
        return;
    program->failed = -errno_value;
    va_start(args, fmt);
    vsnprintf(program->err.text, sizeof(program->err.text), fmt, args);
    va_end(args);
}

/* --- workers --------------------------------------------------------------------------------- */

static int add_worker(struct hg_program *program, int cpu, struct hg_err *err)
{
    const struct hg_worker_options options = {
        .cpu = cpu, .sleep = !program->options.poll, .idle_ns = HG_WORKER_IDLE_US * HG_NS_PER_US};
    struct slot *slot = &program->slot[program->slot_n];
    int rc;

    if (program->slot_n == HG_PROGRAM_WORKERS_MAX)
        return hg_err_set(err, EINVAL, "too many workers; expected at most %d",
                          HG_PROGRAM_WORKERS_MAX);
    for (unsigned i = 0; cpu >= 0 && i < program->slot_n; i++)
        if (hg_worker_cpu(program->slot[i].worker) == cpu)
            return hg_err_set(err, EINVAL, "CPU %d is listed twice; expected one worker per CPU",
                              cpu);
    slot->burst =
        aligned_alloc(HG_CACHE_LINE_BYTES, hg_round_up(sizeof(*slot->burst), HG_CACHE_LINE_BYTES));
    if (slot->burst == NULL)
        return hg_err_set(err, ENOMEM, "no memory for a worker's burst");
    memset(slot->burst, 0, sizeof(*slot->burst));
    rc = hg_worker_new(&slot->worker, &options, NULL, err);
    if (rc < 0)
        free(slot->burst);
    else
        program->slot_n++;
    return rc;
}

/* Adds the workers of one item of a list of CPUs: "3" or "4-7". The item is cut into pieces. */
static int add_range(struct hg_program *program, char *item, struct hg_err *err)
{
    char *end = strchr(item, '-');
    uint64_t first, last;
    int rc = 0;

    if (end != NULL)
        *end++ = '\0';
    if (hg_parse_uint(item, 0, CPU_MAX, &first) < 0 ||
        hg_parse_uint(end != NULL ? end : item, first, CPU_MAX, &last) < 0)
        return hg_err_set(err, EINVAL, "found %s; expected a list of CPUs, as in 1,4-7",
                          hg_quote(program->options.cpus).text);
    for (uint64_t cpu = first; rc == 0 && cpu <= last; cpu++)
        rc = add_worker(program, (int)cpu, err);
    return rc;
}

static int add_workers(struct hg_program *program, struct hg_err *err)
{
    unsigned n = program->options.workers_n != 0 ? program->options.workers_n : 1;
    char *list;
    char *at;
    char *item;
    int rc = 0;

    if (program->options.cpus == NULL) {
        for (unsigned i = 0; rc == 0 && i < n; i++)
            rc = add_worker(program, -1, err);
        return rc;
    }
    list = strdup(program->options.cpus);
    if (list == NULL)
        return hg_err_set(err, ENOMEM, "out of memory");
    at = list;
    while (rc == 0 && (item = strsep(&at, ",")) != NULL)
        rc = add_range(program, item, err);
    free(list);
    return rc;
}

/* --- birth and death ------------------------------------------------------------------------- */

static void on_stop(evutil_socket_t fd, short what, void *ctx)
{
    eventfd_t ignored;

    (void)what;
    (void)eventfd_read(fd, &ignored);
    event_base_loopbreak(ctx);
}

static int open_loop(struct hg_program *program, struct hg_err *err)
{
    program->stop_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    program->loop = event_base_new();
    if (program->loop != NULL && program->stop_fd >= 0)
        program->stop = event_new(program->loop, program->stop_fd, EV_READ | EV_PERSIST, on_stop,
                                  program->loop);
    if (program->stop == NULL || event_add(program->stop, NULL) < 0)
        return hg_err_set(err, ENOMEM, "the event loop does not start");
    program->host = (struct hg_port_host){
        .loop = program->loop, .queues_changed = program_queues_changed, .ctx = program};
    return 0;
}

int hg_program_new(struct hg_program **into, const struct hg_program_options *options,
                   struct hg_err *err)
{
    struct hg_program *program = calloc(1, sizeof(*program));
    int rc;

    *into = NULL;
    if (program == NULL)
        return hg_err_set(err, ENOMEM, "out of memory");
    program->options = *options;
    program->stop_fd = -1;
    if (options->handoff_n == 0)
        program->options.handoff_n = HANDOFF_N;
    else if (options->handoff_n < HANDOFF_MIN || options->handoff_n > HANDOFF_MAX ||
             !hg_is_power_of_two(options->handoff_n)) {
        free(program);
        return hg_err_set(err, EINVAL,
                          "a handoff of %u packets; expected a power of two from %d to %d",
                          options->handoff_n, HANDOFF_MIN, HANDOFF_MAX);
    }
    rc = open_loop(program, err);
    if (rc == 0)
        rc = add_workers(program, err);
    if (rc < 0)
        hg_program_free(program);
    else
        *into = program;
    return rc;
}

static void free_pipe(struct hg_pipe *pipe)
{
    for (unsigned i = 0; i < pipe->leg_n; i++) {
        hg_handoff_free(pipe->leg[i]->out);
        free(pipe->leg[i]);
    }
    free(pipe);
}

void hg_program_free(struct hg_program *program)
{
    if (program == NULL)
        return;
    for (unsigned i = 0; i < program->slot_n; i++) {
        hg_worker_free(program->slot[i].worker);
        if (program->slot[i].cache != NULL)
            hg_pool_cache_free(program->slot[i].cache);
        free(program->slot[i].burst);
    }
    for (unsigned i = program->port_n; i-- != 0;) {
        program->port[i]->driver->close(program->port[i]);
        free(program->port[i]);
    }
    for (unsigned i = 0; i < program->pipe_n; i++)
        free_pipe(program->pipe[i]);
    if (program->pool != NULL)
        hg_pool_free(program->pool);
    if (program->arena != NULL)
        hg_arena_free(program->arena);
    if (program->stop != NULL)
        event_free(program->stop);
    if (program->loop != NULL)
        event_base_free(program->loop);
    if (program->stop_fd >= 0)
        close(program->stop_fd);
    free(program);
}

void hg_program_stop(struct hg_program *program)
{
    (void)eventfd_write(program->stop_fd, 1); /* cannot fail: nobody adds up 2^64 of them */
}

/* --- ports ----------------------------------------------------------------------------------- */

static int open_port(struct hg_program *program, struct hg_port *port, const char *text,
                     struct hg_err *err)
{
    union hg_port_value values[HG_PORT_OPTIONS_MAX];
    char *pieces = strdup(text);
    int rc;

    if (pieces == NULL)
        return hg_err_set(err, ENOMEM, "out of memory");
    rc = hg_port_text_read(pieces, hg_drivers, &port->driver, values, err);
    if (rc == 0) {
        port->id = (uint16_t)program->port_n;
        port->host = &program->host;
        snprintf(port->name, sizeof(port->name), "%.20s%u", port->driver->type, port->id);
        rc = port->driver->open(port, values, err);
    }
    free(pieces);
    return rc;
}

uint16_t hg_program_open(struct hg_program *program, const char *text)
{
    struct hg_port *port;
    struct hg_err err;
    int rc;

    if (program->failed < 0)
        return 0;
    if (program->port_n == HG_PROGRAM_PORTS_MAX) {
        program_fail(program, ENOSPC, "too many ports; expected at most %d", HG_PROGRAM_PORTS_MAX);
        return 0;
    }
    port = calloc(1, sizeof(*port));
    if (port == NULL) {
        program_fail(program, ENOMEM, "out of memory");
        return 0;
    }
    rc = open_port(program, port, text, &err);
    if (rc < 0) {
        program_fail(program, -rc, "port %s: %s", hg_quote(text).text, err.text);
        free(port);
        return 0;
    }
    program->port[program->port_n++] = port;
    return port->id;
}

struct hg_port *hg_program_port(const struct hg_program *program, uint16_t port)
{
    return port < program->port_n ? program->port[port] : NULL;
}

unsigned hg_program_queues(const struct hg_program *program, uint16_t port)
{
    return port < program->port_n ? program->port[port]->queue_n : 0;
}

/* --- pipes ----------------------------------------------------------------------------------- */

/* Whether it makes sense to add to a pipe; says so if not. */
static bool may_grow(const struct hg_pipe *pipe, const char *what)
{
    if (pipe == NULL || pipe->program->failed < 0)
        return false;
    if (!pipe->complete)
        return true;
    program_fail(pipe->program, EINVAL, "a %s behind the end of a pipe", what);
    return false;
}

static bool has_worker(struct hg_program *program, unsigned worker)
{
    if (worker >= program->slot_n)
        program_fail(program, EINVAL, "there is no worker %u; this program has %u, from 0 on",
                     worker, program->slot_n);
    return worker < program->slot_n;
}

/* Puts another leg behind the pipe's last one. */
static struct leg *add_leg(struct hg_pipe *pipe, unsigned worker)
{
    struct hg_program *program = pipe->program;
    struct leg *leg;

    if (!has_worker(program, worker))
        return NULL;
    leg = aligned_alloc(alignof(struct leg), sizeof(*leg));
    if (leg == NULL) {
        program_fail(program, ENOMEM, "out of memory");
        return NULL;
    }
    memset(leg, 0, sizeof(*leg));
    leg->program = program;
    leg->worker = worker;
    leg->slot = &program->slot[worker];
    pipe->leg[pipe->leg_n++] = leg;
    return leg;
}

static struct leg *last_leg(const struct hg_pipe *pipe)
{
    return pipe->leg[pipe->leg_n - 1];
}

/* Whether a pipe may begin there; says so if not. */
static bool may_receive(struct hg_program *program, uint16_t port, unsigned queue)
{
    if (program->failed < 0)
        return false;
    if (queue >= hg_program_queues(program, port)) {
        program_fail(program, EINVAL, "there is no queue %u of port %u; expected one of %u", queue,
                     port, hg_program_queues(program, port));
        return false;
    }
    for (unsigned i = 0; i < program->pipe_n; i++) {
        if (program->pipe[i]->leg[0]->rxq != program->port[port]->rxq[queue])
            continue;
        program_fail(program, EEXIST, "a pipe receives from queue %u of port '%s' already", queue,
                     program->port[port]->name);
        return false;
    }
    if (program->pipe_n == HG_PROGRAM_PIPES_MAX)
        program_fail(program, ENOSPC, "too many pipes; expected at most %d", HG_PROGRAM_PIPES_MAX);
    return program->pipe_n < HG_PROGRAM_PIPES_MAX;
}

struct hg_pipe *hg_program_receive(struct hg_program *program, uint16_t port, unsigned queue,
                                   unsigned worker)
{
    struct hg_pipe *pipe;
    struct leg *leg;

    if (!may_receive(program, port, queue))
        return NULL;
    pipe = calloc(1, sizeof(*pipe));
    if (pipe == NULL) {
        program_fail(program, ENOMEM, "out of memory");
        return NULL;
    }
    pipe->program = program;
    pipe->port = port;
    leg = add_leg(pipe, worker);
    if (leg == NULL) {
        free(pipe);
        return NULL;
    }
    leg->rxq = program->port[port]->rxq[queue];
    program->pipe[program->pipe_n++] = pipe;
    return pipe;
}

void hg_pipe_stage(struct hg_pipe *pipe, const char *name, hg_stage_fn *fn, void *ctx)
{
    struct leg *leg;

    if (!may_grow(pipe, "stage"))
        return;
    leg = last_leg(pipe);
    if (leg->stage_n == HG_PIPE_STAGES_MAX) {
        program_fail(pipe->program, ENOSPC, "stage '%s' is one too many; expected at most %d", name,
                     HG_PIPE_STAGES_MAX);
        return;
    }
    leg->stage[leg->stage_n].fn = fn;
    leg->stage[leg->stage_n].ctx = ctx;
    snprintf(leg->stage[leg->stage_n].name, sizeof(leg->stage[0].name), "%s", name);
    leg->stage_n++;
}

void hg_pipe_handoff(struct hg_pipe *pipe, unsigned worker)
{
    struct hg_handoff *handoff;
    struct leg *from;
    struct leg *to;
    struct hg_err err;
    int rc;

    if (!may_grow(pipe, "handoff"))
        return;
    if (pipe->leg_n == HG_PIPE_WORKERS_MAX) {
        program_fail(pipe->program, ENOSPC, "too many handoffs; expected at most %d",
                     HG_PIPE_WORKERS_MAX - 1);
        return;
    }
    rc = hg_handoff_new(&handoff, pipe->program->options.handoff_n, &err);
    if (rc < 0) {
        program_fail(pipe->program, -rc, "%s", err.text);
        return;
    }
    from = last_leg(pipe);
    to = add_leg(pipe, worker);
    if (to == NULL) {
        hg_handoff_free(handoff);
        return;
    }
    snprintf(from->end.name, sizeof(from->end.name), "handoff");
    from->out = to->in = handoff;
}

void hg_pipe_transmit(struct hg_pipe *pipe, int port)
{
    struct leg *leg;

    if (!may_grow(pipe, "transmit"))
        return;
    if (port != HG_OUT_BY_PACKET && (port < 0 || (unsigned)port >= pipe->program->port_n)) {
        program_fail(pipe->program, EINVAL, "there is no port %d; this program has %u, from 0 on",
                     port, pipe->program->port_n);
        return;
    }
    leg = last_leg(pipe);
    leg->to = port == HG_OUT_BY_PACKET ? NULL : pipe->program->port[port];
    snprintf(leg->end.name, sizeof(leg->end.name), "transmit");
    pipe->complete = true;
}

void hg_program_poller(struct hg_program *program, struct hg_poller *poller, unsigned worker)
{
    if (program->failed < 0 || !has_worker(program, worker))
        return;
    if (program->foreign_n == HG_PROGRAM_POLLERS_MAX) {
        program_fail(program, ENOSPC, "too many pollers; expected at most %d",
                     HG_PROGRAM_POLLERS_MAX);
        return;
    }
    program->foreign[program->foreign_n].poller = poller;
    program->foreign[program->foreign_n].worker = worker;
    program->foreign_n++;
}
