/*
 * The hierarchical scheduler: which of the packets that wait goes next, and when.
 *
 *   port        one shaper: the line
 *   subport     a shaper and a weight each: a VM, a tenant, a customer. Subports with packets share
 *               the port by deficit round robin
 *   class       up to 8 in each subport, strict priority, 0 first; a shaper each
 *   queue       a weight and limits each; the queues of a class share it by deficit round robin
 *
 * Priority holds inside a subport only, so nobody starves his neighbours by calling everything
 * urgent. A subport is the level of one customer; what groups customers is a port of its own, so
 * there is no level of "pipes" between the two. A shaper is a token bucket: what leaves in any time
 * t is at most rate * t + burst. Where no shaper holds a packet back, none waits.
 *
 * It schedules pointers with a length, of anything: owned packets (pkt/own.h), usually. They are
 * the scheduler's between hg_sched_enqueue() and hg_sched_dequeue().
 *
 * All memory is taken at creation. A packet costs the same whatever the number of subports and
 * queues: lists of the active ones, a timing wheel for the subports that a shaper holds.
 *
 *   who           what
 *   control       creates, frees, changes rates, weights and limits while it runs, reads statistics
 *   one thread    enqueues, dequeues, asks for the next event
 *
 * Time is the caller's, in ticks of clock_hz, and never goes back.
 */
#ifndef HG_SCHED_SCHED_H
#define HG_SCHED_SCHED_H

#include <stdint.h>

#include "base/api.h"
#include "base/err.h"
#include "mem/arena.h"

HG_API_BEGIN

enum {
    HG_SCHED_CLASSES_MAX = 8,
    HG_SCHED_WEIGHT_MAX = 1024,
    HG_SCHED_ETHERNET_OVERHEAD = 24, /* bytes: preamble and start 8, gap 12, checksum 4 */
};

#define HG_SCHED_QUEUES_MAX   (UINT32_C(1) << 20) /* of a port */
#define HG_SCHED_PACKETS_MAX  (UINT32_C(1) << 26)
#define HG_SCHED_RATE_MIN     UINT64_C(8000) /* bits per second */
#define HG_SCHED_RATE_MAX     UINT64_C(1000000000000)
#define HG_SCHED_CLOCK_MIN    UINT64_C(1000000) /* ticks per second */
#define HG_SCHED_CLOCK_MAX    UINT64_C(10000000000)
#define HG_SCHED_NEVER        UINT64_MAX
#define HG_SCHED_PACKET_BYTES 1518 /* the default of packet_max_bytes: a VLAN tag, no checksum */

/* A shaper. Its burst holds at least the longest packet and what the rate brings in 2 us, or it
 * could not keep the rate; and should hold what the rate brings between two calls of
 * hg_sched_dequeue(). */
struct hg_sched_shape {
    uint64_t rate_bps;    /* bits per second, HG_SCHED_RATE_MIN to _MAX; 0: no limit */
    uint64_t burst_bytes; /* 0: what the rate brings in a millisecond, at least two packets */
};

/* 0 means what is said behind it. Everything but the geometry can be changed later. */
struct hg_sched_options {
    const char *name;
    uint64_t clock_hz;         /* ticks of the caller's clock per second; 10^9 */
    uint32_t subport_n;        /* 1 */
    uint32_t class_n;          /* in each subport; 1 */
    uint32_t queue_n;          /* in each class; 1 */
    uint32_t packet_n;         /* that can wait in all; 1,024 */
    uint32_t packet_max_bytes; /* the longest packet; 1,518 */
    /* added to each packet where bytes count: HG_SCHED_ETHERNET_OVERHEAD for rates of the wire,
     * as shapers, shares and limits then see it; 0 */
    uint32_t overhead_bytes;
    uint32_t queue_packets; /* limit of each queue; 64 */
    uint32_t queue_bytes;   /* limit of each queue; 2^32 - 1 */
    struct hg_sched_shape port;
    struct hg_sched_shape subport; /* of each */
    struct hg_sched_shape classes[HG_SCHED_CLASSES_MAX];
};

struct hg_sched;

/*
 * A scheduler in memory of the arena, which must outlive it. Returns 0 or a negative errno with
 * *err: -EINVAL for a geometry or a shape that does not work, -ENOMEM when the arena has no room.
 * Control.
 */
int hg_sched_new(struct hg_sched **sched, struct hg_arena *arena,
                 const struct hg_sched_options *options, struct hg_err *err);

/* The arena bytes that hg_sched_new() needs for these options; 0 for options that it refuses. */
uint64_t hg_sched_bytes(const struct hg_sched_options *options);

/* The number of a queue, which items name; UINT32_MAX, which no queue has, for one that does not
 * exist. Any thread. */
uint32_t hg_sched_queue(const struct hg_sched *sched, uint32_t subport, uint32_t tc,
                        uint32_t queue);

/* What waits: anything, with its length in bytes, and the queue that it is for. */
struct hg_sched_item {
    void *what;
    uint32_t len; /* without overhead_bytes */
    uint32_t queue;
};

/*
 * Puts n items at the ends of their queues. Takes those that find room; returns how many it
 * refused, which then stand first in item[], in their order, and stay the caller's: their queue is
 * at a limit or does not exist, packet_n of them wait already, or they are longer than
 * packet_max_bytes. The scheduler's thread.
 */
unsigned hg_sched_enqueue(struct hg_sched *sched, struct hg_sched_item *item, unsigned n);

/* Takes up to n packets that may go at `now`, in the order in which they are to go. Returns how
 * many; they are the caller's again. The scheduler's thread. */
unsigned hg_sched_dequeue(struct hg_sched *sched, uint64_t now, void **what, unsigned n);

/*
 * When to call hg_sched_dequeue() again if nothing is enqueued before: a tick that is past when
 * something can go at once, HG_SCHED_NEVER when nothing waits. It may be early, never later than 2
 * us. The scheduler's thread.
 */
uint64_t hg_sched_next(const struct hg_sched *sched);

/* Takes up to n packets as they lie, whatever the shapers say, and counts them as dropped: before
 * the scheduler is given up, until it returns 0. The scheduler's thread, or control when that has
 * ended. */
unsigned hg_sched_drain(struct hg_sched *sched, void **what, unsigned n);

/*
 * Change a shape, a weight, the limits of a queue, while the scheduler runs: in force at the
 * thread's next hg_sched_dequeue(). What waits stays. Weights are 1 (the default) to
 * HG_SCHED_WEIGHT_MAX; in a round a subport or queue sends its weight times the longest packet.
 * Return 0 or -EINVAL with *err. Control, one call at a time.
 */
int hg_sched_set_port(struct hg_sched *sched, const struct hg_sched_shape *shape,
                      struct hg_err *err);
int hg_sched_set_subport(struct hg_sched *sched, uint32_t subport,
                         const struct hg_sched_shape *shape, uint32_t weight, struct hg_err *err);
int hg_sched_set_class(struct hg_sched *sched, uint32_t subport, uint32_t tc,
                       const struct hg_sched_shape *shape, struct hg_err *err);
int hg_sched_set_queue(struct hg_sched *sched, uint32_t queue, uint32_t weight,
                       uint32_t packets_max, uint32_t bytes_max, struct hg_err *err);

/* Bytes are without overhead. packets + dropped + waiting is what was given to the queue. */
struct hg_sched_stats {
    uint64_t packets; /* that were dequeued */
    uint64_t bytes;   /* of them */
    uint64_t dropped; /* packets refused by limits, length or memory, or drained */
    uint32_t waiting; /* packets */
};

/* What a queue has done; all 0 for one that does not exist. Any thread; a moment old. */
struct hg_sched_stats hg_sched_stats(const struct hg_sched *sched, uint32_t queue);

HG_API_END

#endif
