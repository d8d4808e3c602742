#include "mem/foreign.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "emulated.h"

#include "base/shm.h"
#include "peer/sigbus.h"

enum { PAGE = 4096, PAGES = 1024, BYTES = PAGES * PAGE };

static struct hg_foreign *foreign;
static uint8_t *base;
static int fd;

static void open_file(unsigned flags, size_t bytes)
{
    fd = memfd_create("guest", MFD_CLOEXEC | flags);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
}

static void map_file(size_t bytes, size_t page_bytes)
{
    struct hg_err err;

    foreign = hg_foreign_map(fd, 0, bytes, page_bytes, &err);
    if (foreign == NULL)
        fail_msg("%s", err.text);
    base = hg_foreign_base(foreign);
}

/* How many times the event was raised since the last call. */
static uint64_t take_signals(void)
{
    eventfd_t n;

    return eventfd_read(hg_foreign_event(), &n) == 0 ? n : 0;
}

static int set_up(void **state)
{
    (void)state;
    open_file(0, BYTES);
    map_file(BYTES, PAGE);
    memset(base, 7, BYTES);
    take_signals();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hg_foreign_unmap(foreign);
    close(fd);
    return 0;
}

static void shrink_to(size_t bytes)
{
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
}

static uint8_t look(size_t at)
{
    return *(volatile uint8_t *)(base + at); /* volatile: also when nobody wants to know */
}

static void a_sound_mapping_is_the_file(void **state)
{
    size_t at;

    (void)state;
    sigbus_restore();
    assert_int_equal(pwrite(fd, "x", 1, BYTES - 1), 1);
    assert_int_equal(look(BYTES - 1), 'x');
    assert_false(hg_foreign_lost(foreign, &at));
    assert_int_equal(take_signals(), 0);
}

static void an_access_to_missing_memory_completes(void **state)
{
    uint8_t bytes[3 * PAGE];
    size_t at;

    (void)state;
    sigbus_restore();
    shrink_to(8 * PAGE);
    hg_shm_in(bytes, base + 7 * PAGE, sizeof(bytes)); /* from the file's last page on */
    assert_int_equal(bytes[PAGE - 1], 7);
    assert_int_equal(bytes[PAGE], 0);
    assert_true(hg_foreign_lost(foreign, &at));
    assert_in_range(at, 8 * PAGE, 10 * PAGE - 1); /* a copy may begin at its end */
    assert_int_equal(look(0), 7);
    assert_int_equal(look(BYTES - 1), 0);
    assert_in_range(take_signals(), 1, 2);

    /* What is written is kept, for nobody else. */
    hg_shm_out(base + BYTES - PAGE, "y", 1);
    assert_int_equal(look(BYTES - PAGE), 'y');
    assert_int_equal(take_signals(), 0);
    shrink_to(BYTES);
    assert_int_equal(pread(fd, bytes, 1, BYTES - PAGE), 1);
    assert_int_equal(bytes[0], 0);
}

static void the_first_loss_is_the_one_that_counts(void **state)
{
    size_t at;

    (void)state;
    sigbus_restore();
    shrink_to(0);
    look(600 * PAGE + 5);
    look(3);
    assert_true(hg_foreign_lost(foreign, &at));
    assert_int_equal(at, 600 * PAGE + 5);
}

static void the_memory_may_come_back(void **state)
{
    size_t at;

    (void)state;
    sigbus_restore();
    shrink_to(0);
    shrink_to(BYTES);
    assert_int_equal(look(PAGE), 0);
    assert_false(hg_foreign_lost(foreign, &at));
    shrink_to(0);
    look(PAGE);
    shrink_to(BYTES);
    look(0);
    assert_true(hg_foreign_lost(foreign, &at));
}

static void few_signals_however_it_is_met(void **state)
{
    (void)state;
    sigbus_restore();
    shrink_to(0);
    for (size_t page = PAGES; page > 0; page--)
        look((page - 1) * PAGE);
    assert_in_range(take_signals(), 2, 11);
}

static void an_entry_begins_anew(void **state)
{
    size_t at;

    (void)state;
    sigbus_restore();
    shrink_to(0);
    look(0);
    hg_foreign_unmap(foreign);
    shrink_to(BYTES);
    map_file(BYTES, PAGE);
    assert_false(hg_foreign_lost(foreign, &at));
    look(5);
    assert_false(hg_foreign_lost(foreign, &at));
}

static void huge_pages(void **state)
{
    enum { HUGE = 2 << 20, HUGE_BYTES = 4 * HUGE };
    size_t at;

    skip_if_emulated("maps files of hugepages at addresses that are not aligned to them");
    (void)state;
    sigbus_restore();
    tear_down(NULL);
    fd = memfd_create("guest", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
    if (fd >= 0 && ftruncate(fd, HUGE_BYTES) == 0 && fallocate(fd, 0, 0, HUGE_BYTES) == 0) {
        map_file(HUGE_BYTES, HUGE);
        memset(base, 7, HUGE_BYTES);
        shrink_to(HUGE);
        assert_int_equal(look(3 * HUGE + 12345), 0);
        assert_int_equal(look(HUGE + 1), 0);
        assert_int_equal(look(HUGE - 1), 7);
        assert_true(hg_foreign_lost(foreign, &at));
        assert_int_equal(at, 3 * HUGE + 12345);
        hg_foreign_unmap(foreign);
    } else {
        print_message("# not tried: no huge pages are free\n");
    }
    if (fd >= 0)
        close(fd);
    set_up(NULL);
}

static atomic_uint under_way;

static void *walk(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&under_way, 1);
    while (atomic_load(&under_way) != 4)
        ;
    for (size_t at = 0; at < BYTES; at += PAGE / 2) {
        hg_shm_load16(base + at);
        hg_shm_store16(base + at, 1);
    }
    return NULL;
}

/* Four threads meet the missing pages at once, while other mappings come and go. */
static void threads_meet_it_at_once(void **state)
{
    size_t at;

    (void)state;
    sigbus_restore();
    for (unsigned round = 0; round < 50; round++) {
        pthread_t thread[4];
        struct hg_foreign *other;

        shrink_to(PAGE * (round % 5));
        atomic_store(&under_way, 0);
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&thread[i], NULL, walk, NULL), 0);
        for (unsigned i = 0; i < 20; i++) {
            other = hg_foreign_map(fd, 0, PAGE, PAGE, NULL);
            assert_non_null(other);
            assert_false(hg_foreign_lost(other, &at));
            hg_foreign_unmap(other);
        }
        for (unsigned i = 0; i < 4; i++)
            pthread_join(thread[i], NULL);
        assert_true(hg_foreign_lost(foreign, &at));
        hg_foreign_unmap(foreign);
        shrink_to(BYTES);
        map_file(BYTES, PAGE);
    }
}

/* How a child ends that does something to itself. */
static int end_of_child(void (*act)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        close(STDERR_FILENO); /* a sanitizer's report, which is wanted here */
        act();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void touch_other_memory(void)
{
    volatile uint8_t *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (map != MAP_FAILED && ftruncate(fd, 0) == 0)
        map[0] = 1;
}

static void send_the_signal(void)
{
    kill(getpid(), SIGBUS);
}

static void other_signals_end_the_process(void **state)
{
    (void)state;
    sigbus_restore();
    assert_int_not_equal(end_of_child(touch_other_memory), 0);
    assert_int_not_equal(end_of_child(send_the_signal), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_sound_mapping_is_the_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_access_to_missing_memory_completes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_first_loss_is_the_one_that_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_memory_may_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(few_signals_however_it_is_met, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_begins_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(huge_pages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(threads_meet_it_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_signals_end_the_process, set_up, tear_down),
    };

    sigbus_remember();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
