/*
 * Atomics for headers that C++ programs include too: <stdatomic.h> in C; in C++ the same names from
 * <atomic>, as C++23 does it (its <stdatomic.h>, P0943). Write `_Atomic(uint64_t) n;`, with
 * parentheses: the other form does not exist there.
 */
#ifndef HG_BASE_ATOMIC_H
#define HG_BASE_ATOMIC_H

#ifdef __cplusplus
#include <atomic>

#define _Atomic(type) std::atomic<type>
using std::atomic_compare_exchange_strong_explicit;
using std::atomic_compare_exchange_weak_explicit;
using std::atomic_exchange_explicit;
using std::atomic_fetch_add_explicit;
using std::atomic_fetch_sub_explicit;
using std::atomic_load_explicit;
using std::atomic_store_explicit;
using std::atomic_thread_fence;
using std::memory_order_acq_rel;
using std::memory_order_acquire;
using std::memory_order_relaxed;
using std::memory_order_release;
using std::memory_order_seq_cst;
#else
#include <stdatomic.h>
#endif

#endif
