#include "ctl/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static bool reserve(struct hg_text *text, size_t more)
{
    size_t room = text->room ? text->room : 1024;
    char *bytes;

    while (room < text->n + more + 1) {
        room *= 2;
    }
    if (room == text->room) {
        return true;
    }
    bytes = realloc(text->bytes, room);
    if (!bytes) {
        hg_text_free(text);
        text->failed = true;
        return false;
    }
    text->bytes = bytes;
    text->room = room;
    return true;
}

void hg_text_add(struct hg_text *text, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0 || text->failed || !reserve(text, (size_t)n)) {
        return;
    }
    va_start(args, fmt);
    vsnprintf(text->bytes + text->n, text->room - text->n, fmt, args);
    va_end(args);
    text->n += (size_t)n;
}

void hg_text_free(struct hg_text *text)
{
    free(text->bytes);
    *text = (struct hg_text){.failed = text->failed};
}
