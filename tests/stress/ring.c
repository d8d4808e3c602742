/*
 * Two producers and two consumers on one ring, more threads than the machine may have cores, so
 * that threads lose their processor in the middle of operations. Nothing may be lost, duplicated,
 * or be out of its producer's order for a consumer.
 *
 *     stress_ring [--elements N] [--slots N]
 *
 * Prints TAP and, as comments, how long it took. The full count is 1000000000; it takes some
 * minutes.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/random.h"
#include "base/clock.h"
#include "ring/ring.h"

enum { PRODUCERS_N = 2, CONSUMERS_N = 2, RUN_MAX = 32, NUMBER_BITS = 56 };

/* What has been enqueued or dequeued, of each producer. Sums wrap. */
struct account {
    uint64_t n;
    uint64_t sum;
    uint64_t mixed_sum; /* of numbers that look random, so that errors do not cancel out */
};

struct thread {
    pthread_t id;
    struct hg_ring *ring;
    uint64_t producer; /* a producer's number */
    uint64_t elems_n;  /* which it enqueues */
    atomic_bool *stop; /* a consumer's order, when nothing more comes */
    struct account account[PRODUCERS_N];
    uint64_t next[PRODUCERS_N];
    uint64_t disorder_n;
    uint64_t random;
};

static uint64_t mix(uint64_t number)
{
    number *= UINT64_C(0x9e3779b97f4a7c15);
    return number ^ number >> 29;
}

static void enter(struct account *account, uint64_t number)
{
    account->n++;
    account->sum += number;
    account->mixed_sum += mix(number);
}

static uint32_t random_below(struct thread *me, uint32_t n)
{
    return (uint32_t)((random_next(&me->random) >> 20) % n);
}

static void write_elems(struct thread *me, uint64_t *elems, uint64_t number, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        elems[i] = me->producer << NUMBER_BITS | (number + i);
}

static uint32_t enqueue(struct thread *me, uint64_t number, uint32_t n)
{
    uint64_t elems[RUN_MAX];
    struct hg_ring_span span;
    unsigned how = random_below(me, 3);

    if (how < 2) {
        write_elems(me, elems, number, n);
        return how ? hg_ring_enqueue_bulk(me->ring, elems, n)
                   : hg_ring_enqueue_burst(me->ring, elems, n);
    }
    if (hg_ring_enqueue_reserve(me->ring, 1, n, &span) == 0)
        return 0;
    write_elems(me, span.first, number, span.first_n);
    write_elems(me, span.second, number + span.first_n, span.n - span.first_n);
    hg_ring_enqueue_commit(me->ring, &span, span.n);
    return span.n;
}

static void *produce(void *arg)
{
    struct thread *me = arg;

    for (uint64_t number = 0; number < me->elems_n;) {
        uint64_t left = me->elems_n - number;
        uint32_t n = 1 + random_below(me, RUN_MAX);
        uint32_t done = enqueue(me, number, n < left ? n : (uint32_t)left);

        for (uint32_t i = 0; i < done; i++)
            enter(&me->account[me->producer], number + i);
        number += done;
        if (done == 0)
            sched_yield();
    }
    return NULL;
}

static void read_elems(struct thread *me, const uint64_t *elems, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t producer = elems[i] >> NUMBER_BITS;
        uint64_t number = elems[i] & ((UINT64_C(1) << NUMBER_BITS) - 1);

        if (producer >= PRODUCERS_N || number < me->next[producer]) {
            me->disorder_n++;
            continue;
        }
        me->next[producer] = number + 1;
        enter(&me->account[producer], number);
    }
}

static uint32_t dequeue(struct thread *me, uint32_t n)
{
    uint64_t elems[RUN_MAX];
    struct hg_ring_span span;
    unsigned how = random_below(me, 3);

    if (how < 2) {
        n = how ? hg_ring_dequeue_bulk(me->ring, elems, n)
                : hg_ring_dequeue_burst(me->ring, elems, n);
        read_elems(me, elems, n);
        return n;
    }
    n = hg_ring_dequeue_peek(me->ring, 1, n, &span);
    if (n == 0)
        return 0;
    read_elems(me, span.first, span.first_n);
    read_elems(me, span.second, n - span.first_n);
    hg_ring_dequeue_commit(me->ring, &span, n);
    return n;
}

static void *consume(void *arg)
{
    struct thread *me = arg;

    for (;;) {
        /* Acquire: pairs with the store after the producers have been joined. Read before the
         * ring. */
        bool last = atomic_load_explicit(me->stop, memory_order_acquire);

        if (dequeue(me, 1 + random_below(me, RUN_MAX)) > 0)
            continue;
        if (last && hg_ring_count(me->ring) == 0)
            return NULL;
        sched_yield();
    }
}

static void start(struct thread *thread, void *(*body)(void *))
{
    if (pthread_create(&thread->id, NULL, body, thread) != 0) {
        perror("pthread_create");
        exit(2);
    }
}

/* Whether the consumers of the elements of one producer have what it has enqueued. */
static bool all_there(const struct thread *producer, const struct thread *consumers)
{
    const struct account *in = &producer->account[producer->producer];
    struct account out = {0};

    for (unsigned i = 0; i < CONSUMERS_N; i++) {
        const struct account *account = &consumers[i].account[producer->producer];

        out.n += account->n;
        out.sum += account->sum;
        out.mixed_sum += account->mixed_sum;
    }
    if (out.n == in->n && out.sum == in->sum && out.mixed_sum == in->mixed_sum)
        return true;
    printf("# producer %" PRIu64 ": %" PRIu64 " in, %" PRIu64 " out\n", producer->producer, in->n,
           out.n);
    return false;
}

static bool pass(uint64_t elems_n, uint32_t slots_n)
{
    struct hg_ring_options options = {.slots_n = slots_n, .elem_bytes = sizeof(uint64_t)};
    struct thread producers[PRODUCERS_N] = {0};
    struct thread consumers[CONSUMERS_N] = {0};
    struct hg_ring *ring;
    struct hg_err err;
    atomic_bool stop = false;
    bool ok = true;

    if (hg_ring_new(&ring, &options, &err) < 0) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    for (unsigned i = 0; i < CONSUMERS_N; i++) {
        consumers[i] = (struct thread){.ring = ring, .stop = &stop, .random = 1000 + i};
        start(&consumers[i], consume);
    }
    for (unsigned i = 0; i < PRODUCERS_N; i++) {
        producers[i] = (struct thread){
            .ring = ring, .producer = i, .elems_n = elems_n / PRODUCERS_N, .random = 1 + i};
        start(&producers[i], produce);
    }
    for (unsigned i = 0; i < PRODUCERS_N; i++)
        pthread_join(producers[i].id, NULL);
    atomic_store_explicit(&stop, true, memory_order_release);
    for (unsigned i = 0; i < CONSUMERS_N; i++) {
        pthread_join(consumers[i].id, NULL);
        ok = ok && consumers[i].disorder_n == 0;
        printf("# consumer %u: %" PRIu64 " out of order\n", i, consumers[i].disorder_n);
    }
    for (unsigned i = 0; i < PRODUCERS_N; i++)
        ok = all_there(&producers[i], consumers) && ok;
    hg_ring_free(ring);
    return ok;
}

int main(int argc, char **argv)
{
    uint64_t elems_n = 2000000;
    uint32_t slots_n = 1024;
    uint64_t begin_ns;
    bool ok;

    for (int i = 1; i < argc; i += 2) {
        if (i + 1 < argc && strcmp(argv[i], "--elements") == 0) {
            elems_n = strtoull(argv[i + 1], NULL, 10);
        } else if (i + 1 < argc && strcmp(argv[i], "--slots") == 0) {
            slots_n = (uint32_t)strtoul(argv[i + 1], NULL, 10);
        } else {
            fprintf(stderr, "usage: %s [--elements N] [--slots N]\n", argv[0]);
            return 2;
        }
    }
    begin_ns = hg_now_ns();
    printf("1..1\n");
    ok = pass(elems_n, slots_n);
    printf("# %" PRIu64 " elements in %.1f s\n", elems_n, (double)(hg_now_ns() - begin_ns) / 1e9);
    printf("%s 1 - nothing lost, duplicated or reordered\n", ok ? "ok" : "not ok");
    return ok ? 0 : 1;
}
