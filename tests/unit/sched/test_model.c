/*
 * The scheduler against plain models, by chance: random geometries, shapes and weights, random
 * arrivals, times and changes.
 *
 *   conservation   what was given is sent once, refused or still there; the order of each queue is
 *                  kept
 *   shapers        at port, subport and class at most rate * t + burst leaves in any time
 *   idleness       nothing waits that no shaper holds, and what the scheduler says of its next
 *                  event is true: nothing may go before it
 */
#include <stdbool.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "bed.h"
#include "random.h"

enum {
    ROUNDS = 500,
    STEPS = 3000,
    QUEUES_MAX = 256,
    SHAPERS_MAX = 1 + 16 + 64,
    BURST = 8,
    LEN_MAX = 1518
};

/* A bucket by the definition, in exact arithmetic: below it, rate * t + burst is kept for every
 * t. */
struct ref_bucket {
    uint64_t rate_bps;
    uint64_t burst_bytes;
    unsigned __int128 tokens; /* bits * 10^9 */
    uint64_t last;
};

struct model {
    struct bed bed;
    struct hg_sched_options o;
    uint32_t queue_total;
    uint64_t given[QUEUES_MAX]; /* packets, numbered in each queue */
    uint64_t sent[QUEUES_MAX];
    uint64_t refused[QUEUES_MAX];
    struct ref_bucket bucket[SHAPERS_MAX]; /* port, subports, classes */
    uint64_t now;
};

static uint64_t seed = 99;

static uint64_t random_below(uint64_t n)
{
    return random_next(&seed) % n;
}

static struct hg_sched_shape random_shape(void)
{
    struct hg_sched_shape shape = {0};

    if (random_below(3) == 0)
        return shape;
    shape.rate_bps = HG_SCHED_RATE_MIN + random_below(UINT64_C(1) << (14 + random_below(20)));
    shape.burst_bytes = LEN_MAX + 24 + shape.rate_bps / 8 / 400000 + random_below(20000) + 1;
    return shape;
}

static void set_ref(struct model *m, uint32_t i, const struct hg_sched_shape *shape)
{
    m->bucket[i].rate_bps = shape->rate_bps;
    m->bucket[i].burst_bytes = shape->burst_bytes;
    m->bucket[i].tokens = (unsigned __int128)shape->burst_bytes * 8 * HG_NS_PER_S;
    m->bucket[i].last = m->now;
}

static void ref_fill(struct ref_bucket *b, uint64_t now)
{
    unsigned __int128 full = (unsigned __int128)b->burst_bytes * 8 * HG_NS_PER_S;

    b->tokens += (unsigned __int128)(now - b->last) * b->rate_bps;
    b->last = now;
    if (b->tokens > full)
        b->tokens = full;
}

/* A packet is a number: its place in its queue, its length, its queue. */
static void *make_packet(uint64_t number, uint32_t len, uint32_t queue)
{
    return (void *)(uintptr_t)(number << 24 | (uint64_t)len << 10 | queue);
}

static void give_some(struct model *m)
{
    struct hg_sched_item item[BURST];
    struct hg_sched_item before[BURST];
    unsigned n = (unsigned)(1 + random_below(BURST));
    unsigned next = 0;
    unsigned refused;

    for (unsigned i = 0; i < n; i++) {
        uint32_t q = (uint32_t)(random_below(2) ? random_below(m->queue_total) : 0);
        uint32_t len = (uint32_t)(1 + random_below(LEN_MAX));

        /* All of a burst count as given; those refused leave gaps in the numbers. */
        item[i].what = make_packet(++m->given[q], len, q);
        item[i].len = len;
        item[i].queue = q;
    }
    memcpy(before, item, sizeof(item));
    refused = hg_sched_enqueue(m->bed.sched, item, n);
    assert_true(refused <= n);
    for (unsigned i = 0; i < refused; i++) {
        while (next < n && before[next].what != item[i].what)
            next++;
        assert_true(next < n); /* in their order, each once */
        next++;
        m->refused[item[i].queue]++;
    }
}

/* What a packet that leaves now has to be. */
static void check_packet(struct model *m, const void *what, uint64_t *last_number)
{
    uint64_t number = (uint64_t)(uintptr_t)what >> 24;
    uint32_t len = (uint32_t)((uintptr_t)what >> 10 & 0x3fff);
    uint32_t queue = (uint32_t)((uintptr_t)what & 0x3ff);
    uint32_t tc = queue / m->o.queue_n;
    uint32_t shaper[3] = {0, 1 + tc / m->o.class_n, 1 + m->o.subport_n + tc};
    unsigned __int128 cost = (unsigned __int128)(len + m->o.overhead_bytes) * 8 * HG_NS_PER_S;

    assert_true(number > last_number[queue]); /* in order */
    last_number[queue] = number;
    m->sent[queue]++;
    for (unsigned i = 0; i < 3; i++) {
        struct ref_bucket *b = &m->bucket[shaper[i]];

        if (b->rate_bps == 0)
            continue;
        ref_fill(b, m->now);
        assert_true(b->tokens >= cost);
        b->tokens -= cost;
    }
}

/* Where nothing is shaped nothing is left when the scheduler has no more to send. */
static void check_idle(struct model *m)
{
    for (uint32_t q = 0; q < m->queue_total && m->bucket[0].rate_bps == 0; q++) {
        uint32_t tc = q / m->o.queue_n;

        if (m->bucket[1 + tc / m->o.class_n].rate_bps == 0 &&
            m->bucket[1 + m->o.subport_n + tc].rate_bps == 0)
            assert_int_equal(hg_sched_stats(m->bed.sched, q).waiting, 0);
    }
    /* Nothing more goes now, so something later, or never. */
    assert_true(hg_sched_next(m->bed.sched) > m->now);
}

/* `next`: what the scheduler said of its next event, if nothing was given since. */
static void take_some(struct model *m, uint64_t *last_number, uint64_t next)
{
    unsigned want = (unsigned)(1 + random_below(BURST));
    void *what[BURST];
    unsigned n = hg_sched_dequeue(m->bed.sched, m->now, what, want);

    assert_true(n <= want);
    if (next > m->now)
        assert_int_equal(n, 0);
    for (unsigned i = 0; i < n; i++)
        check_packet(m, what[i], last_number);
    if (n < want)
        check_idle(m);
}

static void change_something(struct model *m)
{
    struct hg_sched_shape shape = random_shape();
    uint32_t tc = (uint32_t)random_below((uint64_t)m->o.subport_n * m->o.class_n);
    uint32_t weight = (uint32_t)(1 + random_below(5));
    struct hg_sched *s = m->bed.sched;

    switch (random_below(4)) {
    case 0:
        assert_int_equal(hg_sched_set_port(s, &shape, NULL), 0);
        set_ref(m, 0, &shape);
        break;
    case 1:
        assert_int_equal(hg_sched_set_subport(s, tc / m->o.class_n, &shape, weight, NULL), 0);
        set_ref(m, 1 + tc / m->o.class_n, &shape);
        break;
    case 2:
        assert_int_equal(hg_sched_set_class(s, tc / m->o.class_n, tc % m->o.class_n, &shape, NULL),
                         0);
        set_ref(m, 1 + m->o.subport_n + tc, &shape);
        break;
    default:
        assert_int_equal(hg_sched_set_queue(s, (uint32_t)random_below(m->queue_total), weight,
                                            (uint32_t)(1 + random_below(64)), 100000, NULL),
                         0);
    }
    /* In force from now on. */
    hg_sched_dequeue(s, m->now, NULL, 0);
}

/* Until nothing is left, from event to event, as a worker does that sleeps. */
static void run_dry(struct model *m, uint64_t *last_number)
{
    uint64_t next;

    while ((next = hg_sched_next(m->bed.sched)) != HG_SCHED_NEVER) {
        void *what[BURST];
        unsigned n;

        m->now = next > m->now ? next : m->now;
        n = hg_sched_dequeue(m->bed.sched, m->now, what, BURST);
        for (unsigned i = 0; i < n; i++)
            check_packet(m, what[i], last_number);
        if (n < BURST)
            check_idle(m);
    }
}

static void start(struct model *m)
{
    memset(m, 0, sizeof(*m));
    m->o.subport_n = (uint32_t)(1 + random_below(16));
    m->o.class_n = (uint32_t)(1 + random_below(4));
    m->o.queue_n = (uint32_t)(1 + random_below(4));
    m->o.packet_n = (uint32_t)(1 + random_below(500));
    m->o.queue_packets = (uint32_t)(1 + random_below(64));
    m->o.overhead_bytes = random_below(2) ? 24 : 0;
    m->queue_total = m->o.subport_n * m->o.class_n * m->o.queue_n;
    m->bed = bed_new(&m->o);
    m->now = random_below(UINT64_C(1) << 50);
    for (unsigned i = 0; i < 40; i++)
        change_something(m);
}

static void keeps_its_promises(void **state)
{
    static struct model m;

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        static uint64_t last_number[QUEUES_MAX];
        uint64_t step_max = UINT64_C(1) << (4 + random_below(24));

        start(&m);
        memset(last_number, 0, sizeof(last_number));
        for (unsigned step = 0; step < STEPS; step++) {
            uint64_t next = hg_sched_next(m.bed.sched);

            if (random_below(2)) {
                give_some(&m);
                next = 0;
            }
            m.now += random_below(step_max);
            take_some(&m, last_number, next);
            if (random_below(200) == 0)
                change_something(&m);
        }
        run_dry(&m, last_number);
        for (uint32_t q = 0; q < m.queue_total; q++) {
            struct hg_sched_stats stats = hg_sched_stats(m.bed.sched, q);

            assert_true(m.sent[q] + m.refused[q] == m.given[q]);
            assert_true(stats.packets == m.sent[q]);
            assert_true(stats.dropped == m.refused[q]);
            assert_int_equal(stats.waiting, 0);
        }
        bed_free(&m.bed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_its_promises),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
