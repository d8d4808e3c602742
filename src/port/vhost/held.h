/*
 * An interrupt that a guest wants and that is held back, so that one serves more frames (decision
 * 0012): until so many have been returned, or until so long after the first. Who holds it sees to
 * it that somebody looks at the time, or sends it. Of the ring's user.
 */
#ifndef HG_PORT_VHOST_HELD_H
#define HG_PORT_VHOST_HELD_H

#include <stdbool.h>
#include <stdint.h>

struct hg_held {
    uint64_t limit_ns;   /* constant: for so long at most; 0: none is held back */
    uint32_t frames_max; /* constant: for so many frames at most */
    uint32_t frames_n;   /* returned to the guest since the first that it wants to hear of */
    uint32_t bursts_n;   /* in so many bursts */
    bool on;
    uint64_t since_ns;
};

/* Notes a burst of frames that has been returned; `wanted`: the guest wants to hear of it. */
static inline void hg_held_add(struct hg_held *held, uint64_t now_ns, uint32_t frames_n,
                               bool wanted)
{
    if (!held->on) {
        if (!wanted)
            return;
        held->on = true;
        held->since_ns = now_ns;
        held->frames_n = held->bursts_n = 0;
    }
    held->frames_n += frames_n;
    held->bursts_n++;
}

/* Whether an interrupt that is held has to be sent now. The time may lie a little before the first
 * frame: a poll takes it before it knows of frames that others transmit. */
static inline bool hg_held_is_due(const struct hg_held *held, uint64_t now_ns)
{
    return held->frames_n >= held->frames_max ||
           (int64_t)(now_ns - held->since_ns) >= (int64_t)held->limit_ns;
}

#endif
