/*
 * UNIX stream sockets with a place in the file system: those of vhost-user sessions, in either
 * role, and the API's. All are non-blocking and close on exec; a socket that is returned is the
 * caller's to close.
 *
 * A listener's file outlives a process that was killed. Listening therefore replaces such a
 * leftover: a socket that refuses connections. Nothing else is ever removed: no file of another
 * kind, no socket that somebody answers, and at the end no file that has taken the place of ours.
 * Between the look at a leftover and its replacement another process may do the same; who minds
 * locks the directory.
 *
 * Control only.
 */
#ifndef HG_BASE_SOCK_H
#define HG_BASE_SOCK_H

#include <sys/types.h>

#include "base/err.h"

enum { HG_SOCKET_PATH_BYTES = 108 }; /* sun_path of unix(7), with its final zero */

struct hg_sock_listener {
    int fd;    /* -1: none */
    dev_t dev; /* the file that we made, */
    ino_t ino; /* to remove no other */
};

/* Whether a path fits into a socket's address. 0, or -ENAMETOOLONG with *err. */
int hg_sock_check_path(const char *path, struct hg_err *err);

/* Connects. UNIX sockets answer at once: returns the socket, or a negative errno with *err; -ENOENT
 * and -ECONNREFUSED when nobody listens now. */
int hg_sock_connect(const char *path, struct hg_err *err);

/*
 * Listens at `path`, on a file that has `mode` whatever the umask says and at no moment grants
 * more. `backlog` as in listen(2). Returns 0, or a negative errno with *err and listener->fd -1:
 * -EADDRINUSE when somebody answers there, -EEXIST when the file is no socket.
 */
int hg_sock_listen(struct hg_sock_listener *listener, const char *path, mode_t mode, int backlog,
                   struct hg_err *err);

/* The next peer that has connected. Returns its socket, -EAGAIN when nobody waits, or another
 * negative errno with *err. */
int hg_sock_accept(const struct hg_sock_listener *listener, struct hg_err *err);

/* Removes the listener's file, if the one at `path` is still ours. The fd stays as it is; as long
 * as it is open no other file can have our file's number, so remove first, then close. */
void hg_sock_remove(const struct hg_sock_listener *listener, const char *path);

#endif
