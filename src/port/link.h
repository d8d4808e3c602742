/*
 * Where the sessions of a port come from: a UNIX socket that listens, or one that is tried again
 * and again.
 *
 * One peer at a time: a server accepts a second connection only to close it, so that its peer
 * learns at once that the place is taken. A client doubles its pause from 100 ms to 5 s while
 * nobody listens, and begins anew after a session that lasted; one that breaks at once does not
 * count.
 *
 * Control only.
 */
#ifndef HG_PORT_LINK_H
#define HG_PORT_LINK_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sock.h"

/* What a driver fills in before hg_link_open(). */
struct hg_link {
    struct event_base *loop;
    const char *log_name; /* of the port */
    bool server;          /* listens; else connects */
    /* Takes over a connected, non-blocking socket. hg_link_lost() follows when the session is
     * over. */
    void (*connected)(void *ctx, int fd);
    void *ctx;

    /* Of link.c. */
    char path[HG_SOCKET_PATH_BYTES];
    bool taken;                       /* there is a session */
    struct hg_sock_listener listener; /* server */
    struct event *event;              /* server: a connection waits; client: time to try */
    struct event *pause;              /* server: accepting failed, look again later */
    unsigned retry_ms;                /* client: the next pause */
    uint64_t connected_ns;            /* client: when the session began */
    char problem[100];                /* client: why the last try failed; empty: not tried yet */
};

/* Sets the path, and the state before open. 0, or -ENAMETOOLONG with *err. */
int hg_link_init(struct hg_link *link, const char *path, struct hg_err *err);

/* Begins to listen or connect. 0 or a negative errno with *err, nothing left behind. */
int hg_link_open(struct hg_link *link, struct hg_err *err);

/* The session is over: a client tries again. Harmless when the link is not open. */
void hg_link_lost(struct hg_link *link);

/* Ends listening and trying; a session that exists is the driver's to end, after this. */
void hg_link_close(struct hg_link *link);

/* What it waits for, as a sentence: "waiting for a front-end to connect to /run/vm1.sock". `peer`
 * names who is expected. */
void hg_link_describe(const struct hg_link *link, const char *peer, char *text, size_t size);

#endif
