/*
 * The UNIX sockets of vhost-user sessions, for either end and either role. All are non-blocking and
 * close on exec; what is returned is the caller's to close. Control only.
 */
#ifndef HG_VIRTIO_VHOST_SOCK_H
#define HG_VIRTIO_VHOST_SOCK_H

#include "base/err.h"

/* Connects to a listening peer. Returns the socket or a negative errno with *err: -ENOENT and
 * -ECONNREFUSED when nobody listens now. */
int hg_vhost_sock_connect(const char *path, struct hg_err *err);

/* Listens at `path`; a socket there that nobody listens at any more is replaced. Returns the socket or
 * a negative errno with *err: -EADDRINUSE when somebody else listens or it is not a socket. */
int hg_vhost_sock_listen(const char *path, struct hg_err *err);

/* The next peer that has connected. Returns its socket, -EAGAIN when nobody waits, or another negative
 * errno with *err. */
int hg_vhost_sock_accept(int listener, struct hg_err *err);

#endif
