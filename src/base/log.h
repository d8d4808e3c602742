/* The log: one line per event on standard error, `level: component: text`.
 *
 * For people and for the journal. The text may quote what a peer sent: bytes that are not printable
 * ASCII are escaped, so that no peer can forge a line or drive a terminal. What a peer can trigger
 * as often as it likes goes through hg_log_limited(), which bounds the lines per call site.
 *
 * A line is one write(2), so lines of different threads do not mix; a worker does not log while
 * packets flow, because a write can block. */
#ifndef HG_BASE_LOG_H
#define HG_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/api.h"
#include "base/atomic.h"
#include "base/err.h"

HG_API_BEGIN

enum hg_log_level { HG_LOG_ERROR, HG_LOG_WARN, HG_LOG_INFO, HG_LOG_DEBUG };

/** Lines that one call site of hg_log_limited() may write in each window. */
enum { HG_LOG_LIMIT_LINES_N = 5, HG_LOG_LIMIT_WINDOW_S = 10 };

/** What a call site of hg_log_limited() remembers; zero-initialised. The upper half is the number
 * of the current window, the lower half counts the calls in it. */
struct hg_log_limit {
    _Atomic(uint64_t) window_and_calls;
};

/** Sets the most talkative level that is still written (HG_LOG_INFO at start). Thread-safe. */
void hg_log_set_level(enum hg_log_level most_talkative);

/** Whether `level` would be written; to skip work that only a log line needs. Thread-safe. */
bool hg_log_enabled(enum hg_log_level level);

/**
 * Writes one line. Text above about 1000 bytes is cut and ends in "...". Keeps errno. Thread-safe.
 *
 * @param component  who speaks: a folder or an object, e.g. "vhost" or "port vm1"
 */
void hg_log(enum hg_log_level level, const char *component, const char *fmt, ...) HG_PRINTF(3, 4);

/** hg_log() behind `limit`; lines held back are counted and their number stands at the end of the
 * site's next line. Use it through hg_log_limited(). Thread-safe. */
void hg_log_with_limit(struct hg_log_limit *limit, enum hg_log_level level, const char *component,
                       const char *fmt, ...) HG_PRINTF(4, 5);

/**
 * The decision alone: may this call site speak at `now_s` (seconds of any clock that does not go
 * back)? Exact under concurrent callers: no window admits more than HG_LOG_LIMIT_LINES_N.
 *
 * @param held_back_n  receives how many calls of the last window were refused, for the call that
 *                     opens a new one; else 0
 */
bool hg_log_admit(struct hg_log_limit *limit, uint64_t now_s, uint32_t *held_back_n);

/** hg_log() for what a hostile peer can trigger: at most HG_LOG_LIMIT_LINES_N lines per
 * HG_LOG_LIMIT_WINDOW_S seconds from this place in the code. */
#define hg_log_limited(level, component, ...)                                                      \
    do {                                                                                           \
        static struct hg_log_limit hg_log_limit_here;                                              \
        hg_log_with_limit(&hg_log_limit_here, (level), (component), __VA_ARGS__);                  \
    } while (0)

HG_API_END

#endif
