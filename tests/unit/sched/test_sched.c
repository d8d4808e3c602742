/*
 * What the scheduler does, case by case: order, limits, events, changes, refusals. Rates and shares are in
 * test_rates.c.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "bed.h"

enum { BURST = 32 };

/* Dequeues one packet at `now` and returns its queue; UINT32_MAX when none may go. */
static uint32_t next_queue(struct bed *bed, uint64_t now)
{
    void *what;

    return hg_sched_dequeue(bed->sched, now, &what, 1) == 1 ? packet_queue(what) : UINT32_MAX;
}

static void keeps_the_order_of_a_queue(void **state)
{
    struct hg_sched_options o = {.queue_packets = 1000};
    struct bed bed = bed_new(&o);

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        assert_true(give(&bed, 0, 60 + i));
    for (uint32_t i = 0; i < 1000;) {
        void *what[7];
        unsigned n = hg_sched_dequeue(bed.sched, 0, what, 7);

        assert_true(n != 0);
        for (unsigned k = 0; k < n; k++)
            assert_int_equal(packet_len(what[k]), 60 + i++);
    }
    assert_int_equal(next_queue(&bed, 0), UINT32_MAX);
    bed_free(&bed);
}

static void serves_classes_by_priority(void **state)
{
    struct hg_sched_options o = {.class_n = 8, .queue_n = 2};
    struct bed bed = bed_new(&o);

    (void)state;
    for (uint32_t tc = 8; tc-- > 0;) {
        for (uint32_t i = 0; i < 3; i++)
            assert_true(give(&bed, hg_sched_queue(bed.sched, 0, tc, i % 2), 100));
    }
    for (uint32_t i = 0; i < 24; i++)
        assert_int_equal(next_queue(&bed, 0) / 2, i / 3);
    /* One that comes later goes first all the same. */
    assert_true(give(&bed, hg_sched_queue(bed.sched, 0, 7, 0), 100));
    assert_true(give(&bed, hg_sched_queue(bed.sched, 0, 2, 0), 100));
    assert_int_equal(next_queue(&bed, 0), 4);
    assert_int_equal(next_queue(&bed, 0), 14);
    bed_free(&bed);
}

/* A queue sends its quantum and no more, however many packets one call takes. */
static void queues_take_turns_within_a_burst(void **state)
{
    struct hg_sched_options o = {.queue_n = 2};
    struct bed bed = bed_new(&o);
    void *what[20];

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        assert_true(give(&bed, i / 10, 1518));
    assert_int_equal(hg_sched_dequeue(bed.sched, 0, what, 20), 20);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(packet_queue(what[i]), i % 2);
    bed_free(&bed);
}

static void priority_does_not_reach_beyond_a_subport(void **state)
{
    struct hg_sched_options o = {.subport_n = 2, .class_n = 2};
    struct bed bed = bed_new(&o);
    unsigned of_second = 0;

    (void)state;
    for (unsigned i = 0; i < 40; i++) {
        assert_true(give(&bed, hg_sched_queue(bed.sched, 0, 0, 0), 1500)); /* all urgent */
        assert_true(give(&bed, hg_sched_queue(bed.sched, 1, 1, 0), 1500));
    }
    for (unsigned i = 0; i < 40; i++)
        of_second += next_queue(&bed, 0) == 3;
    assert_in_range(of_second, 19, 21);
    bed_free(&bed);
}

static void drops_at_the_end_of_a_full_queue(void **state)
{
    struct hg_sched_options o = {.queue_n = 3, .packet_n = 20, .queue_packets = 8};
    struct bed bed = bed_new(&o);
    struct hg_sched_item item[12];

    (void)state;
    assert_int_equal(hg_sched_set_queue(bed.sched, 1, 1, 64, 4000, NULL), 0);
    assert_int_equal(next_queue(&bed, 0), UINT32_MAX); /* the limit is in force */
    for (uint32_t i = 0; i < 12; i++)
        item[i] = (struct hg_sched_item){.what = packet(100 + i, 0), .len = 100 + i};
    assert_int_equal(hg_sched_enqueue(bed.sched, item, 12), 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(packet_len(item[i].what), 108 + i); /* in their order */
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(give(&bed, 1, 1000), i < 4); /* 4,000 bytes */
    for (uint32_t i = 0; i < 10; i++)
        assert_int_equal(give(&bed, 2, 60), i < 8); /* 8 and 4 wait, 20 can */
    assert_false(give(&bed, 1, 1519));
    assert_false(give(&bed, 3, 60)); /* no such queue */
    assert_int_equal(hg_sched_stats(bed.sched, 0).dropped, 4);
    assert_int_equal(hg_sched_stats(bed.sched, 1).dropped, 3);
    assert_int_equal(hg_sched_stats(bed.sched, 2).dropped, 2);
    assert_int_equal(hg_sched_stats(bed.sched, 2).waiting, 8);
    assert_int_equal(hg_sched_stats(bed.sched, 3).dropped, 0);
    bed_free(&bed);
}

static void full_memory_refuses_until_something_leaves(void **state)
{
    struct hg_sched_options o = {.queue_n = 2, .packet_n = 4};
    struct bed bed = bed_new(&o);

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_true(give(&bed, i % 2, 60));
    assert_false(give(&bed, 0, 60));
    assert_true(next_queue(&bed, 0) != UINT32_MAX);
    assert_true(give(&bed, 0, 60));
    assert_false(give(&bed, 1, 60));
    bed_free(&bed);
}

static void knows_when_to_come_again(void **state)
{
    struct hg_sched_options o = {.subport = {.rate_bps = 8000000, .burst_bytes = 1520}};
    struct bed bed = bed_new(&o);
    uint64_t next;

    (void)state;
    assert_true(hg_sched_next(bed.sched) == HG_SCHED_NEVER);
    assert_true(give(&bed, 0, 1518));
    assert_true(give(&bed, 0, 1000));
    assert_true(hg_sched_next(bed.sched) == 0); /* at once */
    assert_int_equal(next_queue(&bed, 5000), 0);
    assert_int_equal(next_queue(&bed, 5000), UINT32_MAX);
    /* 2 of 1,000 bytes are there; the others come at a byte a microsecond. */
    next = hg_sched_next(bed.sched);
    assert_in_range(next, 5000 + 998000, 5000 + 998000 + 1024);
    assert_int_equal(next_queue(&bed, 5000 + 997000), UINT32_MAX);
    assert_int_equal(next_queue(&bed, next), 0);
    assert_true(hg_sched_next(bed.sched) == HG_SCHED_NEVER);
    bed_free(&bed);
}

static void knows_when_the_port_is_free_again(void **state)
{
    struct hg_sched_options o = {.clock_hz = 2000000000,
                                 .overhead_bytes = HG_SCHED_ETHERNET_OVERHEAD,
                                 .port = {.rate_bps = 1000000000, .burst_bytes = 1800}};
    struct bed bed = bed_new(&o);
    uint64_t next;

    (void)state;
    assert_true(give(&bed, 0, 1476)); /* 1,500 on the wire: 12 us, 24,000 ticks */
    assert_true(give(&bed, 0, 1476));
    assert_int_equal(next_queue(&bed, 1000000), 0);
    assert_int_equal(next_queue(&bed, 1000000), UINT32_MAX);
    next = hg_sched_next(bed.sched);
    assert_in_range(next, 1000000 + 24000 * 1200 / 1500, 1000002 + 24000 * 1200 / 1500);
    assert_int_equal(next_queue(&bed, next - 2), UINT32_MAX);
    assert_int_equal(next_queue(&bed, next), 0);
    bed_free(&bed);
}

/* A subport waits for tokens for a class; a packet of another class that needs none goes at once. */
static void a_class_does_not_wait_for_another(void **state)
{
    struct hg_sched_options o = {.class_n = 2,
                                 .classes = {{.rate_bps = 8000, .burst_bytes = 1520}}};
    struct bed bed = bed_new(&o);

    (void)state;
    for (unsigned i = 0; i < 2; i++)
        assert_true(give(&bed, 0, 1500));
    assert_int_equal(next_queue(&bed, 0), 0);
    assert_int_equal(next_queue(&bed, 0), UINT32_MAX);
    assert_true(give(&bed, 1, 1500));
    assert_true(give(&bed, 1, 1500));
    assert_int_equal(next_queue(&bed, 1000), 1);
    assert_int_equal(next_queue(&bed, 1000), 1);
    assert_int_equal(next_queue(&bed, 1000), UINT32_MAX);
    assert_int_equal(next_queue(&bed, 1480 * HG_NS_PER_MS + 1024), 0);
    bed_free(&bed);
}

/* Of several classes that wait, the one whose tokens come first ends the wait. */
static void waits_for_the_first_of_its_classes(void **state)
{
    struct hg_sched_options o = {.class_n = 2,
                                 .classes = {{.rate_bps = 8000000, .burst_bytes = 1520},
                                             {.rate_bps = 8000, .burst_bytes = 1520}}};
    struct bed bed = bed_new(&o);

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_true(give(&bed, i / 2, 1500));
    assert_int_equal(next_queue(&bed, 0), 0);
    assert_int_equal(next_queue(&bed, 0), 1);
    assert_int_equal(next_queue(&bed, 0), UINT32_MAX);
    assert_in_range(hg_sched_next(bed.sched), 1480000, 1480000 + 1024);
    assert_int_equal(next_queue(&bed, 1480000 + 1024), 0);
    bed_free(&bed);
}

/* A wait of seconds reaches beyond the wheel. */
static void waits_longer_than_the_wheel_is(void **state)
{
    struct hg_sched_options o = {.subport = {.rate_bps = 8000, .burst_bytes = 1520}};
    struct bed bed = bed_new(&o);
    uint64_t now = 0;

    (void)state;
    assert_true(give(&bed, 0, 1518));
    assert_true(give(&bed, 0, 1518));
    assert_int_equal(next_queue(&bed, 0), 0);
    while (next_queue(&bed, now) == UINT32_MAX) {
        assert_true(hg_sched_next(bed.sched) > now);
        now = hg_sched_next(bed.sched);
    }
    assert_in_range(now, 1516 * HG_NS_PER_MS, 1516 * HG_NS_PER_MS + 2048);
    bed_free(&bed);
}

static void a_new_rate_is_in_force_at_once(void **state)
{
    struct hg_sched_options o = {.subport = {.rate_bps = 8000, .burst_bytes = 1520}};
    struct hg_sched_shape fast = {.rate_bps = 8000000, .burst_bytes = 1520};
    struct hg_sched_shape none = {0};
    struct bed bed = bed_new(&o);

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_true(give(&bed, 0, 1500));
    assert_int_equal(next_queue(&bed, 0), 0);
    assert_int_equal(next_queue(&bed, 0), UINT32_MAX);
    assert_int_equal(hg_sched_set_subport(bed.sched, 0, &fast, 1, NULL), 0);
    assert_int_equal(next_queue(&bed, 1000), UINT32_MAX);
    assert_int_equal(next_queue(&bed, 1480000 + 1024), 0);
    assert_int_equal(next_queue(&bed, 1480000 + 1024), UINT32_MAX);
    assert_int_equal(hg_sched_set_subport(bed.sched, 0, &none, 1, NULL), 0);
    assert_int_equal(next_queue(&bed, 1480000 + 1024), 0);
    assert_int_equal(next_queue(&bed, 1480000 + 1024), 0);
    bed_free(&bed);
}

static void drains_what_waits_and_works_on(void **state)
{
    struct hg_sched_options o = {.subport_n = 3,
                                 .class_n = 2,
                                 .queue_n = 2,
                                 .subport = {.rate_bps = 8000, .burst_bytes = 1520}};
    struct bed bed = bed_new(&o);
    unsigned got = 0;
    unsigned n;
    void *what[5];

    (void)state;
    for (uint32_t i = 0; i < 60; i++)
        assert_true(give(&bed, i % 12, 1000));
    for (unsigned i = 0; i < 3; i++)
        assert_true(next_queue(&bed, 10) != UINT32_MAX);
    assert_int_equal(next_queue(&bed, 10), UINT32_MAX);
    while ((n = hg_sched_drain(bed.sched, what, 5)) != 0)
        got += n;
    assert_int_equal(got, 57);
    assert_true(hg_sched_next(bed.sched) == HG_SCHED_NEVER);
    assert_true(give(&bed, 7, 100));
    assert_int_equal(next_queue(&bed, 10), 7);
    bed_free(&bed);
}

static void a_debt_outlives_the_packets(void **state)
{
    struct hg_sched_options o = {.queue_n = 2, .queue_packets = 1000, .packet_n = 1024};
    struct bed bed = bed_new(&o);
    uint64_t bytes[2] = {0};

    (void)state;
    /* Queue 0 always has two packets at a time, the second of which goes beyond its turn, then none. */
    for (unsigned i = 0; i < 900; i++)
        assert_true(give(&bed, 1, 1518));
    assert_true(give(&bed, 0, 1517) && give(&bed, 0, 1518));
    for (unsigned i = 0; i < 900; i++) {
        void *what;

        assert_int_equal(hg_sched_dequeue(bed.sched, 0, &what, 1), 1);
        bytes[packet_queue(what)] += packet_len(what);
        if (hg_sched_stats(bed.sched, 0).waiting == 0)
            assert_true(give(&bed, 0, 1517) && give(&bed, 0, 1518));
    }
    assert_in_range(bytes[0] * 1000 / bytes[1], 980, 1020);
    bed_free(&bed);
}

static void refuses_what_does_not_work(void **state)
{
    static const struct hg_sched_options wrong[] = {
        {.clock_hz = 1000},
        {.class_n = 9},
        {.subport_n = 1 << 16, .class_n = 8, .queue_n = 8},
        {.subport_n = UINT32_MAX, .queue_n = UINT32_MAX},
        {.packet_n = UINT32_MAX},
        {.packet_max_bytes = 1 << 20},
        {.overhead_bytes = 256},
        {.queue_bytes = 1517},
        {.port = {.rate_bps = 7999}},
        {.port = {.rate_bps = HG_SCHED_RATE_MAX + 1}},
        {.subport = {.rate_bps = 1000000, .burst_bytes = 1517}},
        {.subport = {.rate_bps = 1000000000, .burst_bytes = 1600}},
        {.classes = {{.rate_bps = 1000000, .burst_bytes = UINT64_MAX}}},
    };
    struct hg_sched_options o = {.subport_n = 2, .class_n = 2, .queue_n = 2};
    struct hg_sched_shape none = {0};
    struct hg_sched_shape slow = {.rate_bps = 1};
    struct bed bed = bed_new(&o);
    struct hg_sched *sched;
    struct hg_err err = {""};

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(wrong); i++) {
        err.text[0] = '\0';
        assert_true(hg_sched_bytes(&wrong[i]) == 0);
        assert_int_equal(hg_sched_new(&sched, bed.arena, &wrong[i], &err), -EINVAL);
        assert_true(err.text[0] != '\0');
    }
    o.clock_hz =
        HG_SCHED_CLOCK_MAX; /* the burst of the highest rate is cut to what its bucket holds */
    o.port.rate_bps = HG_SCHED_RATE_MAX;
    assert_true(hg_sched_bytes(&o) != 0);
    o.packet_n = 1 << 24;
    assert_int_equal(hg_sched_new(&sched, bed.arena, &o, &err), -ENOMEM);
    assert_int_equal(hg_sched_set_port(bed.sched, &slow, &err), -EINVAL);
    assert_int_equal(hg_sched_set_subport(bed.sched, 2, &none, 1, &err), -EINVAL);
    assert_int_equal(hg_sched_set_subport(bed.sched, 0, &slow, 1, &err), -EINVAL);
    assert_int_equal(hg_sched_set_subport(bed.sched, 0, &none, 0, &err), -EINVAL);
    assert_int_equal(hg_sched_set_subport(bed.sched, 0, &none, 1025, &err), -EINVAL);
    assert_int_equal(hg_sched_set_class(bed.sched, 0, 2, &none, &err), -EINVAL);
    assert_int_equal(hg_sched_set_class(bed.sched, 2, 0, &none, &err), -EINVAL);
    assert_int_equal(hg_sched_set_queue(bed.sched, 8, 1, 64, 10000, &err), -EINVAL);
    assert_int_equal(hg_sched_set_queue(bed.sched, 0, 0, 64, 10000, &err), -EINVAL);
    assert_int_equal(hg_sched_set_queue(bed.sched, 0, 1, 0, 10000, &err), -EINVAL);
    assert_int_equal(hg_sched_set_queue(bed.sched, 0, 1, 64, 1517, &err), -EINVAL);
    assert_int_equal(hg_sched_queue(bed.sched, 1, 1, 1), 7);
    assert_int_equal(hg_sched_queue(bed.sched, 2, 0, 0), UINT32_MAX);
    assert_int_equal(hg_sched_queue(bed.sched, 0, 2, 0), UINT32_MAX);
    assert_int_equal(hg_sched_queue(bed.sched, 0, 0, 2), UINT32_MAX);
    bed_free(&bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order_of_a_queue),
        cmocka_unit_test(serves_classes_by_priority),
        cmocka_unit_test(queues_take_turns_within_a_burst),
        cmocka_unit_test(priority_does_not_reach_beyond_a_subport),
        cmocka_unit_test(drops_at_the_end_of_a_full_queue),
        cmocka_unit_test(full_memory_refuses_until_something_leaves),
        cmocka_unit_test(knows_when_to_come_again),
        cmocka_unit_test(knows_when_the_port_is_free_again),
        cmocka_unit_test(a_class_does_not_wait_for_another),
        cmocka_unit_test(waits_for_the_first_of_its_classes),
        cmocka_unit_test(waits_longer_than_the_wheel_is),
        cmocka_unit_test(a_new_rate_is_in_force_at_once),
        cmocka_unit_test(drains_what_waits_and_works_on),
        cmocka_unit_test(a_debt_outlives_the_packets),
        cmocka_unit_test(refuses_what_does_not_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
