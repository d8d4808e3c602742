/* Mappers see exactly the memory that there is; IOVAs are what the kernel says. */
#include "mem/mapper.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "emulated.h"
#include "mem/arena.h"

enum { MIB = 1024 * 1024, RANGES_MAX = 64, ARENAS_MAX = 6 };

/* A mapper that keeps its ranges, as an IOMMU would, and can be made to fail. */
struct book {
    struct hg_mapper mapper;
    struct hg_dma_range range[RANGES_MAX];
    unsigned n;
    unsigned fail_after; /* calls of map() that succeed */
};

static int book_map(void *context, const struct hg_dma_range *range, struct hg_err *err)
{
    struct book *book = context;

    if (book->fail_after == 0)
        return hg_err_set(err, ENOSPC, "the table is full");
    book->fail_after--;
    assert_true(range->bytes != 0 && range->bytes % range->page_bytes == 0);
    assert_true(book->n < RANGES_MAX);
    book->range[book->n++] = *range;
    return 0;
}

static void book_unmap(void *context, const struct hg_dma_range *range)
{
    struct book *book = context;
    unsigned i = 0;

    while (i < book->n && memcmp(&book->range[i], range, sizeof(*range)) != 0)
        i++;
    assert_true(i < book->n); /* exactly what was mapped */
    book->range[i] = book->range[--book->n];
}

static struct book new_book(unsigned fail_after)
{
    return (struct book){.mapper = {.name = "book", .map = book_map, .unmap = book_unmap},
                         .fail_after = fail_after};
}

static int new_arena(struct hg_arena **arena, struct hg_err *err)
{
    const struct hg_arena_options options = {.name = "a", .bytes = 100000, .pages = HG_PAGES_4K};

    return hg_arena_new(arena, &options, err);
}

static bool holds(const struct book *book, const struct hg_arena *arena)
{
    struct hg_arena_info info = hg_arena_info(arena);

    for (unsigned i = 0; i < book->n; i++)
        if (book->range[i].address == info.base && book->range[i].bytes == info.bytes &&
            book->range[i].iova == (uintptr_t)info.base &&
            book->range[i].page_bytes == info.page_bytes)
            return true;
    return false;
}

static void sees_memory_that_exists_and_that_comes_and_goes(void **state)
{
    struct book book = new_book(UINT32_MAX);
    struct hg_arena *before, *after;

    (void)state;
    book.mapper.context = &book;
    assert_int_equal(new_arena(&before, NULL), 0);
    assert_int_equal(hg_mapper_register(&book.mapper, NULL), 0);
    assert_int_equal(book.n, 1);
    assert_true(holds(&book, before));
    assert_int_equal(new_arena(&after, NULL), 0);
    assert_int_equal(book.n, 2);
    assert_true(holds(&book, after));
    hg_arena_free(before);
    assert_int_equal(book.n, 1);
    hg_mapper_unregister(&book.mapper);
    assert_int_equal(book.n, 0);
    hg_arena_free(after);
}

static void errors_reach_who_asked_and_leave_nothing_behind(void **state)
{
    struct book sound = new_book(UINT32_MAX), full = new_book(1);
    struct hg_arena *arena[2], *more;
    struct hg_err err;

    (void)state;
    sound.mapper.context = &sound;
    full.mapper.context = &full;
    assert_int_equal(hg_mapper_register(&sound.mapper, NULL), 0);
    assert_int_equal(new_arena(&arena[0], NULL), 0);
    assert_int_equal(new_arena(&arena[1], NULL), 0);

    assert_int_equal(hg_mapper_register(&full.mapper, &err), -ENOSPC);
    assert_string_equal(err.text, "book: cannot map memory 'a' for devices: the table is full");
    assert_int_equal(full.n, 0);
    full.fail_after = 2;
    assert_int_equal(hg_mapper_register(&full.mapper, &err), 0);
    assert_int_equal(full.n, 2);

    assert_int_equal(new_arena(&more, &err), -ENOSPC);
    assert_null(more);
    assert_string_equal(err.text,
                        "memory 'a': book: cannot map memory 'a' for devices: the table is full");
    assert_int_equal(full.n, 2);
    assert_int_equal(sound.n, 2);

    hg_mapper_unregister(&full.mapper);
    hg_mapper_unregister(&sound.mapper);
    assert_int_equal(full.n + sound.n, 0);
    hg_arena_free(arena[0]);
    hg_arena_free(arena[1]);
}

/* Against a model: which arenas and mappers there are. */
static void any_order_of_events_keeps_the_books(void **state)
{
    struct book book[3];
    bool registered[3] = {false};
    struct hg_arena *arena[ARENAS_MAX] = {NULL};
    unsigned seed = 1, arena_n = 0;

    (void)state;
    for (unsigned i = 0; i < 3; i++)
        book[i] = new_book(UINT32_MAX);
    for (unsigned step = 0; step < 2000; step++) {
        unsigned a = (unsigned)rand_r(&seed) % ARENAS_MAX, m = (unsigned)rand_r(&seed) % 3;

        book[m].mapper.context = &book[m];
        book[m].fail_after = (unsigned)rand_r(&seed) % 4 == 0 ? 1 : UINT32_MAX;
        if ((unsigned)rand_r(&seed) % 3 == 0) {
            if (registered[m])
                hg_mapper_unregister(&book[m].mapper);
            registered[m] = !registered[m] && hg_mapper_register(&book[m].mapper, NULL) == 0;
        } else if (arena[a] != NULL) {
            hg_arena_free(arena[a]);
            arena[a] = NULL;
            arena_n--;
        } else {
            arena_n += new_arena(&arena[a], NULL) == 0;
        }
        for (unsigned i = 0; i < 3; i++) {
            assert_int_equal(book[i].n, registered[i] ? arena_n : 0);
            for (unsigned k = 0; k < ARENAS_MAX && registered[i]; k++)
                assert_true(arena[k] == NULL || holds(&book[i], arena[k]));
        }
    }
    for (unsigned i = 0; i < 3; i++)
        if (registered[i])
            hg_mapper_unregister(&book[i].mapper);
    for (unsigned k = 0; k < ARENAS_MAX; k++)
        if (arena[k] != NULL)
            hg_arena_free(arena[k]);
}

static void *come_and_go(void *arg)
{
    struct hg_arena *arena;

    (void)arg;
    for (unsigned i = 0; i < 200; i++)
        if (new_arena(&arena, NULL) == 0)
            hg_arena_free(arena);
    return NULL;
}

static void count(void *context, const struct hg_arena *arena)
{
    (void)arena;
    (*(unsigned *)context)++;
}

static void threads_may_create_arenas_while_mappers_come_and_go(void **state)
{
    pthread_t thread[3];
    struct book book = new_book(UINT32_MAX);
    unsigned seen = 0;

    (void)state;
    book.mapper.context = &book;
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, come_and_go, NULL), 0);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(hg_mapper_register(&book.mapper, NULL), 0);
        hg_arenas_each(count, &seen);
        hg_mapper_unregister(&book.mapper);
        assert_int_equal(book.n, 0);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    seen = 0;
    hg_arenas_each(count, &seen);
    assert_int_equal(seen, 0);
}

static void a_virtual_iova_is_the_address(void **state)
{
    struct hg_arena *arena;
    uint8_t *object;
    uint64_t contiguous;

    (void)state;
    assert_int_equal(new_arena(&arena, NULL), 0);
    hg_arena_take(arena, "before", 5000, 1);
    object = hg_arena_take(arena, "object", 100, 64);
    assert_int_equal(hg_arena_iova(arena, object, &contiguous), (uintptr_t)object);
    assert_int_equal(contiguous, hg_arena_info(arena).bytes - hg_arena_offset(arena, object));
    assert_int_equal(hg_arena_iova(arena, object + 1, NULL), (uintptr_t)object + 1);
    hg_arena_free(arena);
}

static void ordinary_pages_have_no_physical_addresses_to_rely_on(void **state)
{
    const struct hg_arena_options options = {
        .name = "dma", .bytes = MIB, .pages = HG_PAGES_4K, .iova = HG_IOVA_PHYSICAL};
    struct hg_arena *arena;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -EINVAL);
    assert_string_equal(err.text, "memory 'dma': physical addresses need pages of 2M or 1G: the "
                                  "system may move ordinary ones");
}

static void refuses_pages_of_no_kind_and_names_the_nameless(void **state)
{
    struct hg_arena_options options = {.bytes = MIB, .pages = (enum hg_pages)(HG_PAGES_4K + 1)};
    struct hg_arena *arena;
    struct hg_err err;

    (void)state;
    assert_int_equal(hg_arena_new(&arena, &options, &err), -EINVAL);
    assert_string_equal(err.text,
                        "memory 'unnamed': pages of kind 4; expected one of enum hg_pages");
    options.pages = HG_PAGES_4K;
    assert_int_equal(hg_arena_new(&arena, &options, &err), 0);
    assert_string_equal(hg_arena_info(arena).name, "unnamed");
    hg_arena_free(arena);
}

static struct hg_arena *new_physical(unsigned pages_n, struct hg_err *err, int *rc)
{
    struct hg_arena_options options = {.name = "dma", .iova = HG_IOVA_PHYSICAL};
    struct hg_arena *arena;

    options.bytes = (uint64_t)pages_n * 2 * MIB;
    options.pages = HG_PAGES_2M;
    *rc = hg_arena_new(&arena, &options, err);
    return arena;
}

static void physical_iovas_are_contiguous_as_far_as_they_say(void **state)
{
    struct book book = new_book(UINT32_MAX);
    struct hg_arena *arena;
    struct hg_arena_info info;
    struct hg_err err;
    unsigned ranges_n;
    uint64_t mapped = 0;
    int rc;

    (void)state;
    skip_if_emulated("maps files of hugepages at addresses that are not aligned to them");
    arena = new_physical(16, &err, &rc);
    if (arena == NULL) {
        assert_true(rc == -ENOMEM || rc == -EPERM);
        print_message("# not tested: %s\n", err.text);
        return;
    }
    info = hg_arena_info(arena);
    for (uint64_t at = 0; at < info.bytes; at += 65536) {
        uint64_t contiguous, iova = hg_arena_iova(arena, info.base + at, &contiguous);

        assert_true(iova != 0 && iova % 65536 == 0);
        assert_true(contiguous >= info.page_bytes - at % info.page_bytes);
        assert_true(contiguous <= info.bytes - at);
        assert_int_equal(hg_arena_iova(arena, info.base + at + contiguous - 1, NULL),
                         iova + contiguous - 1);
        if (at + contiguous < info.bytes)
            assert_int_not_equal(hg_arena_iova(arena, info.base + at + contiguous, NULL),
                                 iova + contiguous);
    }
    book.mapper.context = &book;
    assert_int_equal(hg_mapper_register(&book.mapper, NULL), 0);
    ranges_n = book.n;
    for (unsigned i = 0; i < ranges_n; i++)
        mapped += book.range[i].bytes;
    assert_int_equal(mapped, info.bytes);
    hg_mapper_unregister(&book.mapper);
    if (ranges_n > 1) { /* a failure in the middle of an arena */
        book.fail_after = ranges_n - 1;
        assert_int_equal(hg_mapper_register(&book.mapper, &err), -ENOSPC);
        assert_int_equal(book.n, 0);
    }
    hg_arena_free(arena);
}

/* As nobody in particular. */
static void without_privilege_the_error_says_what_is_missing(void **state)
{
    struct hg_err err;
    int rc, status;
    pid_t child;

    (void)state;
    if (geteuid() != 0) {
        print_message("# not tested: not root\n");
        return;
    }
    child = fork();
    if (child == 0) {
        bool said;

        if (setgid(65534) != 0 || setuid(65534) != 0)
            _exit(2);
        new_physical(1, &err, &rc);
        said = (rc == -EPERM && strstr(err.text, "CAP_SYS_ADMIN") != NULL) || rc == -EACCES ||
               rc == -ENOMEM;
        _exit(said ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sees_memory_that_exists_and_that_comes_and_goes),
        cmocka_unit_test(errors_reach_who_asked_and_leave_nothing_behind),
        cmocka_unit_test(any_order_of_events_keeps_the_books),
        cmocka_unit_test(threads_may_create_arenas_while_mappers_come_and_go),
        cmocka_unit_test(a_virtual_iova_is_the_address),
        cmocka_unit_test(ordinary_pages_have_no_physical_addresses_to_rely_on),
        cmocka_unit_test(refuses_pages_of_no_kind_and_names_the_nameless),
        cmocka_unit_test(physical_iovas_are_contiguous_as_far_as_they_say),
        cmocka_unit_test(without_privilege_the_error_says_what_is_missing),
    };

    return cmocka_run_group_tests_name("mem/mapper", tests, NULL, NULL);
}
