/*
 * The Internet checksum (RFC 1071), whole and in pieces.
 *
 * A sum is the one's complement sum of big-endian 16-bit words, kept unfolded so that pieces, in
 * any order of even pieces, add up. A piece that starts at an odd byte of the sum has its bytes
 * swapped (RFC 1071, 2 (B)); struct hg_csum remembers where it is, so a frame scattered over
 * segments of any length is summed by one call per segment.
 *
 * The result never depends on the processor: plain C is always there, and a vector version is
 * chosen once, at the first call, where the processor has one (csum_kernel.h).
 *
 * Guest memory: besides base/shm.h this is the one place that reads it. Each byte is loaded once
 * and goes into nothing but the sum, so a sender that changes its memory meanwhile spoils its own
 * checksum and nothing else.
 *
 * Pure functions, any thread.
 */
#ifndef HG_WIRE_CSUM_H
#define HG_WIRE_CSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/api.h"

HG_API_BEGIN

/* A sum under way; all zero is the empty one. */
struct hg_csum {
    uint64_t sum; /* of 16-bit words, not folded */
    bool odd;     /* the next byte is the low half of a word */
};

/* Adds n bytes at any alignment, n <= 2^31, as the continuation of what was added before. */
void hg_csum_add(struct hg_csum *csum, const uint8_t *bytes, size_t n);

/* Adds one 16-bit word in host order; for numbers that are not in memory. At an even place only. */
static inline void hg_csum_add16(struct hg_csum *csum, uint16_t word)
{
    csum->sum += word;
}

/* The folded sum in host order, as hg_store_be16() puts it into a header where a pseudo-header sum
 * is wanted. The checksum is its complement. */
static inline uint16_t hg_csum_fold(const struct hg_csum *csum)
{
    uint64_t sum = (csum->sum >> 32) + (csum->sum & 0xffffffff);

    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)sum;
}

/* The checksum over n bytes alone, host order; 0 when they contain their own valid checksum. */
uint16_t hg_csum(const uint8_t *bytes, size_t n);

/* Adds the pseudo-header of TCP, UDP (RFC 9293, 3.1; RFC 768) or, over IPv6, any upper layer (RFC
 * 8200, 8.1). src and dst point to 4 or 16 bytes; len is what the upper layer's header and payload
 * have. At an even place only. */
void hg_csum_add_pseudo4(struct hg_csum *csum, const uint8_t *src, const uint8_t *dst,
                         uint8_t proto, uint16_t len);
void hg_csum_add_pseudo6(struct hg_csum *csum, const uint8_t *src, const uint8_t *dst,
                         uint8_t proto, uint32_t len);

/* The checksum after one 16-bit word that it covers has changed from `was` to `is`: RFC 1624,
 * equation 3. */
static inline uint16_t hg_csum_update16(uint16_t checksum, uint16_t was, uint16_t is)
{
    uint32_t sum = (uint16_t)~checksum + (uint32_t)(uint16_t)~was + is;

    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (uint16_t)~sum;
}

HG_API_END

#endif
