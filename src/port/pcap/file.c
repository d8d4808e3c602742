#include "port/pcap/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/quote.h"

static const char *name_kind(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return NULL;
    case S_IFDIR:
        return "a directory";
    case S_IFIFO:
        return "a FIFO";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

/* What stands at the path if that is no regular file, which open() may have refused already: a
 * socket, a directory to be written, a FIFO that nobody reads. NULL otherwise. */
static const char *find_kind(int fd, const char *path)
{
    struct stat st;

    return (fd >= 0 ? fstat(fd, &st) : stat(path, &st)) == 0 ? name_kind(st.st_mode) : NULL;
}

FILE *hg_capture_open(const char *path, const char *what, bool written, int *code,
                      struct hg_err *err)
{
    int flags = (written ? O_WRONLY | O_CREAT : O_RDONLY) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    int fd = open(path, flags, 0666);
    int failed = errno;
    const char *kind = find_kind(fd, path);
    FILE *stream = NULL;

    if (kind != NULL) {
        *code = hg_err_set(err, EINVAL, "%s: %s is %s; expected a regular file", what,
                           hg_quote(path).text, kind);
    } else if (fd < 0 || (written && ftruncate(fd, 0) < 0) ||
               (stream = fdopen(fd, written ? "wb" : "rb")) == NULL) {
        failed = fd < 0 ? failed : errno;
        *code = hg_err_set(err, failed, "%s: cannot open %s: %s", what, hg_quote(path).text,
                           strerror(failed));
    }
    if (stream == NULL && fd >= 0)
        close(fd);
    return stream;
}
