/*
 * The port drivers that there are: the one place where they are wired in, for the daemon and for
 * programs made with the toolkit.
 */
#ifndef HG_DRIVERS_DRIVERS_H
#define HG_DRIVERS_DRIVERS_H

#include "port/port.h"

/* Ended by NULL. */
extern const struct hg_port_driver *const hg_drivers[];

#endif
