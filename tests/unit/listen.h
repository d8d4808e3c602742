/* What a test hears of the log, which writes to the standard error. */
#ifndef HG_TESTS_UNIT_LISTEN_H
#define HG_TESTS_UNIT_LISTEN_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

/* What the log says while `act` is done: less than a pipe holds, the first n - 1 bytes of it. */
static inline void listen_to(void (*act)(void), char *text, size_t n)
{
    int pipes[2], saved = dup(STDERR_FILENO);
    ssize_t got;

    assert_int_equal(pipe(pipes), 0);
    dup2(pipes[1], STDERR_FILENO);
    close(pipes[1]);
    act();
    dup2(saved, STDERR_FILENO);
    close(saved);
    got = read(pipes[0], text, n - 1);
    text[got > 0 ? got : 0] = '\0';
    close(pipes[0]);
}

#endif
