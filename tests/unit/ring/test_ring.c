/*
 * The ring against a plain queue: random operations of one thread on rings of every kind, several
 * rounds, also where positions wrap. And what options are refused, and what the others see of a run
 * that is claimed and not published.
 */
#include "ring/ring.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random.h"

enum { STEPS_N = 3000, N_MAX = 80, ELEM_BYTES_MAX = 100 };

static uint64_t seed = 1;

static uint32_t random_below(uint32_t n)
{
    return (uint32_t)((random_next(&seed) >> 11) % n);
}

/* What a ring should be: elements are numbered in the order in which they are enqueued. */
struct model {
    struct hg_ring *ring;
    struct hg_ring_options options;
    uint64_t enqueued_n;
    uint64_t dequeued_n;
};

/* Every byte of an element follows from its number and its place. */
static void fill(const struct model *m, void *elems, uint64_t number, uint32_t n)
{
    uint8_t *at = elems;

    for (size_t i = 0; i < (size_t)n * m->options.elem_bytes; i++)
        at[i] = (uint8_t)((number + i / m->options.elem_bytes) * 37 + i % m->options.elem_bytes);
}

static void check(const struct model *m, const void *elems, uint64_t number, uint32_t n)
{
    static uint8_t expected[N_MAX * ELEM_BYTES_MAX];

    fill(m, expected, number, n);
    assert_memory_equal(elems, expected, (size_t)n * m->options.elem_bytes);
}

static uint32_t count(const struct model *m)
{
    return (uint32_t)(m->enqueued_n - m->dequeued_n);
}

static uint32_t expected_n(uint32_t available, uint32_t least, uint32_t n)
{
    if (available < least)
        return 0;
    return n < available ? n : available;
}

static void enqueue(struct model *m, uint32_t n, bool bulk)
{
    static uint8_t elems[N_MAX * ELEM_BYTES_MAX];
    uint32_t done;

    fill(m, elems, m->enqueued_n, n);
    done =
        bulk ? hg_ring_enqueue_bulk(m->ring, elems, n) : hg_ring_enqueue_burst(m->ring, elems, n);
    assert_int_equal(done, expected_n(m->options.slots_n - count(m), bulk ? n : 1, n));
    m->enqueued_n += done;
}

static void dequeue(struct model *m, uint32_t n, bool bulk)
{
    static uint8_t elems[N_MAX * ELEM_BYTES_MAX + 8];
    uint32_t done;

    memset(elems, 0xa5, sizeof(elems));
    done =
        bulk ? hg_ring_dequeue_bulk(m->ring, elems, n) : hg_ring_dequeue_burst(m->ring, elems, n);
    assert_int_equal(done, expected_n(count(m), bulk ? n : 1, n));
    check(m, elems, m->dequeued_n, done);
    for (unsigned i = 0; i < 8; i++) /* and not a byte more */
        assert_int_equal(elems[(size_t)done * m->options.elem_bytes + i], 0xa5);
    m->dequeued_n += done;
}

/* How many of a span to commit: all, where others may be behind. */
static uint32_t some_of(uint32_t n, bool single)
{
    return single ? random_below(n + 1) : n;
}

static void reserve(struct model *m, uint32_t n, uint32_t least)
{
    struct hg_ring_span span;
    uint32_t done = hg_ring_enqueue_reserve(m->ring, least, n, &span);

    assert_int_equal(done, expected_n(m->options.slots_n - count(m), least, n));
    assert_int_equal(done, span.n);
    if (done == 0)
        return;
    assert_in_range(span.first_n, 1, done);
    fill(m, span.first, m->enqueued_n, span.first_n);
    fill(m, span.second, m->enqueued_n + span.first_n, done - span.first_n);
    done = some_of(done, m->options.single_producer);
    hg_ring_enqueue_commit(m->ring, &span, done);
    m->enqueued_n += done;
}

static void peek(struct model *m, uint32_t n, uint32_t least)
{
    struct hg_ring_span span;
    uint32_t done = hg_ring_dequeue_peek(m->ring, least, n, &span);

    assert_int_equal(done, expected_n(count(m), least, n));
    assert_int_equal(done, span.n);
    if (done == 0)
        return;
    check(m, span.first, m->dequeued_n, span.first_n);
    check(m, span.second, m->dequeued_n + span.first_n, done - span.first_n);
    done = some_of(done, m->options.single_consumer);
    hg_ring_dequeue_commit(m->ring, &span, done);
    m->dequeued_n += done;
}

static void step(struct model *m)
{
    uint32_t most = m->options.slots_n + 2 < N_MAX ? m->options.slots_n + 2 : N_MAX;
    uint32_t n = random_below(8) ? 1 + random_below(most) : 0;
    uint32_t least = n ? 1 + random_below(n) : 0;

    switch (random_below(8)) {
    case 0:
    case 1:
        enqueue(m, n, true);
        break;
    case 2:
        enqueue(m, n, false);
        break;
    case 3:
        reserve(m, n, least);
        break;
    case 4:
    case 5:
        dequeue(m, n, true);
        break;
    case 6:
        dequeue(m, n, false);
        break;
    default:
        peek(m, n, least);
    }
    assert_int_equal(hg_ring_count(m->ring), count(m));
    assert_int_equal(hg_ring_free_count(m->ring), m->options.slots_n - count(m));
}

/* Makes an empty ring look as if `pos` elements had passed through it, a multiple of its slots. */
static void begin_at(struct hg_ring *ring, uint64_t pos)
{
    atomic_store(&ring->producers, hg_ring_pos_(pos));
    atomic_store(&ring->consumers, hg_ring_pos_(pos));
    hg_ring_publish_(ring, false, hg_ring_pos_(pos - ring->slots_n), 0, ring->slots_n);
}

static void queue_like_a_model(uint32_t slots_n, uint32_t elem_bytes, unsigned kind, uint64_t pos)
{
    struct model m = {.options = {.slots_n = slots_n,
                                  .elem_bytes = elem_bytes,
                                  .single_producer = kind & 1,
                                  .single_consumer = kind & 2}};

    assert_int_equal(hg_ring_new(&m.ring, &m.options, NULL), 0);
    assert_int_equal(hg_ring_capacity(m.ring), slots_n);
    if (pos != 0)
        begin_at(m.ring, pos);
    for (unsigned i = 0; i < STEPS_N; i++)
        step(&m);
    while (count(&m) > 0)
        dequeue(&m, N_MAX, false);
    assert_true(m.dequeued_n > slots_n); /* it has gone round */
    hg_ring_free(m.ring);
}

static void a_ring_is_a_queue(void **state)
{
    static const uint32_t slots_n[] = {2, 4, 64, 256};
    static const uint32_t elem_bytes[] = {4, 8, 12, 16, 64, 100};

    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        for (unsigned s = 0; s < HG_ARRAY_N(slots_n); s++) {
            for (unsigned e = 0; e < HG_ARRAY_N(elem_bytes); e++)
                queue_like_a_model(slots_n[s], elem_bytes[e], kind, 0);
        }
    }
}

static void positions_may_wrap(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 4; kind++) {
        queue_like_a_model(2, 8, kind, (UINT64_C(1) << 48) - 2);
        queue_like_a_model(64, 8, kind, (UINT64_C(1) << 48) - 128);
    }
}

/* More slots than a claim word can count as ready, and than one operation of a side of many
 * moves. */
static void a_large_ring_fills_up(void **state)
{
    enum { SLOTS_N = 1 << 18 };
    uint32_t *elems = malloc(SLOTS_N * sizeof(*elems));

    (void)state;
    for (uint32_t i = 0; i < SLOTS_N; i++)
        elems[i] = i;
    for (unsigned kind = 0; kind < 4; kind++) {
        struct hg_ring_options options = {.slots_n = SLOTS_N,
                                          .elem_bytes = sizeof(*elems),
                                          .single_producer = kind & 1,
                                          .single_consumer = kind & 2};
        struct hg_ring *ring;
        uint32_t n = 0;

        assert_int_equal(hg_ring_new(&ring, &options, NULL), 0);
        assert_int_equal(hg_ring_enqueue_bulk(ring, elems, HG_RING_BULK_MAX + 1), 0);
        for (uint32_t done = 1; done != 0; n += done) {
            done = hg_ring_enqueue_burst(ring, elems + n, SLOTS_N);
            assert_true(done <= HG_RING_BULK_MAX);
        }
        assert_int_equal(n, SLOTS_N);
        assert_int_equal(hg_ring_count(ring), SLOTS_N);
        for (n = 0; n < SLOTS_N;) {
            uint32_t first;

            assert_int_equal(hg_ring_dequeue_bulk(ring, &first, 1), 1);
            assert_int_equal(first, n);
            n++;
            n += hg_ring_dequeue_burst(ring, elems, SLOTS_N);
        }
        assert_int_equal(n, SLOTS_N);
        assert_int_equal(hg_ring_count(ring), 0);
        hg_ring_free(ring);
        for (uint32_t i = 0; i < SLOTS_N; i++)
            elems[i] = i;
    }
    free(elems);
}

static void *pointer(uintptr_t n)
{
    return (void *)n; // NOLINT(performance-no-int-to-ptr)
}

/* A producer that has lost its processor: it holds up its own slots, and nobody waits for it. */
static void a_stalled_producer_holds_up_its_slots(void **state)
{
    struct hg_ring_options options = {.slots_n = 8};
    struct hg_ring_span stalled;
    struct hg_ring *ring;
    void *elems[8] = {pointer(1), pointer(2)};

    (void)state;
    assert_int_equal(hg_ring_new(&ring, &options, NULL), 0);
    assert_int_equal(hg_ring_enqueue_bulk(ring, elems, 2), 2);
    assert_int_equal(hg_ring_enqueue_reserve(ring, 3, 3, &stalled), 3);
    elems[0] = pointer(6);
    assert_int_equal(hg_ring_enqueue_bulk(ring, elems, 1), 1); /* others go on behind it */
    assert_int_equal(hg_ring_dequeue_bulk(ring, elems, 3), 0);
    assert_int_equal(hg_ring_dequeue_burst(ring, elems, 8), 2); /* what lies before it */
    assert_ptr_equal(elems[0], pointer(1));
    assert_ptr_equal(elems[1], pointer(2));
    assert_int_equal(hg_ring_dequeue_burst(ring, elems, 8), 0);
    assert_int_equal(hg_ring_enqueue_burst(ring, elems, 8), 4); /* all that is free */
    for (uintptr_t i = 0; i < 3; i++)
        ((void **)stalled.first)[i] = pointer(3 + i);
    hg_ring_enqueue_commit(ring, &stalled, 3);
    assert_int_equal(hg_ring_dequeue_burst(ring, elems, 8), 8);
    for (uintptr_t i = 0; i < 4; i++)
        assert_ptr_equal(elems[i], pointer(3 + i));
    hg_ring_free(ring);
}

static void a_stalled_consumer_holds_up_its_slots(void **state)
{
    struct hg_ring_options options = {.slots_n = 8};
    struct hg_ring_span stalled;
    struct hg_ring *ring;
    void *elems[8];

    (void)state;
    for (uintptr_t i = 0; i < 8; i++)
        elems[i] = pointer(i);
    assert_int_equal(hg_ring_new(&ring, &options, NULL), 0);
    assert_int_equal(hg_ring_enqueue_bulk(ring, elems, 8), 8);
    assert_int_equal(hg_ring_dequeue_bulk(ring, elems, 2), 2);
    assert_int_equal(hg_ring_dequeue_peek(ring, 1, 3, &stalled), 3);
    assert_int_equal(hg_ring_dequeue_burst(ring, elems, 8), 3); /* others go on behind it */
    assert_ptr_equal(elems[0], pointer(5));
    assert_int_equal(hg_ring_enqueue_burst(ring, elems, 8), 2); /* up to its slots */
    assert_int_equal(hg_ring_enqueue_burst(ring, elems, 8), 0);
    assert_ptr_equal(((void **)stalled.first)[0], pointer(2)); /* which are still what they were */
    assert_ptr_equal(((void **)stalled.first)[2], pointer(4));
    hg_ring_dequeue_commit(ring, &stalled, 3);
    assert_int_equal(hg_ring_enqueue_burst(ring, elems, 8), 6);
    assert_int_equal(hg_ring_count(ring), 8);
    hg_ring_free(ring);
}

/* What a third thread may see on a machine that reorders stores: the consumer's claim before the
 * producer's. */
static void counts_none_when_the_claims_come_in_disorder(void **state)
{
    static const struct hg_ring_options options = {
        .slots_n = 8, .single_producer = true, .single_consumer = true};
    void *elems[3] = {NULL};
    struct hg_ring *ring;
    uint64_t before;

    (void)state;
    assert_int_equal(hg_ring_new(&ring, &options, NULL), 0);
    before = atomic_load(&ring->producers);
    assert_int_equal(hg_ring_enqueue_bulk(ring, elems, 3), 3);
    assert_int_equal(hg_ring_dequeue_bulk(ring, elems, 3), 3);
    atomic_store(&ring->producers, before);
    assert_int_equal(hg_ring_count(ring), 0);
    assert_int_equal(hg_ring_free_count(ring), 8);
    hg_ring_free(ring);
}

static void what_cannot_be_is_refused(void **state)
{
    static const struct hg_ring_options wrong[] = {
        {.slots_n = 0},
        {.slots_n = 1},
        {.slots_n = 100},
        {.slots_n = UINT32_C(1) << 31},
        {.slots_n = 8, .elem_bytes = 6},
        {.slots_n = 8, .elem_bytes = HG_RING_ELEM_BYTES_MAX + 4},
    };

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(wrong); i++) {
        struct hg_err err = {0};
        struct hg_ring *ring = NULL;

        assert_int_equal(hg_ring_new(&ring, &wrong[i], &err), -EINVAL);
        assert_non_null(strstr(err.text, "expected"));
        assert_int_equal(hg_ring_bytes(&wrong[i], NULL), 0);
        assert_int_equal(hg_ring_init(ring, &wrong[i], NULL), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_is_a_queue),
        cmocka_unit_test(positions_may_wrap),
        cmocka_unit_test(a_large_ring_fills_up),
        cmocka_unit_test(a_stalled_producer_holds_up_its_slots),
        cmocka_unit_test(a_stalled_consumer_holds_up_its_slots),
        cmocka_unit_test(counts_none_when_the_claims_come_in_disorder),
        cmocka_unit_test(what_cannot_be_is_refused),
    };

    return cmocka_run_group_tests_name("ring/ring", tests, NULL, NULL);
}
