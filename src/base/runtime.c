#include "base/runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/sock.h"

void hg_runtime_dir(char *path, size_t n)
{
    const char *user = getenv("XDG_RUNTIME_DIR"); // NOLINT(concurrency-mt-unsafe)

    if (geteuid() == 0) {
        snprintf(path, n, "/run/headgate");
    } else if (user && user[0] == '/') {
        snprintf(path, n, "%s/headgate", user);
    } else {
        snprintf(path, n, "/tmp/headgate-%u", (unsigned)geteuid());
    }
}

void hg_runtime_api(char *path, size_t n)
{
    char dir[HG_SOCKET_PATH_BYTES];

    hg_runtime_dir(dir, sizeof(dir));
    snprintf(path, n, "%s/api.sock", dir);
}
