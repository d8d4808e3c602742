/*
 * Owned packets on their way from one thread to another, which may sleep meanwhile.
 *
 * No wake-up is lost, by the scheme of worker.h: who puts publishes the packets, then looks whether
 * the taker wants a signal; the taker says that it wants one, then looks for packets. With a full
 * barrier between the two steps on both sides (hg_shm_publish_then_look) at least one sees the
 * other. Who finds the wish takes it back with an exchange, so that one sleep costs one signal
 * however many bursts follow.
 *
 * One thread puts and one takes.
 */
#ifndef HG_PKT_HANDOFF_H
#define HG_PKT_HANDOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "pkt/own.h"

struct hg_handoff;

/* One for slots_n packets, a power of two. 0 or a negative errno with *err. Control. */
int hg_handoff_new(struct hg_handoff **handoff, uint32_t slots_n, struct hg_err *err);

/* Frees it; packets in it are to be taken before. Takes NULL. Control. */
void hg_handoff_free(struct hg_handoff *handoff);

/* Signalled after hg_handoff_arm(); the handoff's. Any thread. */
int hg_handoff_fd(const struct hg_handoff *handoff);

/* Packets that have been put and not been taken; a moment old. Any thread. */
uint32_t hg_handoff_count(const struct hg_handoff *handoff);

/* Whether a burst fits for certain. The putting thread. */
bool hg_handoff_has_room(const struct hg_handoff *handoff);

/*
 * Hands over n packets, in order, and wakes the taker if it sleeps. Returns how many there was room
 * for; the others, the last ones, are freed through the cache. The putting thread.
 */
unsigned hg_handoff_put(struct hg_handoff *handoff, struct hg_pool_cache *cache,
                        struct hg_owned *const *owned, unsigned n);

/* Takes up to HG_BURST_N packets, the caller's from there on. Returns how many. The taking
 * thread. */
unsigned hg_handoff_take(struct hg_handoff *handoff, struct hg_owned **owned);

/* Asks for a signal, then looks: true when there are packets already; and takes the wish back. As
 * in struct hg_poller (worker/worker.h). The taking thread. */
bool hg_handoff_arm(struct hg_handoff *handoff);
void hg_handoff_disarm(struct hg_handoff *handoff);

#endif
