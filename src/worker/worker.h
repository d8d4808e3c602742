/*
 * The worker: a pinned thread that runs a set of pollers to completion, and sleeps when there is
 * nothing to do.
 *
 * One turn of the loop polls every poller once, passes a quiescent state and looks for orders from
 * control. When no poller has found work for `idle_ns`, the worker goes to sleep in this order:
 *
 *   1. arm every poller: ask its peer to signal the fd on the next piece of work, then look again
 *      (the peer publishes its work, then looks whether it must signal: one of the two sees the
 *      other, see base/shm.h publish_then_look). A poller that finds work there says so;
 *   2. if any did: disarm all, go on polling;
 *   3. go offline for QSBR, wait in epoll on all fds and on the worker's own event, come online;
 *   4. disarm all, poll.
 *
 * A signal that arrives between 1 and 3 has made its fd readable, so 3 returns at once; the fds
 * are edge-triggered, and an edge before the wait counts. Orders from control (a new set of
 * pollers, stop) set a flag and then signal the worker's own event, so they are not lost either.
 *
 * The set of pollers is an immutable snapshot: hg_worker_set() returns when the worker has stopped
 * using the old one. Workers know nothing of ports: a poller is {poll, arm, disarm, fd}.
 */
#ifndef HG_WORKER_WORKER_H
#define HG_WORKER_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/count.h"
#include "base/err.h"

HG_API_BEGIN

struct hg_poller {
    /* Does one burst of work. Returns the number of packets handled, 0 when there was none. */
    unsigned (*poll)(struct hg_poller *poller);
    /* Asks for a signal on fd at the next work, then looks: true when there is work already. NULL
     * (with disarm) when the fd is signalled at all work without being asked. */
    bool (*arm)(struct hg_poller *poller);
    /* Takes the wish back. Called after every arm, before the next poll, by the worker, or by
     * control for a poller that has left its worker. It may be called more often: a poller that is
     * not armed stays as it is. */
    void (*disarm)(struct hg_poller *poller);
    /* Signalled (its edge counts, nobody reads it) when there is work; -1 for none: such a poller
     * keeps its worker awake unless arm() is NULL too, which says that it never has work of its own
     * accord. Looked at by hg_worker_set() alone, which duplicates it: its owner may close it
     * whenever he likes, and announces another one by calling hg_worker_set() again. */
    int fd;
};

struct hg_worker_stats {
    struct hg_count turns; /* of the loop */
    struct hg_count packets;
    struct hg_count busy_cycles; /* of turns that found work */
    struct hg_count idle_cycles; /* of turns that found none, sleep not counted */
    struct hg_count sleeps;
    struct hg_count wakeups_in_vain; /* a signal without work behind it */
};

enum {
    /* A good hg_worker_options.idle_ns, in microseconds: about what a sleep and a wake-up cost, so
     * that waiting never costs more than twice the cheaper of the two. */
    HG_WORKER_IDLE_US = 50,
};

struct hg_worker_options {
    int cpu;          /* to pin to; -1: do not pin */
    bool sleep;       /* idle: adaptive; false polls for ever */
    uint64_t idle_ns; /* without work before it sleeps */
};

struct hg_worker;

/* The time and the wait that a worker uses, exchangeable so that tests own them. */
struct hg_worker_env {
    uint64_t (*now_ns)(void *ctx);
    /* Sleeps until an fd of the epoll set is ready. Returns as epoll_wait does. */
    int (*wait)(void *ctx, int epoll_fd);
    void *ctx;
};

/*
 * Creates a worker without a thread. `env` NULL is the real clock and epoll; otherwise it is
 * copied, and its ctx must outlive the worker. Returns 0 or a negative errno with *err: -EINVAL for
 * a CPU that does not exist, -EPERM for one that the calling process may not use. The caller frees
 * *worker with hg_worker_free() after hg_worker_stop().
 */
int hg_worker_new(struct hg_worker **worker, const struct hg_worker_options *options,
                  const struct hg_worker_env *env, struct hg_err *err);
void hg_worker_free(struct hg_worker *worker);

/* Starts and ends the thread, which is called hg-worker-CPU (hg-worker where it is not pinned).
 * Stop returns when it has ended; it may be started again. Control only. */
int hg_worker_start(struct hg_worker *worker, struct hg_err *err);
void hg_worker_stop(struct hg_worker *worker);

/* One turn of the loop in the calling thread, for tests and for programs with a loop of their own.
 * The thread must be registered with QSBR and online. Returns the packets handled. Cycles spent
 * between two turns count to the later one. */
unsigned hg_worker_turn(struct hg_worker *worker);

/*
 * Replaces the set of pollers by the n given (copied; the pollers themselves stay the caller's and
 * must live until they are replaced and a grace period has passed). Returns after the worker has
 * let go of the old set, 0 or a negative errno with *err, the old set still in force: -EINVAL for a
 * poller without poll() or with one of arm() and disarm(), -EMFILE, -ENOMEM, -EPERM for an fd that
 * epoll cannot wait for. Works before start, while the worker is busy and while it sleeps. A poller
 * moves to another worker by leaving the first one's set before. Control only, one call at a time.
 */
int hg_worker_set(struct hg_worker *worker, struct hg_poller *const *pollers, unsigned n,
                  struct hg_err *err);

const struct hg_worker_stats *hg_worker_stats(const struct hg_worker *worker);
int hg_worker_cpu(const struct hg_worker *worker);

HG_API_END

#endif
