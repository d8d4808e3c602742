/*
 * The options of a port, from text: what a driver's schema (struct hg_port_option) makes of the words that
 * a configuration, a request or a command line gives. Every way of opening a port reads them here, so that
 * all of them accept the same and refuse it with the same sentence.
 *
 * Pure, any thread. Nothing is allocated: the strings among the values are the texts that were given.
 */
#ifndef HG_PORT_OPTION_H
#define HG_PORT_OPTION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "port/port.h"

enum {
    HG_PORT_OPTIONS_MAX = 32,        /* of a driver */
    HG_PORT_OPTION_TEXT_BYTES = 256, /* longest text of a string, with its final zero */
};

/* The index of a word among choices separated by '|', or -1. */
int hg_parse_choice(const char *choices, const char *word);

/* The index of the driver's option of that name, or -1. */
int hg_port_option_find(const struct hg_port_driver *driver, const char *name);

/* What an option takes, for a sentence, as in "a number from 1 to 16"; cut to fit. */
void hg_port_option_expected(const struct hg_port_option *option, char *text, size_t n);

/* Reads one value. 0 or -EINVAL with *err, which begins with the option's name. */
int hg_port_option_read(const struct hg_port_option *option, const char *text,
                        union hg_port_value *value, struct hg_err *err);

/*
 * Gives what was not given its default, or refuses it: `given` has an entry for each option. Then asks
 * the driver whether the values go together; *blamed is the index of the option at fault, -1 for none in
 * particular. 0 or a negative errno with *err. `who` is what the sentence calls the port.
 */
int hg_port_options_complete(const struct hg_port_driver *driver, const char *who,
                             const bool *given, union hg_port_value *values, int *blamed,
                             struct hg_err *err);

/* The driver of that type in a list that NULL ends, or NULL; and the types in it for a sentence, as in
 * "vhost-user, null"; cut to fit. */
const struct hg_port_driver *hg_port_driver_find(const struct hg_port_driver *const *drivers,
                                                 const char *type);
void hg_port_driver_types(const struct hg_port_driver *const *drivers, char *text, size_t n);

/*
 * Reads a port in one word, `TYPE` or `TYPE:KEY=VALUE,KEY=VALUE...`, for programs whose ports come from the
 * command line. The text is cut into pieces where it is, and the strings among the values point into it.
 * 0 or -EINVAL with *err.
 */
int hg_port_text_read(char *text, const struct hg_port_driver *const *drivers,
                      const struct hg_port_driver **driver,
                      union hg_port_value values[HG_PORT_OPTIONS_MAX], struct hg_err *err);

#endif
