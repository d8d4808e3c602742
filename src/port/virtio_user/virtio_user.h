/*
 * The port type `virtio-user`: Headgate as the guest of another switch, which is the back-end of
 * the vhost-user session (OVS-DPDK, DPDK's vhost, another Headgate).
 */
#ifndef HG_PORT_VIRTIO_USER_VIRTIO_USER_H
#define HG_PORT_VIRTIO_USER_VIRTIO_USER_H

#include "base/api.h"
#include "port/port.h"

HG_API_BEGIN

extern const struct hg_port_driver hg_virtio_user_driver;

HG_API_END

#endif
