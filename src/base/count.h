/*
 * Counters with one writer and any number of readers.
 *
 * The writer is the worker that owns the queue (or holds its lock), so an increment is a plain load
 * and store, never a locked instruction. A reader on another thread sees a whole value, perhaps a
 * moment old. No ordering is implied between two counters.
 */
#ifndef HG_BASE_COUNT_H
#define HG_BASE_COUNT_H

#include <stdint.h>

#include "base/api.h"
#include "base/atomic.h"

HG_API_BEGIN

struct hg_count {
    _Atomic(uint64_t) value;
};

/* Adds n. Only the counter's one writer may call it. */
static inline void hg_count_add(struct hg_count *count, uint64_t n)
{
    uint64_t value = atomic_load_explicit(&count->value, memory_order_relaxed);

    atomic_store_explicit(&count->value, value + n, memory_order_relaxed);
}

/* The value as last stored. Any thread. */
static inline uint64_t hg_count_get(const struct hg_count *count)
{
    return atomic_load_explicit(&count->value, memory_order_relaxed);
}

HG_API_END

#endif
