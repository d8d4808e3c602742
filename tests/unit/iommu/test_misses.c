/*
 * Misses on their way from a queue to control and back: nothing is asked twice, what is refused is seen,
 * and nothing is remembered for ever.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "iommu/space.h"

#define USER UINT64_C(0x7f0000000000)
#define RW   (HG_PERM_READ | HG_PERM_WRITE)
#define S    HG_IOTLB_MISS_TIMEOUT_NS

enum { PAGE = 4096, START_NS = 1000 };

static struct hg_space space;
static struct hg_iotlb *iotlb;
static struct hg_asks asks;
static struct hg_asks other_asks;

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(hg_iotlb_new(&iotlb, HG_IOTLB_ENTRIES_MIN, NULL), 0);
    memset(&space, 0, sizeof(space));
    space.iotlb = iotlb;
    space.n = 1;
    space.region[0] = (struct hg_region){
        .user_addr = USER, .size = UINT64_C(1) << 32, .host = (uint8_t *)(1 << 20)};
    memset(&asks, 0, sizeof(asks));
    asks.wake_fd = eventfd(0, EFD_NONBLOCK);
    other_asks = asks;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hg_iotlb_free(iotlb);
    close(asks.wake_fd);
    return 0;
}

static enum hg_lack lack(uint64_t addr, enum hg_perm perm)
{
    return hg_space_lack(&space, &asks, addr, perm);
}

/* How often control was woken since the last call. */
static uint64_t wakes(void)
{
    uint64_t n = 0;

    return read(asks.wake_fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void update(uint64_t iova, uint64_t size, unsigned perm)
{
    assert_int_equal(hg_iotlb_update(iotlb, &space, iova, size, USER + iova, perm, NULL), 0);
}

static void expect_miss(struct hg_asks *from, uint64_t now_ns, uint64_t addr, unsigned perm)
{
    struct hg_ask miss;

    assert_true(hg_iotlb_next_miss(iotlb, from, now_ns, &miss));
    assert_int_equal(miss.addr, addr);
    assert_int_equal(miss.perm, perm);
}

static void expect_no_miss(struct hg_asks *from)
{
    struct hg_ask miss;

    assert_false(hg_iotlb_next_miss(iotlb, from, START_NS, &miss));
}

/* Brings the IOTLB to the point at which a miss has been sent. */
static void send_miss(uint64_t addr, enum hg_perm perm)
{
    assert_int_equal(lack(addr, perm), HG_LACK_MISS);
    hg_asks_flush(&asks);
    expect_miss(&asks, START_NS, addr, perm);
}

static void asks_for_granules_once(void **state)
{
    (void)state;
    assert_int_equal(lack(5 * PAGE + 3, HG_PERM_READ), HG_LACK_MISS);
    assert_int_equal(lack(5 * PAGE + 7, HG_PERM_READ), HG_LACK_MISS);
    assert_int_equal(lack(5 * PAGE, HG_PERM_WRITE), HG_LACK_MISS); /* another question */
    hg_asks_flush(&asks);
    expect_miss(&asks, START_NS, 5 * PAGE, HG_PERM_READ);
    expect_miss(&asks, START_NS, 5 * PAGE, HG_PERM_WRITE);
    expect_no_miss(&asks);
    assert_int_equal(hg_iotlb_info(iotlb).pending, 2);
    assert_int_equal(lack(5 * PAGE, HG_PERM_READ), HG_LACK_MISS);
    hg_asks_flush(&asks);
    expect_no_miss(&asks);
    /* Nor for another queue, which cannot see what lies in the first one's ring. */
    hg_iotlb_ask(iotlb, &asks, 6 * PAGE, HG_PERM_READ);
    hg_iotlb_ask(iotlb, &other_asks, 6 * PAGE, HG_PERM_READ);
    hg_asks_flush(&asks);
    hg_asks_flush(&other_asks);
    expect_miss(&other_asks, START_NS, 6 * PAGE, HG_PERM_READ);
    expect_no_miss(&asks);
}

static void wakes_control_once_for_a_batch(void **state)
{
    (void)state;
    hg_asks_flush(&asks);
    assert_int_equal(wakes(), 0);
    for (uint64_t i = 0; i < 32; i++)
        lack(i * PAGE, HG_PERM_READ);
    assert_int_equal(wakes(), 0);
    hg_asks_flush(&asks);
    hg_asks_flush(&asks);
    assert_int_equal(wakes(), 1);
    lack(100 * PAGE, HG_PERM_READ); /* control has been told, and has not come yet */
    hg_asks_flush(&asks);
    assert_int_equal(wakes(), 0);
    for (uint64_t i = 0; i < 32; i++)
        expect_miss(&asks, START_NS, i * PAGE, HG_PERM_READ);
    expect_miss(&asks, START_NS, 100 * PAGE, HG_PERM_READ);
    lack(101 * PAGE, HG_PERM_READ);
    hg_asks_flush(&asks);
    assert_int_equal(wakes(), 1);
}

static void skips_what_is_known_by_now(void **state)
{
    (void)state;
    lack(PAGE, HG_PERM_READ);
    lack(2 * PAGE, HG_PERM_WRITE);
    hg_asks_flush(&asks);
    update(PAGE, PAGE, RW);
    update(2 * PAGE, PAGE, HG_PERM_READ); /* not what was asked for */
    expect_miss(&asks, START_NS, 2 * PAGE, HG_PERM_WRITE);
    expect_no_miss(&asks);
}

static void asks_again_for_what_did_not_fit(void **state)
{
    uint64_t answers;

    (void)state;
    for (uint64_t i = 0; i < HG_IOTLB_ASKS_N + 1; i++)
        assert_int_equal(lack(i * PAGE, HG_PERM_READ), HG_LACK_MISS);
    hg_asks_flush(&asks);
    answers = hg_iotlb_answers(iotlb);
    for (uint64_t i = 0; i < HG_IOTLB_ASKS_N; i++)
        expect_miss(&asks, START_NS, i * PAGE, HG_PERM_READ);
    expect_no_miss(&asks);
    assert_true(hg_iotlb_answers(iotlb) != answers); /* so the queue comes again */
    assert_int_equal(lack(HG_IOTLB_ASKS_N * PAGE, HG_PERM_READ), HG_LACK_MISS);
    hg_asks_flush(&asks);
    expect_miss(&asks, START_NS, HG_IOTLB_ASKS_N * PAGE, HG_PERM_READ);
}

static void leaves_with_the_queue_what_finds_no_room(void **state)
{
    uint64_t sent = 0;
    struct hg_ask miss;

    (void)state;
    for (;; sent++) {
        lack(sent * PAGE, HG_PERM_READ);
        hg_asks_flush(&asks);
        if (!hg_iotlb_next_miss(iotlb, &asks, START_NS, &miss))
            break;
    }
    assert_true(sent > HG_PENDING_MAX / 2);
    assert_true(sent <= HG_PENDING_MAX);
    assert_false(hg_iotlb_next_miss(iotlb, &asks, START_NS, &miss));
    update(0, sent * PAGE, RW);
    expect_miss(&asks, START_NS, sent * PAGE, HG_PERM_READ);
}

static void an_update_answers(void **state)
{
    uint64_t answers;

    (void)state;
    send_miss(3 * PAGE, HG_PERM_READ);
    answers = hg_iotlb_answers(iotlb);
    update(3 * PAGE, PAGE, RW);
    assert_true(hg_iotlb_answers(iotlb) != answers);
    assert_int_equal(hg_iotlb_info(iotlb).pending, 0);
}

static void an_answer_that_grants_less_is_a_fault_until_one_grants_it(void **state)
{
    (void)state;
    update(3 * PAGE, PAGE, HG_PERM_READ);
    send_miss(3 * PAGE, HG_PERM_WRITE); /* known, but not for this */
    update(3 * PAGE, PAGE, HG_PERM_READ);
    assert_int_equal(lack(3 * PAGE, HG_PERM_WRITE), HG_LACK_FAULT_PERMISSION);
    assert_int_equal(hg_iotlb_info(iotlb).pending, 0);
    update(0, UINT64_C(1) << 30, RW); /* an upgrade, in one large block */
    assert_int_equal(lack(3 * PAGE, HG_PERM_WRITE), HG_LACK_MISS);
    hg_asks_flush(&asks);
    expect_no_miss(&asks); /* since it is known */
}

static void a_refusal_is_a_fault(void **state)
{
    (void)state;
    send_miss(3 * PAGE, HG_PERM_READ);
    update(2 * PAGE, 4 * PAGE, 0);
    assert_int_equal(lack(3 * PAGE, HG_PERM_READ), HG_LACK_FAULT_UNMAPPED);
    assert_int_equal(lack(2 * PAGE, HG_PERM_READ), HG_LACK_MISS); /* nobody had asked for it */
}

static void an_unanswered_miss_is_a_fault_and_is_forgotten(void **state)
{
    uint64_t next_ns;

    (void)state;
    assert_false(hg_iotlb_expire(iotlb, START_NS, &next_ns));
    assert_int_equal(next_ns, UINT64_MAX);
    send_miss(3 * PAGE, HG_PERM_READ);
    assert_false(hg_iotlb_expire(iotlb, START_NS + S - 1, &next_ns));
    assert_int_equal(next_ns, START_NS + S);
    assert_true(hg_iotlb_expire(iotlb, START_NS + S, &next_ns));
    assert_int_equal(hg_iotlb_info(iotlb).timeouts, 1);
    assert_int_equal(lack(3 * PAGE, HG_PERM_READ), HG_LACK_FAULT_UNMAPPED);
    assert_int_equal(next_ns, START_NS + 2 * S);
    assert_false(hg_iotlb_expire(iotlb, START_NS + 2 * S, &next_ns));
    assert_int_equal(lack(3 * PAGE, HG_PERM_READ), HG_LACK_MISS);
    hg_asks_flush(&asks);
    expect_miss(&asks, START_NS + 2 * S, 3 * PAGE, HG_PERM_READ);
}

/* A miss that the front-end reads after it has unmapped the address is not answered. */
static void an_invalidation_forgets_faults_and_misses(void **state)
{
    uint64_t answers;

    (void)state;
    send_miss(3 * PAGE, HG_PERM_READ);
    update(3 * PAGE, PAGE, 0);
    send_miss(4 * PAGE, HG_PERM_READ);
    send_miss(5 * PAGE, HG_PERM_READ);
    answers = hg_iotlb_answers(iotlb);
    hg_iotlb_unpublish(iotlb, 3 * PAGE, 2 * PAGE);
    assert_true(hg_iotlb_answers(iotlb) != answers); /* so who waits comes again */
    assert_int_equal(hg_iotlb_info(iotlb).pending, 1);
    send_miss(3 * PAGE, HG_PERM_READ);
    send_miss(4 * PAGE, HG_PERM_READ);
    assert_int_equal(lack(5 * PAGE, HG_PERM_READ), HG_LACK_MISS);
    hg_asks_flush(&asks);
    expect_no_miss(&asks);
    assert_int_equal(hg_iotlb_info(iotlb).pending, 3);
    hg_iotlb_forget_misses(iotlb);
    assert_int_equal(hg_iotlb_info(iotlb).pending, 0);
}

/* Asked for between a look-up that failed and the entry's arrival, then used, unmapped and taken back, all
 * before control has read what was asked. */
static void what_is_out_of_date_is_not_sent(void **state)
{
    (void)state;
    lack(3 * PAGE, HG_PERM_READ);
    lack(4 * PAGE, HG_PERM_READ);
    hg_asks_flush(&asks);
    update(3 * PAGE, PAGE, RW);
    hg_iotlb_unpublish(iotlb, 3 * PAGE, PAGE);
    expect_miss(&asks, START_NS, 4 * PAGE, HG_PERM_READ);
    expect_no_miss(&asks);
    send_miss(3 * PAGE, HG_PERM_READ); /* the address is in use again */
}

/* Which would wait for its answer for ever. */
static void what_control_asks_for_is_sent(void **state)
{
    (void)state;
    asks.control = true;
    lack(3 * PAGE, HG_PERM_READ);
    hg_asks_flush(&asks);
    hg_iotlb_unpublish(iotlb, 0, 0);
    expect_miss(&asks, START_NS, 3 * PAGE, HG_PERM_READ);
}

static void what_may_be_out_of_date_is_not_sent(void **state)
{
    (void)state;
    lack(3 * PAGE, HG_PERM_READ);
    hg_asks_flush(&asks);
    for (uint64_t i = 0; i < HG_IOTLB_TAKEN_N - 1; i++)
        hg_iotlb_unpublish(iotlb, (4 + i) * PAGE, PAGE);
    expect_miss(&asks, START_NS, 3 * PAGE, HG_PERM_READ); /* nothing that was taken back is it */
    lack(2 * PAGE, HG_PERM_READ);
    hg_asks_flush(&asks);
    for (uint64_t i = 0; i < HG_IOTLB_TAKEN_N; i++)
        hg_iotlb_unpublish(iotlb, (4 + i) * PAGE, PAGE);
    expect_no_miss(&asks); /* more than is remembered */
    send_miss(2 * PAGE, HG_PERM_READ);
}

static void without_an_iotlb_all_is_a_fault(void **state)
{
    (void)state;
    space.iotlb = NULL;
    assert_int_equal(lack(0, HG_PERM_READ), HG_LACK_FAULT_UNMAPPED);
    assert_string_equal(hg_iommu_fault_name(HG_FAULT_UNMAPPED), "unmapped");
    assert_string_equal(hg_iommu_fault_name(HG_FAULT_PERMISSION), "permission");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(asks_for_granules_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wakes_control_once_for_a_batch, set_up, tear_down),
        cmocka_unit_test_setup_teardown(skips_what_is_known_by_now, set_up, tear_down),
        cmocka_unit_test_setup_teardown(asks_again_for_what_did_not_fit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(leaves_with_the_queue_what_finds_no_room, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_update_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_that_grants_less_is_a_fault_until_one_grants_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refusal_is_a_fault, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unanswered_miss_is_a_fault_and_is_forgotten, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_invalidation_forgets_faults_and_misses, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_out_of_date_is_not_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_control_asks_for_is_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_may_be_out_of_date_is_not_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_an_iotlb_all_is_a_fault, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
