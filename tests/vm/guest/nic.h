/*
 * A driver for virtio-net over PCI (virtio 1.2, sections 2.7, 4.1 and 5.1), as small as it can be:
 * split rings, one pair of queues, no interrupts, no offloads.
 *
 * Its caller puts device addresses into the rings itself: any number at all.
 */
#ifndef HG_TESTS_VM_NIC_H
#define HG_TESTS_VM_NIC_H

#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#include "device.h"

enum { QUEUE_SIZE = 64, CHAIN_MAX = 4, NIC_HEADER_BYTES = sizeof(struct virtio_net_hdr_mrg_rxbuf) };

/* A split ring in two pages: descriptors and available ring; used ring. A chain takes CHAIN_MAX
 * descriptors, which belong to its place in the available ring. */
struct queue {
    struct page driver_area, device_area;
    volatile uint16_t *doorbell;
    uint16_t index; /* 0: receive, 1: transmit */
    uint16_t avail_n, used_n;
};

struct nic {
    struct device device;
    volatile struct virtio_pci_common_cfg *common;
    volatile uint8_t *notify, *config;
    uint32_t notify_multiplier;
    uint8_t mac[6];
    struct queue rx, tx;
};

/* One piece of a chain: a device address and a length. */
struct piece {
    uint64_t bus;
    uint32_t n_bytes;
};

/* Resets the device and brings it up with empty rings. */
void nic_open(struct nic *nic, const char *device, bool is_bare);

/* The same again, on a device that is open: what was posted is forgotten. */
void nic_reset(struct nic *nic);

/* Stops the device: a bare one would go on writing to memory that is no longer ours. */
void nic_close(struct nic *nic);

/* Makes the pieces available to the device, and rings the doorbell. At most QUEUE_SIZE / CHAIN_MAX
 * chains may be out at once. */
void nic_transmit(struct nic *nic, const struct piece *pieces, unsigned n);
void nic_post(struct nic *nic, const struct piece *pieces, unsigned n);

/* Waits for the next chain that the device gives back, in the order in which they were made
 * available. False after the time; else what the device says it wrote. */
bool nic_wait(struct queue *queue, unsigned timeout_ms, uint32_t *written_bytes);

#endif
