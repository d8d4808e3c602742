/*
 * Values of a driver's options for tests, by name: a driver that gains an option does not change
 * the tests that are not about it.
 */
#ifndef HG_TESTS_PEER_OPTIONS_H
#define HG_TESTS_PEER_OPTIONS_H

#include <assert.h>
#include <string.h>

#include "port/port.h"

enum { OPTIONS_MAX = 16 };

/* Fills `values`, which has room for OPTIONS_MAX, with the presets of all options. */
static inline void option_presets(const struct hg_port_driver *driver, union hg_port_value *values)
{
    assert(driver->option_n <= OPTIONS_MAX);
    for (unsigned i = 0; i < driver->option_n; i++)
        values[i] = (union hg_port_value){.uint = driver->options[i].preset};
}

/* The place of one option's value. */
static inline union hg_port_value *option_value(const struct hg_port_driver *driver,
                                                union hg_port_value *values, const char *name)
{
    unsigned i = 0;

    while (i < driver->option_n && strcmp(driver->options[i].name, name) != 0)
        i++;
    assert(i < driver->option_n);
    return &values[i];
}

#endif
