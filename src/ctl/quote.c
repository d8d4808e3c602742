#include "ctl/quote.h"

#include <string.h>

struct hg_quoted hg_quote(const char *text)
{
    static const char cut[] = "...'";
    struct hg_quoted quoted = {.text = "'"};
    size_t used = 1;

    while (*text && used + sizeof(cut) < sizeof(quoted.text)) {
        quoted.text[used++] = *text >= 0x20 && *text < 0x7f ? *text : '?';
        text++;
    }
    strcpy(quoted.text + used, *text ? cut : "'");
    return quoted;
}
