/*
 * Counting: what the parts of a program have counted, added up and printed.
 */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "program/state.h"

static uint64_t dropped_by(const struct hg_drops *drops)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < HG_DROP_N; i++)
        n += hg_count_get(&drops->reason[i]);
    return n;
}

void hg_program_totals(const struct hg_program *program, struct hg_program_totals *totals)
{
    uint64_t ended_ns = atomic_load_explicit(&program->ended_ns, memory_order_relaxed);
    uint64_t begun_ns = atomic_load_explicit(&program->begun_ns, memory_order_relaxed);

    memset(totals, 0, sizeof(*totals));
    if (begun_ns != 0)
        totals->run_ns = (ended_ns != 0 ? ended_ns : hg_now_ns()) - begun_ns;
    for (unsigned i = 0; i < program->pipe_n; i++) {
        const struct hg_pipe *pipe = program->pipe[i];
        struct hg_stage_stats stats;

        totals->received += hg_count_get(&pipe->leg[0]->rxq->stats.packets) -
                            dropped_by(&pipe->leg[0]->rxq->stats.drops);
        for (unsigned k = 0; hg_pipe_stats(pipe, k, &stats); k++)
            totals->dropped += stats.dropped;
    }
    for (unsigned i = 0; i < program->port_n; i++) {
        const struct hg_port *port = program->port[i];

        for (unsigned q = 0; q < port->queue_n; q++) {
            totals->transmitted += hg_count_get(&port->txq[q]->stats.packets);
            totals->lost +=
                dropped_by(&port->txq[q]->stats.drops) + dropped_by(&port->rxq[q]->stats.drops);
        }
    }
}

bool hg_pipe_stats(const struct hg_pipe *pipe, unsigned index, struct hg_stage_stats *stats)
{
    for (unsigned i = 0; i < pipe->leg_n; i++) {
        const struct leg *leg = pipe->leg[i];
        const struct stage *stage = index < leg->stage_n ? &leg->stage[index] : &leg->end;

        if (index > leg->stage_n) {
            index -= leg->stage_n + 1;
            continue;
        }
        memcpy(stats->name, stage->name, sizeof(stats->name));
        stats->worker = leg->worker;
        stats->packets = hg_count_get(&stage->packets);
        stats->dropped = hg_count_get(&stage->dropped);
        return true;
    }
    return false;
}

static void print_port(const struct hg_port *port, FILE *to)
{
    uint64_t rx = 0, tx = 0;
    uint64_t drops[HG_DROP_N] = {0};
    struct hg_port_status status;

    port->driver->status(port, &status);
    for (unsigned q = 0; q < port->queue_n; q++) {
        rx += hg_count_get(&port->rxq[q]->stats.packets);
        tx += hg_count_get(&port->txq[q]->stats.packets);
        for (unsigned i = 0; i < HG_DROP_N; i++)
            drops[i] += hg_count_get(&port->rxq[q]->stats.drops.reason[i]) +
                        hg_count_get(&port->txq[q]->stats.drops.reason[i]);
    }
    fprintf(to, "  port %u %s: rx %" PRIu64 ", tx %" PRIu64, port->id, port->name, rx, tx);
    for (unsigned i = 0; i < HG_DROP_N; i++)
        if (drops[i] != 0)
            fprintf(to, ", %s %" PRIu64, hg_drop_texts[i].name, drops[i]);
    fprintf(to, "; %s\n", status.text);
}

static void print_worker(const struct hg_worker *worker, unsigned index, FILE *to)
{
    const struct hg_worker_stats *stats = hg_worker_stats(worker);
    uint64_t packets = hg_count_get(&stats->packets);
    uint64_t busy = hg_count_get(&stats->busy_cycles);
    uint64_t idle = hg_count_get(&stats->idle_cycles);

    fprintf(to, "  worker %u", index);
    if (hg_worker_cpu(worker) >= 0)
        fprintf(to, " on CPU %d", hg_worker_cpu(worker));
    fprintf(to,
            ": %" PRIu64 " packets, %.1f cycles each, %.0f %% of its turns busy, %" PRIu64
            " sleeps\n",
            packets, packets != 0 ? (double)busy / (double)packets : 0,
            busy + idle != 0 ? 100.0 * (double)busy / (double)(busy + idle) : 0,
            hg_count_get(&stats->sleeps));
}

void hg_program_report(const struct hg_program *program, FILE *to)
{
    struct hg_program_totals totals;
    struct hg_stage_stats stats;
    double seconds;

    hg_program_totals(program, &totals);
    seconds = (double)totals.run_ns / (double)HG_NS_PER_S;
    fprintf(to, "%.3f s: %" PRIu64 " packets received, %.3f Mpps\n", seconds, totals.received,
            seconds > 0 ? (double)totals.received / seconds / 1e6 : 0);
    for (unsigned i = 0; i < program->port_n; i++)
        print_port(program->port[i], to);
    for (unsigned i = 0; i < program->pipe_n; i++)
        for (unsigned k = 0; hg_pipe_stats(program->pipe[i], k, &stats); k++)
            fprintf(to, "  pipe %u %s: %" PRIu64 " packets, %" PRIu64 " dropped\n", i, stats.name,
                    stats.packets, stats.dropped);
    for (unsigned i = 0; i < program->slot_n; i++)
        print_worker(program->slot[i].worker, i, to);
}
