/*
 * Network byte order: big-endian loads and stores at any alignment. Pure, any thread.
 *
 * Packet headers are read and written as bytes at an offset, never through a structure laid over
 * the frame: no alignment to guarantee, no aliasing, no padding. The compiler makes one instruction
 * of each function here.
 */
#ifndef HG_WIRE_BYTES_H
#define HG_WIRE_BYTES_H

#include <stdint.h>
#include <string.h>

#include "base/api.h"

HG_API_BEGIN

static inline uint16_t hg_load_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t hg_load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void hg_store_be16(uint8_t *p, uint16_t value)
{
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void hg_store_be32(uint8_t *p, uint32_t value)
{
    p[0] = (uint8_t)(value >> 24);
    p[1] = (uint8_t)(value >> 16);
    p[2] = (uint8_t)(value >> 8);
    p[3] = (uint8_t)value;
}

/* Loads in the processor's own order, for what only has to differ where the bytes differ: hashes
 * and comparisons. */
static inline uint32_t hg_load_raw32(const uint8_t *p)
{
    uint32_t value;

    memcpy(&value, p, sizeof(value));
    return value;
}

static inline uint64_t hg_load_raw64(const uint8_t *p)
{
    uint64_t value;

    memcpy(&value, p, sizeof(value));
    return value;
}

HG_API_END

#endif
