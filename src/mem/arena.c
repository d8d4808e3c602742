#include "mem/arena.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "mem/pages.h"

struct hg_arena {
    char name[HG_MEM_NAME_MAX + 1];
    int fd;
    uint8_t *base;
    uint64_t bytes;
    uint64_t used_bytes;
    uint64_t page_bytes;

    /* Address space: the arena, what aligns it, and a guard page on either side. */
    void *reserved;
    uint64_t reserved_bytes;

    struct hg_allocation *allocation;
    unsigned allocation_n;
    unsigned allocation_max;
};

static void copy_name(char *copy, const char *name)
{
    snprintf(copy, HG_MEM_NAME_MAX + 1, "%s", name);
}

static bool is_sensible(enum hg_pages pages, uint64_t bytes)
{
    return hg_round_up(bytes, hg_pages_bytes(pages)) - bytes <= bytes / 4;
}

/* Opens the file and settles the page size. Returns the fd or a negative errno. */
static int open_pages(struct hg_arena *arena, const struct hg_arena_options *options,
                      struct hg_err *err)
{
    enum hg_pages pages = options->pages == HG_PAGES_AUTO ? HG_PAGES_1G : options->pages;

    for (;; pages++) {
        bool last = pages == HG_PAGES_4K || options->pages != HG_PAGES_AUTO;
        int fd;

        if (!last && !is_sensible(pages, options->bytes))
            continue;
        arena->page_bytes = hg_pages_bytes(pages);
        arena->bytes = hg_round_up(options->bytes, arena->page_bytes);
        fd = hg_pages_file(arena->name, pages, arena->bytes, err);
        if (fd >= 0 || last)
            return fd;
    }
}

static int map(struct hg_arena *arena, struct hg_err *err)
{
    uint64_t guard_bytes = hg_pages_bytes(HG_PAGES_4K);
    void *base;

    /* An inaccessible range first: its rest stays as guards, and lets us choose the alignment. */
    arena->reserved_bytes = arena->bytes + arena->page_bytes + 2 * guard_bytes;
    arena->reserved = mmap(NULL, arena->reserved_bytes, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena->reserved == MAP_FAILED) {
        arena->reserved = NULL;
        return hg_err_set(err, errno, "cannot reserve %" PRIu64 " bytes of addresses: %s",
                          arena->reserved_bytes, strerror(errno));
    }
    base = (void *)hg_round_up((uintptr_t)arena->reserved + guard_bytes, arena->page_bytes);
    if (mmap(base, arena->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
             arena->fd, 0) == MAP_FAILED)
        return hg_err_set(err, errno, "cannot map %" PRIu64 " bytes of memory: %s", arena->bytes,
                          strerror(errno));
    arena->base = base;
    return 0;
}

int hg_arena_new(struct hg_arena **arena, const struct hg_arena_options *options,
                 struct hg_err *err)
{
    struct hg_arena *made;
    struct hg_err why = {.text = ""};
    int rc;

    *arena = NULL;
    if (options->bytes == 0 || options->bytes > UINT64_C(1) << 46)
        return hg_err_set(err, EINVAL,
                          "memory '%s': %" PRIu64 " bytes are none or more than can be addressed",
                          options->name, options->bytes);
    made = calloc(1, sizeof(*made));
    if (!made)
        return hg_err_set(err, ENOMEM, "memory '%s': no memory to describe it", options->name);
    copy_name(made->name, options->name);
    rc = made->fd = open_pages(made, options, &why);
    if (rc >= 0)
        rc = map(made, &why);
    if (rc < 0) {
        hg_arena_free(made);
        return hg_err_set(err, -rc, "memory '%s': %s", options->name, why.text);
    }
    *arena = made;
    return 0;
}

void hg_arena_free(struct hg_arena *arena)
{
    if (arena->reserved)
        munmap(arena->reserved, arena->reserved_bytes);
    if (arena->fd >= 0)
        close(arena->fd);
    free(arena->allocation);
    free(arena);
}

static bool grow_account(struct hg_arena *arena)
{
    unsigned max = arena->allocation_max ? 2 * arena->allocation_max : 16;
    struct hg_allocation *grown;

    if (arena->allocation_n < arena->allocation_max)
        return true;
    grown = realloc(arena->allocation, max * sizeof(*grown));
    if (!grown)
        return false;
    arena->allocation = grown;
    arena->allocation_max = max;
    return true;
}

void *hg_arena_take(struct hg_arena *arena, const char *name, uint64_t bytes, uint64_t align)
{
    uint64_t room = arena->bytes - arena->used_bytes;
    uintptr_t mark = (uintptr_t)arena->base + arena->used_bytes;
    uint64_t padding = -mark & (align - 1);
    struct hg_allocation *allocation;

    assert(hg_is_power_of_two(align));
    if (padding > room || bytes > room - padding || !grow_account(arena))
        return NULL;
    allocation = &arena->allocation[arena->allocation_n++];
    copy_name(allocation->name, name);
    allocation->offset = arena->used_bytes + padding;
    allocation->bytes = bytes;
    arena->used_bytes += padding + bytes;
    return arena->base + allocation->offset;
}

struct hg_arena_info hg_arena_info(const struct hg_arena *arena)
{
    return (struct hg_arena_info){
        .name = arena->name,
        .base = arena->base,
        .bytes = arena->bytes,
        .used_bytes = arena->used_bytes,
        .page_bytes = arena->page_bytes,
        .fd = arena->fd,
    };
}

uint64_t hg_arena_offset(const struct hg_arena *arena, const void *address)
{
    return (uint64_t)((const uint8_t *)address - arena->base);
}

const struct hg_allocation *hg_arena_allocations(const struct hg_arena *arena, unsigned *n)
{
    *n = arena->allocation_n;
    return arena->allocation;
}
