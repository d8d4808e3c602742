#include "pkt/handoff.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/shm.h"
#include "ring/ring.h"

struct hg_handoff {
    struct hg_ring *ring; /* of struct hg_owned * */
    int fd;               /* readable after the taker has been signalled */
    /* The taker wants to be signalled. Set by it before its last look at the ring, taken back by
     * either. */
    alignas(HG_CACHE_LINE_BYTES) atomic_bool armed;
};

int hg_handoff_new(struct hg_handoff **into, uint32_t slots_n, struct hg_err *err)
{
    const struct hg_ring_options options = {
        .slots_n = slots_n, .single_producer = true, .single_consumer = true};
    struct hg_handoff *handoff = aligned_alloc(alignof(struct hg_handoff), sizeof(*handoff));
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
        hg_handoff_free(handoff);
        return rc;
    }
    *into = handoff;
    return 0;
}

void hg_handoff_free(struct hg_handoff *handoff)
{
    if (handoff == NULL)
        return;
    if (handoff->fd >= 0)
        close(handoff->fd);
    hg_ring_free(handoff->ring);
    free(handoff);
}

int hg_handoff_fd(const struct hg_handoff *handoff)
{
    return handoff->fd;
}

uint32_t hg_handoff_count(const struct hg_handoff *handoff)
{
    return hg_ring_count(handoff->ring);
}

/* Twice a burst: the count takes packets for gone that the taker has claimed, but whose slots are
 * not free before it has copied the pointers. That is one burst at most. */
bool hg_handoff_has_room(const struct hg_handoff *handoff)
{
    return hg_ring_free_count(handoff->ring) >= 2 * HG_BURST_N;
}

static void wake(struct hg_handoff *handoff)
{
    hg_shm_publish_then_look();
    if (hg_unlikely(atomic_load_explicit(&handoff->armed, memory_order_relaxed)) &&
        atomic_exchange_explicit(&handoff->armed, false, memory_order_relaxed))
        (void)eventfd_write(handoff->fd, 1); /* cannot fail: nobody adds up 2^64 signals */
}

unsigned hg_handoff_put(struct hg_handoff *handoff, struct hg_pool_cache *cache,
                        struct hg_owned *const *owned, unsigned n)
{
    unsigned put = hg_ring_enqueue_burst(handoff->ring, owned, n);

    for (unsigned i = put; i < n; i++)
        hg_owned_free(cache, owned[i]);
    if (put != 0)
        wake(handoff);
    return put;
}

unsigned hg_handoff_take(struct hg_handoff *handoff, struct hg_owned **owned)
{
    return hg_ring_dequeue_burst(handoff->ring, owned, HG_BURST_N);
}

bool hg_handoff_arm(struct hg_handoff *handoff)
{
    atomic_store_explicit(&handoff->armed, true, memory_order_relaxed);
    hg_shm_publish_then_look();
    return hg_ring_count(handoff->ring) != 0;
}

void hg_handoff_disarm(struct hg_handoff *handoff)
{
    atomic_store_explicit(&handoff->armed, false, memory_order_relaxed);
}
