#include "ctl/drivers.h"

#include <stdio.h>
#include <string.h>

#include "port/vhost/vhost.h"
#include "port/virtio_user/virtio_user.h"

const struct hg_port_driver *const hg_drivers[] = {
    &hg_vhost_user_driver,
    &hg_virtio_user_driver,
    NULL,
};

const struct hg_port_driver *hg_driver_find(const char *type)
{
    for (const struct hg_port_driver *const *driver = hg_drivers; *driver; driver++) {
        if (strcmp((*driver)->type, type) == 0) {
            return *driver;
        }
    }
    return NULL;
}

void hg_driver_types(char *text, size_t n)
{
    size_t used = 0;

    text[0] = '\0';
    for (const struct hg_port_driver *const *driver = hg_drivers; *driver && used < n; driver++) {
        used += (size_t)snprintf(text + used, n - used, "%s%s", used ? ", " : "", (*driver)->type);
    }
}
