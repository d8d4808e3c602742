/*
 * The port drivers that this daemon has: the one place where they are wired in.
 */
#ifndef HG_CTL_DRIVERS_H
#define HG_CTL_DRIVERS_H

#include "port/port.h"

/* Ended by NULL. */
extern const struct hg_port_driver *const hg_drivers[];

/* The driver of that type, or NULL. */
const struct hg_port_driver *hg_driver_find(const char *type);

/* The types for an error message, as in "vhost-user, tap"; cut to fit. */
void hg_driver_types(char *text, size_t n);

#endif
