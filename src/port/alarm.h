/*
 * A file descriptor that becomes readable at a time: what a receive queue that makes its own work,
 * by the clock, has its worker sleep on.
 */
#ifndef HG_PORT_ALARM_H
#define HG_PORT_ALARM_H

#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"

/* Returns the descriptor, to be closed by the caller, or a negative errno with *err. Control. */
static inline int hg_alarm_new(struct hg_err *err)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    int code = errno;

    return fd >= 0 ? fd : hg_err_set(err, code, "cannot create a timer: %s", strerror(code));
}

/* Makes it readable at `at_ns` of hg_now_ns(), at once when that has passed. A later call replaces
 * an earlier one. The queue's worker. */
static inline void hg_alarm_set(int fd, uint64_t at_ns)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(at_ns / HG_NS_PER_S),
                     .tv_nsec = (long)(at_ns % HG_NS_PER_S)},
    };

    /* Cannot fail: the descriptor is ours and the time is valid. */
    (void)timerfd_settime(fd, TFD_TIMER_ABSTIME, &at, NULL);
}

#endif
