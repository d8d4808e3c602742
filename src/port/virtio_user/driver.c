/*
 * The cold contract: options, open, close, status.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "port/virtio_user/state.h"
#include "port/virtio_user/virtio_user.h"
#include "virtio/features.h"

/* Segments come in only along with merged buffers: ours hold one frame of ordinary size each. */
#define FEATURES_MERGED                                                                            \
    (HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO4) | HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO6) |                     \
     HG_BIT(HG_VIRTIO_NET_F_GUEST_ECN))

/* Packed rings, and what the driver side can use with them only. */
#define FEATURES_PACKED (HG_BIT(HG_VIRTIO_F_RING_PACKED) | HG_BIT(HG_VIRTIO_F_IN_ORDER))

/* What else we use of what the back-end offers. */
#define FEATURES                                                                                   \
    (FEATURES_MERGED | HG_BIT(HG_VIRTIO_F_VERSION_1) | HG_BIT(HG_VIRTIO_F_EVENT_IDX) |             \
     HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF) | HG_BIT(HG_VIRTIO_NET_F_CSUM) |                            \
     HG_BIT(HG_VIRTIO_NET_F_HOST_TSO4) | HG_BIT(HG_VIRTIO_NET_F_HOST_TSO6) |                       \
     HG_BIT(HG_VIRTIO_NET_F_HOST_ECN) | HG_BIT(HG_VIRTIO_NET_F_GUEST_CSUM))

enum { PATH, ROLE, QUEUES, QUEUE_SIZE, PACKED, OPTION_N };

enum { ROLE_CLIENT, ROLE_SERVER };
enum { PACKED_ALLOW, PACKED_REQUIRE, PACKED_OFF };

static const struct hg_port_option options[] = {
    [PATH] = {.name = "socket",
              .type = HG_OPTION_PATH,
              .required = true,
              .help = "Path of the UNIX socket between the other switch and Headgate."},
    [ROLE] = {.name = "role",
              .type = HG_OPTION_ENUM,
              .choices = "client|server",
              .help = "Whether Headgate connects to the socket and reconnects, or listens on it."},
    [QUEUES] = {.name = "queues",
                .type = HG_OPTION_UINT,
                .min = 1,
                .max = HG_PORT_QUEUES_MAX,
                .preset = 1,
                .help = "Queue pairs; fewer are used if the other switch has fewer."},
    [QUEUE_SIZE] = {.name = "queue_size",
                    .type = HG_OPTION_UINT,
                    .min = HG_VU_QUEUE_SIZE_MIN,
                    .max = HG_VU_QUEUE_SIZE_MAX,
                    .preset = 1024, /* 256 lose a burst whenever the back-end is not scheduled */
                    .help = "Descriptors, and buffers, of each queue; a power of two."},
    [PACKED] = {.name = "packed",
                .type = HG_OPTION_ENUM,
                .choices = "allow|require|off",
                .help = "Whether rings may or must be packed, which is faster with most switches."},
};

_Static_assert(HG_ARRAY_N(options) == OPTION_N, "every option has its entry");
_Static_assert((int)HG_PORT_QUEUES_MAX <= (int)HG_VHOST_FRONT_PAIRS_MAX, "room in the plan");

static void on_connected(void *ctx, int fd)
{
    hg_vu_session_begin(ctx, fd);
}

static struct hg_vu_port *allocate(struct hg_port *port, unsigned pair_n)
{
    struct hg_vu_port *vu = calloc(1, sizeof(*vu));
    size_t pair_bytes = pair_n * sizeof(*vu->pair);

    if (vu == NULL)
        return NULL;
    vu->pair = aligned_alloc(alignof(struct hg_vu_pair), pair_bytes);
    if (vu->pair == NULL) {
        free(vu);
        return NULL;
    }
    memset(vu->pair, 0, pair_bytes);
    vu->port = port;
    vu->front.conn.fd = -1;
    snprintf(vu->log_name, sizeof(vu->log_name), "port %s", port->name);
    for (unsigned i = 0; i < pair_n; i++)
        hg_vu_pair_init(vu, i);
    port->driver_data = vu;
    port->queue_n = pair_n;
    return vu;
}

static void release(struct hg_port *port)
{
    struct hg_vu_port *vu = port->driver_data;

    free(vu->pair);
    free(vu);
    port->driver_data = NULL;
    port->queue_n = 0;
}

static int check_values(const union hg_port_value *values, unsigned *option, struct hg_err *err)
{
    if (!hg_is_power_of_two(values[QUEUE_SIZE].uint)) {
        *option = QUEUE_SIZE;
        return hg_err_set(err, EINVAL,
                          "queue_size: found '%u'; expected a power of two from %u to %u",
                          (unsigned)values[QUEUE_SIZE].uint, (unsigned)HG_VU_QUEUE_SIZE_MIN,
                          (unsigned)HG_VU_QUEUE_SIZE_MAX);
    }
    return 0;
}

static int open_port(struct hg_port *port, const union hg_port_value *values, struct hg_err *err)
{
    struct hg_vu_port *vu;
    int rc;

    vu = allocate(port, (unsigned)values[QUEUES].uint);
    if (vu == NULL)
        return hg_err_set(err, ENOMEM, "no memory for port '%s'", port->name);
    vu->queue_size = (uint16_t)values[QUEUE_SIZE].uint;
    vu->plan.features = FEATURES;
    vu->plan.features_needed = HG_BIT(HG_VIRTIO_F_VERSION_1);
    if (values[PACKED].uint != PACKED_OFF)
        vu->plan.features |= FEATURES_PACKED;
    if (values[PACKED].uint == PACKED_REQUIRE)
        vu->plan.features_needed |= HG_BIT(HG_VIRTIO_F_RING_PACKED);
    vu->plan.features_merged = FEATURES_MERGED;
    vu->link.loop = port->host->loop;
    vu->link.log_name = vu->log_name;
    vu->link.server = values[ROLE].uint == ROLE_SERVER;
    vu->link.connected = on_connected;
    vu->link.ctx = vu;
    rc = hg_link_init(&vu->link, values[PATH].string, err);
    if (rc == 0)
        rc = hg_vu_memory_new(vu, err);
    if (rc == 0) {
        rc = hg_link_open(&vu->link, err);
        if (rc != 0)
            hg_vu_memory_free(vu);
    }
    if (rc != 0)
        release(port);
    return rc;
}

static void close_port(struct hg_port *port)
{
    struct hg_vu_port *vu = port->driver_data;

    hg_link_close(&vu->link); /* first: the end of a session must not reconnect */
    hg_vu_session_end(vu, NULL);
    hg_vu_memory_free(vu);
    release(port);
}

static void get_status(const struct hg_port *port, struct hg_port_status *status)
{
    const struct hg_vu_port *vu = port->driver_data;
    const char *awaits = hg_vhost_front_awaits(&vu->front);

    *status = (struct hg_port_status){0};
    status->reconnects = vu->sessions_n > 1 ? vu->sessions_n - 1 : 0;
    if (vu->running) {
        status->queue_pairs = vu->front.pair_n;
        hg_virtio_features_text(vu->front.features, status->peer_features,
                                sizeof(status->peer_features));
        strcpy(status->state, "up");
        snprintf(status->text, sizeof(status->text), "up: %u queue pair%s", status->queue_pairs,
                 status->queue_pairs == 1 ? "" : "s");
    } else if (hg_vu_connected(vu)) {
        strcpy(status->state, "waiting");
        snprintf(status->text, sizeof(status->text),
                 "connected, waiting for the back-end to answer %s",
                 awaits != NULL ? awaits : "the session's messages");
    } else if (vu->broken[0] != '\0') {
        strcpy(status->state, "broken");
        snprintf(status->text, sizeof(status->text), "connection closed: %.160s", vu->broken);
    } else {
        strcpy(status->state, "waiting");
        hg_link_describe(&vu->link, "back-end", status->text, sizeof(status->text));
    }
}

const struct hg_port_driver hg_virtio_user_driver = {
    .type = "virtio-user",
    .help = "Headgate as the guest of another switch that has a vhost-user back-end.",
    .options = options,
    .option_n = OPTION_N,
    .check = check_values,
    .open = open_port,
    .close = close_port,
    .status = get_status,
};
