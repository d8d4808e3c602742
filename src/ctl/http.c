#include "ctl/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/log.h"
#include "base/number.h"

struct hg_http {
    struct MHD_Daemon *daemon;
    struct event *ready;
    struct event *timer;
    hg_http_handler *handler;
    void *ctx;
};

/* A request that is being received. */
struct upload {
    char *body;
    size_t n;
    bool too_large; /* what comes is thrown away until the client has finished and can be told */
};

static enum MHD_Result send_reply(struct MHD_Connection *connection, struct hg_reply *reply)
{
    struct MHD_Response *response;
    enum MHD_Result result;

    response = MHD_create_response_from_buffer(reply->body_n, reply->body, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(reply->body);
        return MHD_NO;
    }
    if (reply->type) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type);
    }
    if (reply->allow) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, reply->allow);
    }
    result = MHD_queue_response(connection, reply->status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result refuse_size(struct MHD_Connection *connection)
{
    static const char text[] = "{\"error\": \"the request has more than 65536 bytes\"}\n";
    struct hg_reply reply = {
        .status = MHD_HTTP_CONTENT_TOO_LARGE,
        .type = "application/json",
        .body = strdup(text),
        .body_n = sizeof(text) - 1,
    };

    _Static_assert(HG_HTTP_BODY_BYTES_MAX == 65536, "as the sentence says");
    return reply.body ? send_reply(connection, &reply) : MHD_NO;
}

/* Many clients look for an answer only when they have sent all: one who has announced somewhat too
 * much is told after that. */
static bool announced_too_large(struct MHD_Connection *connection)
{
    const char *length =
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    uint64_t n;

    return length && hg_parse_uint(length, 0, HG_HTTP_DISCARD_BYTES_MAX, &n) < 0;
}

static enum MHD_Result receive(struct upload *upload, const char *data, size_t *n)
{
    if (upload->too_large || *n > HG_HTTP_BODY_BYTES_MAX - upload->n) {
        upload->too_large = true;
        *n = 0;
        return MHD_YES;
    }

    char *body = realloc(upload->body, upload->n + *n + 1);

    if (!body) {
        return MHD_NO;
    }
    memcpy(body + upload->n, data, *n);
    upload->body = body;
    upload->n += *n;
    upload->body[upload->n] = '\0';
    *n = 0;
    return MHD_YES;
}

/* Called by libmicrohttpd once when the headers are there, for every piece of the body, and once
 * when all of it has come. */
static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_n, void **state)
{
    struct hg_http *http = ctx;
    struct upload *upload = *state;
    struct hg_reply reply = {.status = 0};

    (void)version;
    if (!upload) {
        *state = calloc(1, sizeof(*upload));
        if (!*state) {
            return MHD_NO;
        }
        return announced_too_large(connection) ? refuse_size(connection) : MHD_YES;
    }
    if (*data_n > 0) {
        return receive(upload, data, data_n);
    }
    if (upload->too_large) {
        return refuse_size(connection);
    }

    const struct hg_request request = {
        .method = method,
        .path = url,
        .body = upload->body ? upload->body : "",
        .body_n = upload->n,
    };

    http->handler(&request, &reply, http->ctx);
    return send_reply(connection, &reply);
}

static void on_completed(void *ctx, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    struct upload *upload = *state;

    (void)ctx;
    (void)connection;
    (void)code;
    if (upload) {
        free(upload->body);
        free(upload);
        *state = NULL;
    }
}

/* Lets libmicrohttpd work, then asks when it wants to be called though nothing has happened. */
static void serve(evutil_socket_t fd, short what, void *ctx)
{
    struct hg_http *http = ctx;
    MHD_UNSIGNED_LONG_LONG ms;

    (void)fd;
    (void)what;
    if (MHD_run(http->daemon) != MHD_YES) {
        hg_log_limited(HG_LOG_ERROR, "api", "libmicrohttpd failed: %s", strerrordesc_np(errno));
    }
    if (MHD_get_timeout(http->daemon, &ms) == MHD_YES) {
        struct timeval timeout = {.tv_sec = (time_t)(ms / 1000),
                                  .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

        evtimer_add(http->timer, &timeout);
    } else {
        evtimer_del(http->timer);
    }
}

static int watch(struct hg_http *http, struct event_base *loop)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_EPOLL_FD);

    if (!info || info->epoll_fd < 0) {
        return -ENOSYS;
    }
    http->ready = event_new(loop, info->epoll_fd, EV_READ | EV_PERSIST, serve, http);
    http->timer = evtimer_new(loop, serve, http);
    return http->ready && http->timer && event_add(http->ready, NULL) == 0 ? 0 : -ENOMEM;
}

int hg_http_new(struct hg_http **into, struct event_base *loop, int listen_fd,
                hg_http_handler *handler, void *ctx, struct hg_err *err)
{
    struct hg_http *http = calloc(1, sizeof(*http));
    int rc;

    if (!http) {
        close(listen_fd);
        return hg_err_set(err, ENOMEM, "out of memory");
    }
    http->handler = handler;
    http->ctx = ctx;
    http->daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET, listen_fd,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)HG_HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)HG_HTTP_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)HG_HTTP_CONNECTION_BYTES, MHD_OPTION_END);
    if (!http->daemon) {
        close(listen_fd);
        free(http);
        return hg_err_set(err, EIO, "libmicrohttpd does not start: %s", strerrordesc_np(errno));
    }
    if ((rc = watch(http, loop)) < 0) {
        hg_http_free(http);
        return hg_err_set(err, -rc, "libmicrohttpd cannot be watched: %s", strerrordesc_np(-rc));
    }
    *into = http;
    return 0;
}

void hg_http_free(struct hg_http *http)
{
    if (http->ready) {
        event_free(http->ready);
    }
    if (http->timer) {
        event_free(http->timer);
    }
    MHD_stop_daemon(http->daemon); /* closes the listening socket, too */
    free(http);
}
