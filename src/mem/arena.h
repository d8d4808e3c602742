/*
 * Arenas: memory that is taken once, at start, and given out for good.
 *
 * An arena is one piece of hugepages (1 GiB or 2 MiB) where there are any, and of ordinary memory
 * where there are none; nothing else differs, and neither needs a privilege. All of it is there before
 * hg_arena_new() returns: a shortage is an error at start, not a SIGBUS under load. Allocation moves a
 * mark forward; single allocations are never freed, the arena is freed as a whole.
 *
 * The memory is a memfd, so another process can map it: send it the fd, and say where things lie with
 * hg_arena_offset(). The file is sealed against shrinking, so who has the fd cannot take the memory away
 * from under us. The addresses right before and right behind the arena are inaccessible.
 *
 * Control only, all of it; the memory itself is anyone's whom the allocation's owner lets in.
 */
#ifndef HG_MEM_ARENA_H
#define HG_MEM_ARENA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/err.h"

HG_API_BEGIN

enum hg_pages {
    HG_PAGES_AUTO, /* the largest that are free and waste at most a quarter of the size asked for */
    HG_PAGES_1G,
    HG_PAGES_2M,
    HG_PAGES_4K, /* ordinary ones, whatever their size is here */
};

enum { HG_MEM_NAME_MAX = 31 };

struct hg_arena_options {
    const char *name; /* for people; cut at HG_MEM_NAME_MAX bytes */
    uint64_t bytes;   /* at least so much; rounded up to whole pages */
    enum hg_pages pages;
};

struct hg_arena;

/*
 * Takes the memory, zeroed. Returns 0 or a negative errno with *err, which says how to get what is
 * missing: -ENOMEM when there are not enough pages of the kind, or not enough memory; -EINVAL for a
 * size of 0 or one that does not exist.
 */
int hg_arena_new(struct hg_arena **arena, const struct hg_arena_options *options,
                 struct hg_err *err);

/* Gives all of it back. Nobody may use an allocation from it any more. */
void hg_arena_free(struct hg_arena *arena);

/*
 * Allocates `bytes`, zeroed, at a multiple of `align`, a power of two. The name, cut at
 * HG_MEM_NAME_MAX, is for the account. Returns NULL when the arena has no room, and changes nothing then.
 */
void *hg_arena_take(struct hg_arena *arena, const char *name, uint64_t bytes, uint64_t align);

struct hg_arena_info {
    const char *name;
    uint8_t *base;
    uint64_t bytes;      /* in all */
    uint64_t used_bytes; /* given out, padding between allocations included */
    uint64_t page_bytes;
    int fd; /* the memfd, from offset 0; stays the arena's */
};

struct hg_arena_info hg_arena_info(const struct hg_arena *arena);

/* Where an address inside the arena lies in its file. */
uint64_t hg_arena_offset(const struct hg_arena *arena, const void *address);

struct hg_allocation {
    char name[HG_MEM_NAME_MAX + 1];
    uint64_t offset; /* bytes from the arena's base */
    uint64_t bytes;
};

/* The allocations in order; *n receives how many. Valid until the next hg_arena_take(). */
const struct hg_allocation *hg_arena_allocations(const struct hg_arena *arena, unsigned *n);

HG_API_END

#endif
