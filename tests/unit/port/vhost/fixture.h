/*
 * What tests of vhost-user sessions begin with: a rig before each test, and what they say of it.
 */
#ifndef HG_TESTS_UNIT_PORT_VHOST_FIXTURE_H
#define HG_TESTS_UNIT_PORT_VHOST_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer/rig.h"

enum { RX = 0, TX = 1 }; /* rings as the guest sees them */

static const uint8_t frame[64] = {2, 0, 0, 0, 0,   2,   2,   0,   0,  0,
                                  0, 1, 8, 0, 'h', 'e', 'l', 'l', 'o'};

static inline struct rig *new_rig(const struct rig_options *options)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    assert_non_null(rig);
    rig_open(rig, options);
    return rig;
}

static inline int tear_down(void **state)
{
    rig_close(*state);
    free(*state);
    return 0;
}

/* Whatever has happened: the port recovers. */
static inline int tear_down_recovered(void **state)
{
    assert_true(rig_bring_up(*state));
    return tear_down(state);
}

static inline void assert_says(struct rig *rig, const char *state, const char *text)
{
    if (strstr(rig_status(rig), text) == NULL)
        fail_msg("'%s' does not contain '%s'", rig->status.text, text);
    assert_string_equal(rig->status.state, state);
}

/* A frame from the guest, and one to it. */
static inline void frames_pass(struct rig *rig)
{
    const uint8_t *got;
    size_t len;

    peer_transmit(&rig->peer, TX, frame, sizeof(frame));
    assert_int_equal(rig_rx(rig, 0), 1);
    assert_memory_equal(rig->burst->pkt[0].head, frame, sizeof(frame));
    peer_post(&rig->peer, RX, 1);
    assert_true(rig_tx(rig, 0, frame, sizeof(frame)));
    got = peer_receive(&rig->peer, RX, &len);
    assert_non_null(got);
    assert_memory_equal(got, frame, sizeof(frame));
}

#endif
