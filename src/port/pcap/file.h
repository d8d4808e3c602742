/*
 * Opening the files of a port. Private to the folder; control only.
 */
#ifndef HG_PORT_PCAP_FILE_H
#define HG_PORT_PCAP_FILE_H

#include <stdbool.h>
#include <stdio.h>

#include "base/err.h"

/*
 * Opens a regular file: to be read from its beginning, or to be written, empty, made if it is
 * missing. Never waits: a FIFO whose other end nobody has opened would hold up the control loop, and
 * a device may for ever give more. Returns the stream, or NULL with the negative errno in *code and
 * *err, which begins with the option's name, `what`: -EINVAL for what is no regular file, or what
 * open(2) says.
 */
FILE *hg_capture_open(const char *path, const char *what, bool written, int *code,
                      struct hg_err *err);

#endif
