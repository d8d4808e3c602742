/*
 * How long a sleeping worker takes to wake: from just before the signal of another thread's eventfd
 * to the poll that follows, in nanoseconds. Median, p99 and maximum, for sleeps of several lengths,
 * because a processor that has been idle for longer is deeper asleep. The worker is pinned to the
 * last CPU that the process may use, the signaller to the first. Takes about ten seconds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "worker/worker.h"

#include "sample.h"

enum { SAMPLES_MAX = 3000 };

struct bell {
    struct hg_poller poller;
    atomic_bool rung;
    _Atomic uint64_t heard_ns; /* 0: not yet */
};

static unsigned listen_for_bell(struct hg_poller *poller)
{
    struct bell *bell = hg_container_of(poller, struct bell, poller);

    if (!atomic_load_explicit(&bell->rung, memory_order_acquire))
        return 0;
    atomic_store_explicit(&bell->rung, false, memory_order_relaxed);
    atomic_store_explicit(&bell->heard_ns, hg_now_ns(), memory_order_release);
    return 1;
}

static void rest_ns(uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / HG_NS_PER_S),
                            .tv_nsec = (long)(ns % HG_NS_PER_S)};

    nanosleep(&time, NULL);
}

/* Lets the worker sleep, rings, and returns how long it took to be heard. */
static uint64_t ring(struct hg_worker *worker, struct bell *bell, uint64_t sleep_ns)
{
    static uint64_t sleeps;
    const struct hg_count *count = &hg_worker_stats(worker)->sleeps;
    uint64_t rung_ns, heard_ns;

    while (hg_count_get(count) == sleeps)
        rest_ns(20 * HG_NS_PER_US);
    sleeps = hg_count_get(count);
    rest_ns(sleep_ns);

    atomic_store_explicit(&bell->heard_ns, 0, memory_order_relaxed);
    rung_ns = hg_now_ns();
    atomic_store_explicit(&bell->rung, true, memory_order_release);
    eventfd_write(bell->poller.fd, 1);
    while ((heard_ns = atomic_load_explicit(&bell->heard_ns, memory_order_acquire)) == 0)
        hg_relax();
    return heard_ns - rung_ns;
}

static void measure(struct hg_worker *worker, struct bell *bell, uint64_t sleep_ns, unsigned n)
{
    static uint64_t samples[SAMPLES_MAX];

    for (unsigned i = 0; i < n; i++)
        samples[i] = ring(worker, bell, sleep_ns);
    sample_sort(samples, n);
    printf("asleep for %5" PRIu64
           " us: median %6.1f us, p99 %6.1f us, max %7.1f us (%u wake-ups)\n",
           sleep_ns / HG_NS_PER_US, (double)sample_quantile(samples, n, 500) / 1000,
           (double)sample_quantile(samples, n, 990) / 1000, (double)samples[n - 1] / 1000, n);
}

int main(int argc, char **argv)
{
    static const uint64_t sleeps_us[] = {50, 500, 2000};
    const unsigned n = wants_smoke(argc, argv) ? 50 : SAMPLES_MAX;
    struct bell bell = {
        .poller = {.poll = listen_for_bell, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)}};
    struct hg_poller *pollers[] = {&bell.poller};
    struct hg_worker_options options = {.sleep = true, .idle_ns = 20 * HG_NS_PER_US};
    struct hg_worker *worker;
    struct hg_err err;
    int rc;

    options.cpu = last_cpu();
    rc = hg_worker_new(&worker, &options, NULL, &err);
    if (rc == 0)
        rc = hg_worker_set(worker, pollers, 1, &err);
    if (rc == 0)
        rc = hg_worker_start(worker, &err);
    if (rc < 0) {
        fprintf(stderr, "worker_wake: %s\n", err.text);
        return 1;
    }
    stay_on(first_cpu());
    printf("signaller on CPU %d, worker on CPU %d\n", first_cpu(), options.cpu);
    for (unsigned i = 0; i < HG_ARRAY_N(sleeps_us); i++)
        measure(worker, &bell, sleeps_us[i] * HG_NS_PER_US, n);
    hg_worker_stop(worker);
    hg_worker_free(worker);
    close(bell.poller.fd);
    return 0;
}
