#include "mem/foreign.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bits.h"

/* An entry of the table. Written by control but for the last two; all are atomic because the
 * handler looks at entries that are not its own too. */
struct hg_foreign {
    _Atomic uintptr_t start; /* 0: the entry is free */
    _Atomic uintptr_t end;
    _Atomic size_t page_bytes;
    _Atomic size_t laid;       /* bytes before `end` that are private by now */
    _Atomic uintptr_t lost_at; /* the first address that was missing; 0: none */
};

_Static_assert(ATOMIC_POINTER_LOCK_FREE == 2 && ATOMIC_LONG_LOCK_FREE == 2,
               "what a signal handler uses does not lock");

static struct hg_foreign table[HG_FOREIGN_MAX];
static atomic_uint table_n; /* entries that have ever been in use: the first ones */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int event_fd = -1;
static struct sigaction before; /* what SIGBUS did without us */

/* --- in the handler: async-signal-safe, lock-free --- */

/* The entry that holds an address. One that is being exchanged by control at this moment, which
 * cannot be the caller's, is never taken for it: its end counts only if its start has not changed
 * since. */
static struct hg_foreign *find(uintptr_t at)
{
    unsigned n = atomic_load_explicit(&table_n, memory_order_acquire);

    for (unsigned i = 0; i < n; i++) {
        struct hg_foreign *foreign = &table[i];
        /* Pairs with publish(): the end that belongs to this start, or a later one. */
        uintptr_t start = atomic_load_explicit(&foreign->start, memory_order_acquire);
        /* Pairs with publish() too: after a later end the start is seen to be gone. */
        uintptr_t end = atomic_load_explicit(&foreign->end, memory_order_acquire);

        if (start != 0 && at >= start && at < end &&
            atomic_load_explicit(&foreign->start, memory_order_relaxed) == start)
            return foreign;
    }
    return NULL;
}

/* Private memory in [from, end). The system call itself: mmap() of the library may be a debugging
 * tool's, which a handler must not call. */
static bool lay(uintptr_t from, uintptr_t end)
{
    return syscall(SYS_mmap, from, end - from, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == (long)from;
}

static bool cover(struct hg_foreign *foreign, uintptr_t at)
{
    uintptr_t start = atomic_load_explicit(&foreign->start, memory_order_relaxed);
    uintptr_t end = atomic_load_explicit(&foreign->end, memory_order_relaxed);
    size_t page_bytes = atomic_load_explicit(&foreign->page_bytes, memory_order_relaxed);
    size_t laid = atomic_load_explicit(&foreign->laid, memory_order_relaxed);
    uintptr_t page = at - (at - start) % page_bytes;
    size_t bytes = end - page > 2 * laid ? end - page : hg_min_u64(2 * laid, end - start);

    if (lay(end - bytes, end)) {
        atomic_store_explicit(&foreign->laid, bytes, memory_order_relaxed);
        return true;
    }
    /* The system would not promise that much memory: the page alone. */
    return lay(page, page + page_bytes);
}

static void mark(struct hg_foreign *foreign, uintptr_t at)
{
    uintptr_t none = 0;
    uint64_t one = 1;

    /* Pairs with hg_foreign_lost(). */
    atomic_compare_exchange_strong_explicit(&foreign->lost_at, &none, at, memory_order_release,
                                            memory_order_relaxed);
    /* Non-blocking; full, it would have an edge that nobody has seen yet. */
    if (write(event_fd, &one, sizeof(one)) < 0)
        return;
}

/* Puts back what was there before us, which gets the signal in our place: an access is repeated
 * when we return, and what somebody has sent is sent again. */
static void decline(int signal_n, const siginfo_t *info)
{
    sigaction(SIGBUS, &before, NULL);
    if (info->si_code <= 0)
        raise(signal_n);
}

static void on_sigbus(int signal_n, siginfo_t *info, void *context)
{
    int code = errno;
    uintptr_t at = (uintptr_t)info->si_addr;
    /* Nothing behind the address, or behind it memory that has failed: not what processes send. */
    bool access = info->si_code == BUS_ADRERR || info->si_code == BUS_MCEERR_AR;
    struct hg_foreign *foreign = access ? find(at) : NULL;

    (void)context;
    if (foreign != NULL && cover(foreign, at))
        mark(foreign, at);
    else
        decline(signal_n, info);
    errno = code;
}

/* --- control --- */

static void set_up(void)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigemptyset(&action.sa_mask);
    if (event_fd >= 0)
        sigaction(SIGBUS, &action, &before);
}

int hg_foreign_event(void)
{
    pthread_once(&once, set_up);
    return event_fd;
}

static struct hg_foreign *find_free(void)
{
    for (unsigned i = 0; i < HG_FOREIGN_MAX; i++)
        if (atomic_load_explicit(&table[i].start, memory_order_relaxed) == 0)
            return &table[i];
    return NULL;
}

static void publish(struct hg_foreign *foreign, uintptr_t start, size_t bytes, size_t page_bytes)
{
    unsigned index = (unsigned)(foreign - table);

    atomic_store_explicit(&foreign->page_bytes, page_bytes, memory_order_relaxed);
    atomic_store_explicit(&foreign->laid, 0, memory_order_relaxed);
    atomic_store_explicit(&foreign->lost_at, 0, memory_order_relaxed);
    /* Who sees this end sees that the start before it is gone; who sees the start sees this end. */
    atomic_store_explicit(&foreign->end, start + bytes, memory_order_release);
    atomic_store_explicit(&foreign->start, start, memory_order_release);
    if (index >= atomic_load_explicit(&table_n, memory_order_relaxed))
        atomic_store_explicit(&table_n, index + 1, memory_order_release);
}

struct hg_foreign *hg_foreign_watch(void *map, size_t bytes, size_t page_bytes, struct hg_err *err)
{
    struct hg_foreign *foreign = find_free();

    if (hg_foreign_event() < 0) {
        hg_err_set(err, EMFILE, "no file descriptor to watch over a peer's memory");
        return NULL;
    }
    if (foreign == NULL) {
        hg_err_set(err, ENOSPC, "more than %d mappings of peers' memory", HG_FOREIGN_MAX);
        return NULL;
    }
    publish(foreign, (uintptr_t)map, bytes, page_bytes);
    return foreign;
}

void hg_foreign_forget(struct hg_foreign *foreign)
{
    atomic_store_explicit(&foreign->start, 0, memory_order_relaxed);
}

struct hg_foreign *hg_foreign_map(int fd, off_t offset, size_t bytes, size_t page_bytes,
                                  struct hg_err *err)
{
    void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, offset);
    struct hg_foreign *foreign;

    if (map == MAP_FAILED) {
        hg_err_set(err, errno, "cannot map %zu bytes of a peer's memory: %s", bytes,
                   strerror(errno));
        return NULL;
    }
    madvise(map, bytes, MADV_DONTDUMP);
    foreign = hg_foreign_watch(map, bytes, page_bytes, err);
    if (foreign == NULL)
        munmap(map, bytes);
    return foreign;
}

void hg_foreign_unmap(struct hg_foreign *foreign)
{
    uint8_t *base = hg_foreign_base(foreign);
    size_t bytes = atomic_load_explicit(&foreign->end, memory_order_relaxed) - (uintptr_t)base;

    hg_foreign_forget(foreign);
    munmap(base, bytes);
}

uint8_t *hg_foreign_base(const struct hg_foreign *foreign)
{
    return (uint8_t *)atomic_load_explicit(&foreign->start, memory_order_relaxed);
}

size_t hg_foreign_page_bytes(const struct hg_foreign *foreign)
{
    return atomic_load_explicit(&foreign->page_bytes, memory_order_relaxed);
}

bool hg_foreign_lost(const struct hg_foreign *foreign, size_t *offset)
{
    /* Pairs with mark(). */
    uintptr_t at = atomic_load_explicit(&foreign->lost_at, memory_order_acquire);

    if (at == 0)
        return false;
    *offset = at - atomic_load_explicit(&foreign->start, memory_order_relaxed);
    return true;
}
