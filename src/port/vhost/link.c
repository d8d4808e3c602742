/*
 * Where connections come from: a socket that listens, or one that is tried again and again.
 *
 * One front-end at a time: a server accepts a second connection only to close it, so that its peer
 * learns at once that the place is taken. A client doubles its pause from 100 ms to 5 s while nobody
 * listens, and begins anew after a session that lasted; one that breaks at once does not count.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "port/vhost/state.h"

enum {
    RETRY_MIN_MS = 100,
    RETRY_MAX_MS = 5000,
    BACKLOG = 4,
    SOCKET_MODE = 0660, /* the owner and its group: whoever connects can send frames */
};

static int open_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int connect_to(int fd, const struct sockaddr_un *address)
{
    return connect(fd, (const struct sockaddr *)address, sizeof(*address));
}

/* Removes what lies at our path if it is a socket that nobody listens on any more. */
static int remove_stale(const struct sockaddr_un *address, struct hg_err *err)
{
    const char *path = address->sun_path;
    struct stat file;
    int fd;
    int rc;

    if (lstat(path, &file) != 0)
        return errno == ENOENT ? 0 : hg_err_set(err, errno, "socket %s: %s", path, strerror(errno));
    if (!S_ISSOCK(file.st_mode))
        return hg_err_set(err, EEXIST, "socket %s: there is a file of that name, not a socket",
                          path);
    fd = open_socket();
    if (fd < 0)
        return hg_err_set(err, errno, "cannot open a socket: %s", strerror(errno));
    rc = connect_to(fd, address);
    int cause = errno;

    close(fd);
    if (rc == 0 || cause != ECONNREFUSED)
        return hg_err_set(err, EADDRINUSE, "socket %s: another process listens on it", path);
    if (unlink(path) != 0)
        return hg_err_set(err, errno, "cannot remove the stale socket %s: %s", path,
                          strerror(errno));
    return 0;
}

static void on_connection(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_vhost_port *vp = ctx;
    int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)what;
    if (peer < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            hg_log_limited(HG_LOG_ERROR, vp->log_name, "cannot accept a connection: %s",
                           strerror(errno));
    } else if (hg_vhost_connected(vp)) {
        close(peer);
        hg_log_limited(HG_LOG_WARN, vp->log_name,
                       "refused a second connection to %s: one front-end at a time",
                       vp->link.address.sun_path);
    } else {
        hg_vhost_session_begin(vp, peer);
    }
}

/* Binds with the mode that the socket is to have from its first moment on. */
static int bind_socket(struct hg_vhost_link *link, struct hg_err *err)
{
    const char *path = link->address.sun_path;
    struct stat file;

    if (fchmod(link->listen_fd, SOCKET_MODE) != 0 ||
        bind(link->listen_fd, (const struct sockaddr *)&link->address, sizeof(link->address)) != 0)
        return hg_err_set(err, errno,
                          "cannot create the socket %s: %s; its directory must exist and be "
                          "writable",
                          path, strerror(errno));
    /* The umask may have taken the group's bits. */
    if (chmod(path, SOCKET_MODE) != 0 || lstat(path, &file) != 0 ||
        listen(link->listen_fd, BACKLOG) != 0) {
        int cause = errno;

        unlink(path);
        return hg_err_set(err, cause, "cannot listen on %s: %s", path, strerror(cause));
    }
    link->dev = file.st_dev;
    link->ino = file.st_ino;
    return 0;
}

static int open_server(struct hg_vhost_port *vp, struct hg_err *err)
{
    struct hg_vhost_link *link = &vp->link;
    int rc = remove_stale(&link->address, err);

    if (rc != 0)
        return rc;
    link->listen_fd = open_socket();
    if (link->listen_fd < 0)
        return hg_err_set(err, errno, "cannot open a socket: %s", strerror(errno));
    rc = bind_socket(link, err);
    if (rc != 0) {
        close(link->listen_fd);
        link->listen_fd = -1;
        return rc;
    }
    link->event = event_new(vp->loop, link->listen_fd, EV_READ | EV_PERSIST, on_connection, vp);
    if (link->event == NULL || event_add(link->event, NULL) != 0) {
        hg_vhost_link_close(vp);
        return hg_err_set(err, ENOMEM, "no memory for an event");
    }
    return 0;
}

static void retry_later(struct hg_vhost_link *link)
{
    struct timeval pause = {
        .tv_sec = link->retry_ms / 1000,
        .tv_usec = (suseconds_t)(link->retry_ms % 1000) * 1000,
    };

    event_add(link->event, &pause);
    link->retry_ms = hg_min_u32(2 * link->retry_ms, RETRY_MAX_MS);
}

/* connect() on a UNIX socket answers at once: done, or not possible now. */
static void on_time_to_try(evutil_socket_t none, short what, void *ctx)
{
    struct hg_vhost_port *vp = ctx;
    struct hg_vhost_link *link = &vp->link;
    int fd = open_socket();

    (void)none;
    (void)what;
    if (fd < 0 || connect_to(fd, &link->address) != 0) {
        snprintf(link->problem, sizeof(link->problem), "%s", strerror(errno));
        if (fd >= 0)
            close(fd);
        retry_later(link);
        return;
    }
    link->connected_ns = hg_now_ns();
    hg_vhost_session_begin(vp, fd);
}

static int open_client(struct hg_vhost_port *vp, struct hg_err *err)
{
    struct timeval now = {0};

    vp->link.event = event_new(vp->loop, -1, 0, on_time_to_try, vp);
    if (vp->link.event == NULL || event_add(vp->link.event, &now) != 0) {
        hg_vhost_link_close(vp);
        return hg_err_set(err, ENOMEM, "no memory for an event");
    }
    return 0;
}

int hg_vhost_link_open(struct hg_vhost_port *vp, struct hg_err *err)
{
    vp->link.retry_ms = RETRY_MIN_MS;
    return vp->link.server ? open_server(vp, err) : open_client(vp, err);
}

void hg_vhost_link_lost(struct hg_vhost_port *vp)
{
    struct hg_vhost_link *link = &vp->link;

    if (link->server || link->event == NULL)
        return;
    link->problem[0] = '\0';
    if (hg_now_ns() - link->connected_ns >= RETRY_MAX_MS * HG_NS_PER_MS)
        link->retry_ms = RETRY_MIN_MS;
    retry_later(link);
}

void hg_vhost_link_close(struct hg_vhost_port *vp)
{
    struct hg_vhost_link *link = &vp->link;
    struct stat file;

    if (link->event != NULL)
        event_free(link->event);
    link->event = NULL;
    if (link->listen_fd < 0)
        return;
    close(link->listen_fd);
    link->listen_fd = -1;
    /* Somebody may have put another socket there meanwhile. */
    if (lstat(link->address.sun_path, &file) == 0 && file.st_dev == link->dev &&
        file.st_ino == link->ino)
        unlink(link->address.sun_path);
}
