/*
 * How long control waits for a grace period, hg_qsbr_wait(), by what the worker is doing: polling
 * in vain, handling bursts of some length, or asleep. Median, p99 and maximum; control is on the
 * first CPU that the process may use, the worker on the last. Takes about five seconds.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/bits.h"
#include "base/clock.h"
#include "sync/qsbr.h"
#include "worker/worker.h"

#include "sample.h"

enum { SAMPLES_MAX = 10000 };

struct load {
    struct hg_poller poller;
    _Atomic uint64_t burst_ns; /* 0: there is no work */
};

static unsigned work(struct hg_poller *poller)
{
    struct load *load = hg_container_of(poller, struct load, poller);
    uint64_t burst_ns = atomic_load_explicit(&load->burst_ns, memory_order_relaxed);
    uint64_t end_ns;

    if (burst_ns == 0)
        return 0;
    for (end_ns = hg_now_ns() + burst_ns; hg_now_ns() < end_ns;)
        hg_relax();
    return 1;
}

static void measure(const char *what, unsigned n)
{
    static uint64_t samples[SAMPLES_MAX];
    const struct timespec pause = {.tv_nsec = 20 * 1000};

    for (unsigned i = 0; i < n; i++) {
        uint64_t start_ns;

        nanosleep(&pause, NULL);
        start_ns = hg_now_ns();
        hg_qsbr_wait();
        samples[i] = hg_now_ns() - start_ns;
    }
    sample_sort(samples, n);
    printf("%-22s median %7.2f us, p99 %7.2f us, max %8.1f us\n", what,
           (double)sample_quantile(samples, n, 500) / 1000,
           (double)sample_quantile(samples, n, 990) / 1000, (double)samples[n - 1] / 1000);
}

static void measure_all(struct load *load, unsigned n)
{
    static const uint64_t burst_us[] = {2, 10, 50};
    char what[32];

    measure("worker polls in vain:", n);
    for (unsigned i = 0; i < HG_ARRAY_N(burst_us); i++) {
        atomic_store_explicit(&load->burst_ns, burst_us[i] * HG_NS_PER_US, memory_order_relaxed);
        snprintf(what, sizeof(what), "bursts of %" PRIu64 " us:", burst_us[i]);
        measure(what, n);
    }
}

int main(int argc, char **argv)
{
    const unsigned n = wants_smoke(argc, argv) ? 100 : SAMPLES_MAX;
    struct hg_worker_options options = {.sleep = false};
    struct load load = {.poller = {.poll = work, .fd = -1}};
    struct hg_poller *pollers[] = {&load.poller};
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
        fprintf(stderr, "qsbr_wait: %s\n", err.text);
        return 1;
    }
    stay_on(first_cpu());
    measure_all(&load, n);
    hg_worker_stop(worker);
    measure("no worker:", n);
    hg_worker_free(worker);
    return 0;
}
