/*
 * The worker's loop and life.
 *
 * No wake-up is lost. Work is announced in two steps by whoever has it (a guest, the kernel): it is
 * made visible, then the fd is signalled if that has been asked for. arm() takes them in the
 * opposite order: it asks, then looks. With a full barrier between the steps on both sides
 * (base/shm.h publish_then_look) one of the two sees the other. So for work that comes
 *
 *   before arm() looks       arm() says so, and the worker does not sleep
 *   after that               its owner sees the wish and signals the fd. The signal stays in the
 *                            epoll set until a wait has reported it, whether or not somebody was
 *                            waiting when it came: the next wait returns at once
 *
 * and a wait that reports more than one fd, or returns for another reason, makes no difference:
 * after every wait all pollers are polled until all of them have been without work for idle_ns
 * again. That also serves guests that trickle: whoever woke the worker finds it awake for his next
 * packets.
 *
 * Orders from control work alike: a new set or the wish to stop is stored first, then the worker's
 * own event is signalled, which is in the epoll set for as long as the worker lives. The look at
 * orders just before the wait only saves a wait that would return at once.
 *
 * Edge-triggered. The fds are signals, not data; what there is to do stands in shared memory. A
 * level-triggered fd would have to be read after each signal, a system call per fd that also takes
 * signals which belong to the next sleep. An edge is taken by the wait that reports it. A fd that
 * is readable when it is added counts as an edge: a new set may cost one wait in vain, never a
 * sleep through a signal.
 *
 * A poller without a fd cannot wake anybody. If it can have work nevertheless (it has an arm()),
 * its set is never slept on; if it cannot, it is not asked.
 *
 * The set of pollers is read anew in each turn and held to the quiescent state at its end; the way
 * to sleep holds it from the arming to the moment of going offline. While the worker sleeps,
 * control may replace the set and see a grace period pass at once. Hence a woken worker does not
 * touch the set that it armed: it disarms the one that is in force. Pollers that were armed and
 * have left are disarmed by control, when nobody else has them. Both rely on disarm() of a poller
 * that is not armed doing nothing.
 */
#include "worker/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "sync/qsbr.h"
#include "worker/set.h"

enum {
    CLOCK_TURNS_N = 32, /* turns without work between two looks at the clock */
    EVENTS_N = 64,      /* taken from epoll at once; the rest is reported by the next wait */
};

struct hg_worker {
    /* Constant while the thread runs. */
    struct hg_worker_options options;
    struct hg_worker_env env;
    int epoll_fd;
    int event_fd; /* in epoll_fd: control has an order */
    pthread_t thread;
    bool started;

    /* Orders: written by control, read by the worker. */
    alignas(HG_CACHE_LINE_BYTES) struct hg_set *_Atomic set;
    atomic_bool stop;

    /* The worker's own; stats are read by others. */
    alignas(HG_CACHE_LINE_BYTES) struct hg_worker_stats stats;
    uint64_t turn_cycles; /* when the current turn began */
    uint64_t idle_since_ns;
    uint32_t idle_turns; /* in a row, without work */
    bool woken;          /* no turn since the last wait */
};

static uint64_t real_now_ns(void *ctx)
{
    (void)ctx;
    return hg_now_ns();
}

static int real_wait(void *ctx, int epoll_fd)
{
    struct epoll_event events[EVENTS_N];

    (void)ctx;
    return epoll_wait(epoll_fd, events, EVENTS_N, -1);
}

/* The loop. */

static bool ordered(struct hg_worker *worker, const struct hg_set *set)
{
    return hg_qsbr_read(&worker->set) != set ||
           atomic_load_explicit(&worker->stop, memory_order_acquire);
}

static void sleep_until_signalled(struct hg_worker *worker)
{
    const struct hg_set *set = hg_qsbr_read(&worker->set);

    worker->idle_turns = 0;
    if (set->sleepless || hg_set_arm(set))
        return;
    if (ordered(worker, set)) {
        hg_set_disarm(set);
        return;
    }
    hg_count_add(&worker->stats.sleeps, 1);
    hg_qsbr_offline();
    worker->env.wait(worker->env.ctx, worker->epoll_fd);
    hg_qsbr_online();
    hg_set_disarm(hg_qsbr_read(&worker->set));
    worker->woken = true;
    worker->turn_cycles = hg_cycles();
}

/* Whether there has been no work for idle_ns. Asks the clock seldom. */
static bool idle_for_long(struct hg_worker *worker)
{
    uint64_t now_ns;

    if (!worker->options.sleep || ++worker->idle_turns % CLOCK_TURNS_N != 0)
        return false;
    now_ns = worker->env.now_ns(worker->env.ctx);
    if (worker->idle_turns == CLOCK_TURNS_N)
        worker->idle_since_ns = now_ns;
    return now_ns - worker->idle_since_ns >= worker->options.idle_ns;
}

static void account(struct hg_worker *worker, unsigned packets)
{
    struct hg_worker_stats *stats = &worker->stats;
    uint64_t now = hg_cycles();
    uint64_t spent = now - worker->turn_cycles;

    worker->turn_cycles = now;
    hg_count_add(&stats->turns, 1);
    if (packets != 0) {
        hg_count_add(&stats->packets, packets);
        hg_count_add(&stats->busy_cycles, spent);
    } else {
        hg_count_add(&stats->idle_cycles, spent);
        if (hg_unlikely(worker->woken))
            hg_count_add(&stats->wakeups_in_vain, 1);
    }
    worker->woken = false;
}

unsigned hg_worker_turn(struct hg_worker *worker)
{
    const struct hg_set *set = hg_qsbr_read(&worker->set);
    unsigned packets = 0;

    for (unsigned i = 0; i < set->n; i++)
        packets += set->poller[i]->poll(set->poller[i]);
    account(worker, packets);
    hg_qsbr_quiescent();

    if (packets != 0)
        worker->idle_turns = 0;
    else if (idle_for_long(worker))
        sleep_until_signalled(worker);
    return packets;
}

static void *run(void *arg)
{
    struct hg_worker *worker = arg;

    hg_qsbr_register();
    worker->turn_cycles = hg_cycles();
    while (!atomic_load_explicit(&worker->stop, memory_order_acquire))
        hg_worker_turn(worker);
    hg_qsbr_unregister();
    return NULL;
}

/* Orders from control. */

/* After the order has been stored. Ends the wait under way, or the next one. */
static void signal_order(struct hg_worker *worker)
{
    /* Cannot fail: nobody adds up 2^64 orders, and the event is ours. */
    (void)eventfd_write(worker->event_fd, 1);
}

int hg_worker_set(struct hg_worker *worker, struct hg_poller *const *pollers, unsigned n,
                  struct hg_err *err)
{
    struct hg_set *old = atomic_load_explicit(&worker->set, memory_order_relaxed);
    struct hg_set *set;
    int rc = hg_set_new(&set, pollers, n, worker->epoll_fd, err);

    if (rc < 0)
        return rc;
    hg_qsbr_publish(&worker->set, set);
    signal_order(worker);
    hg_qsbr_wait();

    for (unsigned i = 0; i < old->n; i++) {
        struct hg_poller *poller = old->poller[i];

        if (poller->disarm && !hg_set_has(set, poller))
            poller->disarm(poller);
    }
    hg_set_free(old);
    return 0;
}

/* Birth and death. */

static int check_cpu(int cpu, struct hg_err *err)
{
    long n = sysconf(_SC_NPROCESSORS_CONF);
    cpu_set_t allowed;

    if (cpu == -1)
        return 0;
    if (cpu < 0 || cpu >= n || cpu >= CPU_SETSIZE)
        return hg_err_set(err, EINVAL, "there is no CPU %d: this machine has CPUs 0 to %ld", cpu,
                          n - 1);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return hg_err_set(err, errno, "cannot ask which CPUs are allowed: %s", strerror(errno));
    if (!CPU_ISSET(cpu, &allowed))
        return hg_err_set(err, EPERM,
                          "CPU %d is not among those that this process may use (%d of %ld); see "
                          "taskset(1) and the cpuset of its control group",
                          cpu, CPU_COUNT(&allowed), n);
    return 0;
}

static int open_epoll(struct hg_worker *worker, struct hg_err *err)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int code;

    worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    worker->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (worker->epoll_fd >= 0 && worker->event_fd >= 0 &&
        epoll_ctl(worker->epoll_fd, EPOLL_CTL_ADD, worker->event_fd, &event) == 0)
        return 0;
    code = errno;
    return hg_err_set(err, code, "cannot create the event file descriptors of a worker: %s",
                      strerror(code));
}

int hg_worker_new(struct hg_worker **worker, const struct hg_worker_options *options,
                  const struct hg_worker_env *env, struct hg_err *err)
{
    static const struct hg_worker_env real_env = {.now_ns = real_now_ns, .wait = real_wait};
    struct hg_worker *made;
    struct hg_set *empty = NULL;
    int rc = check_cpu(options->cpu, err);

    *worker = NULL;
    if (rc < 0)
        return rc;
    made = aligned_alloc(alignof(struct hg_worker), sizeof(*made));
    if (!made)
        return hg_err_set(err, ENOMEM, "no memory for a worker");
    memset(made, 0, sizeof(*made));
    made->options = *options;
    made->env = env ? *env : real_env;
    made->turn_cycles = hg_cycles();
    rc = open_epoll(made, err);
    if (rc == 0)
        rc = hg_set_new(&empty, NULL, 0, made->epoll_fd, err);
    atomic_init(&made->set, empty);
    if (rc < 0) {
        hg_worker_free(made);
        return rc;
    }
    *worker = made;
    return 0;
}

void hg_worker_free(struct hg_worker *worker)
{
    struct hg_set *set = atomic_load_explicit(&worker->set, memory_order_relaxed);

    if (set)
        hg_set_free(set);
    if (worker->event_fd >= 0)
        close(worker->event_fd);
    if (worker->epoll_fd >= 0)
        close(worker->epoll_fd);
    free(worker);
}

/* Creates the thread where its options want it, all signals blocked: they are control's. But not
 * those of a thread's own accesses: the kernel ends the process when they are blocked, and a peer
 * may cause some (mem/foreign.h). */
static int create_thread(struct hg_worker *worker)
{
    pthread_attr_t attr;
    sigset_t all, before;
    cpu_set_t cpus;
    int rc = pthread_attr_init(&attr);

    if (rc != 0)
        return rc;
    if (worker->options.cpu >= 0) {
        CPU_ZERO(&cpus);
        CPU_SET(worker->options.cpu, &cpus);
        rc = pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
    }
    if (rc == 0) {
        sigfillset(&all);
        sigdelset(&all, SIGBUS);
        sigdelset(&all, SIGSEGV);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        rc = pthread_create(&worker->thread, &attr, run, worker);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attr);
    return rc;
}

int hg_worker_start(struct hg_worker *worker, struct hg_err *err)
{
    char name[sizeof("hg-worker-2147483647")] = "hg-worker";
    int rc;

    atomic_store_explicit(&worker->stop, false, memory_order_relaxed);
    rc = create_thread(worker);
    if (rc != 0)
        return hg_err_set(err, rc, "cannot start a worker thread%s: %s",
                          worker->options.cpu >= 0 ? " on its CPU" : "", strerror(rc));
    worker->started = true;
    if (worker->options.cpu >= 0)
        snprintf(name, sizeof(name), "hg-worker-%d", worker->options.cpu);
    pthread_setname_np(worker->thread, name);
    return 0;
}

void hg_worker_stop(struct hg_worker *worker)
{
    if (!worker->started)
        return;
    atomic_store_explicit(&worker->stop, true, memory_order_release);
    signal_order(worker);
    pthread_join(worker->thread, NULL);
    worker->started = false;
}

const struct hg_worker_stats *hg_worker_stats(const struct hg_worker *worker)
{
    return &worker->stats;
}

int hg_worker_cpu(const struct hg_worker *worker)
{
    return worker->options.cpu;
}
