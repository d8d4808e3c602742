#include "mem/arena.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "emulated.h"
#include "listen.h"

enum { MIB = 1024 * 1024 };

static const struct hg_arena_options ordinary = {
    .name = "test", .bytes = 3 * MIB + 1, .pages = HG_PAGES_4K};

/* Accounted for as in a release in every build. */
static const struct hg_arena_options shared = {
    .name = "test", .bytes = 3 * MIB + 1, .pages = HG_PAGES_4K, .shared = true};

static void take_all(struct hg_arena *arena)
{
    struct hg_arena_info info = hg_arena_info(arena);

    assert_ptr_equal(hg_arena_take(arena, "all", info.bytes, 1), info.base);
}

static uint64_t free_hugepages(unsigned kib)
{
    char path[96];
    char line[32] = "";
    FILE *file;

    snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%ukB/free_hugepages", kib);
    file = fopen(path, "re");
    if (file) {
        if (!fgets(line, sizeof(line), file))
            line[0] = '\0';
        fclose(file);
    }
    return strtoull(line, NULL, 10);
}

static void is_whole_pages_zeroed_and_writable(void **state)
{
    struct hg_arena *arena;
    struct hg_arena_info info;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &ordinary, NULL), 0);
    info = hg_arena_info(arena);
    assert_string_equal(info.name, "test");
    assert_int_equal(info.page_bytes, sysconf(_SC_PAGESIZE));
    assert_true(info.bytes >= ordinary.bytes);
    assert_int_equal(info.bytes % info.page_bytes, 0);
    assert_int_equal(info.used_bytes, 0);
    assert_int_equal(info.node, -1);
    take_all(arena);
    for (uint64_t i = 0; i < info.bytes; i++)
        assert_int_equal(info.base[i], 0);
    memset(info.base, 0xff, info.bytes);
    hg_arena_free(arena);
}

static void is_there_before_it_is_used(void **state)
{
    struct hg_arena *arena;
    struct hg_arena_info info;
    struct rusage before, after;
    unsigned char resident[4 * MIB / 4096];

    skip_if_emulated("its own memory counts among the faults");
    (void)state;
    assert_int_equal(hg_arena_new(&arena, &ordinary, NULL), 0);
    info = hg_arena_info(arena);
    assert_int_equal(mincore(info.base, info.bytes, resident), 0);
    for (uint64_t i = 0; i < info.bytes / info.page_bytes; i++)
        assert_true(resident[i] & 1);
    take_all(arena);
    getrusage(RUSAGE_SELF, &before);
    for (uint64_t i = 0; i < info.bytes; i += info.page_bytes)
        *(volatile uint8_t *)(info.base + i) = 1;
    getrusage(RUSAGE_SELF, &after);
    /* Sanitizers touch memory of their own. */
    assert_true(after.ru_minflt - before.ru_minflt < 400);
    hg_arena_free(arena);
}

static void allocates_aligned_and_accounts(void **state)
{
    struct hg_arena *arena;
    const struct hg_allocation *allocation;
    uint8_t *a, *b, *c;
    unsigned n;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &shared, NULL), 0);
    a = hg_arena_take(arena, "a", 10, 1);
    b = hg_arena_take(arena, "a name of more than thirty-one bytes", 100, 64);
    c = hg_arena_take(arena, "c", 1, 4096);
    assert_non_null(c);
    assert_int_equal(hg_arena_offset(arena, a), 0);
    assert_int_equal(hg_arena_offset(arena, b), 64);
    assert_int_equal(hg_arena_offset(arena, c), 4096);
    assert_int_equal(hg_arena_info(arena).used_bytes, 4097);

    allocation = hg_arena_allocations(arena, &n);
    assert_int_equal(n, 3);
    assert_string_equal(allocation[0].name, "a");
    assert_string_equal(allocation[1].name, "a name of more than thirty-one ");
    assert_int_equal(allocation[1].offset, 64);
    assert_int_equal(allocation[1].bytes, 100);
    hg_arena_free(arena);
}

static void says_no_when_it_is_full_and_loses_nothing(void **state)
{
    struct hg_arena *arena;
    uint64_t bytes;
    unsigned n;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &shared, NULL), 0);
    bytes = hg_arena_info(arena).bytes;
    assert_non_null(hg_arena_take(arena, "one", 1, 1));
    assert_null(hg_arena_take(arena, "too much", bytes, 1));
    assert_null(hg_arena_take(arena, "wraps", UINT64_MAX, 1));
    assert_null(hg_arena_take(arena, "too much with padding", bytes - 1, 64));
    assert_null(hg_arena_take(arena, "aligned behind the end", 1, UINT64_C(1) << 62));
    assert_int_equal(hg_arena_info(arena).used_bytes, 1);
    assert_non_null(hg_arena_take(arena, "rest", bytes - 1, 1));
    assert_null(hg_arena_take(arena, "more", 1, 1));
    assert_non_null(hg_arena_take(arena, "nothing", 0, 1));
    for (int i = 0; i < 100; i++)
        assert_non_null(hg_arena_take(arena, "nothing", 0, 1));
    hg_arena_allocations(arena, &n);
    assert_int_equal(n, 103);
    hg_arena_free(arena);
}

static void can_be_shared_and_not_be_shrunk(void **state)
{
    struct hg_arena *arena;
    struct hg_arena_info info;
    uint8_t *object, *elsewhere;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &ordinary, NULL), 0);
    info = hg_arena_info(arena);
    hg_arena_take(arena, "before", 5000, 1);
    object = hg_arena_take(arena, "object", 16, 64);
    elsewhere = mmap(NULL, info.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, info.fd, 0);
    assert_true(elsewhere != MAP_FAILED);
    object[3] = 42;
    assert_int_equal(elsewhere[hg_arena_offset(arena, object) + 3], 42);
    munmap(elsewhere, info.bytes);

    assert_int_equal(ftruncate(info.fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(info.fd, 2 * (off_t)info.bytes), -1);
    hg_arena_free(arena);
}

/* How a child ends that writes at `address`. */
static int signal_of_write(uint8_t *address)
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile uint8_t *)address = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void is_guarded_on_both_sides(void **state)
{
    struct hg_arena *arena;
    struct hg_arena_info info;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &ordinary, NULL), 0);
    info = hg_arena_info(arena);
    take_all(arena);
    assert_int_equal(signal_of_write(info.base + info.bytes - 1), 0);
    assert_int_equal(signal_of_write(info.base + info.bytes), SIGSEGV);
    assert_int_equal(signal_of_write(info.base - 1), SIGSEGV);
    hg_arena_free(arena);
}

/* Whether a child that does this comes to a bad end. */
static bool dies_of(void (*offend)(struct hg_arena *arena))
{
    int status;
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        struct hg_arena *arena;

        close(STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        if (hg_arena_new(&arena, &ordinary, NULL) == 0)
            offend(arena);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static void write_behind_and_free(struct hg_arena *arena)
{
    volatile uint8_t *object = hg_arena_take(arena, "object", 100, 1);

    object[100] = 1;
    hg_arena_free(arena);
}

static void write_far_behind_and_take(struct hg_arena *arena)
{
    volatile uint8_t *object = hg_arena_take(arena, "object", 100, 1);

    object[5000] = 1;
    hg_arena_take(arena, "next", 8192, 1);
}

static void write_into_padding(struct hg_arena *arena)
{
    volatile uint8_t *object = hg_arena_take(arena, "object", 100, 1);

    hg_arena_take(arena, "aligned", 1, 4096);
    object[4095] = 1;
    hg_arena_free(arena);
}

static void write_inside(struct hg_arena *arena)
{
    volatile uint8_t *object = hg_arena_take(arena, "object", 100, 1);
    volatile uint8_t *next = hg_arena_take(arena, "next", 1, 1);

    object[0] = 1;
    object[99] = 1;
    next[0] = 1;
    hg_arena_free(arena);
}

static void use_what_is_unpinned(struct hg_arena *arena)
{
    volatile uint8_t *object = hg_arena_take(arena, "object", 100, 1);

    hg_arena_pin(arena, (void *)object);
    object[99] = 1;
    hg_arena_unpin(arena, (void *)object);
    if (object[99] != 1) /* the marks of a debug build; AddressSanitizer does not come so far */
        abort();
}

static void debug_builds_find_writes_that_miss(void **state)
{
    bool debug = false;

    (void)state;
#ifdef HG_DEBUG
    debug = true;
#endif
    assert_int_equal(dies_of(write_inside), false);
    assert_int_equal(dies_of(write_behind_and_free), debug);
    assert_int_equal(dies_of(write_far_behind_and_take), debug);
    assert_int_equal(dies_of(write_into_padding), debug);
    assert_int_equal(dies_of(use_what_is_unpinned), debug);
}

/* Marks cost no room that a release would have. Sizes as users have them: exact sums. */
static void fences_take_no_room_away(void **state)
{
    enum { OBJECTS_N = 1000, BYTES = 4096 };
    const struct hg_arena_options options = {
        .name = "exact", .bytes = (uint64_t)OBJECTS_N * BYTES, .pages = HG_PAGES_4K};
    struct hg_arena *arena;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &options, NULL), 0);
    for (unsigned i = 0; i < OBJECTS_N; i++)
        assert_non_null(hg_arena_take(arena, "object", BYTES, i % 2 == 0 ? 64 : 4096));
    assert_int_equal(hg_arena_check(arena, &err), 0);
    hg_arena_free(arena);
}

static void leave_one_pinned(void)
{
    struct hg_arena *arena;
    void *a, *b;

    assert_int_equal(hg_arena_new(&arena, &ordinary, NULL), 0);
    hg_arena_take(arena, "plain", 10, 1);
    a = hg_arena_take(arena, "gone", 10, 1);
    b = hg_arena_take(arena, "forgotten", 10, 1);
    hg_arena_pin(arena, a);
    hg_arena_pin(arena, b);
    hg_arena_unpin(arena, a);
    hg_arena_free(arena);
}

static void names_what_is_still_in_use_when_it_is_freed(void **state)
{
    char text[512];

    (void)state;
    listen_to(leave_one_pinned, text, sizeof(text));
    assert_string_equal(text, "error: memory: 'test' is freed while 'forgotten' in it is in use\n");
}

static void comes_from_the_node_that_is_named(void **state)
{
    struct hg_arena_options options = ordinary;
    struct hg_arena *arena;
    struct hg_err err;

    (void)state;
    options.on_node = true;
    if (hg_arena_new(&arena, &options, &err) == 0) { /* some machines have no node 0 */
        assert_int_equal(hg_arena_info(arena).node, 0);
        hg_arena_free(arena);
    }
    options.node = 1023;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -ENODEV);
    assert_non_null(strstr(err.text, "memory 'test': NUMA node 1023 is not there; this machine"));
    options.node = UINT32_MAX;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -ENODEV);
    options.pages = HG_PAGES_AUTO;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -ENODEV);
}

static void see(void *context, const struct hg_arena *arena)
{
    strcat(context, hg_arena_info(arena).name);
    strcat(context, " ");
}

static void all_arenas_can_be_listed(void **state)
{
    struct hg_arena_options options = ordinary;
    struct hg_arena *arena[3];
    char names[64] = "";

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        options.name = (const char *[]){"a", "b", "c"}[i];
        assert_int_equal(hg_arena_new(&arena[i], &options, NULL), 0);
    }
    hg_arenas_each(see, names);
    assert_string_equal(names, "a b c ");
    hg_arena_free(arena[1]);
    names[0] = '\0';
    hg_arenas_each(see, names);
    assert_string_equal(names, "a c ");
    hg_arena_free(arena[0]);
    hg_arena_free(arena[2]);
    names[0] = '\0';
    hg_arenas_each(see, names);
    assert_string_equal(names, "");
}

static void refuses_sizes_that_cannot_be(void **state)
{
    struct hg_arena_options options = shared;
    struct hg_arena *arena;
    struct hg_err err;

    (void)state;
    options.bytes = 0;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -EINVAL);
    options.bytes = UINT64_MAX;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -EINVAL);
    assert_null(arena);
    options.bytes = UINT64_C(1) << 45;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "memory 'test': 33554432 MiB of memory are needed, "));
    options.pages = HG_PAGES_AUTO;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -ENOMEM);
}

static void says_how_to_get_missing_hugepages(void **state)
{
    struct hg_arena_options options = {.name = "pool", .bytes = UINT64_C(1) << 44};
    struct hg_arena *arena;
    struct hg_err err;

    (void)state;
    options.pages = HG_PAGES_2M;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "memory 'pool': "));
    assert_non_null(strstr(err.text, "pages of 2 MiB"));
    options.pages = HG_PAGES_1G;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -ENOMEM);
    assert_non_null(strstr(err.text, "pages of 1 GiB"));
}

static void takes_hugepages_where_there_are_any(void **state)
{
    struct hg_arena_options options = {.name = "huge", .bytes = 3 * MIB, .pages = HG_PAGES_2M};
    struct hg_arena *arena;
    struct hg_arena_info info;

    (void)state;
    if (free_hugepages(2048) < 2) {
        print_message("# not tested: no free pages of 2 MiB\n");
        return;
    }
    assert_int_equal(hg_arena_new(&arena, &options, NULL), 0);
    info = hg_arena_info(arena);
    assert_int_equal(info.page_bytes, 2 * MIB);
    assert_int_equal(info.bytes, 4 * MIB);
    assert_int_equal((uintptr_t)info.base % info.page_bytes, 0);
    take_all(arena);
    memset(info.base, 1, info.bytes);
    assert_int_equal(signal_of_write(info.base + info.bytes), SIGSEGV);
    assert_int_equal(signal_of_write(info.base - 1), SIGSEGV);
    assert_int_equal(ftruncate(info.fd, 0), -1);
    hg_arena_free(arena);

    options.pages = HG_PAGES_AUTO; /* 3 MiB would waste a third */
    assert_int_equal(hg_arena_new(&arena, &options, NULL), 0);
    assert_int_equal(hg_arena_info(arena).page_bytes, sysconf(_SC_PAGESIZE));
    hg_arena_free(arena);
    options.bytes = 4 * MIB;
    assert_int_equal(hg_arena_new(&arena, &options, NULL), 0);
    assert_int_equal(hg_arena_info(arena).page_bytes, 2 * MIB);
    hg_arena_free(arena);
}

static void takes_gigantic_pages_where_there_are_any(void **state)
{
    struct hg_arena_options options = {.name = "1G", .bytes = 1024 * MIB, .pages = HG_PAGES_AUTO};
    struct hg_arena *arena;

    (void)state;
    if (free_hugepages(1048576) < 1) {
        print_message("# not tested: no free page of 1 GiB\n");
        return;
    }
    assert_int_equal(hg_arena_new(&arena, &options, NULL), 0);
    assert_int_equal(hg_arena_info(arena).page_bytes, 1024 * MIB);
    take_all(arena);
    hg_arena_info(arena).base[1024 * MIB - 1] = 1;
    hg_arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_whole_pages_zeroed_and_writable),
        cmocka_unit_test(is_there_before_it_is_used),
        cmocka_unit_test(allocates_aligned_and_accounts),
        cmocka_unit_test(says_no_when_it_is_full_and_loses_nothing),
        cmocka_unit_test(can_be_shared_and_not_be_shrunk),
        cmocka_unit_test(is_guarded_on_both_sides),
        cmocka_unit_test(debug_builds_find_writes_that_miss),
        cmocka_unit_test(fences_take_no_room_away),
        cmocka_unit_test(names_what_is_still_in_use_when_it_is_freed),
        cmocka_unit_test(comes_from_the_node_that_is_named),
        cmocka_unit_test(all_arenas_can_be_listed),
        cmocka_unit_test(refuses_sizes_that_cannot_be),
        cmocka_unit_test(says_how_to_get_missing_hugepages),
        cmocka_unit_test(takes_hugepages_where_there_are_any),
        cmocka_unit_test(takes_gigantic_pages_where_there_are_any),
    };

    return cmocka_run_group_tests_name("mem/arena", tests, NULL, NULL);
}
