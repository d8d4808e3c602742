/*
 * Whether a table waits for its readers, without a clock: a test names a place that a reader has
 * come to and an operation of control that must not use that place again while the reader is there.
 *
 *   reader                                          control
 *   hold(): comes to the place, keeps what it found
 *                                                   reuse(): unpublishes ... hg_qsbr_wait() begins
 *   is_intact()? again and again
 *   is_unpublished()? what control has taken away
 *   cannot be found any more, what it is going to
 *   put there cannot yet
 *   is_intact()? still; reuse() has not returned
 *   quiescent                                       ... hg_qsbr_wait() returns, reuse() goes on
 *
 * The linker has the table's calls of hg_qsbr_wait() come by here first (--wrap), so that the reader
 * knows that control waits and need not guess it from time that passes. An operation that does not
 * wait returns, and the reader sees that; so each run comes to an end, on a machine of any speed.
 */
#ifndef HG_TESTS_TABLE_GRACE_H
#define HG_TESTS_TABLE_GRACE_H

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "sync/qsbr.h"

void __real_hg_qsbr_wait(void);
void __wrap_hg_qsbr_wait(void);

enum { LOOKS_N = 1000 };

struct grace_scene {
    bool (*hold)(void);           /* the reader; false: there is nothing there */
    bool (*is_intact)(void);      /* the reader, on what it keeps */
    bool (*is_unpublished)(void); /* the reader, by new look-ups */
    void (*reuse)(void);          /* control; waits once */
};

static struct {
    const struct grace_scene *scene;
    /* By the reader. */
    atomic_bool holds;
    atomic_bool leaves; /* it is about to be quiescent */
    bool held, found, changed, came_early;
    /* By control. */
    atomic_bool waits;
    atomic_bool returned;
    unsigned waits_n;
    bool waited_in_vain; /* a grace period has ended before the reader left */
} grace;

void __wrap_hg_qsbr_wait(void)
{
    grace.waits_n++;
    atomic_store(&grace.waits, true);
    __real_hg_qsbr_wait();
    if (grace.scene != NULL && !atomic_load(&grace.leaves))
        grace.waited_in_vain = true;
}

static void look_again(void)
{
    if (!grace.scene->is_intact())
        grace.changed = true;
}

static void *grace_reader(void *arg)
{
    (void)arg;
    hg_qsbr_register();
    grace.held = grace.scene->hold();
    atomic_store(&grace.holds, true);
    while (!atomic_load(&grace.waits) && !atomic_load(&grace.returned)) {
        look_again();
        sched_yield();
    }
    if (atomic_load(&grace.waits))
        grace.found = !grace.scene->is_unpublished();
    for (unsigned i = 0; i < LOOKS_N; i++)
        look_again();
    grace.came_early = atomic_load(&grace.returned);
    atomic_store(&grace.leaves, true);
    hg_qsbr_quiescent();
    hg_qsbr_unregister();
    return NULL;
}

/* Returns when the reader has left. The calling thread is control. */
static void run_scene(const struct grace_scene *scene)
{
    pthread_t reader;

    memset(&grace, 0, sizeof(grace));
    grace.scene = scene;
    assert_int_equal(pthread_create(&reader, NULL, grace_reader, NULL), 0);
    while (!atomic_load(&grace.holds))
        sched_yield();
    scene->reuse();
    atomic_store(&grace.returned, true);
    pthread_join(reader, NULL);
    grace.scene = NULL;
    assert_true(grace.held);
    assert_false(grace.came_early);
    assert_int_equal(grace.waits_n, 1);
    assert_false(grace.waited_in_vain);
    assert_false(grace.found);
    assert_false(grace.changed);
}

#endif
