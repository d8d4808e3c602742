/*
 * A spinlock for a few instructions on a line that is mostly ours: a transmit queue that several
 * workers share, an insertion into a table that others only read. Held across a
 * system call, rarely two: the raising of an eventfd by which a transmit queue tells its guest of
 * the frames just written.
 */
#ifndef HG_SYNC_SPIN_H
#define HG_SYNC_SPIN_H

#include <stdbool.h>

#include "base/api.h"
#include "base/atomic.h"
#include "base/clock.h"

HG_API_BEGIN

struct hg_spin {
    _Atomic(bool) held;
};

/* Takes the lock if it is free. Acquire: pairs with the release in hg_spin_unlock(). */
static inline bool hg_spin_try(struct hg_spin *spin)
{
    return !atomic_load_explicit(&spin->held, memory_order_relaxed) &&
           !atomic_exchange_explicit(&spin->held, true, memory_order_acquire);
}

static inline void hg_spin_lock(struct hg_spin *spin)
{
    while (!hg_spin_try(spin))
        hg_relax();
}

static inline void hg_spin_unlock(struct hg_spin *spin)
{
    atomic_store_explicit(&spin->held, false, memory_order_release);
}

HG_API_END

#endif
