/*
 * What to write on QEMU's command line to reach a port.
 */
#ifndef HG_CTL_QEMU_H
#define HG_CTL_QEMU_H

#include <stdbool.h>
#include <stddef.h>

#include "ctl/spec.h"

enum { HG_QEMU_BYTES = 2048 };

/*
 * The arguments that give a guest a NIC on a vhost-user port, and memory that Headgate can map: one
 * option and its value per line, quoted for a shell where need be. The guest's address is made of
 * the port's name, because QEMU would give the same one to every guest. A port that requires a
 * virtual IOMMU comes with one. False for a port that QEMU cannot use. Pure.
 */
bool hg_qemu_arguments(const struct hg_spec *spec, char *text, size_t n);

#endif
