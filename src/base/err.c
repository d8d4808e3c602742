#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int hg_err_set(struct hg_err *e, int errno_value, const char *fmt, ...)
{
    if (e) {
        int saved_errno = errno;
        char text[sizeof(e->text)]; /* the arguments may point into e->text */
        va_list args;

        va_start(args, fmt);
        vsnprintf(text, sizeof(text), fmt, args);
        va_end(args);
        memcpy(e->text, text, sizeof(text));
        errno = saved_errno;
    }
    return -errno_value;
}
