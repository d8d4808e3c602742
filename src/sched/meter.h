/*
 * Meters: which packets of a stream keep to a rate. The single-rate three-colour marker of RFC 2697, the
 * two-rate one of RFC 2698, and the plain token bucket. For policing at once; what is to wait instead
 * goes to sched/sched.h.
 *
 * A bucket is counted in the fraction of a bit that makes a tick of the caller's clock worth a whole number:
 * with a clock of hz ticks a second, one tick brings `rate` tokens and a bit costs hz. So filling up is one
 * multiplication, without division, rounding or remainder, and a meter is exact: no rate drifts, whatever
 * the rate, the clock and the time. The RFCs let tokens come one whole byte at a time and leave the
 * implementation free (section 3 of both); here they come as time does.
 *
 * Time is the caller's: cycles, nanoseconds or a test's own. It counts from the meter's start, may stand
 * still, and where it goes back (another processor's counter) it counts as standing still.
 *
 *   who                  what
 *   control              makes profiles; gives a meter another one at any time
 *   one thread a meter   asks it for colours
 *
 * A meter is one cache line, a profile another, which any number of meters share.
 */
#ifndef HG_SCHED_METER_H
#define HG_SCHED_METER_H

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/atomic.h"
#include "base/bits.h"
#include "base/err.h"

struct hg_pkt;

HG_API_BEGIN

__extension__ typedef unsigned __int128 hg_u128;

enum hg_color {
    HG_COLOR_GREEN,
    HG_COLOR_YELLOW,
    HG_COLOR_RED,
};

enum hg_meter_kind {
    HG_METER_BUCKET, /* CIR and CBS: green or red. A single-rate marker whose EBS is 0 */
    HG_METER_SRTCM,  /* CIR, CBS, EBS: RFC 2697 */
    HG_METER_TRTCM,  /* CIR, CBS, PIR, PBS: RFC 2698 */
};

#define HG_METER_RATE_MAX  UINT64_C(1000000000000000) /* a petabit a second */
#define HG_METER_CLOCK_MAX UINT64_C(1000000000000)    /* ticks a second */

/* What a kind does not use has to be 0. */
struct hg_meter_options {
    enum hg_meter_kind kind;
    bool aware;   /* of the colours that packets have already (color-aware mode) */
    bool packets; /* rates in packets a second and bursts in packets, not in bits and bytes */
    /* added to each length: 24 for preamble, gap and checksum of Ethernet */
    uint32_t overhead_bytes;
    uint64_t clock_hz; /* ticks of the caller's clock in a second; 0: nanoseconds */
    uint64_t cir;      /* committed information rate, bits per second */
    uint64_t cbs;      /* committed burst size, bytes */
    uint64_t ebs;      /* excess burst size, bytes */
    uint64_t pir;      /* peak information rate, bits per second, at least cir */
    uint64_t pbs;      /* peak burst size, bytes */
};

/* Filled by hg_meter_profile_init(), read by meters; nobody else looks inside. */
struct hg_meter_profile {
    alignas(HG_CACHE_LINE_BYTES) hg_u128 full[2]; /* tokens of a full bucket: C, and E or P */
    uint64_t rate[2];                             /* tokens a tick */
    uint64_t unit;                                /* tokens that a byte (or packet) costs */
    uint32_t overhead_bytes;
    uint8_t kind;
    bool aware;
    bool packets;
};

struct hg_meter {
    alignas(HG_CACHE_LINE_BYTES) hg_u128 tokens[2];
    uint64_t filled; /* the tick up to which tokens are counted */
    _Atomic(const struct hg_meter_profile *) profile;
};

/*
 * Makes a profile. Returns 0 or -EINVAL with *err: a rate or the clock beyond its maximum, both bursts 0
 * (RFC 2697, section 2), one of two bursts 0 or PIR below CIR (RFC 2698, section 2), a value that the
 * kind does not use.
 */
int hg_meter_profile_init(struct hg_meter_profile *profile, const struct hg_meter_options *options,
                          struct hg_err *err);

/* Starts a meter at `now` with full buckets. The profile stays the caller's and must outlive its use. */
void hg_meter_init(struct hg_meter *meter, const struct hg_meter_profile *profile, uint64_t now);

/*
 * Gives a meter another profile of the same clock and unit (bytes or packets), while its thread uses it.
 * Tokens are kept as far as the new buckets hold them. Returns 0 or -EINVAL with *err. The old profile may
 * go when the meter's thread has passed a quiescent state (sync/qsbr.h). Control, one at a time.
 */
int hg_meter_set_profile(struct hg_meter *meter, const struct hg_meter_profile *profile,
                         struct hg_err *err);

/* The colour of one packet of `len` bytes that has the colour `before`, which only a profile that is
 * `aware` looks at. The meter's thread. */
enum hg_color hg_meter_packet(struct hg_meter *meter, uint64_t now, uint32_t len,
                              enum hg_color before);

/* The colours of n packets, in order, as n calls of hg_meter_packet() would give them. color[] holds the
 * colours before, if the profile is `aware`, and receives the new ones. The meter's thread. */
void hg_meter_burst(struct hg_meter *meter, uint64_t now, const uint32_t *len, uint8_t *color,
                    unsigned n);

/*
 * Policing in one call: moves the packets that are not red to the front, in their order, and returns how many
 * they are. `meter` is a struct hg_meter in nanoseconds of hg_now_ns(), which it reads once; colours
 * before count as green. It fits as a stage of a program (program/program.h). The meter's thread.
 */
unsigned hg_meter_police(void *meter, struct hg_pkt **pkts, unsigned n);

HG_API_END

#endif
