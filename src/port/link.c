#include "port/link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"

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
    struct hg_link *link = ctx;
    int peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    (void)what;
    if (peer < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            hg_log_limited(HG_LOG_ERROR, link->log_name, "cannot accept a connection: %s",
                           strerror(errno));
    } else if (link->taken) {
        close(peer);
        hg_log_limited(HG_LOG_WARN, link->log_name,
                       "refused a second connection to %s: one peer at a time", hg_link_path(link));
    } else {
        link->taken = true;
        link->connected(link->ctx, peer);
    }
}

/* Binds with the mode that the socket is to have from its first moment on. */
static int bind_socket(struct hg_link *link, struct hg_err *err)
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

static int open_server(struct hg_link *link, struct hg_err *err)
{
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
    link->event = event_new(link->loop, link->listen_fd, EV_READ | EV_PERSIST, on_connection, link);
    if (link->event == NULL || event_add(link->event, NULL) != 0) {
        hg_link_close(link);
        return hg_err_set(err, ENOMEM, "no memory for an event");
    }
    return 0;
}

static void retry_later(struct hg_link *link)
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
    struct hg_link *link = ctx;
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
    link->taken = true;
    link->connected(link->ctx, fd);
}

static int open_client(struct hg_link *link, struct hg_err *err)
{
    struct timeval now = {0};

    link->event = event_new(link->loop, -1, 0, on_time_to_try, link);
    if (link->event == NULL || event_add(link->event, &now) != 0) {
        hg_link_close(link);
        return hg_err_set(err, ENOMEM, "no memory for an event");
    }
    return 0;
}

int hg_link_init(struct hg_link *link, const char *path, struct hg_err *err)
{
    link->listen_fd = -1;
    link->address.sun_family = AF_UNIX;
    if (path[0] == '\0' || strlen(path) >= sizeof(link->address.sun_path))
        return hg_err_set(err, ENAMETOOLONG, "a socket's path has 1 to %zu bytes, not %zu: '%s'",
                          sizeof(link->address.sun_path) - 1, strlen(path), path);
    strcpy(link->address.sun_path, path);
    return 0;
}

int hg_link_open(struct hg_link *link, struct hg_err *err)
{
    link->retry_ms = RETRY_MIN_MS;
    return link->server ? open_server(link, err) : open_client(link, err);
}

void hg_link_lost(struct hg_link *link)
{
    link->taken = false;
    if (link->server || link->event == NULL)
        return;
    link->problem[0] = '\0';
    if (hg_now_ns() - link->connected_ns >= RETRY_MAX_MS * HG_NS_PER_MS)
        link->retry_ms = RETRY_MIN_MS;
    retry_later(link);
}

void hg_link_close(struct hg_link *link)
{
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

void hg_link_describe(const struct hg_link *link, const char *peer, char *text, size_t size)
{
    const char *path = hg_link_path(link);

    if (link->server)
        snprintf(text, size, "waiting for a %s to connect to %s", peer, path);
    else if (link->problem[0] == '\0')
        snprintf(text, size, "about to connect to %s", path);
    else
        snprintf(text, size, "cannot connect to %.108s: %.60s", path, link->problem);
}
