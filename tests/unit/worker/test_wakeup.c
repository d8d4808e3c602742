/*
 * Nothing is lost and nobody hangs: a producer that suppresses signals as a virtio driver with
 * VIRTIO_F_EVENT_IDX does, against a worker that sleeps as often as it can, for very many items
 * with pauses of every length; while control replaces the set, and stops the worker asleep and
 * busy. Meant for ThreadSanitizer too. A lost wake-up shows as a hang, which the watchdog turns
 * into a failure.
 */
#include "worker/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/shm.h"

enum {
    SLOTS_N = 256,
    PRODUCERS_N = 2,
    ITEMS_N = 1000 * 1000,
    DUEL_ITEMS_N = 100 * 1000,
    STALL_S = 20
};

/* A ring with the suppression of signals of virtio 1.2, 2.7.10. */
struct device {
    struct hg_poller poller;

    alignas(HG_CACHE_LINE_BYTES) uint16_t published; /* by the producer: shared */
    uint32_t slot[SLOTS_N];                          /* guarded by the indices */

    alignas(HG_CACHE_LINE_BYTES) uint16_t event; /* by the worker: signal when passing it; shared */
    uint16_t used;                               /* by the worker: shared */

    alignas(HG_CACHE_LINE_BYTES) uint16_t taken; /* the worker's own */
    uint32_t expected;
    uint32_t wrong;
    _Atomic uint32_t done; /* for the watcher */

    uint32_t signals; /* the producer's own */
};

static unsigned dev_poll(struct hg_poller *poller)
{
    struct device *dev = hg_container_of(poller, struct device, poller);
    uint16_t published = hg_shm_load16_acquire(&dev->published);
    unsigned n = 0;

    for (; dev->taken != published && n < 32; n++, dev->taken++)
        dev->wrong += dev->slot[dev->taken % SLOTS_N] != dev->expected++;
    if (n != 0) {
        hg_shm_store16_release(&dev->used, dev->taken);
        atomic_store_explicit(&dev->done, dev->expected, memory_order_release);
    }
    return n;
}

static bool dev_arm(struct hg_poller *poller)
{
    struct device *dev = hg_container_of(poller, struct device, poller);

    hg_shm_store16(&dev->event, dev->taken);
    hg_shm_publish_then_look();
    return hg_shm_load16_acquire(&dev->published) != dev->taken;
}

static void dev_disarm(struct hg_poller *poller)
{
    struct device *dev = hg_container_of(poller, struct device, poller);

    /* With EVENT_IDX the wish is not taken back but left behind, as far as it goes. */
    hg_shm_store16(&dev->event, (uint16_t)(dev->taken - 1));
}

static void publish(struct device *dev, uint16_t now, uint16_t before)
{
    uint16_t event;

    hg_shm_store16_release(&dev->published, now);
    hg_shm_publish_then_look();
    event = hg_shm_load16(&dev->event);
    if ((uint16_t)(now - event - 1) < (uint16_t)(now - before)) {
        eventfd_write(dev->poller.fd, 1);
        dev->signals++;
    }
}

/* Pauses of every length around the time in which a worker falls asleep. */
static void pause_randomly(unsigned *seed)
{
    unsigned dice = (unsigned)rand_r(seed);

    if (dice % 1024 == 0)
        usleep(dice / 1024 % 200);
    else if (dice % 16 == 0)
        for (unsigned i = dice / 1024 % 2000; i != 0; i--)
            hg_relax();
}

static void *produce(void *arg)
{
    struct device *dev = arg;
    unsigned seed = (unsigned)(uintptr_t)dev;
    uint16_t produced = 0;

    for (uint32_t item = 0; item < ITEMS_N;) {
        uint16_t before = produced;
        unsigned burst = 1 + (unsigned)rand_r(&seed) % 8;

        while (burst-- != 0 && item < ITEMS_N) {
            if ((uint16_t)(produced - hg_shm_load16_acquire(&dev->used)) == SLOTS_N)
                break;
            dev->slot[produced++ % SLOTS_N] = item++;
        }
        if (produced != before)
            publish(dev, produced, before);
        else
            usleep(10);
        pause_randomly(&seed);
    }
    return NULL;
}

static int last_cpu(void)
{
    cpu_set_t allowed;
    int cpu = CPU_SETSIZE - 1;

    sched_getaffinity(0, sizeof(allowed), &allowed);
    while (!CPU_ISSET(cpu, &allowed))
        cpu--;
    return cpu;
}

/* Has no effect where it is the only CPU. */
static void avoid_cpu(int cpu)
{
    cpu_set_t others;

    sched_getaffinity(0, sizeof(others), &others);
    CPU_CLR(cpu, &others);
    sched_setaffinity(0, sizeof(others), &others);
}

/*
 * Aims each item at the moment when the worker asks for a signal and looks, where a missing barrier
 * would show: an item that had to be signalled came too late, the next one comes earlier, and the
 * other way round.
 */
static void *duel(void *arg)
{
    struct device *dev = arg;
    unsigned seed = 1;
    uint64_t delay_cycles = 1000;

    avoid_cpu(last_cpu()); /* on the worker's, the two would take turns, and never meet */

    for (uint32_t item = 0; item < DUEL_ITEMS_N; item++) {
        uint32_t signals = dev->signals;
        uint64_t start;

        for (unsigned i = 1; hg_shm_load16_acquire(&dev->used) != (uint16_t)item; i++) {
            if (i % 100000 == 0)
                sched_yield(); /* there may be one CPU only */
        }
        start = hg_cycles();
        while (hg_cycles() - start < delay_cycles + (unsigned)rand_r(&seed) % 64)
            ;
        dev->slot[item % SLOTS_N] = item;
        publish(dev, (uint16_t)(item + 1), (uint16_t)item);
        if (dev->signals == signals)
            delay_cycles += 16;
        else
            delay_cycles -= delay_cycles < 16 ? 0 : 16;
    }
    return NULL;
}

static struct device devices[PRODUCERS_N];
static struct hg_worker *worker;

static int setup(void **state)
{
    const struct hg_worker_options options = {.cpu = last_cpu(), .sleep = true, .idle_ns = 2000};

    (void)state;
    for (unsigned i = 0; i < PRODUCERS_N; i++) {
        devices[i] = (struct device){.poller = {.poll = dev_poll,
                                                .arm = dev_arm,
                                                .disarm = dev_disarm,
                                                .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)},
                                     .event = UINT16_MAX};
        assert_true(devices[i].poller.fd >= 0);
    }
    assert_int_equal(hg_worker_new(&worker, &options, NULL, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    hg_worker_free(worker);
    for (unsigned i = 0; i < PRODUCERS_N; i++)
        close(devices[i].poller.fd);
    return 0;
}

static uint32_t done_n(void)
{
    uint32_t n = 0;

    for (unsigned i = 0; i < PRODUCERS_N; i++)
        n += atomic_load_explicit(&devices[i].done, memory_order_acquire);
    return n;
}

/* Runs `meanwhile` again and again until n items are done; fails when nothing moves any more. */
static void watch(uint32_t n, void (*meanwhile)(unsigned round))
{
    uint64_t moved_ns = hg_now_ns();
    uint32_t seen_n = 0;

    for (unsigned round = 0; done_n() != n; round++) {
        if (done_n() != seen_n) {
            seen_n = done_n();
            moved_ns = hg_now_ns();
        } else if (hg_now_ns() - moved_ns > STALL_S * HG_NS_PER_S) {
            /* Threads that hang cannot be cleaned up after. */
            fprintf(stderr, "a wake-up was lost: nothing moves since item %u of %u\n", seen_n, n);
            abort();
        }
        meanwhile(round);
    }
}

static void check_result(uint32_t items_n)
{
    const struct hg_worker_stats *stats = hg_worker_stats(worker);

    assert_int_equal(hg_count_get(&stats->packets), items_n);
    print_message("# %lu sleeps, %lu in vain; %u signals for %u items\n",
                  (unsigned long)hg_count_get(&stats->sleeps),
                  (unsigned long)hg_count_get(&stats->wakeups_in_vain),
                  devices[0].signals + devices[1].signals, items_n);
    assert_true(hg_count_get(&stats->sleeps) > 100); /* it was worth watching */
}

static void produce_all(void (*meanwhile)(unsigned round))
{
    pthread_t producer[PRODUCERS_N];

    for (unsigned i = 0; i < PRODUCERS_N; i++)
        assert_int_equal(pthread_create(&producer[i], NULL, produce, &devices[i]), 0);
    watch(PRODUCERS_N * ITEMS_N, meanwhile);
    for (unsigned i = 0; i < PRODUCERS_N; i++)
        pthread_join(producer[i], NULL);
    hg_worker_stop(worker);
    for (unsigned i = 0; i < PRODUCERS_N; i++) {
        assert_int_equal(devices[i].expected, ITEMS_N);
        assert_int_equal(devices[i].wrong, 0);
    }
    check_result(PRODUCERS_N * ITEMS_N);
}

static void set_all(void)
{
    struct hg_poller *pollers[PRODUCERS_N];

    for (unsigned i = 0; i < PRODUCERS_N; i++)
        pollers[i] = &devices[i].poller;
    assert_int_equal(hg_worker_set(worker, pollers, PRODUCERS_N, NULL), 0);
}

static void rest(unsigned round)
{
    (void)round;
    usleep(1000);
}

static void no_wakeup_is_lost(void **state)
{
    (void)state;
    set_all();
    assert_int_equal(hg_worker_start(worker, NULL), 0);
    produce_all(rest);
}

static void work_at_the_moment_of_arming_is_not_lost(void **state)
{
    struct hg_poller *poller = &devices[0].poller;
    pthread_t producer;

    (void)state;
    assert_int_equal(hg_worker_set(worker, &poller, 1, NULL), 0);
    assert_int_equal(hg_worker_start(worker, NULL), 0);
    assert_int_equal(pthread_create(&producer, NULL, duel, &devices[0]), 0);
    watch(DUEL_ITEMS_N, rest);
    pthread_join(producer, NULL);
    hg_worker_stop(worker);
    assert_int_equal(devices[0].wrong, 0);
    check_result(DUEL_ITEMS_N);
}

/* Each device leaves and comes back, while its producer goes on; what it signalled meanwhile went
 * to nobody. */
static void replace(unsigned round)
{
    struct hg_poller *one = &devices[round % PRODUCERS_N].poller;

    usleep(round % 500);
    if (round % 3 == 0)
        assert_int_equal(hg_worker_set(worker, &one, 1, NULL), 0);
    else if (round % 3 == 1)
        assert_int_equal(hg_worker_set(worker, NULL, 0, NULL), 0);
    else
        set_all();
    usleep(100);
}

static void sets_are_replaced_while_it_runs(void **state)
{
    (void)state;
    assert_int_equal(hg_worker_start(worker, NULL), 0);
    set_all();
    produce_all(replace);
}

/* A poller that is gone is memory that is gone: control spoils it as soon as set() has returned. */
static void replace_and_spoil(unsigned round)
{
    struct hg_poller *pollers[PRODUCERS_N];

    usleep(round % 300);
    for (unsigned i = 0; i < PRODUCERS_N; i++)
        pollers[i] = &devices[i].poller;
    if (round % 2 == 0) {
        assert_int_equal(hg_worker_set(worker, pollers + 1, PRODUCERS_N - 1, NULL), 0);
        devices[0].poller.poll = NULL;
        devices[0].poller.arm = NULL;
        devices[0].poller.disarm = NULL;
        usleep(100);
    } else {
        devices[0].poller.poll = dev_poll;
        devices[0].poller.arm = dev_arm;
        devices[0].poller.disarm = dev_disarm;
        set_all();
    }
}

static void nobody_touches_a_poller_that_is_gone(void **state)
{
    (void)state;
    assert_int_equal(hg_worker_start(worker, NULL), 0);
    set_all();
    produce_all(replace_and_spoil);
}

static void stop_and_start(unsigned round)
{
    usleep(round % 400);
    hg_worker_stop(worker);
    usleep(round % 50);
    assert_int_equal(hg_worker_start(worker, NULL), 0);
}

static void stops_asleep_and_busy(void **state)
{
    (void)state;
    set_all();
    assert_int_equal(hg_worker_start(worker, NULL), 0);
    produce_all(stop_and_start);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(no_wakeup_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(work_at_the_moment_of_arming_is_not_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(sets_are_replaced_while_it_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_touches_a_poller_that_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(stops_asleep_and_busy, setup, teardown),
    };

    return cmocka_run_group_tests_name("worker/wakeup", tests, NULL, NULL);
}
