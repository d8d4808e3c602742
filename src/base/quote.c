#include "base/quote.h"

#include <string.h>

struct hg_quoted hg_quote(const char *text)
{
    enum { CUT_N = 4 }; /* "...'" */
    struct hg_quoted quoted = {.text = "'"};
    size_t used = 1;

    while (*text && used + CUT_N + 1 < sizeof(quoted.text)) {
        quoted.text[used++] = *text >= 0x20 && *text < 0x7f ? *text : '?';
        text++;
    }
    memcpy(quoted.text + used, *text ? "...'" : "'", *text ? CUT_N + 1 : 2);
    return quoted;
}
