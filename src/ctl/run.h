/*
 * The daemon's life: `headgate run`.
 */
#ifndef HG_CTL_RUN_H
#define HG_CTL_RUN_H

#include "ctl/config.h"

/*
 * Runs what the configuration says until SIGTERM or SIGINT, and takes it down. Prints one line
 * `headgate: ready` on standard output when all ports listen. Returns 0, or a negative errno with
 * *err when it could not start; nothing is left behind then.
 */
int hg_run(const struct hg_config *config, struct hg_err *err);

#endif
