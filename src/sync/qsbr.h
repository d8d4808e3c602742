/*
 * Quiescent-state-based reclamation: liburcu's qsbr flavour under the names that we use.
 *
 * Workers are readers. They pass a quiescent state once per loop, never inside a burst; a worker
 * that is about to sleep goes offline, which counts as quiescent for as long as it lasts. Control
 * unpublishes what it wants to change, calls hg_qsbr_wait(), and from then on no worker holds it.
 *
 *   control                                worker
 *   hg_qsbr_publish(&p, NULL)              v = hg_qsbr_read(&p); use v ... to the end of the burst
 *   hg_qsbr_wait()                 pairs   hg_qsbr_quiescent() between bursts
 *   change or free the old value   with    hg_qsbr_offline() before sleep, _online() after
 *   hg_qsbr_publish(&p, new)               everything written before it is seen through v
 */
#ifndef HG_SYNC_QSBR_H
#define HG_SYNC_QSBR_H

#include "base/api.h"
#include "base/atomic.h"

HG_API_BEGIN

/* Registers or unregisters the calling thread as a reader. Once per worker thread. */
void hg_qsbr_register(void);
void hg_qsbr_unregister(void);

/* The calling reader holds no published pointer at this moment. A load and a compare when nobody
 * waits. */
void hg_qsbr_quiescent(void);

/* The calling reader holds none from here to hg_qsbr_online(), and may sleep. */
void hg_qsbr_offline(void);
void hg_qsbr_online(void);

/* Returns after every reader has been quiescent since the call. Control threads only (never a
 * registered reader); blocks for about the length of a burst. */
void hg_qsbr_wait(void);

/* Stores a pointer that readers may follow (release), and loads one (acquire). */
#define hg_qsbr_publish(place, value) atomic_store_explicit((place), (value), memory_order_release)
#define hg_qsbr_read(place)           atomic_load_explicit((place), memory_order_acquire)

HG_API_END

#endif
