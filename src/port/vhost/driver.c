/*
 * The cold contract: options, open, close, status.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "port/vhost/state.h"
#include "port/vhost/vhost.h"
#include "virtio/features.h"

/* What a peer may negotiate; why not more is in docs/decisions/0008-features-offered.md. */
#define OFFER                                                                                      \
    (HG_BIT(HG_VIRTIO_NET_F_CSUM) | HG_BIT(HG_VIRTIO_NET_F_GUEST_CSUM) |                           \
     HG_BIT(HG_VIRTIO_NET_F_MTU) | HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO4) |                            \
     HG_BIT(HG_VIRTIO_NET_F_GUEST_TSO6) | HG_BIT(HG_VIRTIO_NET_F_GUEST_ECN) |                      \
     HG_BIT(HG_VIRTIO_NET_F_HOST_TSO4) | HG_BIT(HG_VIRTIO_NET_F_HOST_TSO6) |                       \
     HG_BIT(HG_VIRTIO_NET_F_HOST_ECN) | HG_BIT(HG_VIRTIO_NET_F_MRG_RXBUF) |                        \
     HG_BIT(HG_VIRTIO_NET_F_GUEST_ANNOUNCE) | HG_BIT(HG_VIRTIO_NET_F_MQ) |                         \
     HG_BIT(HG_VIRTIO_F_INDIRECT_DESC) | HG_BIT(HG_VIRTIO_F_EVENT_IDX) |                           \
     HG_BIT(HG_VHOST_USER_F_PROTOCOL_FEATURES) | HG_BIT(HG_VIRTIO_F_VERSION_1) |                   \
     HG_BIT(HG_VIRTIO_F_RING_PACKED) | HG_BIT(HG_VIRTIO_F_IN_ORDER) |                              \
     HG_BIT(HG_VIRTIO_F_RING_RESET))

enum { PATH, ROLE, QUEUES, IOMMU, IOTLB_ENTRIES, MTU, COALESCE_US, COALESCE_FRAMES, OPTION_N };

#define PROTOCOL_OFFER                                                                             \
    (HG_BIT(HG_VHOST_PROTOCOL_F_MQ) | HG_BIT(HG_VHOST_PROTOCOL_F_REPLY_ACK) |                      \
     HG_BIT(HG_VHOST_PROTOCOL_F_NET_MTU) | HG_BIT(HG_VHOST_PROTOCOL_F_RARP) |                      \
     HG_BIT(HG_VHOST_PROTOCOL_F_RESET_DEVICE) | HG_BIT(HG_VHOST_PROTOCOL_F_STATUS) |               \
     HG_BIT(HG_VHOST_PROTOCOL_F_CONFIGURE_MEM_SLOTS))

/* With a virtual IOMMU. */
#define IOMMU_OFFER          HG_BIT(HG_VIRTIO_F_ACCESS_PLATFORM)
#define IOMMU_PROTOCOL_OFFER HG_BIT(HG_VHOST_PROTOCOL_F_BACKEND_REQ)

enum { ROLE_SERVER, ROLE_CLIENT };

static const struct hg_port_option options[] = {
    [PATH] = {.name = "socket",
              .type = HG_OPTION_PATH,
              .required = true,
              .help = "Path of the UNIX socket between the front-end and Headgate."},
    [ROLE] = {.name = "role",
              .type = HG_OPTION_ENUM,
              .choices = "server|client",
              .help = "Whether Headgate listens on the socket, or connects to it and reconnects."},
    [QUEUES] = {.name = "queues",
                .type = HG_OPTION_UINT,
                .min = 1,
                .max = HG_PORT_QUEUES_MAX,
                .preset = 8,
                .help = "Queue pairs offered; the guest uses as many of them as it likes."},
    [IOMMU] = {.name = "iommu",
               .type = HG_OPTION_ENUM,
               .choices = "allow|require|off", /* as in enum hg_vhost_iommu_mode */
               .help = "Whether the guest may or must put a virtual IOMMU before its memory."},
    [IOTLB_ENTRIES] = {.name = "iotlb_entries",
                       .type = HG_OPTION_UINT,
                       .min = HG_IOTLB_ENTRIES_MIN,
                       .max = HG_IOTLB_ENTRIES_MAX,
                       .preset = HG_IOTLB_ENTRIES_PRESET,
                       .help =
                           "Translations that are kept for the guest; beyond them old ones go."},
    [MTU] = {.name = "mtu",
             .type = HG_OPTION_UINT,
             .min = 68,
             .max = 65535,
             .preset = 65535,
             .help = "Largest MTU that the front-end may show to the guest (QEMU: host_mtu)."},
    [COALESCE_US] =
        {.name = "coalesce_us",
         .type = HG_OPTION_UINT,
         .max = 10000,
         .help = "Longest time for which an interrupt to the guest may be held back so that "
                 "one serves several frames; 0 sends each at once."},
    [COALESCE_FRAMES] = {.name = "coalesce_frames",
                         .type = HG_OPTION_UINT,
                         .min = 1,
                         .max = 32768,
                         .preset = 64,
                         .help = "Frames after which an interrupt is not held back any longer."},
};

_Static_assert(HG_ARRAY_N(options) == OPTION_N, "every option has its entry");

static void on_connected(void *ctx, int fd)
{
    hg_vhost_session_begin(ctx, fd);
}

static void decide_offer(struct hg_vhost_port *vp, const struct hg_vhost_port_options *how)
{
    vp->offer = OFFER;
    vp->protocol_offer = PROTOCOL_OFFER;
    if (how->pair_n == 1)
        vp->offer &= ~HG_BIT(HG_VIRTIO_NET_F_MQ);
    if (how->iommu != HG_VHOST_IOMMU_OFF) {
        vp->offer |= IOMMU_OFFER;
        vp->protocol_offer |= IOMMU_PROTOCOL_OFFER;
    }
}

/* The structures alone, all zero. */
static struct hg_vhost_port *allocate(unsigned pair_n)
{
    struct hg_vhost_port *vp = aligned_alloc(alignof(struct hg_vhost_port), sizeof(*vp));
    size_t pair_bytes = pair_n * sizeof(struct hg_vhost_pair);
    struct hg_vhost_pair *pair = aligned_alloc(alignof(struct hg_vhost_pair), pair_bytes);

    if (vp == NULL || pair == NULL) {
        free(pair);
        free(vp);
        return NULL;
    }
    memset(vp, 0, sizeof(*vp));
    memset(pair, 0, pair_bytes);
    vp->pair = pair;
    return vp;
}

int hg_vhost_port_new(struct hg_port *port, const struct hg_vhost_port_options *how,
                      struct hg_err *err)
{
    struct hg_vhost_port *vp = allocate(how->pair_n);
    int rc;

    if (vp == NULL)
        return hg_err_set(err, ENOMEM, "no memory for port '%s'", port->name);
    rc = hg_link_init(&vp->link, how->path, err);
    if (rc != 0) {
        free(vp->pair);
        free(vp);
        return rc;
    }
    vp->port = port;
    vp->loop = port->host->loop;
    vp->mtu_max = how->mtu_max;
    vp->iommu.mode = how->iommu;
    vp->iommu.entries_max = how->iotlb_entries;
    vp->iommu.wake_fd = -1;
    vp->iommu.channel.fd = -1;
    decide_offer(vp, how);
    vp->link.loop = vp->loop;
    vp->link.log_name = vp->log_name;
    vp->link.server = how->server;
    vp->link.connected = on_connected;
    vp->link.ctx = vp;
    vp->conn.fd = -1;
    snprintf(vp->log_name, sizeof(vp->log_name), "port %s", port->name);
    port->driver_data = vp;
    port->queue_n = how->pair_n;
    for (unsigned i = 0; i < how->pair_n; i++)
        hg_vhost_pair_init(vp, i, how);
    return 0;
}

void hg_vhost_port_free(struct hg_port *port)
{
    struct hg_vhost_port *vp = port->driver_data;

    free(vp->pair);
    free(vp);
    port->driver_data = NULL;
    port->queue_n = 0;
}

static int open_port(struct hg_port *port, const union hg_port_value *values, struct hg_err *err)
{
    struct hg_vhost_port_options how = {
        .path = values[PATH].string,
        .server = values[ROLE].uint == ROLE_SERVER,
        .pair_n = (unsigned)values[QUEUES].uint,
        .mtu_max = values[MTU].uint,
        .iommu = (enum hg_vhost_iommu_mode)values[IOMMU].uint,
        .iotlb_entries = (uint32_t)values[IOTLB_ENTRIES].uint,
        .coalesce_us = values[COALESCE_US].uint,
        .coalesce_frames = (uint32_t)values[COALESCE_FRAMES].uint,
    };
    int rc;

    rc = hg_vhost_port_new(port, &how, err);
    if (rc != 0)
        return rc;
    struct hg_vhost_port *vp = port->driver_data;

    rc = hg_link_open(&vp->link, err);
    if (rc != 0)
        hg_vhost_port_free(port);
    return rc;
}

static void close_port(struct hg_port *port)
{
    struct hg_vhost_port *vp = port->driver_data;

    hg_link_close(&vp->link); /* first: the end of a session must not reconnect */
    hg_vhost_session_end(vp, NULL);
    hg_vhost_port_free(port);
}

static unsigned running_pairs(const struct hg_port *port)
{
    unsigned n = 0;

    for (unsigned i = 0; i < port->queue_n; i++) {
        const struct hg_vhost_pair *pair = hg_container_of(port->rxq[i], struct hg_vhost_pair, rxq);

        n += pair->rx.started && pair->rx.enabled && pair->tx.started && pair->tx.enabled;
    }
    return n;
}

/* The first ring that its guest has broken, or NULL. */
static const struct hg_vhost_ring *broken_ring(struct hg_vhost_port *vp)
{
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        if (hg_vhost_ring(vp, i)->fault != HG_VRING_OK)
            return hg_vhost_ring(vp, i);
    return NULL;
}

static void describe_unconnected(const struct hg_vhost_port *vp, struct hg_port_status *status)
{
    if (vp->broken[0] != '\0') {
        strcpy(status->state, "broken");
        snprintf(status->text, sizeof(status->text), "connection closed: %.160s", vp->broken);
        return;
    }
    strcpy(status->state, "waiting");
    hg_link_describe(&vp->link, "front-end", status->text, sizeof(status->text));
}

/* What keeps rings from running, if it is something else than silence: fills *status and returns
 * true. */
static bool describe_trouble(struct hg_vhost_port *vp, struct hg_port_status *status)
{
    const struct hg_vhost_ring *broken = broken_ring(vp);

    strcpy(status->state, "broken");
    if (broken != NULL) {
        snprintf(status->text, sizeof(status->text), "ring %u is broken: %s (%llu)", broken->index,
                 hg_vring_fault_name(broken->fault), (unsigned long long)broken->fault_value);
        return true;
    }
    /* Before the next, which is what drivers do about it. */
    if (vp->features_set && hg_vhost_unsafe(vp)) {
        strcpy(status->text, "refused: the guest does not use the virtual IOMMU that this port "
                             "requires");
        return true;
    }
    if ((vp->status & HG_VIRTIO_STATUS_FAILED) != 0) {
        strcpy(status->text, "the guest's driver has given up");
        return true;
    }
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++) {
        const struct hg_vhost_ring *ring = hg_vhost_ring(vp, i);

        if (ring->refused[0] != '\0') {
            snprintf(status->text, sizeof(status->text), "refused: %s", ring->refused);
            return true;
        }
        if (ring->lacks != NULL) {
            strcpy(status->state, "waiting");
            snprintf(status->text, sizeof(status->text), "waiting for the %s of ring %u's %s%s",
                     vp->iommu.iotlb != NULL ? "mapping" : "memory", i, ring->lacks,
                     vp->iommu.iotlb == NULL || vp->iommu.channel.fd >= 0
                         ? ""
                         : ", with no channel to ask for it");
            return true;
        }
    }
    return false;
}

static void describe_connected(struct hg_vhost_port *vp, struct hg_port_status *status)
{
    const char *missing = "a kick descriptor and addresses of its rings";

    if (describe_trouble(vp, status))
        return;
    if (status->queue_pairs > 0) {
        strcpy(status->state, "up");
        snprintf(status->text, sizeof(status->text), "up: %u queue pair%s%s", status->queue_pairs,
                 status->queue_pairs == 1 ? "" : "s",
                 vp->iommu.iotlb != NULL ? ", behind a virtual IOMMU" : "");
        return;
    }
    if (!vp->features_set)
        missing = "the features that it accepts";
    else if (vp->space == NULL)
        missing = "the memory table";
    for (unsigned i = 0; i < hg_vhost_ring_n(vp); i++)
        if (hg_vhost_ring(vp, i)->started)
            missing = "both rings of a queue pair to be started and enabled";
    strcpy(status->state, "waiting");
    snprintf(status->text, sizeof(status->text), "connected, waiting for %s", missing);
}

static void get_status(const struct hg_port *port, struct hg_port_status *status)
{
    struct hg_vhost_port *vp = port->driver_data;

    *status = (struct hg_port_status){0};
    status->queue_pairs = running_pairs(port);
    status->reconnects = vp->sessions_n > 1 ? vp->sessions_n - 1 : 0;
    hg_virtio_features_text(vp->features, status->peer_features, sizeof(status->peer_features));
    if (hg_vhost_connected(vp))
        describe_connected(vp, status);
    else
        describe_unconnected(vp, status);
}

static void get_iommu(const struct hg_port *port, struct hg_port_iommu *iommu)
{
    hg_vhost_iommu_report(port->driver_data, iommu);
}

const struct hg_port_driver hg_vhost_user_driver = {
    .type = "vhost-user",
    .help = "A virtio network device of a virtual machine or container, over a UNIX socket.",
    .options = options,
    .option_n = OPTION_N,
    .open = open_port,
    .close = close_port,
    .status = get_status,
    .iommu = get_iommu,
};
