/*
 * Making a scheduler: one piece of the arena for all of it.
 */
#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "pkt/pkt.h"
#include "sched/state.h"

/* Options with their defaults filled in. */
static struct hg_sched_options complete(const struct hg_sched_options *options)
{
    struct hg_sched_options o = *options;

    if (!o.name)
        o.name = "scheduler";
    if (o.clock_hz == 0)
        o.clock_hz = HG_NS_PER_S;
    if (o.subport_n == 0)
        o.subport_n = 1;
    if (o.class_n == 0)
        o.class_n = 1;
    if (o.queue_n == 0)
        o.queue_n = 1;
    if (o.packet_n == 0)
        o.packet_n = 1024;
    if (o.packet_max_bytes == 0)
        o.packet_max_bytes = HG_SCHED_PACKET_BYTES;
    if (o.queue_packets == 0)
        o.queue_packets = 64;
    if (o.queue_bytes == 0)
        o.queue_bytes = UINT32_MAX;
    return o;
}

static uint64_t queues_of(const struct hg_sched_options *o)
{
    return (uint64_t)o->subport_n * o->class_n * o->queue_n;
}

static int check_geometry(const struct hg_sched_options *o, struct hg_err *err)
{
    if (o->clock_hz < HG_SCHED_CLOCK_MIN || o->clock_hz > HG_SCHED_CLOCK_MAX)
        return hg_err_set(err, EINVAL,
                          "scheduler '%s': a clock of %" PRIu64 " Hz; expected %" PRIu64
                          " to %" PRIu64,
                          o->name, o->clock_hz, HG_SCHED_CLOCK_MIN, HG_SCHED_CLOCK_MAX);
    if (o->class_n > HG_SCHED_CLASSES_MAX)
        return hg_err_set(err, EINVAL, "scheduler '%s': %" PRIu32 " classes; expected at most %d",
                          o->name, o->class_n, HG_SCHED_CLASSES_MAX);
    if (o->subport_n > HG_SCHED_QUEUES_MAX || o->queue_n > HG_SCHED_QUEUES_MAX ||
        queues_of(o) > HG_SCHED_QUEUES_MAX)
        return hg_err_set(err, EINVAL,
                          "scheduler '%s': %" PRIu32 " subports of %" PRIu32 " classes of %" PRIu32
                          " queues; expected at most %" PRIu32 " queues in all",
                          o->name, o->subport_n, o->class_n, o->queue_n, HG_SCHED_QUEUES_MAX);
    if (o->packet_n > HG_SCHED_PACKETS_MAX)
        return hg_err_set(err, EINVAL,
                          "scheduler '%s': %" PRIu32 " packets; expected at most %" PRIu32, o->name,
                          o->packet_n, HG_SCHED_PACKETS_MAX);
    if (o->packet_max_bytes > HG_FRAME_BYTES_MAX || o->overhead_bytes > UINT8_MAX)
        return hg_err_set(err, EINVAL,
                          "scheduler '%s': packets of up to %" PRIu32 " bytes and %" PRIu32
                          " of overhead; expected at most %d and %d",
                          o->name, o->packet_max_bytes, o->overhead_bytes, HG_FRAME_BYTES_MAX,
                          UINT8_MAX);
    return 0;
}

static int check(struct hg_sched_options *o, struct hg_err *err)
{
    uint32_t charge_max = o->packet_max_bytes + o->overhead_bytes;
    uint64_t byte_cost = 8 * o->clock_hz;
    int rc = check_geometry(o, err);

    if (rc == 0)
        rc = hg_sched_check_limits(o->queue_packets, o->queue_bytes, charge_max, err);
    if (rc == 0)
        rc = hg_sched_check_shape(&o->port, "port", byte_cost, charge_max, err);
    if (rc == 0)
        rc = hg_sched_check_shape(&o->subport, "subport", byte_cost, charge_max, err);
    for (uint32_t i = 0; i < HG_SCHED_CLASSES_MAX && rc == 0; i++)
        rc = hg_sched_check_shape(&o->classes[i], "class", byte_cost, charge_max, err);
    return rc;
}

_Static_assert(HG_SCHED_WEIGHT_MAX *(HG_FRAME_BYTES_MAX + UINT8_MAX) < INT32_MAX / 2,
               "a quantum and a deficit fit into 32 bits");
_Static_assert(HG_SCHED_CLOCK_MAX < UINT64_C(1) << 34 && HG_FRAME_BYTES_MAX + UINT8_MAX < 1 << 17,
               "the tokens of a packet fit into 2^54");

/* Where the parts lie, as offsets from the beginning. */
struct plan {
    uint64_t subport;
    uint64_t tc;
    uint64_t queue;
    uint64_t node;
    uint64_t wish;
    uint64_t changed;
    uint64_t bytes;
};

static uint64_t behind(uint64_t offset, uint64_t n, size_t size)
{
    return hg_round_up(offset + n * size, HG_CACHE_LINE_BYTES);
}

static struct plan plan(const struct hg_sched_options *o)
{
    uint64_t class_total = (uint64_t)o->subport_n * o->class_n;
    uint64_t wishes = 1 + o->subport_n + class_total + queues_of(o);
    struct plan p;

    p.subport = behind(0, 1, sizeof(struct hg_sched));
    p.tc = behind(p.subport, o->subport_n, sizeof(struct subport));
    p.queue = behind(p.tc, class_total, sizeof(struct tc));
    p.node = behind(p.queue, queues_of(o), sizeof(struct queue));
    p.wish = behind(p.node, o->packet_n, sizeof(struct node));
    p.changed = behind(p.wish, wishes, sizeof(struct wish));
    p.bytes = behind(p.changed, (wishes + 63) / 64, sizeof(uint64_t));
    return p;
}

uint64_t hg_sched_bytes(const struct hg_sched_options *options)
{
    struct hg_sched_options o = complete(options);

    return check(&o, NULL) < 0 ? 0 : plan(&o).bytes;
}

static struct hg_sched *lay_out(uint8_t *base, const struct plan *p,
                                const struct hg_sched_options *o)
{
    struct hg_sched *s = (struct hg_sched *)(void *)base;

    s->clock_hz = o->clock_hz;
    s->byte_cost = 8 * o->clock_hz;
    s->subport_n = o->subport_n;
    s->class_n = o->class_n;
    s->queue_n = o->queue_n;
    s->packet_max_bytes = o->packet_max_bytes;
    s->overhead_bytes = o->overhead_bytes;
    s->charge_max = o->packet_max_bytes + o->overhead_bytes;
    s->class_total = o->subport_n * o->class_n;
    s->queue_total = s->class_total * o->queue_n;
    s->wish_total = wish_of_queues(s) + s->queue_total;
    s->subport = (struct subport *)(void *)(base + p->subport);
    s->tc = (struct tc *)(void *)(base + p->tc);
    s->queue = (struct queue *)(void *)(base + p->queue);
    s->node = (struct node *)(void *)(base + p->node);
    s->wish = (struct wish *)(void *)(base + p->wish);
    s->changed = (_Atomic(uint64_t) *)(void *)(base + p->changed);
    return s;
}

/* Nothing waits; memory is zeroed by the arena. */
static void empty(struct hg_sched *s, uint32_t packet_n)
{
    for (uint32_t i = 0; i < packet_n; i++)
        s->node[i].next = i + 1 < packet_n ? i + 1 : NONE;
    s->active.first = NONE;
    for (uint32_t i = 0; i < s->class_total; i++) {
        s->tc[i].queues.first = NONE;
        s->tc[i].queues.last = i * s->queue_n;
        s->tc[i].subport = i / s->class_n;
        s->tc[i].number = (uint8_t)(i % s->class_n);
    }
    for (uint32_t i = 0; i < s->queue_total; i++)
        s->queue[i].tc = i / s->queue_n;
    wheel_init(&s->wheel, s->clock_hz);
}

int hg_sched_new(struct hg_sched **sched, struct hg_arena *arena,
                 const struct hg_sched_options *options, struct hg_err *err)
{
    struct hg_sched_options o = complete(options);
    struct hg_arena_info info = hg_arena_info(arena);
    int rc = check(&o, err);
    struct hg_sched *made;
    struct plan p;
    uint8_t *base;

    *sched = NULL;
    if (rc < 0)
        return rc;
    p = plan(&o);
    base = hg_arena_take(arena, o.name, p.bytes, HG_CACHE_LINE_BYTES);
    if (!base)
        return hg_err_set(err, ENOMEM,
                          "scheduler '%s': %" PRIu64 " bytes are needed, memory '%s' has %" PRIu64
                          " left",
                          o.name, p.bytes, info.name, info.bytes - info.used_bytes);
    made = lay_out(base, &p, &o);
    empty(made, o.packet_n);
    hg_sched_wish_all(made, &o);
    hg_sched_take_over(made);
    *sched = made;
    return 0;
}

uint32_t hg_sched_queue(const struct hg_sched *sched, uint32_t subport, uint32_t tc, uint32_t queue)
{
    if (subport >= sched->subport_n || tc >= sched->class_n || queue >= sched->queue_n)
        return NONE;
    return (subport * sched->class_n + tc) * sched->queue_n + queue;
}

struct hg_sched_stats hg_sched_stats(const struct hg_sched *sched, uint32_t queue)
{
    struct hg_sched_stats stats = {0};
    const struct queue *q;

    if (queue >= sched->queue_total)
        return stats;
    q = &sched->queue[queue];
    stats.packets = hg_count_get(&q->sent);
    stats.bytes = hg_count_get(&q->sent_bytes);
    stats.dropped = hg_count_get(&q->dropped);
    stats.waiting = atomic_load_explicit(&q->waiting, memory_order_relaxed);
    return stats;
}
