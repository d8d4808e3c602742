#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 };

static const char *const level_names[] = {
    [HG_LOG_ERROR] = "error",
    [HG_LOG_WARN] = "warn",
    [HG_LOG_INFO] = "info",
    [HG_LOG_DEBUG] = "debug",
};

static _Atomic int max_level = HG_LOG_INFO;

void hg_log_set_level(enum hg_log_level most_talkative)
{
    atomic_store_explicit(&max_level, (int)most_talkative, memory_order_relaxed);
}

bool hg_log_enabled(enum hg_log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

/* A line under construction. Room for the mark of a cut line and the line's end is always kept. */
struct line {
    char bytes[LINE_MAX_BYTES];
    size_t length;
    bool cut;
};

static const char cut_mark[] = "...\n";

static void append(struct line *line, const char *bytes, size_t n)
{
    if (line->cut || n > sizeof(line->bytes) - sizeof(cut_mark) - line->length) {
        line->cut = true;
        return;
    }
    memcpy(line->bytes + line->length, bytes, n);
    line->length += n;
}

/* Appends text with everything but printable ASCII as \xNN; the backslash itself is doubled, so
 * that an escape can be told from a peer that wrote one. Never cuts inside an escape. */
static void append_escaped(struct line *line, const char *text)
{
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        char escape[5];

        if (c == '\\') {
            append(line, "\\\\", 2);
        } else if (c >= 0x20 && c < 0x7f) {
            append(line, p, 1);
        } else {
            snprintf(escape, sizeof(escape), "\\x%02x", c);
            append(line, escape, 4);
        }
    }
}

static void HG_PRINTF(4, 0) write_line(enum hg_log_level level, const char *component,
                                       uint32_t held_back_n, const char *fmt, va_list args)
{
    int saved_errno = errno;
    struct line line = {.length = 0};
    char text[LINE_MAX_BYTES];

    append_escaped(&line, level_names[level]);
    append(&line, ": ", 2);
    append_escaped(&line, component);
    append(&line, ": ", 2);
    vsnprintf(text, sizeof(text), fmt, args);
    append_escaped(&line, text);
    if (held_back_n > 0) {
        snprintf(text, sizeof(text), " (%u more held back)", held_back_n);
        append_escaped(&line, text);
    }

    const char *end = line.cut ? cut_mark : "\n";

    memcpy(line.bytes + line.length, end, strlen(end));
    line.length += strlen(end);

    /* Nobody can be told when standard error is gone, so a failure here has no consequence. */
    while (write(STDERR_FILENO, line.bytes, line.length) < 0 && errno == EINTR) {
    }
    errno = saved_errno;
}

void hg_log(enum hg_log_level level, const char *component, const char *fmt, ...)
{
    va_list args;

    if (!hg_log_enabled(level)) {
        return;
    }
    va_start(args, fmt);
    write_line(level, component, 0, fmt, args);
    va_end(args);
}

bool hg_log_admit(struct hg_log_limit *limit, uint64_t now_s, uint32_t *held_back_n)
{
    /* Window 0 is the fresh site that has not spoken yet. */
    const uint64_t window = now_s / HG_LOG_LIMIT_WINDOW_S + 1;
    const uint64_t first_call = window << 32 | 1;
    uint64_t seen = atomic_load_explicit(&limit->window_and_calls, memory_order_relaxed);
    uint64_t next;

    /* Relaxed: the word carries its whole meaning and publishes nothing else. */
    do {
        if (seen >> 32 != first_call >> 32) {
            next = first_call;
        } else if ((uint32_t)seen < UINT32_MAX) {
            next = seen + 1;
        } else {
            next = seen;
        }
    } while (!atomic_compare_exchange_weak_explicit(&limit->window_and_calls, &seen, next,
                                                    memory_order_relaxed, memory_order_relaxed));

    uint32_t calls_n = (uint32_t)seen;
    bool opens_window = next == first_call;

    *held_back_n =
        opens_window && calls_n > HG_LOG_LIMIT_LINES_N ? calls_n - HG_LOG_LIMIT_LINES_N : 0;
    return opens_window || calls_n < HG_LOG_LIMIT_LINES_N;
}

void hg_log_with_limit(struct hg_log_limit *limit, enum hg_log_level level, const char *component,
                       const char *fmt, ...)
{
    struct timespec now;
    uint32_t held_back_n;
    va_list args;

    if (!hg_log_enabled(level)) {
        return;
    }
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (!hg_log_admit(limit, (uint64_t)now.tv_sec, &held_back_n)) {
        return;
    }
    va_start(args, fmt);
    write_line(level, component, held_back_n, fmt, args);
    va_end(args);
}
