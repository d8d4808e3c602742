/*
 * The driver side of a packed ring against a device that the test plays itself, descriptor by
 * descriptor: what the device sees and when, laps and wrap counters, batches in order,
 * notifications, and every lie that a used descriptor can tell.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "virtio/drv.h"

enum { NUM = 64, OWNER = HG_PACKED_DESC_F_AVAIL | HG_PACKED_DESC_F_USED };

/* One side's view of the ring as the specification tells it: a place and a wrap counter (2.8.1). */
struct cursor {
    unsigned at;
    bool wrap;
};

/* The device, independent of the code under test. */
struct device {
    struct hg_drv drv;
    struct hg_packed_desc *desc;
    struct hg_packed_event *driver_event;
    struct hg_packed_event *device_event;
    struct cursor avail;
    struct cursor used;
};

/* A chain that the device took. */
struct chain {
    uint16_t id;
    uint16_t n;
    uint64_t addr;
    uint32_t len;
};

static void start(struct device *d, uint64_t features)
{
    hg_drv_start(&d->drv, HG_BIT(HG_VIRTIO_F_RING_PACKED) | features);
    d->avail = d->used = (struct cursor){.wrap = true};
}

static void open_ring(struct device *d, bool receives, uint64_t features)
{
    void *memory = aligned_alloc(128, hg_drv_bytes(NUM));

    memset(d, 0, sizeof(*d));
    assert_int_equal(hg_drv_init(&d->drv, NUM, receives, memory), 0);
    d->desc = memory;
    d->driver_event = (void *)d->drv.avail;
    d->device_event = (void *)d->drv.used;
    start(d, features);
}

static void close_ring(struct device *d)
{
    hg_drv_free(&d->drv);
    free(d->desc);
}

static void move(struct cursor *cursor, unsigned n)
{
    cursor->at += n;
    if (cursor->at >= NUM) {
        cursor->at -= NUM;
        cursor->wrap = !cursor->wrap;
    }
}

static bool available(const struct device *d, struct cursor at)
{
    unsigned wanted = at.wrap ? HG_PACKED_DESC_F_AVAIL : HG_PACKED_DESC_F_USED;

    return (d->desc[at.at].flags & OWNER) == wanted;
}

/* Takes the next chain; false if there is none. */
static bool take(struct device *d, struct chain *chain)
{
    struct cursor at = d->avail;

    if (!available(d, at))
        return false;
    *chain = (struct chain){.addr = d->desc[at.at].addr};
    for (bool more = true; more; move(&at, 1)) {
        assert_true(available(d, at)); /* no list is seen in part */
        more = (d->desc[at.at].flags & HG_DESC_F_NEXT) != 0;
        chain->len += d->desc[at.at].len;
        chain->id = d->desc[at.at].id;
        chain->n++;
    }
    d->avail = at;
    return true;
}

/* Writes a used descriptor for a chain, or for a batch of `n` descriptors that ends with it. */
static void use(struct device *d, uint16_t id, unsigned n, uint32_t len)
{
    uint16_t flags = d->used.wrap ? OWNER : 0;

    d->desc[d->used.at].id = id;
    d->desc[d->used.at].len = len;
    d->desc[d->used.at].flags = d->drv.receives ? flags | HG_DESC_F_WRITE : flags;
    move(&d->used, n);
}

static void add(struct device *d, unsigned n, uint32_t len)
{
    for (unsigned i = 0; i < n; i++) {
        struct hg_drv_buf buf = {
            .addr = UINT64_C(0x10000) * (1 + hg_drv_id(&d->drv, 0)),
            .len = len,
            .flags = d->drv.receives ? HG_DESC_F_WRITE : 0,
        };

        hg_drv_add(&d->drv, &buf, 1);
    }
}

static void add_chain(struct device *d, unsigned n, uint32_t len)
{
    struct hg_drv_buf bufs[NUM];
    uint16_t flags = d->drv.receives ? HG_DESC_F_WRITE : 0;

    for (unsigned i = 0; i < n; i++)
        bufs[i] = (struct hg_drv_buf){UINT64_C(0x10000) * (1 + hg_drv_id(&d->drv, i)), len, flags};
    hg_drv_add_chain(&d->drv, bufs, n, d->drv.receives ? n * len : 0);
}

static void nothing_is_seen_before_publish(void **state)
{
    struct hg_drv_used used[NUM];
    struct chain chain;
    struct device d;

    (void)state;
    open_ring(&d, true, 0);
    assert_int_equal(d.driver_event->flags, HG_PACKED_EVENT_DISABLE);
    for (unsigned lap = 0; lap < 5; lap++) {
        assert_false(hg_drv_publish(&d.drv));
        add(&d, 3, 1500);
        add_chain(&d, NUM - 3, 100);
        assert_int_equal(d.drv.free_n, 0);
        assert_false(take(&d, &chain));
        assert_true(hg_drv_publish(&d.drv)); /* the device has not asked for silence */
        for (uint16_t i = 0; i < 3; i++) {
            assert_true(take(&d, &chain));
            assert_int_equal(chain.id, i);
            assert_int_equal(chain.n, 1);
            assert_int_equal(chain.addr, 0x10000 * (i + 1));
            assert_int_equal(chain.len, 1500);
            use(&d, chain.id, 1, i);
        }
        assert_true(take(&d, &chain) && chain.id == 3 && chain.n == NUM - 3);
        assert_int_equal(chain.len, (NUM - 3) * 100);
        assert_false(take(&d, &chain));
        use(&d, chain.id, chain.n, 77);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), 4);
        for (uint16_t i = 0; i < 4; i++) {
            assert_int_equal(used[i].id, i);
            assert_int_equal(used[i].len, i < 3 ? i : 77);
        }
        assert_int_equal(d.drv.free_n, NUM);
    }
    close_ring(&d);
}

static uint32_t next(uint32_t *random)
{
    return (*random = *random * 1664525 + 1013904223) >> 8;
}

/* Makes chains of one to five descriptors available, often as many as fit. */
static void publish_some(struct device *d, uint32_t *random)
{
    while (d->drv.free_n != 0 && next(random) % 8 != 0) {
        unsigned n = 1 + next(random) % hg_min_u32(d->drv.free_n, 5);

        if (n == 1)
            add(d, 1, 1500);
        else
            add_chain(d, n, 1500);
    }
    hg_drv_publish(&d->drv);
}

/* Chains of all lengths come back in any order, over thousands of laps and the positions' wrap. */
static void completion_out_of_order(void **state)
{
    struct device d;
    struct chain held[NUM];
    unsigned held_n = 0, outstanding = 0;
    uint32_t random = 1;

    (void)state;
    open_ring(&d, true, 0);
    for (unsigned turn = 0; turn < 100000; turn++) {
        struct hg_drv_used used[NUM];
        unsigned back_n;

        publish_some(&d, &random);
        while (take(&d, &held[held_n]))
            outstanding += held[held_n++].n;
        assert_int_equal(outstanding, NUM - d.drv.free_n);
        back_n = held_n == 0 ? 0 : next(&random) % held_n;
        for (unsigned i = 0; i < back_n; i++) {
            unsigned pick = next(&random) % held_n;

            use(&d, held[pick].id, held[pick].n, held[pick].id);
            outstanding -= held[pick].n;
            held[pick] = held[--held_n];
        }
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), back_n);
        for (unsigned i = 0; i < back_n; i++)
            assert_int_equal(used[i].id, used[i].len);
        assert_int_equal(d.drv.free_n, NUM - outstanding);
    }
    assert_int_equal(d.drv.fault, HG_DRV_OK);
    close_ring(&d);
}

/* One used descriptor for a batch: each chain of it comes back, in order, the skipped ones full. */
static void batches_in_order(void **state)
{
    struct device d;
    uint32_t random = 7;

    (void)state;
    open_ring(&d, true, HG_BIT(HG_VIRTIO_F_IN_ORDER));
    for (unsigned turn = 0; turn < 20000; turn++) {
        struct chain taken[NUM];
        unsigned taken_n = 0, batch_n, descs_n = 0, back_n = 0;

        publish_some(&d, &random);
        while (take(&d, &taken[taken_n]))
            taken_n++;
        for (unsigned at = 0; at < taken_n; at += batch_n) {
            struct chain *last;

            batch_n = 1 + next(&random) % (taken_n - at);
            last = &taken[at + batch_n - 1];
            descs_n = 0;
            for (unsigned i = 0; i < batch_n; i++)
                descs_n += taken[at + i].n;
            use(&d, last->id, descs_n, 99);
            last->len = 99;
        }
        while (back_n < taken_n) { /* in portions that end inside batches */
            struct hg_drv_used used[NUM];
            unsigned want = 1 + next(&random) % (taken_n - back_n);

            assert_true(hg_drv_arm(&d.drv));
            assert_int_equal(hg_drv_reap(&d.drv, used, want), want);
            for (unsigned i = 0; i < want; i++, back_n++) {
                assert_int_equal(used[i].id, taken[back_n].id);
                assert_int_equal(used[i].len, taken[back_n].len);
            }
        }
        assert_false(hg_drv_arm(&d.drv));
        assert_int_equal(d.drv.free_n, NUM);
    }
    assert_int_equal(d.drv.fault, HG_DRV_OK);
    close_ring(&d);
}

/* Four single buffers of 1500 bytes (ids 0 to 3) and a chain (4, 5) that holds 100 are outstanding;
 * id 6 is added and not published. */
static void post_some(struct device *d)
{
    const struct hg_drv_buf chain[] = {{1, 60, HG_DESC_F_WRITE}, {2, 40, HG_DESC_F_WRITE}};

    add(d, 4, 1500);
    hg_drv_add_chain(&d->drv, chain, 2, 100);
    hg_drv_publish(&d->drv);
    add(d, 1, 1500);
}

struct lie {
    struct {
        uint16_t id;
        uint16_t n; /* descriptors that the device passes over */
        uint32_t len;
    } used[6];
    unsigned used_n;
    unsigned honest_n; /* before the lie */
    uint64_t features;
    enum hg_drv_fault fault;
    uint64_t value;
};

static void lies_break_the_ring(void **state)
{
    static const uint64_t in_order = HG_BIT(HG_VIRTIO_F_IN_ORDER);
    static const struct lie lies[] = {
        {{{NUM, 1, 1}}, 1, 0, 0, HG_DRV_USED_RANGE, NUM},
        {{{0, 1, 1}, {0xffff, 1, 1}}, 2, 1, 0, HG_DRV_USED_RANGE, 0xffff},
        {{{7, 1, 1}}, 1, 0, 0, HG_DRV_USED_IDLE, 7},
        {{{0, 1, 1}, {0, 1, 1}}, 2, 1, 0, HG_DRV_USED_IDLE, 0},
        {{{5, 2, 1}}, 1, 0, 0, HG_DRV_USED_IDLE, 5}, /* not the head of its chain */
        {{{1, 1, 1500}, {2, 1, 1501}}, 2, 1, 0, HG_DRV_USED_LEN, 1501},
        {{{4, 2, 100}, {0, 1, UINT32_MAX}}, 2, 1, 0, HG_DRV_USED_LEN, UINT32_MAX},
        {{{4, 2, 101}}, 1, 0, 0, HG_DRV_USED_LEN, 101},
        /* Everything that is published, and then what is not. */
        {{{0, 1, 1}, {1, 1, 1}, {2, 1, 1}, {3, 1, 1}, {4, 2, 1}, {6, 1, 1}},
         6,
         5,
         0,
         HG_DRV_USED_JUMP,
         6},
        {{{6, 7, 1}}, 1, 5, in_order, HG_DRV_USED_JUMP, 6},
        {{{5, 6, 1}}, 1, 0, in_order, HG_DRV_USED_IDLE, 5},
        {{{2, 3, 1501}}, 1, 0, in_order, HG_DRV_USED_LEN, 1501},
        {{{2, 3, 1}, {1, 1, 1}}, 2, 3, in_order, HG_DRV_USED_IDLE, 1},
    };

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(lies); i++) {
        const struct lie *lie = &lies[i];
        struct hg_drv_used used[NUM];
        struct device d;

        open_ring(&d, true, lie->features);
        post_some(&d);
        for (unsigned k = 0; k < lie->used_n; k++)
            use(&d, lie->used[k].id, lie->used[k].n, lie->used[k].len);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), lie->honest_n);
        assert_int_equal(d.drv.fault, lie->fault);
        assert_int_equal(d.drv.fault_value, lie->value);
        /* Nothing more is taken, and the first reason stays. */
        use(&d, 3, 1, 1);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), 0);
        assert_false(hg_drv_arm(&d.drv));
        hg_drv_break(&d.drv, HG_DRV_NUM_BUFFERS, 0);
        assert_int_equal(d.drv.fault, lie->fault);
        /* A new session mends it. */
        hg_drv_reset(&d.drv);
        start(&d, lie->features);
        post_some(&d);
        use(&d, 0, 1, 1500);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), 1);
        close_ring(&d);
    }
}

/* A descriptor that is used before anything is outstanding: flags of another lap mean nothing. */
static void stale_flags_are_not_used(void **state)
{
    struct hg_drv_used used[NUM];
    struct chain chain;
    struct device d;

    (void)state;
    open_ring(&d, true, 0);
    assert_int_equal(hg_drv_reap(&d.drv, used, NUM), 0);
    for (unsigned i = 0; i < 3 * NUM + 5; i++) {
        add(&d, 1, 64);
        hg_drv_publish(&d.drv);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), 0);
        assert_true(take(&d, &chain));
        use(&d, chain.id, 1, 64);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), 1);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), 0);
    }
    close_ring(&d);
}

/* Without the WRITE flag the length is reserved: 2.8.4. */
static void lengths_count_where_something_was_written(void **state)
{
    struct hg_drv_used used;
    struct chain chain;
    struct device d;

    (void)state;
    open_ring(&d, true, 0);
    add(&d, 1, 64);
    hg_drv_publish(&d.drv);
    assert_true(take(&d, &chain));
    use(&d, chain.id, 1, UINT32_MAX);
    d.desc[0].flags &= (uint16_t)~HG_DESC_F_WRITE;
    assert_int_equal(hg_drv_reap(&d.drv, &used, 1), 1);
    assert_int_equal(used.len, 0);
    close_ring(&d);

    open_ring(&d, false, 0);
    add(&d, 1, 64);
    hg_drv_publish(&d.drv);
    assert_true(take(&d, &chain));
    use(&d, chain.id, 1, UINT32_MAX);
    d.desc[0].flags |= HG_DESC_F_WRITE;
    assert_int_equal(hg_drv_reclaim(&d.drv, NUM), 1);
    assert_int_equal(d.drv.fault, HG_DRV_OK);
    close_ring(&d);
}

/* A kick if, and only if, the descriptor that the device named becomes available, in its lap. */
static void kick_at_the_event(void **state)
{
    struct device d;
    uint32_t random = 3;

    (void)state;
    open_ring(&d, false, HG_BIT(HG_VIRTIO_F_EVENT_IDX));
    for (unsigned i = 0; i < 50000; i++) {
        unsigned n = 1 + next(&random) % NUM;
        unsigned ahead = next(&random) % (2 * NUM); /* of what is published */
        struct cursor event = d.avail;
        struct chain chain;

        for (unsigned k = 0; k < ahead; k++)
            move(&event, 1);
        d.device_event->off_wrap = (uint16_t)(event.at | (event.wrap ? HG_PACKED_WRAP : 0));
        d.device_event->flags = HG_PACKED_EVENT_DESC;
        add(&d, n, 64);
        assert_int_equal(hg_drv_publish(&d.drv), ahead < n);
        while (take(&d, &chain))
            use(&d, chain.id, chain.n, 0);
        assert_int_equal(hg_drv_reclaim(&d.drv, NUM), n);
    }
    close_ring(&d);
}

static void kick_as_the_flags_say(void **state)
{
    static const struct {
        uint16_t flags;
        bool event_idx;
        bool kick;
    } cases[] = {
        {HG_PACKED_EVENT_ENABLE, false, true},      {HG_PACKED_EVENT_DISABLE, false, false},
        {HG_PACKED_EVENT_DESC, false, true}, /* not negotiated: rather once too often */
        {HG_PACKED_EVENT_ENABLE, true, true},       {HG_PACKED_EVENT_DISABLE, true, false},
        {HG_PACKED_EVENT_DISABLE | 4, true, false}, /* reserved bits */
    };

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(cases); i++) {
        struct device d;

        open_ring(&d, false, cases[i].event_idx ? HG_BIT(HG_VIRTIO_F_EVENT_IDX) : 0);
        d.device_event->off_wrap = 5;
        d.device_event->flags = cases[i].flags;
        add(&d, 1, 64);
        assert_int_equal(hg_drv_publish(&d.drv), cases[i].kick);
        close_ring(&d);
    }
}

static void ask_for_an_interrupt(void **state)
{
    (void)state;
    for (unsigned event_idx = 0; event_idx <= 1; event_idx++) {
        struct hg_drv_used used;
        struct chain chain;
        struct device d;

        open_ring(&d, true, event_idx ? HG_BIT(HG_VIRTIO_F_EVENT_IDX) : 0);
        for (unsigned i = 0; i < 3 * NUM; i++) {
            add(&d, 1, 64);
            hg_drv_publish(&d.drv);
            assert_int_equal(d.driver_event->flags, HG_PACKED_EVENT_DISABLE);
            assert_false(hg_drv_arm(&d.drv));
            assert_int_equal(d.driver_event->flags,
                             event_idx ? HG_PACKED_EVENT_DESC : HG_PACKED_EVENT_ENABLE);
            if (event_idx) /* the next that the device will use */
                assert_int_equal(d.driver_event->off_wrap,
                                 d.used.at | (d.used.wrap ? HG_PACKED_WRAP : 0));
            assert_true(take(&d, &chain));
            use(&d, chain.id, 1, 1);
            assert_true(hg_drv_arm(&d.drv)); /* it is there already: do not sleep */
            hg_drv_disarm(&d.drv);
            assert_int_equal(hg_drv_reap(&d.drv, &used, 1), 1);
        }
        close_ring(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_seen_before_publish),
        cmocka_unit_test(completion_out_of_order),
        cmocka_unit_test(batches_in_order),
        cmocka_unit_test(lies_break_the_ring),
        cmocka_unit_test(stale_flags_are_not_used),
        cmocka_unit_test(lengths_count_where_something_was_written),
        cmocka_unit_test(kick_at_the_event),
        cmocka_unit_test(kick_as_the_flags_say),
        cmocka_unit_test(ask_for_an_interrupt),
    };

    return cmocka_run_group_tests_name("driver side of a packed ring", tests, NULL, NULL);
}
