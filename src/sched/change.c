/*
 * Changes while the scheduler runs. Control leaves a wish and sets its bit; the thread takes it over between two
 * packets, in one place, so that nothing on the packet's way looks for changes but for one flag in a
 * burst. Nobody waits for anybody, and a scheduler whose thread sleeps finds the wishes when it wakes up.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "sched/state.h"

/* What a shaper must be able to hold beside the longest packet: a slot of the wheel and the poll around it. */
enum { SLACK_US = 2, DEFAULT_BURST_US = 1000, DEFAULT_BURST_PACKETS = 2 };

static uint64_t bytes_in(uint64_t rate_bps, uint64_t us)
{
    return (rate_bps * us + 7999999) / 8000000;
}

int hg_sched_check_shape(struct hg_sched_shape *shape, const char *of, uint64_t byte_cost,
                         uint32_t charge_max, struct hg_err *err)
{
    uint64_t least = charge_max + bytes_in(shape->rate_bps, SLACK_US);
    uint64_t most = UINT64_MAX / 2 / byte_cost;

    if (shape->rate_bps == 0)
        return 0;
    if (shape->rate_bps < HG_SCHED_RATE_MIN || shape->rate_bps > HG_SCHED_RATE_MAX)
        return hg_err_set(err, EINVAL,
                          "%s: a rate of %" PRIu64 " bit/s; expected %" PRIu64 " to %" PRIu64
                          ", or 0 for no limit",
                          of, shape->rate_bps, HG_SCHED_RATE_MIN, HG_SCHED_RATE_MAX);
    if (shape->burst_bytes == 0) {
        uint64_t in_time = bytes_in(shape->rate_bps, DEFAULT_BURST_US);
        uint64_t in_packets = (uint64_t)DEFAULT_BURST_PACKETS * charge_max;

        shape->burst_bytes = hg_min_u64(in_time > in_packets ? in_time : in_packets, most);
    }
    if (shape->burst_bytes < least || shape->burst_bytes > most)
        return hg_err_set(err, EINVAL,
                          "%s: a burst of %" PRIu64 " bytes; expected %" PRIu64
                          " (the longest packet and %d us at %" PRIu64 " bit/s) to %" PRIu64,
                          of, shape->burst_bytes, least, SLACK_US, shape->rate_bps, most);
    return 0;
}

static int check_shape(const struct hg_sched *s, struct hg_sched_shape *shape, const char *of,
                       struct hg_err *err)
{
    return hg_sched_check_shape(shape, of, s->byte_cost, s->charge_max, err);
}

int hg_sched_check_limits(uint32_t packets_max, uint32_t bytes_max, uint32_t charge_max,
                          struct hg_err *err)
{
    if (packets_max == 0 || bytes_max < charge_max)
        return hg_err_set(err, EINVAL,
                          "queue: a limit of %" PRIu32 " packets and %" PRIu32
                          " bytes; expected room for the longest packet, %" PRIu32 " bytes",
                          packets_max, bytes_max, charge_max);
    return 0;
}

static void put_shape(struct wish *wish, const struct hg_sched_shape *shape)
{
    atomic_store_explicit(&wish->rate_bps, shape->rate_bps, memory_order_relaxed);
    atomic_store_explicit(&wish->burst_bytes, shape->burst_bytes, memory_order_relaxed);
}

static void put_u32(_Atomic(uint32_t) *at, uint32_t value)
{
    atomic_store_explicit(at, value, memory_order_relaxed);
}

static uint32_t get_u32(_Atomic(uint32_t) *at)
{
    return atomic_load_explicit(at, memory_order_relaxed);
}

/* Release: pairs with the exchanges in hg_sched_take_over(). */
static void tell(struct hg_sched *s, uint32_t i)
{
    atomic_fetch_or_explicit(&s->changed[i / 64], UINT64_C(1) << i % 64, memory_order_release);
    atomic_store_explicit(&s->any_changed, true, memory_order_release);
}

static int check_weight(uint32_t weight, const char *of, struct hg_err *err)
{
    if (weight == 0 || weight > HG_SCHED_WEIGHT_MAX)
        return hg_err_set(err, EINVAL, "%s: a weight of %" PRIu32 "; expected 1 to %d", of, weight,
                          HG_SCHED_WEIGHT_MAX);
    return 0;
}

int hg_sched_set_port(struct hg_sched *sched, const struct hg_sched_shape *shape,
                      struct hg_err *err)
{
    struct hg_sched_shape checked = *shape;
    int rc = check_shape(sched, &checked, "port", err);

    if (rc < 0)
        return rc;
    put_shape(&sched->wish[0], &checked);
    tell(sched, 0);
    return 0;
}

int hg_sched_set_subport(struct hg_sched *sched, uint32_t subport,
                         const struct hg_sched_shape *shape, uint32_t weight, struct hg_err *err)
{
    struct hg_sched_shape checked = *shape;
    uint32_t i = wish_of_subports() + subport;
    int rc;

    if (subport >= sched->subport_n)
        return hg_err_set(err, EINVAL, "subport %" PRIu32 ": the port has %" PRIu32 " of them",
                          subport, sched->subport_n);
    if ((rc = check_shape(sched, &checked, "subport", err)) < 0 ||
        (rc = check_weight(weight, "subport", err)) < 0)
        return rc;
    put_shape(&sched->wish[i], &checked);
    put_u32(&sched->wish[i].weight, weight);
    tell(sched, i);
    return 0;
}

int hg_sched_set_class(struct hg_sched *sched, uint32_t subport, uint32_t tc,
                       const struct hg_sched_shape *shape, struct hg_err *err)
{
    struct hg_sched_shape checked = *shape;
    uint32_t i = wish_of_classes(sched) + subport * sched->class_n + tc;
    int rc;

    if (subport >= sched->subport_n || tc >= sched->class_n)
        return hg_err_set(err, EINVAL,
                          "class %" PRIu32 " of subport %" PRIu32 ": there are %" PRIu32
                          " subports of %" PRIu32 " classes",
                          tc, subport, sched->subport_n, sched->class_n);
    if ((rc = check_shape(sched, &checked, "class", err)) < 0)
        return rc;
    put_shape(&sched->wish[i], &checked);
    tell(sched, i);
    return 0;
}

int hg_sched_set_queue(struct hg_sched *sched, uint32_t queue, uint32_t weight,
                       uint32_t packets_max, uint32_t bytes_max, struct hg_err *err)
{
    uint32_t i = wish_of_queues(sched) + queue;
    int rc;

    if (queue >= sched->queue_total)
        return hg_err_set(err, EINVAL, "queue %" PRIu32 ": the port has %" PRIu32 " of them", queue,
                          sched->queue_total);
    if ((rc = check_weight(weight, "queue", err)) < 0 ||
        (rc = hg_sched_check_limits(packets_max, bytes_max, sched->charge_max, err)) < 0)
        return rc;
    put_u32(&sched->wish[i].weight, weight);
    put_u32(&sched->wish[i].packets_max, packets_max);
    put_u32(&sched->wish[i].bytes_max, bytes_max);
    tell(sched, i);
    return 0;
}

void hg_sched_wish_all(struct hg_sched *sched, const struct hg_sched_options *options)
{
    hg_sched_set_port(sched, &options->port, NULL);
    for (uint32_t i = 0; i < sched->subport_n; i++)
        hg_sched_set_subport(sched, i, &options->subport, 1, NULL);
    for (uint32_t i = 0; i < sched->class_total; i++) {
        uint32_t tc = i % sched->class_n;

        hg_sched_set_class(sched, i / sched->class_n, tc, &options->classes[tc], NULL);
    }
    for (uint32_t i = 0; i < sched->queue_total; i++)
        hg_sched_set_queue(sched, i, 1, options->queue_packets, options->queue_bytes, NULL);
}

static void shape(const struct hg_sched *s, struct bucket *bucket, struct wish *wish)
{
    uint64_t rate_bps = atomic_load_explicit(&wish->rate_bps, memory_order_relaxed);
    uint64_t burst = atomic_load_explicit(&wish->burst_bytes, memory_order_relaxed);

    bucket_set(bucket, rate_bps, burst * s->byte_cost);
}

static void take_over(struct hg_sched *s, uint32_t i)
{
    struct wish *wish = &s->wish[i];
    uint32_t weight = get_u32(&wish->weight);

    if (i >= wish_of_queues(s)) {
        struct queue *queue = &s->queue[i - wish_of_queues(s)];

        queue->quantum = weight * s->charge_max;
        queue->waiting_max = get_u32(&wish->packets_max);
        queue->bytes_max = get_u32(&wish->bytes_max);
    } else if (i >= wish_of_classes(s)) {
        struct tc *tc = &s->tc[i - wish_of_classes(s)];

        shape(s, &tc->bucket, wish);
        hg_sched_reconsider(s, tc->subport);
    } else if (i >= wish_of_subports()) {
        struct subport *subport = &s->subport[i - wish_of_subports()];

        shape(s, &subport->bucket, wish);
        subport->quantum = weight * s->charge_max;
        hg_sched_reconsider(s, i - wish_of_subports());
    } else {
        shape(s, &s->bucket, wish);
    }
}

void hg_sched_take_over(struct hg_sched *sched)
{
    /* Acquire: pairs with the releases in tell(). */
    atomic_exchange_explicit(&sched->any_changed, false, memory_order_acquire);
    for (uint32_t word = 0; word < (sched->wish_total + 63) / 64; word++) {
        uint64_t bits;

        if (atomic_load_explicit(&sched->changed[word], memory_order_relaxed) == 0)
            continue;
        bits = atomic_exchange_explicit(&sched->changed[word], 0, memory_order_acquire);
        for (; bits != 0; bits &= bits - 1)
            take_over(sched, word * 64 + (uint32_t)__builtin_ctzll(bits));
    }
}
