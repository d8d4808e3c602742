/*
 * Preloaded into dpdk-test: tells the rate of its clock, and makes its seconds shorter,
 * HG_SECONDS_SHORTER times. mempool_perf_autotest spends five seconds on each of some four hundred
 * cells; half an hour a round is too long for pairs. Rates that it then prints are too low by the
 * same factor.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t rte_get_tsc_hz(void);

uint64_t rte_get_tsc_hz(void)
{
    static uint64_t hz;
    static uint64_t shorter = 1;

    if (hz == 0) {
        const char *text = getenv("HG_SECONDS_SHORTER");
        uint64_t (*real)(void);

        *(void **)&real = dlsym(RTLD_NEXT, "rte_get_tsc_hz");
        hz = real();
        if (hz == 0)
            return 0; /* EAL is not ready */
        if (text)
            shorter = strtoull(text, NULL, 10);
        fprintf(stderr, "tsc_hz %" PRIu64 "\n", hz);
    }
    return hz / shorter;
}
