/*
 * HTTP over a listening UNIX socket, on the control loop.
 *
 * libmicrohttpd does the protocol without a thread of its own: its epoll set is one more fd of our
 * loop, its timeouts are our timer. Hence a handler runs on the control thread and may touch
 * everything there. What a client can take is bounded: connections, memory per connection, the size
 * of a request, and the time without progress.
 */
#ifndef HG_CTL_HTTP_H
#define HG_CTL_HTTP_H

#include <event2/event.h>
#include <stddef.h>

#include "base/err.h"

enum {
    HG_HTTP_BODY_BYTES_MAX = 64 * 1024,
    HG_HTTP_DISCARD_BYTES_MAX = 16 * 1024 * 1024, /* announced larger bodies are not waited for */
    HG_HTTP_CONNECTIONS_MAX = 256,                /* more wait in the socket's backlog */
    HG_HTTP_CONNECTION_BYTES = 16 * 1024,
    HG_HTTP_TIMEOUT_S = 10, /* without progress; then the connection is closed */
};

struct hg_request {
    const char *method;
    const char *path; /* decoded; may hold any byte but zero */
    const char *body; /* ends with a zero byte that is not counted */
    size_t body_n;
};

struct hg_reply {
    unsigned status;
    const char *type; /* of the body; static storage */
    char *body;       /* from malloc(), the reply's; NULL: none */
    size_t body_n;
    const char *allow; /* with status 405: the methods; static storage */
};

/* Answers one request: fills the reply, which is zero. */
typedef void hg_http_handler(const struct hg_request *request, struct hg_reply *reply, void *ctx);

struct hg_http;

/* Takes listen_fd over, also when it fails. 0 or a negative errno with *err. */
int hg_http_new(struct hg_http **http, struct event_base *loop, int listen_fd,
                hg_http_handler *handler, void *ctx, struct hg_err *err);

/* Ends all connections and frees everything. */
void hg_http_free(struct hg_http *http);

#endif
