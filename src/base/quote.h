/*
 * Words of others in our sentences.
 */
#ifndef HG_BASE_QUOTE_H
#define HG_BASE_QUOTE_H

enum { HG_QUOTED_BYTES = 48 };

struct hg_quoted {
    char text[HG_QUOTED_BYTES];
};

/* The text in single quotes, what is not printable ASCII as '?', a long one cut to end in "...".
 * For error messages: no input can fill them up or drive a terminal. Pure. */
struct hg_quoted hg_quote(const char *text);

#endif
