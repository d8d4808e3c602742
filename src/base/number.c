#include "base/number.h"

#include <errno.h>

int hg_parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
    uint64_t number = 0;

    if (!*text) {
        return -EINVAL;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || number > (UINT64_MAX - 9) / 10) {
            return -EINVAL;
        }
        number = number * 10 + (uint64_t)(*text - '0');
    }
    if (number < min || number > max) {
        return -EINVAL;
    }
    *value = number;
    return 0;
}
