/*
 * Time. Nanoseconds of the monotonic clock for decisions, cycles of the time-stamp counter for
 * measurements. Any thread.
 */
#ifndef HG_BASE_CLOCK_H
#define HG_BASE_CLOCK_H

#include <stdint.h>

#include "base/api.h"

HG_API_BEGIN

#define HG_NS_PER_S  UINT64_C(1000000000)
#define HG_NS_PER_MS UINT64_C(1000000)
#define HG_NS_PER_US UINT64_C(1000)

/* CLOCK_MONOTONIC in nanoseconds; answered by the vDSO without a system call. */
uint64_t hg_now_ns(void);

/* The processor's cycle counter: constant rate, not serialising. */
static inline uint64_t hg_cycles(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t count;

    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
#else
    return hg_now_ns();
#endif
}

/* Tells the processor that this is a busy wait. */
static inline void hg_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

HG_API_END

#endif
