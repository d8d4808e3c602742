/*
 * Control changes rates, weights and limits and reads statistics while the scheduler's thread
 * works.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "bed.h"

enum { SUBPORTS = 8, CLASSES = 2, QUEUES = 2, ALL = SUBPORTS * CLASSES * QUEUES, BURST = 16 };

struct race {
    struct bed bed;
    atomic_bool end;
    uint64_t given;
    uint64_t got;
};

/* The scheduler's thread: time runs a microsecond a turn. */
static void *work(void *arg)
{
    struct race *race = (struct race *)arg;
    uint64_t now = 0;

    for (uint32_t turn = 0; !atomic_load(&race->end) || turn < 1000; turn++) {
        void *what[BURST];

        now += 1000;
        race->given += give(&race->bed, turn % ALL, 60 + turn % 1400) != 0;
        race->got += hg_sched_dequeue(race->bed.sched, now, what, BURST);
    }
    for (unsigned n = 1; n != 0; race->got += n) {
        void *what[BURST];

        n = hg_sched_drain(race->bed.sched, what, BURST);
    }
    return NULL;
}

static void control_does_not_disturb(void **state)
{
    static struct race race;
    struct hg_sched_options o = {.subport_n = SUBPORTS, .class_n = CLASSES, .queue_n = QUEUES};
    uint64_t packets = 0;
    pthread_t thread;

    (void)state;
    race.bed = bed_new(&o);
    assert_int_equal(pthread_create(&thread, NULL, work, &race), 0);
    for (uint32_t i = 0; i < 20000; i++) {
        struct hg_sched_shape shape = {.rate_bps = i % 3 == 0 ? 0 : 8000 + 100000 * (uint64_t)i,
                                       .burst_bytes = 1000000};
        struct hg_sched *s = race.bed.sched;

        assert_int_equal(hg_sched_set_port(s, &shape, NULL), 0);
        assert_int_equal(hg_sched_set_subport(s, i % SUBPORTS, &shape, 1 + i % 7, NULL), 0);
        assert_int_equal(hg_sched_set_class(s, i % SUBPORTS, i % CLASSES, &shape, NULL), 0);
        assert_int_equal(hg_sched_set_queue(s, i % ALL, 1 + i % 5, 1 + i % 64, 100000, NULL), 0);
        assert_true(hg_sched_stats(s, i % ALL).waiting <= 1024);
    }
    atomic_store(&race.end, true);
    pthread_join(thread, NULL);
    for (uint32_t q = 0; q < ALL; q++) {
        packets += hg_sched_stats(race.bed.sched, q).packets;
        assert_int_equal(hg_sched_stats(race.bed.sched, q).waiting, 0);
    }
    assert_true(race.got == race.given);
    assert_true(packets <= race.got);
    bed_free(&race.bed);
}

/* The last wish is the one in force, whatever came before it. */
static void the_last_wish_wins(void **state)
{
    static struct race race;
    struct hg_sched_options o = {.subport_n = SUBPORTS, .class_n = CLASSES, .queue_n = QUEUES};
    struct hg_sched_shape slow = {.rate_bps = 8000, .burst_bytes = 1600};
    struct hg_sched_shape none = {0};
    pthread_t thread;

    (void)state;
    atomic_store(&race.end, false);
    race.bed = bed_new(&o);
    race.given = 0;
    race.got = 0;
    assert_int_equal(pthread_create(&thread, NULL, work, &race), 0);
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(hg_sched_set_port(race.bed.sched, i % 2 ? &none : &slow, NULL), 0);
    atomic_store(&race.end, true);
    pthread_join(thread, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        void *what;

        assert_true(give(&race.bed, 0, 1500));
        assert_int_equal(hg_sched_dequeue(race.bed.sched, UINT64_C(1) << 60, &what, 1), 1);
    }
    bed_free(&race.bed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_does_not_disturb),
        cmocka_unit_test(the_last_wish_wins),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
