#include "base/raise.h"

#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"

enum { EVENTS_N = 32 }; /* completions that may wait to be taken */

/* A thread's context for requests. */
struct raiser {
    aio_context_t context; /* 0: there is none, write instead */
    unsigned waiting_n;    /* completions not taken yet */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* of each thread's raiser, to be freed at its end */
static int nothing_fd = -1;
static _Thread_local struct raiser *raiser;

static void free_raiser(void *ctx)
{
    struct raiser *r = ctx;

    if (r->context != 0)
        syscall(SYS_io_destroy, r->context);
    free(r);
    raiser = NULL;
}

static void set_up(void)
{
    if (pthread_key_create(&key, free_raiser) == 0)
        nothing_fd = memfd_create("nothing", MFD_CLOEXEC);
}

static struct raiser *new_raiser(void)
{
    struct raiser *r;

    pthread_once(&once, set_up);
    if (nothing_fd < 0 || (r = calloc(1, sizeof(*r))) == NULL)
        return NULL;
    if (pthread_setspecific(key, r) != 0) {
        free(r);
        return NULL;
    }
    if (syscall(SYS_io_setup, EVENTS_N, &r->context) != 0)
        r->context = 0;
    return r;
}

/* Makes room for more completions. They say nothing: the request cannot fail. */
static void take_completions(struct raiser *r)
{
    struct io_event events[EVENTS_N];
    struct timespec now = {0};

    syscall(SYS_io_getevents, r->context, 0, EVENTS_N, events, &now);
    r->waiting_n = 0;
}

bool hg_raise(int eventfd)
{
    uint64_t one = 1;

    if (hg_unlikely(raiser == NULL))
        raiser = new_raiser();
    if (eventfd < 0)
        return false;
    if (hg_unlikely(raiser == NULL || raiser->context == 0))
        return write(eventfd, &one, sizeof(one)) == sizeof(one);

    struct iocb request = {
        .aio_lio_opcode = IOCB_CMD_PREAD,
        .aio_fildes = (uint32_t)nothing_fd,
        .aio_buf = (uintptr_t)&one,
        .aio_flags = IOCB_FLAG_RESFD,
        .aio_resfd = (uint32_t)eventfd,
    };
    struct iocb *requests[] = {&request};

    if (hg_unlikely(raiser->waiting_n == EVENTS_N))
        take_completions(raiser);
    raiser->waiting_n++;
    return syscall(SYS_io_submit, raiser->context, 1, requests) == 1;
}
