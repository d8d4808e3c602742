/*
 * What every program of the attack suite begins with: its stage, opened before each test and closed
 * behind it, and the two peers whose parts the tests play.
 */
#ifndef HG_TESTS_ATTACK_FIXTURE_H
#define HG_TESTS_ATTACK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "attack/stage.h"

enum { NEXT = HG_DESC_F_NEXT, WRITE = HG_DESC_F_WRITE, INDIRECT = HG_DESC_F_INDIRECT };

static struct stage stage;

static inline struct peer *attacker(void)
{
    return &stage.rig[ATTACKER].peer;
}

static inline struct peer *victim(void)
{
    return &stage.rig[VICTIM].peer;
}

static inline int set_up(void **state)
{
    (void)state;
    stage_open(&stage);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    stage_close(&stage);
    return 0;
}

#endif
