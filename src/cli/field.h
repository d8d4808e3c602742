/*
 * Fields of an answer. What is missing reads as empty, so that a client and a daemon of different
 * age understand each other as far as they can.
 */
#ifndef HG_CLI_FIELD_H
#define HG_CLI_FIELD_H

#include <jansson.h>
#include <stdint.h>

/* The string under that key, "" if there is none. Valid as long as the object. */
const char *hg_field_text(const json_t *object, const char *key);

/* The number at a path of keys such as "rx.packets", 0 if there is none. */
uint64_t hg_field_number(const json_t *object, const char *path);

/* The sum of the numbers of an object. */
uint64_t hg_field_sum(const json_t *object);

/* The strings of an array with `between` between them, cut to fit. Returns `text`. */
const char *hg_field_join(const json_t *array, const char *between, char *text, size_t n);

#endif
