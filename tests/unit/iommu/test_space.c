#include "iommu/space.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILE_BYTES = 1 << 20, PAGE = 4096 };

static struct hg_space space;
static struct hg_hint hint;
static int fd;

static int set_up(void **state)
{
    (void)state;
    memset(&space, 0, sizeof(space));
    memset(&hint, 0, sizeof(hint));
    fd = memfd_create("guest", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, FILE_BYTES), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hg_space_clear(&space);
    close(fd);
    return 0;
}

static void add(uint64_t guest, uint64_t user, uint64_t size, uint64_t offset)
{
    struct hg_err err;

    assert_int_equal(hg_space_add(&space, guest, user, size, offset, fd, &err), 0);
}

static void expect_refused(uint64_t guest, uint64_t user, uint64_t size, uint64_t offset,
                           const char *words)
{
    struct hg_err err;
    unsigned n = space.n;

    assert_int_equal(hg_space_add(&space, guest, user, size, offset, fd, &err), -EINVAL);
    assert_non_null(strstr(err.text, words));
    assert_int_equal(space.n, n);
}

static void shows_the_file_at_the_offset(void **state)
{
    uint8_t *host;

    (void)state;
    add(0x10000, 0x7f0000000000, 2 * PAGE, PAGE + 100); /* an offset inside a page */
    assert_int_equal(pwrite(fd, "here", 4, PAGE + 100 + 50), 4);
    assert_int_equal(hg_space_at(&space, &hint, 0x10000 + 50, 4, HG_PERM_READ, &host), 4);
    assert_memory_equal(host, "here", 4);
    assert_ptr_equal(hg_space_user(&space, 0x7f0000000000 + 50, 4), host);
}

static void answers_with_and_without_the_hint_alike(void **state)
{
    uint8_t *host;

    (void)state;
    add(0, 0x1000000, 4 * PAGE, 0);
    add(0x100000, 0x2000000, 4 * PAGE, 4 * PAGE);
    for (unsigned round = 0; round < 4; round++) {
        uint64_t addr = round % 2 == 0 ? 16 : 0x100000 + 16;

        assert_int_equal(hg_space_at(&space, &hint, addr, 8, HG_PERM_WRITE, &host), 8);
        assert_ptr_equal(host, space.region[round % 2].host + 16);
    }
}

static void gives_the_part_up_to_a_regions_end(void **state)
{
    uint8_t *host;

    (void)state;
    add(0, 0x1000000, PAGE, 0);
    add(PAGE, 0x2000000, PAGE, 8 * PAGE); /* next to it for the guest, not here */
    assert_int_equal(hg_space_at(&space, &hint, PAGE - 10, 30, HG_PERM_READ, &host), 10);
    assert_int_equal(hg_space_at(&space, &hint, PAGE, 20, HG_PERM_READ, &host), 20);
    assert_ptr_equal(host, space.region[1].host);
    assert_int_equal(hg_space_at(&space, &hint, 2 * PAGE - 1, 2, HG_PERM_READ, &host), 1);
}

static void knows_nothing_outside(void **state)
{
    uint8_t *host;

    (void)state;
    add(0x10000, 0x1000000, PAGE, 0);
    assert_int_equal(hg_space_at(&space, &hint, 0x10000 - 1, 1, HG_PERM_READ, &host), 0);
    assert_int_equal(hg_space_at(&space, &hint, 0x10000 + PAGE, 1, HG_PERM_READ, &host), 0);
    assert_int_equal(hg_space_at(&space, &hint, UINT64_MAX, 1, HG_PERM_READ, &host), 0);
    /* And the same when the hint is warm. */
    assert_int_equal(hg_space_at(&space, &hint, 0x10000, 1, HG_PERM_READ, &host), 1);
    assert_int_equal(hg_space_at(&space, &hint, 0x10000 - 1, 1, HG_PERM_READ, &host), 0);
    assert_int_equal(hg_space_at(&space, &hint, 0x10000 + PAGE, 1, HG_PERM_READ, &host), 0);
    /* A length that wraps 2^64 gets what is there. */
    assert_int_equal(hg_space_at(&space, &hint, 0x10000 + 96, UINT64_MAX, HG_PERM_READ, &host),
                     PAGE - 96);
    assert_null(hg_space_user(&space, 0x1000000 + PAGE - 4, 8));
    assert_null(hg_space_user(&space, 0x1000000 - 4, 8));
    assert_null(hg_space_user(&space, UINT64_MAX - 2, 8));
}

static void refuses_what_makes_no_sense(void **state)
{
    (void)state;
    add(0x10000, 0x1000000, 4 * PAGE, 0);
    expect_refused(0x90000, 0x9000000, 0, 0, "empty or wraps");
    expect_refused(UINT64_MAX - PAGE + 2, 0x9000000, PAGE, 0, "empty or wraps");
    expect_refused(0x90000, UINT64_MAX - PAGE + 2, PAGE, 0, "empty or wraps");
    expect_refused(0x10000 + PAGE, 0x9000000, PAGE, 0, "overlaps");
    expect_refused(0x10000 - PAGE, 0x9000000, 2 * PAGE, 0, "overlaps");
    expect_refused(0x90000, 0x1000000 + PAGE, PAGE, 0, "overlaps");
    expect_refused(0x90000, 0x9000000, PAGE, FILE_BYTES, "does not fit its file");
    expect_refused(0x90000, 0x9000000, FILE_BYTES, PAGE, "does not fit its file");
    expect_refused(0x90000, 0x9000000, PAGE, UINT64_MAX - 100, "does not fit its file");
}

static void takes_the_last_addresses_there_are(void **state)
{
    uint8_t *host;

    (void)state;
    add(UINT64_MAX - PAGE + 1, 0x1000000, PAGE, 0);
    assert_int_equal(hg_space_at(&space, &hint, UINT64_MAX, 1, HG_PERM_READ, &host), 1);
    assert_int_equal(hg_space_at(&space, &hint, 0, 1, HG_PERM_READ, &host), 0);
}

static void holds_so_many_and_says_so(void **state)
{
    struct hg_err err;

    (void)state;
    for (uint64_t i = 0; i < HG_REGIONS_MAX; i++)
        add(i << 32, (i + 1) << 32, PAGE, i * PAGE);
    assert_int_equal(hg_space_add(&space, UINT64_C(1) << 50, UINT64_C(1) << 50, PAGE, 0, fd, &err),
                     -ENOSPC);
    hg_space_clear(&space);
    assert_int_equal(space.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(shows_the_file_at_the_offset, set_up, tear_down),
        cmocka_unit_test_setup_teardown(answers_with_and_without_the_hint_alike, set_up, tear_down),
        cmocka_unit_test_setup_teardown(gives_the_part_up_to_a_regions_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(knows_nothing_outside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refuses_what_makes_no_sense, set_up, tear_down),
        cmocka_unit_test_setup_teardown(takes_the_last_addresses_there_are, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holds_so_many_and_says_so, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
