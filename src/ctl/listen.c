#include "ctl/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BACKLOG = 1024 };

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return address;
}

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

static bool is_socket(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Whether the file at the address is a socket that nobody answers. */
static bool is_leftover(const struct sockaddr_un *address)
{
    bool refused;
    int fd;

    if (!is_socket(address->sun_path)) {
        return false;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 &&
              errno == ECONNREFUSED;
    close(fd);
    return refused;
}

static int bind_private(int fd, const struct sockaddr_un *address)
{
    mode_t before = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;

    umask(before);
    return rc;
}

/* Between our look at a leftover and our bind() no other daemon may do the same. The lock is on the
 * directory and ends with its fd. In a directory such as /tmp anybody may hold it for ever, so we do
 * not wait for ever. */
static void lock(int dir_fd)
{
    static const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};

    for (int i = 0; i < 20 && flock(dir_fd, LOCK_EX | LOCK_NB) < 0; i++) {
        nanosleep(&pause, NULL);
    }
}

static int claim(int fd, const char *path, struct hg_err *err)
{
    const struct sockaddr_un address = address_of(path);
    int rc = bind_private(fd, &address);

    if (rc == -EADDRINUSE && is_leftover(&address)) {
        unlink(path);
        rc = bind_private(fd, &address);
    }
    if (rc == -EADDRINUSE && !is_socket(path)) {
        return hg_err_set(err, EEXIST,
                          "api: %s is there and is no socket; expected a path that is free", path);
    }
    if (rc == -EADDRINUSE) {
        return hg_err_set(err, EADDRINUSE,
                          "api: %s is in use; is another headgate running? Expected a path of its "
                          "own for each, see -s",
                          path);
    }
    if (rc == 0 && listen(fd, BACKLOG) < 0) {
        rc = -errno;
        unlink(path);
    }
    return rc < 0 ? hg_err_set(err, -rc,
                               "api: cannot listen on %s: %s; its directory must be writable", path,
                               strerrordesc_np(-rc))
                  : 0;
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
    listening->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listening->fd < 0) {
        rc = hg_err_set(err, errno, "api: no socket: %s", strerrordesc_np(errno));
        close(dir_fd);
        return rc;
    }
    lock(dir_fd);
    rc = claim(listening->fd, path, err);
    if (rc == 0 && lstat(path, &listening->made) < 0) {
        rc = hg_err_set(err, errno, "api: %s: %s", path, strerrordesc_np(errno));
    }
    close(dir_fd);
    if (rc < 0) {
        close(listening->fd);
    }
    return rc;
}

void hg_listen_remove(const struct hg_listen *listening)
{
    struct stat st;

    if (lstat(listening->path, &st) == 0 && st.st_dev == listening->made.st_dev &&
        st.st_ino == listening->made.st_ino) {
        unlink(listening->path);
    }
}
