/*
 * What a turn of the worker's loop costs that finds no work, by the number of pollers: the price of
 * looking. Each poller is one indirect call that loads one shared word, as an idle ring's is. Takes
 * about a second.
 */
#include <stdio.h>

#include "base/bits.h"
#include "base/clock.h"
#include "sync/qsbr.h"
#include "worker/worker.h"

#include "sample.h"

enum { ROUNDS_N = 9, POLLERS_MAX = 16 };

struct idle {
    struct hg_poller poller;
    _Atomic uint16_t index;
};

static unsigned look(struct hg_poller *poller)
{
    struct idle *idle = hg_container_of(poller, struct idle, poller);

    return atomic_load_explicit(&idle->index, memory_order_acquire);
}

static void measure(struct hg_worker *worker, unsigned poller_n, unsigned turns_n)
{
    uint64_t ns[ROUNDS_N], cycles[ROUNDS_N];

    for (unsigned r = 0; r < ROUNDS_N; r++) {
        uint64_t start_ns = hg_now_ns(), start = hg_cycles();

        for (unsigned i = 0; i < turns_n; i++)
            hg_worker_turn(worker);
        cycles[r] = hg_cycles() - start;
        ns[r] = hg_now_ns() - start_ns;
    }
    sample_sort(ns, ROUNDS_N);
    sample_sort(cycles, ROUNDS_N);
    printf("%2u pollers: %5.1f ns, %5.1f cycles for a turn without work\n", poller_n,
           (double)sample_quantile(ns, ROUNDS_N, 500) / turns_n,
           (double)sample_quantile(cycles, ROUNDS_N, 500) / turns_n);
}

int main(int argc, char **argv)
{
    static const unsigned poller_n[] = {0, 1, 2, 4, 8, POLLERS_MAX};
    /* Adaptive, so that the looks at the clock are in the figure; but it never gets to sleep. */
    const struct hg_worker_options options = {.cpu = -1, .sleep = true, .idle_ns = UINT64_MAX};
    static struct idle idle[POLLERS_MAX];
    struct hg_poller *pollers[POLLERS_MAX];
    const unsigned turns_n = wants_smoke(argc, argv) ? 1000 : 1000 * 1000;
    struct hg_worker *worker;
    struct hg_err err;

    for (unsigned i = 0; i < POLLERS_MAX; i++) {
        idle[i].poller = (struct hg_poller){.poll = look, .fd = -1};
        pollers[i] = &idle[i].poller;
    }
    stay_on(last_cpu());
    if (hg_worker_new(&worker, &options, NULL, &err) < 0) {
        fprintf(stderr, "worker_turn: %s\n", err.text);
        return 1;
    }
    hg_qsbr_register();
    for (unsigned i = 0; i < HG_ARRAY_N(poller_n); i++) {
        hg_qsbr_offline();
        hg_worker_set(worker, pollers, poller_n[i], NULL);
        hg_qsbr_online();
        measure(worker, poller_n[i], turns_n);
    }
    hg_qsbr_unregister();
    hg_worker_free(worker);
    return 0;
}
