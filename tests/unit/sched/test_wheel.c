/*
 * The timing wheel against a list: entries come out with the first slot that begins at their tick
 * or later, none is lost, and the next occupied slot is always known.
 */
#include "sched/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "random.h"

enum { ENTRIES = 300, STEPS = 200000 };

struct waiter {
    struct wheel_entry entry;
    uint64_t slot; /* in which it is to come out; 0: it is not in the wheel */
};

static struct wheel wheel;
static struct waiter waiter[ENTRIES];
static uint64_t seed = 7;

static uint64_t random_below(uint64_t n)
{
    return random_next(&seed) % n;
}

static uint64_t first_slot(void)
{
    uint64_t first = UINT64_MAX;

    for (unsigned i = 0; i < ENTRIES; i++) {
        if (waiter[i].slot != 0 && waiter[i].slot < first)
            first = waiter[i].slot;
    }
    return first;
}

static void put(struct waiter *w, uint64_t at)
{
    uint64_t unit = UINT64_C(1) << wheel.shift;

    w->slot = (at + unit - 1) / unit;
    if (w->slot <= wheel.past)
        w->slot = wheel.past + 1;
    if (w->slot > wheel.past + WHEEL_SLOTS_N)
        w->slot = wheel.past + WHEEL_SLOTS_N;
    wheel_put(&wheel, &w->entry, at);
}

static void take_all(uint64_t now)
{
    struct wheel_entry *entry;

    while ((entry = wheel_take(&wheel, now)) != NULL) {
        struct waiter *w = (struct waiter *)(void *)entry; /* its first field */

        assert_true(w->slot != 0);
        assert_true(wheel_tick(&wheel, w->slot) <= now);
        w->slot = 0;
    }
    for (unsigned i = 0; i < ENTRIES; i++)
        assert_true(waiter[i].slot == 0 || wheel_tick(&wheel, waiter[i].slot) > now);
}

static void does_as_a_list_does(void **state)
{
    uint64_t now = 0;

    (void)state;
    wheel_init(&wheel, UINT64_C(2300000000));
    assert_true(wheel.shift == 11); /* 2,048 of 2,300 ticks in a microsecond */
    assert_true(wheel_next(&wheel) == UINT64_MAX);
    for (unsigned step = 0; step < STEPS; step++) {
        struct waiter *w = &waiter[random_below(ENTRIES)];

        if (w->slot == 0) {
            put(w, now + random_below(UINT64_C(1) << (1 + random_below(26))));
        } else if (random_below(4) == 0) {
            wheel_remove(&wheel, &w->entry);
            w->slot = 0;
        }
        assert_true(wheel_next(&wheel) == first_slot());
        if (random_below(8) == 0) {
            now += random_below(UINT64_C(1) << (1 + random_below(24)));
            take_all(now);
        }
        if (random_below(5000) == 0) { /* everything, long after */
            now += UINT64_C(1) << 40;
            take_all(now);
            assert_true(wheel_next(&wheel) == UINT64_MAX);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(does_as_a_list_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
