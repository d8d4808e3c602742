#include "virtio/vhost_sock.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG_N = 1 }; /* one session at a time */

static int name_of(const char *path, struct sockaddr_un *name, struct hg_err *err)
{
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (path[0] == '\0' || strlen(path) >= sizeof(name->sun_path))
        return hg_err_set(err, ENAMETOOLONG, "'%s': a socket's path has 1 to %zu bytes", path,
                          sizeof(name->sun_path) - 1);
    strcpy(name->sun_path, path);
    return 0;
}

static int open_socket(struct hg_err *err)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    return fd >= 0 ? fd : hg_err_set(err, errno, "cannot make a socket: %s", strerror(errno));
}

int hg_vhost_sock_connect(const char *path, struct hg_err *err)
{
    struct sockaddr_un name;
    int rc = name_of(path, &name, err);
    int fd = rc == 0 ? open_socket(err) : rc;

    if (fd < 0)
        return fd;
    if (connect(fd, (struct sockaddr *)&name, sizeof(name)) != 0) {
        rc = hg_err_set(err, errno, "cannot connect to '%s': %s", path, strerror(errno));
        close(fd);
        return rc;
    }
    return fd;
}

/* Whether a socket is left at `path` by a listener that is gone. */
static bool is_stale(const char *path)
{
    struct stat status;

    if (lstat(path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return false;

    int fd = hg_vhost_sock_connect(path, NULL);

    if (fd >= 0)
        close(fd);
    return fd == -ECONNREFUSED;
}

int hg_vhost_sock_listen(const char *path, struct hg_err *err)
{
    struct sockaddr_un name;
    int rc = name_of(path, &name, err);
    int fd = rc == 0 ? open_socket(err) : rc;

    if (fd < 0)
        return fd;
    rc = bind(fd, (struct sockaddr *)&name, sizeof(name));
    if (rc != 0 && errno == EADDRINUSE && is_stale(path) && unlink(path) == 0)
        rc = bind(fd, (struct sockaddr *)&name, sizeof(name));
    if (rc == 0)
        rc = listen(fd, BACKLOG_N);
    if (rc != 0) {
        rc = hg_err_set(err, errno, "cannot listen at '%s': %s", path, strerror(errno));
        close(fd);
        return rc;
    }
    return fd;
}

int hg_vhost_sock_accept(int listener, struct hg_err *err)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0)
        return fd;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ECONNABORTED || errno == EINTR)
        return -EAGAIN;
    return hg_err_set(err, errno, "cannot accept a connection: %s", strerror(errno));
}
