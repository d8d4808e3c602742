/*
 * What the scheduler is made of. Included by its sources alone.
 *
 *   thread    private to the scheduler's thread
 *   wish      what control wants: written by control, taken over by the thread when its bit in
 *             `changed` is set. A wish that changes again meanwhile sets its bit again, so the last
 *             one wins
 *
 * Memory ordering. control: values of the wish (relaxed), its bit (release), `any_changed`
 * (release). thread: `any_changed`, each word of bits, both by exchange (acquire), then the values.
 * Whoever sees a bit sees the values written before it; whoever clears `any_changed` too early for
 * a bit finds it set again.
 */
#ifndef HG_SCHED_STATE_H
#define HG_SCHED_STATE_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/bits.h"
#include "base/count.h"
#include "sched/bucket.h"
#include "sched/sched.h"
#include "sched/wheel.h"

#define NONE UINT32_MAX /* the index of nothing */

/* A packet that waits. Free ones are a stack, linked by `next` too. */
struct node {
    void *what;
    uint32_t len; /* charged: with overhead */
    uint32_t next;
};

/* The active ones of a round, linked by their `next`. */
struct round {
    uint32_t first;
    uint32_t last; /* meaningful while first is */
};

/* One cache line: all that a packet needs of its queue. Thread, but for what is atomic, which
 * anybody may read. */
struct queue {
    /* Nodes. Not side by side: GCC 12 would fill both from one load around s->free, right behind
     * the store to it, and wait for that store 15 cycles in every packet. */
    alignas(HG_CACHE_LINE_BYTES) uint32_t head;
    uint32_t next; /* in the round of its class */
    uint32_t tail;
    uint32_t tc;
    _Atomic(uint32_t) waiting;
    uint32_t waiting_max;
    uint32_t bytes; /* that wait, charged */
    uint32_t bytes_max;
    int32_t deficit;  /* bytes that it may still send in this round */
    uint32_t quantum; /* bytes of a round */
    struct hg_count sent;
    struct hg_count sent_bytes;
    struct hg_count dropped;
};

_Static_assert(sizeof(struct queue) == HG_CACHE_LINE_BYTES, "a queue is one cache line");

/* One cache line. Thread. */
struct tc {
    alignas(HG_CACHE_LINE_BYTES) struct bucket bucket;
    struct round queues;
    uint32_t subport;
    uint8_t number; /* in its subport: its priority */
};

_Static_assert(sizeof(struct tc) == HG_CACHE_LINE_BYTES, "a class is one cache line");

enum place {
    IDLE,    /* no packets */
    ACTIVE,  /* in the port's round */
    WAITING, /* in the wheel: a shaper holds all that it has */
};

/* Two cache lines; an unlimited one uses the first. Thread. */
struct subport {
    alignas(HG_CACHE_LINE_BYTES) struct wheel_entry entry;
    uint32_t next; /* in the port's round */
    int32_t deficit;
    uint32_t quantum;
    uint64_t held_until; /* the first tick at which a class of `held` may go */
    uint8_t ready;       /* bits of the classes that have packets and that no shaper holds */
    uint8_t held;        /* bits of those that have packets and that their shaper holds */
    uint8_t place;       /* enum place */
    alignas(HG_CACHE_LINE_BYTES) struct bucket bucket;
};

_Static_assert(sizeof(struct subport) == 2 * HG_CACHE_LINE_BYTES, "a subport is two cache lines");

struct wish {
    _Atomic(uint64_t) rate_bps;
    _Atomic(uint64_t) burst_bytes;
    _Atomic(uint32_t) weight;
    _Atomic(uint32_t) packets_max;
    _Atomic(uint32_t) bytes_max;
};

struct hg_sched {
    /* Constant. */
    uint64_t clock_hz;
    uint32_t subport_n;
    uint32_t class_n; /* in a subport */
    uint32_t queue_n; /* in a class */
    uint32_t packet_max_bytes;
    uint32_t overhead_bytes;
    uint32_t charge_max; /* packet_max_bytes + overhead_bytes */
    uint64_t byte_cost;  /* tokens */
    uint32_t class_total;
    uint32_t queue_total;
    uint32_t wish_total;
    struct subport *subport;
    struct tc *tc;
    struct queue *queue;
    struct node *node;
    struct wish *wish;          /* of the port, then of subports, classes, queues */
    _Atomic(uint64_t) *changed; /* a bit for each wish */

    /* Thread. */
    alignas(HG_CACHE_LINE_BYTES) uint32_t free; /* node */
    struct round active;                        /* subports */
    /* when the port's shaper lets the next packet go; 0: nothing waits for it */
    uint64_t port_until;
    struct bucket bucket;
    struct wheel wheel;

    alignas(HG_CACHE_LINE_BYTES) _Atomic(bool) any_changed;
};

/* Takes over what control has changed. Thread. */
void hg_sched_take_over(struct hg_sched *sched);

/* Has the shapers of a subport and its classes looked at again: their rates have changed.
 * Thread. */
void hg_sched_reconsider(struct hg_sched *sched, uint32_t i);

/* Where in `wish` those of a kind begin. */
static inline uint32_t wish_of_subports(void)
{
    return 1;
}

static inline uint32_t wish_of_classes(const struct hg_sched *s)
{
    return 1 + s->subport_n;
}

static inline uint32_t wish_of_queues(const struct hg_sched *s)
{
    return 1 + s->subport_n + s->class_total;
}

/* What control may wish: the checks behind hg_sched_set_*(); the first fills in the default of the
 * burst. Pure; 0 or -EINVAL with *err. */
int hg_sched_check_shape(struct hg_sched_shape *shape, const char *of, uint64_t byte_cost,
                         uint32_t charge_max, struct hg_err *err);
int hg_sched_check_limits(uint32_t packets_max, uint32_t bytes_max, uint32_t charge_max,
                          struct hg_err *err);

/* Wishes for the whole geometry what its options, complete and checked, say. */
void hg_sched_wish_all(struct hg_sched *sched, const struct hg_sched_options *options);

#endif
