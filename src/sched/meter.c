#include "sched/meter.h"

#include <errno.h>
#include <inttypes.h>

#include "base/clock.h"
#include "pkt/pkt.h"

_Static_assert(sizeof(struct hg_meter) == HG_CACHE_LINE_BYTES, "a meter is one cache line");
_Static_assert(sizeof(struct hg_meter_profile) == HG_CACHE_LINE_BYTES, "a profile is one");

enum { C, OTHER }; /* buckets; the other one is E of RFC 2697, P of RFC 2698 */

/* 2^64 ticks at the highest rate, on top of the largest bucket on the fastest clock, stay below
 * 2^128. */
_Static_assert(HG_METER_RATE_MAX < UINT64_C(1) << 50, "tokens of one filling stay below 2^114");
_Static_assert(HG_METER_CLOCK_MAX < UINT64_C(1) << 40, "tokens of a bucket stay below 2^107");

/* What the options say of the buckets, validated before anything is made of it. */
static int check(const struct hg_meter_options *o, struct hg_err *err)
{
    if (o->clock_hz > HG_METER_CLOCK_MAX)
        return hg_err_set(err, EINVAL,
                          "meter: a clock of %" PRIu64 " Hz; expected at most %" PRIu64,
                          o->clock_hz, HG_METER_CLOCK_MAX);
    if (o->cir > HG_METER_RATE_MAX || o->pir > HG_METER_RATE_MAX)
        return hg_err_set(err, EINVAL, "meter: a rate of %" PRIu64 "; expected at most %" PRIu64,
                          o->cir > o->pir ? o->cir : o->pir, HG_METER_RATE_MAX);
    switch (o->kind) {
    case HG_METER_BUCKET:
        if (o->cbs == 0 || o->ebs != 0 || o->pir != 0 || o->pbs != 0)
            return hg_err_set(err, EINVAL,
                              "meter: a token bucket has a CBS above 0, and no EBS, PIR and PBS");
        return 0;
    case HG_METER_SRTCM:
        if ((o->cbs == 0 && o->ebs == 0) || o->pir != 0 || o->pbs != 0)
            return hg_err_set(err, EINVAL,
                              "meter: a single-rate marker has a CBS or an EBS above 0 (RFC 2697, "
                              "section 2), and no PIR and PBS");
        return 0;
    case HG_METER_TRTCM:
        if (o->cbs == 0 || o->pbs == 0 || o->pir < o->cir || o->ebs != 0)
            return hg_err_set(err, EINVAL,
                              "meter: a two-rate marker has a CBS and a PBS above 0 and a PIR of "
                              "at least its CIR (RFC 2698, section 2), and no EBS");
        return 0;
    }
    return hg_err_set(err, EINVAL, "meter: kind %d; expected one of enum hg_meter_kind",
                      (int)o->kind);
}

int hg_meter_profile_init(struct hg_meter_profile *profile, const struct hg_meter_options *options,
                          struct hg_err *err)
{
    uint64_t hz = options->clock_hz != 0 ? options->clock_hz : HG_NS_PER_S;
    bool two_rates = options->kind == HG_METER_TRTCM;
    int rc = check(options, err);

    if (rc < 0)
        return rc;
    profile->unit = options->packets ? hz : 8 * hz;
    profile->rate[C] = options->cir;
    profile->rate[OTHER] = two_rates ? options->pir : 0;
    profile->full[C] = (hg_u128)options->cbs * profile->unit;
    profile->full[OTHER] = (hg_u128)(two_rates ? options->pbs : options->ebs) * profile->unit;
    profile->overhead_bytes = options->overhead_bytes;
    profile->kind = (uint8_t)options->kind;
    profile->aware = options->aware;
    profile->packets = options->packets;
    return 0;
}

void hg_meter_init(struct hg_meter *meter, const struct hg_meter_profile *profile, uint64_t now)
{
    meter->tokens[C] = profile->full[C];
    meter->tokens[OTHER] = profile->full[OTHER];
    meter->filled = now;
    /* As in hg_meter_set_profile(). */
    atomic_store_explicit(&meter->profile, profile, memory_order_release);
}

int hg_meter_set_profile(struct hg_meter *meter, const struct hg_meter_profile *profile,
                         struct hg_err *err)
{
    const struct hg_meter_profile *old =
        atomic_load_explicit(&meter->profile, memory_order_relaxed);

    if (profile->unit != old->unit || profile->packets != old->packets)
        return hg_err_set(
            err, EINVAL,
            "meter: the new profile has another clock, or counts packets and not bytes");
    /* Pairs with the acquire in hg_meter_packet() and hg_meter_burst(). */
    atomic_store_explicit(&meter->profile, profile, memory_order_release);
    return 0;
}

static inline hg_u128 least(hg_u128 a, hg_u128 b)
{
    return a < b ? a : b;
}

/* Section 3 of both RFCs: the tokens of the time since the last packet. Those that a full C of a
 * single-rate marker has no room for go to E (RFC 2697); P has a rate of its own (RFC 2698). */
static inline void fill(struct hg_meter *meter, const struct hg_meter_profile *p, uint64_t now)
{
    uint64_t ticks = now - meter->filled;
    hg_u128 c;
    hg_u128 other;

    if (hg_unlikely((int64_t)ticks < 0))
        ticks = 0;
    meter->filled += ticks;
    c = meter->tokens[C] + (hg_u128)ticks * p->rate[C];
    other = meter->tokens[OTHER] + (hg_u128)ticks * p->rate[OTHER];
    if (p->kind != HG_METER_TRTCM && c > p->full[C])
        other += c - p->full[C];
    meter->tokens[C] = least(c, p->full[C]);
    meter->tokens[OTHER] = least(other, p->full[OTHER]);
}

static inline hg_u128 cost_of(const struct hg_meter_profile *p, uint32_t len)
{
    uint64_t units = p->packets ? 1 : (uint64_t)len + p->overhead_bytes;

    return (hg_u128)units * p->unit;
}

/* The colours are chosen without branches: a stream at its limit has them in an order that no
 * processor predicts. */
static inline uint8_t choose(hg_u128 *tokens, bool two_rates, hg_u128 cost, uint8_t before)
{
    bool in_c = before == HG_COLOR_GREEN && tokens[C] >= cost;
    bool in_other = before <= HG_COLOR_YELLOW && tokens[OTHER] >= cost;

    if (two_rates) { /* RFC 2698, section 3: green takes from both */
        in_c = in_c && in_other;
        tokens[C] -= cost & -(hg_u128)in_c;
        tokens[OTHER] -= cost & -(hg_u128)in_other;
        return (uint8_t)(HG_COLOR_RED - in_other - in_c);
    }
    in_other = in_other && !in_c; /* RFC 2697, section 3: from one of the two */
    tokens[C] -= cost & -(hg_u128)in_c;
    tokens[OTHER] -= cost & -(hg_u128)in_other;
    return (uint8_t)(HG_COLOR_RED - in_other - 2 * in_c);
}

static bool has_two_rates(const struct hg_meter_profile *p)
{
    return p->kind == HG_METER_TRTCM;
}

enum hg_color hg_meter_packet(struct hg_meter *meter, uint64_t now, uint32_t len,
                              enum hg_color before)
{
    const struct hg_meter_profile *p = atomic_load_explicit(&meter->profile, memory_order_acquire);

    fill(meter, p, now);
    return (enum hg_color)choose(meter->tokens, has_two_rates(p), cost_of(p, len),
                                 p->aware ? (uint8_t)before : 0);
}

/* With copies of meter and profile, which the compiler knows to be none of the colours. */
void hg_meter_burst(struct hg_meter *meter, uint64_t now, const uint32_t *len, uint8_t *color,
                    unsigned n)
{
    struct hg_meter_profile p = *atomic_load_explicit(&meter->profile, memory_order_acquire);
    uint8_t known = p.aware ? UINT8_MAX : 0;
    bool two_rates = has_two_rates(&p);
    hg_u128 tokens[2];

    fill(meter, &p, now);
    tokens[C] = meter->tokens[C];
    tokens[OTHER] = meter->tokens[OTHER];
    for (unsigned i = 0; i < n; i++)
        color[i] = choose(tokens, two_rates, cost_of(&p, len[i]), color[i] & known);
    meter->tokens[C] = tokens[C];
    meter->tokens[OTHER] = tokens[OTHER];
}

unsigned hg_meter_police(void *meter, struct hg_pkt **pkts, unsigned n)
{
    struct hg_meter *m = (struct hg_meter *)meter;
    const struct hg_meter_profile *p = atomic_load_explicit(&m->profile, memory_order_acquire);
    bool two_rates = has_two_rates(p);
    unsigned passed = 0;

    fill(m, p, hg_now_ns());
    for (unsigned i = 0; i < n; i++) {
        pkts[passed] = pkts[i];
        passed +=
            choose(m->tokens, two_rates, cost_of(p, pkts[i]->len), HG_COLOR_GREEN) != HG_COLOR_RED;
    }
    return passed;
}
