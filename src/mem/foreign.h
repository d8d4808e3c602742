/*
 * Foreign memory: mappings of files that a peer holds too, and can take pages away from.
 *
 * A peer that gives us a memory file keeps it. When it truncates the file, or lets its file system
 * run out of pages, the next access to the missing part raises SIGBUS in the thread that makes it.
 * So it does when we gave the file: the peer makes a hole in it, and the pool of huge pages has
 * none left. A worker cannot know in advance: every check of the file is out of date when it
 * returns. So such accesses are allowed to happen. The signal's handler finds the mapping by the
 * address, lays private memory over the missing part, marks the mapping as lost and wakes control;
 * the instruction is then repeated and completes. What is read from there on are zeros and what is
 * written reaches nobody: as if the peer had written nonsense into its memory, which every reader
 * of it expects anyway. Control ends the peer's session when it finds the mark. An access to sound
 * memory costs nothing.
 *
 * How much is laid. All from the page that was missing to the end, as a shorter file misses that:
 * it costs one system call, since no page is in use there. A peer that makes us meet its missing
 * pages from the end backwards would have a signal for each, so that every signal at least doubles
 * what has been laid: some twenty signals for a mapping of any size, and no more pages given back
 * than the peer has taken away itself, but for a factor of two.
 *
 * The handler may run in any thread that may use the mapping, at the same time in several. It walks
 * a table that it must not wait for and that is never freed: entries are published by their start,
 * and taken out only by hg_foreign_forget(), when nobody uses the mapping any more. A thread that
 * faults on a mapping uses it, so that its entry stays in place as long as the handler needs it. A
 * SIGBUS from anywhere else gets what it would have got without us.
 *
 * Threads that use such memory must not block SIGBUS. System calls that are given such memory fail
 * with EFAULT instead of raising the signal.
 */
#ifndef HG_MEM_FOREIGN_H
#define HG_MEM_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Of the process at a time: 256 ports that exchange a table of 64 regions. */
enum { HG_FOREIGN_MAX = 1 << 15 };

struct hg_foreign;

/*
 * Watches over a mapping of the caller's, to be called before it is used: `bytes` at `map`, both
 * multiples of page_bytes, the size of the file's pages. Installs the handler when it is the first.
 * Returns NULL with *err. Control only, one call at a time.
 */
struct hg_foreign *hg_foreign_watch(void *map, size_t bytes, size_t page_bytes, struct hg_err *err);

/* Ends that; to be called before the mapping ends, when nobody uses it any more. Control only, one
 * call at a time. */
void hg_foreign_forget(struct hg_foreign *foreign);

/* The same for a mapping made here: `bytes` of `fd` from `offset`, shared, for reading and writing.
 * The fd stays the caller's. */
struct hg_foreign *hg_foreign_map(int fd, off_t offset, size_t bytes, size_t page_bytes,
                                  struct hg_err *err);
void hg_foreign_unmap(struct hg_foreign *foreign);

/* Where it is mapped, and in pages of which size. */
uint8_t *hg_foreign_base(const struct hg_foreign *foreign);
size_t hg_foreign_page_bytes(const struct hg_foreign *foreign);

/* Whether memory was missing; then *offset, from the mapping's start, is where that was first seen.
 * Any thread. */
bool hg_foreign_lost(const struct hg_foreign *foreign, size_t *offset);

/*
 * A descriptor on which an edge (EPOLLET) tells that some mapping has been lost. It is never read,
 * as there may be many who wait for it: each looks at its own mappings. Belongs to this file;
 * opened by the first call of this function or of hg_foreign_map(). -1 when the process has no
 * descriptor left.
 */
int hg_foreign_event(void);

#endif
