/*
 * What makes a canary page recognisable, to the program that owns it and to the one that looks for
 * its bytes on another guest's card.
 */
#ifndef HG_TESTS_VM_CANARY_H
#define HG_TESTS_VM_CANARY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { CANARY_TEXT_BYTES = 16 };

static const char CANARY_TEXT[CANARY_TEXT_BYTES + 1] = "headgate-canary!";

/* Frames of the trespasser have an EtherType for experiments (IEEE 802, local experimental 1). */
enum { TRESPASS_ETHERTYPE = 0x88b5 };

static inline void canary_fill(uint8_t *bytes, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] = (uint8_t)CANARY_TEXT[i % CANARY_TEXT_BYTES];
    }
}

/* How many bytes are not as canary_fill() left them. */
static inline size_t canary_damage(const uint8_t *bytes, size_t n_bytes)
{
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        n += bytes[i] != (uint8_t)CANARY_TEXT[i % CANARY_TEXT_BYTES];
    }
    return n;
}

#endif
