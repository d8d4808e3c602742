#include "drivers/drivers.h"

#include "port/memory/memory.h"
#include "port/pcap/pcap.h"
#include "port/vhost/vhost.h"
#include "port/virtio_user/virtio_user.h"

const struct hg_port_driver *const hg_drivers[] = {
    &hg_vhost_user_driver, &hg_virtio_user_driver, &hg_generator_driver, &hg_sink_driver,
    &hg_null_driver,       &hg_loop_driver,        &hg_pcap_driver,      NULL,
};
