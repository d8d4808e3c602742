/*
 * What an IOTLB promises, case by case. Host addresses are only compared here, never followed: the regions
 * lie in address space that is reserved and has no memory.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "iommu/space.h"

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define RW  (HG_PERM_READ | HG_PERM_WRITE)

enum { PAGE = 4096, ENTRIES = 1024 };

/* Two regions that follow each other for the front-end, but not here. */
#define USER       UINT64_C(0x7f0000000000)
#define REGION     (4 * GIB)
#define USER_OTHER (USER + REGION)
#define HOST_GAP   (16 * PAGE)

static struct hg_space space;
static struct hg_iotlb *iotlb;
static uint8_t *reserved;

static int set_up(void **state)
{
    (void)state;
    reserved = mmap(NULL, 2 * REGION + HOST_GAP, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(reserved != MAP_FAILED);
    assert_int_equal(hg_iotlb_new(&iotlb, ENTRIES, NULL), 0);
    memset(&space, 0, sizeof(space));
    space.iotlb = iotlb;
    space.n = 2;
    space.region[0] = (struct hg_region){.user_addr = USER, .size = REGION, .host = reserved};
    space.region[1] = (struct hg_region){
        .user_addr = USER_OTHER, .size = REGION, .host = reserved + REGION + HOST_GAP};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hg_iotlb_free(iotlb);
    munmap(reserved, 2 * REGION + HOST_GAP);
    return 0;
}

static void update(uint64_t iova, uint64_t size, uint64_t offset, unsigned perm)
{
    assert_int_equal(hg_iotlb_update(iotlb, &space, iova, size, USER + offset, perm, NULL), 0);
}

static void invalidate(uint64_t iova, uint64_t size)
{
    hg_iotlb_unpublish(iotlb, iova, size);
    hg_qsbr_wait();
    hg_iotlb_settle(iotlb);
}

/* Bytes found from addr on, without a hint; checks that they lie at `offset` of the first region. */
static uint64_t found(uint64_t addr, uint64_t len, enum hg_perm perm, uint64_t offset)
{
    struct hg_hint hint = {0};
    uint8_t *host;
    uint64_t got = hg_space_at(&space, &hint, addr, len, perm, &host);

    if (got != 0)
        assert_ptr_equal(host, reserved + offset);
    return got;
}

static bool has(uint64_t addr)
{
    struct hg_iotlb_block block;

    return hg_iotlb_find(iotlb, addr, &block);
}

static uint64_t entries(void)
{
    return hg_iotlb_info(iotlb).entries;
}

static void knows_what_it_was_told(void **state)
{
    (void)state;
    assert_int_equal(found(0x10000, 1, HG_PERM_READ, 0), 0);
    update(0x10000, PAGE, 5 * PAGE, RW);
    assert_int_equal(found(0x10000, 1, HG_PERM_READ, 5 * PAGE), 1);
    assert_int_equal(found(0x10000 + 96, 4000, HG_PERM_WRITE, 5 * PAGE + 96), 4000);
    assert_int_equal(found(0x10000 + 96, 4001, HG_PERM_WRITE, 5 * PAGE + 96), 4000);
    assert_int_equal(found(0xffff, 1, HG_PERM_READ, 0), 0);
    assert_int_equal(found(0x11000, 1, HG_PERM_READ, 0), 0);
    assert_int_equal(entries(), 1);
}

static void cuts_ranges_into_the_largest_blocks(void **state)
{
    struct hg_iotlb_block block;

    (void)state;
    update(2 * GIB - 2 * MIB - PAGE, GIB + 4 * MIB + 2 * PAGE, PAGE, RW);
    assert_int_equal(entries(), 5);
    assert_true(hg_iotlb_find(iotlb, 2 * GIB + 5, &block));
    assert_int_equal(block.base, 2 * GIB);
    assert_int_equal(block.size, GIB);
    assert_ptr_equal(block.host, reserved + PAGE + PAGE + 2 * MIB);
    assert_true(hg_iotlb_find(iotlb, 3 * GIB + 2 * MIB, &block));
    assert_int_equal(block.size, PAGE);
    assert_false(has(3 * GIB + 2 * MIB + PAGE));
    assert_true(hg_iotlb_unpublish(iotlb, 2 * GIB + 7 * PAGE, PAGE)); /* goes as a whole */
    assert_false(has(2 * GIB));
    assert_true(has(2 * GIB - 1));
    assert_int_equal(entries(), 4);
}

static void joins_blocks_whose_hosts_go_on(void **state)
{
    (void)state;
    update(16 * PAGE, PAGE, 0, RW);
    update(17 * PAGE, PAGE, PAGE, HG_PERM_READ);
    update(18 * PAGE, PAGE, 2 * PAGE, RW);
    update(19 * PAGE, PAGE, 7 * PAGE, RW);
    assert_int_equal(found(16 * PAGE + 1, 4 * PAGE, HG_PERM_READ, 1), 3 * PAGE - 1);
    assert_int_equal(found(16 * PAGE + 1, 4 * PAGE, HG_PERM_WRITE, 1), PAGE - 1);
    assert_int_equal(found(18 * PAGE, PAGE + 1, HG_PERM_READ, 2 * PAGE), PAGE);
    invalidate(17 * PAGE, PAGE);
    assert_int_equal(found(16 * PAGE, 4 * PAGE, HG_PERM_READ, 0), PAGE);
}

static void joins_so_many_and_goes_on(void **state)
{
    uint64_t most = HG_SPACE_BLOCKS_MAX * UINT64_C(4096);

    (void)state;
    update(16 * PAGE, 2 * most, 0, RW);
    assert_int_equal(found(16 * PAGE, 2 * most, HG_PERM_READ, 0), most);
    assert_int_equal(found(16 * PAGE + most, 2 * most, HG_PERM_READ, most), most);
}

static void never_lends_a_permission_by_a_hint(void **state)
{
    struct hg_hint hint = {0};
    uint8_t *host;

    (void)state;
    update(16 * PAGE, PAGE, 0, RW);
    update(17 * PAGE, PAGE, PAGE, HG_PERM_READ);
    assert_int_equal(hg_space_at(&space, &hint, 16 * PAGE, 2 * PAGE, HG_PERM_READ, &host),
                     2 * PAGE);
    assert_int_equal(hg_space_at(&space, &hint, 16 * PAGE, 2 * PAGE, HG_PERM_WRITE, &host), PAGE);
    assert_int_equal(hg_space_at(&space, &hint, 17 * PAGE, 1, HG_PERM_WRITE, &host), 0);
}

static void replaces_upgrades_and_downgrades(void **state)
{
    (void)state;
    update(0, PAGE, 0, HG_PERM_READ);
    assert_int_equal(found(0, 1, HG_PERM_WRITE, 0), 0);
    update(0, PAGE, 0, RW);
    assert_int_equal(found(0, 1, HG_PERM_WRITE, 0), 1);
    update(0, PAGE, 0, HG_PERM_WRITE);
    assert_int_equal(found(0, 1, HG_PERM_READ, 0), 0);
    update(0, PAGE, 9 * PAGE, RW); /* other memory */
    assert_int_equal(found(0, 1, HG_PERM_READ, 9 * PAGE), 1);
    update(0, 2 * MIB, 0, RW); /* one block instead */
    assert_int_equal(entries(), 1);
    assert_int_equal(found(0, MIB, HG_PERM_READ, 0), MIB);
    update(PAGE, PAGE, PAGE, 0); /* refused: the block it was a part of goes */
    assert_int_equal(entries(), 0);
}

static void reaches_both_ends_of_the_addresses(void **state)
{
    (void)state;
    update(-GIB, GIB, 0, RW);
    update(0, PAGE, GIB, RW);
    assert_int_equal(found(UINT64_MAX, 2, HG_PERM_READ, GIB - 1), 1); /* does not wrap */
    assert_int_equal(found(-GIB, GIB, HG_PERM_READ, 0), GIB);
    invalidate(UINT64_MAX - 5, UINT64_MAX);
    assert_int_equal(entries(), 1);
    assert_int_equal(found(0, 1, HG_PERM_READ, GIB), 1);
}

static void follows_regions_that_follow_each_other(void **state)
{
    struct hg_hint hint = {0};
    uint8_t *host;

    (void)state;
    update(GIB, 2 * GIB, REGION - GIB, RW);
    assert_int_equal(hg_space_at(&space, &hint, 2 * GIB - 8, 16, HG_PERM_READ, &host), 8);
    assert_ptr_equal(host, reserved + REGION - 8);
    assert_int_equal(hg_space_at(&space, &hint, 2 * GIB, 8, HG_PERM_READ, &host), 8);
    assert_ptr_equal(host, space.region[1].host);
    /* Inside a page they may not change. */
    assert_int_equal(hg_iotlb_update(iotlb, &space, 0, PAGE, USER_OTHER - 8, RW, NULL), -EFAULT);
}

static void refuses_what_makes_no_sense(void **state)
{
    static const struct {
        uint64_t iova, size, user;
        unsigned perm;
        int rc;
    } bad[] = {
        {0, 0, USER, RW, -EINVAL},
        {8, PAGE, USER, RW, -EINVAL},
        {0, PAGE + 8, USER, RW, -EINVAL},
        {0, PAGE, USER, 4, -EINVAL},
        {-UINT64_C(4096), 2 * PAGE, USER, RW, -EINVAL},
        {0, PAGE, USER - PAGE, RW, -EFAULT},
        {0, 2 * PAGE, USER_OTHER + REGION - PAGE, RW, -EFAULT},
        {0, -UINT64_C(4096), USER, RW, -EFAULT},
        {0, 2 * PAGE, -UINT64_C(4096), RW, -EFAULT},
    };

    (void)state;
    update(0, PAGE, 0, RW);
    for (size_t i = 0; i < HG_ARRAY_N(bad); i++) {
        struct hg_err err = {""};

        assert_int_equal(hg_iotlb_update(iotlb, &space, bad[i].iova, bad[i].size, bad[i].user,
                                         bad[i].perm, &err),
                         bad[i].rc);
        assert_non_null(strstr(err.text, "IOTLB update"));
    }
    assert_int_equal(found(0, 1, HG_PERM_READ, 0), 1);
    assert_int_equal(entries(), 1);
}

static void says_when_there_is_nothing_to_wait_for(void **state)
{
    (void)state;
    update(0, PAGE, 0, RW);
    assert_false(hg_iotlb_unpublish(iotlb, PAGE, PAGE));
    assert_true(hg_iotlb_unpublish(iotlb, 0, PAGE));
    assert_true(hg_iotlb_unpublish(iotlb, 0, PAGE)); /* the first is still under way */
    hg_qsbr_wait();
    hg_iotlb_settle(iotlb);
    assert_false(hg_iotlb_unpublish(iotlb, 0, PAGE));
    assert_false(hg_iotlb_unpublish(iotlb, 0, 0));
}

static void forgets_everything_at_once(void **state)
{
    (void)state;
    for (unsigned way = 0; way < 3; way++) {
        for (uint64_t i = 0; i < 700; i++)
            update(i * 3 * PAGE, PAGE, i * PAGE, RW);
        assert_int_equal(entries(), 700);
        if (way == 0)
            assert_true(hg_iotlb_unpublish(iotlb, 12345, 0));
        else if (way == 1)
            assert_true(hg_iotlb_unpublish(iotlb, 0, UINT64_MAX));
        else
            assert_true(hg_iotlb_unpublish_host(iotlb, reserved, REGION));
        assert_int_equal(entries(), 0);
        for (uint64_t i = 0; i < 700; i++)
            assert_false(has(i * 3 * PAGE));
        hg_qsbr_wait();
        hg_iotlb_settle(iotlb);
    }
}

static void forgets_what_lies_in_a_region(void **state)
{
    (void)state;
    update(0, PAGE, REGION - PAGE, RW);
    update(PAGE, PAGE, REGION, RW);
    update(2 * MIB, 2 * MIB, REGION + PAGE, RW);
    assert_true(hg_iotlb_unpublish_host(iotlb, space.region[1].host, space.region[1].size));
    assert_true(has(0));
    assert_int_equal(entries(), 1);
}

static void stays_within_its_bound(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 10 * ENTRIES; i++) {
        update(i * 2 * PAGE, PAGE, i * PAGE, RW);
        assert_int_equal(found(i * 2 * PAGE, 1, HG_PERM_READ, i * PAGE), 1); /* the new one is in */
        assert_true(entries() <= ENTRIES);
    }
    assert_true(entries() > ENTRIES * 9 / 10);
    assert_int_equal(hg_iotlb_info(iotlb).evictions, 10 * ENTRIES - entries());
}

/* Whatever the strides of addresses: a multiplier that crowds one is given up. */
static void finds_nearly_all_in_the_first_bucket(void **state)
{
    enum { PAGES = 600 };
    uint64_t quick = 0;
    uint64_t all = 0;

    (void)state;
    for (uint64_t stride = 1; stride < UINT64_C(1) << 30; stride += 1 + stride / 2) {
        hg_iotlb_unpublish(iotlb, 0, 0);
        hg_iotlb_settle(iotlb);
        for (uint64_t i = 0; i < PAGES; i++)
            update(i * stride * PAGE, PAGE, i * PAGE, RW);
        for (uint64_t i = 0; i < PAGES; i++) {
            struct hg_iotlb_block block;

            assert_true(hg_iotlb_find(iotlb, i * stride * PAGE, &block));
            quick += hg_iotlb_find_quick(iotlb, i * stride * PAGE, &block);
        }
        all += PAGES;
    }
    assert_true(quick >= all * 9 / 10);
}

/* An update of more blocks than there is room for: what was asked for is in, wherever it lies. */
static void brings_in_what_was_asked_for(void **state)
{
    static struct hg_asks asks = {.wake_fd = -1};
    struct hg_ask miss;

    (void)state;
    for (uint64_t addr = PAGE; addr < 2 * GIB - PAGE; addr = addr * 3 / PAGE * PAGE) {
        hg_iotlb_ask(iotlb, &asks, addr, HG_PERM_READ);
        hg_asks_flush(&asks);
        assert_true(hg_iotlb_next_miss(iotlb, &asks, 0, &miss));
        update(PAGE, 2 * GIB - 2 * PAGE, 0, RW); /* 2044 blocks */
        assert_int_equal(found(addr, 1, HG_PERM_READ, addr - PAGE), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(knows_what_it_was_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cuts_ranges_into_the_largest_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(joins_blocks_whose_hosts_go_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(joins_so_many_and_goes_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(never_lends_a_permission_by_a_hint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replaces_upgrades_and_downgrades, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reaches_both_ends_of_the_addresses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(follows_regions_that_follow_each_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_makes_no_sense, set_up, tear_down),
        cmocka_unit_test_setup_teardown(says_when_there_is_nothing_to_wait_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forgets_everything_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forgets_what_lies_in_a_region, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stays_within_its_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(finds_nearly_all_in_the_first_bucket, set_up, tear_down),
        cmocka_unit_test_setup_teardown(brings_in_what_was_asked_for, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
