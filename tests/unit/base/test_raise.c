#include "base/raise.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "emulated.h"

static uint64_t take(int fd)
{
    uint64_t n = 0;

    return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void add_one_each_time(void **state)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        assert_true(hg_raise(fd));
    assert_int_equal(take(fd), 1000);
    assert_int_equal(take(fd), 0);
    close(fd);
    assert_false(hg_raise(-1));
    assert_false(hg_raise(fd));
}

/* With a plain write this test would never end. */
static void do_not_wait_for_a_full_one(void **state)
{
    uint64_t most = UINT64_MAX - 1;
    int fd = eventfd(0, EFD_CLOEXEC);

    skip_if_emulated("no asynchronous requests");
    (void)state;
    assert_int_equal(write(fd, &most, sizeof(most)), sizeof(most));
    for (unsigned i = 0; i < 100; i++)
        assert_true(hg_raise(fd));
    assert_true(take(fd) >= most);
    close(fd);
}

static void *raise_some(void *ctx)
{
    for (unsigned i = 0; i < 5000; i++)
        hg_raise(*(int *)ctx);
    return NULL;
}

static void serve_threads_that_come_and_go(void **state)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_t thread[4];

    (void)state;
    for (unsigned round = 0; round < 10; round++) {
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&thread[i], NULL, raise_some, &fd), 0);
        for (unsigned i = 0; i < 4; i++)
            pthread_join(thread[i], NULL);
        assert_int_equal(take(fd), 4 * 5000);
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(add_one_each_time),
        cmocka_unit_test(do_not_wait_for_a_full_one),
        cmocka_unit_test(serve_threads_that_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
