#include "sync/spin.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { THREADS_N = 4, ROUNDS_N = 50000 };

static struct hg_spin spin;
static uint64_t guarded; /* plain: TSan reports it if the lock orders nothing */
static uint64_t tried;

static void *count_up(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < ROUNDS_N; i++) {
        hg_spin_lock(&spin);
        guarded++;
        hg_spin_unlock(&spin);
        if (hg_spin_try(&spin)) {
            guarded++;
            tried++;
            hg_spin_unlock(&spin);
        }
    }
    return NULL;
}

static void one_at_a_time(void **state)
{
    pthread_t thread[THREADS_N];

    (void)state;
    for (unsigned i = 0; i < THREADS_N; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, count_up, NULL), 0);
    for (unsigned i = 0; i < THREADS_N; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(guarded, THREADS_N * ROUNDS_N + tried);
}

static void trying_does_not_wait(void **state)
{
    (void)state;
    assert_true(hg_spin_try(&spin));
    assert_false(hg_spin_try(&spin));
    hg_spin_unlock(&spin);
    assert_true(hg_spin_try(&spin));
    hg_spin_unlock(&spin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trying_does_not_wait),
        cmocka_unit_test(one_at_a_time),
    };

    return cmocka_run_group_tests_name("sync/spin", tests, NULL, NULL);
}
