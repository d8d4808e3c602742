#include "drivers/drivers.h"

#include "port/vhost/vhost.h"
#include "port/virtio_user/virtio_user.h"

const struct hg_port_driver *const hg_drivers[] = {
    &hg_vhost_user_driver,
    &hg_virtio_user_driver,
    NULL,
};
