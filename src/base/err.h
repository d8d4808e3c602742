/* Errors: a negative errno tells the program what to do, a sentence tells the person why.
 *
 * A function that can fail in ways worth explaining takes a `struct hg_err *` as its last argument
 * and returns 0 or a negative errno. The sentence says what was expected and where; callers add
 * nothing to it and print it as it is. Whoever does not care passes NULL. */
#ifndef HG_BASE_ERR_H
#define HG_BASE_ERR_H

#include "base/api.h"

HG_API_BEGIN

#define HG_PRINTF(format_index, first_index)                                                       \
    __attribute__((format(printf, format_index, first_index)))

/** The sentence that explains a failure; meaningful only after a function returned an error.
 * Owned by the caller, usually on its stack. */
struct hg_err {
    char text[256];
};

/**
 * Explains a failure and returns its number, so that it fits into a return statement:
 *
 *     return hg_err_set(err, EINVAL, "port '%s': queue size %u is not a power of two", name, n);
 *
 * @param e            receives the sentence, cut at the end if it does not fit; may be NULL
 * @param errno_value  positive errno constant
 * @return             -errno_value
 *
 * The arguments may point into `e->text`, so a caller can put a prefix in front of what a callee
 * said. Keeps errno. Thread-safe as long as `e` is not shared.
 */
int hg_err_set(struct hg_err *e, int errno_value, const char *fmt, ...) HG_PRINTF(3, 4);

HG_API_END

#endif
