/*
 * Where the daemon and its client meet when nobody says otherwise.
 */
#ifndef HG_BASE_RUNTIME_H
#define HG_BASE_RUNTIME_H

#include <stddef.h>

/*
 * The directory of this user's sockets, which need not exist: /run/headgate for root,
 * $XDG_RUNTIME_DIR/headgate for everybody else, /tmp/headgate-UID where that variable is not set.
 * Cut to fit `n` bytes. Any thread, as long as nobody changes the environment.
 */
void hg_runtime_dir(char *path, size_t n);

/* The API socket in that directory: .../api.sock. */
void hg_runtime_api(char *path, size_t n);

#endif
