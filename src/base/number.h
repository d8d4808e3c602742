/*
 * Numbers that people and peers write.
 */
#ifndef HG_BASE_NUMBER_H
#define HG_BASE_NUMBER_H

#include <stdint.h>

/* A decimal number from min to max, without sign or anything behind it: 0 or -EINVAL. Pure. */
int hg_parse_uint(const char *text, uint64_t min, uint64_t max, uint64_t *value);

#endif
