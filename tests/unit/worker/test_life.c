/* Creation, refusal, the thread's properties, and file descriptors whose meaning changes. */
#include "worker/worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "sync/qsbr.h"

static const struct hg_worker_options unpinned = {.cpu = -1, .sleep = true, .idle_ns = 1000};

static unsigned find_nothing(struct hg_poller *poller)
{
    (void)poller;
    return 0;
}

static bool arm_in_vain(struct hg_poller *poller)
{
    (void)poller;
    return false;
}

static void disarm_nothing(struct hg_poller *poller)
{
    (void)poller;
}

static struct hg_poller quiet(int fd)
{
    return (struct hg_poller){
        .poll = find_nothing, .arm = arm_in_vain, .disarm = disarm_nothing, .fd = fd};
}

static unsigned open_fds_n(void)
{
    DIR *dir = opendir("/proc/self/fd");
    unsigned n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void refuses_a_cpu_that_does_not_exist(void **state)
{
    const struct hg_worker_options options = {.cpu = 100000};
    struct hg_worker *worker;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_worker_new(&worker, &options, NULL, &err), -EINVAL);
    assert_null(worker);
    assert_non_null(strstr(err.text, "there is no CPU 100000"));
    assert_int_equal(hg_worker_new(&worker, &(struct hg_worker_options){.cpu = -2}, NULL, &err),
                     -EINVAL);
}

/* The CPU that this thread may use and is about to give up, or the only one. */
static int first_allowed(const cpu_set_t *allowed)
{
    int cpu = 0;

    while (!CPU_ISSET(cpu, allowed))
        cpu++;
    return cpu;
}

static void refuses_a_cpu_that_is_not_allowed(void **state)
{
    cpu_set_t allowed, fewer;
    int cpu;
    struct hg_worker *worker;
    struct hg_err err;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    if (CPU_COUNT(&allowed) < 2) {
        print_message("# not tested: only one CPU\n");
        return;
    }
    cpu = first_allowed(&allowed);
    fewer = allowed;
    CPU_CLR(cpu, &fewer);
    assert_int_equal(sched_setaffinity(0, sizeof(fewer), &fewer), 0);
    assert_int_equal(hg_worker_new(&worker, &(struct hg_worker_options){.cpu = cpu}, NULL, &err),
                     -EPERM);
    assert_non_null(strstr(err.text, "is not among those that this process may use"));
    assert_int_equal(sched_setaffinity(0, sizeof(allowed), &allowed), 0);
}

static struct seen {
    cpu_set_t cpus;
    sigset_t blocked;
    char name[16];
    atomic_bool done;
} seen;

static unsigned look_around(struct hg_poller *poller)
{
    (void)poller;
    if (!atomic_load(&seen.done)) {
        sched_getaffinity(0, sizeof(seen.cpus), &seen.cpus);
        pthread_sigmask(SIG_BLOCK, NULL, &seen.blocked);
        pthread_getname_np(pthread_self(), seen.name, sizeof(seen.name));
        /* The name is given right after creation. */
        if (strncmp(seen.name, "hg-worker", 9) == 0)
            atomic_store(&seen.done, true);
    }
    return 0;
}

static void runs_pinned_named_and_without_signals(void **state)
{
    struct hg_poller poller = {.poll = look_around, .fd = -1};
    struct hg_poller *pollers[] = {&poller};
    struct hg_worker_options options = {.sleep = false};
    struct hg_worker *worker;
    cpu_set_t allowed;
    char name[32];

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(allowed), &allowed), 0);
    options.cpu = first_allowed(&allowed);
    assert_int_equal(hg_worker_new(&worker, &options, NULL, NULL), 0);
    assert_int_equal(hg_worker_cpu(worker), options.cpu);
    assert_int_equal(hg_worker_set(worker, pollers, 1, NULL), 0);
    assert_int_equal(hg_worker_start(worker, NULL), 0);
    while (!atomic_load(&seen.done))
        usleep(1000);
    hg_worker_stop(worker);

    assert_int_equal(CPU_COUNT(&seen.cpus), 1);
    assert_true(CPU_ISSET(options.cpu, &seen.cpus));
    snprintf(name, sizeof(name), "hg-worker-%d", options.cpu);
    assert_string_equal(seen.name, name);
    assert_true(sigismember(&seen.blocked, SIGTERM));
    assert_true(sigismember(&seen.blocked, SIGCHLD));
    hg_worker_free(worker);
}

static void starts_and_stops_again_also_asleep(void **state)
{
    struct hg_worker *worker;
    uint64_t sleeps = 0;

    (void)state;
    assert_int_equal(hg_worker_new(&worker, &unpinned, NULL, NULL), 0);
    hg_worker_stop(worker); /* not started: nothing to do */
    for (int i = 0; i < 20; i++) {
        assert_int_equal(hg_worker_start(worker, NULL), 0);
        while (i % 2 && hg_count_get(&hg_worker_stats(worker)->sleeps) == sleeps)
            usleep(100);
        hg_worker_stop(worker);
        sleeps = hg_count_get(&hg_worker_stats(worker)->sleeps);
    }
    hg_worker_free(worker);
}

static void keeps_the_old_set_when_it_refuses_a_new_one(void **state)
{
    struct hg_poller good = quiet(-1), bad = quiet(-1);
    struct hg_poller *pollers[] = {&good, &bad};
    int file = memfd_create("not waitable", MFD_CLOEXEC);
    struct hg_worker *worker;
    struct hg_err err;
    unsigned fds_n;

    (void)state;
    good.fd = eventfd(0, EFD_CLOEXEC);
    assert_int_equal(hg_worker_new(&worker, &unpinned, NULL, NULL), 0);
    assert_int_equal(hg_worker_set(worker, pollers, 1, NULL), 0);
    fds_n = open_fds_n();

    bad.fd = file;
    assert_int_equal(hg_worker_set(worker, pollers, 2, &err), -EPERM);
    assert_non_null(strstr(err.text, "cannot wait for file descriptor"));
    bad.fd = 1 << 20;
    assert_int_equal(hg_worker_set(worker, pollers, 2, &err), -EBADF);
    bad = (struct hg_poller){.arm = arm_in_vain, .disarm = disarm_nothing, .fd = -1};
    assert_int_equal(hg_worker_set(worker, pollers, 2, &err), -EINVAL);
    bad = (struct hg_poller){.poll = find_nothing, .arm = arm_in_vain, .fd = -1};
    assert_int_equal(hg_worker_set(worker, pollers, 2, &err), -EINVAL);
    pollers[1] = NULL;
    assert_int_equal(hg_worker_set(worker, pollers, 2, &err), -EINVAL);
    assert_int_equal(open_fds_n(), fds_n);

    hg_worker_free(worker);
    close(good.fd);
    close(file);
}

static void leaks_no_file_descriptor(void **state)
{
    struct hg_poller a = quiet(eventfd(0, EFD_CLOEXEC)), b = quiet(eventfd(0, EFD_CLOEXEC));
    struct hg_poller *pollers[] = {&a, &b};
    unsigned fds_n = open_fds_n();
    struct hg_worker *worker;

    (void)state;
    assert_int_equal(hg_worker_new(&worker, &unpinned, NULL, NULL), 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(hg_worker_set(worker, pollers, i % 3, NULL), 0);
    hg_worker_free(worker);
    assert_int_equal(open_fds_n(), fds_n);
    close(a.fd);
    close(b.fd);
}

/* A wait that looks and does not wait; ctx receives how many fds were ready. */
static int look_only(void *ctx, int epoll_fd)
{
    struct epoll_event events[8];

    return *(int *)ctx = epoll_wait(epoll_fd, events, 8, 0);
}

static uint64_t late(void *ctx)
{
    static uint64_t now_ns;

    (void)ctx;
    return now_ns += 1000 * 1000;
}

/* Turns until it has slept once more. Returns the number of fds that were ready. */
static int sleep_once(struct hg_worker *worker, const int *ready_n)
{
    uint64_t sleeps = hg_count_get(&hg_worker_stats(worker)->sleeps);

    while (hg_count_get(&hg_worker_stats(worker)->sleeps) == sleeps)
        hg_worker_turn(worker);
    return *ready_n;
}

static void set_as_control(struct hg_worker *worker, struct hg_poller *const *pollers, unsigned n)
{
    hg_qsbr_offline();
    assert_int_equal(hg_worker_set(worker, pollers, n, NULL), 0);
    hg_qsbr_online();
}

/* As when a guest's driver starts anew: the back-end gets another eventfd, which the kernel may
 * give the number of the old one, while the old open file lives on in the front-end. */
static void an_fd_number_may_change_its_meaning(void **state)
{
    int ready_n = 0;
    const struct hg_worker_env env = {.now_ns = late, .wait = look_only, .ctx = &ready_n};
    int number = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int old_end = dup(number), new_end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct hg_poller poller = quiet(number), twin = quiet(number), mute = quiet(-1);
    struct hg_poller *pollers[] = {&poller, &twin, &mute};
    struct hg_worker *worker;

    (void)state;
    mute.arm = NULL;
    mute.disarm = NULL;
    hg_qsbr_register();
    assert_int_equal(hg_worker_new(&worker, &unpinned, &env, NULL), 0);
    set_as_control(worker, pollers, 3);
    assert_int_equal(sleep_once(worker, &ready_n), 1); /* the order itself */
    assert_int_equal(sleep_once(worker, &ready_n), 0);
    eventfd_write(old_end, 1);
    assert_int_equal(sleep_once(worker, &ready_n), 2); /* two pollers may share an fd */

    assert_int_equal(dup3(new_end, number, O_CLOEXEC), number); /* closes the old one */
    set_as_control(worker, pollers, 3);
    assert_int_equal(sleep_once(worker, &ready_n), 1);
    eventfd_write(old_end, 1);
    assert_int_equal(sleep_once(worker, &ready_n), 0);
    eventfd_write(new_end, 1);
    assert_int_equal(sleep_once(worker, &ready_n), 2);

    close(number); /* whenever he likes: the set does not depend on it */
    eventfd_write(new_end, 1);
    assert_int_equal(sleep_once(worker, &ready_n), 2);
    set_as_control(worker, NULL, 0);
    assert_int_equal(sleep_once(worker, &ready_n), 1);
    eventfd_write(new_end, 1);
    assert_int_equal(sleep_once(worker, &ready_n), 0);

    hg_qsbr_unregister();
    hg_worker_free(worker);
    close(old_end);
    close(new_end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_a_cpu_that_does_not_exist),
        cmocka_unit_test(refuses_a_cpu_that_is_not_allowed),
        cmocka_unit_test(runs_pinned_named_and_without_signals),
        cmocka_unit_test(starts_and_stops_again_also_asleep),
        cmocka_unit_test(keeps_the_old_set_when_it_refuses_a_new_one),
        cmocka_unit_test(leaks_no_file_descriptor),
        cmocka_unit_test(an_fd_number_may_change_its_meaning),
    };

    return cmocka_run_group_tests_name("worker/life", tests, NULL, NULL);
}
