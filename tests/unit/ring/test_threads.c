/*
 * Rings of every kind between threads: nothing is lost, duplicated or reordered, in rings so small
 * that both ends are met all the time; and under TSan, that the orderings are enough for the
 * elements, which are plain memory.
 */
#include "ring/ring.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SIDE_MAX = 3, ELEMS_N = 30000, RUN_MAX = 12 };

struct elem {
    uint64_t producer;
    uint64_t number; /* of this producer's */
};

struct test {
    struct hg_ring *ring;
    unsigned producers_n;
    bool in_place;
    _Atomic uint64_t left_n; /* to be dequeued */
    atomic_uint wrong;
};

struct worker {
    pthread_t thread;
    struct test *test;
    uint64_t id;
    uint64_t count[SIDE_MAX]; /* a consumer's: of each producer */
    uint64_t sum[SIDE_MAX];
};

static uint32_t put(struct worker *me, uint64_t number, uint32_t n)
{
    struct elem elems[RUN_MAX];
    struct hg_ring_span span = {.first = elems, .first_n = n, .n = n};
    bool in_place = me->test->in_place;

    if (in_place && hg_ring_enqueue_reserve(me->test->ring, 1, n, &span) == 0)
        return 0;
    for (uint32_t i = 0; i < span.n; i++) {
        struct elem *elem = i < span.first_n ? (struct elem *)span.first + i
                                             : (struct elem *)span.second + (i - span.first_n);

        elem->producer = me->id;
        elem->number = number + i;
    }
    if (!in_place)
        return hg_ring_enqueue_burst(me->test->ring, elems, n);
    hg_ring_enqueue_commit(me->test->ring, &span, span.n);
    return span.n;
}

static void *produce(void *arg)
{
    struct worker *me = arg;

    for (uint64_t number = 0; number < ELEMS_N;) {
        uint64_t n = 1 + number % RUN_MAX;
        uint32_t done = put(me, number, (uint32_t)(n < ELEMS_N - number ? n : ELEMS_N - number));

        if (done == 0)
            sched_yield();
        number += done;
    }
    return NULL;
}

static void take_in(struct worker *me, const struct elem *elems, uint32_t n, uint64_t *next)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t producer = elems[i].producer;

        if (producer >= me->test->producers_n || elems[i].number < next[producer]) {
            atomic_fetch_add(&me->test->wrong, 1);
            return;
        }
        next[producer] = elems[i].number + 1;
        me->count[producer]++;
        me->sum[producer] += elems[i].number;
    }
}

static void *consume(void *arg)
{
    struct worker *me = arg;
    uint64_t next[SIDE_MAX] = {0};

    for (uint32_t turn = 0; atomic_load(&me->test->left_n) > 0; turn++) {
        uint32_t n = 1 + turn % RUN_MAX;
        uint32_t done;

        if (me->test->in_place) {
            struct hg_ring_span span;

            done = hg_ring_dequeue_peek(me->test->ring, 1, n, &span);
            take_in(me, span.first, span.first_n, next);
            take_in(me, span.second, done - span.first_n, next);
            if (done > 0)
                hg_ring_dequeue_commit(me->test->ring, &span, done);
        } else {
            struct elem elems[RUN_MAX];

            done = hg_ring_dequeue_burst(me->test->ring, elems, n);
            take_in(me, elems, done, next);
        }
        if (done == 0)
            sched_yield();
        atomic_fetch_sub(&me->test->left_n, done);
    }
    return NULL;
}

static void pass_all(uint32_t slots_n, unsigned producers_n, unsigned consumers_n, bool in_place)
{
    struct hg_ring_options options = {.slots_n = slots_n,
                                      .elem_bytes = sizeof(struct elem),
                                      .single_producer = producers_n == 1,
                                      .single_consumer = consumers_n == 1};
    struct test test = {.producers_n = producers_n, .in_place = in_place};
    struct worker producers[SIDE_MAX] = {0};
    struct worker consumers[SIDE_MAX] = {0};

    assert_int_equal(hg_ring_new(&test.ring, &options, NULL), 0);
    atomic_store(&test.left_n, (uint64_t)producers_n * ELEMS_N);
    for (unsigned i = 0; i < consumers_n; i++) {
        consumers[i].test = &test;
        assert_int_equal(pthread_create(&consumers[i].thread, NULL, consume, &consumers[i]), 0);
    }
    for (unsigned i = 0; i < producers_n; i++) {
        producers[i].test = &test;
        producers[i].id = i;
        assert_int_equal(pthread_create(&producers[i].thread, NULL, produce, &producers[i]), 0);
    }
    for (unsigned i = 0; i < producers_n; i++)
        pthread_join(producers[i].thread, NULL);
    for (unsigned i = 0; i < consumers_n; i++)
        pthread_join(consumers[i].thread, NULL);
    assert_int_equal(atomic_load(&test.wrong), 0);
    for (unsigned p = 0; p < producers_n; p++) {
        uint64_t count = 0;
        uint64_t sum = 0;

        for (unsigned c = 0; c < consumers_n; c++) {
            count += consumers[c].count[p];
            sum += consumers[c].sum[p];
        }
        assert_int_equal(count, ELEMS_N);
        assert_int_equal(sum, (uint64_t)ELEMS_N * (ELEMS_N - 1) / 2);
    }
    assert_int_equal(hg_ring_count(test.ring), 0);
    hg_ring_free(test.ring);
}

static void pass_all_sizes(unsigned producers_n, unsigned consumers_n)
{
    for (uint32_t slots_n = 2; slots_n <= 128; slots_n *= 8) {
        pass_all(slots_n, producers_n, consumers_n, false);
        pass_all(slots_n, producers_n, consumers_n, true);
    }
}

static void one_to_one(void **state)
{
    (void)state;
    pass_all_sizes(1, 1);
}

static void many_to_one(void **state)
{
    (void)state;
    pass_all_sizes(3, 1);
}

static void one_to_many(void **state)
{
    (void)state;
    pass_all_sizes(1, 3);
}

static void many_to_many(void **state)
{
    (void)state;
    pass_all_sizes(2, 2);
    pass_all_sizes(3, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_to_one),
        cmocka_unit_test(many_to_one),
        cmocka_unit_test(one_to_many),
        cmocka_unit_test(many_to_many),
    };

    return cmocka_run_group_tests_name("ring/threads", tests, NULL, NULL);
}
