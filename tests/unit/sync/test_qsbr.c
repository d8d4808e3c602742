/*
 * What a grace period promises: after hg_qsbr_wait() no reader uses what was unpublished, whether
 * it was busy, asleep or not yet there; and control may use plain stores on it again. Under TSan
 * also that the orderings stated in qsbr.c are enough for it.
 */
#include "sync/qsbr.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { READERS_N = 3, ROUNDS_N = 2000, GOOD = 0x900d, BAD = 0xbad };

struct object {
    unsigned content; /* plain on purpose */
    unsigned reads[READERS_N];
};

static struct object *_Atomic published;
static atomic_bool stop;
static atomic_uint wrong;

struct reader {
    pthread_t thread;
    unsigned id;
    unsigned sleeps_every; /* rounds; 0: never */
    _Atomic uint64_t bursts;
};

static void *read_on(void *arg)
{
    struct reader *reader = arg;

    hg_qsbr_register();
    for (unsigned round = 1; !atomic_load(&stop); round++) {
        struct object *object = hg_qsbr_read(&published);

        for (unsigned i = 0; object && i < 10; i++) {
            if (object->content != GOOD)
                atomic_fetch_add(&wrong, 1);
            object->reads[reader->id]++;
        }
        atomic_fetch_add_explicit(&reader->bursts, 1, memory_order_relaxed);
        hg_qsbr_quiescent();
        if (reader->sleeps_every && round % reader->sleeps_every == 0) {
            hg_qsbr_offline();
            usleep(50);
            hg_qsbr_online();
        }
    }
    hg_qsbr_unregister();
    return NULL;
}

static void start(struct reader *reader, unsigned id, unsigned sleeps_every)
{
    reader->id = id;
    reader->sleeps_every = sleeps_every;
    assert_int_equal(pthread_create(&reader->thread, NULL, read_on, reader), 0);
}

static void begin(void)
{
    atomic_store(&stop, false);
    atomic_store(&wrong, 0);
}

static void end(struct reader *readers, unsigned n)
{
    atomic_store(&stop, true);
    for (unsigned i = 0; i < n; i++)
        pthread_join(readers[i].thread, NULL);
    assert_int_equal(atomic_load(&wrong), 0);
}

static void nobody_uses_what_was_freed(void **state)
{
    struct reader readers[READERS_N] = {0};
    uint64_t reads = 0;

    (void)state;
    begin();
    start(&readers[0], 0, 0);
    start(&readers[1], 1, 7);
    start(&readers[2], 2, 1);
    for (unsigned i = 0; i < ROUNDS_N; i++) {
        struct object *old = atomic_load(&published);
        struct object *new = calloc(1, sizeof(*new));

        new->content = GOOD;
        hg_qsbr_publish(&published, new);
        hg_qsbr_wait();
        for (unsigned r = 0; old && r < READERS_N; r++)
            reads += old->reads[r]; /* theirs until the grace period, ours after it */
        if (old)
            old->content = BAD;
        free(old);
        if (i % 16 == 0)
            usleep(20);
    }
    end(readers, READERS_N);
    assert_true(reads > 0);
    free(atomic_exchange(&published, NULL));
}

/* Unpublish, change in place, publish again: how a queue is stopped and started. */
static void what_is_unpublished_may_be_changed(void **state)
{
    static struct object object = {.content = GOOD};
    struct reader readers[READERS_N] = {0};

    (void)state;
    begin();
    for (unsigned i = 0; i < READERS_N; i++)
        start(&readers[i], i, i * 5);
    for (unsigned i = 0; i < ROUNDS_N; i++) {
        hg_qsbr_publish(&published, NULL);
        hg_qsbr_wait();
        object.content = BAD;
        object.content = GOOD;
        hg_qsbr_publish(&published, &object);
    }
    end(readers, READERS_N);
    hg_qsbr_publish(&published, NULL);
}

static void readers_may_come_and_go(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        struct object object = {.content = GOOD};
        struct reader reader = {0};

        begin();
        hg_qsbr_publish(&published, &object);
        start(&reader, 0, 3);
        if (i % 2)
            usleep(i * 5);
        hg_qsbr_publish(&published, NULL);
        hg_qsbr_wait();
        object.content = BAD;
        end(&reader, 1);
    }
}

static void *sleep_offline(void *arg)
{
    atomic_int *asleep = arg;

    hg_qsbr_register();
    hg_qsbr_offline();
    atomic_store(asleep, 1);
    while (atomic_load(asleep) != 2)
        usleep(1000);
    hg_qsbr_online();
    hg_qsbr_unregister();
    return NULL;
}

static void a_sleeping_reader_is_not_waited_for(void **state)
{
    pthread_t thread;
    atomic_int asleep = 0;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, sleep_offline, &asleep), 0);
    while (atomic_load(&asleep) != 1)
        usleep(100);
    for (unsigned i = 0; i < 100; i++)
        hg_qsbr_wait();
    atomic_store(&asleep, 2); /* it has slept through all of that */
    pthread_join(thread, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_uses_what_was_freed),
        cmocka_unit_test(what_is_unpublished_may_be_changed),
        cmocka_unit_test(readers_may_come_and_go),
        cmocka_unit_test(a_sleeping_reader_is_not_waited_for),
    };

    return cmocka_run_group_tests_name("sync/qsbr", tests, NULL, NULL);
}
