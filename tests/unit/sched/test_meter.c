/*
 * Meters against the text of RFC 2697 and RFC 2698, with a clock of the test's own: a model that
 * follows section 3 of each line by line and keeps tokens as bytes and a remainder, by division;
 * and the bounds that follow from it, over hours, from 8 kbit/s to 400 Gbit/s.
 */
#include "sched/meter.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "pkt/pkt.h"
#include "random.h"

enum { FULL_HOURS = 3 };

static uint64_t seed = 1;

static uint64_t random_below(uint64_t n)
{
    return random_next(&seed) % n;
}

/* A bucket in exact rational arithmetic: bytes + part / (8 * hz). */
struct ref_bucket {
    uint64_t bytes;
    uint64_t part;
    uint64_t size;
};

struct ref {
    struct hg_meter_options o;
    struct ref_bucket c;
    struct ref_bucket other;
    uint64_t last;
};

/* Adds bits / hz bits; returns what found no room, in the same unit. */
static hg_u128 ref_add(struct ref_bucket *b, hg_u128 bits, uint64_t hz)
{
    hg_u128 all = ((hg_u128)b->bytes * 8 * hz) + b->part + bits;
    hg_u128 bytes = all / ((hg_u128)8 * hz);
    hg_u128 over = 0;

    if (bytes >= b->size) {
        over = all - (hg_u128)b->size * 8 * hz;
        b->bytes = b->size;
        b->part = 0;
    } else {
        b->bytes = (uint64_t)bytes;
        b->part = (uint64_t)(all % ((hg_u128)8 * hz));
    }
    return over;
}

static enum hg_color ref_srtcm(struct ref *r, uint64_t len, enum hg_color before)
{
    bool aware = r->o.aware;

    if ((!aware || before == HG_COLOR_GREEN) && r->c.bytes >= len) {
        r->c.bytes -= len;
        return HG_COLOR_GREEN;
    }
    if ((!aware || before == HG_COLOR_GREEN || before == HG_COLOR_YELLOW) &&
        r->other.bytes >= len) {
        r->other.bytes -= len;
        return HG_COLOR_YELLOW;
    }
    return HG_COLOR_RED;
}

static enum hg_color ref_trtcm(struct ref *r, uint64_t len, enum hg_color before)
{
    bool aware = r->o.aware;

    if ((aware && before == HG_COLOR_RED) || r->other.bytes < len)
        return HG_COLOR_RED;
    if ((aware && before == HG_COLOR_YELLOW) || r->c.bytes < len) {
        r->other.bytes -= len;
        return HG_COLOR_YELLOW;
    }
    r->other.bytes -= len;
    r->c.bytes -= len;
    return HG_COLOR_GREEN;
}

static enum hg_color ref_packet(struct ref *r, uint64_t now, uint32_t len, enum hg_color before)
{
    hg_u128 ticks = now - r->last;
    uint64_t hz = r->o.clock_hz;
    uint64_t charged = (uint64_t)len + r->o.overhead_bytes;

    r->last = now;
    if (r->o.kind == HG_METER_TRTCM) {
        ref_add(&r->c, ticks * r->o.cir, hz);
        ref_add(&r->other, ticks * r->o.pir, hz);
        return ref_trtcm(r, charged, before);
    }
    ref_add(&r->other, ref_add(&r->c, ticks * r->o.cir, hz), hz);
    return ref_srtcm(r, charged, before);
}

static struct ref ref_of(const struct hg_meter_options *o)
{
    struct ref r = {.o = *o};

    r.c.size = o->cbs;
    r.c.bytes = o->cbs;
    r.other.size = o->kind == HG_METER_TRTCM ? o->pbs : o->ebs;
    r.other.bytes = r.other.size;
    return r;
}

static struct hg_meter_options random_options(void)
{
    static const uint64_t clocks[] = {1000000000, 2299998000, 4294967291, 1000, 7};
    struct hg_meter_options o = {
        .kind = (enum hg_meter_kind)random_below(3),
        .aware = random_below(2),
        .overhead_bytes = random_below(2) ? 24 : 0,
        .clock_hz = clocks[random_below(5)],
        .cir = random_below(UINT64_C(1) << (1 + random_below(39))),
        .cbs = 1 + random_below(UINT64_C(1) << (1 + random_below(24))),
    };

    if (o.kind == HG_METER_SRTCM)
        o.ebs = random_below(UINT64_C(1) << (1 + random_below(24)));
    if (o.kind == HG_METER_TRTCM) {
        o.pir = o.cir + random_below(o.cir + 1);
        o.pbs = 1 + random_below(UINT64_C(1) << (1 + random_below(24)));
    }
    return o;
}

/* About as much time as the meter needs for a packet, at times much less, none, or much more. */
static uint64_t random_step(const struct hg_meter_options *o)
{
    uint64_t packet = (uint64_t)((hg_u128)8 * 1000 * o->clock_hz / (o->cir + 1)) + 1;

    switch (random_below(8)) {
    case 0:
        return 0;
    case 1:
        return random_below(4);
    case 2:
        return random_below(50 * packet);
    default:
        return random_below(2 * packet);
    }
}

static void gives_the_colours_of_the_rfcs(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        struct hg_meter_options o = random_options();
        struct ref ref = ref_of(&o);
        struct hg_meter_profile profile;
        struct hg_meter meter;
        uint64_t now = random_below(UINT64_C(1) << 62);

        ref.last = now;
        assert_int_equal(hg_meter_profile_init(&profile, &o, NULL), 0);
        hg_meter_init(&meter, &profile, now);
        for (unsigned i = 0; i < 2000; i++) {
            uint32_t len = (uint32_t)(random_below(4) ? random_below(1500) : random_below(65536));
            enum hg_color before = (enum hg_color)random_below(3);
            enum hg_color want;

            now += random_step(&o);
            want = ref_packet(&ref, now, len, before);
            assert_int_equal(hg_meter_packet(&meter, now, len, before), want);
        }
    }
}

static void a_burst_is_its_packets_one_by_one(void **state)
{
    enum { N = 32 };

    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        struct hg_meter_options o = random_options();
        struct hg_meter_profile profile;
        struct hg_meter one;
        struct hg_meter many;
        uint64_t now = 0;

        assert_int_equal(hg_meter_profile_init(&profile, &o, NULL), 0);
        hg_meter_init(&one, &profile, 0);
        hg_meter_init(&many, &profile, 0);
        for (unsigned burst = 0; burst < 8; burst++) {
            uint32_t len[N];
            uint8_t color[N];
            uint8_t want[N];

            now += random_step(&o);
            for (unsigned i = 0; i < N; i++) {
                len[i] = (uint32_t)random_below(2000);
                color[i] = (uint8_t)random_below(3);
                want[i] = (uint8_t)hg_meter_packet(&one, now, len[i], (enum hg_color)color[i]);
            }
            hg_meter_burst(&many, now, len, color, N);
            assert_memory_equal(color, want, N);
        }
    }
}

/* Sends as much as passes, at odd moments, for hours: what has passed is the rate, to the byte. */
static void never_drifts(void **state)
{
    static const uint64_t rates[] = {8000,           12345,          1000000,     999999937,
                                     10000000000ull, 99999999977ull, 400000000000};
    static const uint64_t clocks[] = {1000000000, 2299998000, 3187200113};

    (void)state;
    for (unsigned c = 0; c < 3; c++) {
        for (unsigned r = 0; r < HG_ARRAY_N(rates); r++) {
            /* Twice what comes between two moments at most: the bucket never overflows. */
            uint32_t step_bytes = (uint32_t)(rates[r] / 8 / 16) + 1500;
            struct hg_meter_options o = {
                .clock_hz = clocks[c], .cir = rates[r], .cbs = 2ull * step_bytes};
            uint64_t end = UINT64_C(3600) * FULL_HOURS * clocks[c];
            struct hg_meter_profile profile;
            struct hg_meter meter;
            hg_u128 passed = 0;
            hg_u128 most;

            assert_int_equal(hg_meter_profile_init(&profile, &o, NULL), 0);
            hg_meter_init(&meter, &profile, 0);
            for (uint64_t now = 0; now < end; now += random_below(clocks[c] / 16)) {
                uint32_t len = (uint32_t)(1 + random_below(step_bytes));

                while (hg_meter_packet(&meter, now, len, HG_COLOR_GREEN) == HG_COLOR_GREEN)
                    passed += len;
            }
            for (uint32_t len = UINT32_C(1) << 31; len != 0; len /= 2) {
                while (hg_meter_packet(&meter, end, len, HG_COLOR_GREEN) == HG_COLOR_GREEN)
                    passed += len;
            }
            most = (hg_u128)o.cir * (3600 * FULL_HOURS) / 8 + o.cbs;
            assert_true(passed == most);
        }
    }
}

/* RFC 2697, section 3: at most CIR * t + CBS is green in any time t, whatever is offered. */
static void green_stays_below_rate_and_burst(void **state)
{
    enum { N = 400 };

    (void)state;
    for (unsigned round = 0; round < 100; round++) {
        struct hg_meter_options o = random_options();
        struct hg_meter_profile profile;
        struct hg_meter meter;
        uint64_t at[N];
        uint64_t green[N]; /* charged until then, this packet included */
        uint64_t sum = 0;
        uint64_t now = 0;

        assert_int_equal(hg_meter_profile_init(&profile, &o, NULL), 0);
        hg_meter_init(&meter, &profile, 0);
        for (unsigned i = 0; i < N; i++) {
            uint32_t len = (uint32_t)random_below(3000);

            now += random_step(&o);
            if (hg_meter_packet(&meter, now, len, HG_COLOR_GREEN) == HG_COLOR_GREEN)
                sum += len + o.overhead_bytes;
            at[i] = now;
            green[i] = sum;
        }
        for (unsigned i = 1; i < N; i++) {
            for (unsigned k = i; k < N; k++) {
                hg_u128 bits = (hg_u128)(green[k] - green[i - 1]) * 8;

                assert_true(bits * o.clock_hz <=
                            (hg_u128)(at[k] - at[i]) * o.cir + (hg_u128)o.cbs * 8 * o.clock_hz);
            }
        }
    }
}

static void police_lets_pass_what_is_not_red(void **state)
{
    struct hg_meter_options o = {
        .kind = HG_METER_TRTCM, .cir = 8000, .cbs = 100, .pir = 8000, .pbs = 250};
    struct hg_meter_profile profile;
    struct hg_meter meter;
    struct hg_pkt pkt[4] = {{.len = 100}, {.len = 200}, {.len = 100}, {.len = 50}};
    struct hg_pkt *pkts[4] = {&pkt[0], &pkt[1], &pkt[2], &pkt[3]};

    (void)state;
    assert_int_equal(hg_meter_profile_init(&profile, &o, NULL), 0);
    hg_meter_init(&meter, &profile, hg_now_ns());
    assert_int_equal(hg_meter_police(&meter, pkts, 4), 3);
    assert_ptr_equal(pkts[0], &pkt[0]);
    assert_ptr_equal(pkts[1], &pkt[2]);
    assert_ptr_equal(pkts[2], &pkt[3]);
}

static void counts_packets_if_told_to(void **state)
{
    struct hg_meter_options o = {.packets = true, .cir = 10, .cbs = 3, .overhead_bytes = 24};
    struct hg_meter_profile profile;
    struct hg_meter meter;

    (void)state;
    assert_int_equal(hg_meter_profile_init(&profile, &o, NULL), 0);
    hg_meter_init(&meter, &profile, 5);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(hg_meter_packet(&meter, 5, 1u << (10 * i), 0), HG_COLOR_GREEN);
    assert_int_equal(hg_meter_packet(&meter, 5, 1, 0), HG_COLOR_RED);
    assert_int_equal(hg_meter_packet(&meter, 5 + 99999999, 1, 0), HG_COLOR_RED);
    assert_int_equal(hg_meter_packet(&meter, 5 + 100000000, 1, 0), HG_COLOR_GREEN);
    assert_int_equal(hg_meter_packet(&meter, 5 + 100000000, 1, 0), HG_COLOR_RED);
}

static void holds_the_largest_values(void **state)
{
    struct hg_meter_options o = {.kind = HG_METER_TRTCM,
                                 .clock_hz = HG_METER_CLOCK_MAX,
                                 .cir = HG_METER_RATE_MAX,
                                 .pir = HG_METER_RATE_MAX,
                                 .cbs = UINT64_MAX,
                                 .pbs = UINT64_MAX};
    struct hg_meter_profile profile;
    struct hg_meter meter;

    (void)state;
    assert_int_equal(hg_meter_profile_init(&profile, &o, NULL), 0);
    hg_meter_init(&meter, &profile, 0);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(hg_meter_packet(&meter, 0, UINT32_MAX, 0), HG_COLOR_GREEN);
    assert_int_equal(hg_meter_packet(&meter, INT64_MAX, UINT32_MAX, 0), HG_COLOR_GREEN);
    assert_true(meter.tokens[0] == profile.full[0] - (hg_u128)UINT32_MAX * profile.unit);
}

static void a_clock_that_goes_back_stands_still(void **state)
{
    struct hg_meter_options o = {.cir = 8000, .cbs = 1000};
    struct hg_meter_profile profile;
    struct hg_meter meter;

    (void)state;
    assert_int_equal(hg_meter_profile_init(&profile, &o, NULL), 0);
    hg_meter_init(&meter, &profile, 1000000000);
    assert_int_equal(hg_meter_packet(&meter, 1000000000, 1000, 0), HG_COLOR_GREEN);
    assert_int_equal(hg_meter_packet(&meter, 0, 1, 0), HG_COLOR_RED);
    assert_int_equal(hg_meter_packet(&meter, 1000999999, 1, 0), HG_COLOR_RED);
    assert_int_equal(hg_meter_packet(&meter, 1001000000, 1, 0), HG_COLOR_GREEN);
}

static void takes_another_profile(void **state)
{
    struct hg_meter_options o = {.cir = 8000, .cbs = 1000};
    struct hg_meter_profile slow;
    struct hg_meter_profile fast;
    struct hg_meter_profile cycles;
    struct hg_meter meter;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_meter_profile_init(&slow, &o, NULL), 0);
    o.cir = 80000;
    o.cbs = 500;
    assert_int_equal(hg_meter_profile_init(&fast, &o, NULL), 0);
    o.clock_hz = 2300000000;
    assert_int_equal(hg_meter_profile_init(&cycles, &o, NULL), 0);
    hg_meter_init(&meter, &slow, 0);
    assert_int_equal(hg_meter_set_profile(&meter, &cycles, &err), -EINVAL);
    assert_int_equal(hg_meter_set_profile(&meter, &fast, &err), 0);
    assert_int_equal(hg_meter_packet(&meter, 0, 501, 0), HG_COLOR_RED); /* the burst is cut */
    assert_int_equal(hg_meter_packet(&meter, 0, 500, 0), HG_COLOR_GREEN);
    assert_int_equal(hg_meter_packet(&meter, 99999, 1, 0), HG_COLOR_RED);
    assert_int_equal(hg_meter_packet(&meter, 100000, 1, 0), HG_COLOR_GREEN);
}

static void refuses_what_makes_no_sense(void **state)
{
    static const struct hg_meter_options wrong[] = {
        {.cir = 1},
        {.cir = 1, .cbs = 1, .ebs = 1},
        {.cir = 1, .cbs = 1, .pir = 1},
        {.cir = 1, .cbs = 1, .pbs = 1},
        {.cir = HG_METER_RATE_MAX + 1, .cbs = 1},
        {.cir = 1, .cbs = 1, .clock_hz = HG_METER_CLOCK_MAX + 1},
        {.kind = HG_METER_SRTCM, .cir = 1},
        {.kind = HG_METER_SRTCM, .cir = 1, .cbs = 1, .pir = 1},
        {.kind = HG_METER_TRTCM, .cir = 2, .cbs = 1, .pir = 1, .pbs = 1},
        {.kind = HG_METER_TRTCM, .cir = 1, .cbs = 0, .pir = 1, .pbs = 1},
        {.kind = HG_METER_TRTCM, .cir = 1, .cbs = 1, .pir = 1, .pbs = 0},
        {.kind = HG_METER_TRTCM, .cir = 1, .cbs = 1, .ebs = 1, .pir = 1, .pbs = 1},
        {.kind = (enum hg_meter_kind)3, .cir = 1, .cbs = 1},
    };

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(wrong); i++) {
        struct hg_meter_profile profile;
        struct hg_err err = {""};

        assert_int_equal(hg_meter_profile_init(&profile, &wrong[i], &err), -EINVAL);
        assert_true(err.text[0] != '\0');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_colours_of_the_rfcs),
        cmocka_unit_test(a_burst_is_its_packets_one_by_one),
        cmocka_unit_test(never_drifts),
        cmocka_unit_test(green_stays_below_rate_and_burst),
        cmocka_unit_test(police_lets_pass_what_is_not_red),
        cmocka_unit_test(counts_packets_if_told_to),
        cmocka_unit_test(holds_the_largest_values),
        cmocka_unit_test(a_clock_that_goes_back_stands_still),
        cmocka_unit_test(takes_another_profile),
        cmocka_unit_test(refuses_what_makes_no_sense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
