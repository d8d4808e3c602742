/*
 * The port type `vhost-user`: the back-end of virtio network devices that a front-end (QEMU, DPDK's
 * virtio-user, Headgate's own) keeps in another process.
 */
#ifndef HG_PORT_VHOST_VHOST_H
#define HG_PORT_VHOST_VHOST_H

#include "base/api.h"
#include "port/port.h"

HG_API_BEGIN

extern const struct hg_port_driver hg_vhost_user_driver;

HG_API_END

#endif
