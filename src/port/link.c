#include "port/link.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/clock.h"
#include "base/log.h"
#include "port/event.h"

enum {
    RETRY_MIN_MS = 100,
    RETRY_MAX_MS = 5000,
    BACKLOG = 4,
    ACCEPT_PAUSE_MS = 100,
    SOCKET_MODE = 0660, /* the owner and its group: whoever connects can send frames */
};

static void listen_again(evutil_socket_t none, short what, void *ctx)
{
    struct hg_link *link = ctx;

    (void)none;
    (void)what;
    event_add(link->event, NULL);
}

/* Out of descriptors or memory: the connection stays in the queue, and the listener readable.
 * Looking again at once would keep the control loop busy with nothing else. */
static void pause_listening(struct hg_link *link)
{
    static const struct timeval pause = {.tv_usec = ACCEPT_PAUSE_MS * 1000};

    event_del(link->event);
    event_add(link->pause, &pause);
}

static void on_connection(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_link *link = ctx;
    struct hg_err err;
    int peer = hg_sock_accept(&link->listener, &err);

    (void)fd;
    (void)what;
    if (peer < 0) {
        if (peer != -EAGAIN) {
            hg_log_limited(HG_LOG_ERROR, link->log_name, "%s", err.text);
            pause_listening(link);
        }
    } else if (link->taken) {
        close(peer);
        hg_log_limited(HG_LOG_WARN, link->log_name,
                       "refused a second connection to %s: one peer at a time", link->path);
    } else {
        link->taken = true;
        link->connected(link->ctx, peer);
    }
}

static int open_server(struct hg_link *link, struct hg_err *err)
{
    int rc = hg_sock_listen(&link->listener, link->path, SOCKET_MODE, BACKLOG, err);

    if (rc != 0)
        return rc;
    link->event =
        event_new(link->loop, link->listener.fd, EV_READ | EV_PERSIST, on_connection, link);
    link->pause = evtimer_new(link->loop, listen_again, link);
    if (link->event == NULL || link->pause == NULL || event_add(link->event, NULL) != 0) {
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

static void on_time_to_try(evutil_socket_t none, short what, void *ctx)
{
    struct hg_link *link = ctx;
    int fd = hg_sock_connect(link->path, NULL);

    (void)none;
    (void)what;
    if (fd < 0) {
        snprintf(link->problem, sizeof(link->problem), "%s", strerror(-fd));
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
    int rc = hg_sock_check_path(path, err);

    link->listener.fd = -1;
    if (rc == 0)
        memcpy(link->path, path, strlen(path) + 1);
    return rc;
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
    hg_event_free(&link->event);
    hg_event_free(&link->pause);
    if (link->listener.fd < 0)
        return;
    hg_sock_remove(&link->listener, link->path);
    close(link->listener.fd);
    link->listener.fd = -1;
}

void hg_link_describe(const struct hg_link *link, const char *peer, char *text, size_t size)
{
    const char *path = link->path;

    if (link->server)
        snprintf(text, size, "waiting for a %s to connect to %s", peer, path);
    else if (link->problem[0] == '\0')
        snprintf(text, size, "about to connect to %s", path);
    else
        snprintf(text, size, "cannot connect to %.108s: %.60s", path, link->problem);
}
