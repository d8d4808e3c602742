/*
 * The driver side of a split ring against a device that the test plays itself, byte by byte: what
 * the device sees and when, what is not written twice, and every lie that it can tell in the used
 * ring.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bits.h"
#include "virtio/drv.h"

enum { NUM = 256, PAGE_BYTES = 4096 };

/* The device's view. */
struct device {
    struct hg_drv drv;
    void *memory;
    size_t memory_bytes;
    struct hg_desc *desc;
    struct hg_avail *avail;
    struct hg_used *used;
    uint16_t taken; /* available entries */
};

static void open_ring(struct device *d, bool receives, bool event_idx)
{
    memset(d, 0, sizeof(*d));
    d->memory_bytes = hg_round_up(hg_drv_bytes(NUM), PAGE_BYTES);
    d->memory =
        mmap(NULL, d->memory_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(d->memory != MAP_FAILED);
    assert_int_equal(hg_drv_init(&d->drv, NUM, receives, d->memory), 0);
    hg_drv_start(&d->drv, event_idx ? HG_BIT(HG_VIRTIO_F_EVENT_IDX) : 0);
    d->desc = (void *)d->drv.desc;
    d->avail = (void *)d->drv.avail;
    d->used = (void *)d->drv.used;
}

static void close_ring(struct device *d)
{
    hg_drv_free(&d->drv);
    munmap(d->memory, d->memory_bytes);
}

static uint16_t take(struct device *d)
{
    assert_int_not_equal(d->avail->idx, d->taken);
    return d->avail->ring[d->taken++ % NUM];
}

static void use(struct device *d, uint32_t id, uint32_t len)
{
    d->used->ring[d->used->idx % NUM] = (struct hg_used_elem){id, len};
    d->used->idx++;
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

static void parts_do_not_share_lines(void **state)
{
    (void)state;
    for (unsigned order = 1; order <= 15; order++) {
        uint16_t num = (uint16_t)(1u << order);
        size_t bytes = hg_drv_bytes(num);
        struct hg_drv drv;
        uint8_t *memory = aligned_alloc(128, bytes);

        assert_int_equal(bytes % 128, 0);
        assert_int_equal(hg_drv_init(&drv, num, false, memory), 0);
        assert_ptr_equal(drv.desc, memory);
        assert_int_equal((drv.avail - memory) % 128, 0);
        assert_int_equal((drv.used - memory) % 128, 0);
        assert_true(drv.avail >= drv.desc + HG_DESC_BYTES(num));
        assert_true(drv.used >= drv.avail + HG_AVAIL_BYTES(num));
        assert_true(memory + bytes >= drv.used + HG_USED_BYTES(num));
        hg_drv_free(&drv);
        free(memory);
    }
}

static void nothing_is_seen_before_publish(void **state)
{
    struct device d;

    (void)state;
    open_ring(&d, true, false);
    assert_false(hg_drv_publish(&d.drv));
    add(&d, 3, 1500);
    assert_int_equal(d.avail->idx, 0);
    assert_true(hg_drv_publish(&d.drv)); /* the device has not asked for silence */
    assert_int_equal(d.avail->idx, 3);
    for (uint16_t i = 0; i < 3; i++) {
        assert_int_equal(take(&d), i);
        assert_int_equal(d.desc[i].addr, 0x10000 * (i + 1));
        assert_int_equal(d.desc[i].len, 1500);
        assert_int_equal(d.desc[i].flags, HG_DESC_F_WRITE);
    }
    d.used->flags = HG_USED_F_NO_NOTIFY;
    add(&d, 1, 1500);
    assert_false(hg_drv_publish(&d.drv));
    close_ring(&d);
}

static void chains_are_linked(void **state)
{
    struct device d;
    const struct hg_drv_buf bufs[] = {{1, 10, 0}, {2, 20, 0}, {3, 30, 0}};

    (void)state;
    open_ring(&d, false, false);
    add(&d, 5, 64);
    hg_drv_add_chain(&d.drv, bufs, 3, 0);
    hg_drv_publish(&d.drv);
    assert_int_equal(d.avail->idx, 6);
    assert_int_equal(d.avail->ring[5], 5);
    for (uint16_t i = 0; i < 3; i++) {
        assert_int_equal(d.desc[5 + i].addr, bufs[i].addr);
        assert_int_equal(d.desc[5 + i].len, bufs[i].len);
        assert_int_equal(d.desc[5 + i].flags, i < 2 ? HG_DESC_F_NEXT : 0);
    }
    assert_int_equal(d.desc[5].next, 6);
    assert_int_equal(d.desc[6].next, 7);
    assert_int_equal(d.drv.free_n, NUM - 8);
    use(&d, 5, 0);
    assert_int_equal(hg_drv_reclaim(&d.drv, 100), 1);
    assert_int_equal(d.drv.free_n, NUM - 5);
    close_ring(&d);
}

/* The promise that makes rings cheap: a descriptor and a ring entry that stay the same are not
 * written. The descriptor table fills one page, which the second round may only read. */
static void what_stays_is_not_written(void **state)
{
    struct device d;

    (void)state;
    open_ring(&d, true, false);
    assert_int_equal(HG_DESC_BYTES(NUM), PAGE_BYTES);
    for (unsigned round = 0; round < 3; round++) {
        struct hg_drv_used used[NUM];

        add(&d, NUM, 1500);
        hg_drv_publish(&d.drv);
        for (unsigned i = 0; i < NUM; i++)
            use(&d, take(&d), 100);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), NUM);
        assert_int_equal(mprotect(d.memory, PAGE_BYTES, PROT_READ), 0);
    }
    close_ring(&d);
}

/* In any order, and past the wrap of both indices. */
static void completion_out_of_order(void **state)
{
    struct device d;
    uint16_t held[NUM];
    unsigned held_n = 0;
    uint32_t random = 1;

    (void)state;
    open_ring(&d, true, false);
    for (unsigned turn = 0; turn < 3000; turn++) {
        struct hg_drv_used used[NUM];
        unsigned back_n;

        add(&d, d.drv.free_n, 1500);
        hg_drv_publish(&d.drv);
        while (d.taken != d.avail->idx)
            held[held_n++] = take(&d);
        assert_int_equal(held_n, NUM);
        back_n = 1 + turn % 60;
        for (unsigned i = 0; i < back_n; i++) {
            unsigned pick = ((random = random * 1664525 + 1013904223) >> 8) % held_n;

            use(&d, held[pick], held[pick]);
            held[pick] = held[held_n - 1];
            held_n--;
        }
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), back_n);
        for (unsigned i = 0; i < back_n; i++)
            assert_int_equal(used[i].id, used[i].len);
        assert_int_equal(d.drv.free_n, back_n);
    }
    assert_int_equal(d.drv.fault, HG_DRV_OK);
    close_ring(&d);
}

/* Four single buffers of 1500 bytes (ids 0 to 3) and a chain (4, 5) that holds 100 are
 * outstanding. */
static void post_some(struct device *d)
{
    const struct hg_drv_buf chain[] = {{1, 60, HG_DESC_F_WRITE}, {2, 40, HG_DESC_F_WRITE}};

    add(d, 4, 1500);
    hg_drv_add_chain(&d->drv, chain, 2, 100);
    hg_drv_publish(&d->drv);
}

struct lie {
    struct hg_used_elem elem[3];
    uint16_t idx;
    unsigned honest_n; /* elements before the lie */
    enum hg_drv_fault fault;
    uint64_t value;
};

static void lies_break_the_ring(void **state)
{
    static const struct lie lies[] = {
        {{{0, 1}}, 6, 0, HG_DRV_USED_JUMP, 6},
        {{{0, 1}}, 0x8000, 0, HG_DRV_USED_JUMP, 0x8000},
        {{{0, 1}}, 0xffff, 0, HG_DRV_USED_JUMP, 0xffff},
        {{{NUM, 1}}, 1, 0, HG_DRV_USED_RANGE, NUM},
        {{{0, 1}, {UINT32_MAX, 1}}, 2, 1, HG_DRV_USED_RANGE, UINT32_MAX},
        {{{0x10000, 1}}, 1, 0, HG_DRV_USED_RANGE, 0x10000}, /* the low half is honest */
        {{{6, 1}}, 1, 0, HG_DRV_USED_IDLE, 6},
        {{{0, 1}, {0, 1}}, 2, 1, HG_DRV_USED_IDLE, 0},
        {{{5, 1}}, 1, 0, HG_DRV_USED_IDLE, 5}, /* not the head of its chain */
        {{{1, 1500}, {2, 1501}}, 2, 1, HG_DRV_USED_LEN, 1501},
        {{{4, 100}, {0, UINT32_MAX}}, 2, 1, HG_DRV_USED_LEN, UINT32_MAX},
        {{{4, 101}}, 1, 0, HG_DRV_USED_LEN, 101},
    };

    (void)state;
    for (unsigned i = 0; i < HG_ARRAY_N(lies); i++) {
        const struct lie *lie = &lies[i];
        struct hg_drv_used used[NUM];
        struct device d;

        open_ring(&d, true, false);
        post_some(&d);
        memcpy(d.used->ring, lie->elem, sizeof(lie->elem));
        d.used->idx = lie->idx;
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), lie->honest_n);
        assert_int_equal(d.drv.fault, lie->fault);
        assert_int_equal(d.drv.fault_value, lie->value);
        assert_string_not_equal(hg_drv_fault_name(lie->fault), "unknown");
        /* Nothing more is taken, and the first reason stays. */
        d.used->ring[lie->honest_n] = (struct hg_used_elem){3, 1};
        d.used->idx = (uint16_t)(lie->honest_n + 1);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), 0);
        assert_false(hg_drv_arm(&d.drv));
        hg_drv_break(&d.drv, HG_DRV_NUM_BUFFERS, 0);
        assert_int_equal(d.drv.fault, lie->fault);
        /* A new session mends it. */
        hg_drv_reset(&d.drv);
        assert_int_equal(d.used->idx, 0);
        d.taken = 0;
        post_some(&d);
        use(&d, take(&d), 1500);
        assert_int_equal(hg_drv_reap(&d.drv, used, NUM), 1);
        close_ring(&d);
    }
}

/* Devices write all sorts of things there: virtio 1.2, 2.7.8.2. */
static void transmit_ignores_lengths(void **state)
{
    struct device d;

    (void)state;
    open_ring(&d, false, false);
    add(&d, 2, 64);
    hg_drv_publish(&d.drv);
    use(&d, take(&d), UINT32_MAX);
    use(&d, take(&d), 0);
    assert_int_equal(hg_drv_reclaim(&d.drv, NUM), 2);
    assert_int_equal(d.drv.fault, HG_DRV_OK);
    close_ring(&d);
}

static void reclaim_in_portions(void **state)
{
    struct device d;

    (void)state;
    open_ring(&d, false, false);
    add(&d, 100, 64);
    hg_drv_publish(&d.drv);
    for (unsigned i = 0; i < 90; i++)
        use(&d, take(&d), 0);
    assert_int_equal(hg_drv_reclaim(&d.drv, 7), 7);
    assert_int_equal(hg_drv_reclaim(&d.drv, 70), 70);
    assert_int_equal(hg_drv_reclaim(&d.drv, 70), 13);
    assert_int_equal(hg_drv_reclaim(&d.drv, 70), 0);
    close_ring(&d);
}

static uint16_t *avail_event(struct device *d)
{
    return (uint16_t *)(void *)&d->used->ring[NUM];
}

static uint16_t used_event(const struct device *d)
{
    return d->avail->ring[NUM];
}

/* A kick when, and only when, the index passes what the device asked for; also across the wrap. */
static void kick_at_the_event(void **state)
{
    struct device d;

    (void)state;
    open_ring(&d, false, true);
    for (unsigned i = 0; i < 70000; i++) {
        bool wanted = i % 7 == 0;

        *avail_event(&d) = wanted ? d.avail->idx : (uint16_t)(d.avail->idx - 1);
        d.used->flags = wanted ? HG_USED_F_NO_NOTIFY : 0; /* has no meaning here: 2.7.10 */
        add(&d, 1 + i % 3, 64);
        assert_int_equal(hg_drv_publish(&d.drv), wanted);
        assert_false(hg_drv_publish(&d.drv));
        while (d.taken != d.avail->idx)
            use(&d, take(&d), 0);
        hg_drv_reclaim(&d.drv, NUM);
    }
    close_ring(&d);
}

static void ask_for_an_interrupt(void **state)
{
    (void)state;
    for (unsigned event_idx = 0; event_idx <= 1; event_idx++) {
        struct hg_drv_used used[4];
        struct device d;

        open_ring(&d, true, event_idx);
        add(&d, 8, 64);
        hg_drv_publish(&d.drv);
        for (uint16_t i = 0; i < 4; i++) {
            assert_int_equal(d.avail->flags, event_idx ? 0 : HG_AVAIL_F_NO_INTERRUPT);
            if (event_idx) /* not the next element, nor any before the index has gone round */
                assert_false(hg_vring_need_event(used_event(&d), (uint16_t)(i + 1), i));
            assert_false(hg_drv_arm(&d.drv));
            assert_int_equal(d.avail->flags, 0);
            if (event_idx)
                assert_true(hg_vring_need_event(used_event(&d), (uint16_t)(i + 1), i));
            use(&d, take(&d), 1);
            assert_true(hg_drv_arm(&d.drv)); /* it is there already: do not sleep */
            hg_drv_disarm(&d.drv);
            assert_int_equal(hg_drv_reap(&d.drv, used, 4), 1);
            hg_drv_disarm(&d.drv);
        }
        close_ring(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_do_not_share_lines),
        cmocka_unit_test(nothing_is_seen_before_publish),
        cmocka_unit_test(chains_are_linked),
        cmocka_unit_test(what_stays_is_not_written),
        cmocka_unit_test(completion_out_of_order),
        cmocka_unit_test(lies_break_the_ring),
        cmocka_unit_test(transmit_ignores_lengths),
        cmocka_unit_test(reclaim_in_portions),
        cmocka_unit_test(kick_at_the_event),
        cmocka_unit_test(ask_for_an_interrupt),
    };

    return cmocka_run_group_tests_name("driver side of a split ring", tests, NULL, NULL);
}
