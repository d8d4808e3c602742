#include "mem/arena.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "mem/iova.h"
#include "mem/mark.h"
#include "mem/pages.h"
#include "mem/poison.h"
#include "mem/state.h"

#ifdef HG_DEBUG
enum { DEBUG = true };
#else
enum { DEBUG = false };
#endif

enum {
    FENCE_BYTES = 64,      /* behind each allocation of a debug build */
    FENCE_ALIGN_MAX = 4096 /* alignments up to which they cost what they may cost */
};

static const char *name_or_none(const char *name)
{
    return name != NULL ? name : "unnamed";
}

static void copy_name(char *copy, const char *name)
{
    snprintf(copy, HG_MEM_NAME_MAX + 1, "%s", name_or_none(name));
}

static bool is_sensible(enum hg_pages pages, uint64_t bytes)
{
    return hg_round_up(bytes, hg_pages_bytes(pages)) - bytes <= bytes / 4;
}

static uint64_t round_to_pages(bool fenced, enum hg_pages pages, uint64_t bytes)
{
    if (fenced && pages == HG_PAGES_4K)
        bytes += bytes / 16 + UINT64_C(65536); /* for fences */
    return hg_round_up(bytes, hg_pages_bytes(pages));
}

/* Opens the file and settles the page size. Returns the fd or a negative errno. */
static int open_pages(struct hg_arena *arena, const struct hg_arena_options *options,
                      struct hg_err *err)
{
    enum hg_pages pages = options->pages == HG_PAGES_AUTO ? HG_PAGES_1G : options->pages;
    enum hg_pages smallest = options->iova == HG_IOVA_PHYSICAL ? HG_PAGES_2M : HG_PAGES_4K;

    if (options->pages > HG_PAGES_4K)
        return hg_err_set(err, EINVAL, "pages of kind %d; expected one of enum hg_pages",
                          (int)options->pages);
    if (pages > smallest)
        return hg_err_set(err, EINVAL,
                          "physical addresses need pages of 2M or 1G: the system may move "
                          "ordinary ones");
    for (;; pages++) {
        bool last = pages == smallest || options->pages != HG_PAGES_AUTO;
        int fd;

        if (!last && !is_sensible(pages, options->bytes))
            continue;
        arena->page_bytes = hg_pages_bytes(pages);
        arena->bytes = round_to_pages(arena->fenced, pages, options->bytes);
        fd = hg_pages_file(arena->name, pages, arena->bytes, arena->node, err);
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
    hg_poison(arena->base, arena->bytes); /* but for what is taken */
    return 0;
}

static int find_iovas(struct hg_arena *arena, struct hg_err *err)
{
    uint64_t n = arena->bytes / arena->page_bytes;

    if (arena->iova == HG_IOVA_VIRTUAL)
        return 0;
    arena->page_iova = calloc(n, sizeof(arena->page_iova[0]));
    if (arena->page_iova == NULL)
        return hg_err_set(err, ENOMEM, "no memory for the addresses of its pages");
    return hg_iova_physical(arena->base, arena->page_bytes, n, arena->page_iova, err);
}

/* What hg_arena_new() has come to have, but for the list of all. */
static void release(struct hg_arena *arena)
{
    if (arena->base != NULL)
        hg_unpoison(arena->base, arena->bytes); /* the addresses may become somebody else's */
    if (arena->reserved != NULL)
        munmap(arena->reserved, arena->reserved_bytes);
    if (arena->fd >= 0)
        close(arena->fd);
    free(arena->page_iova);
    free(arena->allocation);
    free(arena);
}

int hg_arena_new(struct hg_arena **arena, const struct hg_arena_options *options,
                 struct hg_err *err)
{
    struct hg_arena *made;
    struct hg_err why = {.text = ""};
    int rc;

    *arena = NULL;
    if (options->bytes == 0 || options->bytes > UINT64_C(1) << 46)
        return hg_err_set(err, EINVAL, "memory '%s': %" PRIu64 " bytes; expected 1 to 2^46",
                          name_or_none(options->name), options->bytes);
    made = calloc(1, sizeof(*made));
    if (!made)
        return hg_err_set(err, ENOMEM, "memory '%s': no memory to describe it",
                          name_or_none(options->name));
    copy_name(made->name, options->name);
    made->asked_bytes = options->bytes;
    made->iova = options->iova;
    made->fenced = DEBUG && !options->shared;
    made->node = options->on_node ? (int)hg_min_u32(options->node, INT_MAX) : -1;
    rc = made->fd = open_pages(made, options, &why);
    if (rc >= 0)
        rc = map(made, &why);
    if (rc >= 0)
        rc = find_iovas(made, &why);
    if (rc >= 0)
        rc = hg_arenas_add(made, &why);
    if (rc < 0) {
        release(made);
        return hg_err_set(err, -rc, "memory '%s': %s", name_or_none(options->name), why.text);
    }
    *arena = made;
    return 0;
}

static void abort_if_damaged(const struct hg_arena *arena)
{
    struct hg_err err;

    if (hg_arena_check(arena, &err) < 0) {
        hg_log(HG_LOG_ERROR, "memory", "%s", err.text);
        abort();
    }
}

void hg_arena_free(struct hg_arena *arena)
{
    abort_if_damaged(arena);
    for (unsigned i = 0; i < arena->allocation_n; i++)
        if (arena->allocation[i].pinned)
            hg_log(HG_LOG_ERROR, "memory", "'%s' is freed while '%s' in it is in use", arena->name,
                   arena->allocation[i].name);
    hg_arenas_remove(arena);
    release(arena);
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

/* What lies between the allocations before index and the one at index, or the end of what is
 * used. */
static uint8_t *gap_before(const struct hg_arena *arena, unsigned index, uint64_t *bytes)
{
    const struct hg_allocation *allocation = arena->allocation;
    uint64_t from = index == 0 ? 0 : allocation[index - 1].offset + allocation[index - 1].bytes;
    uint64_t end = index == arena->allocation_n ? arena->used_bytes : allocation[index].offset;

    *bytes = end - from;
    return arena->base + from;
}

/* Puts a fence behind the last allocation and marks what lies before it; checks that nobody has
 * written there before it was taken. */
static void fence(struct hg_arena *arena)
{
    const struct hg_allocation *last = &arena->allocation[arena->allocation_n - 1];
    uint64_t cost = arena->used_bytes - arena->account_bytes;
    uint64_t spare = arena->bytes - arena->asked_bytes;
    uint8_t *gap;
    uint64_t bytes;

    if (hg_round_up(cost + FENCE_BYTES, FENCE_ALIGN_MAX) <= spare &&
        arena->bytes - arena->used_bytes >= FENCE_BYTES)
        arena->used_bytes += FENCE_BYTES;
    gap = gap_before(arena, arena->allocation_n - 1, &bytes);
    hg_unpoison(gap, (uint64_t)(arena->base + arena->used_bytes - gap));
    if (hg_mark_broken(arena->base + last->offset, last->bytes, 0) != NULL) {
        hg_log(HG_LOG_ERROR, "memory", "'%s': somebody wrote to '%s' before it was taken",
               arena->name, last->name);
        abort();
    }
    for (unsigned i = arena->allocation_n - 1; i <= arena->allocation_n; i++) {
        gap = gap_before(arena, i, &bytes);
        memset(gap, HG_MARK_FENCE, bytes);
        hg_poison(gap, bytes);
    }
}

void *hg_arena_take(struct hg_arena *arena, const char *name, uint64_t bytes, uint64_t align)
{
    uint64_t room = arena->bytes - arena->used_bytes;
    uintptr_t mark = (uintptr_t)arena->base + arena->used_bytes;
    uint64_t padding = -mark & (align - 1);
    struct hg_allocation *allocation;

    assert(hg_is_power_of_two(align));
    if (arena->fenced)
        abort_if_damaged(arena);
    if (padding > room || bytes > room - padding || !grow_account(arena))
        return NULL;
    allocation = &arena->allocation[arena->allocation_n++];
    copy_name(allocation->name, name);
    allocation->offset = arena->used_bytes + padding;
    allocation->bytes = bytes;
    allocation->pinned = false;
    arena->used_bytes += padding + bytes;
    arena->account_bytes = hg_round_up(arena->account_bytes, align) + bytes;
    hg_unpoison(arena->base + allocation->offset, bytes);
    if (arena->fenced)
        fence(arena);
    return arena->base + allocation->offset;
}

static struct hg_allocation *find(struct hg_arena *arena, const void *memory)
{
    uint64_t offset = hg_arena_offset(arena, memory);
    unsigned i = 0;

    while (i < arena->allocation_n && arena->allocation[i].offset != offset)
        i++;
    assert(i < arena->allocation_n);
    return &arena->allocation[i];
}

void hg_arena_pin(struct hg_arena *arena, const void *memory)
{
    find(arena, memory)->pinned = true;
}

void hg_arena_unpin(struct hg_arena *arena, void *memory)
{
    struct hg_allocation *allocation = find(arena, memory);

    allocation->pinned = false;
    if (DEBUG) {
        hg_unpoison(memory, allocation->bytes);
        memset(memory, HG_MARK_FREE, allocation->bytes);
        hg_poison(memory, allocation->bytes);
    }
}

int hg_arena_check(const struct hg_arena *arena, struct hg_err *err)
{
    for (unsigned i = 1; arena->fenced && i <= arena->allocation_n; i++) {
        const struct hg_allocation *allocation = &arena->allocation[i - 1];
        uint64_t bytes;
        const uint8_t *gap = gap_before(arena, i, &bytes);
        const uint8_t *broken;

        hg_unpoison(gap, bytes);
        broken = hg_mark_broken(gap, bytes, HG_MARK_FENCE);
        hg_poison(gap, bytes);
        if (broken != NULL)
            return hg_err_set(err, EFAULT,
                              "'%s': somebody wrote behind '%s', %" PRIu64
                              " bytes from its start, and it has %" PRIu64,
                              arena->name, allocation->name,
                              (uint64_t)(broken - arena->base) - allocation->offset,
                              allocation->bytes);
    }
    return 0;
}

struct hg_arena_info hg_arena_info(const struct hg_arena *arena)
{
    return (struct hg_arena_info){
        .name = arena->name,
        .base = arena->base,
        .bytes = arena->bytes,
        .used_bytes = arena->used_bytes,
        .page_bytes = arena->page_bytes,
        .iova = arena->iova,
        .node = arena->node,
        .fd = arena->fd,
    };
}

uint64_t hg_arena_offset(const struct hg_arena *arena, const void *address)
{
    return (uint64_t)((const uint8_t *)address - arena->base);
}

uint64_t hg_arena_iova(const struct hg_arena *arena, const void *address,
                       uint64_t *contiguous_bytes)
{
    uint64_t offset = hg_arena_offset(arena, address);
    uint64_t page = offset / arena->page_bytes;
    uint64_t last = page;
    uint64_t iova;

    if (arena->page_iova == NULL) {
        last = arena->bytes / arena->page_bytes - 1;
        iova = (uintptr_t)address;
    } else {
        while (contiguous_bytes != NULL && (last + 1) * arena->page_bytes < arena->bytes &&
               arena->page_iova[last + 1] == arena->page_iova[last] + arena->page_bytes)
            last++;
        iova = arena->page_iova[page] + offset % arena->page_bytes;
    }
    if (contiguous_bytes != NULL)
        *contiguous_bytes = (last + 1) * arena->page_bytes - offset;
    return iova;
}

const struct hg_allocation *hg_arena_allocations(const struct hg_arena *arena, unsigned *n)
{
    *n = arena->allocation_n;
    return arena->allocation;
}
