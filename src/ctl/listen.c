#include "ctl/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    BACKLOG = 1024,
    SOCKET_MODE = 0600,
};

/* Opens the directory, made if need be, after a look at who may write there. Returns its fd. */
static int open_dir(const char *dir, struct hg_err *err)
{
    struct stat st;
    int fd;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        return hg_err_set(
            err, errno,
            "api: cannot make the directory %s: %s; the one above it must exist and be "
            "writable",
            dir, strerrordesc_np(errno));
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        int error = errno;

        if (fd >= 0) {
            close(fd);
        }
        return hg_err_set(err, error, "api: cannot use the directory %s: %s", dir,
                          strerrordesc_np(error));
    }
    if (st.st_uid != geteuid() && st.st_uid != 0) {
        close(fd);
        return hg_err_set(err, EPERM,
                          "api: the directory %s belongs to another user; expected one of your own",
                          dir);
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !(st.st_mode & S_ISVTX)) {
        close(fd);
        return hg_err_set(err, EPERM,
                          "api: others may write in the directory %s; expected one that only its "
                          "owner can, as after chmod go-w",
                          dir);
    }
    return fd;
}

/* Between our look at a leftover and our bind() no other daemon may do the same. The lock is on the
 * directory and ends with its fd. In a directory such as /tmp anybody may hold it for ever, so we
 * do not wait for ever. */
static void lock(int dir_fd)
{
    static const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};

    for (int i = 0; i < 20 && flock(dir_fd, LOCK_EX | LOCK_NB) < 0; i++) {
        nanosleep(&pause, NULL);
    }
}

static int claim(struct hg_listen *listening, struct hg_err *err)
{
    struct hg_err why;
    int rc = hg_sock_listen(&listening->listener, listening->path, SOCKET_MODE, BACKLOG, &why);

    if (rc == -EEXIST) {
        return hg_err_set(err, EEXIST,
                          "api: %s is there and is no socket; expected a path that is free",
                          listening->path);
    }
    if (rc == -EADDRINUSE) {
        return hg_err_set(err, EADDRINUSE,
                          "api: %s is in use; is another headgate running? Expected a path of its "
                          "own for each, see -s",
                          listening->path);
    }
    return rc < 0 ? hg_err_set(err, -rc, "api: %s", why.text) : 0;
}

int hg_listen_open(struct hg_listen *listening, const char *path, struct hg_err *err)
{
    char dir[HG_SOCKET_PATH_BYTES];
    int dir_fd;
    int rc;

    snprintf(listening->path, sizeof(listening->path), "%s", path);
    snprintf(dir, sizeof(dir), "%s", path);
    *strrchr(dir, '/') = '\0';
    if ((dir_fd = open_dir(dir[0] ? dir : "/", err)) < 0) {
        return dir_fd;
    }
    lock(dir_fd);
    rc = claim(listening, err);
    close(dir_fd);
    return rc;
}

void hg_listen_remove(const struct hg_listen *listening)
{
    hg_sock_remove(&listening->listener, listening->path);
}
