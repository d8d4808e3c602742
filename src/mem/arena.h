/*
 * Arenas: memory that is taken once, at start, and given out for good.
 *
 * An arena is one piece of hugepages (1 GiB or 2 MiB) where there are any, and of ordinary memory
 * where there are none; nothing else differs, and neither needs a privilege. All of it is there
 * before hg_arena_new() returns: a shortage is an error at start, not a SIGBUS under load.
 * Allocation moves a mark forward; single allocations are never freed, the arena is freed as a
 * whole.
 *
 * The memory is a memfd, so another process can map it: send it the fd, and say where things lie
 * with hg_arena_offset(). The file is sealed against shrinking, so who has the fd cannot take the
 * memory away from under us. The addresses right before and right behind the arena are
 * inaccessible.
 *
 * Devices reach an arena by IOVAs: hg_arena_iova() says which, mem/mapper.h tells an IOMMU.
 *
 * Debug builds (HG_DEBUG) also look for errors of the program, and abort with a sentence that names
 * the allocation: writing behind its end, or to memory that nobody has taken, is found by
 * hg_arena_check(), at the next hg_arena_take() and at hg_arena_free(); under AddressSanitizer at
 * once. The marks behind allocations lie in what the arena has beyond the bytes asked for, of which
 * such a build takes some more where pages are small: whatever fits in a release fits here, at
 * alignments up to 4096.
 *
 * Control only, all of it, one thread at a time for each arena; the memory itself is anyone's whom
 * the allocation's owner lets in.
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

enum hg_iova {
    HG_IOVA_VIRTUAL,  /* the virtual address: behind an IOMMU that we program, as under VFIO */
    HG_IOVA_PHYSICAL, /* the physical address: without an IOMMU; hugepages and CAP_SYS_ADMIN */
};

enum { HG_MEM_NAME_MAX = 31 };

struct hg_arena_options {
    const char *name; /* for people; cut at HG_MEM_NAME_MAX bytes; NULL: "unnamed" */
    uint64_t bytes;   /* at least so much; rounded up to whole pages */
    enum hg_pages pages;
    enum hg_iova iova;
    bool on_node;  /* all of it on one NUMA node: this one */
    unsigned node; /* number of the node; without on_node wherever the system likes */
    bool shared;   /* a peer gets the fd and may write anywhere: debug builds look for no errors */
};

struct hg_arena;

/*
 * Takes the memory, zeroed, and has it mapped by every mapper there is. Returns 0 or a negative
 * errno with *err, which says how to get what is missing:
 *
 *   -ENOMEM  not enough pages of the kind, or not enough memory, on the node if one was named
 *   -EINVAL  a size of 0 or one that does not exist; physical addresses of ordinary pages, which
 *            the system may move
 *   -ENODEV  the node is not there
 *   -EPERM   the process may not choose a node, or not know physical addresses
 *
 * or what a mapper returned.
 */
int hg_arena_new(struct hg_arena **arena, const struct hg_arena_options *options,
                 struct hg_err *err);

/* Has it unmapped by every mapper and gives all of it back. Nobody may use an allocation from it
 * any more; those that are still pinned are named in the log. */
void hg_arena_free(struct hg_arena *arena);

/*
 * Allocates `bytes`, zeroed, at a multiple of `align`, a power of two. The name, cut at
 * HG_MEM_NAME_MAX, is for the account. Returns NULL when the arena has no room, and changes nothing
 * then.
 */
void *hg_arena_take(struct hg_arena *arena, const char *name, uint64_t bytes, uint64_t align);

/*
 * Says that an object lives in an allocation that is to be freed before the arena, as pools are,
 * and that it is freed. `memory` is what hg_arena_take() returned. What is unpinned is not given
 * out again; a debug build destroys its contents, and AddressSanitizer reports who still uses it.
 */
void hg_arena_pin(struct hg_arena *arena, const void *memory);
void hg_arena_unpin(struct hg_arena *arena, void *memory);

struct hg_arena_info {
    const char *name;
    uint8_t *base;
    uint64_t bytes;      /* in all */
    uint64_t used_bytes; /* given out, padding between allocations included */
    uint64_t page_bytes;
    enum hg_iova iova;
    int node; /* -1: none was named */
    int fd;   /* the memfd, from offset 0; stays the arena's */
};

struct hg_arena_info hg_arena_info(const struct hg_arena *arena);

/* Where an address inside the arena lies in its file. */
uint64_t hg_arena_offset(const struct hg_arena *arena, const void *address);

/*
 * Under which address a device reaches an address inside the arena, and in *contiguous_bytes,
 * unless that is NULL, how far from there on IOVAs follow each other as addresses do: to the
 * arena's end, or, for physical addresses, at least to the end of the page. No system call. Any
 * thread.
 */
uint64_t hg_arena_iova(const struct hg_arena *arena, const void *address,
                       uint64_t *contiguous_bytes);

struct hg_allocation {
    char name[HG_MEM_NAME_MAX + 1];
    uint64_t offset; /* bytes from the arena's base */
    uint64_t bytes;
    bool pinned;
};

/* The allocations in order; *n receives how many. Valid until the next hg_arena_take(). */
const struct hg_allocation *hg_arena_allocations(const struct hg_arena *arena, unsigned *n);

/* Whether no allocation has been written beyond: 0, or -EFAULT with *err, which names it and says
 * where. Always 0 in a release build, which has no marks to look at. */
int hg_arena_check(const struct hg_arena *arena, struct hg_err *err);

/* Calls `see` for each arena of the process, in the order of their creation. It may read them; it
 * may not create or free one. Any thread. */
void hg_arenas_each(void (*see)(void *context, const struct hg_arena *arena), void *context);

HG_API_END

#endif
