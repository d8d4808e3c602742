#include "base/sock.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

_Static_assert(sizeof(((struct sockaddr_un *)0)->sun_path) == HG_SOCKET_PATH_BYTES, "unix(7)");

int hg_sock_check_path(const char *path, struct hg_err *err)
{
    size_t length = strlen(path);

    if (length > 0 && length < HG_SOCKET_PATH_BYTES)
        return 0;
    return hg_err_set(err, ENAMETOOLONG, "a socket's path has 1 to %d bytes, not %zu: '%s'",
                      HG_SOCKET_PATH_BYTES - 1, length, path);
}

/* A socket, and the address that it is to have or to reach. */
static int open_for(const char *path, struct sockaddr_un *address, struct hg_err *err)
{
    int fd = hg_sock_check_path(path, err);

    if (fd < 0)
        return fd;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(address->sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : hg_err_set(err, errno, "cannot open a socket: %s", strerror(errno));
}

int hg_sock_connect(const char *path, struct hg_err *err)
{
    struct sockaddr_un address;
    int fd = open_for(path, &address, err);
    int rc;

    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    rc = hg_err_set(err, errno, "cannot connect to %s: %s", path, strerror(errno));
    close(fd);
    return rc;
}

/* Removes what is in the way if it is a socket that nobody answers. */
static int remove_leftover(const char *path, struct hg_err *err)
{
    struct stat file;
    int fd;

    if (lstat(path, &file) != 0)
        return errno == ENOENT ? 0 : hg_err_set(err, errno, "socket %s: %s", path, strerror(errno));
    if (!S_ISSOCK(file.st_mode))
        return hg_err_set(err, EEXIST, "socket %s: there is a file of that name, not a socket",
                          path);
    fd = hg_sock_connect(path, NULL);
    if (fd >= 0)
        close(fd);
    if (fd != -ECONNREFUSED)
        return hg_err_set(err, EADDRINUSE, "socket %s: another process listens on it", path);
    if (unlink(path) != 0)
        return hg_err_set(err, errno, "cannot remove the stale socket %s: %s", path,
                          strerror(errno));
    return 0;
}

static bool bind_to(int fd, const struct sockaddr_un *address)
{
    return bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0;
}

/* Gives the socket its file. On Linux the file takes the mode that the socket has, less the
 * umask. */
static int take_place(int fd, const struct sockaddr_un *address, mode_t mode, struct hg_err *err)
{
    const char *path = address->sun_path;
    int rc;

    if (fchmod(fd, mode) == 0 && bind_to(fd, address))
        return 0;
    if (errno == EADDRINUSE) {
        rc = remove_leftover(path, err);
        if (rc != 0 || bind_to(fd, address))
            return rc;
    }
    return hg_err_set(err, errno,
                      "cannot create the socket %s: %s; its directory must exist and be writable",
                      path, strerror(errno));
}

/* The rest once the file is there. */
static int finish(struct hg_sock_listener *listener, const char *path, mode_t mode, int backlog,
                  struct hg_err *err)
{
    struct stat file;

    if (chmod(path, mode) != 0 || lstat(path, &file) != 0 || listen(listener->fd, backlog) != 0) {
        int cause = errno;

        unlink(path);
        return hg_err_set(err, cause, "cannot listen on %s: %s", path, strerror(cause));
    }
    listener->dev = file.st_dev;
    listener->ino = file.st_ino;
    return 0;
}

int hg_sock_listen(struct hg_sock_listener *listener, const char *path, mode_t mode, int backlog,
                   struct hg_err *err)
{
    struct sockaddr_un address;
    int rc;

    *listener = (struct hg_sock_listener){.fd = -1};
    rc = open_for(path, &address, err);
    if (rc < 0)
        return rc;
    listener->fd = rc;
    rc = take_place(listener->fd, &address, mode, err);
    if (rc == 0)
        rc = finish(listener, path, mode, backlog, err);
    if (rc != 0) {
        close(listener->fd);
        listener->fd = -1;
    }
    return rc;
}

int hg_sock_accept(const struct hg_sock_listener *listener, struct hg_err *err)
{
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0)
        return fd;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ECONNABORTED || errno == EINTR)
        return -EAGAIN;
    return hg_err_set(err, errno, "cannot accept a connection: %s", strerror(errno));
}

void hg_sock_remove(const struct hg_sock_listener *listener, const char *path)
{
    struct stat file;

    if (lstat(path, &file) == 0 && file.st_dev == listener->dev && file.st_ino == listener->ino)
        unlink(path);
}
