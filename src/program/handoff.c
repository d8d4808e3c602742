/*
 * From worker to worker.
 *
 * No wake-up is lost, by the scheme of worker.c: who puts publishes the packets, then looks whether
 * the taker wants a signal; the taker says that it wants one, then looks for packets. With a full
 * barrier between the two steps on both sides (hg_shm_publish_then_look) at least one sees the
 * other. Who finds the wish takes it back with an exchange, so that one sleep costs one signal
 * however many bursts follow.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/shm.h"
#include "program/state.h"

int handoff_new(struct handoff **into, uint32_t slots_n, struct hg_err *err)
{
    const struct hg_ring_options options = {
        .slots_n = slots_n, .single_producer = true, .single_consumer = true};
    struct handoff *handoff = aligned_alloc(alignof(struct handoff), sizeof(*handoff));
    int rc;

    if (handoff == NULL)
        return hg_err_set(err, ENOMEM, "no memory for a handoff");
    memset(handoff, 0, sizeof(*handoff));
    handoff->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (handoff->fd < 0)
        rc = hg_err_set(err, errno, "cannot create an event for a handoff: %s", strerror(errno));
    else
        rc = hg_ring_new(&handoff->ring, &options, err);
    if (rc < 0) {
        handoff_free(handoff);
        return rc;
    }
    *into = handoff;
    return 0;
}

void handoff_free(struct handoff *handoff)
{
    if (handoff == NULL)
        return;
    if (handoff->fd >= 0)
        close(handoff->fd);
    hg_ring_free(handoff->ring);
    free(handoff);
}

/* Twice a burst: the count takes packets for gone that the taker has claimed, but whose slots are
 * not free before it has copied the pointers. That is one burst at most. */
bool handoff_has_room(const struct handoff *handoff)
{
    return hg_ring_free_count(handoff->ring) >= 2 * HG_BURST_N;
}

static void wake(struct handoff *handoff)
{
    hg_shm_publish_then_look();
    if (hg_unlikely(atomic_load_explicit(&handoff->armed, memory_order_relaxed)) &&
        atomic_exchange_explicit(&handoff->armed, false, memory_order_relaxed))
        (void)eventfd_write(handoff->fd, 1); /* cannot fail: nobody adds up 2^64 signals */
}

unsigned handoff_put(struct handoff *handoff, struct hg_pool_cache *cache,
                     struct hg_pkt *const *pkts, unsigned n)
{
    void *owned[HG_BURST_N];
    unsigned made = 0;
    unsigned put;

    for (unsigned i = 0; i < n; i++) {
        owned[made] = hg_pkt_own(cache, pkts[i]);
        made += owned[made] != NULL;
    }
    put = hg_ring_enqueue_burst(handoff->ring, owned, made);
    for (unsigned i = put; i < made; i++) /* none, if there was room as promised */
        hg_owned_free(cache, owned[i]);
    if (put != 0)
        wake(handoff);
    return put;
}

unsigned handoff_take(struct handoff *handoff, struct hg_owned **owned)
{
    unsigned n = hg_ring_dequeue_burst(handoff->ring, owned, HG_BURST_N);

    for (unsigned i = 0; i < n; i++) {
        hg_shm_expect_read(owned[i]);
        hg_shm_expect_read(owned[i]->pkt.head);
    }
    return n;
}

bool handoff_arm(struct handoff *handoff)
{
    atomic_store_explicit(&handoff->armed, true, memory_order_relaxed);
    hg_shm_publish_then_look();
    return hg_ring_count(handoff->ring) != 0;
}

void handoff_disarm(struct handoff *handoff)
{
    atomic_store_explicit(&handoff->armed, false, memory_order_relaxed);
}
