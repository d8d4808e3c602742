#include "nic.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>

_Static_assert(VRING_DESC_ALIGN_SIZE *QUEUE_SIZE + sizeof(struct vring_avail) + 2 * QUEUE_SIZE <=
                   PAGE_BYTES,
               "descriptors and available ring share a page");

enum { CHAINS_MAX = QUEUE_SIZE / CHAIN_MAX };

static struct vring_desc *descriptors(const struct queue *queue)
{
    return (struct vring_desc *)queue->driver_area.at;
}

static struct vring_avail *available(const struct queue *queue)
{
    return (struct vring_avail *)(queue->driver_area.at + QUEUE_SIZE * sizeof(struct vring_desc));
}

static struct vring_used *used(const struct queue *queue)
{
    return (struct vring_used *)queue->device_area.at;
}

/* ---- the registers ---- */

/* virtio 1.2, 4.1.4: vendor-specific capabilities say where the structures lie. */
static void find_structures(struct nic *nic)
{
    uint8_t at;
    device_config(&nic->device, PCI_CAPABILITY_LIST, &at, 1);
    while (at != 0) {
        struct virtio_pci_notify_cap found = {0};
        device_config(&nic->device, at, &found.cap, sizeof(found.cap));
        volatile uint8_t *structure = NULL;
        if (found.cap.cap_vndr == PCI_CAP_ID_VNDR &&
            (found.cap.cfg_type == VIRTIO_PCI_CAP_COMMON_CFG ||
             found.cap.cfg_type == VIRTIO_PCI_CAP_NOTIFY_CFG ||
             found.cap.cfg_type == VIRTIO_PCI_CAP_DEVICE_CFG)) {
            structure = device_bar(&nic->device, found.cap.bar) + found.cap.offset;
        }
        if (structure != NULL && found.cap.cfg_type == VIRTIO_PCI_CAP_COMMON_CFG) {
            nic->common = (volatile struct virtio_pci_common_cfg *)structure;
        } else if (structure != NULL && found.cap.cfg_type == VIRTIO_PCI_CAP_DEVICE_CFG) {
            nic->config = structure;
        } else if (structure != NULL) {
            device_config(&nic->device, at, &found, sizeof(found));
            nic->notify = structure;
            nic->notify_multiplier = found.notify_off_multiplier;
        }
        at = found.cap.cap_next;
    }
    if (nic->common == NULL || nic->notify == NULL || nic->config == NULL) {
        errno = 0;
        die("finding the structures of a virtio device");
    }
}

static uint64_t offered(const struct nic *nic)
{
    nic->common->device_feature_select = 0;
    uint64_t low = nic->common->device_feature;
    nic->common->device_feature_select = 1;
    return low | (uint64_t)nic->common->device_feature << 32;
}

static void accept_features(const struct nic *nic, uint64_t features)
{
    nic->common->guest_feature_select = 0;
    nic->common->guest_feature = (uint32_t)features;
    nic->common->guest_feature_select = 1;
    nic->common->guest_feature = (uint32_t)(features >> 32);
}

static void start_queue(struct nic *nic, struct queue *queue, uint16_t index)
{
    memset(queue->driver_area.at, 0, PAGE_BYTES);
    memset(queue->device_area.at, 0, PAGE_BYTES);
    queue->index = index;
    queue->avail_n = 0;
    queue->used_n = 0;

    volatile struct virtio_pci_common_cfg *common = nic->common;
    uint64_t avail = queue->driver_area.bus + QUEUE_SIZE * sizeof(struct vring_desc);
    common->queue_select = index;
    common->queue_size = QUEUE_SIZE;
    common->queue_desc_lo = (uint32_t)queue->driver_area.bus;
    common->queue_desc_hi = (uint32_t)(queue->driver_area.bus >> 32);
    common->queue_avail_lo = (uint32_t)avail;
    common->queue_avail_hi = (uint32_t)(avail >> 32);
    common->queue_used_lo = (uint32_t)queue->device_area.bus;
    common->queue_used_hi = (uint32_t)(queue->device_area.bus >> 32);
    queue->doorbell = (volatile uint16_t *)(nic->notify + (size_t)common->queue_notify_off *
                                                              nic->notify_multiplier);
    common->queue_enable = 1;
}

void nic_close(struct nic *nic)
{
    nic->common->device_status = 0;
    while (nic->common->device_status != 0) {
        pause_ms(1);
    }
}

/* virtio 1.2, 3.1.1: device initialization. */
void nic_reset(struct nic *nic)
{
    const uint64_t needed = UINT64_C(1) << VIRTIO_F_VERSION_1 |
                            (nic->device.is_bare ? 0 : UINT64_C(1) << VIRTIO_F_ACCESS_PLATFORM);
    nic_close(nic);
    uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;
    nic->common->device_status = status;
    accept_features(nic, needed);
    status |= VIRTIO_CONFIG_S_FEATURES_OK;
    nic->common->device_status = status;
    if ((offered(nic) & needed) != needed ||
        (nic->common->device_status & VIRTIO_CONFIG_S_FEATURES_OK) == 0) {
        errno = 0;
        die("negotiating features");
    }
    start_queue(nic, &nic->rx, 0);
    start_queue(nic, &nic->tx, 1);
    nic->common->device_status = status | VIRTIO_CONFIG_S_DRIVER_OK;
}

static void give_memory(struct nic *nic, struct queue *queue)
{
    queue->driver_area = page_new();
    queue->device_area = page_new();
    device_map(&nic->device, &queue->driver_area, ACCESS_BOTH);
    device_map(&nic->device, &queue->device_area, ACCESS_BOTH);
}

void nic_open(struct nic *nic, const char *device, bool is_bare)
{
    *nic = (struct nic){0};
    device_open(&nic->device, device, is_bare);
    find_structures(nic);
    for (unsigned i = 0; i < sizeof(nic->mac); i++) {
        nic->mac[i] = nic->config[i];
    }
    give_memory(nic, &nic->rx);
    give_memory(nic, &nic->tx);
    nic_reset(nic);
}

/* ---- the rings ---- */

static void make_available(struct queue *queue, const struct piece *pieces, unsigned n,
                           uint16_t flags)
{
    unsigned head = queue->avail_n % CHAINS_MAX * CHAIN_MAX;
    for (unsigned i = 0; i < n; i++) {
        descriptors(queue)[head + i] = (struct vring_desc){
            .addr = pieces[i].bus,
            .len = pieces[i].n_bytes,
            .flags = i + 1 < n ? flags | VRING_DESC_F_NEXT : flags,
            .next = (uint16_t)(head + i + 1),
        };
    }
    available(queue)->ring[queue->avail_n % QUEUE_SIZE] = (uint16_t)head;
    queue->avail_n++;
    /* Release: the back-end, in another process, sees the descriptors when it sees the index. */
    __atomic_store_n(&available(queue)->idx, queue->avail_n, __ATOMIC_RELEASE);
    *queue->doorbell = queue->index;
}

void nic_transmit(struct nic *nic, const struct piece *pieces, unsigned n)
{
    make_available(&nic->tx, pieces, n, 0);
}

void nic_post(struct nic *nic, const struct piece *pieces, unsigned n)
{
    make_available(&nic->rx, pieces, n, VRING_DESC_F_WRITE);
}

bool nic_wait(struct queue *queue, unsigned timeout_ms, uint32_t *written_bytes)
{
    /* Acquire: with the index, what the device wrote before it. */
    while (__atomic_load_n(&used(queue)->idx, __ATOMIC_ACQUIRE) == queue->used_n) {
        if (timeout_ms-- == 0) {
            return false;
        }
        pause_ms(1);
    }
    *written_bytes = used(queue)->ring[queue->used_n % QUEUE_SIZE].len;
    queue->used_n++;
    return true;
}
