/*
 * The API's listening socket: a file that only this user can use, and only one daemon at a time.
 */
#ifndef HG_CTL_LISTEN_H
#define HG_CTL_LISTEN_H

#include "base/err.h"
#include "base/sock.h"

struct hg_listen {
    struct hg_sock_listener listener;
    char path[HG_SOCKET_PATH_BYTES];
};

/*
 * Makes the directory if only its last component is missing (mode 0700), refuses one where others
 * could replace our file, and listens on `path` with mode 0600, as hg_sock_listen() does. 0 or a
 * negative errno with *err.
 */
int hg_listen_open(struct hg_listen *listening, const char *path, struct hg_err *err);

/* Removes the file, if it is still ours. The fd belongs to whoever took it. */
void hg_listen_remove(const struct hg_listen *listening);

#endif
