/*
 * A text that grows, for answers that are too large or too simple for a tree of JSON values.
 */
#ifndef HG_CTL_TEXT_H
#define HG_CTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Zero-initialised is empty. When memory runs out the text stays empty and `failed` says so. */
struct hg_text {
    char *bytes; /* ends with a zero byte; NULL while nothing was added */
    size_t n;    /* without it */
    size_t room;
    bool failed;
};

void hg_text_add(struct hg_text *text, const char *fmt, ...) HG_PRINTF(2, 3);
void hg_text_free(struct hg_text *text);

#endif
