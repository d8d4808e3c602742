#include "worker/set.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static int check(const struct hg_poller *poller, unsigned i, struct hg_err *err)
{
    if (!poller || !poller->poll)
        return hg_err_set(err, EINVAL, "poller %u has no poll function", i);
    if (!poller->arm != !poller->disarm)
        return hg_err_set(err, EINVAL, "poller %u has one of arm and disarm, expected both or none",
                          i);
    return 0;
}

static int watch(int epoll_fd, int fd, int *copy, struct hg_err *err)
{
    /* Edge-triggered, because nobody reads the fd: see worker.c. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    int code;

    *copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (*copy < 0) {
        code = errno;
        return hg_err_set(err, code, "cannot duplicate file descriptor %d of a poller: %s%s", fd,
                          strerror(code),
                          code == EMFILE ? "; raise the limit of open files (ulimit -n)" : "");
    }
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, *copy, &event) < 0) {
        code = errno;
        close(*copy);
        *copy = -1;
        return hg_err_set(err, code, "cannot wait for file descriptor %d of a poller: %s", fd,
                          strerror(code));
    }
    return 0;
}

/* Fills the set; what stands in it when a poller is refused can be freed. */
static int fill(struct hg_set *set, struct hg_poller *const *pollers, unsigned n,
                struct hg_err *err)
{
    for (unsigned i = 0; i < n; i++) {
        int rc = check(pollers[i], i, err);

        if (rc < 0)
            return rc;
        set->poller[i] = pollers[i];
        set->fd[i] = -1;
        set->n = i + 1;
        if (pollers[i]->fd < 0) {
            set->sleepless |= pollers[i]->arm != NULL;
            continue;
        }
        rc = watch(set->epoll_fd, pollers[i]->fd, &set->fd[i], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int hg_set_new(struct hg_set **set, struct hg_poller *const *pollers, unsigned n, int epoll_fd,
               struct hg_err *err)
{
    struct hg_set *made = calloc(1, sizeof(*made) + n * sizeof(struct hg_poller *));
    int rc;

    *set = NULL;
    if (made)
        made->fd = calloc(n + 1, sizeof(made->fd[0]));
    if (!made || !made->fd) {
        free(made);
        return hg_err_set(err, ENOMEM, "no memory for a set of %u pollers", n);
    }
    made->epoll_fd = epoll_fd;
    rc = fill(made, pollers, n, err);
    if (rc < 0) {
        hg_set_free(made);
        return rc;
    }
    *set = made;
    return 0;
}

void hg_set_free(struct hg_set *set)
{
    for (unsigned i = 0; i < set->n; i++) {
        if (set->fd[i] < 0)
            continue;
        /* Not left to close(): the peer holds the same open file, so the entry would stay. */
        epoll_ctl(set->epoll_fd, EPOLL_CTL_DEL, set->fd[i], NULL);
        close(set->fd[i]);
    }
    free(set->fd);
    free(set);
}

bool hg_set_has(const struct hg_set *set, const struct hg_poller *poller)
{
    for (unsigned i = 0; i < set->n; i++) {
        if (set->poller[i] == poller)
            return true;
    }
    return false;
}

bool hg_set_arm(const struct hg_set *set)
{
    for (unsigned i = 0; i < set->n; i++) {
        struct hg_poller *poller = set->poller[i];

        if (!poller->arm || !poller->arm(poller))
            continue;
        for (unsigned armed = 0; armed <= i; armed++) {
            if (set->poller[armed]->disarm)
                set->poller[armed]->disarm(set->poller[armed]);
        }
        return true;
    }
    return false;
}

void hg_set_disarm(const struct hg_set *set)
{
    for (unsigned i = 0; i < set->n; i++) {
        if (set->poller[i]->disarm)
            set->poller[i]->disarm(set->poller[i]);
    }
}
