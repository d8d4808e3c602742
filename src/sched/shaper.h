/*
 * A shaper: the scheduler between a stage that gives it packets and a worker that sends them when
 * it is their time.
 *
 *   receive -> stages -> hg_shaper_stage ~ ~ waiting ~ ~ poller -> send()
 *
 * Packets are borrowed for a burst, so what is to wait is made owned at the stage, and freed when
 * it has been sent. The poller sleeps until the scheduler's next event: its fd is a timer.
 *
 * The stage and the poller belong to one worker; the scheduler counts in nanoseconds of hg_now_ns()
 * and is that worker's, but for what control may do with it (sched/sched.h).
 */
#ifndef HG_SCHED_SHAPER_H
#define HG_SCHED_SHAPER_H

#include <stdint.h>

#include "base/api.h"
#include "base/err.h"
#include "pkt/own.h"
#include "pkt/pkt.h"
#include "sched/sched.h"
#include "worker/worker.h"

HG_API_BEGIN

/* All of it stays the caller's and must outlive the shaper. */
struct hg_shaper_options {
    struct hg_sched *sched;      /* with a clock_hz of 0 */
    struct hg_pool_cache *cache; /* the worker's; packets that wait lie in buffers of its pool */
    /* The queue of a packet (hg_sched_queue()); NULL: queue 0. */
    uint32_t (*queue)(void *ctx, const struct hg_pkt *pkt);
    /* Transmits n packets, n <= HG_BURST_N, which are lent to it until it returns. */
    void (*send)(void *ctx, struct hg_pkt **pkts, unsigned n);
    void *ctx; /* of both */
};

struct hg_shaper;

/* Returns 0 or a negative errno with *err: -EINVAL without sched, cache or send, or for a scheduler
 * with a clock of its own, -EMFILE, -ENOMEM. Control. */
int hg_shaper_new(struct hg_shaper **shaper, const struct hg_shaper_options *options,
                  struct hg_err *err);

/* Frees it and the packets that wait, which their queues count as dropped. Nobody polls it any
 * more. Control. */
void hg_shaper_free(struct hg_shaper *shaper);

/* What hg_worker_set() takes. The shaper's. */
struct hg_poller *hg_shaper_poller(struct hg_shaper *shaper);

/*
 * Puts copies of n packets into the queues they belong to and returns 0, the number of packets that
 * are still the caller's business. It fits as the last stage of a pipe (program/program.h). Those
 * that the scheduler refuses are counted by their queue, those for which the pool has no buffers by
 * hg_shaper_no_buffer(). The worker.
 */
unsigned hg_shaper_stage(void *shaper, struct hg_pkt **pkts, unsigned n);

/* Packets dropped since the pool had no buffers. Any thread. */
uint64_t hg_shaper_no_buffer(const struct hg_shaper *shaper);

HG_API_END

#endif
