/*
 * A set of pollers as a worker sees it: immutable from its publication to its end. Private to the
 * folder; built and ended by control, used by the worker between two quiescent states.
 *
 * The fds are duplicates of the pollers' own, registered under numbers that only the set knows. An
 * epoll set keeps an entry as long as the open file lives, and that is held open by the peer too;
 * its entry could no longer be removed once the number we registered is closed or means another
 * file. With duplicates, what the owner does to his number, and when, is of no importance here.
 */
#ifndef HG_WORKER_SET_H
#define HG_WORKER_SET_H

#include <stdbool.h>

#include "base/err.h"
#include "worker/worker.h"

struct hg_set {
    unsigned n;
    bool sleepless; /* a poller may have work that no fd tells of */
    int epoll_fd;   /* the worker's */
    int *fd;        /* duplicates, -1 where the poller has none */
    struct hg_poller *poller[];
};

/* Copies the list and watches the fds in epoll_fd. Control. 0 or a negative errno with *err,
 * nothing left behind: -EINVAL for a poller that lacks a function, -EMFILE, -ENOMEM, and -EPERM for
 * an fd that cannot be waited for. */
int hg_set_new(struct hg_set **set, struct hg_poller *const *pollers, unsigned n, int epoll_fd,
               struct hg_err *err);

/* Ends a set that no worker holds: stops watching and frees it. The pollers are not touched. */
void hg_set_free(struct hg_set *set);

bool hg_set_has(const struct hg_set *set, const struct hg_poller *poller);

/* Arms the pollers in turn, up to the first that finds work there. Returns whether one did; what
 * was armed has been disarmed then. Worker. */
bool hg_set_arm(const struct hg_set *set);

/* Disarms every poller. Worker. */
void hg_set_disarm(const struct hg_set *set);

#endif
