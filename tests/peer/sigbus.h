/*
 * The handler of mem/foreign.h under cmocka, which puts one of its own in place before each test
 * and fixture, and the one that it found back behind it.
 */
#ifndef HG_TESTS_PEER_SIGBUS_H
#define HG_TESTS_PEER_SIGBUS_H

#include <signal.h>
#include <stddef.h>

#include "mem/foreign.h"

static struct sigaction sigbus_handler;

/* In main(), before cmocka. */
static inline void sigbus_remember(void)
{
    hg_foreign_event();
    sigaction(SIGBUS, NULL, &sigbus_handler);
}

/* In a test. */
static inline void sigbus_restore(void)
{
    sigaction(SIGBUS, &sigbus_handler, NULL);
}

#endif
